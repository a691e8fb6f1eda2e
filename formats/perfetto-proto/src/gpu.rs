//! GPU work, GPU counters, and what GPUs are called.

/// A piece of work of a GPU queue.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuRenderStageEvent {
    /// Its id in the trace.
    #[prost(uint64, optional, tag = "1")]
    pub event_id: Option<u64>,
    /// Duration in ns; the packet's timestamp is the start.
    #[prost(uint64, optional, tag = "2")]
    pub duration: Option<u64>,
    /// Id of the interned context.
    #[prost(uint64, optional, tag = "5")]
    pub context: Option<u64>,
    /// More facts.
    #[prost(message, repeated, tag = "6")]
    pub extra_data: Vec<GpuExtraData>,
    /// Joins it with the call that submitted it.
    #[prost(uint32, optional, tag = "10")]
    pub submission_id: Option<u32>,
    /// Number of the GPU.
    #[prost(int32, optional, tag = "11")]
    pub gpu_id: Option<i32>,
    /// Id of the interned queue.
    #[prost(uint64, optional, tag = "13")]
    pub hw_queue_iid: Option<u64>,
    /// Id of the interned stage.
    #[prost(uint64, optional, tag = "14")]
    pub stage_iid: Option<u64>,
    /// Its name.
    #[prost(oneof = "gpu_render_stage_event::NameField", tags = "17, 20")]
    pub name_field: Option<gpu_render_stage_event::NameField>,
    /// Events that it waited for.
    #[prost(uint64, repeated, packed = "false", tag = "18")]
    pub event_wait_ids: Vec<u64>,
    /// How the kernel was launched.
    #[prost(message, optional, tag = "21")]
    pub launch: Option<ComputeKernelLaunch>,
}

/// Alternatives in a [`GpuRenderStageEvent`].
pub mod gpu_render_stage_event {
    /// Name.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum NameField {
        /// Written out.
        #[prost(string, tag = "17")]
        Name(String),
        /// Interned as an event name.
        #[prost(uint64, tag = "20")]
        NameIid(u64),
    }
}

/// A fact in words.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuExtraData {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Its value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// How a kernel was launched.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ComputeKernelLaunch {
    /// Blocks.
    #[prost(message, optional, tag = "1")]
    pub grid_size: Option<Dim3>,
    /// Threads a block.
    #[prost(message, optional, tag = "2")]
    pub workgroup_size: Option<Dim3>,
    /// More facts.
    #[prost(message, repeated, tag = "3")]
    pub args: Vec<ExtraComputeArg>,
}

/// Three extents.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Dim3 {
    /// First.
    #[prost(uint32, optional, tag = "1")]
    pub x: Option<u32>,
    /// Second.
    #[prost(uint32, optional, tag = "2")]
    pub y: Option<u32>,
    /// Third.
    #[prost(uint32, optional, tag = "3")]
    pub z: Option<u32>,
}

/// A named value of a launch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExtraComputeArg {
    /// Its name.
    #[prost(oneof = "extra_compute_arg::NameField", tags = "1, 2")]
    pub name_field: Option<extra_compute_arg::NameField>,
    /// Its value.
    #[prost(oneof = "extra_compute_arg::Value", tags = "3, 4, 5, 6, 7")]
    pub value: Option<extra_compute_arg::Value>,
}

/// Alternatives in an [`ExtraComputeArg`].
pub mod extra_compute_arg {
    /// Name.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum NameField {
        /// Interned.
        #[prost(uint64, tag = "1")]
        NameIid(u64),
        /// Written out.
        #[prost(string, tag = "2")]
        Name(String),
    }

    /// Value.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        /// Whole.
        #[prost(int64, tag = "3")]
        IntValue(i64),
        /// Whole, without a sign.
        #[prost(uint64, tag = "4")]
        UintValue(u64),
        /// Any number.
        #[prost(double, tag = "5")]
        DoubleValue(f64),
        /// Text.
        #[prost(string, tag = "6")]
        StringValue(String),
        /// Interned text.
        #[prost(uint64, tag = "7")]
        StringValueIid(u64),
    }
}

