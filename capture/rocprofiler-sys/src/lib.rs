//! AMD's rocprofiler-sdk as a tool sees it, looked up at run time, so that one build serves ROCm 6.2 to 7.x.
//!
//! - [`Rocprofiler::find`] takes its functions by name from the `librocprofiler-sdk` that the process has already. Nothing is
//!   loaded here: that library comes to a tool (`rocprofiler_configure`), never the other way round.
//! - [`layout`] says as data where each field of each kind of record lies, by version. Numbers of kinds and of operations
//!   move between versions, so they are asked for by name ([`Rocprofiler::kinds`]).
//! - [`Record`] reads a record of any of these versions, as far as the size goes that the record itself says first.
//!
//! Sources: the headers `fwd.h`, `agent.h`, `buffer.h`, `buffer_tracing.h`, `callback_tracing.h` and `registration.h` of
//! rocprofiler-sdk. What of them is published in packages is compared by the tests; [`layout::VERSIONS`] says which.
//! **Nothing here ran on hardware of AMD's.**

// Functions of a C library that is looked up at run time, and its records, cannot be had without it.
#![allow(unsafe_code)]

pub mod layout;
mod library;
mod record;
mod status;

pub use layout::{Field, Kind};
pub use library::{
    Agents, BufferCallback, Category, CodeObject, Configured, Context, Missing, Rocprofiler, SymbolCallback, is_loaded,
};
pub use record::Record;
pub use status::Status;
