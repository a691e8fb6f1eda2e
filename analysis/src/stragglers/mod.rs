//! Which workers, stages, replicas or operators of a job make its steps longer than they would be if all were alike.
//!
//! For tables of operators, which say for every worker and step what ran when. A model of what waits for what (`schedule`)
//! replays all steps and replicas at once (`replay`) with other durations:
//!
//! - **no delay**: recorded durations, and each operator begins as soon as it can;
//! - **ideal**: what computes takes the mean of its kind over all workers and steps, what communicates the median;
//! - **added back**: ideal, but for some operators, which take what was recorded;
//! - **removed**: recorded, but for some operators, which take what is ideal.
//!
//! A part is a straggler if both hold: taken alone it brings back at least half of the slowdown, and without it at least
//! half of it is gone. One of the two is not enough: a stage that every replica waits for is in every worker of it.
//!
//! Method and definitions: Lin et al., "Understanding Stragglers in Large Model Training Using What-if Analysis", 2025
//! (slowdown S, equation 1; scores of workers as the lesser of their replica's and stage's; contributions M_W and M_S).

mod replay;
mod schedule;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use gapless_trace::{RankId, Trace};
use serde::Serialize;

use replay::{Model, Times, mean};
use table::Job;

/// From this slowdown on it is worth naming a culprit.
const LEAST_SLOWDOWN: f64 = 1.02;
/// A culprit explains at least this share of the slowdown, removed and added back.
const LEAST_SHARE: f64 = 0.5;
/// Workers of the highest scores that are taken together for their contribution, in per cent of all (M_W).
const WORST_PER_CENT: usize = 3;

/// A replay in which only some operators take what was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Replica, stage or kind of operator.
    pub key: String,
    /// Mean step with its recorded durations, all else ideal, ÷ mean ideal step.
    pub slowdown: f64,
    /// The same of each step, in the order of the report's steps.
    pub slowdown_by_step: Vec<f64>,
}

/// What some operators contribute to the slowdown, from both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contribution {
    /// Ranks of the workers that it is about.
    pub ranks: Vec<u32>,
    /// Mean step without their stragglers, in ns.
    pub removed_ns: f64,
    /// Mean ideal step with them added back, in ns.
    pub added_ns: f64,
    /// Share of the slowdown that goes with them.
    pub removed_share: f64,
    /// Share of it that comes back with them.
    pub added_share: f64,
}

impl Contribution {
    /// Whether it explains the slowdown from both sides.
    #[must_use]
    pub fn explains(&self) -> bool {
        self.removed_share >= LEAST_SHARE && self.added_share >= LEAST_SHARE
    }
}

/// The score of a worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerScore {
    /// Its rank in the job.
    pub rank: u32,
    /// Its replica.
    pub replica: usize,
    /// Its stage.
    pub stage: usize,
    /// The lesser of its replica's and its stage's slowdown.
    pub slowdown: f64,
}

/// Times of a step, in ns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTimes {
    /// Its number.
    pub step: i64,
    /// As recorded.
    pub recorded_ns: f64,
    /// Without delays between operators.
    pub no_delay_ns: f64,
    /// With usual durations.
    pub ideal_ns: f64,
}

/// Who is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// Steps are hardly longer than ideal ones.
    Nobody,
    /// Some workers, by rank.
    Workers(Vec<u32>),
    /// A stage of the pipeline.
    Stage(usize),
    /// A replica.
    Replica(usize),
    /// A kind of operator, everywhere.
    Operator(String),
    /// No part explains it from both sides.
    CannotTell,
}

/// Who makes the steps of a job longer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stragglers {
    /// Replicas of the model.
    pub replicas: usize,
    /// Stages of the pipeline.
    pub stages: usize,
    /// Steps, ascending.
    pub steps: Vec<StepTimes>,
    /// Means over steps.
    pub mean: StepTimes,
    /// Mean step without delays ÷ mean ideal step.
    pub slowdown: f64,
    /// Mean recorded step ÷ mean step without delays.
    pub delay_slowdown: f64,
    /// Slowdown by replica, highest first.
    pub by_replica: Vec<Score>,
    /// Slowdown by stage, highest first.
    pub by_stage: Vec<Score>,
    /// Slowdown by kind of operator, highest first.
    pub by_operator: Vec<Score>,
    /// Scores of workers, highest first.
    pub by_worker: Vec<WorkerScore>,
    /// What the workers with the highest scores contribute (M_W is the removed share).
    pub worst_workers: Contribution,
    /// What the last stage contributes (M_S is the removed share).
    pub last_stage: Contribution,
    /// Who is to blame.
    pub culprit: Blame,
}

