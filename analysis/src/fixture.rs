//! Small traces made by hand.

use gapless_trace::{
    ArgsLoc, BuildOptions, CollectiveArgs, EventId, EventKind, RawChunk, RawId, Source, Trace, TracePart, TrackKind,
};

/// Correlation id of events that have none.
pub const NO_ID: u32 = u32::MAX;

/// Makes the trace of one rank event by event; times in ns.
pub struct Fixture {
    chunk: RawChunk,
    rank: u32,
}

/// Process id of the host.
const HOST: i64 = 4711;

impl Fixture {
    pub fn new() -> Self {
        Self::of_rank(0)
    }

    pub fn of_rank(rank: u32) -> Self {
        Self { chunk: RawChunk::default(), rank }
    }

    fn push(&mut self, track: (TrackKind, i64, i64), kind: EventKind, name: &str, time: (i64, i64), id: u32) -> u32 {
        let track = self.chunk.track(track.0, RawId::Int(track.1), RawId::Int(track.2));
        let name = self.chunk.strings.intern(name);
        let category = self.chunk.strings.intern(kind.id());
        let (start, end) = time;
        self.chunk.push(start, end.saturating_sub(start), name, category, kind, track, id, NO_ID, ArgsLoc::NONE);
        self.chunk.len() as u32 - 1
    }

    /// An event from `time.0` to `time.1` on CPU thread `tid`.
    pub fn host(&mut self, tid: i64, kind: EventKind, name: &str, time: (i64, i64), correlation: u32) -> u32 {
        self.push((TrackKind::Thread, HOST, tid), kind, name, time, correlation)
    }

    /// An event from `time.0` to `time.1` on a stream of a device.
    pub fn device(&mut self, at: (i64, i64), kind: EventKind, name: &str, time: (i64, i64), correlation: u32) -> u32 {
        self.push((TrackKind::Stream, at.0, at.1), kind, name, time, correlation)
    }

    /// A kernel on stream 7 of device 0 without launch.
    pub fn kernel(&mut self, name: &str, time: (i64, i64)) -> u32 {
        self.device((0, 7), EventKind::Kernel, name, time, NO_ID)
    }

    /// A launch at `launch` and its kernel at `time`, on a stream of device 0.
    pub fn launched(&mut self, stream: i64, launch: (i64, i64), time: (i64, i64), correlation: u32) {
        self.host(1, EventKind::RuntimeCall, "cudaLaunchKernel", launch, correlation);
        self.device((0, stream), EventKind::Kernel, "gemm", time, correlation);
    }

    /// A synchronisation mark on a stream.
    pub fn sync(&mut self, stream: i64, name: &str, time: (i64, i64)) {
        self.push((TrackKind::StreamSyncs, 0, stream), EventKind::DeviceSync, name, time, NO_ID);
    }

    pub fn bytes(&mut self, event: u32, bytes: u64) {
        self.chunk.copy_bytes.push((event, bytes));
    }

    /// Arguments of a collective over `group_size` ranks.
    pub fn collective(&mut self, event: u32, name: &str, dtype: &str, elems: (u64, u64), group_size: u32) {
        let mut intern = |text: &str| self.chunk.strings.intern(text);
        let args = CollectiveArgs {
            event,
            name: intern(name),
            dtype: intern(dtype),
            group: intern("0"),
            group_desc: intern("default_pg"),
            in_elems: Some(elems.0),
            out_elems: Some(elems.1),
            group_size: Some(group_size),
            seq: None,
        };
        self.chunk.collectives.push(args);
    }

    fn into_part(self) -> TracePart {
        let path = format!("rank{}.json", self.rank);
        let source = Source { path, format: "made by hand".to_owned(), ..Source::default() };
        let mut part = TracePart::new(source);
        part.info.rank = Some(self.rank);
        part.chunks.push(self.chunk);
        part
    }

    pub fn trace(self) -> Trace {
        Self::traces(vec![self])
    }

    pub fn traces(ranks: Vec<Self>) -> Trace {
        let parts = ranks.into_iter().map(Self::into_part).collect();
        Trace::from_parts(parts, &BuildOptions::default()).expect("a small trace builds")
    }
}

/// The only event of this name.
pub fn find(trace: &Trace, name: &str) -> EventId {
    let mut found = (0..trace.events().len() as u32).map(EventId).filter(|&id| trace.name(id) == name);
    let first = found.next().expect("an event of this name");
    assert!(found.next().is_none(), "two events are called {name}");
    first
}
