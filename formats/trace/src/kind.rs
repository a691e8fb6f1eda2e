//! What an event is, decided once on import.

/// What an event is.
///
/// The reader of a format decides it once, so that no analysis matches on category strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// A framework operator on a CPU thread (`aten::mm`).
    Operator,
    /// A Python frame.
    PythonFunction,
    /// A range that the user or the framework named (`record_function`, NVTX) on a CPU thread.
    Annotation,
    /// One training or inference step (`ProfilerStep#12`) on a CPU thread.
    Step,
    /// A call of the device runtime (`cudaLaunchKernel`, `hipMemcpyAsync`).
    RuntimeCall,
    /// A call of the device driver (`cuLaunchKernelEx`).
    DriverCall,
    /// A kernel that computes.
    Kernel,
    /// A kernel that runs a collective (all-reduce, all-to-all, …).
    Collective,
    /// A kernel that sends to or receives from one peer.
    PointToPoint,
    /// A copy by the device.
    Memcpy,
    /// A fill by the device.
    Memset,
    /// A row that marks synchronisation on a device track (`Stream Sync`). It is not work.
    DeviceSync,
    /// A user range projected onto a device track. It is not work.
    DeviceAnnotation,
    /// Cost of the profiler itself.
    Overhead,
    /// A point in time.
    Instant,
    /// An allocation or release, a point in time.
    MemoryInstant,
    /// The profiler's own span (`PyTorch Profiler (0)`).
    ProfilerSpan,
    /// An asynchronous range that no thread owns.
    Async,
    /// A call of the operating system's library (`poll`, `pthread_cond_wait`).
    OsCall,
    /// A thread runs on a processor core.
    Scheduled,
    /// A sampled call stack, a point in time.
    Sample,
    /// Anything else.
    Other,
}

impl EventKind {
    /// All kinds, in declaration order.
    pub const ALL: [Self; 22] = [
        Self::Operator,
        Self::PythonFunction,
        Self::Annotation,
        Self::Step,
        Self::RuntimeCall,
        Self::DriverCall,
        Self::Kernel,
        Self::Collective,
        Self::PointToPoint,
        Self::Memcpy,
        Self::Memset,
        Self::DeviceSync,
        Self::DeviceAnnotation,
        Self::Overhead,
        Self::Instant,
        Self::MemoryInstant,
        Self::ProfilerSpan,
        Self::Async,
        Self::OsCall,
        Self::Scheduled,
        Self::Sample,
        Self::Other,
    ];

    /// Whether the event occupies a device: kernels, communication, copies, fills.
    #[must_use]
    pub const fn is_device_work(self) -> bool {
        matches!(self, Self::Kernel | Self::Collective | Self::PointToPoint | Self::Memcpy | Self::Memset)
    }

    /// Whether the event is a kernel, communication included.
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        matches!(self, Self::Kernel | Self::Collective | Self::PointToPoint)
    }

    /// Whether the event is a communication kernel.
    #[must_use]
    pub const fn is_communication(self) -> bool {
        matches!(self, Self::Collective | Self::PointToPoint)
    }

    /// Whether the event is a copy or a fill by the device.
    #[must_use]
    pub const fn is_copy(self) -> bool {
        matches!(self, Self::Memcpy | Self::Memset)
    }

    /// Whether the event is a call into the device's runtime or driver.
    #[must_use]
    pub const fn is_device_call(self) -> bool {
        matches!(self, Self::RuntimeCall | Self::DriverCall)
    }

    /// Whether the event is a point in time.
    #[must_use]
    pub const fn is_instant(self) -> bool {
        matches!(self, Self::Instant | Self::MemoryInstant | Self::Sample)
    }

    /// A short name for people, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::PythonFunction => "Python function",
            Self::Annotation => "annotation",
            Self::Step => "step",
            Self::RuntimeCall => "runtime call",
            Self::DriverCall => "driver call",
            Self::Kernel => "kernel",
            Self::Collective => "collective",
            Self::PointToPoint => "point-to-point",
            Self::Memcpy => "copy",
            Self::Memset => "memset",
            Self::DeviceSync => "device sync",
            Self::DeviceAnnotation => "device annotation",
            Self::Overhead => "profiler overhead",
            Self::Instant => "instant",
            Self::MemoryInstant => "memory event",
            Self::ProfilerSpan => "profiler span",
            Self::Async => "async range",
            Self::OsCall => "system call",
            Self::Scheduled => "running thread",
            Self::Sample => "stack sample",
            Self::Other => "other",
        }
    }

    /// The kind with this [`id`](Self::id).
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// A stable name for machines: JSON, debug annotations, TOML.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::PythonFunction => "python_function",
            Self::Annotation => "annotation",
            Self::Step => "step",
            Self::RuntimeCall => "runtime_call",
            Self::DriverCall => "driver_call",
            Self::Kernel => "kernel",
            Self::Collective => "collective",
            Self::PointToPoint => "point_to_point",
            Self::Memcpy => "memcpy",
            Self::Memset => "memset",
            Self::DeviceSync => "device_sync",
            Self::DeviceAnnotation => "device_annotation",
            Self::Overhead => "overhead",
            Self::Instant => "instant",
            Self::MemoryInstant => "memory_instant",
            Self::ProfilerSpan => "profiler_span",
            Self::Async => "async",
            Self::OsCall => "os_call",
            Self::Scheduled => "scheduled",
            Self::Sample => "sample",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct() {
        let mut ids: Vec<_> = EventKind::ALL.iter().map(|kind| kind.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), EventKind::ALL.len());
    }
}
