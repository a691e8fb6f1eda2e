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
    /// Whether the sequence begins, varint.
    pub const FIRST_PACKET_ON_SEQUENCE: u32 = 87;
}

/// [`TrackEvent`](crate::TrackEvent).
pub mod track_event {
    /// Interned category, varint.
    pub const CATEGORY_IIDS: u32 = 3;
    /// [`DebugAnnotation`](crate::DebugAnnotation).
    pub const DEBUG_ANNOTATIONS: u32 = 4;
    /// [`EventType`](crate::EventType), varint.
    pub const TYPE: u32 = 9;
    /// Interned name, varint.
    pub const NAME_IID: u32 = 10;
    /// Track, varint.
    pub const TRACK_UUID: u32 = 11;
    /// Category written out, text.
    pub const CATEGORIES: u32 = 22;
    /// Name written out, text.
    pub const NAME: u32 = 23;
    /// Whole value of a counter, varint.
    pub const COUNTER_VALUE: u32 = 30;
    /// Value of a counter, double.
    pub const DOUBLE_COUNTER_VALUE: u32 = 44;
    /// Flow, fixed64.
    pub const FLOW_IDS: u32 = 47;
    /// Flow that ends, fixed64.
    pub const TERMINATING_FLOW_IDS: u32 = 48;
    /// Interned call stack, varint.
    pub const CALLSTACK_IID: u32 = 56;
    /// What the call stack stands for, double.
    pub const CALLSTACK_WEIGHT: u32 = 57;
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
