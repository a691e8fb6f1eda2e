//! Events of the kernel.

/// Events of the kernel on one core.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FtraceEventBundle {
    /// Core.
    #[prost(uint32, optional, tag = "1")]
    pub cpu: Option<u32>,
    /// Its events.
    #[prost(message, repeated, tag = "2")]
    pub event: Vec<FtraceEvent>,
    /// Whether the kernel lost events before these.
    #[prost(bool, optional, tag = "3")]
    pub lost_events: Option<bool>,
    /// Switches and wakings as parallel lists.
    #[prost(message, optional, tag = "4")]
    pub compact_sched: Option<CompactSched>,
}

/// An event of the kernel.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FtraceEvent {
    /// Time in ns.
    #[prost(uint64, optional, tag = "1")]
    pub timestamp: Option<u64>,
    /// Thread that ran.
    #[prost(uint32, optional, tag = "2")]
    pub pid: Option<u32>,
    /// What happened.
    #[prost(oneof = "ftrace_event::Event", tags = "4, 20")]
    pub event: Option<ftrace_event::Event>,
}

/// Alternatives in an [`FtraceEvent`].
pub mod ftrace_event {
    use super::{SchedSwitch, SchedWaking};

    /// What happened.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Event {
        /// The core goes over to another thread.
        #[prost(message, tag = "4")]
        SchedSwitch(SchedSwitch),
        /// A thread is woken.
        #[prost(message, tag = "20")]
        SchedWaking(SchedWaking),
    }
}

/// The core goes over to another thread.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SchedSwitch {
    /// Name of the thread before.
    #[prost(string, optional, tag = "1")]
    pub prev_comm: Option<String>,
    /// The thread before.
    #[prost(int32, optional, tag = "2")]
    pub prev_pid: Option<i32>,
    /// Its priority.
    #[prost(int32, optional, tag = "3")]
    pub prev_prio: Option<i32>,
    /// Why it stopped.
    #[prost(int64, optional, tag = "4")]
    pub prev_state: Option<i64>,
    /// Name of the next thread.
    #[prost(string, optional, tag = "5")]
    pub next_comm: Option<String>,
    /// The next thread; 0 for none.
    #[prost(int32, optional, tag = "6")]
    pub next_pid: Option<i32>,
    /// Its priority.
    #[prost(int32, optional, tag = "7")]
    pub next_prio: Option<i32>,
}

/// A thread is woken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SchedWaking {
    /// Its name.
    #[prost(string, optional, tag = "1")]
    pub comm: Option<String>,
    /// The thread.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

/// Switches and wakings as parallel lists; times are differences.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompactSched {
    /// Times of switches.
    #[prost(uint64, repeated, tag = "1")]
    pub switch_timestamp: Vec<u64>,
    /// Why the threads before stopped.
    #[prost(int64, repeated, tag = "2")]
    pub switch_prev_state: Vec<i64>,
    /// Next threads.
    #[prost(int32, repeated, tag = "3")]
    pub switch_next_pid: Vec<i32>,
    /// Their priorities.
    #[prost(int32, repeated, tag = "4")]
    pub switch_next_prio: Vec<i32>,
    /// Names.
    #[prost(string, repeated, tag = "5")]
    pub intern_table: Vec<String>,
    /// Places of the next threads' names in the list of names.
    #[prost(uint32, repeated, tag = "6")]
    pub switch_next_comm_index: Vec<u32>,
    /// Times of wakings.
    #[prost(uint64, repeated, tag = "7")]
    pub waking_timestamp: Vec<u64>,
    /// Threads that are woken.
    #[prost(int32, repeated, tag = "8")]
    pub waking_pid: Vec<i32>,
}
