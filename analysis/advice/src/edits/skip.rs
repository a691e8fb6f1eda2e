//! What runs within chosen events is not done at all.

use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind};
use gapless_analysis::replay::Draft;
use gapless_trace::{EventId, EventKind, TrackKind};
use regex::Regex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Basis, Effect, Outlook, Parameter, Refusal, Transformation};
use crate::spec::{Edit, SpecError};
use crate::study::Study;

/// Host time, calls, waits and device work within events of a name: `skip(in=torch/serialization.*: save)`.
#[derive(Debug)]
pub(super) struct Skip;

impl Transformation for Skip {
    fn id(&self) -> &'static str {
        "skip"
    }

    fn title(&self) -> &'static str {
        "What runs within chosen operators, frames or calls is not done"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "in",
            help: "regular expression on names of operators, Python frames, annotations and calls (needed)",
        }]
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn check(&self, edit: &Edit) -> Result<(), SpecError> {
        let bad = |value: &str, expected: String| SpecError::BadValue {
            parameter: "in".to_owned(),
            value: value.to_owned(),
            expected,
        };
        let Some(pattern) = edit.word("in") else {
            return Err(bad("", "skip needs a regular expression, for example skip(in=save_checkpoint)".to_owned()));
        };
        Regex::new(pattern).map_err(|why| bad(pattern, why.to_string()))?;
        match edit.value() {
            Some(value) => Err(bad(value, "it takes no value".to_owned())),
            None => Ok(()),
        }
    }

    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, _: Outlook) -> Result<Effect, Refusal> {
        let pattern = Regex::new(edit.word("in").unwrap_or_default()).map_err(|why| Refusal::new(why.to_string()))?;
        let graph = study.graph();
        let events = outermost(study, |name| pattern.is_match(name));
        let fits = |id: NodeId| edit.selector().is_empty() || edit.selector().fits_host(study, id);
        let mut touched = Vec::new();
        let mut gone: FxHashSet<NodeId> = FxHashSet::default();
        // Spans without time on each thread, for the returns in them.
        let mut spans: FxHashMap<gapless_trace::TrackId, Vec<(i64, i64)>> = FxHashMap::default();
        for event in events {
            let Some((track, _)) = study.trace().track_of(event) else { continue };
            let span = study.host_span(event);
            spans.entry(track).or_default().push((span.start.nanos(), span.end.nanos()));
            for (id, overlap) in study.host_nodes_in(track, span) {
                if !fits(id) {
                    continue;
                }
                draft.set_duration(id, draft.duration_ns(id).saturating_sub(overlap));
                touched.push(id);
                if graph.node(id).kind == NodeKind::Launch && overlap >= graph.node(id).dur_ns {
                    gone.insert(id);
                }
            }
        }
        for id in graph.node_ids() {
            let node = graph.node(id);
            if node.kind == NodeKind::Return
                && let Some(place) = node.place
                && spans.get(&place.track).is_some_and(|spans| {
                    let before = spans.partition_point(|span| span.0 < node.start_ns);
                    before.checked_sub(1).and_then(|at| spans.get(at)).is_some_and(|span| node.start_ns <= span.1)
                })
            {
                for edge in graph.edges_to(id).filter(|edge| edge.kind == EdgeKind::SyncReturn) {
                    draft.set_lag(edge.index, None);
                }
                draft.set_delay(id, 0);
                touched.push(id);
            }
            let is_work = matches!(node.kind, NodeKind::Kernel | NodeKind::Copy | NodeKind::Fill);
            if is_work && study.facts().launch(id).is_some_and(|launch| gone.contains(&launch)) {
                draft.bypass(id);
                touched.push(id);
            }
        }
        if touched.is_empty() {
            return Err(Refusal::new(format!("nothing in the recording runs within {}", pattern.as_str())));
        }
        let assumptions = vec!["Nothing else needs what these events do.".to_owned()];
        Ok(Effect { touched, assumptions, ..Effect::default() })
    }
}

/// Events of threads whose name fits, by track and start; those inside another one are left out.
pub(crate) fn outermost(study: &Study<'_>, fits: impl Fn(&str) -> bool) -> Vec<EventId> {
    let trace = study.trace();
    let mut known: FxHashMap<gapless_trace::StrId, bool> = FxHashMap::default();
    let mut found = Vec::new();
    let wanted = |kind: EventKind| {
        matches!(
            kind,
            EventKind::Operator
                | EventKind::PythonFunction
                | EventKind::Annotation
                | EventKind::RuntimeCall
                | EventKind::DriverCall
                | EventKind::OsCall
        )
    };
    for (_, track) in trace.track_ids().filter(|(_, track)| track.kind == TrackKind::Thread) {
        let mut own: Vec<EventId> = track
            .event_ids()
            .filter(|&id| {
                let event = trace.event(id);
                wanted(event.kind) && *known.entry(event.name).or_insert_with(|| fits(trace.text(event.name)))
            })
            .collect();
        own.sort_by_key(|&id| {
            let event = trace.event(id);
            (event.start, std::cmp::Reverse(event.end()), id)
        });
        let mut until = None;
        for id in own {
            let event = trace.event(id);
            if until.is_none_or(|until| event.start >= until) {
                until = Some(event.end());
                found.push(id);
            }
        }
    }
    found
}
