//! The operators of a job out of a trace: every operator of every worker and step, at its place in the schedule.

use std::collections::{BTreeMap, BTreeSet};

use gapless_trace::{ArgValue, EventId, EventKind, RankId, Trace};
use rustc_hash::FxHashMap;

/// What an operator of a pipeline-parallel job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum OpType {
    ForwardCompute,
    BackwardCompute,
    ForwardSend,
    ForwardRecv,
    BackwardSend,
    BackwardRecv,
    ParamsAllGather,
    GradsReduceScatter,
    SeparateGradsAllReduce,
    LayernormGradsAllReduce,
    EmbeddingGradsAllReduce,
    ClipGrads,
    Optimizer,
    Gc,
}

impl OpType {
    const ALL: [Self; 14] = [
        Self::ForwardCompute,
        Self::BackwardCompute,
        Self::ForwardSend,
        Self::ForwardRecv,
        Self::BackwardSend,
        Self::BackwardRecv,
        Self::ParamsAllGather,
        Self::GradsReduceScatter,
        Self::SeparateGradsAllReduce,
        Self::LayernormGradsAllReduce,
        Self::EmbeddingGradsAllReduce,
        Self::ClipGrads,
        Self::Optimizer,
        Self::Gc,
    ];

    /// Its name in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ForwardCompute => "forward-compute",
            Self::BackwardCompute => "backward-compute",
            Self::ForwardSend => "forward-send",
            Self::ForwardRecv => "forward-recv",
            Self::BackwardSend => "backward-send",
            Self::BackwardRecv => "backward-recv",
            Self::ParamsAllGather => "params-all-gather",
            Self::GradsReduceScatter => "grads-reduce-scatter",
            Self::SeparateGradsAllReduce => "separate-grads-all-reduce",
            Self::LayernormGradsAllReduce => "layernorm-grads-all-reduce",
            Self::EmbeddingGradsAllReduce => "embedding-grads-all-reduce",
            Self::ClipGrads => "optimizer-clip-main-grad",
            Self::Optimizer => "optimizer",
            Self::Gc => "gc",
        }
    }

    fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }

    pub const fn is_compute(self) -> bool {
        matches!(self, Self::ForwardCompute | Self::BackwardCompute)
    }

    pub const fn is_p2p(self) -> bool {
        matches!(self, Self::ForwardSend | Self::ForwardRecv | Self::BackwardSend | Self::BackwardRecv)
    }

    /// Whether it moves data between workers, so that its usual time is a median and not a mean.
    pub const fn is_communication(self) -> bool {
        !matches!(self, Self::ForwardCompute | Self::BackwardCompute | Self::Optimizer | Self::Gc)
    }

    /// Under which name its share of a slowdown stands: both ends of a transfer stand together.
    pub const fn group(self) -> &'static str {
        match self {
            Self::ForwardSend | Self::ForwardRecv => "forward-pp-comm",
            Self::BackwardSend | Self::BackwardRecv => "backward-pp-comm",
            other => other.label(),
        }
    }
}

/// One operator of the schedule, which every replica runs in every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub kind: OpType,
    /// Number among those of its kind and stage.
    pub number: i64,
    /// Stage of the pipeline.
    pub stage: usize,
    /// Chunk of the model on the stage.
    pub chunk: i64,
    /// Chunk of the whole model.
    pub whole_chunk: i64,
}

/// A job: its operators by replica and step. Times in ns from the beginning of their step.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Numbers of the steps, ascending.
    pub steps: Vec<i64>,
    /// Replicas of the model.
    pub replicas: usize,
    /// Stages of the pipeline.
    pub stages: usize,
    /// Whether gradients are reduced over replicas, or over ranks that share a batch's sequence.
    pub reduces: bool,
    /// Rank of each worker, by replica × stages + stage.
    pub ranks: Vec<RankId>,
    pub ops: Vec<Op>,
    /// Begin of each operator: by operator × lanes + lane; a lane is step × replicas + replica.
    pub start: Vec<f64>,
    /// Its end.
    pub end: Vec<f64>,
}

struct Row {
    op: Op,
    replica: usize,
    step: i64,
    rank: RankId,
    start: f64,
    dur: f64,
}

impl Job {
    pub fn lanes(&self) -> usize {
        self.steps.len() * self.replicas
    }

    /// The operators of `trace`; `None` if it is no table of operators, an error if their schedule has holes.
    pub fn new(trace: &Trace) -> Option<Result<Self, String>> {
        let mut rows = Vec::new();
        for (rank, info) in trace.rank_ids() {
            for id in info.events.clone().map(EventId) {
                if trace.event(id).kind == EventKind::Step {
                    continue;
                }
                // Other traces are told by their first event.
                rows.push(row(trace, rank, id)?);
            }
        }
        let reduces = |name: &str| {
            let of_rank = trace.ranks().first()?.header.iter().find(|(key, _)| key == name)?;
            of_rank.1.as_i64()
        };
        let sizes = reduces("dp_size").unwrap_or(1).saturating_mul(reduces("dsp_size").unwrap_or(1));
        (!rows.is_empty()).then(|| Self::of_rows(rows, sizes > 1))
    }

