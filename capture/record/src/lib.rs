//! The recorder: launches a job with nothing changed in it, drains the rings that its processes write, and leaves one
//! folder with a trace per process and a manifest.
//!
//! - [`session`] finds processes and drains them; [`process`] is one of them; [`encode`] makes packets of records.
//! - [`launch`] starts the job, forwards signals and keeps its exit code.
//! - [`recover`] finishes what a recorder that was killed left behind.
//!
//! Invariant: room in a ring is given back only when what was read from it is in the file. So a recorder that dies at
//! any moment loses nothing and repeats nothing: the file says how far it got, the rings hold the rest.
//!
//! Invariant: once the job runs, nothing that goes wrong here ends or changes it.

// Signals, descriptors and file systems cannot be asked without; each place says why.
#![deny(unsafe_op_in_unsafe_fn)]

mod alone;
pub mod attach;
pub mod clock_map;
pub mod encode;
mod error;
pub mod flight;
pub mod folder;
pub mod launch;
pub mod manifest;
pub mod process;
pub mod procfs;
pub mod python;
pub mod recover;
pub mod rocm;
#[cfg(feature = "sampling")]
pub mod sampling;
pub mod session;
pub mod signals;
pub mod trigger;

pub use error::RecordError;
pub use launch::{LaunchOptions, Outcome, attach, record};
pub use manifest::Manifest;
pub use session::{Session, SessionOptions};
