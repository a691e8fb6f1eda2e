//! Samples of call stacks.

use crate::InlineCallstack;

/// A sample of a call stack.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PerfSample {
    /// Core.
    #[prost(uint32, optional, tag = "1")]
    pub cpu: Option<u32>,
    /// Process.
    #[prost(uint32, optional, tag = "2")]
    pub pid: Option<u32>,
    /// Thread.
    #[prost(uint32, optional, tag = "3")]
    pub tid: Option<u32>,
    /// Id of the interned call stack.
    #[prost(uint64, optional, tag = "4")]
    pub callstack_iid: Option<u64>,
    /// Value of the counter that samples count by.
    #[prost(uint64, optional, tag = "6")]
    pub timebase_count: Option<u64>,
    /// Records that the kernel lost before this one.
    #[prost(uint64, optional, tag = "17")]
    pub kernel_records_lost: Option<u64>,
}

/// Defaults for [`PerfSample`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct PerfSampleDefaults {
    /// What samples count by.
    #[prost(message, optional, tag = "1")]
    pub timebase: Option<Timebase>,
}

/// What samples count by.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Timebase {
    /// Samples a second.
    #[prost(uint64, optional, tag = "2")]
    pub frequency: Option<u64>,
    /// Events a sample.
    #[prost(uint64, optional, tag = "1")]
    pub period: Option<u64>,
    /// Its name.
    #[prost(string, optional, tag = "10")]
    pub name: Option<String>,
}

/// A sample of a call stack, newer form.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StackSample {
    /// Thread.
    #[prost(oneof = "stack_sample::TaskContextField", tags = "1, 2")]
    pub task_context_field: Option<stack_sample::TaskContextField>,
    /// Call stack.
    #[prost(oneof = "stack_sample::CallstackField", tags = "5, 6")]
    pub callstack_field: Option<stack_sample::CallstackField>,
    /// How much the sample stands for.
    #[prost(uint64, optional, tag = "11")]
    pub primary_weight: Option<u64>,
}

/// Alternatives in a [`StackSample`].
pub mod stack_sample {
    use super::{InlineCallstack, TaskContext};

    /// Thread.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
    pub enum TaskContextField {
        /// Written out.
        #[prost(message, tag = "1")]
        TaskContext(TaskContext),
        /// Interned.
        #[prost(uint64, tag = "2")]
        TaskContextIid(u64),
    }

    /// Call stack.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum CallstackField {
        /// Written out.
        #[prost(message, tag = "5")]
        Callstack(InlineCallstack),
        /// Interned.
        #[prost(uint64, tag = "6")]
        CallstackIid(u64),
    }
}

/// Thread of a sample.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TaskContext {
    /// Its id on the sequence, where it is interned.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// Process.
    #[prost(uint32, optional, tag = "2")]
    pub pid: Option<u32>,
    /// Thread.
    #[prost(uint32, optional, tag = "3")]
    pub tid: Option<u32>,
}
