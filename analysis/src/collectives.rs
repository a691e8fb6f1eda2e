//! Communication kernels by collective and group, with bytes and bandwidth.
//!
//! Bytes S of a collective are the full size: what an all-gather puts out, and what every other takes in, in elements
//! of the event's arguments times the size of the element type. With t the time of the kernel and n the ranks of the
//! group, the algorithm bandwidth is S ÷ t and the bus bandwidth F · S ÷ t, where F = 2(n − 1)/n for all-reduce, (n − 1)/n
//! for all-gather, reduce-scatter and all-to-all, and 1 for the others (NCCL tests, `doc/PERFORMANCE.md`).
//!
//! The time of a kernel includes its wait for the other ranks, so both are lower bounds of what the links do.

use gapless_trace::{Collective, EventId, StrId, Trace};
use serde::Serialize;

use crate::host::HostTree;
use crate::stats::Stats;
use crate::tables::{Groups, Longest, by_time_then_name, gb_per_s};
use crate::work::{DeviceWork, Work, WorkClass};

/// What a collective does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectiveKind {
    /// Everybody gets the reduction of all.
    AllReduce,
    /// Everybody gets the parts of all.
    AllGather,
    /// Everybody gets a part of the reduction of all.
    ReduceScatter,
    /// Everybody sends a part to everybody.
    AllToAll,
    /// One sends to all.
    Broadcast,
    /// One gets the reduction of all.
    Reduce,
    /// One gets the parts of all.
    Gather,
    /// One sends a part to everybody.
    Scatter,
    /// One sends, receives, or does both with peers.
    SendReceive,
    /// Everybody waits for all.
    Barrier,
    /// Something else, or the name does not say.
    Other,
}

impl CollectiveKind {
    /// What the name of a collective (`_allgather_base`, `all_to_allv`) or of a kernel
    /// (`ncclDevKernel_ReduceScatter_…`) says.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let plain: String = name.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect();
        let plain = plain.to_ascii_lowercase();
        // Longer words first: `allreduce` holds `reduce`.
        let words = [
            ("reducescatter", Self::ReduceScatter),
            ("allreduce", Self::AllReduce),
            ("crossdevicereduce", Self::AllReduce),
            ("allgather", Self::AllGather),
            ("alltoall", Self::AllToAll),
            ("broadcast", Self::Broadcast),
            ("sendrecv", Self::SendReceive),
            ("barrier", Self::Barrier),
            ("gather", Self::Gather),
            ("scatter", Self::Scatter),
            ("reduce", Self::Reduce),
            ("send", Self::SendReceive),
            ("recv", Self::SendReceive),
        ];
        words.into_iter().find(|(word, _)| plain.contains(word)).map_or(Self::Other, |(_, kind)| kind)
    }

    /// Whether a call of this name sends to another rank and so must begin before that one is done.
    pub(crate) fn is_send(name: &str) -> bool {
        // Kernels named `SendRecv` may do either.
        let name = name.rsplit(':').next().unwrap_or_default().trim_start_matches("MPI_").to_ascii_lowercase();
        matches!(name.as_str(), "send" | "isend" | "ssend" | "ncclsend")
    }

    /// A short name for people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::AllReduce => "all-reduce",
            Self::AllGather => "all-gather",
            Self::ReduceScatter => "reduce-scatter",
            Self::AllToAll => "all-to-all",
            Self::Broadcast => "broadcast",
            Self::Reduce => "reduce",
            Self::Gather => "gather",
            Self::Scatter => "scatter",
            Self::SendReceive => "send/receive",
            Self::Barrier => "barrier",
            Self::Other => "other",
        }
    }

    /// Bus bandwidth ÷ algorithm bandwidth in a group of `ranks` (NCCL tests, `doc/PERFORMANCE.md`).
    #[must_use]
    pub fn bus_factor(self, ranks: u32) -> f64 {
        let n = f64::from(ranks.max(1));
        match self {
            Self::AllReduce => 2.0 * (n - 1.0) / n,
            Self::AllGather | Self::ReduceScatter | Self::AllToAll | Self::Gather | Self::Scatter => (n - 1.0) / n,
            Self::Broadcast | Self::Reduce | Self::SendReceive | Self::Barrier | Self::Other => 1.0,
        }
    }
}

