//! The operations of the table, a file for each family. Each takes a [`crate::call::Call`] and forwards what it rebuilt.

pub mod archive;
pub mod build;
pub mod containers;
pub mod create;
pub mod events;
pub mod images;
pub mod networks;
pub mod prune;
pub mod streams;
pub mod system;
pub mod volumes;
