//! Attention as one kernel.

use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::patterns::chains;
use crate::spec::Edit;
use crate::study::Study;

/// Masks, softmax and dropout between the products of attention go: `fuse-attention`.
#[derive(Debug)]
pub(super) struct FuseAttention;

impl Transformation for FuseAttention {
    fn id(&self) -> &'static str {
        "fuse-attention"
    }

    fn title(&self) -> &'static str {
        "Attention runs as one fused kernel"
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
        for chain in chains(study) {
            let fits =
                |id: &gapless_analysis::graph::NodeId| edit.selector().is_empty() || edit.selector().fits(study, *id);
            if !chain.glue.iter().chain(&chain.products).all(fits) {
                continue;
            }
            for &id in &chain.glue {
                super::scale::remove_work(study, draft, id, outlook);
            }
            // Backward, five products take the place of four, since the scores are computed again (FlashAttention-2,
            // Dao 2023, section 2.3); tiles that stay on the chip may win some of it back.
            let by = if chain.is_backward { outlook.pick(1.0, 1.25, 1.5) } else { outlook.pick(0.7, 1.0, 1.2) };
            for &id in &chain.products {
                draft.scale_duration(id, by);
            }
            touched.extend(chain.glue);
            touched.extend(chain.products);
        }
        if touched.is_empty() {
            return Err(Refusal::new("the recording has no attention made of batched products and a softmax"));
        }
        let assumptions = vec![
            "A fused kernel takes the time of the products, backward a quarter more; nothing is written between them."
                .to_owned(),
            "Head size, mask and device are ones that fused attention supports.".to_owned(),
        ];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}
