//! Which calls of operators launched which device work: the bridge from a trace to the cost models.

use gapless_analysis::{CollectiveKind, Convention, HostTree};
use gapless_trace::{EventId, EventKind, ProcessKind, RankId, Trace, TrackKind};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::cost::{UnknownCost, collective_cost, cost, is_whole};
use crate::{Batch, DType, Input, Operator, OperatorClass, OperatorCost};

/// One call of an operator with its device work, or device work of one name that no operator launched.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operator; `None` where device work has none.
    pub event: Option<EventId>,
    /// Its name and inputs; of device work without an operator, the kernel's name.
    pub operator: Operator,
    /// Its kernels, copies and fills, by start.
    pub work: Vec<EventId>,
    /// What it must do.
    pub cost: Result<OperatorCost, UnknownCost>,
    /// How long any of its work ran, in ns.
    pub busy_ns: i64,
    /// Whether it computes activations anew in the backward pass.
    pub is_recompute: bool,
}

/// All calls of a rank, by their first piece of work, and the device that did most of it.
pub(crate) fn calls(trace: &Trace, rank: RankId, convention: Convention) -> (Vec<Call>, Option<u32>) {
    let host = HostTree::new(trace, rank);
    let recompute = Recompute::new(trace, rank);
    let batches = batches(trace, rank);
    let mut work = Vec::new();
    let mut devices: FxHashMap<u32, i64> = FxHashMap::default();
    for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Stream) {
        for id in track.event_ids() {
            let event = trace.event(id);
            if event.kind.is_device_work() {
                work.push((event.start.nanos(), id));
                if let Some(ProcessKind::Device(number)) = trace.process(track.process).map(|process| process.kind) {
                    let sum = devices.entry(number).or_default();
                    *sum = sum.saturating_add(event.dur.nanos());
                }
            }
        }
    }
    work.sort_unstable();
    let mut places: FxHashMap<Key, usize> = FxHashMap::default();
    let mut calls: Vec<Call> = Vec::new();
    for (_, id) in work {
        let launch = trace.launches().launch_of(id);
        let owner = launch.and_then(|launch| owner(trace, &host, launch, convention));
        let key = match owner {
            // Each communication kernel is a call: several of one operator are several collectives.
            _ if is_communication(trace, id) => Key::Work(id),
            Some(owner) => Key::Operator(owner),
            None => Key::Work(id),
        };
        let place = *places.entry(key).or_insert_with(|| {
            let operator = Operator::default();
            let cost = Err(UnknownCost { class: OperatorClass::Other, reason: String::new() });
            calls.push(Call { event: owner, operator, work: Vec::new(), cost, busy_ns: 0, is_recompute: false });
            calls.len() - 1
        });
        if let Some(call) = calls.get_mut(place) {
            call.work.push(id);
        }
    }
    for call in &mut calls {
        fill(trace, &host, call, &batches, convention);
        call.is_recompute = call.event.is_some_and(|event| recompute.holds(trace, event));
    }
    let device = devices.into_iter().max_by_key(|&(number, sum)| (sum, std::cmp::Reverse(number)));
    (calls, device.map(|(number, _)| number))
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Operator(EventId),
    Work(EventId),
}

fn is_communication(trace: &Trace, id: EventId) -> bool {
    matches!(trace.event(id).kind, EventKind::Collective | EventKind::PointToPoint)
}

/// The operator that answers for what `launch` launched: the outermost one whose parts are only its implementation,
/// else the innermost, or the one around it that it is another form of (`div` by a number calls `div` by a tensor).
fn owner(trace: &Trace, host: &HostTree, launch: EventId, convention: Convention) -> Option<EventId> {
    let whole = host.operators_around(launch).filter(|&operator| is_whole(trace.name(operator))).last();
    whole.or_else(|| {
        let innermost = host.operator_around(launch)?;
        let name = trace.event(innermost).name;
        // TraceLens does so only for the operators that it has a model of.
        let modelled = ["aten::add", "aten::copy_", "aten::div", "aten::mul"];
        if convention == Convention::TraceLens && !modelled.contains(&trace.text(name)) {
            return Some(innermost);
        }
        host.operators_around(launch).take_while(|&operator| trace.event(operator).name == name).last()
    })
}

