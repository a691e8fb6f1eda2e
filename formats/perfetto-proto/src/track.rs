//! Tracks: processes, threads, counters, and tracks below them.

/// A track. Events name it by `uuid`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrackDescriptor {
    /// Its id, unique in the file. 0 is the trace itself.
    #[prost(uint64, optional, tag = "1")]
    pub uuid: Option<u64>,
    /// The track it lies below. Thread tracks join their process by pid instead.
    #[prost(uint64, optional, tag = "5")]
    pub parent_uuid: Option<u64>,
    /// Its name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// Its name, where it is known when the program is built.
    #[prost(string, optional, tag = "10")]
    pub static_name: Option<String>,
    /// Text that explains it.
    #[prost(string, optional, tag = "14")]
    pub description: Option<String>,
    /// Makes it the track of a process.
    #[prost(message, optional, tag = "3")]
    pub process: Option<ProcessDescriptor>,
    /// Makes it the track of a thread.
    #[prost(message, optional, tag = "4")]
    pub thread: Option<ThreadDescriptor>,
    /// Makes it a counter.
    #[prost(message, optional, tag = "8")]
    pub counter: Option<CounterDescriptor>,
    /// Whether it must not share a row with what the kernel says about the thread.
    #[prost(bool, optional, tag = "9")]
    pub disallow_merging_with_system_tracks: Option<bool>,
    /// In which order its children stand.
    #[prost(enumeration = "ChildTracksOrdering", optional, tag = "11")]
    pub child_ordering: Option<i32>,
    /// Its place among its siblings, where the parent's order is explicit.
    #[prost(int32, optional, tag = "12")]
    pub sibling_order_rank: Option<i32>,
    /// Which siblings are shown as one with it.
    #[prost(enumeration = "SiblingMergeBehavior", optional, tag = "15")]
    pub sibling_merge_behavior: Option<i32>,
    /// Key of siblings that are shown as one.
    #[prost(string, optional, tag = "16")]
    pub sibling_merge_key: Option<String>,
    /// The same as a number.
    #[prost(uint64, optional, tag = "17")]
    pub sibling_merge_key_int: Option<u64>,
    /// In which order processes stand; only on the track with uuid 0.
    #[prost(enumeration = "ProcessOrdering", optional, tag = "19")]
    pub process_ordering: Option<i32>,
    /// In which order threads stand; only on the track with uuid 0.
    #[prost(enumeration = "ThreadOrdering", optional, tag = "20")]
    pub thread_ordering: Option<i32>,
}

/// Order of child tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ChildTracksOrdering {
    /// As the viewer likes.
    Unknown = 0,
    /// By name.
    Lexicographic = 1,
    /// By first event.
    Chronological = 2,
    /// By `sibling_order_rank`.
    Explicit = 3,
}

/// Which siblings are shown as one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SiblingMergeBehavior {
    /// Those of the same name.
    Unspecified = 0,
    /// Those of the same name.
    ByTrackName = 1,
    /// None.
    None = 2,
    /// Those of the same key.
    BySiblingMergeKey = 3,
}

/// Order of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ProcessOrdering {
    /// As the viewer likes.
    Unspecified = 0,
    /// As the trace says.
    Explicit = 1,
}

/// Order of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ThreadOrdering {
    /// As the viewer likes.
    Unspecified = 0,
    /// As the trace says.
    Explicit = 1,
}

/// A process.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessDescriptor {
    /// Its id. Required.
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    /// Its command line, word by word.
    #[prost(string, repeated, tag = "2")]
    pub cmdline: Vec<String>,
    /// Its place among the processes.
    #[prost(int32, optional, tag = "3")]
    pub legacy_sort_index: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "6")]
    pub process_name: Option<String>,
    /// When it began.
    #[prost(int64, optional, tag = "7")]
    pub start_timestamp_ns: Option<i64>,
    /// Labels shown beside its name.
    #[prost(string, repeated, tag = "8")]
    pub process_labels: Vec<String>,
}

/// A thread.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ThreadDescriptor {
    /// Its process. Required.
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    /// Its id. Required.
    #[prost(int64, optional, tag = "2")]
    pub tid: Option<i64>,
    /// Its place among the threads.
    #[prost(int32, optional, tag = "3")]
    pub legacy_sort_index: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "5")]
    pub thread_name: Option<String>,
    /// What older delta timestamps count from, in microseconds.
    #[prost(int64, optional, tag = "6")]
    pub reference_timestamp_us: Option<i64>,
}

/// A counter.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CounterDescriptor {
    /// Categories of its values.
    #[prost(string, repeated, tag = "2")]
    pub categories: Vec<String>,
    /// Unit of its values.
    #[prost(enumeration = "CounterUnit", optional, tag = "3")]
    pub unit: Option<i32>,
    /// Factor to be applied to integer values; 1 if not set.
    #[prost(int64, optional, tag = "4")]
    pub unit_multiplier: Option<i64>,
    /// Whether values are differences to the one before on the sequence.
    #[prost(bool, optional, tag = "5")]
    pub is_incremental: Option<bool>,
    /// Unit in words, where `unit` has none that fits.
    #[prost(string, optional, tag = "6")]
    pub unit_name: Option<String>,
    /// Counters with the same key share a vertical axis.
    #[prost(string, optional, tag = "7")]
    pub y_axis_share_key: Option<String>,
}

/// Units of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CounterUnit {
    /// Not said.
    Unspecified = 0,
    /// Nanoseconds.
    TimeNs = 1,
    /// A number of things.
    Count = 2,
    /// Bytes.
    SizeBytes = 3,
}
