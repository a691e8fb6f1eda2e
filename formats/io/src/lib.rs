//! Readers and writers of trace formats.
//!
//! [`open`] decides by content, never by a file's ending, and turns one or many files into one
//! [`Trace`](gapless_trace::Trace). Nothing that a file contains can make it panic, run or write anything.

mod args_arena;
mod chakra;
pub mod chrome_json;
mod collapsed;
mod companion_names;
mod cpu_samples;
mod detail;
mod error;
mod execution_trace;
mod flight_recorder;
mod json;
mod kineto;
mod limits;
mod mapped;
mod merge;
mod nccl_inspector;
mod nsys;
mod open;
mod output;
pub mod parquet;
mod perf_data;
mod perf_script;
pub mod perfetto;
pub mod profile;
mod progress;
mod protobuf;
mod ranks;
mod readers;
mod rocprof;
mod straggler;
mod text;
mod unwrap;
mod xplane;

/// Field of a packet by which a recording says how far the rings of its process were read; nothing that is shown.
pub const RECORDING_POSITION: u32 = 4790;

pub use error::OpenError;
pub use limits::Limits;
pub use open::{OpenOptions, expand, open, open_bytes};
pub use output::ExportError;
pub use progress::{Progress, Silent};
