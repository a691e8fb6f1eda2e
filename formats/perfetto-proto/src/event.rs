//! Track events and their annotations.

use crate::{GpuCorrelation, SourceLocation};

/// A slice edge, an instant or a counter value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrackEvent {
    /// What it is.
    #[prost(enumeration = "EventType", optional, tag = "9")]
    pub r#type: Option<i32>,
    /// Its track; else the sequence's default.
    #[prost(uint64, optional, tag = "11")]
    pub track_uuid: Option<u64>,
    /// Its name.
    #[prost(oneof = "track_event::NameField", tags = "10, 23")]
    pub name_field: Option<track_event::NameField>,
    /// Interned categories.
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub category_iids: Vec<u64>,
    /// Categories.
    #[prost(string, repeated, tag = "22")]
    pub categories: Vec<String>,
    /// Arguments.
    #[prost(message, repeated, tag = "4")]
    pub debug_annotations: Vec<DebugAnnotation>,
    /// What the older event macros need.
    #[prost(message, optional, boxed, tag = "6")]
    pub legacy_event: Option<Box<LegacyEvent>>,
    /// Value of a counter.
    #[prost(oneof = "track_event::CounterValueField", tags = "30, 44")]
    pub counter_value_field: Option<track_event::CounterValueField>,
    /// Tracks of `extra_counter_values`.
    #[prost(uint64, repeated, packed = "false", tag = "31")]
    pub extra_counter_track_uuids: Vec<u64>,
    /// Values of other counters at this time.
    #[prost(int64, repeated, packed = "false", tag = "12")]
    pub extra_counter_values: Vec<i64>,
    /// Tracks of `extra_double_counter_values`.
    #[prost(uint64, repeated, packed = "false", tag = "45")]
    pub extra_double_counter_track_uuids: Vec<u64>,
    /// Values of other counters at this time.
    #[prost(double, repeated, packed = "false", tag = "46")]
    pub extra_double_counter_values: Vec<f64>,
    /// Flows that pass through this slice: the first slice with an id starts it, later ones continue it.
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub flow_ids: Vec<u64>,
    /// Flows that end at this slice.
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    pub terminating_flow_ids: Vec<u64>,
    /// Older form of `flow_ids`.
    #[prost(uint64, repeated, packed = "false", tag = "36")]
    pub flow_ids_old: Vec<u64>,
    /// Older form of `terminating_flow_ids`.
    #[prost(uint64, repeated, packed = "false", tag = "42")]
    pub terminating_flow_ids_old: Vec<u64>,
    /// Older time in microseconds.
    #[prost(oneof = "track_event::Timestamp", tags = "1, 16")]
    pub timestamp: Option<track_event::Timestamp>,
    /// Line of the program.
    #[prost(oneof = "track_event::SourceLocationField", tags = "33, 34")]
    pub source_location_field: Option<track_event::SourceLocationField>,
    /// What belongs together.
    #[prost(oneof = "track_event::CorrelationIdField", tags = "52, 53, 54")]
    pub correlation_id_field: Option<track_event::CorrelationIdField>,
    /// Call stack.
    #[prost(oneof = "track_event::CallstackField", tags = "55, 56")]
    pub callstack_field: Option<track_event::CallstackField>,
    /// What the call stack stands for.
    #[prost(double, optional, tag = "57")]
    pub callstack_weight: Option<f64>,
    /// Work of GPU queues, an extension.
    #[prost(message, optional, tag = "3000")]
    pub gpu_correlation: Option<GpuCorrelation>,
}

/// Alternatives in a [`TrackEvent`].
pub mod track_event {
    use super::{InlineCallstack, SourceLocation};

    /// Name.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum NameField {
        /// Interned.
        #[prost(uint64, tag = "10")]
        NameIid(u64),
        /// Written out.
        #[prost(string, tag = "23")]
        Name(String),
    }

    /// Value of a counter.
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub enum CounterValueField {
        /// Whole.
        #[prost(int64, tag = "30")]
        CounterValue(i64),
        /// Any.
        #[prost(double, tag = "44")]
        DoubleCounterValue(f64),
    }

    /// Older time.
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub enum Timestamp {
        /// Since the event before, in microseconds.
        #[prost(int64, tag = "1")]
        TimestampDeltaUs(i64),
        /// In microseconds.
        #[prost(int64, tag = "16")]
        TimestampAbsoluteUs(i64),
    }

    /// Line of the program.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum SourceLocationField {
        /// Written out.
        #[prost(message, tag = "33")]
        SourceLocation(SourceLocation),
        /// Interned.
        #[prost(uint64, tag = "34")]
        SourceLocationIid(u64),
    }

    /// What belongs together.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum CorrelationIdField {
        /// As a number.
        #[prost(uint64, tag = "52")]
        CorrelationId(u64),
        /// As text.
        #[prost(string, tag = "53")]
        CorrelationIdStr(String),
        /// As interned text.
        #[prost(uint64, tag = "54")]
        CorrelationIdStrIid(u64),
    }

    /// Call stack.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum CallstackField {
        /// Written out.
        #[prost(message, tag = "55")]
        Callstack(InlineCallstack),
        /// Interned.
        #[prost(uint64, tag = "56")]
        CallstackIid(u64),
    }
}