/// Finds the stragglers of a table of operators; `None` if `trace` is none.
///
/// O((replicas + stages + kinds + 8) × operators).
///
/// # Errors
/// Why the job's schedule is none that is known.
#[must_use]
pub fn stragglers(trace: &Trace) -> Option<Result<Stragglers, String>> {
    let model = match Job::new(trace)? {
        Ok(job) => Model::new(job),
        Err(error) => Err(error),
    };
    Some(model.map(|model| Finder::new(&model, trace).report()))
}

struct Finder<'a> {
    model: &'a Model,
    trace: &'a Trace,
    no_delay: Vec<f64>,
    ideal: Times,
    ideal_spans: Vec<f64>,
}

impl<'a> Finder<'a> {
    fn new(model: &'a Model, trace: &'a Trace) -> Self {
        let spans = |times: &Times| model.job.spans(&times.start, &times.end);
        let no_delay = spans(&model.replay(&model.work));
        let ideal = model.replay(&model.ideal);
        let ideal_spans = spans(&ideal);
        Self { model, trace, no_delay, ideal, ideal_spans }
    }

    fn report(self) -> Stragglers {
        let job = &self.model.job;
        let recorded = job.spans(&job.start, &job.end);
        let steps = job.steps.iter().zip(&recorded).zip(&self.no_delay).zip(&self.ideal_spans);
        let steps: Vec<StepTimes> = steps
            .map(|(((&step, &recorded_ns), &no_delay_ns), &ideal_ns)| StepTimes {
                step,
                recorded_ns,
                no_delay_ns,
                ideal_ns,
            })
            .collect();
        let (replicas, stages) = (job.replicas, job.stages);
        let by_replica = self.scores(
            (0..replicas).map(|replica| (replica.to_string(), move |_: usize, lane: usize| lane % replicas == replica)),
        );
        let stage_of = |op: usize| job.ops.get(op).map(|op| op.stage);
        let by_stage = self.scores(
            (0..stages).map(|stage| (stage.to_string(), move |op: usize, _: usize| stage_of(op) == Some(stage))),
        );
        let group_of = |op: usize| job.ops.get(op).map(|op| op.kind.group());
        let groups: BTreeSet<&'static str> = job.ops.iter().map(|op| op.kind.group()).collect();
        let by_operator = self.scores(
            groups.into_iter().map(|group| (group.to_owned(), move |op: usize, _: usize| group_of(op) == Some(group))),
        );
        let by_worker = self.workers(&by_replica, &by_stage);
        let worst = by_worker.len().saturating_mul(WORST_PER_CENT).div_ceil(100);
        let worst: BTreeSet<(usize, usize)> =
            by_worker.iter().take(worst).map(|worker| (worker.replica, worker.stage)).collect();
        let worst_workers =
            self.contribution(|op, lane| stage_of(op).is_some_and(|stage| worst.contains(&(lane % replicas, stage))));
        let last_stage = self.contribution(|op, _| stage_of(op) == Some(stages.saturating_sub(1)));
        let mut report = Stragglers {
            replicas,
            stages,
            mean: StepTimes {
                step: -1,
                recorded_ns: mean(&recorded),
                no_delay_ns: mean(&self.no_delay),
                ideal_ns: mean(&self.ideal_spans),
            },
            slowdown: mean(&self.no_delay) / mean(&self.ideal.completion),
            delay_slowdown: mean(&recorded) / mean(&self.no_delay),
            steps,
            by_replica,
            by_stage,
            by_operator,
            by_worker,
            worst_workers,
            last_stage,
            culprit: Blame::CannotTell,
        };
        report.culprit = self.culprit(&report);
        report
    }

