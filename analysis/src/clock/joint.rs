//! What the clocks are aligned by: collectives whose times on different ranks depend on one another.

use gapless_trace::{RankId, Trace};

use crate::collectives::CollectiveKind;
use crate::match_collectives::call::{Calls, Place};
use crate::match_collectives::matching::Matched;

/// One rank's part, on its own clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub rank: u32,
    pub start_ns: i64,
    pub end_ns: i64,
    /// Whether others cannot end before this one has begun.
    pub gates: bool,
}

/// A collective over two or more ranks.
#[derive(Clone, Debug)]
pub(crate) struct Joint {
    /// Collectives of one class have one skew of ends.
    pub class: u32,
    /// By rank, each rank once.
    pub seen: Vec<Seen>,
}

/// How a kind ties its members together.
enum Tie {
    /// Everybody needs something of everybody: nobody ends before all have begun, and all end together.
    All,
    /// Ends are near one another, and who sends must begin before the other ends.
    Exchange,
    /// Ends say nothing about one another: a root may be done before others begin.
    Nothing,
}

const fn tie(kind: CollectiveKind) -> Tie {
    match kind {
        CollectiveKind::AllReduce
        | CollectiveKind::AllGather
        | CollectiveKind::ReduceScatter
        | CollectiveKind::AllToAll
        | CollectiveKind::Barrier => Tie::All,
        CollectiveKind::SendReceive => Tie::Exchange,
        CollectiveKind::Broadcast
        | CollectiveKind::Reduce
        | CollectiveKind::Gather
        | CollectiveKind::Scatter
        | CollectiveKind::Other => Tie::Nothing,
    }
}

/// The joints of all matched calls; `correct` maps device times onto the host's clock of their rank.
pub(crate) fn joints(
    trace: &Trace,
    calls: &Calls,
    matched: &[Matched],
    correct: impl Fn(RankId, i64, Place) -> i64,
) -> Vec<Joint> {
    let mut found = Vec::new();
    for entry in matched.iter().filter(|entry| entry.calls.len() > 1) {
        let own: Vec<_> = entry.calls.iter().filter_map(|&place| calls.calls.get(place)).collect();
        let Some(key) = calls.groups.get(entry.group as usize) else { continue };
        let kind = own.iter().map(|call| call.kind).find(|&kind| kind != CollectiveKind::SendReceive);
        let kind = kind.unwrap_or(CollectiveKind::SendReceive);
        let all = match tie(kind) {
            Tie::All => true,
            // A CPU may send before anybody receives: neither ends nor starts are tied.
            Tie::Exchange if key.place != Place::Device => continue,
            Tie::Exchange => false,
            Tie::Nothing => continue,
        };
        let mut seen: Vec<Seen> = own
            .iter()
            .map(|call| Seen {
                rank: call.rank.0,
                start_ns: correct(call.rank, call.start_ns, key.place),
                end_ns: correct(call.rank, call.end_ns, key.place),
                gates: all || CollectiveKind::is_send(trace.text(call.name)),
            })
            .collect();
        seen.dedup_by_key(|seen| seen.rank);
        let place = match key.place {
            Place::Device => 0,
            Place::Host => 1,
            Place::Log => 2,
            // Hosts do not wait for one another when they hand over.
            Place::Enqueued => continue,
        };
        found.push(Joint { class: place * 16 + kind as u32, seen });
    }
    found
}

/// The grain of the recorded times in ns: 1,000 where all are whole microseconds, else 1.
pub(crate) fn grain_ns(joints: &[Joint]) -> i64 {
    let whole = joints.iter().flat_map(|joint| &joint.seen).all(|seen| seen.end_ns % 1_000 == 0);
    if whole && !joints.is_empty() { 1_000 } else { 1 }
}
