//! Strings and structures that packets of a sequence name by id.

use crate::{InternedGpuCounterDescriptor, InternedGpuRenderStageSpecification, InternedGraphicsContext, TaskContext};

/// What a packet adds to the ids of its sequence.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InternedData {
    /// Categories of track events.
    #[prost(message, repeated, tag = "1")]
    pub event_categories: Vec<EventCategory>,
    /// Names of track events.
    #[prost(message, repeated, tag = "2")]
    pub event_names: Vec<EventName>,
    /// Names of annotations.
    #[prost(message, repeated, tag = "3")]
    pub debug_annotation_names: Vec<DebugAnnotationName>,
    /// Lines of the program.
    #[prost(message, repeated, tag = "4")]
    pub source_locations: Vec<SourceLocation>,
    /// Functions of frames.
    #[prost(message, repeated, tag = "5")]
    pub function_names: Vec<InternedString>,
    /// Frames of call stacks.
    #[prost(message, repeated, tag = "6")]
    pub frames: Vec<Frame>,
    /// Call stacks.
    #[prost(message, repeated, tag = "7")]
    pub callstacks: Vec<Callstack>,
    /// Build ids of mappings.
    #[prost(message, repeated, tag = "16")]
    pub build_ids: Vec<InternedString>,
    /// Parts of paths of mappings.
    #[prost(message, repeated, tag = "17")]
    pub mapping_paths: Vec<InternedString>,
    /// Source files of frames.
    #[prost(message, repeated, tag = "18")]
    pub source_paths: Vec<InternedString>,
    /// Mapped files.
    #[prost(message, repeated, tag = "19")]
    pub mappings: Vec<Mapping>,
    /// Contexts of GPU work.
    #[prost(message, repeated, tag = "23")]
    pub graphics_contexts: Vec<InternedGraphicsContext>,
    /// Queues and stages of GPU work.
    #[prost(message, repeated, tag = "24")]
    pub gpu_specifications: Vec<InternedGpuRenderStageSpecification>,
    /// Text values of annotations.
    #[prost(message, repeated, tag = "29")]
    pub debug_annotation_string_values: Vec<InternedString>,
    /// Text correlation ids.
    #[prost(message, repeated, tag = "43")]
    pub correlation_id_str: Vec<InternedString>,
    /// Descriptors of GPU counters.
    #[prost(message, repeated, tag = "47")]
    pub gpu_counter_descriptors: Vec<InternedGpuCounterDescriptor>,
    /// Threads of call-stack samples.
    #[prost(message, repeated, tag = "48")]
    pub stack_sample_task_contexts: Vec<TaskContext>,
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct $name {
            /// Its id on the sequence; never 0.
            #[prost(uint64, optional, tag = "1")]
            pub iid: Option<u64>,
            /// The text.
            #[prost(string, optional, tag = "2")]
            pub name: Option<String>,
        }
    };
}

named!(
    /// A category of track events.
    EventCategory
);
named!(
    /// A name of track events.
    EventName
);
named!(
    /// A name of annotations.
    DebugAnnotationName
);

/// A text that need not be UTF-8.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InternedString {
    /// Its id on the sequence; never 0.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// The text.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub str: Option<Vec<u8>>,
}

/// A line of the program.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SourceLocation {
    /// Its id on the sequence.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// File.
    #[prost(string, optional, tag = "2")]
    pub file_name: Option<String>,
    /// Function.
    #[prost(string, optional, tag = "3")]
    pub function_name: Option<String>,
    /// Line.
    #[prost(uint32, optional, tag = "4")]
    pub line_number: Option<u32>,
}

/// A call stack, outermost frame first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Callstack {
    /// Its id on the sequence.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// Ids of its frames.
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub frame_ids: Vec<u64>,
}

/// A frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Frame {
    /// Its id on the sequence.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// Id of its function.
    #[prost(uint64, optional, tag = "2")]
    pub function_name_id: Option<u64>,
    /// Id of its mapping.
    #[prost(uint64, optional, tag = "3")]
    pub mapping_id: Option<u64>,
    /// Address in the mapping.
    #[prost(uint64, optional, tag = "4")]
    pub rel_pc: Option<u64>,
    /// Id of its source file.
    #[prost(uint64, optional, tag = "5")]
    pub source_path_iid: Option<u64>,
    /// Line.
    #[prost(uint32, optional, tag = "6")]
    pub line_number: Option<u32>,
}

/// A mapped file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mapping {
    /// Its id on the sequence.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// Id of its build id.
    #[prost(uint64, optional, tag = "2")]
    pub build_id: Option<u64>,
    /// Offset in the file.
    #[prost(uint64, optional, tag = "3")]
    pub start_offset: Option<u64>,
    /// First address.
    #[prost(uint64, optional, tag = "4")]
    pub start: Option<u64>,
    /// First address after it.
    #[prost(uint64, optional, tag = "5")]
    pub end: Option<u64>,
    /// Address that the file was linked for.
    #[prost(uint64, optional, tag = "6")]
    pub load_bias: Option<u64>,
    /// Ids of the parts of its path.
    #[prost(uint64, repeated, packed = "false", tag = "7")]
    pub path_string_ids: Vec<u64>,
}
