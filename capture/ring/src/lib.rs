//! The shared memory between a process of a job and the recorder.
//!
//! Each recorded process has one *segment*: a file in the scratch folder of the recording that both sides map. It holds
//! a header, a directory of rings, an append-only area of strings, and the rings. Each thread writes 32-byte records
//! into a ring of its own; a process that the kernel kills with -9 leaves everything it wrote, and so does a recorder.
//!
//! - The writing side ([`writer`]) takes no lock and allocates nothing once a thread has its ring and a name was seen.
//!   It never panics, never prints, never blocks on the recorder: a ring that is full grows within the budget, then
//!   drops, and counts what it dropped.
//! - The reading side ([`reader`]) trusts nothing that it maps: a job may scribble over its memory. Offsets and lengths
//!   are checked each time, and the worst that bad content can do is wrong records.
//! - Every page is reserved before it is touched (`fallocate`), so a full `/dev/shm` makes a ring impossible instead of
//!   killing the job with SIGBUS.

// Shared memory with another process, fork handlers and thread-exit hooks cannot be had without it.
#![allow(unsafe_code)]

pub mod alone;
pub mod clock;
pub mod device;
pub mod facts;
pub mod layout;
pub mod names;
mod process;
pub mod reader;
mod sys;
pub mod writer;

pub use clock::{Anchor, ClockKind};
pub use facts::Facts;
pub use layout::{Class, Kind, Record};
pub use reader::{Batch, SegmentReader, SegmentStrings, ThreadInstance};
