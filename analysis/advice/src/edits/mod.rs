//! Transformations: what can be changed, and what the change does to the graph.
//!
//! Each is a selector, an edit of the graph, a model of durations, guards, and an outlook on what is not known: the same
//! edit is applied three times, for the best, the expected and the worst that its parameters allow.

mod batch;
mod common;
mod copy;
mod fuse;
mod gaps;
mod gpu;
mod graphs;
mod host;
mod input;
mod link;
mod overlap;
mod parallel;
mod precision;
mod ranks;
mod recompute;
mod remove_sync;
mod scale;
mod streams;

pub(crate) use gpu::FLOOR_NS;
pub use precision::uses_32_bits;
pub use recompute::recomputed;

pub(crate) use common::is_optimizer;
use gapless_analysis::graph::NodeId;
use gapless_analysis::replay::Draft;
use serde::Serialize;

use crate::spec::{Edit, SpecError};
use crate::study::Study;

/// How much a change brings, where that is not known exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// The most that is plausible.
    Best,
    /// What is to be expected.
    Expected,
    /// The least that is plausible.
    Worst,
}

impl Outlook {
    /// All, best first.
    pub const ALL: [Self; 3] = [Self::Best, Self::Expected, Self::Worst];

    /// One of three values.
    #[must_use]
    pub const fn pick(self, best: f64, expected: f64, worst: f64) -> f64 {
        match self {
            Self::Best => best,
            Self::Expected => expected,
            Self::Worst => worst,
        }
    }
}

/// What a prediction rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Measured times, replayed in another order or without something.
    Replay,
    /// Replay with durations from a model.
    ReplayAndModel,
    /// A model alone.
    Model,
}

impl Basis {
    /// A few words for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Replay => "replay of measured times",
            Self::ReplayAndModel => "replay with modelled durations",
            Self::Model => "model only",
        }
    }
}

/// A parameter of a transformation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is, its unit, and what holds without.
    pub help: &'static str,
}

/// Something that must hold for the change to be possible, and whether it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// Whether it holds.
    pub holds: bool,
    /// One sentence.
    pub text: String,
}

/// What an edit did to the graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    /// Nodes that it changed.
    pub touched: Vec<NodeId>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// What was checked.
    pub guards: Vec<Guard>,
    /// How many times as many samples a step processes; 1 but for changes of the batch.
    pub samples: Option<f64>,
    /// Known error of this class on real pairs, as a share of the new step time; widens the range.
    pub class_error: Option<ClassError>,
}

/// Error of a class of predictions on real recordings before and after the change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassError {
    /// The greatest error, as a share of the step after the change.
    pub share: f64,
    /// How many pairs it comes from.
    pub pairs: u32,
}

/// Why an edit cannot be applied to this recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{0}")]
pub struct Refusal(pub String);

impl Refusal {
    /// With a reason in one sentence.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A kind of change.
pub trait Transformation: std::fmt::Debug + Send + Sync {
    /// Its name in texts.
    fn id(&self) -> &'static str;

    /// What it does, in a few words.
    fn title(&self) -> &'static str;

    /// Its parameters.
    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    /// What may stand behind a dot.
    fn parts(&self) -> &'static [&'static str] {
        &[]
    }

    /// What a value behind `=` means; `None` if it takes none.
    fn value(&self) -> Option<&'static str> {
        None
    }

    /// What predictions with it rest on.
    fn basis(&self) -> Basis;

    /// Whether the values of an edit can be read.
    ///
    /// # Errors
    /// When not.
    fn check(&self, edit: &Edit) -> Result<(), SpecError> {
        for parameter in self.parameters() {
            edit.number(parameter.name)?;
        }
        match (self.value(), edit.value()) {
            (None, Some(value)) => Err(SpecError::BadValue {
                parameter: self.id().to_owned(),
                value: value.to_owned(),
                expected: "it takes no value".to_owned(),
            }),
            (Some(_), _) => edit.factor().map(|_| ()),
            (None, None) => Ok(()),
        }
    }

    /// Changes the draft.
    ///
    /// # Errors
    /// A [`Refusal`] if the recording has nothing to change, or a guard says no.
    fn apply(&self, edit: &Edit, study: &Study<'_>, draft: &mut Draft<'_>, outlook: Outlook)
    -> Result<Effect, Refusal>;
}

/// All transformations, in the order of the documentation.
#[must_use]
pub fn transformations() -> &'static [&'static dyn Transformation] {
    &[
        &scale::Scale,
        &scale::Remove,
        &overlap::OverlapComm,
        &overlap::MergeCollectives,
        &fuse::Fuse,
        &graphs::CudaGraph,
        &remove_sync::RemoveSync,
        &copy::AsyncCopy,
        &input::PrefetchInput,
        &link::Link,
        &gpu::Gpu,
        &batch::Batch,
        &parallel::Parallel,
        &ranks::NoStragglers,
        &ranks::BalanceStages,
        &precision::Precision,
        &host::NoGc,
        &gaps::FillGaps,
        &recompute::NoRecompute,
        &recompute::Checkpoint,
        &streams::PipelineEmbeddings,
        &fuse::FuseOptimizer,
        &streams::MoveStream,
        &host::Host,
    ]
}

/// The transformation of this name.
#[must_use]
pub fn transformation(id: &str) -> Option<&'static dyn Transformation> {
    transformations().iter().copied().find(|transformation| transformation.id() == id)
}
