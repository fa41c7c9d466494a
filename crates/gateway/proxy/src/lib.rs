//! Docker Engine API proxy for untrusted builds.
//!
//! Each client has a socket of its own ([`front`]). A request is screened, parsed, judged by the policy crate and
//! rebuilt ([`call`], `ops`); what a client makes is on record ([`store`]) before it is made, and is removed when the
//! client goes ([`sweep`]). No byte of a request gets to the engine that was not understood.
#![forbid(unsafe_code)]

pub mod admin;
mod answer;
mod audit;
mod body;
mod call;
mod cgroup;
mod client;
pub mod config;
pub mod dockerfile;
mod engine;
mod fault;
mod filters;
mod front;
pub mod gateway;
mod index;
mod learn;
mod lines;
mod metrics;
mod names;
mod ops;
mod origins;
mod pins;
mod pulls;
mod pump;
pub mod screen;
mod store;
mod sweep;
pub mod tarwalk;
mod values;
mod watch;
mod world;