/// What a track event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// Not said.
    Unspecified = 0,
    /// A slice begins.
    SliceBegin = 1,
    /// The slice that began last on the track ends.
    SliceEnd = 2,
    /// A point in time.
    Instant = 3,
    /// A value of a counter.
    Counter = 4,
    /// A state begins.
    State = 5,
}

/// What the older event macros need.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LegacyEvent {
    /// Interned name.
    #[prost(uint64, optional, tag = "1")]
    pub name_iid: Option<u64>,
    /// The letter that Chrome's JSON format gives it.
    #[prost(int32, optional, tag = "2")]
    pub phase: Option<i32>,
    /// Duration of a complete event.
    #[prost(int64, optional, tag = "3")]
    pub duration_us: Option<i64>,
    /// Duration on the thread's clock.
    #[prost(int64, optional, tag = "4")]
    pub thread_duration_us: Option<i64>,
    /// Id of an asynchronous event.
    #[prost(oneof = "legacy_event::Id", tags = "6, 10, 11")]
    pub id: Option<legacy_event::Id>,
    /// What the id is unique in.
    #[prost(string, optional, tag = "7")]
    pub id_scope: Option<String>,
    /// Id of a flow.
    #[prost(uint64, optional, tag = "8")]
    pub bind_id: Option<u64>,
    /// Whether the flow binds to the slice around the event.
    #[prost(bool, optional, tag = "12")]
    pub bind_to_enclosing: Option<bool>,
    /// Which way the flow goes.
    #[prost(enumeration = "FlowDirection", optional, tag = "13")]
    pub flow_direction: Option<i32>,
    /// How far an instant is seen.
    #[prost(enumeration = "InstantScope", optional, tag = "14")]
    pub instant_event_scope: Option<i32>,
    /// Process, if not the sequence's.
    #[prost(int32, optional, tag = "18")]
    pub pid_override: Option<i32>,
    /// Thread, if not the sequence's.
    #[prost(int32, optional, tag = "19")]
    pub tid_override: Option<i32>,
}

/// Alternatives in a [`LegacyEvent`].
pub mod legacy_event {
    /// Id of an asynchronous event.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
    pub enum Id {
        /// Unique in the trace unless the scope says otherwise.
        #[prost(uint64, tag = "6")]
        UnscopedId(u64),
        /// Unique in the process.
        #[prost(uint64, tag = "10")]
        LocalId(u64),
        /// Unique in the trace.
        #[prost(uint64, tag = "11")]
        GlobalId(u64),
    }
}

/// Which way a legacy flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FlowDirection {
    /// No way.
    Unspecified = 0,
    /// In.
    In = 1,
    /// Out.
    Out = 2,
    /// Through.
    Inout = 3,
}

/// How far a legacy instant is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum InstantScope {
    /// Not said.
    Unspecified = 0,
    /// In the trace.
    Global = 1,
    /// In the process.
    Process = 2,
    /// In the thread.
    Thread = 3,
}

/// A named value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DebugAnnotation {
    /// Its name.
    #[prost(oneof = "annotation::NameField", tags = "1, 10")]
    pub name_field: Option<annotation::NameField>,
    /// Its value, where it is neither dict nor list.
    #[prost(oneof = "annotation::Value", tags = "2, 3, 4, 5, 6, 7, 9, 17")]
    pub value: Option<annotation::Value>,
    /// Named values of a dict.
    #[prost(message, repeated, tag = "11")]
    pub dict_entries: Vec<DebugAnnotation>,
    /// Values of a list.
    #[prost(message, repeated, tag = "12")]
    pub array_values: Vec<DebugAnnotation>,
}

/// Alternatives in a [`DebugAnnotation`].
pub mod annotation {
    /// Name.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum NameField {
        /// Interned.
        #[prost(uint64, tag = "1")]
        NameIid(u64),
        /// Written out.
        #[prost(string, tag = "10")]
        Name(String),
    }

    /// Value.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        /// True or false.
        #[prost(bool, tag = "2")]
        BoolValue(bool),
        /// Whole, without a sign.
        #[prost(uint64, tag = "3")]
        UintValue(u64),
        /// Whole.
        #[prost(int64, tag = "4")]
        IntValue(i64),
        /// Any number.
        #[prost(double, tag = "5")]
        DoubleValue(f64),
        /// Text.
        #[prost(string, tag = "6")]
        StringValue(String),
        /// An address.
        #[prost(uint64, tag = "7")]
        PointerValue(u64),
        /// JSON text.
        #[prost(string, tag = "9")]
        LegacyJsonValue(String),
        /// Interned text.
        #[prost(uint64, tag = "17")]
        StringValueIid(u64),
    }
}

/// A call stack written out, outermost first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InlineCallstack {
    /// Its frames.
    #[prost(message, repeated, tag = "1")]
    pub frames: Vec<InlineFrame>,
}

/// A frame of an [`InlineCallstack`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct InlineFrame {
    /// Function.
    #[prost(string, optional, tag = "1")]
    pub function_name: Option<String>,
    /// File.
    #[prost(string, optional, tag = "2")]
    pub source_file: Option<String>,
    /// Line.
    #[prost(uint32, optional, tag = "3")]
    pub line_number: Option<u32>,
}
