//! D22: matrix products and convolutions in FP32 without Tensor Cores.

use gapless_analysis::graph::{NodeId, NodeKind};

use super::share::{counted, longest_first, path_share, time_per_step};
use super::{Confidence, Detector, Finding, Threshold, Verdict, threshold};
use crate::device::{is_amd, least_capability};
use crate::edits::{Guard, uses_32_bits};
use crate::scene::Scene;
use crate::text::{ms, percent};
use gapless_analysis::KernelClass;

/// FP32 arithmetic on a device with Tensor Cores.
#[derive(Debug)]
pub(super) struct NoTensorCores;

impl Detector for NoTensorCores {
    fn id(&self) -> &'static str {
        "no-tensor-cores"
    }

    fn title(&self) -> &'static str {
        "Matrix products do not use Tensor Cores"
    }

    fn thresholds(&self) -> &'static [Threshold] {
        &[Threshold {
            name: "share",
            default: 0.05,
            help: "share of the step that FP32 products and convolutions take on the critical path",
        }]
    }

    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict {
        let study = scene.study();
        let arithmetic: Vec<NodeId> = study
            .nodes_of(NodeKind::Kernel)
            .filter(|&id| matches!(study.facts().class(id), KernelClass::Gemm | KernelClass::Convolution))
            .collect();
        if arithmetic.is_empty() {
            return Verdict::nothing();
        }
        let devices = || study.trace().ranks().iter().filter_map(|rank| rank.devices.first());
        let Some(capability) = least_capability(study) else {
            return if devices().any(|device| is_amd(&device.name)) {
                Verdict::nothing()
            } else {
                Verdict::Abstains("The recording does not say which device it is from.".to_owned())
            };
        };
        if capability < (7, 0) {
            return Verdict::nothing();
        }
        let nodes: Vec<NodeId> =
            arithmetic.iter().copied().filter(|&id| uses_32_bits(study, id) == Some(true)).collect();
        let of_step = path_share(scene, &nodes);
        if nodes.is_empty() || of_step < threshold(scene, self, "share") {
            return Verdict::nothing();
        }
        let has_tf32 = capability >= (8, 0);
        let (fix, code) = if has_tf32 {
            (
                "Allow TF32 (one line, 10 bits of mantissa), or train in BF16 with autocast, which saves memory traffic too.",
                "torch.backends.cuda.matmul.allow_tf32 = True\ntorch.backends.cudnn.allow_tf32 = True\n\
                 # or: with torch.autocast(\"cuda\", dtype=torch.bfloat16): loss = model(x)",
            )
        } else {
            (
                "Train in FP16 with autocast and a gradient scaler: this device has Tensor Cores for FP16 only.",
                "scaler = torch.amp.GradScaler()\nwith torch.autocast(\"cuda\", dtype=torch.float16):\n    loss = model(x)\n\
                 scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()",
            )
        };
        // What leaves types as they are is the smaller change; Volta and Turing have FP16 only.
        let edit = if has_tf32 { "precision.tf32" } else { "precision.fp16" };
        let all = time_per_step(scene, &arithmetic);
        let own = time_per_step(scene, &nodes);
        Verdict::one(Finding {
            title: format!("FP32 products and convolutions take {} of each step", percent(of_step)),
            paragraph: format!(
                "{} for each of {} steps compute products or convolutions in FP32 on ordinary cores: {} of the {} that such \
                 kernels take in a step, and {} of the step on the critical path. Types of the operators, or names of the \
                 kernels, say so. The device has Tensor Cores, which are several times as fast.",
                counted(nodes.len() / study.step_count(), "kernel"),
                study.step_count(),
                ms(own),
                ms(all),
                percent(of_step),
            ),
            fix: fix.to_owned(),
            code: code.to_owned(),
            references: vec![
                "https://pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices"
                    .to_owned(),
                "https://pytorch.org/docs/stable/amp.html".to_owned(),
            ],
            confidence: Some(Confidence::High),
            guards: vec![
                Guard {
                    holds: true,
                    text: "The kernels lie on the critical path, the host does not hide them.".to_owned(),
                },
                Guard { holds: false, text: "Fewer bits must not hurt the model: compare losses.".to_owned() },
            ],
            edits: vec![edit.to_owned()],
            evidence: scene.events_of(&longest_first(scene, &nodes)),
            nodes,
            ..Finding::default()
        })
    }
}
