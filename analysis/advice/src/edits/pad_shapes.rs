//! Dimensions of matrix products are multiples of what Tensor Cores like.

use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::products::misaligned;
use crate::spec::Edit;
use crate::study::Study;

/// Misaligned products run at the rate of aligned ones of this recording: `pad-shapes`.
#[derive(Debug)]
pub(super) struct PadShapes;

impl Transformation for PadShapes {
    fn id(&self) -> &'static str {
        "pad-shapes"
    }

    fn title(&self) -> &'static str {
        "Matrix products have aligned dimensions"
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
        let mut touched = Vec::new();
        for product in misaligned(study) {
            if !edit.selector().is_empty() && !edit.selector().fits(study, product.node) {
                continue;
            }
            let now = draft.duration_ns(product.node) as f64;
            // The peers differ in shape: half of what they promise is sure enough.
            let saved = (now - product.padded_ns).max(0.0) * outlook.pick(1.0, 1.0, 0.5);
            draft.set_duration(product.node, (now - saved).round() as i64);
            touched.push(product.node);
        }
        if touched.is_empty() {
            return Err(Refusal::new(
                "no matrix product with known dimensions is misaligned and slower than aligned ones of this recording",
            ));
        }
        let assumptions = vec![
            "A padded product runs at the median rate of the recording's aligned products of its type and about its size."
                .to_owned(),
        ];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}
