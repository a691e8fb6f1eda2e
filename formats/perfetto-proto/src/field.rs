//! Field numbers for code that writes or walks the wire format directly.
//!
//! Tests decode what is written with these numbers through the prost messages of this crate.

/// [`Trace`](crate::Trace).
pub mod trace {
    /// A packet.
    pub const PACKET: u32 = 1;
}

/// [`TracePacket`](crate::TracePacket).
pub mod packet {
    /// Events of the kernel on one core.
    pub const FTRACE_EVENTS: u32 = 1;
    /// [`ProcessTree`](crate::ProcessTree).
    pub const PROCESS_TREE: u32 = 2;
    /// User that wrote the packet, varint.
    pub const TRUSTED_UID: u32 = 3;
    /// [`ClockSnapshot`](crate::ClockSnapshot).
    pub const CLOCK_SNAPSHOT: u32 = 6;
    /// Time, varint.
    pub const TIMESTAMP: u32 = 8;
    /// Sequence, varint.
    pub const SEQUENCE_ID: u32 = 10;
    /// [`TrackEvent`](crate::TrackEvent).
    pub const TRACK_EVENT: u32 = 11;
    /// [`InternedData`](crate::InternedData).
    pub const INTERNED_DATA: u32 = 12;
    /// [`SequenceFlags`](crate::SequenceFlags), varint.
    pub const SEQUENCE_FLAGS: u32 = 13;
    /// Older form of the flag that clears the sequence's state, varint.
    pub const INCREMENTAL_STATE_CLEARED: u32 = 41;
    /// Why packets before this one are missing, varint.
    pub const PREVIOUS_PACKET_DROPPED: u32 = 42;
    /// [`ProcessDescriptor`](crate::ProcessDescriptor), older form.
    pub const PROCESS_DESCRIPTOR: u32 = 43;
    /// [`ThreadDescriptor`](crate::ThreadDescriptor), older form.
    pub const THREAD_DESCRIPTOR: u32 = 44;
    /// The recording machine.
    pub const SYSTEM_INFO: u32 = 45;
    /// Packets compressed with zlib.
    pub const COMPRESSED: u32 = 50;
    /// [`GpuCounterEvent`](crate::GpuCounterEvent).
    pub const GPU_COUNTER_EVENT: u32 = 52;
    /// [`GpuRenderStageEvent`](crate::GpuRenderStageEvent).
    pub const GPU_RENDER_STAGE_EVENT: u32 = 53;
    /// Clock of the time, varint.
    pub const CLOCK_ID: u32 = 58;
    /// [`TracePacketDefaults`](crate::TracePacketDefaults).
    pub const DEFAULTS: u32 = 59;
    /// [`TrackDescriptor`](crate::TrackDescriptor).
    pub const TRACK_DESCRIPTOR: u32 = 60;
    /// [`PerfSample`](crate::PerfSample).
    pub const PERF_SAMPLE: u32 = 66;
    /// Process that wrote the packet, varint.
    pub const TRUSTED_PID: u32 = 79;
    /// Whether the sequence begins, varint.
    pub const FIRST_PACKET_ON_SEQUENCE: u32 = 87;
    /// Machine that wrote the packet, varint.
    pub const MACHINE_ID: u32 = 98;
    /// Facts about the trace.
    pub const TRACE_ATTRIBUTES: u32 = 126;
    /// [`GpuInfo`](crate::GpuInfo).
    pub const GPU_INFO: u32 = 128;
    /// Packets compressed with zstd.
    pub const COMPRESSED_ZSTD: u32 = 133;
    /// [`StackSample`](crate::StackSample).
    pub const STACK_SAMPLE: u32 = 135;
}

