//! Parquet: writing a trace as tables for SQL, and reading flat tables (`read`).
//!
//! A trace is written as a folder of tables for SQL engines and data frames:
//!
//! ```text
//! out/
//! ├─ events/rank=0/events.parquet   one row per event, partitioned by rank as Hive does
//! ├─ events/rank=1/events.parquet
//! ├─ tracks.parquet                 names, kinds, processes of the tracks
//! ├─ counters.parquet               samples of counters
//! ├─ launches.parquet               which call launched which device work
//! ├─ flows.parquet                  other arrows between events
//! ├─ stacks.parquet                 call stacks as a tree: each row a frame and the stack that calls it
//! ├─ event_stacks.parquet           which events carry which call stack
//! ├─ warnings.parquet               what was odd or lost on import
//! └─ gapless.json                   ranks, devices, clocks, sources, and the columns of every table
//! ```
//!
//! Texts are plain UTF-8 columns in Parquet's own dictionary encoding, not dictionary types of Arrow, which
//! distributed engines stumble on. Numbers have a sign where they may be subtracted.

mod columns;
mod encode;
mod events;
mod hybrid;
mod metadata;
pub(crate) mod read;
mod tables;
mod write;

#[cfg(test)]
mod tests;

pub use write::{WriteError, WriteOptions, WriteSummary, write_folder};
