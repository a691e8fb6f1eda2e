//! What the rank that came last to a collective did longer than the others: the time for which they waited is charged to
//! it.
//!
//! From the arrival at one collective to the arrival at the next in which the same ranks take part, each rank does the same
//! work; the one that comes last has done some of it longer, or more of it. Its time there, by what its device ran and what
//! its thread did while the device stood still, is held against the median of the others; what it has in excess shares the
//! time for which they waited for it alone. Two things are charged to earlier collectives: excess that is itself waiting,
//! in a collective of other ranks, and what of the lateness no excess explains, since it was there before. They go on to
//! whoever came last there (late senders and indirect waits: Böhme et al., "Identifying the Root Causes of Wait States in
//! Large-Scale Parallel Applications", 2010).

use std::collections::BTreeMap;

use gapless_trace::{EventId, EventKind, RankId, Span, Timestamp, Trace, Track, TrackId, TrackKind};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{CollectiveInstance, Member, TimedCollective};

/// What kind of excess it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayKind {
    /// Work of the device.
    Device,
    /// Work of the thread that asked for the collective, while the device stood still.
    Host,
}

/// Time for which others waited, charged to what made a rank late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DelayCost {
    /// The rank that was late.
    #[serde(rename = "rank_id", serialize_with = "crate::ids::rank")]
    pub rank: RankId,
    /// What kind of work it did for longer.
    pub kind: DelayKind,
    /// Where in its calls: the operators around it, outermost first, and the kernel; `between operators` where none is.
    pub path: String,
    /// Time for which others waited because of it, summed over them, in ns.
    pub charged_ns: i64,
    /// The part of it for which they waited for another rank, which this one had held up before, in ns.
    pub indirect_ns: i64,
    /// Collectives that it delayed.
    pub collectives: u64,
}

/// Where time went: a kind of work and its path, or a wait in a collective (by place).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Work(DelayKind, String),
    Wait(usize),
}

/// Stands for the path of what a thread does where no operator is.
pub const BETWEEN_OPERATORS: &str = "between operators";

/// How far a charge is handed on.
const MOST_HANDS: u32 = 64;
/// Names of operators that a path has at most.
const MOST_NAMES: usize = 3;

/// Charges the waits of `collectives`, highest first. What no excess explains is left out, and so are the first and the
/// last collective of each group.
///
/// O(members × (events between two of their collectives)).
#[must_use]
pub fn delay_costs(trace: &Trace, collectives: &[TimedCollective]) -> Vec<DelayCost> {
    let accountant = Accountant::new(trace, collectives);
    let mut found: BTreeMap<(RankId, DelayKind, String), DelayCost> = BTreeMap::new();
    for (place, timed) in collectives.iter().enumerate() {
        let others = timed.instance.members.len().saturating_sub(1);
        if timed.instance.edge || timed.timing.delayer.is_none() || timed.timing.is_estimated {
            continue;
        }
        let waited = timed.timing.margin_ns.max(0) as f64 * others as f64;
        let mut charges = BTreeMap::new();
        let late = timed.timing.delayer.unwrap_or_default();
        accountant.charge(place, (waited, timed.timing.margin_ns), (late, 0), &mut charges);
        for ((rank, kind, path), (direct, indirect)) in charges {
            let cost = found.entry((rank, kind, path.clone())).or_insert_with(|| DelayCost {
                rank,
                kind,
                path,
                charged_ns: 0,
                indirect_ns: 0,
                collectives: 0,
            });
            cost.charged_ns = cost.charged_ns.saturating_add((direct + indirect).round() as i64);
            cost.indirect_ns = cost.indirect_ns.saturating_add(indirect.round() as i64);
            cost.collectives += 1;
        }
    }
    let mut costs: Vec<DelayCost> = found.into_values().filter(|cost| cost.charged_ns > 0).collect();
    costs.sort_by(|a, b| b.charged_ns.cmp(&a.charged_ns).then_with(|| (a.rank, &a.path).cmp(&(b.rank, &b.path))));
    costs
}

/// Charges of one collective: by rank, kind and path the direct and the indirect part.
type Charges = BTreeMap<(RankId, DelayKind, String), (f64, f64)>;

struct Accountant<'a> {
    trace: &'a Trace,
    collectives: &'a [TimedCollective],
    /// Of each rank its collectives, in the order of their ends: place and member.
    of_rank: FxHashMap<RankId, Vec<(usize, &'a Member)>>,
}

