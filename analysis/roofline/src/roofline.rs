//! The roofline of one rank: what its operators took, and what they could take on their device.
//!
//! For F FLOPs and Q bytes on a device with P FLOP/s and B bytes/s the roof is max(F/P, Q/B) (Williams, Waterman and
//! Patterson, *Roofline*, CACM 2009). Good kernels reach a fraction η of P and of B, and none ends below a floor, so what
//! is attainable is max(F/ηP, Q/ηB, floor); headroom is the time above that.

use gapless_analysis::Convention;
use gapless_trace::{EventId, EventKind, RankId, Trace, TrackKind};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::calls::{Call, calls};
use crate::scale::{KernelFacts, floor_ns};
use crate::{DType, DeviceMatch, Gpu, HardwareTable, Operator, OperatorClass, OperatorCost, Precision, Unit};

/// Efficiencies above this cannot be: a wrong shape, data that stayed in caches, sparsity or a clock.
pub const IMPOSSIBLE: f64 = 1.05;

/// What limits an operator on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Device memory.
    Memory,
    /// Links to other devices.
    Link,
    /// It is so small that starting and ending is all.
    Latency,
}

impl Bound {
    /// A short name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Link => "link",
            Self::Latency => "latency",
        }
    }
}

/// The least time of some work on a device, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roof {
    /// What limits it.
    pub bound: Bound,
    /// At the peaks.
    pub roof_ns: f64,
    /// At what good kernels reach, no less than the floor.
    pub attainable_ns: f64,
    /// The rate that arithmetic was measured against.
    pub precision: Option<Precision>,
}

/// The least time of `cost` on `gpu`; `None` where the table lacks a rate that is needed. `tf32` says that FP32 products
/// run on matrix units as TF32.
#[must_use]
pub fn roof(cost: &OperatorCost, gpu: &Gpu, tf32: bool) -> Option<Roof> {
    let precision = precision(cost, gpu, tf32);
    let floor = floor_ns(gpu);
    if cost.class == OperatorClass::Communication {
        let ns = cost.bytes / gpu.link_bytes_per_s()? * 1e9;
        let reach = gpu.achievable(cost.class, None).map_or(1.0, |fact| fact.value);
        return Some(Roof { bound: Bound::Link, roof_ns: ns, attainable_ns: (ns / reach).max(floor), precision: None });
    }
    let memory_ns = cost.bytes / gpu.memory_bytes_per_s()? * 1e9;
    let (compute_ns, reach) = if cost.flops > 0.0 {
        let rate = gpu.peak(precision?)?;
        let reach = match cost.unit {
            Unit::Matrix => gpu.achievable(cost.class, precision).map_or(1.0, |fact| fact.value),
            Unit::Vector => gpu.achievable_streaming(),
        };
        (cost.flops / rate * 1e9, reach)
    } else {
        (0.0, 1.0)
    };
    let (reached_memory, reached_compute) = (memory_ns / gpu.achievable_streaming(), compute_ns / reach);
    let attainable_ns = reached_memory.max(reached_compute).max(floor);
    let bound = if attainable_ns <= floor {
        Bound::Latency
    } else if compute_ns > memory_ns {
        Bound::Compute
    } else {
        Bound::Memory
    };
    Some(Roof { bound, roof_ns: memory_ns.max(compute_ns), attainable_ns, precision })
}

/// The rate that limits the arithmetic of `cost` on `gpu`.
#[must_use]
pub fn precision(cost: &OperatorCost, gpu: &Gpu, tf32: bool) -> Option<Precision> {
    if tf32 && cost.unit == Unit::Matrix && cost.dtype == Some(DType::F32) && gpu.peak(Precision::Tf32).is_some() {
        return Some(Precision::Tf32);
    }
    // Where the type is not known, the unit for elements is.
    match (cost.dtype, cost.unit) {
        (Some(dtype), unit) => gpu.precision_of(dtype, unit),
        (None, Unit::Vector) => gpu.precision_of(DType::F32, Unit::Vector),
        (None, Unit::Matrix) => None,
    }
}

/// Whether kernels multiply FP32 as TF32, by their names.
fn uses_tf32(operator: &Operator) -> bool {
    operator.kernel_has("tf32") || operator.kernel_has("s1688gemm_1") || operator.kernel_has("tensorop_s1688")
}

