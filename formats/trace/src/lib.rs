//! The model of a trace: time, strings, tracks, event columns, links and warnings.
//!
//! Readers in `gapless-formats` fill a [`TracePart`] per file; [`Trace::from_parts`] turns the
//! parts into one immutable [`Trace`] that everything else reads. This crate does no I/O and knows
//! no user interface.
//!
//! # Layout
//!
//! Events are columns (see [`Events`]), sorted by track, then by **row**, then by start. A row is one
//! nesting depth of one lane of one track, so within a row starts *and* ends ascend and any time
//! range is a slice found by binary search. A track has several lanes when its events overlap
//! without nesting (programmatic dependent launch, CUDA graphs, Python frames that were left open):
//! no event is dropped because it overlaps.
//!
//! An event costs at most 44 bytes beside the mapped file; [`Trace::memory`] measures it.

mod args;
mod bind;
mod build;
mod communication;
mod events;
mod kind;
mod lanes;
mod layout;
mod links;
mod memory;
mod numbers;
mod pair;
mod part;
mod sort;
mod stacks;
mod strings;
mod time;
mod trace;
mod track;
mod warning;

pub use args::{ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, NoArgs};
pub use communication::{CommunicationPatterns, PatternError};
pub use events::{Event, EventId, Events};
pub use kind::EventKind;
pub use links::{Flow, LaunchLinks};
pub use memory::MemoryReport;
pub use numbers::{thousands, three_figures};
pub use part::{
    AsyncPhase, CollectiveArgs, RawAsync, RawBeginEnd, RawChunk, RawCounter, RawEdge, RawEventStack, RawFlow, RawId,
    RawMeta, RawPlace, TraceInfo, TracePart,
};
pub use stacks::{EventStack, Frame, FrameId, StackId, StackTable};
pub use strings::{StrId, StringTable};
pub use time::{Duration, Span, Timestamp};
pub use trace::{BuildError, BuildOptions, Trace};
pub use track::{
    Collective, CounterId, CounterSeries, DeviceInfo, Process, ProcessId, ProcessKind, Rank, RankId, Row, RowId,
    Source, SourceId, Track, TrackId, TrackKind, TrackName,
};
pub use warning::{Severity, Warning, WarningKind, Warnings};
