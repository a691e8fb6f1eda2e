//! What planes, lines and events are, decided by the names that the recorders of XLA give them.

use gapless_trace::EventKind;

/// What a plane shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlaneKind {
    /// Threads of a process.
    Host,
    /// A GPU with its number: lines are streams, or made from them.
    Gpu(u32),
    /// A TPU with its number; `core` names a core beside the main one (`SparseCore 0`).
    Tpu {
        /// Number of the device.
        device: u32,
        /// Empty for the main core.
        core: String,
    },
    /// Facts about the whole recording.
    Facts,
    /// Anything else.
    Other,
}

impl PlaneKind {
    /// What the plane of this name shows.
    pub fn of(name: &str) -> Self {
        // A plane of a child process ends in its id: `/host:CPU [4711]`.
        let name = without_process(name);
        if let Some(rest) = name.strip_prefix("/device:GPU:")
            && let Ok(device) = rest.parse()
        {
            return Self::Gpu(device);
        }
        if let Some(rest) = name.strip_prefix("/device:TPU:") {
            let (number, core) = rest.split_once(' ').unwrap_or((rest, ""));
            if let Ok(device) = number.parse() {
                return Self::Tpu { device, core: core.trim().to_owned() };
            }
        }
        match name {
            "/host:metadata" | "Task Environment" => Self::Facts,
            "/host:CPU"
            | "/host:CUPTI"
            | "/host:ROCTRACER"
            | "/host:NVTX-CUPTI"
            | "/host:python-tracer"
            | "/host:TPU-runtime" => Self::Host,
            _ => Self::Other,
        }
    }

    /// Number of the device.
    pub const fn device(&self) -> Option<u32> {
        match self {
            Self::Gpu(device) | Self::Tpu { device, .. } => Some(*device),
            _ => None,
        }
    }
}

fn without_process(name: &str) -> &str {
    let inner = name.strip_suffix(']').and_then(|rest| rest.rsplit_once(" ["));
    match inner {
        Some((plane, id)) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => plane,
        _ => name,
    }
}

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A thread.
    Thread,
    /// Work of a device.
    Work,
    /// Steps of a device.
    Steps,
    /// What the recorder made from the work, or says beside it: modules, framework operators, names, sources.
    Notes,
    /// Cost of the recorder.
    Overhead,
    /// Samples of performance counters.
    Counters,
    /// Anything else.
    Custom,
}

/// Lines that the recorder or its post-processing makes from the work of a device, or that overlap it.
const NOTES: &[&str] = &[
    "XLA Modules",
    "Async XLA Ops",
    "Framework Ops",
    "Framework Name Scope",
    "TensorFlow Ops",
    "TensorFlow Name Scope",
    "Source code",
    "Launch Stats",
    "Host Offload Ops",
    "XLA TraceMe",
    "Sparse Core Modules",
    "Tensor Core Sync Flag",
    "Sparse Core Syncs",
];

impl LineKind {
    /// What the line of this name in such a plane shows.
    pub fn of(plane: &PlaneKind, name: &str) -> Self {
        match plane {
            PlaneKind::Host => Self::Thread,
            PlaneKind::Facts | PlaneKind::Other => match name {
                "_counters_" => Self::Counters,
                _ => Self::Custom,
            },
            PlaneKind::Gpu(_) | PlaneKind::Tpu { .. } => match name {
                "_counters_" => Self::Counters,
                "Steps" | "Sparse Core Steps" => Self::Steps,
                _ if name.ends_with(" overhead") => Self::Overhead,
                _ if NOTES.contains(&name) => Self::Notes,
                // The work of a TPU is its operations; of a GPU it is its streams, and `XLA Ops` repeats them.
                "XLA Ops" | "Sparse Core Ops" if matches!(plane, PlaneKind::Tpu { .. }) => Self::Work,
                "XLA Ops" => Self::Notes,
                _ if matches!(plane, PlaneKind::Gpu(_)) => Self::Work,
                _ => Self::Notes,
            },
        }
    }
}

/// The number in `Stream #17(Kernel)`.
pub(super) fn stream_number(name: &str) -> Option<i64> {
    let rest = name.strip_prefix("Stream #")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

/// What name and category of an event type make of its events, before the stats of each refine it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TypeKind {
    /// On a thread.
    pub host: EventKind,
    /// On a line of work of a device.
    pub device: EventKind,
}

impl Default for TypeKind {
    fn default() -> Self {
        Self { host: EventKind::Operator, device: EventKind::Kernel }
    }
}