/// What one kernel, copy or fill must do: its operator's cost, shared by time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelCost {
    /// What its operator does.
    pub class: OperatorClass,
    /// Its share of the cost; `None` where the operator's is not known.
    pub cost: Option<OperatorCost>,
    /// Its share of the operator's device time, 0 to 1.
    pub share: f64,
    /// The operator, where there is one.
    #[serde(skip)]
    pub operator: Option<EventId>,
    /// Whether FP32 products run as TF32.
    pub tf32: bool,
    /// Whether it computes activations anew.
    pub is_recompute: bool,
}

/// Device work of one name in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupKernel {
    /// Its name.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Their summed durations in ns.
    pub sum_ns: i64,
}

/// All calls of an operator with the same inputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorGroup {
    /// Its name.
    pub name: String,
    /// Its tensors in words.
    pub shapes: String,
    /// The operator itself.
    #[serde(skip)]
    pub operator: Operator,
    /// What it does.
    pub class: OperatorClass,
    /// How often it was called.
    pub calls: u64,
    /// How long its device work ran, fills included, in ns.
    pub device_ns: i64,
    /// `device_ns` ÷ that of all groups, 0 to 1.
    pub share: f64,
    /// Mean cost of a call.
    pub cost: Option<OperatorCost>,
    /// Why there is none.
    pub unknown: Option<String>,
    /// Summed time at the peaks, in ns.
    pub roof_ns: Option<f64>,
    /// Summed time that good kernels would take, in ns.
    pub attainable_ns: Option<f64>,
    /// `device_ns` above what is attainable, in ns; zero where it is below. `None` for communication, whose time holds
    /// waits for other ranks.
    pub headroom_ns: Option<f64>,
    /// What limits a call.
    pub bound: Option<Bound>,
    /// The rate that arithmetic was measured against.
    pub precision: Option<Precision>,
    /// FLOPs for each byte.
    pub flops_per_byte: Option<f64>,
    /// 10¹² FLOPs a second that were reached.
    pub tflops_per_s: Option<f64>,
    /// 10⁹ bytes a second that were reached.
    pub gb_per_s: Option<f64>,
    /// `roof_ns` ÷ `device_ns`.
    pub efficiency: Option<f64>,
    /// Whether the efficiency is above [`IMPOSSIBLE`]: the figures contradict each other.
    pub is_impossible: bool,
    /// Whether it computes activations anew.
    pub is_recompute: bool,
    /// Its device work by name, by time.
    pub kernels: Vec<GroupKernel>,
    /// The call that took longest on the device.
    #[serde(skip)]
    pub longest: Option<EventId>,
}

/// FLOPs at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateUse {
    /// The rate.
    pub precision: Precision,
    /// Dense peak in FLOP/s: the denominator.
    pub peak_flops_per_s: f64,
    /// FLOPs of the model.
    pub model_flops: f64,
    /// The same with what was computed twice.
    pub hardware_flops: f64,
}

/// Model and hardware FLOP utilisation of one rank.
///
/// MFU = Σ over rates (model FLOPs ÷ dense peak) ÷ time (Chowdhery et al., *PaLM*, 2022, appendix B); HFU counts what is
/// computed a second time too. Only matrix products in the widest sense count.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Utilisation {
    /// The time in ns: steps where they are marked, else from the first device work to the last.
    pub window_ns: i64,
    /// Whether the time is that of marked steps.
    pub window_is_steps: bool,
    /// By rate.
    pub rates: Vec<RateUse>,
    /// Model FLOP utilisation, 0 to 1; `None` without a device or FLOPs.
    pub mfu: Option<f64>,
    /// Hardware FLOP utilisation, 0 to 1.
    pub hfu: Option<f64>,
    /// Device time of products, attention and convolutions whose FLOPs are not known, ÷ that of all of them: by so much
    /// the figures may be too low.
    pub unknown_share: f64,
    /// Whether recomputed activations could be told apart (by frames of `torch.utils.checkpoint`).
    pub recompute_is_known: bool,
}

/// The roofline of one rank.
#[derive(Clone, Debug)]
pub struct Roofline {
    /// Its device, and how it was found.
    pub device: Option<DeviceMatch>,
    /// Why there is no device.
    pub no_device: Option<String>,
    /// Operators with their inputs, by device time.
    pub groups: Vec<OperatorGroup>,
    /// Device time of all groups in ns.
    pub device_ns: i64,
    /// Device time of groups without a cost ÷ that of all, communication and copies over the host's link aside, 0 to 1.
    pub unknown_share: f64,
    /// MFU and HFU.
    pub utilisation: Utilisation,
    calls: Vec<Call>,
    /// Of each piece of device work its call and its share of the call's time.
    of_work: FxHashMap<EventId, (u32, f64)>,
}