fn fill(trace: &Trace, host: &HostTree, call: &mut Call, batches: &[(i64, i64, Batch)], convention: Convention) {
    call.busy_ns = busy(trace, &call.work);
    let mut kernels: Vec<&str> = call.work.iter().map(|&id| trace.name(id)).collect();
    kernels.sort_unstable();
    kernels.dedup();
    let first = call.work.first().copied();
    if let Some(id) = first.filter(|&id| is_communication(trace, id)) {
        call.operator = Operator::new(trace.name(id));
        call.cost = communication(trace, host, id);
        return;
    }
    let Some(event) = call.event else {
        let name = kernels.first().copied().unwrap_or_default();
        call.operator = Operator::new(name);
        let class = first.map_or(OperatorClass::Other, |id| class_of_work(trace, id));
        let launched = first.is_some_and(|id| trace.launches().launch_of(id).is_some());
        let reason = if class == OperatorClass::Copy {
            "a copy or fill; its bytes are in the table of copies"
        } else if launched {
            "launched outside any operator with shapes (by a graph, or by code that is not traced)"
        } else {
            "its launch is not in the recording"
        };
        call.cost = Err(UnknownCost { class, reason: reason.to_owned() });
        return;
    };
    // Arguments that cannot be read any more are as good as none.
    let args = trace.args(event).unwrap_or_default();
    call.operator = Operator::from_args(trace.name(event), &args);
    call.operator.kernels = kernels.iter().map(|&name| name.to_owned()).collect();
    let start = trace.event(event).start.nanos();
    call.operator.batch = batches.iter().find(|(from, to, _)| (*from..*to).contains(&start)).map(|found| found.2);
    call.cost = cost(&call.operator, convention);
    let kinds = || call.work.iter().map(|&id| (trace.event(id).kind, trace.name(id)));
    // A copy over the host's link is not bound by device memory. TraceLens does not tell them apart.
    let crosses = |(kind, name): (EventKind, &str)| {
        kind == EventKind::Memcpy && !name.contains("DtoD") && !name.contains("Device -> Device")
    };
    if convention == Convention::Exact && kinds().all(crosses) {
        let reason = "a copy between host and device: the host's link bounds it".to_owned();
        call.cost = Err(UnknownCost { class: OperatorClass::Copy, reason });
    }
    if let Err(unknown) = &mut call.cost
        && unknown.class == OperatorClass::Other
    {
        let longest = call.work.iter().max_by_key(|&&id| (trace.event(id).dur, std::cmp::Reverse(id)));
        unknown.class = longest.map_or(OperatorClass::Other, |&id| class_of_work(trace, id));
        if !call.operator.inputs.iter().any(|input| matches!(input, Input::Tensor(_) | Input::List(_))) {
            unknown.reason = "no cost model knows this operator, and it has no shapes".to_owned();
        }
    }
}

/// Length of the union of device work, in ns.
fn busy(trace: &Trace, work: &[EventId]) -> i64 {
    let mut sum = 0_i64;
    let mut until = i64::MIN;
    for &id in work {
        let event = trace.event(id);
        let (start, end) = (event.start.nanos(), event.end().nanos());
        let from = start.max(until);
        if end > from {
            sum = sum.saturating_add(end.saturating_sub(from));
            until = end;
        }
    }
    sum
}

/// The arguments of a communication kernel lie on it, on its launch, or on an operator around that.
fn communication(trace: &Trace, host: &HostTree, id: EventId) -> Result<OperatorCost, UnknownCost> {
    let launch = trace.launches().launch_of(id);
    let around = launch.into_iter().flat_map(|launch| std::iter::once(launch).chain(host.operators_around(launch)));
    let args = trace.collective(id).or_else(|| around.take(64).find_map(|event| trace.collective(event)));
    let args = args.ok_or_else(|| UnknownCost {
        class: OperatorClass::Communication,
        reason: "the trace has no arguments of collectives".to_owned(),
    })?;
    let told = CollectiveKind::of(trace.text(args.name));
    let kind = if told == CollectiveKind::Other { CollectiveKind::of(trace.name(id)) } else { told };
    collective_cost(kind, args.group_size, args.in_elems, args.out_elems, DType::parse(trace.text(args.dtype)))
}

/// What a kernel does by its name, where no operator tells.
fn class_of_work(trace: &Trace, id: EventId) -> OperatorClass {
    match trace.event(id).kind {
        EventKind::Memcpy | EventKind::Memset => OperatorClass::Copy,
        EventKind::Collective | EventKind::PointToPoint => OperatorClass::Communication,
        _ => class_of_name(trace.name(id)),
    }
}

