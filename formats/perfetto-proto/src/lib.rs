//! The part of Perfetto's trace schema that Gapless reads and writes.
//!
//! A trace file is one [`Trace`] message: a run of [`TracePacket`]s. The messages are declared by hand with
//! prost's derive, so building needs neither `protoc` nor a build script. Names, field numbers and wire types
//! are those of `protos/perfetto/trace` in the Perfetto repository (proto2, package `perfetto.protos`);
//! fields that are not declared here are skipped when decoding, as protobuf demands.
//!
//! Decoding a whole file with prost is slow and holds everything in memory. Hot paths write the wire format
//! directly with [`wire::Writer`] and the numbers in [`field`], and keep prost for rare messages and tests.

mod event;
pub mod field;
mod ftrace;
mod gpu;
mod interned;

mod sample;
mod trace;
mod track;
pub mod wire;

pub use event::{
    DebugAnnotation, EventType, FlowDirection, InlineCallstack, InlineFrame, InstantScope, LegacyEvent, TrackEvent,
    annotation, legacy_event, track_event,
};
pub use ftrace::{CompactSched, FtraceEvent, FtraceEventBundle, SchedSwitch, SchedWaking, ftrace_event};
pub use gpu::{
    ComputeKernelLaunch, Dim3, ExtraComputeArg, GpuCorrelation, GpuCounter, GpuCounterDescriptor, GpuCounterEvent,
    GpuCounterSpec, GpuExtraData, GpuInfo, GpuInfoEntry, GpuKeyValue, GpuRenderStageEvent,
    InternedGpuCounterDescriptor, InternedGpuRenderStageSpecification, InternedGraphicsContext, extra_compute_arg,
    gpu_counter, gpu_render_stage_event,
};
pub use interned::{
    Callstack, DebugAnnotationName, EventCategory, EventName, Frame, InternedData, InternedString, Mapping,
    SourceLocation,
};
/// Encodes and decodes the messages.
pub use prost::Message;
pub use sample::{PerfSample, PerfSampleDefaults, StackSample, TaskContext, Timebase, stack_sample};
pub use trace::{
    BuiltinClock, Clock, ClockSnapshot, Process, ProcessTree, SequenceFlags, Thread, Trace, TracePacket,
    TracePacketDefaults, TrackEventDefaults, trace_packet,
};
pub use track::{
    ChildTracksOrdering, CounterDescriptor, CounterUnit, ProcessDescriptor, ProcessOrdering, SiblingMergeBehavior,
    ThreadDescriptor, ThreadOrdering, TrackDescriptor,
};
