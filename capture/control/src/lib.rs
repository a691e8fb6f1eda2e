//! What stands around a recording, without recording anything itself.
//!
//! - [`kineto`]: detail windows (shapes, stacks, flows) from inside a running PyTorch job, which is not changed for it.
//! - [`socket`]: the Unix socket through which `gapless ctl` talks to a running recorder; [`discover`] finds recorders.
//! - [`doctor`]: what can be recorded on this machine, what blocks the rest, and how to get it.
//!
//! Constraints: everything that other processes send is untrusted and bounded; sockets and folders belong to one user
//! and nobody else reaches them; nothing here may make the job fail, slow down or print.

pub mod discover;
pub mod doctor;
mod error;
pub mod folder;
pub mod kineto;
pub mod message;
pub mod socket;
mod sys;

pub use error::{Error, Result};
