//! D6: the device stands still for long, while the host does one thing.

use std::collections::BTreeMap;

use super::common::{per_step, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::idle::{Gap, GapCause};
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Long gaps of the device, by what the host does in them.
#[derive(Debug)]
pub(super) struct HostStretch;

const CODE: &str = "with ThreadPoolExecutor(1) as side:          # what needs no device goes to another thread\n    side.submit(save_metrics, snapshot)";

impl Detector for HostStretch {
    fn id(&self) -> &'static str {
        "device-gap"
    }

    fn title(&self) -> &'static str {
        "The device stands still while the host does something else"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "gap-us", default: 500.0, help: "length from which on a gap counts, in µs" },
            Threshold { name: "share", default: 0.005, help: "share of the step in such gaps" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let least = (threshold(scene, self, "gap-us") * 1e3) as i64;
        let steps = study.graph().steps().len();
        if steps == 0 {
            return Verdict::Abstains("the recording has no steps: what warms up is not known".to_owned());
        }
        // The first of several steps warms up; its gaps are not those of the others.
        let counts = |gap: &&Gap| gap.duration_ns() >= least && (steps < 3 || gap.step.is_some_and(|step| step > 0));
        let ranks = scene.idle().ranks().len().max(1) as i64;
        let mut findings = Vec::new();
        let stretches: Vec<&Gap> =
            scene.idle().gaps().iter().filter(counts).filter(|gap| gap.cause == GapCause::Stretch).collect();
        let lost = stretches.iter().map(|gap| gap.duration_ns()).sum::<i64>() / ranks;
        if share(scene, lost) >= threshold(scene, self, "share") {
            findings.push(stretch(scene, &stretches, lost, least));
        }
        let unexplained: Vec<&Gap> =
            scene.idle().gaps().iter().filter(counts).filter(|gap| gap.cause == GapCause::Unexplained).collect();
        let lost = unexplained.iter().map(|gap| gap.duration_ns()).sum::<i64>() / ranks;
        if share(scene, lost) >= threshold(scene, self, "share") {
            findings.push(unknown(scene, unexplained, lost));
        }
        Verdict::Findings(findings)
    }
}

fn stretch(scene: &Scene<'_, '_>, gaps: &[&Gap], lost: i64, least: i64) -> Finding {
    let study = scene.study();
    let mut by_name: BTreeMap<String, i64> = BTreeMap::new();
    for gap in gaps {
        let event = gap.longest.and_then(|(node, _)| study.event_in(node));
        let name = event.map_or_else(
            || "code without a name in the recording".to_owned(),
            |event| study.trace().name(event).chars().take(80).collect(),
        );
        *by_name.entry(name).or_default() += gap.duration_ns();
    }
    let mut names: Vec<(String, i64)> = by_name.into_iter().collect();
    names.sort_by_key(|entry| (std::cmp::Reverse(entry.1), entry.0.clone()));
    let ranks = scene.idle().ranks().len().max(1) as i64;
    let told: Vec<String> =
        names.iter().take(3).map(|(name, ns)| format!("{name} ({})", ms(per_step(scene, ns / ranks)))).collect();
    let mut longest: Vec<&&Gap> = gaps.iter().collect();
    longest.sort_by_key(|gap| std::cmp::Reverse(gap.duration_ns()));
    let nodes: Vec<_> = gaps.iter().filter_map(|gap| gap.longest).map(|(node, _)| node).collect();
    let evidence: Vec<_> =
        longest.iter().flat_map(|gap| [gap.longest.map(|(node, _)| node), Some(gap.next)]).flatten().collect();
    Finding {
        title: format!("The device stands still for {} of each step while the host does other things", ms(per_step(scene, lost))),
        paragraph: format!(
            "{} gaps of {} or more, {} of each step: for most of each the thread that launches the work makes no call to \
             the device. By what runs in the middle of it: {}.",
            gaps.len(),
            ms(least as f64),
            percent(share(scene, lost)),
            told.join(", "),
        ),
        fix: "Move work that the next launch does not need to another thread or process, do it every N steps, or make it \
              faster; launch the next step before it."
            .to_owned(),
        code: CODE.to_owned(),
        references: vec![
            "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html".to_owned(),
            "https://docs.nvidia.com/nsight-systems/UserGuide/index.html#gpu-gaps".to_owned(),
        ],
        confidence: Some(Confidence::Medium),
        guards: vec![Guard {
            holds: true,
            text: "The first step, and what lies before the first and after the last work, are left out.".to_owned(),
        }],
        edits: vec![format!("fill-gaps(longer-us={})", least / 1_000)],
        evidence: scene.events_of(&evidence),
        nodes,
        ..Finding::default()
    }
}

fn unknown(scene: &Scene<'_, '_>, mut gaps: Vec<&Gap>, lost: i64) -> Finding {
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.duration_ns()));
    let nodes: Vec<_> = gaps.iter().map(|gap| gap.next).collect();
    Finding {
        title: format!("The device stands still for {} of each step, and the recording does not say why", ms(per_step(scene, lost))),
        paragraph: format!(
            "{} gaps of the device ({} of each step) end with work that was launched in time, or whose launch was not \
             recorded. Other processes on the device, a full power or thermal budget, or dependencies that the recording \
             does not show may be the cause.",
            gaps.len(),
            percent(share(scene, lost)),
        ),
        fix: "Record again with synchronisation events (and without other users of the device) to see what the work waits for."
            .to_owned(),
        references: vec!["https://docs.pytorch.org/docs/stable/profiler.html".to_owned()],
        confidence: Some(Confidence::Low),
        evidence: scene.events_of(&nodes),
        nodes,
        is_info: true,
        ..Finding::default()
    }
}
