//! What nodes and edges are.

use serde::Serialize;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum NodeKind {
    /// A thread works between two calls.
    Host,
    /// A thread fetches the next batch (`enumerate(DataLoader)#…__next__`).
    DataLoader,
    /// The interpreter collects garbage.
    Gc,
    /// A call that launches device work.
    Launch,
    /// What a blocking call costs by itself.
    Call,
    /// A blocking call returns; no duration.
    Return,
    /// A step begins or ends; no duration.
    Mark,
    /// A thread hands work to another, takes it, or goes on; no duration.
    HandOff,
    /// An event is recorded on a stream; no duration, not measured.
    Record,
    /// A stream waits for an event; no duration, not measured.
    Wait,
    /// A kernel that computes.
    Kernel,
    /// A copy by the device.
    Copy,
    /// A fill by the device.
    Fill,
    /// A communication kernel begins; no duration.
    Arrival,
    /// All members of a collective have arrived; no duration, not measured.
    Meeting,
    /// A communication kernel waits for ranks that are not in the recording: estimated.
    EstimatedWait,
    /// A collective moves data, once all have arrived.
    Transfer,
}

impl NodeKind {
    /// Whether it happens on a device.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(
            self,
            Self::Record
                | Self::Wait
                | Self::Kernel
                | Self::Copy
                | Self::Fill
                | Self::Arrival
                | Self::Meeting
                | Self::EstimatedWait
                | Self::Transfer
        )
    }

    /// Whether it is work of a device whose start the recording has: kernels, copies, fills, arrivals.
    #[must_use]
    pub const fn is_device_start(self) -> bool {
        matches!(self, Self::Kernel | Self::Copy | Self::Fill | Self::Arrival)
    }

    /// Whether its start is not in the recording but follows from its edges.
    #[must_use]
    pub const fn is_virtual(self) -> bool {
        matches!(self, Self::Record | Self::Wait | Self::Meeting)
    }

    /// Whether it is time of a thread.
    #[must_use]
    pub const fn is_host_work(self) -> bool {
        matches!(self, Self::Host | Self::DataLoader | Self::Gc | Self::Launch | Self::Call)
    }
}

/// Why an edge is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EdgeKind {
    /// A thread does one thing after another.
    ThreadOrder,
    /// Work cannot begin before it is launched.
    Launch,
    /// A stream does one thing after another.
    StreamOrder,
    /// Parts of one graph launch follow one another.
    GraphOrder,
    /// A stream waits for an event of another.
    EventWait,
    /// A call returns when the device has done what it waits for.
    SyncReturn,
    /// A launch returns when the queue has room.
    QueueFull,
    /// A thread goes on when another has done its part.
    HandOff,
    /// A collective goes on when a member has arrived.
    Arrive,
    /// A member moves data once all have arrived.
    Transfer,
}

impl EdgeKind {
    /// Number of kinds.
    pub const COUNT: usize = 10;

    /// All kinds, in declaration order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::ThreadOrder,
        Self::Launch,
        Self::StreamOrder,
        Self::GraphOrder,
        Self::EventWait,
        Self::SyncReturn,
        Self::QueueFull,
        Self::HandOff,
        Self::Arrive,
        Self::Transfer,
    ];

    /// A short name for people, in lower case.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ThreadOrder => "thread order",
            Self::Launch => "launch",
            Self::StreamOrder => "stream order",
            Self::GraphOrder => "graph order",
            Self::EventWait => "event wait",
            Self::SyncReturn => "sync return",
            Self::QueueFull => "queue full",
            Self::HandOff => "hand-off",
            Self::Arrive => "arrival",
            Self::Transfer => "transfer",
        }
    }

    pub(crate) fn of_label(label: u8) -> Self {
        Self::ALL.get(usize::from(label & 0x3f)).copied().unwrap_or(Self::ThreadOrder)
    }
}

/// How sure an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Evidence {
    /// The recording says so, or no machine does otherwise.
    Exact,
    /// It follows from names and times that agree throughout the recording.
    Inferred,
    /// Taken to be so without a sign of it.
    Assumed,
}

impl Evidence {
    pub(crate) const fn of_label(label: u8) -> Self {
        match label >> 6 {
            0 => Self::Exact,
            1 => Self::Inferred,
            _ => Self::Assumed,
        }
    }
}

pub(crate) const fn label_of(kind: EdgeKind, evidence: Evidence) -> u8 {
    (kind as u8) | ((evidence as u8) << 6)
}
