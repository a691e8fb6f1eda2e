//! Links that always run as fast as they mostly do.

use std::collections::BTreeMap;

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Transfers longer than the median of those alike take the median: `steady-link(comm=all_reduce)`.
#[derive(Debug)]
pub(super) struct SteadyLink;

/// Fewer transfers alike have no median to speak of.
const LEAST: usize = 3;

impl Transformation for SteadyLink {
    fn id(&self) -> &'static str {
        "steady-link"
    }

    fn title(&self) -> &'static str {
        "Collectives never take longer than they mostly do"
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, _: Outlook) -> Result<Effect, Refusal> {
        let mut alike: BTreeMap<_, Vec<(i64, NodeId)>> = BTreeMap::new();
        for id in study.nodes_of(NodeKind::Transfer) {
            let Some(instance) = study.facts().instance(id).and_then(|place| study.collectives().get(place)) else {
                continue;
            };
            if edit.selector().is_empty() || edit.selector().fits(study, id) {
                let key = (instance.communicator, instance.kind, instance.bytes);
                alike.entry(key).or_default().push((draft.duration_ns(id), id));
            }
        }
        let mut touched = Vec::new();
        for mut transfers in alike.into_values().filter(|transfers| transfers.len() >= LEAST) {
            transfers.sort_unstable();
            let median = transfers.get(transfers.len() / 2).map_or(0, |transfer| transfer.0);
            for (dur, id) in transfers {
                if dur > median {
                    draft.set_duration(id, median);
                    touched.push(id);
                }
            }
        }
        if touched.is_empty() {
            return Err(Refusal::new("no collective takes longer than others of its size"));
        }
        let assumptions = vec!["What slowed these transfers down is not there any more.".to_owned()];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}