/// All communication kernels of one collective, kernel name, group and element type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CollectiveRow {
    /// What it does.
    pub collective: CollectiveKind,
    /// Its name in the arguments (`allreduce`); empty if there are none.
    pub name: String,
    /// Name of the kernel.
    pub kernel: String,
    /// Process group: name or id; may be empty.
    pub group: String,
    /// Description of the process group; may be empty.
    pub group_description: String,
    /// Element type as the file has it; may be empty.
    pub dtype: String,
    /// Ranks in the group, where known.
    pub group_size: Option<u32>,
    /// Durations of the kernels, their wait for other ranks included.
    #[serde(flatten)]
    pub stats: Stats,
    /// Summed bytes S; `None` if the file does not tell any.
    pub bytes: Option<u64>,
    /// How many of the kernels have their bytes in the file.
    pub bytes_known: u64,
    /// Σ S ÷ Σ t of the kernels whose bytes are known, in 10⁹ bytes per second.
    pub algorithm_gb_per_s: Option<f64>,
    /// The same times F.
    pub bus_gb_per_s: Option<f64>,
    /// The longest one, the first of equals.
    #[serde(serialize_with = "crate::ids::event")]
    pub longest_event: EventId,
    /// Start of the longest one, in ns.
    pub longest_start_ns: i64,
}

/// Bytes of an element of a type as Kineto or NCCL write it.
pub(crate) fn element_bytes(dtype: &str) -> Option<u64> {
    // Operators name C++ types (`c10::BFloat16`, `long int`, `unsigned char`).
    let dtype = dtype.trim_start_matches("c10::");
    let plain: String = dtype.chars().filter(|letter| letter.is_ascii_alphanumeric()).collect();
    let plain = plain.to_ascii_lowercase();
    let bytes = match plain.as_str() {
        "byte" | "char" | "bool" | "int8" | "uint8" | "qint8" | "quint8" | "unsignedchar" | "signedchar" => 1,
        "half" | "bfloat16" | "float16" | "short" | "int16" | "uint16" | "shortint" => 2,
        "float" | "float32" | "int" | "int32" | "uint32" | "qint32" | "complexhalf" => 4,
        "double" | "float64" | "long" | "int64" | "uint64" | "complexfloat" | "longint" => 8,
        "complexdouble" => 16,
        _ if plain.starts_with("float8") => 1,
        _ => return None,
    };
    Some(bytes)
}

/// Bytes S of one collective, where its arguments tell.
fn bytes(trace: &Trace, kind: CollectiveKind, args: &Collective) -> Option<u64> {
    let element = element_bytes(trace.text(args.dtype))?;
    full_elements(kind, args.in_elems, args.out_elems, args.group_size)?.checked_mul(element)
}

/// Elements of a collective's full size, from what one rank takes in and puts out.
pub(crate) fn full_elements(
    kind: CollectiveKind,
    in_elems: Option<u64>,
    out_elems: Option<u64>,
    group_size: Option<u32>,
) -> Option<u64> {
    let (taken, put) = (in_elems.filter(|&n| n > 0), out_elems.filter(|&n| n > 0));
    // A rank that is not the root of a gather or scatter names its own part only; all parts are of one size.
    let all_parts = |part: Option<u64>| part?.checked_mul(u64::from(group_size?));
    match kind {
        CollectiveKind::Barrier => None,
        CollectiveKind::AllGather | CollectiveKind::Gather => put.or_else(|| all_parts(taken)),
        CollectiveKind::ReduceScatter | CollectiveKind::Scatter => taken.or_else(|| all_parts(put)),
        _ => taken.or(put),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    kind: CollectiveKind,
    name: StrId,
    kernel: StrId,
    group: StrId,
    description: StrId,
    dtype: StrId,
    size: Option<u32>,
}

/// How many operators around a launch are asked for arguments; c10d puts them on one of the innermost.
const DEEPEST: usize = 64;

/// The arguments of a communication kernel: its own, else those of an operator around its launch.
fn args_of<'a>(trace: &'a Trace, host: &HostTree, work: &Work) -> Option<&'a Collective> {
    if trace.collectives().is_empty() {
        return None;
    }
    trace.collective(work.event).or_else(|| args_around(trace, host, work.launch()?))
}

