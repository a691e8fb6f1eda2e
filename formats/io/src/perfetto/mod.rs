//! Writing Perfetto traces (`.pftrace`).
//!
//! The file is a run of `TrackEvent` packets, written as a stream: memory is bounded by a few batches of
//! events, never by the file. Rules of Perfetto's importer that decide the form:
//!
//! - It has no complete event. A slice is a BEGIN and an END, and an END closes the top of its track's stack.
//!   So each lane of a track, in which slices nest, is a Perfetto track of its own, and nothing that overlaps is lost.
//! - It sorts packets by time and keeps the order of the file among equal times. So a lane is written in
//!   nesting order, and zero-length slices and neighbours that touch come out as they are.
//! - Interned strings belong to a packet sequence. Batches are encoded in parallel, each by an encoder with its
//!   own sequence id and strings.
//! - Process ids must be unique, times must not be negative, counters must be declared, a flow only ends where
//!   it has begun before. `layout` and `flows` take care of that.
//!
//! What a reader needs to get the same trace back stands in one instant per rank, named
//! [`FACTS_EVENT`], of category [`FACTS_CATEGORY`], on the rank's process track; see `facts`.

mod annotate;
mod derived;
mod encode;
mod facts;
mod flows;
mod intern;
mod lane;
mod layout;
mod own;
mod read;
mod stacks;
mod write;

#[cfg(test)]
mod tests;

pub use derived::{DerivedSlice, DerivedTrack};
pub(crate) use read::{read, sniff};
pub use write::{WriteOptions, WriteSummary, write, write_file, write_file_with};

/// Name of the instant that carries the facts of a rank.
pub const FACTS_EVENT: &str = "Trace information";
/// Category of the instant that carries the facts of a rank.
pub const FACTS_CATEGORY: &str = "gapless.facts";
