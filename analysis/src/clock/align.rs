//! From joints to clocks: components, estimate, bounds, shared hosts.

use gapless_trace::RankId;

use super::bounds::{Bounds, violation_ns};
use super::estimate::{Clock, Estimate, estimate};
use super::joint::Joint;
use super::{ClockAlignment, ClockComponent, ClockSource};

/// Standard deviation in ns of times that two ranks take from one host clock: what mapping device times costs.
const SHARED_CLOCK_ERROR_NS: f64 = 1_000.0;

/// Ranks that share collectives, and those.
struct Component<'a> {
    ranks: Vec<u32>,
    joints: Vec<&'a Joint>,
}

impl ClockAlignment {
    /// Finds offset, drift, error and bounds of each rank.
    pub(crate) fn align(&mut self, joints: &[Joint], grain_ns: i64) {
        self.components.clear();
        for component in components(self.ranks.len(), joints) {
            self.align_component(&component, grain_ns);
        }
    }

    fn align_component(&mut self, component: &Component<'_>, grain_ns: i64) {
        let place = self.components.len() as u32;
        let Some(&reference) = component.ranks.first() else { return };
        for &rank in &component.ranks {
            if let Some(clock) = self.ranks.get_mut(rank as usize) {
                clock.component = place;
            }
        }
        let mut summary = ClockComponent {
            reference: RankId(reference),
            epoch_ns: 0,
            ranks: component.ranks.len() as u32,
            contradictions: 0,
        };
        if component.ranks.len() == 1 {
            self.components.push(summary);
            return;
        }
        let count = component.ranks.len();
        let local = |rank: u32| component.ranks.binary_search(&rank).ok();
        let found = estimate(&component.joints, count, 0, grain_ns, local);
        summary.epoch_ns = found.epoch_ns;
        let (bounds, rest, contradictions) = feasible_bounds(component, &found, count, local);
        summary.contradictions = contradictions;
        self.components.push(summary);
        let limits = bounds.as_ref().and_then(|bounds| bounds.relative_to(0).ok()).unwrap_or_else(|| vec![None; count]);
        let halves = held_out(&rest, count, grain_ns, local, &found);
        for (place, &rank) in component.ranks.iter().enumerate() {
            let (Some(clock), Some(&own)) = (self.ranks.get_mut(rank as usize), found.clocks.get(place)) else {
                continue;
            };
            let limit = limits.get(place).copied().flatten();
            // What the estimate leaves to be added must lie within the bounds.
            let add = limit.map_or(0, |(least, most)| 0.clamp(least.min(most), most));
            clock.source = if place == 0 { ClockSource::Reference } else { ClockSource::Collectives };
            clock.offset_ns = own.offset_ns.saturating_add(own.rest_ns.round() as i64).saturating_add(add);
            clock.estimate_ns = clock.offset_ns;
            clock.drift = own.drift;
            clock.bounds_ns = limit.map(|(least, most)| {
                let at = clock.offset_ns.saturating_sub(add);
                (at.saturating_add(least), at.saturating_add(most))
            });
            let widest = clock.bounds_ns.map_or(f64::INFINITY, |(least, most)| most.saturating_sub(least) as f64 / 2.0);
            clock.error_ns = found.errors_ns.get(place).copied().unwrap_or_default().min(widest);
            clock.collectives =
                rest.iter().filter(|joint| joint.seen.iter().any(|seen| seen.rank == rank)).count() as u64;
            clock.held_out_ns = halves.get(place).copied().flatten();
        }
        if let Some(bounds) = &bounds {
            self.share_host_clocks(&component.ranks, bounds, &found);
        }
    }

    /// Ranks of one host have one clock: as long as causality allows it, they get one offset.
    fn share_host_clocks(&mut self, ranks: &[u32], bounds: &Bounds, found: &Estimate) {
        let mut leaders: Vec<(usize, String)> = Vec::new();
        for (place, &rank) in ranks.iter().enumerate() {
            let Some(host) = self.ranks.get(rank as usize).and_then(|clock| clock.host.clone()) else { continue };
            let Some(leader) = leaders.iter().find(|leader| leader.1 == host).map(|leader| leader.0) else {
                leaders.push((place, host));
                continue;
            };
            let estimated = |place: usize| found.clocks.get(place).map_or(0, |clock: &Clock| clock.offset_ns);
            // What must be added to this rank's estimate so that it is that of the leader.
            let add = estimated(leader).saturating_sub(estimated(place));
            let is_above = bounds.upper(place, leader).is_none_or(|most| add <= most);
            let is_below = bounds.upper(leader, place).is_none_or(|most| add >= most.saturating_neg());
            let of_leader = ranks.get(leader).and_then(|&rank| self.ranks.get(rank as usize)).cloned();
            if let (Some(clock), Some(of_leader)) = (self.ranks.get_mut(rank as usize), of_leader)
                && is_above
                && is_below
            {
                clock.source = ClockSource::SharedHost;
                clock.offset_ns = of_leader.offset_ns;
                clock.drift = of_leader.drift;
                clock.error_ns = of_leader.error_ns.max(SHARED_CLOCK_ERROR_NS);
            }
        }
    }
}

