//! D21: communication kernels slow down the compute beside them.

use gapless_analysis::graph::NodeId;

use super::share::{counted, longest_first, share};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::contention::contended;
use crate::edits::Guard;
use crate::scene::Scene;
use crate::text::{ms, percent};

/// Equal kernels that are slower beside a collective than alone.
#[derive(Debug)]
pub(super) struct Contention;

impl Detector for Contention {
    fn id(&self) -> &'static str {
        "comm-slows-compute"
    }

    fn title(&self) -> &'static str {
        "Collectives slow down the kernels beside them"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[
            Threshold {
                name: "gamma",
                default: 1.1,
                help: "median duration beside a collective over median duration alone",
            },
            Threshold { name: "share", default: 0.01, help: "share of the step that it costs kernels, summed" },
        ]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        if !study.collectives().iter().any(|instance| instance.on_device) {
            return Verdict::nothing();
        }
        let all = contended(study);
        let slower: Vec<_> = all.iter().filter(|kernels| kernels.gamma > threshold(scene, self, "gamma")).collect();
        let excess: f64 = slower.iter().map(|kernels| kernels.excess_ns).sum();
        let nodes: Vec<NodeId> = slower.iter().flat_map(|kernels| kernels.overlapped.iter().map(|of| of.0)).collect();
        let ranks = study.trace().ranks().len().max(1) as f64;
        let per_step = excess / study.step_count() as f64 / ranks;
        let of_step = share(scene, per_step);
        if nodes.is_empty() || of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let total: f64 = nodes.iter().map(|&id| study.graph().node(id).dur_ns as f64).sum();
        let gamma = total / (total - excess).max(1.0);
        Verdict::one(Finding {
            title: format!("Kernels take {gamma:.2} times as long beside collectives"),
            paragraph: format!(
                "{} of {} run both alone and beside a collective, with the same inputs. Beside a collective they take \
                 {gamma:.2} times as long: its channels occupy multiprocessors and memory bandwidth, even while it waits \
                 for other ranks. That costs {} of kernel time in each step ({}).",
                counted(nodes.len(), "kernel"),
                counted(slower.len(), "signature"),
                ms(per_step),
                percent(of_step),
            ),
            fix: "Give collectives fewer multiprocessors, or none: fewer channels, copies by the copy engine, reductions in \
                  the switch; or let compute streams go first."
                .to_owned(),
            code: "NCCL_MAX_CTAS=8 ...           # or ncclConfig_t.maxCTAs, per communicator\n\
                   TORCH_NCCL_HIGH_PRIORITY=0    # compute first\nNCCL_NVLS_ENABLE=1           # NVLink SHARP"
                .to_owned(),
            references: vec![
                "https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html#nccl-max-ctas".to_owned(),
                "https://github.com/deepseek-ai/profile-data".to_owned(),
            ],
            confidence: Some(Confidence::Medium),
            guards: vec![Guard {
                holds: true,
                text: "Each kernel has at least five runs alone and five beside a collective, with equal inputs.".to_owned(),
            }],
            edits: vec!["no-contention".to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}
