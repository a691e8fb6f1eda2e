//! All findings of a recording, with what each would bring, ranked.

use gapless_analysis::trust::Grade;
use rayon::prelude::*;
use serde::Serialize;

use crate::detectors::{Finding, Verdict, detectors};
use crate::rules::Rules;
use crate::scene::Scene;
use crate::spec::Edit;
use crate::whatif::{WhatIf, what_if};

/// A finding with its simulated gain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advised {
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// What the fix would bring; `None` if it cannot be simulated.
    pub gain: Option<WhatIf>,
    /// Why there is no gain; `None` if there is.
    pub no_gain: Option<String>,
    /// Place in the list of the finding whose root this shares: its own for the first of a group.
    pub root: usize,
}

impl Advised {
    /// The expected gain on the mean step, in ns; 0 without one.
    #[must_use]
    pub fn gain_ns(&self) -> f64 {
        self.gain.as_ref().map_or(0.0, |gain| gain.gain_ns.mid)
    }
}

/// A detector that could not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Abstention {
    /// The detector.
    pub detector: String,
    /// Why.
    pub reason: String,
}

/// What to do about a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// How far gains are to be trusted.
    pub grade: Grade,
    /// Why there are no gains at all; `None` if there are.
    pub refusal: Option<String>,
    /// Mean length of a step in the model, in ns.
    pub mean_step_ns: f64,
    /// What is noise: gains below are for information only, in ns.
    pub noise_ns: f64,
    /// Findings, the greatest gain first; those for information last.
    pub findings: Vec<Advised>,
    /// Detectors that could not tell.
    pub abstained: Vec<Abstention>,
}

/// Gains below this share of a step are for information only.
const INFO_SHARE: f64 = 0.005;
/// Findings that share more than this of the smaller one's time have one root.
const SHARED_ROOT: f64 = 0.5;

/// Runs all detectors, simulates every fix, ranks and groups.
#[must_use]
pub fn advise(scene: &Scene<'_, '_>) -> Advice {
    advise_with(scene, &Rules::default())
}

/// The same with rules of the user. Their thresholds are the scene's business ([`Scene::with_thresholds`]).
#[must_use]
pub fn advise_with(scene: &Scene<'_, '_>, rules: &Rules) -> Advice {
    let study = scene.study();
    let verdicts: Vec<(&str, Verdict)> =
        detectors().par_iter().map(|detector| (detector.id(), detector.detect(scene))).collect();
    let mut abstained = Vec::new();
    let mut found: Vec<Finding> = Vec::new();
    for (id, verdict) in verdicts {
        match verdict {
            Verdict::Findings(findings) => {
                found.extend(findings.into_iter().map(|finding| Finding { detector: id.to_owned(), ..finding }));
            }
            Verdict::Abstains(reason) => abstained.push(Abstention { detector: id.to_owned(), reason }),
        }
    }
    found.extend(rules.rules().iter().filter_map(|rule| rule.find(scene)));
    let step = study.base().mean_step_ns;
    // Twice the deviation of the steps, but of their mean: more steps make a mean surer.
    let noise_ns = (2.0 * study.noise_ns() / (study.step_count() as f64).sqrt()).max(INFO_SHARE * step);
    let mut findings: Vec<Advised> = found
        .into_par_iter()
        .map(|finding| {
            let (gain, no_gain) = match simulate(scene, &finding) {
                Ok(gain) => (Some(gain), None),
                Err(reason) => (None, Some(reason)),
            };
            let mut advised = Advised { finding, gain, no_gain, root: 0 };
            advised.finding.is_info |= advised.gain.is_some() && advised.gain_ns() < noise_ns;
            advised
        })
        .collect();
    findings.sort_by(|a, b| {
        let key = |advised: &Advised| (advised.finding.is_info, -advised.gain_ns());
        let ((a_info, a_gain), (b_info, b_gain)) = (key(a), key(b));
        a_info.cmp(&b_info).then(a_gain.total_cmp(&b_gain)).then_with(|| a.finding.detector.cmp(&b.finding.detector))
    });
    group(scene, &mut findings);
    Advice {
        grade: study.trust().grade,
        refusal: study.trust().refusal(),
        mean_step_ns: step,
        noise_ns,
        findings,
        abstained,
    }
}

fn simulate(scene: &Scene<'_, '_>, finding: &Finding) -> Result<WhatIf, String> {
    if finding.edits.is_empty() {
        return Err("nothing that can be simulated changes it".to_owned());
    }
    let edits: Result<Vec<Edit>, _> = finding.edits.iter().map(|edit| Edit::parse(edit)).collect();
    let edits = edits.map_err(|error| error.to_string())?;
    what_if(scene.study(), &edits).map_err(|error| error.to_string())
}

/// Gives each finding the first one before it that shares most of its time on the critical paths.
fn group(scene: &Scene<'_, '_>, findings: &mut [Advised]) {
    let weight = |advised: &Advised| -> rustc_hash::FxHashMap<_, i64> {
        let mut nodes = advised.finding.nodes.clone();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.into_iter().map(|id| (id, scene.path_ns(id))).filter(|&(_, ns)| ns > 0).collect()
    };
    let weights: Vec<_> = findings.iter().map(weight).collect();
    for place in 0..findings.len() {
        let Some(own) = weights.get(place) else { continue };
        let sum: i64 = own.values().sum();
        let shares = |other: &rustc_hash::FxHashMap<_, i64>| {
            let smaller = sum.min(other.values().sum::<i64>());
            let shared: i64 = own.iter().filter(|(id, _)| other.contains_key(*id)).map(|(_, ns)| ns).sum();
            smaller > 0 && shared as f64 > SHARED_ROOT * smaller as f64
        };
        let root = (0..place).find(|&before| {
            weights.get(before).is_some_and(shares) && findings.get(before).is_some_and(|other| other.root == before)
        });
        if let Some(advised) = findings.get_mut(place) {
            advised.root = root.unwrap_or(place);
        }
    }
}
