//! Who holds up a job of several ranks, and by what.
//!
//! What ranks (or groups of equal size) do in each step is held side by side, cause by cause: the excess of one over the
//! median of the others, averaged over steps, against its own scatter (Student's t, corrected for all that is compared).
//! A pause of the collector needs no such test: it was recorded. What is left over is taken away in a replay, and only
//! what the job would gain at least one per cent of a step by is named. Longer kernels are a matter of the device only if
//! the rank runs no more of them and feeds them no more than the others do.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::{CollectiveKind, chance_of_t};
use gapless_trace::{EventId, RankId};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::common::{elements, median, rank_number};
use super::ranks_common::stages;
use crate::spec::Edit;
use crate::study::Study;
use crate::whatif::what_if;

/// What makes a rank or a group late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The same kernels with the same inputs take longer.
    SlowDevice,
    /// Operators take in more, a longer sequence or a larger share of the batch, and their kernels take longer.
    LongInput,
    /// More kernels run: a stage of a pipeline with more layers, or more of what was dealt out.
    MoreWork,
    /// Threads take longer for as many calls.
    SlowHost,
    /// Fetching batches takes longer.
    SlowLoader,
    /// The interpreter collects garbage.
    Gc,
    /// A group moves as many bytes in more time than groups alike, waits for late ranks left out.
    SlowLink,
}

/// Whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// The number of a rank.
    Rank(u32),
    /// The name of a group of ranks.
    Group(String),
}

/// A rank or group that holds up the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Culprit {
    /// Which.
    pub whose: Whose,
    /// By what.
    pub fault: Fault,
    /// Mean over steps of what it takes longer than the median of the others, in ns.
    pub excess_ns: f64,
    /// Standard deviation of that mean, in ns.
    pub error_ns: f64,
    /// What the mean step would gain were it like the others, in ns, by replay.
    pub gain_ns: f64,
    /// The edits of that replay, as `gapless whatif` takes them.
    pub edits: Vec<String>,
}

/// The least share of a step that must be gained.
const LEAST_SHARE: f64 = 0.01;
/// Steps that are needed, but for pauses of the collector.
const LEAST_STEPS: usize = 3;
/// One-sided probability of three standard deviations.
const CHANCE: f64 = 0.001_35;
/// By which share counts and sizes may differ and still be alike.
const ALIKE: f64 = 0.02;

/// Sums by who, then by step.
type Sums<Who> = BTreeMap<Who, BTreeMap<usize, f64>>;

/// All that hold the job up, the greatest gain first; none in a recording of one rank, without steps, or that cannot bear
/// predictions.
#[must_use]
pub fn culprits(study: &Study<'_>) -> Vec<Culprit> {
    if study.trace().ranks().len() < 2 || study.trust().refusal().is_some() {
        return Vec::new();
    }
    let mut suspects = by_rank(study);
    suspects.extend(by_group(study));
    let least = LEAST_SHARE * study.base().mean_step_ns;
    let mut found: Vec<Culprit> = suspects.into_iter().filter_map(|suspect| convict(study, suspect, least)).collect();
    found.sort_by(|a, b| b.gain_ns.total_cmp(&a.gain_ns).then_with(|| a.whose.cmp(&b.whose)));
    found
}

/// Replays without the excess.
fn convict(study: &Study<'_>, suspect: Culprit, least: f64) -> Option<Culprit> {
    // No step can gain more than the excess.
    if suspect.excess_ns < least {
        return None;
    }
    let edits: Option<Vec<Edit>> = suspect.edits.iter().map(|edit| Edit::parse(edit).ok()).collect();
    let gain_ns = what_if(study, &edits?).ok()?.gain_ns.mid;
    (gain_ns >= least).then_some(Culprit { gain_ns, ..suspect })
}

/// The excess of one over the median of the others.
struct Excess {
    mean_ns: f64,
    error_ns: f64,
    /// The median of the others over its own, summed over steps.
    ratio: f64,
    is_sure: bool,
}

