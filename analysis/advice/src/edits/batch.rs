//! Another number of samples in a step.

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;

use super::gpu::FLOOR_NS;
use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;
use gapless_analysis::KernelClass;

/// Work on activations grows with the batch, work on parameters does not: `batch=2x`.
#[derive(Debug)]
pub(super) struct Batch;

impl Transformation for Batch {
    fn id(&self) -> &'static str {
        "batch"
    }

    fn title(&self) -> &'static str {
        "A larger or smaller batch in each step"
    }

    fn value(&self) -> Option<&'static str> {
        Some("samples as a factor: 2x doubles the batch")
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
        let by = edit.factor().ok().filter(|&by| by > 0.0).ok_or_else(|| Refusal::new("a batch needs samples"))?;
        let graph = study.graph();
        let mut touched = Vec::new();
        for id in graph.node_ids() {
            let dur = draft.duration_ns(id) as f64;
            let new = match graph.node(id).kind {
                NodeKind::Kernel if study.facts().class(id) != KernelClass::Optimizer => {
                    let floor = FLOOR_NS.min(dur);
                    // Larger matrices use the device better: at best half of the growth of small kernels is free.
                    let small = dur < 50_000.0;
                    let growth =
                        if by > 1.0 && small { outlook.pick(by.sqrt(), f64::midpoint(by, by.sqrt()), by) } else { by };
                    floor + (dur - floor) * growth
                }
                NodeKind::Copy | NodeKind::DataLoader => dur * by,
                NodeKind::Transfer if moves_activations(study, id) => dur * by,
                _ => continue,
            };
            draft.set_duration(id, new.round() as i64);
            touched.push(id);
        }
        if touched.is_empty() {
            return Err(Refusal::new("the recording has no device work"));
        }
        let assumptions = vec![
            "Kernels other than the optimizer's, copies, data loading and all-to-alls grow with the batch; gradients and \
             parameters do not."
                .to_owned(),
            "There is memory enough.".to_owned(),
        ];
        Ok(Effect { touched, assumptions, samples: Some(by), ..Effect::default() })
    }
}

fn moves_activations(study: &Study<'_>, id: gapless_analysis::graph::NodeId) -> bool {
    use gapless_analysis::CollectiveKind::{AllToAll, Gather, Scatter, SendReceive};
    let instance = study.facts().instance(id).and_then(|place| study.collectives().get(place));
    instance.is_some_and(|instance| matches!(instance.kind, AllToAll | Gather | Scatter | SendReceive))
}
