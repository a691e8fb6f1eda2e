//! Tables that rules read: their columns, and their rows in a recording.

use gapless_analysis::RankAnalysis;
use gapless_analysis::graph::NodeId;
use gapless_trace::EventId;

use crate::scene::Scene;

/// A table of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Operators by name and rank.
    Operators,
    /// Device work by name and rank.
    Kernels,
    /// Collectives over ranks, one row each.
    Collectives,
    /// Copies and fills by direction, name and rank.
    Copies,
    /// The longest gaps without device work.
    Idle,
    /// Steps by rank.
    Steps,
    /// Everything on threads and streams, one row each.
    Nodes,
}

/// What a column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Text,
    Count,
    Time,
    Bytes,
    Share,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub name: &'static str,
    pub unit: Unit,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Number(f64),
    Nothing,
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub cells: Vec<Cell>,
    /// What counts towards the share of the steps, in ns.
    pub time_ns: f64,
    pub event: Option<EventId>,
    pub node: Option<NodeId>,
}

const fn column(name: &'static str, unit: Unit) -> Column {
    Column { name, unit }
}

const OPERATORS: [Column; 8] = [
    column("rank", Unit::Count),
    column("name", Unit::Text),
    column("calls", Unit::Count),
    column("host_total", Unit::Time),
    column("host_self", Unit::Time),
    column("device_total", Unit::Time),
    column("device_self", Unit::Time),
    column("device_events", Unit::Count),
];
const KERNELS: [Column; 9] = [
    column("rank", Unit::Count),
    column("name", Unit::Text),
    column("class", Unit::Text),
    column("count", Unit::Count),
    column("sum", Unit::Time),
    column("mean", Unit::Time),
    column("median", Unit::Time),
    column("min", Unit::Time),
    column("max", Unit::Time),
];
const COLLECTIVES: [Column; 8] = [
    column("name", Unit::Text),
    column("kind", Unit::Text),
    column("group", Unit::Text),
    column("ranks", Unit::Count),
    column("bytes", Unit::Bytes),
    column("transfer", Unit::Time),
    column("wait", Unit::Time),
    column("arrival_spread", Unit::Time),
];
const COPIES: [Column; 7] = [
    column("rank", Unit::Count),
    column("name", Unit::Text),
    column("direction", Unit::Text),
    column("count", Unit::Count),
    column("sum", Unit::Time),
    column("mean", Unit::Time),
    column("bytes", Unit::Bytes),
];
const IDLE: [Column; 4] = [
    column("rank", Unit::Count),
    column("cause", Unit::Text),
    column("duration", Unit::Time),
    column("next", Unit::Text),
];
const STEPS: [Column; 9] = [
    column("rank", Unit::Count),
    column("name", Unit::Text),
    column("number", Unit::Count),
    column("duration", Unit::Time),
    column("compute", Unit::Time),
    column("exposed_comm", Unit::Time),
    column("exposed_copy", Unit::Time),
    column("idle", Unit::Time),
    column("device_events", Unit::Count),
];
const NODES: [Column; 8] = [
    column("rank", Unit::Count),
    column("step", Unit::Count),
    column("kind", Unit::Text),
    column("class", Unit::Text),
    column("name", Unit::Text),
    column("operator", Unit::Text),
    column("duration", Unit::Time),
    column("path", Unit::Time),
];

