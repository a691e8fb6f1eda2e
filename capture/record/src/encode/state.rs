//! What a recording that is taken up again must know beyond the packets of its events. Written in fields that other
//! readers skip, beside how far the rings were read.

use std::collections::BTreeMap;

use gapless_ring::layout::Record;
use gapless_ring::reader::extra_bytes;
use perfetto_proto::wire::Writer;

use super::lanes::Lanes;
use super::open::{Open, OpenRanges};

/// Packet field, of any number of messages: what a recording that is taken up again must know. Each message has the
/// fields 1 and 2 (how far a ring is in the file: its serial, slots read) or one of the fields below.
pub const STATE_FIELD: u32 = 4790;
/// In [`STATE_FIELD`]: the ranges of a thread that are open.
pub const OPEN: u32 = 3;
/// In [`STATE_FIELD`]: a range that is open and may end on any thread.
pub const LANE: u32 = 4;
/// In [`STATE_FIELD`]: an end that was read before its begin.
pub const ENDED: u32 = 5;
/// In [`STATE_FIELD`]: slots of a thread that were read and whose event is not written yet.
pub const HELD: u32 = 6;
/// In [`STATE_FIELD`]: what describes payloads, said once.
pub const SCHEMA: u32 = 7;

/// In [`STATE_FIELD`]: the latest time of a thread. Another recorder converts ticks a few nanoseconds differently, and the
/// end of a range must not lie before its begin.
pub const LATEST: u32 = 8;

/// Writes one of the fields of [`STATE_FIELD`].
pub(super) fn write(field: u32, out: &mut Writer, fill: impl FnOnce(&mut Writer)) {
    out.message(STATE_FIELD, |out| out.message(field, fill));
}

/// The state of a recording at its last write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Tracks that are declared.
    pub tracks: Vec<u64>,
    /// Open ranges by the track of their thread.
    pub open: Vec<(u64, Vec<OpenRun>)>,
    /// Id, domain and lane of open ranges that may end on any thread.
    pub lanes: Vec<(u64, u32, u64)>,
    /// Id and time in ns of ends that were read before their begins.
    pub ended: Vec<(u64, i64)>,
    /// Slots whose event is not written: serial and id of the thread, bytes.
    pub held: Vec<(u64, u32, Vec<u8>)>,
    /// The latest time in ns of each thread, by its track.
    pub latest: BTreeMap<u64, i64>,
    /// What describes payloads: domain, key, text.
    pub schemas: Vec<(u32, String, Vec<u8>)>,
}

/// Ranges of a thread that are open, that follow one another and are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenRun {
    /// Domain, a string's number.
    pub domain: u32,
    /// Whether they lie on the track of their domain.
    pub is_apart: bool,
    /// When they ended, where their ends wait for what lies inside.
    pub ended_ns: Option<i64>,
    /// How many.
    pub count: u64,
}

impl OpenRun {
    fn of(open: &Open) -> OpenRun {
        OpenRun { domain: open.begin.domain, is_apart: open.is_apart, ended_ns: open.ended_ns, count: 1 }
    }
}

/// Most ranges that are taken up of one thread: a damaged file may claim any number.
const MOST_OPEN: u64 = 1 << 20;

/// Puts ranges back that were open.
pub(super) fn restore(runs: &[OpenRun], ranges: &mut OpenRanges) {
    let mut left = MOST_OPEN;
    for run in runs {
        if run.is_apart || run.ended_ns.is_some() {
            ranges.set_apart(run.domain);
        }
        let count = run.count.min(left);
        left -= count;
        for _ in 0..count {
            ranges.push(Open::unknown(run.domain, run.is_apart, run.ended_ns));
        }
    }
}

/// Writes the open ranges of the thread with this track.
pub(super) fn write_open(track: u64, ranges: &OpenRanges, out: &mut Writer) {
    let mut all = ranges.iter().map(OpenRun::of).peekable();
    if all.peek().is_none() {
        return;
    }
    write(OPEN, out, |out| {
        out.uint(1, track);
        while let Some(mut run) = all.next() {
            while let Some(same) = all.next_if(|next| OpenRun { count: run.count, ..*next } == run) {
                run.count += same.count;
            }
            out.message(2, |out| {
                out.uint(1, u64::from(run.domain));
                out.uint(2, u64::from(run.is_apart));
                if let Some(ended_ns) = run.ended_ns {
                    out.int(3, ended_ns);
                }
                out.uint(4, run.count);
            });
        }
    });
}

/// Writes the open ranges that may end on any thread, and ends whose begins may still come.
pub(super) fn write_lanes(lanes: &mut Lanes, out: &mut Writer) {
    for (id, time_ns) in lanes.take_recent_ends() {
        write(ENDED, out, |out| {
            out.uint(1, id);
            out.int(2, time_ns);
        });
    }
    for (id, taken) in lanes.open() {
        write(LANE, out, |out| {
            out.uint(1, id);
            out.uint(2, u64::from(taken.domain));
            out.uint(3, taken.lane as u64);
        });
    }
}

/// Writes the latest time of the thread with this track.
pub(super) fn write_latest(track: u64, time_ns: i64, out: &mut Writer) {
    write(LATEST, out, |out| {
        out.uint(1, track);
        out.int(2, time_ns);
    });
}

/// Writes slots whose event is not written yet.
pub(super) fn write_held(serial: u64, tid: u32, slots: &[Record], out: &mut Writer) {
    if slots.is_empty() {
        return;
    }
    write(HELD, out, |out| {
        out.uint(1, serial);
        out.uint(2, u64::from(tid));
        out.bytes(3, extra_bytes(slots, u64::MAX));
    });
}

/// The slots of [`HELD_FIELD`]'s bytes.
pub(super) fn slots_of(bytes: &[u8]) -> Vec<Record> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let slot = |bytes: &[u8; 32]| {
        let part = |from: usize, to: usize| number(bytes.get(from..to).unwrap_or_default());
        Record {
            ticks: part(0, 8),
            kind: part(8, 9) as u8,
            class: part(9, 10) as u8,
            extra: part(10, 11) as u8,
            flags: part(11, 12) as u8,
            name: part(12, 16) as u32,
            domain: part(16, 20) as u32,
            category: part(20, 24) as u32,
            payload: part(24, 32),
        }
    };
    bytes.as_chunks::<32>().0.iter().map(slot).collect()
}
