//! Names that mean something to an analysis, looked up once for all ranks.

use gapless_trace::{StrId, Trace};

/// Ids of known names, ascending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    graph_launches: Vec<StrId>,
    recomputing_frames: Vec<StrId>,
}

impl Names {
    pub fn new(trace: &Trace) -> Self {
        let mut this = Self::default();
        for (id, text) in trace.strings().iter() {
            // `cudaGraphLaunch`, `cuGraphLaunch`, `hipGraphLaunch`.
            if text.contains("GraphLaunch") {
                this.graph_launches.push(id);
            }
            if text.ends_with(": recompute_fn") && text.contains("torch/utils/checkpoint.py") {
                this.recomputing_frames.push(id);
            }
        }
        this
    }

    /// Whether a call of this name launches a graph.
    pub fn is_graph_launch(&self, name: StrId) -> bool {
        self.graph_launches.binary_search(&name).is_ok()
    }

    /// Whether a Python frame of this name recomputes activations (`torch.utils.checkpoint`).
    pub fn is_recomputing_frame(&self, name: StrId) -> bool {
        self.recomputing_frames.binary_search(&name).is_ok()
    }

    /// Whether any frame recomputes activations.
    pub fn has_recomputing_frames(&self) -> bool {
        !self.recomputing_frames.is_empty()
    }
}
