//! What several detectors need.

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::{ArgValue, EventId};

use crate::edits::Outlook;
use crate::scene::Scene;
use crate::spec::Edit;
use crate::study::Study;
use crate::whatif::draft;

/// Time per step, given a sum over the recording.
pub(super) fn per_step(scene: &Scene<'_, '_>, ns: i64) -> f64 {
    ns as f64 / scene.study().step_count() as f64
}

/// What figures refer to, for sentences.
pub(super) fn each(scene: &Scene<'_, '_>) -> &'static str {
    if scene.study().graph().steps().is_empty() { "the recording" } else { "each step" }
}

/// A sum over the recording as a share of the steps.
pub(super) fn share(scene: &Scene<'_, '_>, ns: i64) -> f64 {
    let step = scene.study().base().mean_step_ns;
    if step > 0.0 { per_step(scene, ns) / step } else { 0.0 }
}

/// Of several edits the first that can be made: others may be refused, by what a recording holds.
pub(super) fn first_possible(scene: &Scene<'_, '_>, edits: &[&str]) -> Vec<String> {
    let possible =
        |text: &&&str| Edit::parse(text).is_ok_and(|edit| draft(scene.study(), &[edit], Outlook::Expected).is_ok());
    edits.iter().find(possible).or(edits.first()).map(|edit| (**edit).to_owned()).into_iter().collect()
}

/// Longest first.
pub(super) fn longest_first(study: &Study<'_>, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
    nodes.sort_by_key(|&id| (std::cmp::Reverse(study.graph().node(id).dur_ns), id));
    nodes
}

/// Names around a node's call, innermost first: its operator, and everything around that.
pub(super) fn names_around<'s>(study: &'s Study<'_>, node: NodeId) -> impl Iterator<Item = &'s str> + 's {
    let launch = study.facts().launch(node).unwrap_or(node);
    let call = study.graph().node(launch).event;
    call.into_iter().flat_map(|call| study.around(call))
}

/// The kind of the collective that a transfer is part of.
pub(super) fn collective_kind(study: &Study<'_>, node: NodeId) -> Option<CollectiveKind> {
    let place = study.facts().instance(node)?;
    study.collectives().get(place).map(|instance| instance.kind)
}

/// Transfers of collectives of some kinds.
pub(super) fn transfers_of(study: &Study<'_>, kinds: &[CollectiveKind]) -> Vec<NodeId> {
    study
        .nodes_of(NodeKind::Transfer)
        .filter(|&id| collective_kind(study, id).is_some_and(|kind| kinds.contains(&kind)))
        .collect()
}

/// Whether any operator of the recording has shapes.
pub(super) fn has_shapes(study: &Study<'_>) -> bool {
    let operators = study.nodes_of(NodeKind::Kernel).filter_map(|id| study.facts().operator(id));
    operators.take(500).any(|operator| elements(study, operator).is_some())
}

/// Elements of all inputs of an operator, from its recorded shapes.
pub(super) fn elements(study: &Study<'_>, operator: EventId) -> Option<f64> {
    let args = study.trace().args(operator).ok()?;
    let dims = args.iter().find(|(name, _)| name == "Input Dims" || name == "Input dims").map(|(_, value)| value)?;
    let ArgValue::List(inputs) = dims else { return None };
    let size = |input: &ArgValue| -> f64 {
        let ArgValue::List(dims) = input else { return 0.0 };
        if dims.is_empty() {
            return 0.0;
        }
        dims.iter().map(|dim| dim.as_f64().unwrap_or(0.0)).product()
    };
    let sum: f64 = inputs.iter().map(size).sum();
    (sum > 0.0).then_some(sum)
}

/// A name for people: of templates only the head, at most 60 letters.
pub(super) fn short_name(name: &str) -> String {
    let name = name.strip_prefix("void ").unwrap_or(name);
    let head = name.split(['<', '(']).next().filter(|head| !head.is_empty()).unwrap_or(name);
    head.chars().take(60).collect()
}

/// The number of a rank in its job, or its place in the trace.
pub(super) fn rank_number(study: &Study<'_>, rank: gapless_trace::RankId) -> u32 {
    study.trace().rank(rank).and_then(|rank| rank.number).unwrap_or(rank.0)
}

/// The middle of values; 0 without any.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}