/// The kinds of events with this name and sort of operation in such a plane.
pub(super) fn kind_of_type(plane: &PlaneKind, name: &str, category: &str) -> TypeKind {
    let mut kind = TypeKind::default();
    match plane {
        PlaneKind::Host => kind.host = host_kind(name),
        PlaneKind::Gpu(_) => kind.device = gpu_kind(name),
        PlaneKind::Tpu { .. } => kind.device = tpu_kind(name, category),
        PlaneKind::Facts | PlaneKind::Other => {}
    }
    kind
}

/// Names that JAX and XLA give their own ranges; all others without the signs of one are the user's.
const OWN_RANGES: &[&str] = &[
    "AllocateOutputBuffersWithInputReuse",
    "Build buffer allocations",
    "ComputeSemaphoreAcquire",
    "DevicePutWithSharding",
    "Handle input event recording",
    "Handle inputs",
    "MakeOutputBuffers",
    "MemoryAllocation",
    "MemoryDeallocation",
    "PJRT_LoadedExecutable_Execute",
    "PJRT_LoadedExecutable_Execute linkage",
    "ParseArguments",
    "RecordUsage",
    "Resolve constant globals",
    "ThenExecuteCallback",
    "Wait for donation holds",
    "Wait for usage holds",
    "cpp_pjit_shard_arg_fallback",
    "shard_args",
];

fn host_kind(name: &str) -> EventKind {
    let follows = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
    };
    match name {
        // The Python tracer: `$file.py:12 function`, `$builtins len`.
        _ if name.starts_with('$') => EventKind::PythonFunction,
        _ if follows("cuda") || follows("hip") => EventKind::RuntimeCall,
        _ if follows("cu") => EventKind::DriverCall,
        _ if name.starts_with("NVTX:") => EventKind::Annotation,
        // `Class::Method`, `PjitFunction(f)`, `end: dot`, `MatMul:MatMul`, `jit_f:XLA GPU module`.
        _ if name.contains([':', '(']) || OWN_RANGES.contains(&name) => EventKind::Operator,
        _ => EventKind::Annotation,
    }
}

fn gpu_kind(name: &str) -> EventKind {
    if name.starts_with("Memcpy") {
        EventKind::Memcpy
    } else if name.starts_with("Memset") {
        EventKind::Memset
    } else if matches!(name, "MemoryAlloc" | "MemoryFree" | "MemoryResidency" | "HostRegister" | "HostUnregister") {
        EventKind::DeviceAnnotation
    } else {
        EventKind::Kernel
    }
}

/// Operations that join all devices of a group.
const COLLECTIVES: &[&str] = &[
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
];

/// The opcode in the name of an operation: `all-reduce` of `%all-reduce.17` and of `%all-reduce.17 = f32[8]{0} …`.
pub(super) fn opcode_in_name(name: &str) -> &str {
    let name = name.strip_prefix('%').unwrap_or(name);
    let name = name.split(' ').next().unwrap_or(name);
    name.split('.').next().unwrap_or(name)
}

fn tpu_kind(name: &str, category: &str) -> EventKind {
    let plain = |text: &str| {
        let text = text.strip_suffix("-start").or_else(|| text.strip_suffix("-done")).unwrap_or(text);
        match text {
            "send" | "recv" | "host send" | "host recv" => Some(EventKind::PointToPoint),
            _ if COLLECTIVES.contains(&text) => Some(EventKind::Collective),
            // They hold the operations of their bodies, which have events of their own.
            "while" | "conditional" | "call" => Some(EventKind::DeviceAnnotation),
            _ => None,
        }
    };
    // `all-reduce fusion` and the like: the first word says it.
    plain(category)
        .or_else(|| category.split(' ').next().and_then(plain))
        .or_else(|| plain(opcode_in_name(name)))
        .unwrap_or(EventKind::Kernel)
}

/// What `_pt`, `_ct` and the top bits of `flow` number: the part of the program that hands work on.
pub(super) const CONTEXTS: &[&str] = &[
    "generic",
    "legacy",
    "TensorFlow executor",
    "TFRT executor",
    "shared batch scheduler",
    "PJRT",
    "adaptive shared batch scheduler",
    "TFRT TPU runtime",
    "TPU embedding engine",
    "GPU launch",
    "batcher",
    "TPU stream",
    "TPU launch",
    "Pathways executor",
    "PJRT library call",
    "thread pool",
];