impl Excess {
    fn new<Who: Ord>(sums: &Sums<Who>, who: &Who, compared: usize) -> Option<Self> {
        let own = sums.get(who)?;
        let (mut excess, mut mine, mut theirs) = (Vec::new(), 0.0, 0.0);
        for (step, &value) in own {
            let others: Vec<f64> =
                sums.iter().filter(|(other, _)| *other != who).filter_map(|(_, of)| of.get(step)).copied().collect();
            // A step that others lack, cut off by the end of the recording, compares nothing.
            if others.len() + 1 < sums.len() {
                continue;
            }
            let middle = median(others);
            mine += value;
            theirs += middle;
            excess.push(value - middle);
        }
        let count = excess.len() as f64;
        if excess.is_empty() || mine <= 0.0 {
            return None;
        }
        let mean_ns = excess.iter().sum::<f64>() / count;
        let squares: f64 = excess.iter().map(|value| (value - mean_ns).powi(2)).sum();
        let error_ns = if excess.len() > 1 { (squares / (count - 1.0) / count).sqrt() } else { f64::INFINITY };
        let by_chance = chance_of_t(mean_ns / error_ns.max(1e-9), count - 1.0) * compared as f64;
        let is_sure = excess.len() >= LEAST_STEPS && by_chance < CHANCE;
        Some(Self { mean_ns, error_ns, ratio: theirs / mine, is_sure })
    }
}

/// How much of something one has, as a share of the median of the others.
fn relative<Who: Ord>(sums: &BTreeMap<Who, f64>, who: &Who) -> f64 {
    let own = sums.get(who).copied().unwrap_or_default();
    let others: Vec<f64> = sums.iter().filter(|(other, _)| *other != who).map(|(_, sum)| *sum).collect();
    let middle = median(others);
    if middle > 0.0 {
        own / middle
    } else if own > 0.0 {
        f64::INFINITY
    } else {
        1.0
    }
}

/// What ranks do, added up.
#[derive(Default)]
struct OfRanks {
    compute: Sums<RankId>,
    host: Sums<RankId>,
    load: Sums<RankId>,
    gc: Sums<RankId>,
    kernels: BTreeMap<RankId, f64>,
    elements: BTreeMap<RankId, f64>,
    calls: BTreeMap<RankId, f64>,
}

impl OfRanks {
    fn new(study: &Study<'_>) -> Self {
        let graph = study.graph();
        let mut all = Self::default();
        let steps = graph.steps().len();
        for (rank, _) in study.trace().rank_ids() {
            for sums in [&mut all.compute, &mut all.host, &mut all.load, &mut all.gc] {
                sums.insert(rank, (0..steps).map(|step| (step, 0.0)).collect());
            }
            for sums in [&mut all.kernels, &mut all.elements, &mut all.calls] {
                sums.insert(rank, 0.0);
            }
        }
        let mut sizes: FxHashMap<EventId, Option<f64>> = FxHashMap::default();
        for id in graph.node_ids() {
            let node = graph.node(id);
            let (Some(rank), Some(step)) = (study.rank(id), study.facts().step(id)) else { continue };
            let (sums, count) = match node.kind {
                NodeKind::Kernel => (&mut all.compute, Some(&mut all.kernels)),
                NodeKind::Host | NodeKind::Launch => (&mut all.host, None),
                NodeKind::DataLoader => (&mut all.load, None),
                NodeKind::Gc => (&mut all.gc, None),
                _ => continue,
            };
            if let Some(sum) = sums.get_mut(&rank).and_then(|of| of.get_mut(&step)) {
                *sum += node.dur_ns as f64;
            }
            if let Some(count) = count.and_then(|count| count.get_mut(&rank)) {
                *count += 1.0;
            }
            if node.kind == NodeKind::Launch
                && let Some(count) = all.calls.get_mut(&rank)
            {
                *count += 1.0;
            }
            if node.kind == NodeKind::Kernel
                && let Some(operator) = study.facts().operator(id)
                && let Some(size) = *sizes.entry(operator).or_insert_with(|| elements(study, operator))
                && let Some(sum) = all.elements.get_mut(&rank)
            {
                *sum += size;
            }
        }
        all
    }
}

