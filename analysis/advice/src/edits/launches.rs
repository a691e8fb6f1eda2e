//! Launches return at once.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Calls that launch work do not wait for it: `async-launches`.
#[derive(Debug)]
pub(super) struct AsyncLaunches;

/// What a launch costs a thread, in ns, at best, as expected, at worst. The calls of `gapless_analysis`'s public traces
/// take 4 to 10 µs with the profiler on.
const COST_NS: (f64, f64, f64) = (4_000.0, 6_000.0, 10_000.0);

impl Transformation for AsyncLaunches {
    fn id(&self) -> &'static str {
        "async-launches"
    }

    fn title(&self) -> &'static str {
        "Launches return before their work is done"
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
        let cost = outlook.pick(COST_NS.0, COST_NS.1, COST_NS.2) as i64;
        for launch in waiting_launches(study) {
            if edit.selector().is_empty() || edit.selector().fits_host(study, launch) {
                draft.set_duration(launch, draft.duration_ns(launch).min(cost));
                touched.push(launch);
            }
        }
        if touched.is_empty() {
            return Err(Refusal::new("no launch lasts as long as the work that it launches"));
        }
        let assumptions = vec!["A launch takes 4 to 10 µs of its thread.".to_owned()];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}

/// Launches of kernels that last at least until their kernel has ended.
pub(crate) fn waiting_launches(study: &Study<'_>) -> Vec<NodeId> {
    let graph = study.graph();
    let mut found: Vec<NodeId> = study
        .nodes_of(NodeKind::Kernel)
        .filter_map(|id| {
            let launch = study.facts().launch(id)?;
            (graph.node(launch).end_ns() >= graph.node(id).end_ns()).then_some(launch)
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
