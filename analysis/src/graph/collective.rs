//! Collectives: a member's transfer begins when all members have arrived.

use gapless_trace::{EventId, StrId, Trace};
use rustc_hash::FxHashMap;

use super::assemble::{Raw, RawNode};
use super::device::Work;
use super::{EdgeKind, Evidence, NONE, NodeKind, Point};

/// Where a member of a collective is in the raw graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined {
    /// Where it arrives.
    pub arrival: u32,
    /// Where it moves data.
    pub transfer: u32,
    pub start: i64,
    pub end: i64,
}

/// Joins the members of one collective: all arrivals meet, then each transfers.
///
/// With the common arrival A, the transfer of a member takes its end less A. A member that ended before A (its clock or
/// its part: the root of a broadcast) does not wait for the others.
pub(crate) fn join(raw: &mut Raw, members: &[Joined]) {
    let arrived = members.iter().map(|member| member.start).max().unwrap_or_default();
    let meeting = raw.node(RawNode { start: arrived, dur: 0, event: NONE, place: NONE, kind: NodeKind::Meeting });
    for member in members {
        raw.edge(member.arrival, Point::Start, meeting, 0, EdgeKind::Arrive, Evidence::Exact);
        let waits = member.end >= arrived;
        let start = if waits { arrived } else { member.start };
        if let Some(node) = raw.nodes.get_mut(member.transfer as usize) {
            node.start = start;
            node.dur = member.end.saturating_sub(start).max(0);
        }
        if waits {
            raw.edge(meeting, Point::Start, member.transfer, 0, EdgeKind::Transfer, Evidence::Exact);
        }
        // Implied by the meeting; what is left of it when nobody waits for the others.
        raw.edge(member.arrival, Point::Start, member.transfer, 0, EdgeKind::Transfer, Evidence::Exact);
    }
}

/// Name of the kernel, and where the file says it the collective, its group and its elements.
type CallKind = (StrId, StrId, StrId, Option<u64>);

/// The least duration of each kind of communication kernel of a rank: what it takes when nobody has to be waited for.
///
/// Kernels of one kind have the same name, and where the file says it the same collective, group and elements.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shortest {
    by_kind: FxHashMap<CallKind, i64>,
}

impl Shortest {
    pub fn new(trace: &Trace, work: &[Work]) -> Self {
        let mut this = Self::default();
        for piece in work.iter().filter(|piece| piece.kind == NodeKind::Transfer) {
            let dur = piece.end.saturating_sub(piece.start);
            let shortest = this.by_kind.entry(Self::key(trace, piece)).or_insert(dur);
            *shortest = dur.min(*shortest);
        }
        this
    }

    fn key(trace: &Trace, piece: &Work) -> CallKind {
        let args = trace.collective(EventId(piece.event));
        args.map_or((piece.name, StrId::EMPTY, StrId::EMPTY, None), |args| {
            (piece.name, args.name, args.group, args.in_elems)
        })
    }

    /// How much of a communication kernel is waiting, as far as one rank can tell.
    pub fn wait_of(&self, trace: &Trace, piece: &Work) -> i64 {
        let shortest = self.by_kind.get(&Self::key(trace, piece)).copied().unwrap_or(i64::MAX);
        piece.end.saturating_sub(piece.start).saturating_sub(shortest).max(0)
    }
}
