//! Matrix products with their inputs, and how fast those with aligned dimensions are.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::EventId;
use rustc_hash::FxHashMap;

use crate::shapes::{Product, Shapes};
use crate::study::Study;
use gapless_analysis::KernelClass;

/// One product that a kernel computes.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The kernel.
    pub node: NodeId,
    /// What it computes.
    pub product: Product,
}

/// All products whose operator launched exactly one matrix kernel, so that its time is the product's.
pub(crate) fn calls(study: &Study<'_>) -> Vec<Call> {
    let mut of_operator: FxHashMap<EventId, Vec<NodeId>> = FxHashMap::default();
    for id in study.nodes_of(NodeKind::Kernel) {
        if study.facts().class(id) == KernelClass::Gemm
            && let Some(operator) = study.facts().operator(id)
        {
            of_operator.entry(operator).or_default().push(id);
        }
    }
    let mut found: Vec<Call> = of_operator
        .into_iter()
        .filter_map(|(operator, nodes)| {
            let [node] = *nodes else { return None };
            let shapes = Shapes::of(study.trace(), operator)?;
            Some(Call { node, product: Product::of(study.trace().name(operator), &shapes)? })
        })
        .collect();
    found.sort_by_key(|call| call.node);
    found
}

/// Below this a dimension is small by nature (one token, few heads): padding would do more harm than good.
pub(crate) const LEAST_DIM: u64 = 64;
/// Products this many times smaller, or larger, still tell how fast aligned ones are: smaller ones are rather slower.
const SMALLER: f64 = 64.0;
/// See [`SMALLER`].
const LARGER: f64 = 4.0;

/// A product off the alignment of its type, and what it would take with its dimensions padded.
#[derive(Clone, Debug)]
pub(crate) struct Misaligned {
    /// The kernel.
    pub node: NodeId,
    /// What it computes.
    pub product: Product,
    /// The expected time when padded, in ns.
    pub padded_ns: f64,
}

/// Products that are slower than aligned ones of their type in this recording, by kernel.
pub(crate) fn misaligned(study: &Study<'_>) -> Vec<Misaligned> {
    let calls = calls(study);
    let dur = |call: &Call| study.graph().node(call.node).dur_ns as f64;
    let aligned: Vec<&Call> = calls
        .iter()
        .filter(|call| {
            call.product.alignment().is_some()
                && !call.product.is_misaligned()
                && call.product.least() >= LEAST_DIM
                && dur(call) > 0.0
        })
        .collect();
    let mut found = Vec::new();
    for call in calls.iter().filter(|call| call.product.is_misaligned() && call.product.least() >= LEAST_DIM) {
        let flops = call.product.flops();
        let mut rates: Vec<f64> = aligned
            .iter()
            .filter(|other| {
                let size = other.product.flops();
                other.product.element == call.product.element && size * SMALLER >= flops && size <= flops * LARGER
            })
            .map(|other| other.product.flops() / dur(other))
            .collect();
        rates.sort_by(f64::total_cmp);
        let Some(&rate) = rates.get(rates.len() / 2) else { continue };
        let padded = call.product.padded(call.product.alignment().unwrap_or(1));
        // No padding makes it faster than memory allows.
        let padded_ns = (padded.flops() / rate).max(attainable_ns(study, call.node));
        if padded_ns < dur(call) {
            found.push(Misaligned { node: call.node, product: call.product.clone(), padded_ns });
        }
    }
    found
}

/// What the roofline of the device allows a kernel, in ns; 0 if the device or the cost is unknown.
fn attainable_ns(study: &Study<'_>, node: NodeId) -> f64 {
    let of_node = study.graph().node(node);
    let found = of_node.place.zip(of_node.event).and_then(|(place, event)| {
        let roofline = study.roofline(place.rank)?;
        let cost = roofline.kernel(event)?;
        gapless_roofline::roof(cost.cost.as_ref()?, &roofline.device.as_ref()?.gpu, true)
    });
    found.map_or(0.0, |roof| roof.attainable_ns)
}
