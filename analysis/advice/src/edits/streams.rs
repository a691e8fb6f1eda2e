//! Work on other streams, and exchanges of embeddings one step ahead.

use std::collections::BTreeMap;

use gapless_analysis::CollectiveKind;
use gapless_analysis::graph::{EdgeKind, NodeId, NodeKind, Point};
use gapless_analysis::replay::Draft;
use gapless_trace::RankId;

use super::common::{arrival_of, is_backward, keep_followers, launch_edge, transfers, unhook};
use super::scale::nothing;
use super::{Basis, Effect, Guard, Outlook, Refusal, Transformation};
use crate::spec::Edit;
use crate::study::Study;

/// Selected work runs on a stream of its own: `move-stream(kernel~embedding)`.
#[derive(Debug)]
pub(super) struct MoveStream;

impl Transformation for MoveStream {
    fn id(&self) -> &'static str {
        "move-stream"
    }

    fn title(&self) -> &'static str {
        "Selected work runs on a stream of its own"
    }

    fn basis(&self) -> Basis {
        Basis::Replay
    }

    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, _: Outlook) -> Result<Effect, Refusal> {
        if edit.selector().is_empty() {
            return Err(Refusal::new("move-stream needs a selector, for example move-stream(kernel~embedding)"));
        }
        let graph = study.graph();
        let mut touched = Vec::new();
        let mut followed = Vec::new();
        for stream in study.facts().streams() {
            let nodes: Vec<NodeId> = study.facts().stream(stream).to_vec();
            let mut moved: Option<NodeId> = None;
            for (place, &id) in nodes.iter().enumerate() {
                let kind = graph.node(id).kind;
                if !matches!(kind, NodeKind::Kernel | NodeKind::Copy | NodeKind::Fill)
                    || !edit.selector().fits(study, id)
                {
                    continue;
                }
                // The next that stays: those between are moved as well and are unhooked in their turn.
                let before = unhook(study, draft, id, nodes.get(place + 1).copied());
                if let (Some(last), Some(edge)) = (moved, before) {
                    draft.link(last, Point::End, id, edge.lag_ns.max(0));
                }
                if let Some(edge) = before {
                    followed.push((id, edge.from));
                }
                moved = Some(id);
                touched.push(id);
            }
        }
        if touched.is_empty() {
            return Err(nothing(edit));
        }
        followed.sort_unstable();
        keep_followers(study, draft, &followed);
        Ok(Effect {
            touched,
            guards: vec![Guard {
                holds: false,
                text:
                    "The recording does not show which work reads these results: whoever does must wait for an event."
                        .to_owned(),
            }],
            assumptions: vec!["Nothing on the old stream needs the results; the device has room for both.".to_owned()],
            ..Effect::default()
        })
    }
}

/// The exchange of a step's embeddings begins a step ahead: `pipeline-embeddings`.
#[derive(Debug)]
pub(super) struct PipelineEmbeddings;

impl Transformation for PipelineEmbeddings {
    fn id(&self) -> &'static str {
        "pipeline-embeddings"
    }

    fn title(&self) -> &'static str {
        "Inputs of embeddings are exchanged while the step before computes"
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
        let graph = study.graph();
        if graph.steps().len() < 3 {
            return Err(Refusal::new("a pipeline over steps needs at least three of them in the recording"));
        }
        // When the backward pass of each rank and step begins.
        let mut backward: BTreeMap<(RankId, Option<usize>), i64> = BTreeMap::new();
        for id in study.nodes_of(NodeKind::Kernel).filter(|&id| is_backward(study, id)) {
            if let Some(place) = graph.node(id).place {
                let first = backward.entry((place.rank, study.facts().step(id))).or_insert(i64::MAX);
                *first = (*first).min(graph.node(id).start_ns);
            }
        }
        let mut marks: BTreeMap<(RankId, usize), NodeId> = BTreeMap::new();
        for (step, info) in graph.steps().iter().enumerate() {
            for &begin in &info.begins {
                if let Some(place) = graph.node(begin).place {
                    marks.insert((place.rank, step), begin);
                }
            }
        }
        let mut touched = Vec::new();
        let mut moved: BTreeMap<RankId, NodeId> = BTreeMap::new();
        for transfer in transfers(study) {
            let kind =
                study.facts().instance(transfer).and_then(|place| study.collectives().get(place)).map(|i| i.kind);
            let (Some(arrival), Some(place)) = (arrival_of(study, transfer), graph.node(transfer).place) else {
                continue;
            };
            let Some(step) = study.facts().step(transfer).filter(|&step| step > 0) else { continue };
            let is_forward =
                backward.get(&(place.rank, Some(step))).is_none_or(|&first| graph.node(arrival).start_ns < first);
            let fits = edit.selector().is_empty() || edit.selector().fits(study, transfer);
            if kind != Some(CollectiveKind::AllToAll) || !is_forward || !fits {
                continue;
            }
            let Some(&mark) = marks.get(&(place.rank, step - 1)) else { continue };
            let lag = launch_edge(study, draft, arrival).map_or(0, |edge| {
                draft.set_lag(edge.index, None);
                edge.lag_ns
            });
            // What orders it behind this step's work goes; the exchanges keep their own order.
            let edges: Vec<_> = graph.edges_to(arrival).collect();
            for edge in edges {
                if matches!(edge.kind, EdgeKind::StreamOrder | EdgeKind::EventWait) {
                    draft.set_lag(edge.index, None);
                }
            }
            draft.link(mark, Point::Start, arrival, lag);
            if let Some(&last) = moved.get(&place.rank) {
                draft.link(last, Point::End, arrival, 0);
            }
            moved.insert(place.rank, transfer);
            let slower = outlook.pick(1.0, 1.05, 1.3);
            draft.scale_duration(transfer, slower);
            touched.push(transfer);
        }
        if touched.is_empty() {
            return Err(Refusal::new("no all-to-all runs in the forward pass of a step but the first"));
        }
        Ok(Effect {
            touched,
            guards: vec![Guard {
                holds: false,
                text: "Only what depends on the input alone can go a step ahead: pooled embeddings need this step's weights.".to_owned(),
            }],
            assumptions: vec![
                "The batch of the next step is on the device one step ahead (three steps in flight).".to_owned(),
                "Exchanges beside kernels take 0 to 30 % longer (5 % expected).".to_owned(),
            ],
            ..Effect::default()
        })
    }
}
