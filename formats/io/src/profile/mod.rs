//! Profiles of a selection's stacks, for tools that show flame graphs: [`firefox`] and [`speedscope`].
//!
//! A track of samples gives its sampled stacks. Any other track of ranges gives the nesting of its events: the stack at
//! a time is what runs then, from the outermost event to the innermost, and each stack weighs what its innermost event
//! takes itself. A lane of a track is a thread of its own, since the events of a lane nest.

pub mod firefox;
pub mod speedscope;
mod walk;

use gapless_trace::{RankId, Span, Trace, TrackId};

/// What part of a trace to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only what lies in this time; events that reach beyond it are cut. `None` takes all.
    pub span: Option<Span>,
    /// Only these tracks. `None` takes all that have stacks: threads, streams, samples, cores.
    pub tracks: Option<Vec<TrackId>>,
}

impl Selection {
    /// All that has stacks, of `ranks` only.
    #[must_use]
    pub fn of_ranks(trace: &Trace, ranks: &[RankId]) -> Self {
        let tracks = ranks.iter().flat_map(|&rank| trace.tracks_of(rank).map(|(id, _)| id)).collect();
        Self { span: None, tracks: Some(tracks) }
    }
}

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileOptions {
    /// Whether to compress with gzip. Files whose name ends in `.gz` are compressed too.
    pub gzip: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileSummary {
    /// Threads: tracks by lane.
    pub threads: u64,
    /// Events that have a stack, cut to the selection.
    pub events: u64,
    /// Marks of annotations and steps; Firefox only.
    pub markers: u64,
}
