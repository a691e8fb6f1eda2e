//! When the devices of a rank stood still, what the host did meanwhile, and which waits of the host led to it.
//!
//! A wait of the host for the device costs nothing by itself: what counts is that the device has nothing to do when the
//! host goes on. So every wait is held against the gap of the device in which it returned.

use gapless_analysis::graph::{Edge, EdgeKind, NodeId, NodeKind};
use gapless_analysis::interval::{Interval, IntervalSet};
use gapless_analysis::path::step_windows;
use gapless_trace::{EventId, RankId, TrackId};
use rustc_hash::FxHashMap;

use crate::study::Study;

/// Why a device stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapCause {
    /// The thread that launched the next work fetched a batch.
    Loading,
    /// It collected garbage.
    Garbage,
    /// It did one thing for at least half of the gap, without a call into the device's runtime.
    Stretch,
    /// It had waited for the device, and had to launch anew.
    AfterWait,
    /// It launched one thing after another, slower than the device worked.
    Dispatch,
    /// The next work was launched in time and began late for no reason that the recording shows.
    Unexplained,
    /// The next work was launched in time: gaps of the device itself, other streams, other ranks.
    Queued,
}

/// A stretch in which no device of a rank worked, communication that waits for others counted as work.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The rank.
    pub rank: RankId,
    /// Its begin, in ns on the common clock.
    pub start_ns: i64,
    /// Its end, in ns.
    pub end_ns: i64,
    /// The work that ends it.
    pub next: NodeId,
    /// The step in which that was launched.
    pub step: Option<usize>,
    /// Why.
    pub cause: GapCause,
    /// The thread that launched the next work within the gap.
    pub thread: Option<TrackId>,
    /// The longest stretch of that thread between two calls within the gap, and how much of it lies in the gap, in ns.
    pub longest: Option<(NodeId, i64)>,
}

impl Gap {
    /// Its length, in ns.
    #[must_use]
    pub const fn duration_ns(&self) -> i64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// A call that waited for the device.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Where it returns.
    pub node: NodeId,
    /// The call.
    pub call: EventId,
    /// The rank.
    pub rank: RankId,
    /// When it returned, in ns on the common clock.
    pub until_ns: i64,
    /// How long it took, in ns.
    pub waited_ns: i64,
    /// Place of the device's gap in which it returned, if the thread then launched what ended the gap.
    pub gap: Option<usize>,
}

/// Gaps and waits of a study.
#[derive(Clone, Debug, Default)]
pub struct Idle {
    busy: FxHashMap<RankId, IntervalSet>,
    computing: FxHashMap<RankId, IntervalSet>,
    gaps: Vec<Gap>,
    waits: Vec<Wait>,
}

/// From this length on one stretch of a thread explains a gap; shorter ones are what every launch needs, in ns.
const STRETCH_NS: i64 = 100_000;

impl Idle {
    /// Goes over all device work and all waits. O(n log n).
    #[must_use]
    pub fn new(study: &Study<'_>) -> Self {
        let graph = study.graph();
        let mut spans: FxHashMap<RankId, [Vec<Interval>; 2]> = FxHashMap::default();
        let mut starts: FxHashMap<RankId, Vec<(i64, NodeId)>> = FxHashMap::default();
        for id in graph.node_ids() {
            let node = graph.node(id);
            let Some(rank) = node.place.filter(|place| place.is_device).map(|place| place.rank) else { continue };
            if node.kind.is_device_start() {
                starts.entry(rank).or_default().push((node.start_ns, id));
            }
            if node.kind.is_virtual() {
                continue;
            }
            let span = Interval::new(node.start_ns, node.end_ns());
            let [all, compute] = spans.entry(rank).or_default();
            all.push(span);
            if node.kind == NodeKind::Kernel {
                compute.push(span);
            }
        }
        let mut this = Self::default();
        for (rank, [all, compute]) in spans {
            this.busy.insert(rank, IntervalSet::from_unsorted(all));
            this.computing.insert(rank, IntervalSet::from_unsorted(compute));
        }
        let bound: Vec<Wait> = graph.node_ids().filter_map(|id| wait(study, id)).collect();
        let mut returns: FxHashMap<TrackId, Vec<i64>> = FxHashMap::default();
        for wait in &bound {
            if let Some((track, _)) = study.trace().track_of(wait.call) {
                returns.entry(track).or_default().push(wait.until_ns);
            }
        }
        for list in returns.values_mut() {
            list.sort_unstable();
        }
        // Between steps that do not touch, time is nobody's.
        let windows = step_windows(graph).into_iter().map(|(from, to)| Interval::new(from, to));
        let windows = IntervalSet::from_sorted(windows);
        for rank in this.ranks() {
            let mut starts = starts.remove(&rank).unwrap_or_default();
            starts.sort_unstable();
            let Some(busy) = this.busy.get(&rank) else { continue };
            let intervals = busy.intervals();
            for (before, after) in intervals.iter().zip(intervals.iter().skip(1)) {
                let span = Interval::new(before.end, after.start);
                if !windows.is_empty() && 2 * windows.clip(span).length() < span.length() {
                    continue;
                }
                if let Some(gap) = gap(study, rank, (before.end, after.start), &starts, &returns) {
                    this.gaps.push(gap);
                }
            }
        }
        this.waits = bound.into_iter().map(|wait| Wait { gap: this.gap_after(study, &wait), ..wait }).collect();
        this
    }

    /// All gaps within steps, by rank and time; all of the recording if it has no steps.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// All waits, in the order of the graph.
    #[must_use]
    pub fn waits(&self) -> &[Wait] {
        &self.waits
    }

