//! Files: opening, attributes, mounting, watching.
//!
//! The names of the submodules are for the reader; all of them are re-exported here.

mod misc;
mod mount;
mod open;
mod stat;
mod watch;

pub use misc::*;
pub use mount::*;
pub use open::*;
pub use stat::*;
pub use watch::*;
