//! From records of a ring to packets of a Perfetto trace.
//!
//! Each thread is a packet sequence of its own with its own names and an incremental clock, so that a begin or end
//! takes about a dozen bytes. Each batch starts with a snapshot of that clock: any prefix of the file that ends with a
//! whole packet is a valid trace, and the next packet can always be appended.

mod annotation;
mod lanes;
mod process;
mod samples;
mod thread;

pub use annotation::{Annotation, Key, Value};
pub use process::{ProcessEncoder, ProcessHeader, Strings, write_header};
pub use samples::{FrameKey, SampleEncoder};
pub use thread::ThreadCounts;

/// Packet field that other readers skip: up to where the rings of a thread are in the file. Recovery goes on there.
pub const POSITION_FIELD: u32 = 4790;

/// Categories of the classes of records, in the order of their numbers. Kineto's names, so that every reader knows what
/// they are.
const CATEGORIES: [&str; 9] = [
    "user_annotation",
    "cpu_op",
    "cpu_op",
    "user_annotation",
    "user_annotation",
    "gc",
    "python_function",
    "user_annotation",
    "collective_comm",
];
