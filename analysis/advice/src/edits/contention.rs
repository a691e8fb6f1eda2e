//! Collectives leave the multiprocessors to the kernels beside them.

use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::contention::contended;
use crate::spec::Edit;
use crate::study::Study;

/// Kernels beside a collective take what they take alone: `no-contention`.
#[derive(Debug)]
pub(super) struct NoContention;

impl Transformation for NoContention {
    fn id(&self) -> &'static str {
        "no-contention"
    }

    fn title(&self) -> &'static str {
        "Kernels beside a collective are as fast as alone"
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
        for kernels in contended(study).into_iter().filter(|kernels| kernels.gamma > 1.0) {
            // At worst half of it stays.
            let saved = (1.0 - 1.0 / kernels.gamma) * outlook.pick(1.0, 1.0, 0.5);
            for (id, _) in kernels.overlapped {
                if edit.selector().is_empty() || edit.selector().fits(study, id) {
                    draft.scale_duration(id, 1.0 - saved);
                    touched.push(id);
                }
            }
        }
        if touched.is_empty() {
            return Err(Refusal::new(
                "no kernel ran at least five times beside a collective and five times alone, and was slower beside it",
            ));
        }
        let assumptions = vec!["Collectives take no longer with fewer channels or copy engines.".to_owned()];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}
