//! D7: stretches of the recording in which the device does little. Leads to other findings.

use std::collections::BTreeMap;

use gapless_analysis::interval::{Interval, IntervalSet};

use super::common::rank_number;
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::idle::GapCause;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Windows with a low share of device work.
#[derive(Debug)]
pub(super) struct LowUse;

/// Parts into which a recording is cut.
const WINDOWS: i64 = 30;

impl Detector for LowUse {
    fn id(&self) -> &'static str {
        "low-use"
    }

    fn title(&self) -> &'static str {
        "Stretches in which the device does little"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold { name: "busy", default: 0.5, help: "share of a window with device work below which it counts" },
            Threshold { name: "windows", default: 3.0, help: "windows, of 30, that must be low" },
            Threshold {
                name: "window-us",
                default: 1_000.0,
                help: "length of a window below which nothing is said, in µs",
            },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let mut findings = Vec::new();
        let mut short = false;
        for rank in scene.idle().ranks() {
            let Some((busy, hull)) = scene.idle().busy(rank).and_then(|busy| Some((busy, busy.hull()?))) else {
                continue;
            };
            let width = hull.length() / WINDOWS;
            if (width as f64) < threshold(scene, self, "window-us") * 1e3 {
                short = true;
                continue;
            }
            let low: Vec<Interval> = (0..WINDOWS)
                .map(|place| Interval::new(hull.start + place * width, hull.start + (place + 1) * width))
                .filter(|&window| (busy.clip(window).length() as f64) < threshold(scene, self, "busy") * width as f64)
                .collect();
            if (low.len() as f64) < threshold(scene, self, "windows") {
                continue;
            }
            let stretches = IntervalSet::from_sorted(low.iter().copied());
            let mut causes: BTreeMap<GapCause, i64> = BTreeMap::new();
            let mut gaps = Vec::new();
            for gap in scene.idle().gaps().iter().filter(|gap| gap.rank == rank) {
                let inside = stretches.clip(Interval::new(gap.start_ns, gap.end_ns)).length();
                if inside > 0 {
                    *causes.entry(gap.cause).or_default() += inside;
                    gaps.push((inside, gap.next));
                }
            }
            let Some((&most, &ns)) = causes.iter().max_by_key(|(_, ns)| **ns) else { continue };
            gaps.sort_unstable_by_key(|gap| std::cmp::Reverse(gap.0));
            let nodes: Vec<_> = gaps.iter().map(|gap| gap.1).collect();
            let used = stretches.intersection_length(busy) as f64 / stretches.length().max(1) as f64;
            findings.push(Finding {
                title: format!(
                    "Rank {}: the device is busy for {} of {} stretches of the recording",
                    rank_number(study, rank),
                    percent(used),
                    stretches.intervals().len(),
                ),
                paragraph: format!(
                    "In {} of {WINDOWS} windows of {} the device has work for less than half of the time. Most of the idle \
                     time there ({} of {}) is {}.",
                    low.len(),
                    ms(width as f64),
                    ms(ns as f64),
                    ms(causes.values().sum::<i64>() as f64),
                    describe(most),
                ),
                fix: "See the findings that name the cause.".to_owned(),
                references: vec!["https://docs.nvidia.com/nsight-systems/UserGuide/index.html#gpu-time-utilization".to_owned()],
                rank_id: Some(rank.0),
                confidence: Some(Confidence::High),
                guards: vec![Guard { holds: true, text: format!("Each window is {} long.", ms(width as f64)) }],
                evidence: scene.events_of(&nodes),
                nodes,
                is_info: true,
                ..Finding::default()
            });
        }
        if findings.is_empty() && short {
            return Verdict::Abstains("the recording is too short to be cut into windows".to_owned());
        }
        Verdict::Findings(findings)
    }
}

const fn describe(cause: GapCause) -> &'static str {
    match cause {
        GapCause::Loading => "waiting for data (see input-stall)",
        GapCause::Garbage => "collection of garbage (see gc-pause)",
        GapCause::Stretch => "one stretch of host work (see device-gap)",
        GapCause::AfterWait => "behind waits of the host for the device (see read-back and blocking-call)",
        GapCause::Dispatch => "waiting for launches (see launch-bound)",
        GapCause::Unexplained => "not explained by the recording",
        GapCause::Queued => "between work that was launched in time",
    }
}
