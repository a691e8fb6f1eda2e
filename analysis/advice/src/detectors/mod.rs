//! Detectors: what is wrong, how one can tell, what to do about it.
//!
//! A detector looks at a [`Scene`] and gives findings, each with its evidence and with the edits that simulate its fix.
//! It never says what a fix brings: that is one replay for all ([`crate::advise`]), and findings are ranked by it alone.
//! A detector that cannot tell abstains, with the reason.

mod antipatterns;
mod blocking_call;
mod common;
mod contention;
mod culprits;
mod dense_embedding;
mod embedding_exchange;
mod exposed_reduction;
mod gc_pause;
mod gemm_shapes;
mod host_stretch;
mod input_stall;
mod late_gather;
mod late_rank;
mod launch_bound;
mod layout_conversions;
mod low_occupancy;
mod low_use;
mod no_tensor_cores;
mod pageable_copy;
mod pipeline_bubble;
mod ranks_common;
mod read_back;
mod recompute;
mod repeated_gradients;
mod shard_imbalance;
mod share;
mod short_kernels;
mod slow_device;
mod slow_host;
mod slow_link;
mod tiny_collectives;
mod type_casts;
mod uneven_batches;
mod uneven_stages;
mod unfused_attention;
mod unfused_optimizer;
mod zeroed_gradients;

pub use culprits::{Culprit, Fault, Whose, culprits};
use gapless_analysis::graph::NodeId;
use gapless_trace::EventId;
use serde::Serialize;

use crate::edits::Guard;
use crate::scene::Scene;

/// How sure a detector is of what it saw, whatever the gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Names or times suggest it.
    Low,
    /// Several signs agree.
    Medium,
    /// The recording says so.
    High,
}

/// A threshold of a detector. A rules file can set it: `[detector.input-stall] share = 0.1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// Its name.
    pub name: &'static str,
    /// Its value without a rules file.
    pub default: f64,
    /// What it is, with its unit.
    pub help: &'static str,
}

/// What a detector found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Finding {
    /// Id of the detector.
    pub detector: String,
    /// What is wrong, with the figure that matters: "Data loading blocks 53.9 ms of each step".
    pub title: String,
    /// What, where, and why we think so; one paragraph.
    pub paragraph: String,
    /// What to do; one or two sentences.
    pub fix: String,
    /// A short example of the fix; empty if there is none.
    pub code: String,
    /// Where to read more.
    pub references: Vec<String>,
    /// The rank it concerns, as a place in the trace; `None` for all.
    pub rank_id: Option<u32>,
    /// How sure the detector is; `None` counts as medium.
    pub confidence: Option<Confidence>,
    /// What was checked, so that this is no false alarm.
    pub guards: Vec<Guard>,
    /// Edits that simulate the fix, as texts; empty if nothing can be simulated.
    pub edits: Vec<String>,
    /// Events that show it, the most telling first; at most [`EVIDENCE`].
    #[serde(serialize_with = "crate::ids::events")]
    pub evidence: Vec<EventId>,
    /// Nodes whose time is at stake: what findings share is grouped by it.
    #[serde(skip)]
    pub nodes: Vec<NodeId>,
    /// A finding that only leads to others, or that needs no action: never ranked above others.
    pub is_info: bool,
}

/// Events that a finding keeps as evidence.
pub const EVIDENCE: usize = 200;

/// What a detector says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing of the kind, or these.
    Findings(Vec<Finding>),
    /// It cannot tell, and why.
    Abstains(String),
}

impl Verdict {
    /// Nothing of the kind.
    #[must_use]
    pub const fn nothing() -> Self {
        Self::Findings(Vec::new())
    }

    /// One finding.
    #[must_use]
    pub fn one(finding: Finding) -> Self {
        Self::Findings(vec![finding])
    }
}

/// A detector.
pub trait Detector: std::fmt::Debug + Send + Sync {
    /// Its stable id.
    fn id(&self) -> &'static str;

    /// What it looks for, in a few words.
    fn title(&self) -> &'static str;

    /// Its thresholds.
    fn thresholds(&self) -> &'static [Threshold] {
        &[]
    }

    /// Looks. `detector` of the findings is filled in by the caller.
    fn detect(&self, scene: &Scene<'_, '_>) -> Verdict;
}

/// All detectors, in the order of the catalogue.
#[must_use]
pub fn detectors() -> &'static [&'static dyn Detector] {
    &[
        &input_stall::InputStall,
        &pageable_copy::PageableCopy,
        &read_back::ReadBack,
        &blocking_call::BlockingCall,
        &launch_bound::LaunchBound,
        &host_stretch::HostStretch,
        &low_use::LowUse,
        &short_kernels::ShortKernels,
        &gc_pause::GcPause,
        &exposed_reduction::ExposedReduction,
        &late_gather::LateGather,
        &late_rank::LateRank,
        &slow_device::SlowDevice,
        &slow_host::SlowHost,
        &uneven_batches::UnevenBatches,
        &uneven_stages::UnevenStages,
        &pipeline_bubble::PipelineBubble,
        &slow_link::SlowLink,
        &tiny_collectives::TinyCollectives,
        &repeated_gradients::RepeatedGradients,
        &contention::Contention,
        &no_tensor_cores::NoTensorCores,
        &gemm_shapes::GemmShapes,
        &low_occupancy::LowOccupancy,
        &unfused_attention::UnfusedAttention,
        &layout_conversions::LayoutConversions,
        &type_casts::TypeCasts,
        &unfused_optimizer::UnfusedOptimizer,
        &zeroed_gradients::ZeroedGradients,
        &recompute::Recompute,
        &dense_embedding::DenseEmbedding,
        &embedding_exchange::EmbeddingExchange,
        &shard_imbalance::ShardImbalance,
        &antipatterns::Antipatterns,
    ]
}

/// The threshold of a detector as it holds in a scene.
pub(crate) fn threshold(scene: &Scene<'_, '_>, detector: &dyn Detector, name: &str) -> f64 {
    let default = detector.thresholds().iter().find(|threshold| threshold.name == name);
    scene.threshold(detector.id(), name).or(default.map(|threshold| threshold.default)).unwrap_or(f64::NAN)
}