    fn of_rows(mut rows: Vec<Row>, reduces: bool) -> Result<Self, String> {
        let steps: Vec<i64> = rows.iter().map(|row| row.step).collect::<BTreeSet<_>>().into_iter().collect();
        let replicas = rows.iter().map(|row| row.replica).max().map_or(0, |most| most + 1);
        let stages = rows.iter().map(|row| row.op.stage).max().map_or(0, |most| most + 1);
        let lanes = steps.len() * replicas;
        let mut begins: BTreeMap<i64, f64> = BTreeMap::new();
        for row in &rows {
            let begin = begins.entry(row.step).or_insert(f64::INFINITY);
            *begin = begin.min(row.start);
        }
        let mut ranks = vec![None; replicas * stages];
        rows.sort_by_key(|row| (row.op.stage, row.op.kind, row.op.number));
        let mut ops: Vec<Op> = Vec::new();
        let (mut start, mut end): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        for same in rows.chunk_by(|a, b| key(&a.op) == key(&b.op)) {
            // What it is about is said by the first replica in the first step.
            let Some(first) = same.iter().min_by_key(|row| (row.step, row.replica)) else { continue };
            let base = start.len();
            start.resize(base + lanes, f64::NAN);
            end.resize(base + lanes, f64::NAN);
            for row in same {
                let lane = steps.partition_point(|&step| step < row.step) * replicas + row.replica;
                let begin = begins.get(&row.step).copied().unwrap_or_default();
                if let (Some(start), Some(end)) = (start.get_mut(base + lane), end.get_mut(base + lane)) {
                    if !start.is_nan() {
                        return Err(format!("{} is twice in a step of one worker", text(&row.op)));
                    }
                    *start = row.start - begin;
                    *end = row.start - begin + row.dur;
                }
                if let Some(rank) = ranks.get_mut(row.replica * stages + row.op.stage) {
                    *rank = Some(row.rank);
                }
            }
            if same.len() != lanes {
                let many = (lanes - same.len().min(lanes)) as u64;
                return Err(format!("{} is missing in {many} of {lanes} steps of replicas", text(&first.op)));
            }
            ops.push(first.op);
        }
        let ranks = ranks.into_iter().collect::<Option<Vec<RankId>>>();
        let ranks = ranks.ok_or("some stages of some replicas are not in the recording")?;
        Ok(Self { steps, replicas, stages, reduces, ranks, ops, start, end })
    }

    /// Places of operators by what names them.
    pub fn by_key(&self) -> FxHashMap<(usize, OpType, i64), usize> {
        self.ops.iter().enumerate().map(|(place, op)| (key(op), place)).collect()
    }

    /// Length of each step, in ns: from the first begin to the last end.
    pub fn spans(&self, start: &[f64], end: &[f64]) -> Vec<f64> {
        let lanes = self.lanes();
        let mut spans = vec![(f64::INFINITY, f64::NEG_INFINITY); self.steps.len()];
        for (at, (start, end)) in start.iter().zip(end).enumerate() {
            if let Some(span) = spans.get_mut(at % lanes.max(1) / self.replicas.max(1)) {
                *span = (span.0.min(*start), span.1.max(*end));
            }
        }
        spans.into_iter().map(|(start, end)| end - start).collect()
    }
}

fn key(op: &Op) -> (usize, OpType, i64) {
    (op.stage, op.kind, op.number)
}

/// `backward-send 3 of stage 1`.
pub(super) fn text(op: &Op) -> String {
    format!("{} {} of stage {}", op.kind.label(), op.number, op.stage)
}

fn row(trace: &Trace, rank: RankId, id: EventId) -> Option<Row> {
    let args = trace.args(id).ok()?;
    let get = |name: &str| args.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_i64());
    let place = |name: &str| {
        let of_event = get(name);
        let header = || {
            let (_, value) = trace.rank(rank)?.header.iter().find(|(key, _)| key == name)?;
            ArgValue::as_i64(value)
        };
        usize::try_from(of_event.or_else(header)?).ok()
    };
    let event = trace.event(id);
    Some(Row {
        op: Op {
            kind: OpType::from_label(trace.name(id))?,
            number: get("seq_id")?,
            stage: place("stage")?,
            chunk: get("mc").unwrap_or(0),
            whole_chunk: get("gmc").unwrap_or(0),
        },
        replica: place("dp_rank")?,
        step: get("step")?,
        rank,
        start: event.start.nanos() as f64,
        dur: event.dur.nanos() as f64,
    })
}
