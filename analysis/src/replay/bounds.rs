//! Bounds: what would be left if one cause were gone altogether. Each is a replay, never a subtraction.

use serde::Serialize;

use super::pass::replay_many;
use super::scenario::{Mode, Scenario};
use crate::graph::{EdgeKind, Graph, NodeKind};

/// What is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Threads take no time; latencies and devices stay.
    NoHost,
    /// Transfers of collectives take no time; waiting for late ranks stays.
    PerfectNetwork,
    /// Nobody waits for other ranks.
    NoSkew,
    /// No work waits for communication. An upper bound of the gain, since some of it needs the data.
    PerfectOverlap,
    /// Fetching batches takes no time.
    NoDataLoading,
    /// Copies and fills take no time.
    NoCopies,
    /// No unexplained delays.
    NoUnexplained,
}

impl Bound {
    /// All bounds, in declaration order.
    pub const ALL: [Self; 7] = [
        Self::NoHost,
        Self::PerfectNetwork,
        Self::NoSkew,
        Self::PerfectOverlap,
        Self::NoDataLoading,
        Self::NoCopies,
        Self::NoUnexplained,
    ];

    /// A short name for people, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoHost => "no host time",
            Self::PerfectNetwork => "perfect network",
            Self::NoSkew => "no waiting for other ranks",
            Self::PerfectOverlap => "communication never in the way",
            Self::NoDataLoading => "no data loading",
            Self::NoCopies => "no copies",
            Self::NoUnexplained => "no unexplained delays",
        }
    }

    /// The scenario in which this is gone.
    #[must_use]
    pub fn scenario(self, graph: &Graph) -> Scenario<'_> {
        let mode = if self == Self::NoUnexplained { Mode::Ideal } else { Mode::Model };
        let mut scenario = Scenario::new(graph, mode);
        let mut zero = |of: fn(NodeKind) -> bool| {
            scenario.change_durations(|node| of(node.kind).then_some(0));
        };
        match self {
            Self::NoHost => zero(NodeKind::is_host_work),
            Self::PerfectNetwork => zero(|kind| kind == NodeKind::Transfer),
            Self::NoSkew => {
                zero(|kind| kind == NodeKind::EstimatedWait);
                // Each transfer follows its own arrival alone.
                scenario.drop_edges(|edge, to| {
                    graph.node(edge.from).kind == NodeKind::Meeting && graph.node(to).kind == NodeKind::Transfer
                });
            }
            Self::PerfectOverlap => {
                let is_comm = |kind: NodeKind| matches!(kind, NodeKind::Transfer | NodeKind::EstimatedWait);
                scenario.drop_edges(|edge, to| {
                    let orders = matches!(edge.kind, EdgeKind::StreamOrder | EdgeKind::EventWait);
                    orders && is_comm(graph.node(edge.from).kind) && graph.node(to).kind != NodeKind::Arrival
                });
            }
            Self::NoDataLoading => zero(|kind| kind == NodeKind::DataLoader),
            Self::NoCopies => zero(|kind| matches!(kind, NodeKind::Copy | NodeKind::Fill)),
            Self::NoUnexplained => {}
        }
        scenario
    }
}

/// Times of the recording, of the model and of all bounds, in ns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// Measured.
    pub measured_ns: i64,
    /// Replay of the model.
    pub model_ns: i64,
    /// Replay of each bound, in the order of [`Bound::ALL`].
    pub bounds: Vec<(Bound, i64)>,
}

/// Replays all bounds of the whole recording.
#[must_use]
pub fn bounds(graph: &Graph) -> Bounds {
    let mut scenarios = vec![Scenario::new(graph, Mode::Model)];
    scenarios.extend(Bound::ALL.iter().map(|bound| bound.scenario(graph)));
    let times = replay_many(&scenarios);
    let length = |place: usize| times.get(place).map_or(0, |times| times.end_ns.saturating_sub(graph.origin_ns()));
    Bounds {
        measured_ns: graph.end_ns().saturating_sub(graph.origin_ns()),
        model_ns: length(0),
        bounds: Bound::ALL.into_iter().enumerate().map(|(place, bound)| (bound, length(place + 1))).collect(),
    }
}