impl Roofline {
    /// The roofline of `rank`, on the device that its header names.
    #[must_use]
    pub fn new(trace: &Trace, rank: RankId, table: &HardwareTable) -> Self {
        Self::with(trace, rank, table, None, Convention::Exact)
    }

    /// The same on a device that the user names (`gpu`), and by the rules of `convention`.
    #[must_use]
    pub fn with(trace: &Trace, rank: RankId, table: &HardwareTable, gpu: Option<&Gpu>, convention: Convention) -> Self {
        let (calls, number) = calls(trace, rank, convention);
        let (device, no_device) = match gpu {
            Some(gpu) => {
                let by = crate::MatchedBy::Name;
                (Some(DeviceMatch { gpu: gpu.clone(), by, notes: Vec::new() }), None)
            }
            None => match device_of(trace, rank, number, table) {
                Ok(found) => (Some(found), None),
                Err(reason) => (None, Some(reason)),
            },
        };
        let gpu = device.as_ref().map(|found| &found.gpu);
        let mut of_work = FxHashMap::default();
        for (place, call) in calls.iter().enumerate() {
            let time = |id: EventId| trace.event(id).dur.nanos() as f64;
            let whole: f64 = call.work.iter().map(|&id| time(id)).sum();
            let share = |id: EventId| if whole > 0.0 { time(id) / whole } else { 0.0 };
            of_work.extend(call.work.iter().map(|&id| (id, (place as u32, share(id)))));
        }
        let groups = groups(trace, &calls, gpu);
        let device_ns: i64 = groups.iter().fold(0, |sum, group| sum.saturating_add(group.device_ns));
        let computes =
            |group: &&OperatorGroup| !matches!(group.class, OperatorClass::Communication | OperatorClass::Copy);
        let time = |group: &OperatorGroup| group.device_ns as f64;
        let all: f64 = groups.iter().filter(computes).map(time).sum();
        let unknown: f64 = groups.iter().filter(computes).filter(|group| group.cost.is_none()).map(time).sum();
        let utilisation = utilisation(trace, rank, &calls, gpu);
        let unknown_share = if all > 0.0 { unknown / all } else { 0.0 };
        Self { device, no_device, groups, device_ns, unknown_share, utilisation, calls, of_work }
    }

    /// All calls of operators with device work, by their first piece of work.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// What a kernel, copy or fill must do: its share of its operator. `None` for events that are no device work of the
    /// rank.
    #[must_use]
    pub fn kernel(&self, id: EventId) -> Option<KernelCost> {
        let &(place, share) = self.of_work.get(&id)?;
        let call = self.calls.get(place as usize)?;
        let (class, cost) = match &call.cost {
            Ok(cost) => (cost.class, Some(cost.times(share))),
            Err(unknown) => (unknown.class, None),
        };
        let tf32 = uses_tf32(&call.operator);
        Some(KernelCost { class, cost, share, operator: call.event, tf32, is_recompute: call.is_recompute })
    }

    /// What carrying a kernel over to another device needs to know ([`scale_kernel`](crate::scale_kernel)).
    #[must_use]
    pub fn kernel_facts(&self, trace: &Trace, id: EventId) -> Option<KernelFacts> {
        let kernel = self.kernel(id)?;
        Some(KernelFacts {
            dur_ns: trace.event(id).dur.nanos() as f64,
            class: kernel.class,
            cost: kernel.cost,
            tf32: kernel.tf32,
            blocks: blocks(trace, id),
        })
    }
}

/// Thread blocks of a kernel, where the trace tells.
fn blocks(trace: &Trace, id: EventId) -> Option<u64> {
    let args = trace.args(id).ok()?;
    let (_, grid) = args.iter().find(|(key, _)| key == "grid")?;
    let gapless_trace::ArgValue::List(sizes) = grid else { return None };
    let mut sizes = sizes.iter().map(|size| u64::try_from(size.as_i64()?).ok());
    sizes.try_fold(1_u64, |product, size| product.checked_mul(size?)).filter(|&blocks| blocks > 0)
}

fn device_of(trace: &Trace, rank: RankId, number: Option<u32>, table: &HardwareTable) -> Result<DeviceMatch, String> {
    let devices = trace.rank(rank).map(|rank| rank.devices.as_slice()).unwrap_or_default();
    let same = number.and_then(|number| devices.iter().find(|device| device.id == number));
    // A process that sees one device of many calls it by the host's number and describes it as the first.
    let Some(device) = same.or_else(|| devices.first()) else {
        return Err("the trace does not describe its device; name it with --gpu".to_owned());
    };
    table.of_device(device).ok_or_else(|| {
        let memory = device.memory_bytes.map_or_else(String::new, |bytes| format!(", {:.0} GB", bytes as f64 / 1e9));
        let count = device.multiprocessors.map_or_else(String::new, |count| format!(", {count} multiprocessors"));
        let name = if device.name.is_empty() { "without a name" } else { &device.name };
        format!(
            "the hardware table has no device like the trace's ({name}{count}{memory}); name one with --gpu or describe \
             it in a file for --hardware"
        )
    })
}

