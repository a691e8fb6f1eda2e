//! Samples of call stacks.

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
