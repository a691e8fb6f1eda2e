//! Another GPU, or one with more of something.

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Scales compute kernels: `gpu.compute=2x`, `gpu.memory=2x`, `gpu=2x` (both).
#[derive(Debug)]
pub(super) struct Gpu;

/// What a kernel takes however little it does, in ns (design, §3(d)9).
pub(crate) const FLOOR_NS: f64 = 2_000.0;

impl Transformation for Gpu {
    fn id(&self) -> &'static str {
        "gpu"
    }

    fn title(&self) -> &'static str {
        "A GPU with another compute rate or memory bandwidth"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["compute", "memory"]
    }

    fn value(&self) -> Option<&'static str> {
        Some("rate as a factor: 2x is twice as fast")
    }

    fn basis(&self) -> Basis {
        Basis::ReplayAndModel
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let by = edit.factor().ok().filter(|&by| by > 0.0).ok_or_else(|| Refusal::new("a rate of zero never ends"))?;
        let (compute, memory) = match edit.part() {
            Some("compute") => (by, 1.0),
            Some("memory") => (1.0, by),
            _ => (by, by),
        };
        let mut touched = Vec::new();
        for id in study.nodes_of(NodeKind::Kernel) {
            if !edit.selector().is_empty() && !edit.selector().fits(study, id) {
                continue;
            }
            let rate = rate_of(study.facts().class(id).is_arithmetic(), compute, memory, outlook);
            let dur = draft.duration_ns(id) as f64;
            let floor = FLOOR_NS.min(dur);
            draft.set_duration(id, (floor + (dur - floor) / rate).round() as i64);
            touched.push(id);
        }
        if touched.is_empty() {
            return Err(super::scale::nothing(edit));
        }
        let assumptions = vec![
            "Matrix products, attention and convolutions follow the compute rate, other kernels the memory bandwidth; the \
             range covers kernels that follow the other of the two."
                .to_owned(),
            format!("Each kernel has {} µs that do not scale.", FLOOR_NS / 1e3),
        ];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}

/// By how much a kernel speeds up.
///
/// The best is the larger of the two ratios, the worst the smaller; half way (in the logarithm) from what its class says.
fn rate_of(is_arithmetic: bool, compute: f64, memory: f64, outlook: Outlook) -> f64 {
    let expected = if is_arithmetic { compute } else { memory };
    let toward = |other: f64| (expected * other).sqrt();
    match outlook {
        Outlook::Expected => expected,
        Outlook::Best => expected.max(toward(compute.max(memory))),
        Outlook::Worst => expected.min(toward(compute.min(memory))),
    }
}
