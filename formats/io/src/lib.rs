//! Readers and writers of trace formats.
//!
//! [`open`] decides by content, never by a file's ending, and turns one or many files into one
//! [`Trace`](gapless_trace::Trace). Nothing that a file contains can make it panic, run or write anything.

mod args_arena;
mod collapsed;
mod cpu_samples;
mod error;
mod kineto;
mod limits;
mod mapped;
mod merge;
mod nsys;
mod open;
pub mod parquet;
mod perf_data;
mod perf_script;
pub mod perfetto;
mod progress;
mod ranks;
mod readers;
mod text;
mod unwrap;
mod xplane;

pub use error::OpenError;
pub use limits::Limits;
pub use open::{OpenOptions, expand, open, open_bytes};
pub use progress::{Progress, Silent};