    /// When any device of a rank worked.
    #[must_use]
    pub fn busy(&self, rank: RankId) -> Option<&IntervalSet> {
        self.busy.get(&rank)
    }

    /// When any kernel of a rank ran that computes.
    #[must_use]
    pub fn computing(&self, rank: RankId) -> Option<&IntervalSet> {
        self.computing.get(&rank)
    }

    /// Ranks with device work, in order.
    #[must_use]
    pub fn ranks(&self) -> Vec<RankId> {
        let mut ranks: Vec<RankId> = self.busy.keys().copied().collect();
        ranks.sort_unstable();
        ranks
    }

    /// Lengths of the gaps behind waits, each gap once, in ns. Gaps in which data are loaded or garbage is collected have
    /// another cause.
    #[must_use]
    pub fn stall_ns<'w>(&self, waits: impl IntoIterator<Item = &'w Wait>) -> i64 {
        let mut gaps: Vec<usize> = waits.into_iter().filter_map(|wait| wait.gap).collect();
        gaps.sort_unstable();
        gaps.dedup();
        let own = |gap: &&Gap| !matches!(gap.cause, GapCause::Loading | GapCause::Garbage);
        gaps.into_iter().filter_map(|gap| self.gaps.get(gap)).filter(own).map(Gap::duration_ns).sum()
    }

    fn gap_after(&self, study: &Study<'_>, wait: &Wait) -> Option<usize> {
        let place = self.gaps.partition_point(|gap| (gap.rank, gap.end_ns) < (wait.rank, wait.until_ns));
        let gap = self.gaps.get(place).filter(|gap| gap.rank == wait.rank && gap.start_ns <= wait.until_ns)?;
        let thread = study.trace().track_of(wait.call).map(|(track, _)| track);
        let launched = study.facts().launch(gap.next).map(|launch| study.graph().node(launch).start_ns);
        (gap.thread == thread && launched.is_some_and(|at| at >= wait.until_ns)).then_some(place)
    }
}

/// The edge that was the last to be satisfied.
pub(crate) fn binding(study: &Study<'_>, id: NodeId) -> Option<Edge> {
    let graph = study.graph();
    graph.edges_to(id).max_by_key(|edge| graph.source_time_ns(edge).saturating_add(edge.lag_ns))
}

fn wait(study: &Study<'_>, id: NodeId) -> Option<Wait> {
    let graph = study.graph();
    let node = graph.node(id);
    if node.kind != NodeKind::Return {
        return None;
    }
    let edge = binding(study, id)?;
    let waits = edge.kind == EdgeKind::SyncReturn || graph.unexplained_ns(id) > 0;
    let (call, place) = (node.event?, node.place?);
    let begun = study.host_span(call).start.nanos();
    waits.then_some(Wait {
        node: id,
        call,
        rank: place.rank,
        until_ns: node.start_ns,
        waited_ns: node.start_ns.saturating_sub(begun).max(0),
        gap: None,
    })
}

fn gap(
    study: &Study<'_>,
    rank: RankId,
    (start_ns, end_ns): (i64, i64),
    starts: &[(i64, NodeId)],
    returns: &FxHashMap<TrackId, Vec<i64>>,
) -> Option<Gap> {
    let graph = study.graph();
    let first = starts.partition_point(|start| start.0 < end_ns);
    let launched = |id: NodeId| study.facts().launch(id).map_or(i64::MAX, |launch| graph.node(launch).start_ns);
    let ends = starts.iter().skip(first).take_while(|start| start.0 == end_ns).map(|start| start.1);
    let next = ends.min_by_key(|&id| (launched(id), id))?;
    let mut found = Gap {
        rank,
        start_ns,
        end_ns,
        next,
        step: study.facts().step(next),
        cause: GapCause::Queued,
        thread: None,
        longest: None,
    };
    let length = found.duration_ns();
    if graph.unexplained_ns(next).saturating_mul(2) >= length {
        found.cause = GapCause::Unexplained;
        return Some(found);
    }
    let at = launched(next);
    let Some(thread) = study.facts().launch(next).and_then(|launch| graph.node(launch).place).map(|place| place.track)
    else {
        found.cause = GapCause::Unexplained;
        return Some(found);
    };
    if at < start_ns {
        return Some(found);
    }
    found.thread = Some(thread);
    let span = gapless_trace::Span::new(gapless_trace::Timestamp(start_ns), gapless_trace::Timestamp(at));
    let (mut loading, mut garbage) = (0_i64, 0_i64);
    for (id, ns) in study.host_nodes_in(thread, span) {
        match graph.node(id).kind {
            NodeKind::DataLoader => loading += ns,
            NodeKind::Gc => garbage += ns,
            NodeKind::Host if found.longest.is_none_or(|(_, most)| ns > most) => found.longest = Some((id, ns)),
            _ => {}
        }
    }
    let waited = returns.get(&thread).is_some_and(|list| {
        let first = list.partition_point(|&until| until < start_ns);
        list.get(first).is_some_and(|&until| until <= at)
    });
    let is_stretch = found.longest.is_some_and(|(_, ns)| ns >= STRETCH_NS && ns.saturating_mul(2) >= length);
    found.cause = if loading.saturating_mul(2) >= length {
        GapCause::Loading
    } else if garbage.saturating_mul(2) >= length {
        GapCause::Garbage
    } else if is_stretch {
        GapCause::Stretch
    } else if waited {
        GapCause::AfterWait
    } else {
        GapCause::Dispatch
    };
    Some(found)
}
