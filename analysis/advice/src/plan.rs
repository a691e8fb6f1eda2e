//! The best set of fixes for a budget of effort.
//!
//! A bounded search over sets of findings: each set is one joint replay. A branch is cut off when even all fixes that are
//! still open, together and for nothing, would not beat the best set so far; that joint replay is the bound.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::advise::Advice;
use crate::edits::Outlook;
use crate::figures::figures;
use crate::spec::Edit;
use crate::study::Study;
use crate::whatif::draft;

/// Points of effort of an edit: 1 an option, 2 a few lines, 3 a change of the program, 5 of its structure, 8 new hardware.
/// A convention of ours, not a measurement.
#[must_use]
pub fn effort(edit: &Edit) -> u32 {
    match edit.transformation().id() {
        "prefetch-input" | "async-copy" | "fuse-optimizer" | "no-gc" => 1,
        "remove-sync" | "fuse" | "precision" | "merge-collectives" | "no-recompute" | "batch" | "remove" => 2,
        "overlap-comm" | "cuda-graph" | "no-stragglers" | "move-stream" | "checkpoint" => 3,
        "balance-stages" | "pipeline-embeddings" | "parallel" => 5,
        "link" | "gpu" | "host" => 8,
        _ => 3,
    }
}

/// One fix of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanStep {
    /// Place of the finding in [`Advice::findings`].
    pub finding: usize,
    /// Its title.
    pub title: String,
    /// Its points.
    pub effort: u32,
    /// What it adds to those before it, in ns of the mean step.
    pub gain_ns: f64,
    /// Mean step after it, in ns.
    pub mean_step_ns: f64,
}

/// A set of fixes in the order in which to do them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Points that it may cost.
    pub budget: u32,
    /// Mean step of the recording, in ns.
    pub base_ns: f64,
    /// The fixes: of what is left, the one with the greatest gain for its points first.
    pub steps: Vec<PlanStep>,
    /// Gain of all, in ns.
    pub gain_ns: f64,
    /// No set within the budget brings more than this, in ns.
    pub bound_ns: f64,
    /// Sets that were replayed.
    pub evaluated: usize,
}

/// Findings that the search looks at, the greatest gains.
const CANDIDATES: usize = 12;
/// Replays that the search may cost.
const MOST_REPLAYS: usize = 400;

struct Candidate {
    finding: usize,
    edits: Vec<Edit>,
    effort: u32,
}

struct Search<'s, 't> {
    study: &'s Study<'t>,
    candidates: Vec<Candidate>,
    known: FxHashMap<u32, f64>,
    best: (f64, u32),
    evaluated: usize,
}

impl Search<'_, '_> {
    /// Expected mean step of a set, given as bits; infinite if the edits contradict one another.
    fn step_ns(&mut self, set: u32) -> f64 {
        if let Some(&known) = self.known.get(&set) {
            return known;
        }
        let mut edits: Vec<Edit> = Vec::new();
        for (place, candidate) in self.candidates.iter().enumerate() {
            if set & (1 << place) != 0 {
                // Two findings may ask for the same edit.
                edits.extend(candidate.edits.iter().filter(|edit| !edits.contains(edit)).cloned().collect::<Vec<_>>());
            }
        }
        self.evaluated += 1;
        let time = draft(self.study, &edits, Outlook::Expected)
            .ok()
            .and_then(|(draft, _)| figures(&draft).ok())
            .map_or(f64::INFINITY, |figures| figures.mean_step_ns);
        self.known.insert(set, time);
        time
    }

    fn go(&mut self, place: usize, set: u32, left: u32) {
        let time = self.step_ns(set);
        if time < self.best.0 {
            self.best = (time, set);
        }
        if place >= self.candidates.len() || self.evaluated >= MOST_REPLAYS {
            return;
        }
        let open: u32 = (place..self.candidates.len()).map(|place| 1 << place).sum();
        if self.step_ns(set | open) >= self.best.0 {
            return;
        }
        let effort = self.candidates.get(place).map_or(0, |candidate| candidate.effort);
        if effort <= left {
            self.go(place + 1, set | (1 << place), left - effort);
        }
        self.go(place + 1, set, left);
    }
}

/// Searches the best set of fixes of `advice` for `budget` points.
#[must_use]
pub fn plan(study: &Study<'_>, advice: &Advice, budget: u32) -> Plan {
    let base_ns = study.base().mean_step_ns;
    let mut candidates: Vec<Candidate> = Vec::new();
    for (finding, advised) in advice.findings.iter().enumerate() {
        if advised.finding.is_info || advised.gain_ns() <= 0.0 || candidates.len() >= CANDIDATES {
            continue;
        }
        let edits: Result<Vec<Edit>, _> = advised.finding.edits.iter().map(|edit| Edit::parse(edit)).collect();
        let Ok(edits) = edits else { continue };
        // What was found by several costs once.
        if candidates.iter().any(|other| other.edits == edits) {
            continue;
        }
        let cost = edits.iter().map(effort).max().unwrap_or(3);
        candidates.push(Candidate { finding, edits, effort: cost });
    }
    let all: u32 = (0..candidates.len()).map(|place| 1 << place).sum();
    let mut search = Search { study, candidates, known: FxHashMap::default(), best: (base_ns, 0), evaluated: 0 };
    search.known.insert(0, base_ns);
    search.go(0, 0, budget);
    let bound = search.step_ns(all);
    let (best_ns, set) = search.best;
    let steps = order(&mut search, set, advice, base_ns);
    let bound_ns = if bound.is_finite() { (base_ns - bound).max(base_ns - best_ns) } else { base_ns };
    Plan { budget, base_ns, steps, gain_ns: base_ns - best_ns, bound_ns, evaluated: search.evaluated }
}

/// The order of a chosen set: greatest gain for its points first, given what is done already.
fn order(search: &mut Search<'_, '_>, set: u32, advice: &Advice, base_ns: f64) -> Vec<PlanStep> {
    let mut left: BTreeMap<usize, u32> = search
        .candidates
        .iter()
        .enumerate()
        .filter(|(place, _)| set & (1 << place) != 0)
        .map(|(p, c)| (p, c.effort))
        .collect();
    let (mut done, mut now) = (0_u32, base_ns);
    let mut steps = Vec::new();
    while !left.is_empty() {
        let mut best: Option<(f64, usize, f64)> = None;
        for (&place, &effort) in &left {
            let time = search.step_ns(done | (1 << place));
            let worth = (now - time) / f64::from(effort.max(1));
            if best.is_none_or(|best| worth > best.0) {
                best = Some((worth, place, time));
            }
        }
        let Some((_, place, time)) = best else { break };
        let effort = left.remove(&place).unwrap_or_default();
        let finding = search.candidates.get(place).map_or(0, |candidate| candidate.finding);
        let title = advice.findings.get(finding).map_or_else(String::new, |advised| advised.finding.title.clone());
        steps.push(PlanStep { finding, title, effort, gain_ns: now - time, mean_step_ns: time });
        done |= 1 << place;
        now = time;
    }
    steps
}
