//! A graph with further edges, from what is known beside its recording.

use super::assemble::{Raw, RawEdge, RawNode, assemble};
use super::kinds::label_of;
use super::{EdgeKind, Evidence, Graph, GraphStep, NodeId, Point};

/// An edge to add. It counts as inferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FurtherEdge {
    /// Where it leaves from.
    pub from: NodeId,
    /// At which end of `from`.
    pub point: Point,
    /// Where it leads to.
    pub to: NodeId,
    /// The least time between, in ns.
    pub lag_ns: i64,
    /// Why it is there.
    pub kind: EdgeKind,
}

impl Graph {
    /// This graph with more edges: a wait that another recording of the program shows and that this one hides, since what
    /// is waited for was done in time. Edges that the measured times contradict, or that close a circle, are left out.
    ///
    /// Nodes may get other numbers.
    #[must_use]
    pub fn with_edges(&self, further: &[FurtherEdge]) -> Self {
        let mut raw = Raw { places: self.places.clone(), ..Raw::default() };
        for id in self.node_ids() {
            let node = self.node(id);
            let column = |column: &[u32]| column.get(id.index()).copied().unwrap_or(super::NONE);
            raw.node(RawNode {
                start: node.start_ns,
                dur: node.dur_ns,
                event: column(&self.event),
                place: column(&self.place),
                kind: node.kind,
            });
            for edge in self.edges_to(id) {
                let source = (edge.from.0 << 1) | u32::from(edge.point == Point::End);
                let lag = self.lag.get(edge.index as usize).copied().unwrap_or_default();
                raw.edges.push(RawEdge { source, to: id.0, lag, label: label_of(edge.kind, edge.evidence) });
            }
        }
        for edge in further {
            raw.edge(edge.from.0, edge.point, edge.to.0, edge.lag_ns, edge.kind, Evidence::Inferred);
        }
        let (mut graph, new_id) = assemble(raw, self.options.clone());
        let moved = |nodes: &[NodeId]| -> Vec<NodeId> {
            let mut nodes: Vec<NodeId> = nodes.iter().filter_map(|id| new_id.get(id.index())).copied().collect();
            nodes.sort_unstable();
            nodes
        };
        let step =
            |step: &GraphStep| GraphStep { begins: moved(&step.begins), ends: moved(&step.ends), ..step.clone() };
        graph.steps = self.steps.iter().map(step).collect();
        graph.constants.clone_from(&self.constants);
        graph
    }
}

#[cfg(test)]
mod tests {
    use gapless_trace::EventKind;

    use super::*;
    use crate::fixture::Fixture;
    use crate::graph::{GraphInput, GraphOptions, NodeKind};
    use crate::replay::{Mode, Scenario, replay};
    use crate::{ClockAlignment, match_collectives};

    #[test]
    fn a_further_edge_holds_and_the_recording_stays_as_it_was() {
        let mut fixture = Fixture::new();
        fixture.host(1, EventKind::Step, "ProfilerStep#1", (0, 900_000), u32::MAX);
        fixture.launched(7, (10_000, 15_000), (30_000, 130_000), 1);
        fixture.launched(8, (20_000, 25_000), (200_000, 250_000), 2);
        let trace = fixture.trace();
        let clocks = ClockAlignment::new(&trace);
        let collectives = match_collectives(&trace, &clocks);
        let input = GraphInput { clocks: &clocks, collectives: &collectives };
        let graph = Graph::new(&trace, &input, &GraphOptions::default());
        let kernels = |graph: &Graph| -> Vec<NodeId> {
            graph.node_ids().filter(|&id| graph.node(id).kind == NodeKind::Kernel).collect()
        };
        let [first, second] = kernels(&graph)[..] else { unreachable!("two kernels") };
        let edge = |from, to| FurtherEdge { from, point: Point::End, to, lag_ns: 2_000, kind: EdgeKind::EventWait };
        assert_eq!(graph.with_edges(&[]), graph);
        // The second kernel ran after the first, so it may have waited for it; the other way round it cannot have been.
        let more = graph.with_edges(&[edge(first, second), edge(second, first)]);
        assert_eq!(more.edge_count(), graph.edge_count() + 1);
        assert_eq!(more.steps().len(), graph.steps().len());
        let mut scenario = Scenario::new(&more, Mode::Identity);
        let times = replay(&scenario);
        assert!(more.node_ids().all(|id| times.start_ns(id) == more.node(id).start_ns));
        let [first, second] = kernels(&more)[..] else { unreachable!("two kernels") };
        scenario.set_duration(first, 400_000);
        assert!(replay(&scenario).start_ns(second) >= 432_000);
    }
}