/// What is summed up over the calls of a group.
#[derive(Default)]
struct Sums {
    calls: Vec<u32>,
}

fn groups(trace: &Trace, calls: &[Call], gpu: Option<&Gpu>) -> Vec<OperatorGroup> {
    let mut places: FxHashMap<(Operator, bool), usize> = FxHashMap::default();
    let mut sums: Vec<Sums> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        // The choice of kernels does not make another operator, nor does the batch.
        let mut key = call.operator.clone();
        key.kernels.clear();
        key.batch = None;
        let place = *places.entry((key, call.is_recompute)).or_insert_with(|| {
            sums.push(Sums::default());
            sums.len() - 1
        });
        if let Some(sums) = sums.get_mut(place) {
            sums.calls.push(index as u32);
        }
    }
    let members =
        |sums: &Sums| -> Vec<&Call> { sums.calls.iter().filter_map(|&place| calls.get(place as usize)).collect() };
    let mut groups: Vec<_> = sums.iter().filter_map(|sums| group(trace, &members(sums), gpu)).collect();
    let total: f64 = groups.iter().map(|group| group.device_ns as f64).sum();
    for group in &mut groups {
        group.share = if total > 0.0 { group.device_ns as f64 / total } else { 0.0 };
    }
    groups.sort_by(|a, b| b.device_ns.cmp(&a.device_ns).then_with(|| (&a.name, &a.shapes).cmp(&(&b.name, &b.shapes))));
    groups
}

fn group(trace: &Trace, calls: &[&Call], gpu: Option<&Gpu>) -> Option<OperatorGroup> {
    let first = calls.first()?;
    let count = calls.len() as f64;
    let device_ns = calls.iter().fold(0_i64, |sum, call| sum.saturating_add(call.busy_ns));
    let costs: Option<Vec<OperatorCost>> = calls.iter().map(|call| call.cost.clone().ok()).collect();
    let cost = costs.as_ref().and_then(|costs| {
        let mean = |of: fn(&OperatorCost) -> f64| costs.iter().map(of).sum::<f64>() / count;
        let (flops, model_flops, bytes) =
            (mean(|cost| cost.flops), mean(|cost| cost.model_flops), mean(|cost| cost.bytes));
        Some(OperatorCost { flops, model_flops, bytes, ..*costs.first()? })
    });
    let unknown = calls.iter().find_map(|call| call.cost.as_ref().err());
    let class =
        cost.map(|cost| cost.class).or_else(|| unknown.map(|unknown| unknown.class)).unwrap_or(OperatorClass::Other);
    let tf32 = calls.iter().any(|call| uses_tf32(&call.operator));
    let roof = cost.zip(gpu).and_then(|(cost, gpu)| roof(&cost, gpu, tf32));
    let total = |per_call: f64| per_call * count;
    let attainable_ns = roof.map(|roof| total(roof.attainable_ns));
    let efficiency = roof.filter(|_| device_ns > 0).map(|roof| total(roof.roof_ns) / device_ns as f64);
    let rate = |per_call: f64| (device_ns > 0).then(|| total(per_call) / device_ns as f64);
    let longest =
        calls.iter().max_by_key(|call| call.busy_ns).and_then(|call| call.event.or_else(|| call.work.first().copied()));
    let mut operator = first.operator.clone();
    operator.kernels.clear();
    Some(OperatorGroup {
        name: first.operator.name.clone(),
        shapes: first.operator.shapes_text(),
        operator,
        class,
        calls: calls.len() as u64,
        device_ns,
        share: 0.0,
        cost,
        unknown: unknown.map(|unknown| unknown.reason.clone()),
        roof_ns: roof.map(|roof| total(roof.roof_ns)),
        attainable_ns,
        headroom_ns: attainable_ns
            .filter(|_| class != OperatorClass::Communication)
            .map(|attainable| (device_ns as f64 - attainable).max(0.0)),
        bound: roof.map(|roof| roof.bound),
        precision: roof.and_then(|roof| roof.precision),
        flops_per_byte: cost.filter(|cost| cost.bytes > 0.0).map(|cost| cost.flops / cost.bytes),
        // FLOPs a ns are 10⁹ a second.
        tflops_per_s: cost.and_then(|cost| rate(cost.flops)).map(|rate| rate / 1e3),
        gb_per_s: cost.and_then(|cost| rate(cost.bytes)),
        efficiency,
        is_impossible: efficiency.is_some_and(|efficiency| efficiency > IMPOSSIBLE),
        is_recompute: first.is_recompute,
        kernels: kernels(trace, calls),
        longest,
    })
}

