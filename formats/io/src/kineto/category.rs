//! What the categories of Kineto, of all eras and devices, mean.

use gapless_trace::{EventKind, TrackKind};

/// The kind that a category gives an event, before its name refines it.
pub(crate) fn kind_of_category(category: &[u8]) -> EventKind {
    match category.to_ascii_lowercase().as_slice() {
        b"cpu_op" | b"operator" => EventKind::Operator,
        b"python_function" => EventKind::PythonFunction,
        b"user_annotation" | b"collective_comm" => EventKind::Annotation,
        b"gpu_user_annotation" | b"cuda_profiler_range" => EventKind::DeviceAnnotation,
        b"kernel" | b"concurrent_kernel" | b"mtia_ccp_events" => EventKind::Kernel,
        b"gpu_memcpy" | b"memcpy" => EventKind::Memcpy,
        b"gpu_memset" | b"memset" => EventKind::Memset,
        b"cuda_sync" | b"cuda_event" => EventKind::DeviceSync,
        b"overhead" => EventKind::Overhead,
        b"cpu_instant_event" => EventKind::Instant,
        b"trace" => EventKind::ProfilerSpan,
        lower if lower == b"runtime" || lower.ends_with(b"_runtime") => EventKind::RuntimeCall,
        lower if lower.ends_with(b"_driver") => EventKind::DriverCall,
        _ => EventKind::Other,
    }
}

/// Refines the kind of a complete event by its name.
pub(crate) fn refine(kind: EventKind, name: &str) -> EventKind {
    match kind {
        EventKind::Operator | EventKind::Annotation if name.starts_with("ProfilerStep") => EventKind::Step,
        // MTIA writes its waits beside its work.
        EventKind::Kernel if name == "event_wait" => EventKind::DeviceSync,
        _ => kind,
    }
}

/// The track that an event of this kind belongs on.
pub(crate) fn track_kind(kind: EventKind) -> TrackKind {
    match kind {
        EventKind::Kernel | EventKind::Collective | EventKind::PointToPoint | EventKind::Memcpy | EventKind::Memset => {
            TrackKind::Stream
        }
        EventKind::DeviceSync => TrackKind::StreamSyncs,
        EventKind::DeviceAnnotation => TrackKind::StreamAnnotations,
        EventKind::Instant | EventKind::MemoryInstant => TrackKind::ThreadInstants,
        EventKind::ProfilerSpan => TrackKind::ProfilerSpans,
        EventKind::Async => TrackKind::Async,
        _ => TrackKind::Thread,
    }
}

/// Whether the operator or annotation of this name carries collective arguments.
pub(crate) fn issues_collective(name: &str) -> bool {
    name == "record_param_comms" || name.starts_with("nccl:") || name.starts_with("gloo:") || name.starts_with("rccl:")
}

/// Whether the collective of this name joins two peers only.
pub(crate) fn is_point_to_point(collective: &[u8]) -> bool {
    matches!(collective, b"send" | b"recv" | b"isend" | b"irecv" | b"recvAnySource" | b"recv_any_source")
}

/// Flow categories that join a launch with its device work; their id is the correlation id.
pub(crate) fn is_launch_flow(category: &str) -> bool {
    matches!(category, "ac2g" | "async_cpu_to_gpu" | "async")
}