/// The context in which correlation ids are repeated as flows.
pub(super) const GPU_LAUNCH: u64 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_known_by_name() {
        let check = |name: &str, kind: PlaneKind| assert_eq!(PlaneKind::of(name), kind, "{name}");
        check("/device:GPU:7", PlaneKind::Gpu(7));
        check("/device:GPU:7 [4711]", PlaneKind::Gpu(7));
        check("/device:GPU:x", PlaneKind::Other);
        check("/device:GPU:99999999999", PlaneKind::Other);
        check("/device:TPU:3", PlaneKind::Tpu { device: 3, core: String::new() });
        check("/device:TPU:3 SparseCore 1", PlaneKind::Tpu { device: 3, core: "SparseCore 1".to_owned() });
        check("/host:CPU", PlaneKind::Host);
        check("/host:CPU [12]", PlaneKind::Host);
        check("/host:metadata", PlaneKind::Facts);
        check("Task Environment", PlaneKind::Facts);
        check("#Chip0#", PlaneKind::Other);
        check("/device:CUSTOM:MOSAIC:0", PlaneKind::Other);
    }

    #[test]
    fn lines_are_work_or_made_from_it() {
        let gpu = PlaneKind::Gpu(0);
        let tpu = PlaneKind::Tpu { device: 0, core: String::new() };
        let check = |plane: &PlaneKind, name: &str, kind: LineKind| {
            assert_eq!(LineKind::of(plane, name), kind, "{plane:?} {name}");
        };
        check(&gpu, "Stream #17(Kernel)", LineKind::Work);
        check(&gpu, "", LineKind::Work);
        check(&gpu, "XLA Ops", LineKind::Notes);
        check(&gpu, "Steps", LineKind::Steps);
        check(&gpu, "CUPTI overhead", LineKind::Overhead);
        check(&gpu, "_counters_", LineKind::Counters);
        check(&tpu, "XLA Ops", LineKind::Work);
        check(&tpu, "Async XLA Ops", LineKind::Notes);
        check(&tpu, "anything new", LineKind::Notes);
        check(&PlaneKind::Host, "Steps", LineKind::Thread);
        check(&PlaneKind::Other, "x", LineKind::Custom);
        assert_eq!(stream_number("Stream #17(Kernel)"), Some(17));
        assert_eq!(stream_number("Stream #x"), None);
    }

    #[test]
    fn events_are_known_by_name_and_category() {
        let host = |name: &str, kind: EventKind| {
            assert_eq!(kind_of_type(&PlaneKind::Host, name, "").host, kind, "{name}");
        };
        host("$profiler.py:101 start_trace", EventKind::PythonFunction);
        host("hipModuleLaunchKernel", EventKind::RuntimeCall);
        host("cudaMemcpyAsync", EventKind::RuntimeCall);
        host("cuLaunchKernel", EventKind::DriverCall);
        host("cuGraphLaunch (CudaGraph:3)", EventKind::DriverCall);
        host("custom step", EventKind::Annotation);
        host("hippo", EventKind::Annotation);
        host("PjitFunction(step)", EventKind::Operator);
        host("PythonRefManager::CollectGarbage", EventKind::Operator);
        host("ParseArguments", EventKind::Operator);
        host("forward", EventKind::Annotation);

        let tpu = |name: &str, category: &str, kind: EventKind| {
            let plane = PlaneKind::Tpu { device: 0, core: String::new() };
            assert_eq!(kind_of_type(&plane, name, category).device, kind, "{name} {category}");
        };
        tpu("fusion.12", "convolution fusion", EventKind::Kernel);
        tpu("%all-reduce.3 = f32[8]{0} all-reduce(f32[8]{0} %x)", "", EventKind::Collective);
        tpu("all-gather-start.1", "", EventKind::Collective);
        tpu("fusion.2", "all-reduce fusion", EventKind::Collective);
        tpu("collective-permute-done.2", "collective-permute-done", EventKind::Collective);
        tpu("recv-done.5", "recv-done", EventKind::PointToPoint);
        tpu("while.3", "while", EventKind::DeviceAnnotation);
        tpu("all-reduced.1", "", EventKind::Kernel);

        let gpu = |name: &str, kind: EventKind| {
            assert_eq!(kind_of_type(&PlaneKind::Gpu(0), name, "").device, kind, "{name}");
        };
        gpu("MemcpyH2D", EventKind::Memcpy);
        gpu("Memset", EventKind::Memset);
        gpu("loop_transpose_fusion", EventKind::Kernel);
    }
}
