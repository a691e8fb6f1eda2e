//! Work that takes another time, or none.

use gapless_analysis::graph::NodeKind;
use gapless_analysis::replay::Draft;

use super::{Basis, Effect, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Multiplies durations: `scale(class=gemm)=0.5x`.
#[derive(Debug)]
pub(super) struct Scale;

impl Transformation for Scale {
    fn id(&self) -> &'static str {
        "scale"
    }

    fn title(&self) -> &'static str {
        "Selected work takes another time"
    }

    fn value(&self) -> Option<&'static str> {
        Some("duration as a factor: 0.5x is twice as fast")
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, _: Outlook) -> Result<Effect, Refusal> {
        let by = edit.factor().map_err(|error| Refusal::new(error.to_string()))?;
        let touched = edit.selector().nodes(study);
        if touched.is_empty() {
            return Err(nothing(edit));
        }
        for &node in &touched {
            draft.scale_duration(node, by);
        }
        Ok(Effect { touched, ..Effect::default() })
    }
}

/// Takes work away: `remove(kernel~nchwToNhwc)`.
#[derive(Debug)]
pub(super) struct Remove;

impl Transformation for Remove {
    fn id(&self) -> &'static str {
        "remove"
    }

    fn title(&self) -> &'static str {
        "Selected work is not done at all"
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(
        &self,
        edit: &Edit,
        study: &Study<'_>,
        draft: &mut Draft<'_>,
        outlook: Outlook,
    ) -> Result<Effect, Refusal> {
        if edit.selector().is_empty() {
            return Err(Refusal::new("remove needs a selector, for example remove(kernel~nchwToNhwc)"));
        }
        let touched = edit.selector().nodes(study);
        if touched.is_empty() {
            return Err(nothing(edit));
        }
        for &node in &touched {
            remove_work(study, draft, node, outlook);
        }
        let assumptions = vec![
            "The launch goes with the work, and half of what its operator does on the host (none to all).".to_owned(),
        ];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}

/// Takes device work away together with its launch, if that launches nothing else, and with a share of the host time of
/// its operator; host work itself just takes no time.
pub(super) fn remove_work(
    study: &Study<'_>,
    draft: &mut Draft<'_>,
    node: gapless_analysis::graph::NodeId,
    outlook: Outlook,
) {
    remove_with_share(study, draft, node, outlook.pick(1.0, 0.5, 0.0));
}

/// The same with the share of the operator's host time that goes.
pub(super) fn remove_with_share(
    study: &Study<'_>,
    draft: &mut Draft<'_>,
    node: gapless_analysis::graph::NodeId,
    host_share: f64,
) {
    let kind = study.graph().node(node).kind;
    if !kind.is_device() {
        draft.set_duration(node, 0);
        return;
    }
    if kind == NodeKind::Transfer || kind == NodeKind::EstimatedWait {
        draft.set_duration(node, 0);
    } else {
        draft.bypass(node);
    }
    let Some(launch) = study.facts().launch(node) else { return };
    let is_only =
        study.graph().node(launch).event.is_some_and(|call| study.trace().launches().device_work_of(call).len() <= 1);
    if !is_only {
        return;
    }
    draft.set_duration(launch, 0);
    if let Some(operator) = study.facts().operator(node) {
        shrink_operator(study, draft, operator, host_share, 1);
    }
}

/// Takes a share of an operator's own host time away, divided by the device work that it launches.
pub(super) fn shrink_operator(
    study: &Study<'_>,
    draft: &mut Draft<'_>,
    operator: gapless_trace::EventId,
    share: f64,
    times: usize,
) {
    if share <= 0.0 {
        return;
    }
    let Some((track, _)) = study.trace().track_of(operator) else { return };
    let span = study.host_span(operator);
    let nodes: Vec<_> = study.host_nodes_in(track, span).collect();
    let launches = nodes.iter().filter(|(id, _)| study.graph().node(*id).kind == NodeKind::Launch).count().max(1);
    let part = share * (times as f64 / launches as f64).min(1.0);
    for (id, overlap) in nodes {
        if study.graph().node(id).kind == NodeKind::Host {
            let less = (overlap as f64 * part).round() as i64;
            draft.set_duration(id, draft.duration_ns(id).saturating_sub(less).max(0));
        }
    }
}

pub(super) fn nothing(edit: &Edit) -> Refusal {
    if edit.selector().is_empty() {
        Refusal::new("the recording has no such work")
    } else {
        Refusal::new(format!("nothing in the recording is selected by {}", edit.selector().text()))
    }
}
