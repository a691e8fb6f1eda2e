//! Writing Chrome JSON as Kineto writes it, for old tools: TensorBoard, Holistic Trace Analysis, `chrome://tracing`.
//!
//! New tools should be given a Perfetto trace ([`crate::perfetto`]): Chrome JSON has no place for lanes, and viewers
//! drop events that overlap others of their thread. Kineto writes such events all the same, and what reads Kineto's
//! files expects them on their thread or stream, so that is the default; [`Lanes::Apart`] puts each further lane on a
//! thread of its own.
//!
//! - Times are microseconds with three digits, from `baseTimeNanoseconds` of the header where the trace knows its
//!   clock's base.
//! - The category says what an event is. One that Kineto does not know, or that means something else there, is replaced
//!   by Kineto's for the kind; an event of a kind that Kineto lacks (a thread on a core, a call of the system) is a
//!   plain range.
//! - What the model holds beside the arguments (correlation, bytes, the collective) is written among them, where they
//!   do not hold it already. Numbers that JSON lacks are text.
//! - Samples are instants with their stack among the arguments.
//! - Counters that the reader derives from allocator events are not written beside these.
//! - Several ranks in one file get process ids of their own. That is for viewers; correlation ids of several ranks
//!   meet in it. Tools take a file per rank: [`write_folder`].

mod encode;
mod event;
mod head;
mod json;
mod place;
mod write;

pub use write::{Lanes, WriteOptions, WriteSummary, write, write_file, write_folder};