/// Ranks that joints tie together, by lowest rank; each with its joints.
fn components(count: usize, joints: &[Joint]) -> Vec<Component<'_>> {
    let mut parents: Vec<u32> = (0..count as u32).collect();
    fn root(parents: &mut [u32], mut rank: u32) -> u32 {
        while let Some(&parent) = parents.get(rank as usize).filter(|&&parent| parent != rank) {
            let above = parents.get(parent as usize).copied().unwrap_or(parent);
            if let Some(slot) = parents.get_mut(rank as usize) {
                *slot = above;
            }
            rank = parent;
        }
        rank
    }
    for joint in joints {
        let Some(first) = joint.seen.first() else { continue };
        for seen in &joint.seen {
            let (a, b) = (root(&mut parents, first.rank), root(&mut parents, seen.rank));
            // The lowest rank is the root, and so the reference.
            if let Some(parent) = parents.get_mut(a.max(b) as usize) {
                *parent = a.min(b);
            }
        }
    }
    let roots: Vec<u32> = (0..count as u32).map(|rank| root(&mut parents, rank)).collect();
    let mut places: Vec<Option<usize>> = vec![None; count];
    let mut found: Vec<Component<'_>> = Vec::new();
    for (rank, &root) in roots.iter().enumerate() {
        let Some(slot) = places.get_mut(root as usize) else { continue };
        let place = *slot.get_or_insert_with(|| {
            found.push(Component { ranks: Vec::new(), joints: Vec::new() });
            found.len() - 1
        });
        if let Some(component) = found.get_mut(place) {
            component.ranks.push(rank as u32);
        }
    }
    for joint in joints {
        let root = joint.seen.first().and_then(|seen| roots.get(seen.rank as usize));
        let place = root.and_then(|&root| places.get(root as usize).copied().flatten());
        if let Some(component) = place.and_then(|place| found.get_mut(place)) {
            component.joints.push(joint);
        }
    }
    found
}

/// The bounds around the estimate, of as many joints as do not contradict one another; those joints, and how many others.
fn feasible_bounds<'a>(
    component: &Component<'a>,
    found: &Estimate,
    count: usize,
    local: impl Fn(u32) -> Option<usize> + Copy,
) -> (Option<Bounds>, Vec<&'a Joint>, u64) {
    let corrected =
        |place: usize, at: i64| found.clocks.get(place).map_or(at, |clock| clock.corrected(at, found.epoch_ns));
    // Those that agree best with the estimate first.
    let mut kept: Vec<(i64, &Joint)> =
        component.joints.iter().map(|&joint| (violation_ns(joint, local, corrected), joint)).collect();
    kept.sort_by_key(|entry| entry.0);
    // Nobody can be told from noise by a violation of less than the scale; more than that is a candidate to go.
    let mut dropped = 0;
    loop {
        let joints: Vec<&Joint> = kept.iter().map(|entry| entry.1).collect();
        let bounds = Bounds::new(&joints, count, 0, local, corrected);
        if bounds.relative_to(0).is_ok() {
            return (Some(bounds), joints, dropped);
        }
        // Without any that breaks causality there is no contradiction left. Many may be wrong: an eighth goes at a time.
        let breaking = kept.iter().filter(|entry| entry.0 > 0).count();
        if breaking == 0 {
            return (None, joints, dropped);
        }
        let go = breaking.div_ceil(8);
        kept.truncate(kept.len() - go);
        dropped += go as u64;
    }
}

/// Of each rank by how much the offsets from every other collective differ from those of the rest.
fn held_out(
    joints: &[&Joint],
    count: usize,
    grain_ns: i64,
    local: impl Fn(u32) -> Option<usize> + Copy,
    whole: &Estimate,
) -> Vec<Option<f64>> {
    let half = |odd: usize| {
        let mut sorted: Vec<&Joint> = joints.to_vec();
        sorted.sort_by_key(|joint| joint.seen.first().map(|seen| whole_time(whole, local, seen.rank, seen.end_ns)));
        let half: Vec<&Joint> = sorted.into_iter().skip(odd).step_by(2).collect();
        let mut own = vec![0_u32; count];
        for place in half.iter().flat_map(|joint| &joint.seen).filter_map(|seen| local(seen.rank)) {
            if let Some(own) = own.get_mut(place) {
                *own += 1;
            }
        }
        (estimate(&half, count, 0, grain_ns, local), own)
    };
    let ((even, in_even), (odd, in_odd)) = (half(0), half(1));
    // Each half has a time of its own at which offsets hold; both are compared at that of the whole.
    let at_epoch = |found: &Estimate, place: usize| {
        let clock = found.clocks.get(place).copied().unwrap_or_default();
        let drifted = clock.drift * whole.epoch_ns.saturating_sub(found.epoch_ns) as f64;
        (clock.offset_ns, clock.rest_ns + drifted)
    };
    (0..count)
        .map(|place| {
            let enough = |own: &[u32]| own.get(place).is_some_and(|&own| own >= 2);
            let (a, b) = (at_epoch(&even, place), at_epoch(&odd, place));
            (enough(&in_even) && enough(&in_odd)).then(|| (a.0.saturating_sub(b.0) as f64 + (a.1 - b.1)).abs())
        })
        .collect()
}

fn whole_time(whole: &Estimate, local: impl Fn(u32) -> Option<usize>, rank: u32, at: i64) -> i64 {
    let clock = local(rank).and_then(|place| whole.clocks.get(place));
    clock.map_or(at, |clock| clock.corrected(at, whole.epoch_ns))
}