fn kernels(trace: &Trace, calls: &[&Call]) -> Vec<GroupKernel> {
    let mut found: FxHashMap<&str, (u64, i64)> = FxHashMap::default();
    for &id in calls.iter().flat_map(|call| &call.work) {
        let sums = found.entry(trace.name(id)).or_default();
        sums.0 += 1;
        sums.1 = sums.1.saturating_add(trace.event(id).dur.nanos());
    }
    let kernel = |(name, (count, sum_ns)): (&str, (u64, i64))| GroupKernel { name: name.to_owned(), count, sum_ns };
    let mut kernels: Vec<_> = found.into_iter().map(kernel).collect();
    kernels.sort_by(|a, b| b.sum_ns.cmp(&a.sum_ns).then_with(|| a.name.cmp(&b.name)));
    kernels
}

fn utilisation(trace: &Trace, rank: RankId, calls: &[Call], gpu: Option<&Gpu>) -> Utilisation {
    let (window, window_is_steps) = window(trace, rank, calls);
    let mut found =
        Utilisation { window_ns: window.1.saturating_sub(window.0), window_is_steps, ..Utilisation::default() };
    let starts_within = |call: &&Call| {
        let start = call.work.first().map(|&id| trace.event(id).start.nanos());
        start.is_some_and(|start| window.0 <= start && start < window.1)
    };
    let (mut all, mut unknown) = (0.0, 0.0);
    for call in calls.iter().filter(starts_within) {
        let class = call.cost.as_ref().map_or_else(|error| error.class, |cost| cost.class);
        if !class.counts_for_utilisation() {
            continue;
        }
        all += call.busy_ns as f64;
        found.recompute_is_known |= call.is_recompute;
        let rate = call.cost.as_ref().ok().zip(gpu).and_then(|(cost, gpu)| {
            let precision = precision(cost, gpu, uses_tf32(&call.operator))?;
            Some((cost, precision, gpu.peak(precision)?))
        });
        let Some((cost, precision, peak_flops_per_s)) = rate else {
            unknown += call.busy_ns as f64;
            continue;
        };
        let place = found.rates.iter().position(|rate| rate.precision == precision).unwrap_or_else(|| {
            found.rates.push(RateUse { precision, peak_flops_per_s, model_flops: 0.0, hardware_flops: 0.0 });
            found.rates.len() - 1
        });
        if let Some(rate) = found.rates.get_mut(place) {
            rate.hardware_flops += cost.flops;
            rate.model_flops += if call.is_recompute { 0.0 } else { cost.model_flops };
        }
    }
    found.rates.sort_by_key(|rate| rate.precision);
    found.unknown_share = if all > 0.0 { unknown / all } else { 0.0 };
    if found.window_ns > 0 && !found.rates.is_empty() {
        let seconds = found.window_ns as f64 / 1e9;
        let share = |of: fn(&RateUse) -> f64| {
            found.rates.iter().map(|rate| of(rate) / rate.peak_flops_per_s).sum::<f64>() / seconds
        };
        (found.mfu, found.hfu) = (Some(share(|rate| rate.model_flops)), Some(share(|rate| rate.hardware_flops)));
    }
    found
}

/// From the first marked step to the end of the last, else from the first device work to the last.
fn window(trace: &Trace, rank: RankId, calls: &[Call]) -> ((i64, i64), bool) {
    let mut steps: Option<(i64, i64)> = None;
    for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
        for id in track.event_ids() {
            let event = trace.event(id);
            if event.kind == EventKind::Step {
                let (start, end) = (event.start.nanos(), event.end().nanos());
                steps = Some(steps.map_or((start, end), |(from, to)| (from.min(start), to.max(end))));
            }
        }
    }
    if let Some(steps) = steps {
        return (steps, true);
    }
    let work = || calls.iter().flat_map(|call| &call.work).map(|&id| trace.event(id));
    let from = work().map(|event| event.start.nanos()).min().unwrap_or_default();
    ((from, work().map(|event| event.end().nanos()).max().unwrap_or_default().max(from)), false)
}