/// The arguments of a launch or of an operator around it.
pub(crate) fn args_around<'a>(trace: &'a Trace, host: &HostTree, launch: EventId) -> Option<&'a Collective> {
    let mut around = std::iter::once(launch).chain(host.operators_around(launch).take(DEEPEST));
    around.find_map(|event| trace.collective(event))
}

pub(crate) fn rows(trace: &Trace, device: &DeviceWork, host: &HostTree) -> Vec<CollectiveRow> {
    let mut groups: Groups<Key> = Groups::default();
    let mut longest: Vec<Longest> = Vec::new();
    // Bytes, kernels with bytes, and their time.
    let mut moved: Vec<(u64, u64, i64)> = Vec::new();
    for work in device.work.iter().filter(|work| work.class == WorkClass::Communication) {
        let kernel = trace.event(work.event).name;
        let args = args_of(trace, host, work);
        let name = args.map(|args| args.name).unwrap_or_default();
        let told = args.map(|args| CollectiveKind::of(trace.text(args.name)));
        let kind = told.filter(|&kind| kind != CollectiveKind::Other);
        let kind = kind.unwrap_or_else(|| CollectiveKind::of(trace.text(kernel)));
        let key = Key {
            kind,
            name,
            kernel,
            group: args.map(|args| args.group).unwrap_or_default(),
            description: args.map(|args| args.group_desc).unwrap_or_default(),
            dtype: args.map(|args| args.dtype).unwrap_or_default(),
            size: args.and_then(|args| args.group_size),
        };
        let place = groups.add(key, work.duration());
        Longest::note(&mut longest, place, work.event, work.start, work.duration());
        moved.resize(longest.len(), (0, 0, 0));
        let bytes = args.and_then(|args| bytes(trace, kind, args));
        if let (Some(bytes), Some(sums)) = (bytes, moved.get_mut(place)) {
            sums.0 = sums.0.saturating_add(bytes);
            sums.1 += 1;
            sums.2 = sums.2.saturating_add(work.duration());
        }
    }
    let rows =
        groups.into_stats().zip(longest).zip(moved).map(|(((key, stats), longest), (bytes, bytes_known, ns))| {
            let algorithm = gb_per_s(bytes, ns).filter(|_| bytes_known > 0);
            CollectiveRow {
                collective: key.kind,
                name: trace.text(key.name).to_owned(),
                kernel: trace.text(key.kernel).to_owned(),
                group: trace.text(key.group).to_owned(),
                group_description: trace.text(key.description).to_owned(),
                dtype: trace.text(key.dtype).to_owned(),
                group_size: key.size,
                stats,
                bytes: (bytes_known > 0).then_some(bytes),
                bytes_known,
                algorithm_gb_per_s: algorithm,
                bus_gb_per_s: algorithm.zip(key.size).map(|(gb_per_s, ranks)| gb_per_s * key.kind.bus_factor(ranks)),
                longest_event: longest.event,
                longest_start_ns: longest.start,
            }
        });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| {
        by_time_then_name((a.stats.sum_ns, &a.kernel), (b.stats.sum_ns, &b.kernel))
            .then_with(|| (&a.name, &a.group, &a.dtype).cmp(&(&b.name, &b.group, &b.dtype)))
    });
    rows
}