    /// Slowdowns of parts that are added back to the ideal, highest first.
    fn scores<F: Fn(usize, usize) -> bool>(&self, parts: impl Iterator<Item = (String, F)>) -> Vec<Score> {
        let ideal = &self.ideal.completion;
        let score = |(key, takes): (String, F)| {
            let mixed = self.model.mixed(&self.model.ideal, &self.model.work, takes);
            let found = self.model.replay(&mixed).completion;
            Score {
                key,
                slowdown: mean(&found) / mean(ideal),
                slowdown_by_step: found.iter().zip(ideal).map(|(found, ideal)| found / ideal).collect(),
            }
        };
        let mut scores: Vec<Score> = parts.map(score).collect();
        scores.sort_by(|a, b| b.slowdown.total_cmp(&a.slowdown).then_with(|| a.key.cmp(&b.key)));
        scores
    }

    fn rank(&self, replica: usize, stage: usize) -> u32 {
        let id = self.model.job.ranks.get(replica * self.model.job.stages + stage).copied().unwrap_or(RankId(0));
        self.trace.rank(id).and_then(|rank| rank.number).unwrap_or(id.0)
    }

    fn workers(&self, by_replica: &[Score], by_stage: &[Score]) -> Vec<WorkerScore> {
        let of = |scores: &[Score]| -> BTreeMap<usize, f64> {
            scores.iter().filter_map(|score| Some((score.key.parse().ok()?, score.slowdown))).collect()
        };
        let (replicas, stages) = (of(by_replica), of(by_stage));
        let mut workers: Vec<WorkerScore> = replicas
            .iter()
            .flat_map(|(&replica, &one)| stages.iter().map(move |(&stage, &other)| (replica, stage, one.min(other))))
            .map(|(replica, stage, slowdown)| WorkerScore { rank: self.rank(replica, stage), replica, stage, slowdown })
            .collect();
        workers.sort_by(|a, b| b.slowdown.total_cmp(&a.slowdown).then_with(|| a.rank.cmp(&b.rank)));
        workers
    }

    fn contribution(&self, takes: impl Fn(usize, usize) -> bool) -> Contribution {
        let model = self.model;
        let job = &model.job;
        let spans = |work: &[f64]| {
            let times = model.replay(work);
            mean(&job.spans(&times.start, &times.end))
        };
        let removed_ns = spans(&model.mixed(&model.work, &model.ideal, &takes));
        let added_ns = spans(&model.mixed(&model.ideal, &model.work, &takes));
        let (whole, ideal) = (mean(&self.no_delay), mean(&self.ideal_spans));
        let mut ranks = BTreeSet::new();
        for op in 0..job.ops.len() {
            for replica in (0..job.replicas).filter(|&replica| takes(op, replica)) {
                if let Some(op) = job.ops.get(op) {
                    ranks.insert(self.rank(replica, op.stage));
                }
            }
        }
        Contribution {
            ranks: ranks.into_iter().collect(),
            removed_ns,
            added_ns,
            removed_share: (whole - removed_ns) / (whole - ideal),
            added_share: (added_ns - ideal) / (whole - ideal),
        }
    }

    /// The smallest part that explains the slowdown from both sides.
    fn culprit(&self, report: &Stragglers) -> Blame {
        if report.slowdown < LEAST_SLOWDOWN {
            return Blame::Nobody;
        }
        if report.worst_workers.explains() {
            return Blame::Workers(report.worst_workers.ranks.clone());
        }
        let job = &self.model.job;
        let replicas = job.replicas;
        let first = |scores: &[Score]| scores.first().map(|score| score.key.clone()).unwrap_or_default();
        if let Ok(stage) = first(&report.by_stage).parse::<usize>()
            && self.contribution(|op, _| job.ops.get(op).is_some_and(|op| op.stage == stage)).explains()
        {
            return Blame::Stage(stage);
        }
        if let Ok(replica) = first(&report.by_replica).parse::<usize>()
            && self.contribution(|_, lane| lane % replicas == replica).explains()
        {
            return Blame::Replica(replica);
        }
        let group = first(&report.by_operator);
        if self.contribution(|op, _| job.ops.get(op).is_some_and(|op| op.kind.group() == group)).explains() {
            return Blame::Operator(group);
        }
        Blame::CannotTell
    }
}
