//! Ranks share a kind of work evenly.

use std::collections::{BTreeMap, BTreeSet};

use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// In each step every rank takes the mean time over ranks for the selected work: `balance(class=embedding)`.
#[derive(Debug)]
pub(super) struct Balance;

impl Transformation for Balance {
    fn id(&self) -> &'static str {
        "balance"
    }

    fn title(&self) -> &'static str {
        "Ranks share selected work evenly"
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, _: Outlook) -> Result<Effect, Refusal> {
        if edit.selector().is_empty() {
            return Err(Refusal::new("balance needs a selector, for example balance(class=embedding)"));
        }
        let touched = edit.selector().nodes(study);
        let mut sums: BTreeMap<Option<usize>, BTreeMap<u32, f64>> = BTreeMap::new();
        let mut ranks = BTreeSet::new();
        for &id in &touched {
            let Some(rank) = study.rank(id) else { continue };
            ranks.insert(rank.0);
            *sums.entry(study.facts().step(id)).or_default().entry(rank.0).or_default() += draft.duration_ns(id) as f64;
        }
        if ranks.len() < 2 {
            return Err(Refusal::new("fewer than two ranks have such work"));
        }
        for &id in &touched {
            let (Some(rank), Some(of_step)) = (study.rank(id), sums.get(&study.facts().step(id))) else { continue };
            let own = of_step.get(&rank.0).copied().unwrap_or_default();
            let mean = of_step.values().sum::<f64>() / ranks.len() as f64;
            if own > 0.0 {
                draft.scale_duration(id, mean / own);
            }
        }
        let assumptions = vec!["The work can be cut and placed freely, and its time goes with its amount.".to_owned()];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}