impl Table {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::Operators, Self::Kernels, Self::Collectives, Self::Copies, Self::Idle, Self::Steps, Self::Nodes];

    /// Its name in rules.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Operators => "operators",
            Self::Kernels => "kernels",
            Self::Collectives => "collectives",
            Self::Copies => "copies",
            Self::Idle => "idle",
            Self::Steps => "steps",
            Self::Nodes => "nodes",
        }
    }

    /// From its name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.label() == label)
    }

    /// Its columns.
    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Operators => &OPERATORS,
            Self::Kernels => &KERNELS,
            Self::Collectives => &COLLECTIVES,
            Self::Copies => &COPIES,
            Self::Idle => &IDLE,
            Self::Steps => &STEPS,
            Self::Nodes => &NODES,
        }
    }

    /// The names of its columns in a sentence.
    pub(super) fn names(self) -> String {
        self.columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }

    /// Whether its times lie on the critical path, which is one for all ranks.
    pub(super) const fn is_path(self) -> bool {
        matches!(self, Self::Nodes | Self::Collectives)
    }

    /// Its rows in a recording.
    pub(super) fn rows(self, scene: &Scene<'_, '_>) -> Vec<Row> {
        match self {
            Self::Nodes => nodes(scene),
            Self::Collectives => collectives(scene),
            _ => {
                let study = scene.study();
                let ranks = study.trace().rank_ids().zip(&scene.analysis().ranks);
                ranks
                    .flat_map(|((id, rank), of)| {
                        let number = f64::from(rank.number.unwrap_or(id.0));
                        self.rows_of(scene, of, Cell::Number(number))
                    })
                    .collect()
            }
        }
    }

    fn rows_of(self, scene: &Scene<'_, '_>, of: &RankAnalysis, rank: Cell) -> Vec<Row> {
        let row = |cells: Vec<Cell>, time_ns: i64, event: Option<EventId>| {
            let cells = std::iter::once(rank.clone()).chain(cells).collect();
            Row { cells, time_ns: time_ns as f64, event, node: None }
        };
        match self {
            Self::Operators => of
                .tables
                .operators
                .iter()
                .map(|of| {
                    let cells = vec![
                        text(&of.name),
                        count(of.calls),
                        time(of.host_total_ns),
                        time(of.host_self_ns),
                        time(of.device_total_ns),
                        time(of.device_self_ns),
                        count(of.device_events),
                    ];
                    row(cells, of.device_self_ns, Some(of.longest_event))
                })
                .collect(),
            Self::Kernels => of
                .tables
                .kernels
                .iter()
                .map(|of| {
                    let cells = vec![
                        text(&of.name),
                        text(of.class.label()),
                        count(of.stats.count),
                        time(of.stats.sum_ns),
                        Cell::Number(of.stats.mean_ns),
                        Cell::Number(of.stats.median_ns),
                        time(of.stats.min_ns),
                        time(of.stats.max_ns),
                    ];
                    row(cells, of.stats.sum_ns, Some(of.longest_event))
                })
                .collect(),
            Self::Copies => of
                .tables
                .copies
                .iter()
                .map(|of| {
                    let cells = vec![
                        text(&of.name),
                        text(of.direction.label()),
                        count(of.stats.count),
                        time(of.stats.sum_ns),
                        Cell::Number(of.stats.mean_ns),
                        of.bytes.map_or(Cell::Nothing, count),
                    ];
                    row(cells, of.stats.sum_ns, Some(of.longest_event))
                })
                .collect(),
            Self::Idle => of
                .largest_idle
                .iter()
                .map(|gap| {
                    let next = gap.next_event.map_or("", |event| scene.study().trace().name(event));
                    let cells = vec![text(gap.cause.label()), time(gap.duration_ns), text(next)];
                    row(cells, gap.duration_ns, gap.next_event)
                })
                .collect(),
            _ => of
                .steps
                .iter()
                .map(|step| {
                    let parts = &step.partition;
                    let cells = vec![
                        text(&step.name),
                        count(step.number.unwrap_or(u64::from(step.index))),
                        time(parts.duration_ns),
                        time(parts.compute_ns),
                        time(parts.exposed_comm_ns),
                        time(parts.exposed_copy_ns),
                        time(parts.idle_ns),
                        count(step.device_events),
                    ];
                    row(cells, parts.duration_ns, step.event)
                })
                .collect(),
        }
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn count(count: u64) -> Cell {
    Cell::Number(count as f64)
}

fn time(ns: i64) -> Cell {
    Cell::Number(ns as f64)
}

fn collectives(scene: &Scene<'_, '_>) -> Vec<Row> {
    let study = scene.study();
    let pairs = study.collectives().iter().zip(study.timings());
    pairs
        .map(|(of, timing)| Row {
            cells: vec![
                text(&of.name),
                text(of.kind.label()),
                text(&of.group),
                of.size.map_or(Cell::Nothing, |size| count(u64::from(size))),
                of.bytes.map_or(Cell::Nothing, count),
                time(timing.transfer_ns),
                time(timing.wait_sum_ns),
                time(timing.arrival_spread_ns),
            ],
            time_ns: timing.transfer_ns as f64,
            event: of.members.first().map(|member| member.event),
            node: of.members.first().and_then(|member| study.facts().node_of(member.event)),
        })
        .collect()
}

fn nodes(scene: &Scene<'_, '_>) -> Vec<Row> {
    let study = scene.study();
    let graph = study.graph();
    let timed = graph.node_ids().filter(|&id| graph.node(id).dur_ns > 0);
    timed
        .map(|id| {
            let node = graph.node(id);
            let number =
                |rank: gapless_trace::RankId| study.trace().rank(rank).and_then(|of| of.number).unwrap_or(rank.0);
            let step = study.facts().step(id);
            let step_number =
                step.map(|place| graph.steps().get(place).and_then(|step| step.number).unwrap_or(place as u64));
            Row {
                cells: vec![
                    study.rank(id).map_or(Cell::Nothing, |rank| Cell::Number(f64::from(number(rank)))),
                    step_number.map_or(Cell::Nothing, count),
                    Cell::Text(format!("{:?}", node.kind).to_ascii_lowercase()),
                    text(study.facts().class(id).label()),
                    text(study.name(id)),
                    text(study.operator_name(id)),
                    time(node.dur_ns),
                    time(scene.path_ns(id)),
                ],
                time_ns: scene.path_ns(id) as f64,
                event: node.event,
                node: Some(id),
            }
        })
        .collect()
}