/// A queue or a stage.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InternedGpuRenderStageSpecification {
    /// Its id on the sequence.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// Its name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// What it is.
    #[prost(string, optional, tag = "3")]
    pub description: Option<String>,
    /// 0 other, 1 graphics, 2 compute.
    #[prost(int32, optional, tag = "4")]
    pub category: Option<i32>,
}

/// A context of GPU work.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct InternedGraphicsContext {
    /// Its id on the sequence.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// Its process.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    /// 1 OpenGL, 2 Vulkan, 3 OpenCL, 4 CUDA, 5 HIP.
    #[prost(int32, optional, tag = "3")]
    pub api: Option<i32>,
}

/// Values of GPU counters.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuCounterEvent {
    /// What the counters are.
    #[prost(message, optional, tag = "1")]
    pub counter_descriptor: Option<GpuCounterDescriptor>,
    /// Their values.
    #[prost(message, repeated, tag = "2")]
    pub counters: Vec<GpuCounter>,
    /// Number of the GPU.
    #[prost(int32, optional, tag = "3")]
    pub gpu_id: Option<i32>,
    /// Id of the interned descriptor, in place of `counter_descriptor`.
    #[prost(uint64, optional, tag = "4")]
    pub counter_descriptor_iid: Option<u64>,
}

/// An interned descriptor of GPU counters.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InternedGpuCounterDescriptor {
    /// Its id on the sequence.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// The descriptor.
    #[prost(message, optional, tag = "2")]
    pub counter_descriptor: Option<GpuCounterDescriptor>,
    /// Number of the GPU.
    #[prost(int32, optional, tag = "3")]
    pub gpu_id: Option<i32>,
}

/// Which work of GPU queues an event of the host submits or waits for; an extension of track events.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuCorrelation {
    /// Work that it submits.
    #[prost(uint64, repeated, packed = "false", tag = "1")]
    pub render_stage_submission_event_ids: Vec<u64>,
    /// Work that it waits for.
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub render_stage_wait_event_ids: Vec<u64>,
}

/// What GPU counters are.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuCounterDescriptor {
    /// One entry per counter.
    #[prost(message, repeated, tag = "1")]
    pub specs: Vec<GpuCounterSpec>,
}

/// What a GPU counter is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuCounterSpec {
    /// Its id.
    #[prost(uint32, optional, tag = "1")]
    pub counter_id: Option<u32>,
    /// Its name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// What it counts.
    #[prost(string, optional, tag = "3")]
    pub description: Option<String>,
}

/// Value of a GPU counter.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuCounter {
    /// Its id.
    #[prost(uint32, optional, tag = "1")]
    pub counter_id: Option<u32>,
    /// The value.
    #[prost(oneof = "gpu_counter::Value", tags = "2, 3")]
    pub value: Option<gpu_counter::Value>,
}

/// Alternatives in a [`GpuCounter`].
pub mod gpu_counter {
    /// Value.
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub enum Value {
        /// Whole.
        #[prost(int64, tag = "2")]
        IntValue(i64),
        /// Any number.
        #[prost(double, tag = "3")]
        DoubleValue(f64),
    }
}

/// What the GPUs are called.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuInfo {
    /// One entry per GPU.
    #[prost(message, repeated, tag = "1")]
    pub gpus: Vec<GpuInfoEntry>,
}

/// What a GPU is called.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuInfoEntry {
    /// Name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Vendor.
    #[prost(string, optional, tag = "2")]
    pub vendor: Option<String>,
    /// Model.
    #[prost(string, optional, tag = "3")]
    pub model: Option<String>,
    /// Architecture.
    #[prost(string, optional, tag = "4")]
    pub architecture: Option<String>,
    /// UUID, 16 bytes.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub uuid: Option<Vec<u8>>,
    /// More facts.
    #[prost(message, repeated, tag = "6")]
    pub extra_info: Vec<GpuKeyValue>,
    /// PCI address.
    #[prost(string, optional, tag = "7")]
    pub pci_bdf: Option<String>,
}

/// A fact about a GPU.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuKeyValue {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// Its value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}