/// [`TrackEvent`](crate::TrackEvent).
pub mod track_event {
    /// Older time: microseconds since the event before, varint.
    pub const TIMESTAMP_DELTA_US: u32 = 1;
    /// Interned category, varint.
    pub const CATEGORY_IIDS: u32 = 3;
    /// [`DebugAnnotation`](crate::DebugAnnotation).
    pub const DEBUG_ANNOTATIONS: u32 = 4;
    /// Where a task was posted, message.
    pub const TASK_EXECUTION: u32 = 5;
    /// [`LegacyEvent`](crate::LegacyEvent).
    pub const LEGACY_EVENT: u32 = 6;
    /// [`EventType`](crate::EventType), varint.
    pub const TYPE: u32 = 9;
    /// Interned name, varint.
    pub const NAME_IID: u32 = 10;
    /// Track, varint.
    pub const TRACK_UUID: u32 = 11;
    /// Values of further counters, varint.
    pub const EXTRA_COUNTER_VALUES: u32 = 12;
    /// Older time in microseconds, varint.
    pub const TIMESTAMP_ABSOLUTE_US: u32 = 16;
    /// A log message.
    pub const LOG_MESSAGE: u32 = 21;
    /// Category written out, text.
    pub const CATEGORIES: u32 = 22;
    /// Name written out, text.
    pub const NAME: u32 = 23;
    /// Whole value of a counter, varint.
    pub const COUNTER_VALUE: u32 = 30;
    /// Tracks of the further counters, varint.
    pub const EXTRA_COUNTER_TRACK_UUIDS: u32 = 31;
    /// Line of the program, message.
    pub const SOURCE_LOCATION: u32 = 33;
    /// Interned line of the program, varint.
    pub const SOURCE_LOCATION_IID: u32 = 34;
    /// Older form of a flow, varint.
    pub const FLOW_IDS_OLD: u32 = 36;
    /// Older form of a flow that ends, varint.
    pub const TERMINATING_FLOW_IDS_OLD: u32 = 42;
    /// Value of a counter, double.
    pub const DOUBLE_COUNTER_VALUE: u32 = 44;
    /// Tracks of the further counters with doubles, varint.
    pub const EXTRA_DOUBLE_COUNTER_TRACK_UUIDS: u32 = 45;
    /// Values of further counters, double.
    pub const EXTRA_DOUBLE_COUNTER_VALUES: u32 = 46;
    /// Flow, fixed64.
    pub const FLOW_IDS: u32 = 47;
    /// Flow that ends, fixed64.
    pub const TERMINATING_FLOW_IDS: u32 = 48;
    /// What belongs together, varint.
    pub const CORRELATION_ID: u32 = 52;
    /// The same as text.
    pub const CORRELATION_ID_STR: u32 = 53;
    /// The same as interned text, varint.
    pub const CORRELATION_ID_STR_IID: u32 = 54;
    /// Call stack written out, message.
    pub const CALLSTACK: u32 = 55;
    /// Interned call stack, varint.
    pub const CALLSTACK_IID: u32 = 56;
    /// How much the call stack stands for, double.
    pub const CALLSTACK_WEIGHT: u32 = 57;
    /// Which work of GPU queues it submits or waits for, message of an extension.
    pub const GPU_CORRELATION: u32 = 3000;
}

/// [`DebugAnnotation`](crate::DebugAnnotation).
pub mod annotation {
    /// Interned name, varint.
    pub const NAME_IID: u32 = 1;
    /// Bool, varint.
    pub const BOOL_VALUE: u32 = 2;
    /// Whole, without a sign, varint.
    pub const UINT_VALUE: u32 = 3;
    /// Whole, varint.
    pub const INT_VALUE: u32 = 4;
    /// Number, double.
    pub const DOUBLE_VALUE: u32 = 5;
    /// Text.
    pub const STRING_VALUE: u32 = 6;
    /// Address, varint.
    pub const POINTER_VALUE: u32 = 7;
    /// Older form of nested values, message.
    pub const NESTED_VALUE: u32 = 8;
    /// JSON text.
    pub const LEGACY_JSON_VALUE: u32 = 9;
    /// Name written out, text.
    pub const NAME: u32 = 10;
    /// Entry of a dict, message.
    pub const DICT_ENTRIES: u32 = 11;
    /// Value of a list, message.
    pub const ARRAY_VALUES: u32 = 12;
    /// Interned text, varint.
    pub const STRING_VALUE_IID: u32 = 17;
}

/// [`InternedData`](crate::InternedData) and its entries.
pub mod interned {
    /// Category.
    pub const EVENT_CATEGORIES: u32 = 1;
    /// Name of an event.
    pub const EVENT_NAMES: u32 = 2;
    /// Name of an annotation.
    pub const DEBUG_ANNOTATION_NAMES: u32 = 3;
    /// Function of a frame.
    pub const FUNCTION_NAMES: u32 = 5;
    /// Frame of a call stack.
    pub const FRAMES: u32 = 6;
    /// Call stack.
    pub const CALLSTACKS: u32 = 7;
    /// Part of a mapping's path.
    pub const MAPPING_PATHS: u32 = 17;
    /// Source file of a frame.
    pub const SOURCE_PATHS: u32 = 18;
    /// Mapped file.
    pub const MAPPINGS: u32 = 19;
    /// Text value of an annotation.
    pub const DEBUG_ANNOTATION_STRING_VALUES: u32 = 29;
    /// Id of any entry, varint.
    pub const IID: u32 = 1;
    /// Text of any entry that is a text.
    pub const TEXT: u32 = 2;
    /// Frame of a call stack, varint.
    pub const CALLSTACK_FRAME_IDS: u32 = 2;
    /// Function of a frame, varint.
    pub const FRAME_FUNCTION_NAME_ID: u32 = 2;
    /// Mapping of a frame, varint.
    pub const FRAME_MAPPING_ID: u32 = 3;
    /// Source file of a frame, varint.
    pub const FRAME_SOURCE_PATH_IID: u32 = 5;
    /// Line of a frame, varint.
    pub const FRAME_LINE_NUMBER: u32 = 6;
    /// Part of a mapping's path, varint.
    pub const MAPPING_PATH_STRING_IDS: u32 = 7;
}
