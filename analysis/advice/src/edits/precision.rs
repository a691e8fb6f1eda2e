//! Arithmetic with fewer bits.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::replay::Draft;

use super::gpu::FLOOR_NS;
use super::{Basis, Effect, Guard, Outlook, Refusal, Transformation};
use crate::device::least_capability;
use crate::spec::{Edit, SpecError};
use crate::study::Study;
use gapless_analysis::KernelClass;

/// `precision.tf32`, `precision.bf16`, `precision.fp16`, `precision.fp8`.
#[derive(Debug)]
pub(super) struct Precision;

/// Speed-up of arithmetic and of memory traffic: best, expected, worst.
struct Gain {
    arithmetic: (f64, f64, f64),
    memory: (f64, f64, f64),
}

impl Transformation for Precision {
    fn id(&self) -> &'static str {
        "precision"
    }

    fn title(&self) -> &'static str {
        "Matrix products and convolutions use fewer bits"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["tf32", "bf16", "fp16", "fp8"]
    }

    fn basis(&self) -> Basis {
        Basis::ReplayAndModel
    }

    fn check(&self, edit: &Edit) -> Result<(), SpecError> {
        if edit.part().is_none() || edit.value().is_some() {
            return Err(SpecError::BadValue {
                parameter: "precision".to_owned(),
                value: edit.value().unwrap_or_default().to_owned(),
                expected: "write precision.tf32, precision.bf16, precision.fp16 or precision.fp8".to_owned(),
            });
        }
        Ok(())
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        // Tensor Cores take BF16 and TF32 from 8.0 on and FP8 from 8.9 on (NVIDIA, CUDA C++ Programming Guide, "Compute
        // Capabilities"); before, such types are emulated or not there.
        let (needs, instead) = match edit.part() {
            Some("fp16") => ((7, 0), ""),
            Some("fp8") => ((8, 9), ""),
            _ => ((8, 0), "; precision.fp16 is what it can use"),
        };
        if let Some(has) = least_capability(study).filter(|&has| has < needs) {
            return Err(Refusal::new(format!(
                "the device (compute capability {}.{}) has no Tensor Cores for these types{instead}",
                has.0, has.1
            )));
        }
        // From 32 bits. Peak ratios are 8 (TF32) and 16 (BF16, FP16) on A100 and H100, 8 (FP16) on V100; what is reached is less, since the traffic
        // does not shrink as much (TF32: not at all). FP8 is from 16 bits.
        let gain = match edit.part() {
            Some("tf32") => Gain { arithmetic: (6.0, 3.0, 1.5), memory: (1.0, 1.0, 1.0) },
            Some("fp8") => Gain { arithmetic: (1.9, 1.5, 1.1), memory: (1.3, 1.0, 1.0) },
            _ => Gain { arithmetic: (8.0, 4.0, 2.0), memory: (2.0, 1.6, 1.0) },
        };
        let from_32_bits = edit.part() != Some("fp8");
        let mut touched = Vec::new();
        let mut unknown = 0_usize;
        for id in study.nodes_of(NodeKind::Kernel) {
            if !edit.selector().is_empty() && !edit.selector().fits(study, id) {
                continue;
            }
            let class = study.facts().class(id);
            if class == KernelClass::Optimizer {
                continue;
            }
            match uses_32_bits(study, id) {
                Some(wide) if wide == from_32_bits => {}
                Some(_) => continue,
                None if class.is_arithmetic() => {
                    unknown += 1;
                    continue;
                }
                None => continue,
            }
            let (best, expected, worst) = if class.is_arithmetic() { gain.arithmetic } else { gain.memory };
            let by = outlook.pick(best, expected, worst);
            if by <= 1.0 {
                continue;
            }
            let dur = draft.duration_ns(id) as f64;
            let floor = FLOOR_NS.min(dur);
            draft.set_duration(id, (floor + (dur - floor) / by).round() as i64);
            touched.push(id);
        }
        if touched.is_empty() {
            return Err(Refusal::new(if unknown > 0 {
                format!(
                    "the recording does not say the types of {unknown} matrix products (record shapes to know them)"
                )
            } else {
                format!("no matrix product or convolution runs with {} bits", if from_32_bits { 32 } else { 16 })
            }));
        }
        Ok(Effect {
            touched,
            guards: vec![Guard {
                holds: unknown == 0,
                text: if unknown == 0 {
                    "The types of all matrix products are known.".to_owned()
                } else {
                    format!("Types of {unknown} matrix products are unknown; they stay as they are.")
                },
            }],
            assumptions: vec![
                "The model converges with these bits.".to_owned(),
                format!(
                    "Arithmetic becomes {} to {} times as fast ({} expected), from peak ratios and what memory allows; casts are in the range.",
                    gain.arithmetic.2, gain.arithmetic.0, gain.arithmetic.1
                ),
            ],
            ..Effect::default()
        })
    }
}

/// Whether a kernel works on 32-bit floats without tensor cores: by the types of its operator, else by its name; `None` if
/// neither says.
#[must_use]
pub fn uses_32_bits(study: &Study<'_>, id: NodeId) -> Option<bool> {
    let kernel = study.name(id).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| kernel.contains(word));
    if has(&[
        "bf16", "f16", "half", "hgemm", "fp8", "e4m3", "s884", "h884", "tf32", "h1688", "s161616", "_hhs_", "bfloat16",
    ]) {
        return Some(false);
    }
    if has(&["sgemm", "scudnn", "_sss_", "f32f32_f32f32_f32"]) {
        return Some(true);
    }
    let operator = study.facts().operator(id)?;
    let types = |event| {
        let args = study.trace().args(event).ok()?;
        args.iter().find(|(name, _)| name == "Input type").map(|(_, value)| format!("{value:?}"))
    };
    // Backward functions carry no shapes; the operator inside or around does.
    let text = std::iter::once(operator).chain(study.trace().ancestors(operator).take(3)).find_map(types)?;
    if text.contains("BFloat16") || text.contains("Half") || text.contains("Float8") {
        Some(false)
    } else if text.contains("float") {
        Some(!has(&["s1688", "s16816", "tensorop"]))
    } else {
        None
    }
}
