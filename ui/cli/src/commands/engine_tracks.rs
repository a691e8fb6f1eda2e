//! Tracks of what the engine found, for `gapless convert --engine`.

use gapless_analysis::graph::{Graph, GraphInput, GraphOptions};
use gapless_analysis::path::PathReport;
use gapless_analysis::{ClockAlignment, match_collectives, timings};
use gapless_formats::perfetto::{DerivedSlice, DerivedTrack};
use gapless_trace::{Duration, RankId, Span, Timestamp, Trace};

/// The critical path over all ranks, and of each rank its waits for late ones. Times are those of the clock of each rank,
/// as its own events have them.
pub fn engine_tracks(trace: &Trace) -> Vec<DerivedTrack> {
    let clocks = ClockAlignment::new(trace);
    let collectives = match_collectives(trace, &clocks);
    let input = GraphInput { clocks: &clocks, collectives: &collectives };
    let graph = Graph::new(trace, &input, &GraphOptions::default());
    let recorded = |rank: RankId, at: Timestamp| at - (clocks.to_common(rank, at) - at);
    let label = |rank: RankId| trace.rank(rank).map(gapless_trace::Rank::label).unwrap_or_default();
    let paths = PathReport::new(trace, &graph, &input, |_, _| true).paths;
    let slice = |segment: &gapless_analysis::path::PathSegment| {
        let rank = RankId(segment.rank_id.unwrap_or(0));
        let start = recorded(rank, Timestamp(segment.start_ns));
        let name = if segment.name.is_empty() { segment.category.label() } else { segment.name.as_str() };
        let place = if trace.ranks().len() > 1 { format!("{}: ", label(rank)) } else { String::new() };
        DerivedSlice { span: Span::new(start, start + Duration(segment.duration_ns)), name: format!("{place}{name}") }
    };
    let path = paths.iter().flat_map(|path| &path.segments).map(slice).collect();
    let mut tracks = vec![DerivedTrack { rank: None, name: "Critical path".to_owned(), slices: path }];
    let mut waits: Vec<Vec<DerivedSlice>> = vec![Vec::new(); trace.ranks().len()];
    for (instance, timing) in collectives.iter().zip(timings(&collectives, &clocks)) {
        if instance.enqueued_only {
            continue;
        }
        let for_whom = timing.delayer.map(|late| format!(" for {}", label(late))).unwrap_or_default();
        for (member, &wait) in instance.members.iter().zip(&timing.waits_ns) {
            let start = trace.event(member.event).start;
            if let Some(of_rank) = waits.get_mut(member.rank.index()).filter(|_| wait > 0) {
                let name = format!("waits{for_whom} in {}", instance.kind.label());
                of_rank.push(DerivedSlice { span: Span::new(start, start + Duration(wait)), name });
            }
        }
    }
    for ((rank, _), slices) in trace.rank_ids().zip(waits) {
        if !slices.is_empty() {
            tracks.push(DerivedTrack { rank: Some(rank), name: "Waiting for late ranks".to_owned(), slices });
        }
    }
    tracks
}
