//! What detectors look at: a study, the tables of the analysis, and the critical path.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use gapless_analysis::graph::NodeId;
use gapless_analysis::path::{CriticalPath, step_path, whole_path};
use gapless_analysis::{Analysis, AnalysisOptions, analyze};
use gapless_trace::EventId;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::detectors::EVIDENCE;
use crate::idle::Idle;
use crate::study::Study;

/// Everything that a detector may look at.
#[derive(Debug)]
pub struct Scene<'s, 't> {
    study: &'s Study<'t>,
    analysis: OnceLock<Analysis>,
    idle: OnceLock<Idle>,
    paths: Vec<CriticalPath>,
    on_path: FxHashMap<NodeId, i64>,
    passed: FxHashSet<NodeId>,
    thresholds: BTreeMap<(String, String), f64>,
}

impl<'s, 't> Scene<'s, 't> {
    /// Walks the critical path of each step, or of the recording if it has none.
    #[must_use]
    pub fn new(study: &'s Study<'t>) -> Self {
        let graph = study.graph();
        let mut paths: Vec<CriticalPath> = (0..graph.steps().len()).filter_map(|step| step_path(graph, step)).collect();
        if paths.is_empty() && !graph.is_empty() {
            paths.push(whole_path(graph));
        }
        let mut on_path: FxHashMap<NodeId, i64> = FxHashMap::default();
        for segment in paths.iter().flat_map(|path| &path.segments) {
            *on_path.entry(segment.node).or_default() += segment.duration_ns();
        }
        let passed = paths.iter().flat_map(|path| path.nodes.iter().copied()).collect();
        Self {
            study,
            analysis: OnceLock::new(),
            idle: OnceLock::new(),
            paths,
            on_path,
            passed,
            thresholds: BTreeMap::new(),
        }
    }

    /// With thresholds that differ from the detectors' own, by detector and name.
    #[must_use]
    pub fn with_thresholds(mut self, thresholds: BTreeMap<(String, String), f64>) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// The study.
    #[must_use]
    pub const fn study(&self) -> &'s Study<'t> {
        self.study
    }

    /// Tables of the analysis, made when first asked for.
    pub fn analysis(&self) -> &Analysis {
        self.analysis.get_or_init(|| analyze(self.study.trace(), &AnalysisOptions::default()))
    }

    /// When devices stood still and which calls waited for them, made when first asked for.
    pub fn idle(&self) -> &Idle {
        self.idle.get_or_init(|| Idle::new(self.study))
    }

    /// Whether a critical path passes a node, with or without time on it.
    #[must_use]
    pub fn is_on_path(&self, node: NodeId) -> bool {
        self.passed.contains(&node)
    }

    /// The critical path of each step, or of the recording.
    #[must_use]
    pub fn paths(&self) -> &[CriticalPath] {
        &self.paths
    }

    /// Time on the critical paths that is a node's, or latency on the way to it, in ns.
    #[must_use]
    pub fn path_ns(&self, node: NodeId) -> i64 {
        self.on_path.get(&node).copied().unwrap_or(0)
    }

    /// A threshold that was set by the user.
    #[must_use]
    pub fn threshold(&self, detector: &str, name: &str) -> Option<f64> {
        self.thresholds.get(&(detector.to_owned(), name.to_owned())).copied()
    }

    /// Events of nodes for a finding's evidence: each once, in the order of the nodes, at most [`EVIDENCE`]. Host time
    /// between calls has no event of its own: the innermost event of its thread that runs in its middle stands for it.
    #[must_use]
    pub fn events_of(&self, nodes: &[NodeId]) -> Vec<EventId> {
        let mut seen = FxHashSet::default();
        let mut found = Vec::new();
        for &id in nodes {
            if found.len() >= EVIDENCE {
                break;
            }
            let event = self.study.graph().node(id).event.or_else(|| self.study.event_in(id));
            if let Some(event) = event
                && seen.insert(event)
            {
                found.push(event);
            }
        }
        found
    }
}