impl<'a> Accountant<'a> {
    fn new(trace: &'a Trace, collectives: &'a [TimedCollective]) -> Self {
        let mut of_rank: FxHashMap<RankId, Vec<(usize, &'a Member)>> = FxHashMap::default();
        for (place, timed) in collectives.iter().enumerate() {
            for member in &timed.instance.members {
                of_rank.entry(member.rank).or_default().push((place, member));
            }
        }
        Self { trace, collectives, of_rank }
    }

    /// Splits `waited` ns of waiting for the last rank of a collective, which came so much later than the others, over what
    /// it did longer than they did. `first` is the rank for which the waiting ranks waited, and how often the charge was
    /// handed on since.
    fn charge(&self, place: usize, (waited, late_ns): (f64, i64), first: (RankId, u32), charges: &mut Charges) {
        let Some(timed) = self.collectives.get(place) else { return };
        let Some(late) = timed.timing.delayer else { return };
        let Some(before) = self.last_together(place) else { return };
        let of_rank = |rank: RankId| Some((rank, self.time_between(rank, before, place)?));
        let members = timed.instance.members.iter().map(|member| member.rank);
        let times: Vec<(RankId, BTreeMap<Key, f64>)> = members.filter_map(of_rank).collect();
        let Some((_, own)) = times.iter().find(|(rank, _)| *rank == late) else { return };
        let excess: Vec<(&Key, f64)> = own
            .iter()
            .map(|(key, time)| {
                let others = times.iter().filter(|(rank, _)| *rank != late);
                let mut usual: Vec<f64> = others.map(|(_, times)| times.get(key).copied().unwrap_or(0.0)).collect();
                usual.sort_by(f64::total_cmp);
                (key, time - usual.get(usual.len() / 2).copied().unwrap_or(0.0))
            })
            .filter(|(_, more)| *more > 0.0)
            .collect();
        let sum: f64 = excess.iter().map(|(_, more)| more).sum();
        // What was there before, which nothing since then explains.
        let carried = (late_ns as f64 - sum).max(0.0);
        let all = (sum + carried).max(1.0);
        let hands = (first.0, first.1 + 1);
        let hand_on = |to: usize, part: f64, charges: &mut Charges| {
            if hands.1 < MOST_HANDS && part > 0.0 {
                self.charge(to, (waited * part / all, part as i64), hands, charges);
            }
        };
        hand_on(before, carried, charges);
        for (key, more) in excess {
            match key {
                Key::Wait(earlier) => hand_on(*earlier, more, charges),
                Key::Work(kind, path) => {
                    let entry = charges.entry((late, *kind, path.clone())).or_insert((0.0, 0.0));
                    let part = waited * more / all;
                    if late == first.0 { entry.0 += part } else { entry.1 += part }
                }
            }
        }
    }

    /// The last collective before the one at `place` in which all its members take part.
    fn last_together(&self, place: usize) -> Option<usize> {
        let instance = &self.collectives.get(place)?.instance;
        let first = self.of_rank.get(&instance.members.first()?.rank)?;
        let at = first.partition_point(|entry| entry.0 < place);
        let has_all = |other: &CollectiveInstance| {
            let takes_part = |rank: RankId| other.members.iter().any(|member| member.rank == rank);
            instance.members.iter().all(|member| takes_part(member.rank))
        };
        let earlier = first.get(..at)?.iter().rev().take(64).map(|entry| entry.0);
        earlier.into_iter().find(|&earlier| {
            self.collectives.get(earlier).is_some_and(|timed| has_all(&timed.instance) && !timed.instance.enqueued_only)
        })
    }

    /// How a rank spent the time from its arrival at one collective to that at another.
    fn time_between(&self, rank: RankId, from: usize, to: usize) -> Option<BTreeMap<Key, f64>> {
        let member = |place: usize| {
            let members = &self.collectives.get(place)?.instance.members;
            members.iter().find(|member| member.rank == rank)
        };
        let (first, to) = (member(from)?, member(to)?);
        let (begin, end) = (self.trace.event(first.event).start, self.trace.event(to.event).start);
        let span = Span::new(begin, end.max(begin));
        let mut times: BTreeMap<Key, f64> = BTreeMap::new();
        let mut busy: Vec<(i64, i64)> = Vec::new();
        // In collectives: the wait of each but the first, and the transfer, which is the same for all.
        for &(place, member) in self.of_rank.get(&rank)? {
            let event = self.trace.event(member.event);
            let Some(timed) = self.collectives.get(place) else { continue };
            let clipped = event.span().intersect(span);
            if clipped.is_empty() || timed.instance.enqueued_only {
                continue;
            }
            busy.push((clipped.start.nanos(), clipped.end.nanos()));
            let index = timed.instance.members.iter().position(|other| other.rank == rank);
            let wait = index.and_then(|index| timed.timing.waits_ns.get(index)).copied().unwrap_or(0);
            if place != from {
                *times.entry(Key::Wait(place)).or_default() += wait.min(clipped.duration().nanos()) as f64;
            }
        }
        for (_, track) in self.trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Stream) {
            for row in self.trace.rows_of(track) {
                for index in self.trace.events_in(row, span) {
                    let id = EventId(index as u32);
                    let event = self.trace.event(id);
                    if !event.kind.is_device_work() || event.kind.is_communication() {
                        continue;
                    }
                    let clipped = event.span().intersect(span);
                    busy.push((clipped.start.nanos(), clipped.end.nanos()));
                    let key = Key::Work(DelayKind::Device, self.device_path(id));
                    *times.entry(key).or_default() += clipped.duration().nanos() as f64;
                }
            }
        }
        self.host(to, span, &idle(span, busy), &mut times);
        Some(times)
    }

