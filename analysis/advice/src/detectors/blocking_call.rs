//! D4: calls within a step that wait for the device although nobody needs a result.

use std::collections::BTreeMap;

use super::common::{each, per_step, share};
use super::read_back::reads_back;
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::edits::Guard;
use crate::idle::Wait;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Synchronisation, allocation and other blocking calls behind which the device runs dry.
#[derive(Debug)]
pub(super) struct BlockingCall;

/// Whether a call takes or gives back memory.
fn allocates(call: &str) -> bool {
    !call.contains("Async") && ["Malloc", "Free", "HostAlloc", "MallocHost"].into_iter().any(|word| call.contains(word))
}

impl Detector for BlockingCall {
    fn id(&self) -> &'static str {
        "blocking-call"
    }

    fn title(&self) -> &'static str {
        "Calls within the step wait for the device"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.005,
            help: "share of the step in which the device has nothing to do after such calls",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let each = each(scene);
        let mut by_name: BTreeMap<String, Vec<Wait>> = BTreeMap::new();
        for wait in scene.idle().waits() {
            let name = study.trace().name(wait.call);
            // Copies that block are the matter of other detectors.
            if reads_back(study, wait).is_some() || name.contains("Memcpy") {
                continue;
            }
            let group = if allocates(name) { "allocation" } else { name };
            by_name.entry(group.to_owned()).or_default().push(*wait);
        }
        let ranks = scene.idle().ranks().len().max(1);
        let mut findings = Vec::new();
        for (name, waits) in by_name {
            let stall = scene.idle().stall_ns(&waits) / ranks as i64;
            if share(scene, stall) < threshold(scene, self, "share")
                || !waits.iter().any(|wait| scene.is_on_path(wait.node))
            {
                continue;
            }
            let allocation = name == "allocation";
            let count = waits.iter().filter(|wait| wait.gap.is_some()).count() as f64
                / ranks as f64
                / study.step_count() as f64;
            let what = if allocation { "calls that allocate or free memory" } else { name.as_str() };
            let mut slowest = waits.clone();
            slowest.sort_by_key(|wait| std::cmp::Reverse(wait.waited_ns));
            let callers = callers(scene, &waits);
            findings.push(Finding {
                title: format!("The device runs dry behind {what}: {} of {each}", ms(per_step(scene, stall))),
                paragraph: format!(
                    "{count:.1} times in {each} the thread waits in {what}{callers} until the device is done, and launches the \
                     next work only then: until that begins, the device is idle for {} of {each} ({}).",
                    ms(per_step(scene, stall)),
                    percent(share(scene, stall)),
                ),
                fix: if allocation {
                    "Let the caching allocator keep its memory (no empty_cache in the loop), allocate once before it, and use \
                     expandable segments against fragmentation."
                        .to_owned()
                } else {
                    "Remove the call, or wait with an event for what is really needed; for timing use CUDA events and read them \
                     later."
                        .to_owned()
                },
                code: if allocation {
                    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True python train.py".to_owned()
                } else {
                    "start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))\nstart.record(); step(); end.record()\n# read start.elapsed_time(end) some steps later, instead of torch.cuda.synchronize()".to_owned()
                },
                references: vec![if allocation {
                    "https://docs.pytorch.org/docs/stable/notes/cuda.html#optimizing-memory-usage-with-pytorch-cuda-alloc-conf"
                        .to_owned()
                } else {
                    "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html#avoid-unnecessary-cpu-gpu-synchronization"
                        .to_owned()
                }],
                confidence: Some(Confidence::High),
                guards: vec![Guard {
                    holds: true,
                    text: "Counted is only the time in which the device is idle after the call, not how long the call takes."
                        .to_owned(),
                }],
                edits: vec![if allocation { "no-gc.allocator".to_owned() } else { format!("remove-sync(call={name})") }],
                evidence: slowest.iter().map(|wait| wait.call).take(super::EVIDENCE).collect(),
                nodes: waits.iter().map(|wait| wait.node).collect(),
                ..Finding::default()
            });
        }
        Verdict::Findings(findings)
    }
}

/// The innermost range around most of the calls, for the text.
fn callers(scene: &Scene<'_, '_>, waits: &[Wait]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for wait in waits {
        if let Some(name) = scene.study().around(wait.call).next() {
            *counts.entry(name).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|&(_, count)| count);
    most.filter(|&(_, count)| 2 * count > waits.len())
        .map_or_else(String::new, |(name, _)| format!(" (mostly in {name})"))
}
