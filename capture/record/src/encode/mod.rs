//! From records of a ring to packets of a Perfetto trace.
//!
//! Each thread is a packet sequence of its own with its own names and an incremental clock, so that a begin or end
//! takes about a dozen bytes. Each batch starts with a snapshot of that clock: any prefix of the file that ends with a
//! whole packet is a valid trace, and the next packet can always be appended.
//!
//! - `process.rs` is a process, `thread.rs` one of its threads, `sequence.rs` the packets of that thread.
//! - `open.rs` holds the ranges that are open on a thread, `lanes.rs` those that may end on any thread.
//! - `schema.rs` and `payload.rs` make named values of NVTX's payloads, `annotation.rs` are arguments.
//! - `device/` is what devices did, told later by a thread of the image.
//! - `state.rs` is what a recording needs that is taken up again.

mod annotation;
mod device;
mod event;
mod lanes;
mod open;
mod payload;
mod process;
mod samples;
mod schema;
mod sequence;
mod state;
mod thread;

pub use annotation::{Annotation, Key, Value};
pub use device::DeviceCounts;
pub use process::{ProcessEncoder, ProcessHeader, Strings, write_header};
pub use samples::{FrameKey, SampleEncoder};
pub use state::{ENDED, HELD, LANE, LATEST, OPEN, OpenRun, Resumed, SCHEMA, STATE_FIELD};
pub use thread::ThreadCounts;
