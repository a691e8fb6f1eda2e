//! How much of a device the blocks of a kernel fill.

use gapless_analysis::graph::{NodeId, NodeKind};
use gapless_trace::{ArgValue, Args, DeviceInfo};
use rayon::prelude::*;

use crate::study::Study;
use gapless_analysis::KernelClass;

/// A kernel that leaves multiprocessors without work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fill {
    /// The kernel.
    pub node: NodeId,
    /// Its blocks.
    pub blocks: u64,
    /// Multiprocessors of the device.
    pub multiprocessors: u64,
    /// Blocks that run at once on the device.
    pub at_once: u64,
    /// Share of the device's slots that have a block, over all waves: 1 is full.
    pub efficiency: f64,
}

impl Fill {
    /// Whether there are fewer blocks than multiprocessors.
    pub const fn is_small(&self) -> bool {
        self.blocks < self.multiprocessors
    }
}

/// Shorter kernels are bound by latency whatever they do.
pub(crate) const LEAST_NS: i64 = 10_000;
/// A last wave that is fuller than this is no waste.
const TAIL: f64 = 0.25;
/// With more waves the tail is a small part of the whole.
const MOST_WAVES: f64 = 4.0;

/// Kernels of at least 10 µs with fewer blocks than multiprocessors, or whose last of a few waves is nearly empty.
pub(crate) fn underfilled(study: &Study<'_>) -> Vec<Fill> {
    let graph = study.graph();
    let long: Vec<NodeId> = study.nodes_of(NodeKind::Kernel).filter(|&id| graph.node(id).dur_ns >= LEAST_NS).collect();
    long.into_par_iter().filter_map(|id| fill(study, id)).collect()
}

/// How many kernels of at least 10 µs say their grid, on a device of known size.
pub(crate) fn has_grids(study: &Study<'_>) -> bool {
    let graph = study.graph();
    study
        .nodes_of(NodeKind::Kernel)
        .filter(|&id| graph.node(id).dur_ns >= LEAST_NS)
        .take(100)
        .any(|id| slots(study, id).is_some())
}

fn fill(study: &Study<'_>, node: NodeId) -> Option<Fill> {
    let (blocks, multiprocessors, per_multiprocessor) = slots(study, node)?;
    let at_once = multiprocessors.checked_mul(per_multiprocessor).filter(|&at_once| at_once > 0)?;
    if blocks < multiprocessors {
        let efficiency = blocks as f64 / multiprocessors as f64;
        return Some(Fill { node, blocks, multiprocessors, at_once, efficiency });
    }
    // Only tiles of one size come in waves; other kernels give blocks what there is to do.
    let class = study.facts().class(node);
    if !class.is_arithmetic() && class != KernelClass::Fused && class != KernelClass::Other {
        return None;
    }
    let waves = blocks as f64 / at_once as f64;
    let tail = waves.fract();
    // A single wave is no tail: blocks spread evenly.
    let is_tail = waves > 1.0 && waves < MOST_WAVES && tail > 0.0 && tail < TAIL;
    is_tail.then(|| Fill { node, blocks, multiprocessors, at_once, efficiency: waves / waves.ceil() })
}

/// Blocks, multiprocessors, and blocks that fit one of them at once.
fn slots(study: &Study<'_>, node: NodeId) -> Option<(u64, u64, u64)> {
    let trace = study.trace();
    let graph_node = study.graph().node(node);
    let args = trace.args(graph_node.event?).ok()?;
    let product = |name: &str| -> Option<u64> {
        let ArgValue::List(items) = value(&args, name)? else { return None };
        items.iter().try_fold(1_u64, |product, item| product.checked_mul(u64::try_from(item.as_i64()?).ok()?))
    };
    let (blocks, threads) = (product("grid")?, product("block")?);
    let rank = trace.rank(graph_node.place?.rank)?;
    let number = value(&args, "device").and_then(ArgValue::as_i64).unwrap_or(0);
    let device = rank.devices.iter().find(|device| i64::from(device.id) == number).or_else(|| rank.devices.first())?;
    let multiprocessors = u64::from(device.multiprocessors?);
    if blocks == 0 || threads == 0 || multiprocessors == 0 {
        return None;
    }
    Some((blocks, multiprocessors, resident(&args, device, threads)))
}

/// Blocks that fit a multiprocessor at once, by threads, registers and shared memory (CUDA programming guide,
/// "Maximizing multiprocessor occupancy").
fn resident(args: &Args, device: &DeviceInfo, threads: u64) -> u64 {
    let of_device = |name: &str, default: u64| {
        value(&device.properties, name).and_then(count).filter(|&n| n > 0).unwrap_or(default)
    };
    let of_kernel = |name: &str| value(args, name).and_then(count).unwrap_or(0);
    let mut most = of_device("maxThreadsPerMultiprocessor", 2048) / threads;
    let registers = of_kernel("registers per thread") * threads;
    if let Some(fit) = of_device("regsPerMultiprocessor", 65_536).checked_div(registers) {
        most = most.min(fit);
    }
    let shared = of_kernel("shared memory");
    if let Some(fit) = of_device("sharedMemPerMultiprocessor", 102_400).checked_div(shared) {
        most = most.min(fit);
    }
    most.clamp(1, 32)
}

fn count(value: &ArgValue) -> Option<u64> {
    value.as_i64().and_then(|n| u64::try_from(n).ok())
}

fn value<'a>(args: &'a Args, name: &str) -> Option<&'a ArgValue> {
    args.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}
