//! Kernels spread over all multiprocessors.

use gapless_analysis::replay::Draft;

use super::gpu::FLOOR_NS;
use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::occupancy::underfilled;
use crate::spec::Edit;
use crate::study::Study;

/// Kernels with too few blocks, or a nearly empty last wave, use the whole device: `fill-device(kernel~gemm)`.
#[derive(Debug)]
pub(super) struct FillDevice;

impl Transformation for FillDevice {
    fn id(&self) -> &'static str {
        "fill-device"
    }

    fn title(&self) -> &'static str {
        "Kernels use all multiprocessors"
    }

    fn basis(&self) -> Basis {
        Basis::Model
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        let mut touched = Vec::new();
        for fill in underfilled(study) {
            if !edit.selector().is_empty() && !edit.selector().fits(study, fill.node) {
                continue;
            }
            let now = draft.duration_ns(fill.node) as f64;
            let floor = FLOOR_NS.min(now);
            let full = floor + (now - floor) * fill.efficiency;
            // Work that is cut finer has to be joined again, and may be bound by memory already.
            let new = outlook.pick(full, f64::midpoint(now, full), now);
            draft.set_duration(fill.node, new.round() as i64);
            touched.push(fill.node);
        }
        if touched.is_empty() {
            return Err(Refusal::new("no kernel of 10 µs or more is known to leave multiprocessors without blocks"));
        }
        let assumptions = vec![
            "At best time goes with the share of multiprocessors that have blocks; half of that is expected."
                .to_owned(),
        ];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}