    /// Operators around the launch of `work`, and its name.
    fn device_path(&self, work: EventId) -> String {
        let launch = self.trace.launches().launch_of(work);
        let mut names = launch.map(|launch| self.around(launch)).unwrap_or_default();
        names.push(self.trace.name(work));
        names.join(" > ")
    }

    /// Names of the outermost operators and marks around an event, but for the step.
    fn around(&self, event: EventId) -> Vec<&str> {
        let mut names = Vec::new();
        let mut at = self.trace.parent(event);
        while let Some(id) = at {
            if matches!(self.trace.event(id).kind, EventKind::Operator | EventKind::Annotation) {
                names.push(self.trace.name(id));
            }
            at = self.trace.parent(id);
        }
        names.reverse();
        names.truncate(MOST_NAMES);
        names
    }

    /// What the thread that asked for the collective did in `idle`, the time in which its device had nothing to do.
    fn host(&self, member: &Member, span: Span, idle: &[(i64, i64)], times: &mut BTreeMap<Key, f64>) {
        let asked = self.trace.launches().launch_of(member.event).unwrap_or(member.event);
        let of_thread = |(_, track): &(TrackId, &Track)| track.kind == TrackKind::Thread;
        let Some((_, track)) = self.trace.track_of(asked).filter(of_thread) else { return };
        let mut left = idle.iter().map(|(from, to)| to - from).sum::<i64>() as f64;
        for row in self.trace.rows_of(track) {
            for index in self.trace.events_in(row, span) {
                let event = EventId(index as u32);
                if !self.is_outermost(event) {
                    continue;
                }
                let own = self.trace.event(event).span();
                let shared = shared(idle, own.start.nanos(), own.end.nanos()) as f64;
                if shared > 0.0 {
                    let mut names = self.around(event);
                    names.push(self.trace.name(event));
                    *times.entry(Key::Work(DelayKind::Host, names.join(" > "))).or_default() += shared;
                    left -= shared;
                }
            }
        }
        if left > 0.0 {
            *times.entry(Key::Work(DelayKind::Host, BETWEEN_OPERATORS.to_owned())).or_default() += left;
        }
    }

    /// Whether an event is an operator or a call that no other operator is around: marks of the user do not count.
    fn is_outermost(&self, event: EventId) -> bool {
        let is_work = |id: EventId| {
            matches!(self.trace.event(id).kind, EventKind::Operator | EventKind::RuntimeCall | EventKind::DriverCall)
        };
        if !is_work(event) {
            return false;
        }
        let mut at = self.trace.parent(event);
        while let Some(id) = at {
            if is_work(id) {
                return false;
            }
            at = self.trace.parent(id);
        }
        true
    }
}

/// What of `span` lies outside of `busy`.
fn idle(span: Span, mut busy: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    busy.sort_unstable();
    let mut idle = Vec::new();
    let mut at = span.start.nanos();
    for (from, to) in busy {
        if from > at {
            idle.push((at, from));
        }
        at = at.max(to);
    }
    if Timestamp(at) < span.end {
        idle.push((at, span.end.nanos()));
    }
    idle
}

/// How much of `from..to` lies in the pieces, which ascend.
fn shared(pieces: &[(i64, i64)], from: i64, to: i64) -> i64 {
    let first = pieces.partition_point(|piece| piece.1 <= from);
    let pieces = pieces.get(first..).unwrap_or_default().iter().take_while(|piece| piece.0 < to);
    pieces.map(|piece| (piece.1.min(to)).saturating_sub(piece.0.max(from)).max(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_what_nothing_covers() {
        let span = Span::new(Timestamp(10), Timestamp(100));
        let idle = idle(span, vec![(60, 70), (20, 40), (30, 50)]);
        assert_eq!(idle, [(10, 20), (50, 60), (70, 100)]);
        assert_eq!((shared(&idle, 0, 200), shared(&idle, 15, 55), shared(&idle, 20, 50)), (50, 10, 0));
    }
}