/// In this order: the first part that a name holds decides.
const NAMES: [(&str, OperatorClass); 41] = [
    ("multimem", OperatorClass::Communication),
    ("all_reduce", OperatorClass::Communication),
    ("allreduce", OperatorClass::Communication),
    ("multi_tensor_apply", OperatorClass::Optimizer),
    ("triton_", OperatorClass::Fused),
    ("softmax", OperatorClass::Softmax),
    ("flash", OperatorClass::Attention),
    ("fmha", OperatorClass::Attention),
    ("attention", OperatorClass::Attention),
    ("attn", OperatorClass::Attention),
    ("moe", OperatorClass::Moe),
    ("matmul_ogs", OperatorClass::Moe),
    ("embedding", OperatorClass::Embedding),
    ("rmsnorm", OperatorClass::Normalization),
    ("rms_norm", OperatorClass::Normalization),
    ("layernorm", OperatorClass::Normalization),
    ("layer_norm", OperatorClass::Normalization),
    ("batch_norm", OperatorClass::Normalization),
    ("batchnorm", OperatorClass::Normalization),
    ("bn_fw", OperatorClass::Normalization),
    ("bn_bw", OperatorClass::Normalization),
    ("groupnorm", OperatorClass::Normalization),
    ("dgrad", OperatorClass::Convolution),
    ("wgrad", OperatorClass::Convolution),
    ("fprop", OperatorClass::Convolution),
    ("convolve", OperatorClass::Convolution),
    ("winograd", OperatorClass::Convolution),
    ("conv2d", OperatorClass::Convolution),
    ("gemm", OperatorClass::Gemm),
    ("cijk_", OperatorClass::Gemm),
    ("cutlass", OperatorClass::Gemm),
    ("nvjet", OperatorClass::Gemm),
    ("gemv", OperatorClass::Gemm),
    ("splitkreduce", OperatorClass::Gemm),
    ("reduce_kernel", OperatorClass::Reduction),
    ("elementwise", OperatorClass::Elementwise),
    ("catarray", OperatorClass::Movement),
    ("index", OperatorClass::Movement),
    ("gather", OperatorClass::Movement),
    ("scatter", OperatorClass::Movement),
    ("copy", OperatorClass::Movement),
];

/// What a kernel does, by its name alone.
#[must_use]
pub fn class_of_name(name: &str) -> OperatorClass {
    let name = name.to_ascii_lowercase();
    NAMES.iter().find(|(part, _)| name.contains(part)).map_or(OperatorClass::Other, |(_, class)| *class)
}

/// Annotations of serving batches with their times, of all threads: start, end, lengths.
fn batches(trace: &Trace, rank: RankId) -> Vec<(i64, i64, Batch)> {
    let named: FxHashMap<_, Batch> =
        trace.strings().iter().filter_map(|(id, text)| Some((id, Batch::parse(text)?))).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (_, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
        for id in track.event_ids() {
            let event = trace.event(id);
            if let Some(&batch) = named.get(&event.name) {
                found.push((event.start.nanos(), event.end().nanos(), batch));
            }
        }
    }
    found
}

/// When frames of `torch.utils.checkpoint` compute activations anew.
struct Recompute {
    /// By thread: start and end, ascending.
    frames: FxHashMap<u32, Vec<(i64, i64)>>,
}

impl Recompute {
    fn new(trace: &Trace, rank: RankId) -> Self {
        let is_frame = |text: &str| text.ends_with(": recompute_fn") && text.contains("torch/utils/checkpoint.py");
        let names: FxHashSet<_> =
            trace.strings().iter().filter(|(_, text)| is_frame(text)).map(|found| found.0).collect();
        let mut frames: FxHashMap<u32, Vec<(i64, i64)>> = FxHashMap::default();
        if names.is_empty() {
            return Self { frames };
        }
        for (track_id, track) in trace.tracks_of(rank).filter(|(_, track)| track.kind == TrackKind::Thread) {
            let named = track
                .event_ids()
                .filter(|id| trace.events().names().get(id.index()).is_some_and(|name| names.contains(name)));
            let mut spans: Vec<_> =
                named.map(|id| (trace.event(id).start.nanos(), trace.event(id).end().nanos())).collect();
            spans.sort_unstable();
            frames.insert(track_id.0, spans);
        }
        Self { frames }
    }

    fn holds(&self, trace: &Trace, event: EventId) -> bool {
        let found = || {
            let frames = self.frames.get(&trace.track_of(event)?.0.0)?;
            let event = trace.event(event);
            let before = frames.partition_point(|frame| frame.0 <= event.start.nanos());
            Some(frames.get(before.checked_sub(1)?)?.1 >= event.end().nanos())
        };
        !self.frames.is_empty() && found().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_known_by_their_names() {
        let cases = [
            ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16_128x64>", OperatorClass::Gemm),
            ("Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256", OperatorClass::Gemm),
            ("pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64>>", OperatorClass::Attention),
            ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float>", OperatorClass::Normalization),
            ("cudnn::cnn::dgrad2d_grouped_direct_kernel", OperatorClass::Convolution),
            ("void at::native::vectorized_elementwise_kernel<4, AddFunctor>", OperatorClass::Elementwise),
            ("void at::native::(anonymous namespace)::cunn_SoftMaxForward<4>", OperatorClass::Softmax),
            ("triton_red_fused_add_mean_0", OperatorClass::Fused),
            ("mystery", OperatorClass::Other),
        ];
        for (name, class) in cases {
            assert_eq!(class_of_name(name), class, "{name}");
        }
    }
}