fn by_rank(study: &Study<'_>) -> Vec<Culprit> {
    let all = OfRanks::new(study);
    let is_pipeline = !stages(study).is_empty();
    // Compute, host, loader of each.
    let compared = 3 * all.compute.len();
    let mut found = Vec::new();
    for (rank, _) in study.trace().rank_ids() {
        let number = rank_number(study, rank);
        let mut suspect = |fault: Fault, excess: &Excess, kinds: &str| {
            found.push(Culprit {
                whose: Whose::Rank(number),
                fault,
                excess_ns: excess.mean_ns,
                error_ns: excess.error_ns,
                gain_ns: 0.0,
                edits: vec![format!("scale(kind={kinds},rank={number})={:.6}x", excess.ratio)],
            });
        };
        if let Some(excess) = Excess::new(&all.compute, &rank, compared).filter(|excess| excess.is_sure) {
            let fault = if relative(&all.kernels, &rank) > 1.0 + ALIKE {
                Fault::MoreWork
            } else if relative(&all.elements, &rank) > 1.0 + ALIKE {
                Fault::LongInput
            } else {
                Fault::SlowDevice
            };
            suspect(fault, &excess, "kernel");
        }
        // Threads of stages, and of ranks that launch more, do different work.
        let does_alike = !is_pipeline && (relative(&all.calls, &rank) - 1.0).abs() <= ALIKE;
        if let Some(excess) = Excess::new(&all.host, &rank, compared).filter(|excess| excess.is_sure && does_alike) {
            suspect(Fault::SlowHost, &excess, "host|launch");
        }
        // In a pipeline not all stages load.
        if let Some(excess) = Excess::new(&all.load, &rank, compared).filter(|excess| excess.is_sure && !is_pipeline) {
            suspect(Fault::SlowLoader, &excess, "dataloader");
        }
        if let Some(excess) = Excess::new(&all.gc, &rank, 1).filter(|excess| excess.mean_ns > 0.0) {
            suspect(Fault::Gc, &excess, "gc");
        }
    }
    found
}

/// Groups that move the same bytes by the same collectives between as many ranks.
fn by_group(study: &Study<'_>) -> Vec<Culprit> {
    let graph = study.graph();
    let mut step_of: FxHashMap<usize, usize> = FxHashMap::default();
    for id in study.nodes_of(NodeKind::Transfer).collect::<Vec<NodeId>>() {
        if let (Some(instance), Some(step)) = (study.facts().instance(id), study.facts().step(id)) {
            step_of.entry(instance).or_insert(step);
        }
    }
    let mut names: BTreeMap<u32, &str> = BTreeMap::new();
    let mut sums: BTreeMap<(CollectiveKind, usize, Option<u64>), Sums<u32>> = BTreeMap::new();
    let mut counts: BTreeMap<(CollectiveKind, usize, Option<u64>), BTreeMap<u32, f64>> = BTreeMap::new();
    for (place, (instance, timing)) in study.collectives().iter().zip(study.timings()).enumerate() {
        let Some(&step) = step_of.get(&place) else { continue };
        if timing.is_estimated || instance.members.len() < 2 || instance.enqueued_only {
            continue;
        }
        let key = (instance.kind, instance.members.len(), instance.bytes);
        names.insert(instance.communicator, &instance.group);
        let of_step = sums.entry(key).or_default().entry(instance.communicator).or_default();
        *of_step.entry(step).or_default() += timing.transfer_ns as f64;
        *counts.entry(key).or_default().entry(instance.communicator).or_default() += 1.0;
    }
    let compared: usize = sums.values().map(BTreeMap::len).sum();
    let mut found: Vec<Culprit> = Vec::new();
    for (key, of) in sums.iter().filter(|(_, of)| of.len() > 1 && graph.steps().len() >= LEAST_STEPS) {
        for who in of.keys() {
            let alike = counts.get(key).is_some_and(|counts| (relative(counts, who) - 1.0).abs() <= ALIKE);
            let Some(excess) = Excess::new(of, who, compared).filter(|excess| excess.is_sure && alike) else {
                continue;
            };
            let group = names.get(who).copied().unwrap_or_default();
            let edit = format!("scale(comm={},group={group})={:.6}x", key.0.label(), excess.ratio);
            let whose = Whose::Group(group.to_owned());
            match found.iter_mut().find(|other| other.whose == whose) {
                // Other sizes of the same group are the same fault.
                Some(other) => {
                    other.excess_ns += excess.mean_ns;
                    other.error_ns = other.error_ns.hypot(excess.error_ns);
                    if !other.edits.contains(&edit) {
                        other.edits.push(edit);
                    }
                }
                None => found.push(Culprit {
                    whose,
                    fault: Fault::SlowLink,
                    excess_ns: excess.mean_ns,
                    error_ns: excess.error_ns,
                    gain_ns: 0.0,
                    edits: vec![edit],
                }),
            }
        }
    }
    found
}
