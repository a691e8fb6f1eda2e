//! Process and thread ids of the file.

use gapless_trace::{ProcessId, RankId, RawId, Row, Trace, TrackId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::json::{push_display, push_text};
use super::write::Lanes;

/// Where ids of further ranks begin: above what Linux gives out (`PID_MAX_LIMIT`, 2^22).
const RANK_STRIDE: i64 = 10_000_000;

/// Ids as JSON, by process and by track.
pub(super) struct Places {
    /// Empty for a process without an id.
    pids: Vec<Vec<u8>>,
    /// Empty for a track without an id.
    tids: Vec<Vec<u8>>,
    lanes: Lanes,
}

impl Places {
    /// The ids of `ranks`. Where there are several, an id that two of them have becomes one of its own.
    pub fn new(trace: &Trace, ranks: &[RankId], lanes: Lanes) -> Self {
        let mut owners: FxHashMap<RawId, FxHashSet<RankId>> = FxHashMap::default();
        for process in trace.processes().iter().filter(|process| ranks.contains(&process.rank)) {
            owners.entry(process.pid).or_default().insert(process.rank);
        }
        let pids = trace
            .processes()
            .iter()
            .map(|process| {
                let rank = trace.rank(process.rank).map(gapless_trace::Rank::label).unwrap_or_default();
                let is_shared = owners.get(&process.pid).is_some_and(|owners| owners.len() > 1);
                let stride = RANK_STRIDE.saturating_mul(i64::from(process.rank.0) + 1);
                match process.pid {
                    RawId::Int(pid) if is_shared && (0..RANK_STRIDE).contains(&pid) => int(stride.saturating_add(pid)),
                    RawId::Int(pid) if is_shared => text(&format!("{pid} ({rank})")),
                    RawId::Int(pid) => int(pid),
                    RawId::Text(id) if is_shared => text(&format!("{} ({rank})", trace.text(id))),
                    RawId::Text(id) => text(trace.text(id)),
                    RawId::None if is_shared => text(&rank),
                    RawId::None => Vec::new(),
                }
            })
            .collect();
        let tid = |tid: RawId| match tid {
            RawId::Int(tid) => int(tid),
            RawId::Text(id) => text(trace.text(id)),
            RawId::None => Vec::new(),
        };
        Self { pids, tids: trace.tracks().iter().map(|track| tid(track.tid)).collect(), lanes }
    }

    /// Appends `"pid": 7, `, if there is one.
    pub fn push_pid(&self, process: ProcessId, out: &mut Vec<u8>) {
        push_field(b"\"pid\": ", self.pids.get(process.index()), out);
    }

    /// Appends `"tid": 7, ` of a track, if there is one.
    pub fn push_tid(&self, track: TrackId, out: &mut Vec<u8>) {
        push_field(b"\"tid\": ", self.tids.get(track.index()), out);
    }

    /// The same for an event of `row`.
    pub fn push_tid_of_row(&self, trace: &Trace, row: &Row, out: &mut Vec<u8>) {
        if row.lane == 0 || self.lanes == Lanes::Together {
            return self.push_tid(row.track, out);
        }
        let tid = trace.track(row.track).map(|track| trace.raw_id_text(track.tid)).unwrap_or_default();
        push_field(b"\"tid\": ", Some(&text(&lane_name(&tid, row.lane))), out);
    }
}

/// What a further lane is called.
pub(super) fn lane_name(track: &str, lane: u32) -> String {
    format!("{track} (lane {})", lane + 1)
}

fn push_field(key: &[u8], value: Option<&Vec<u8>>, out: &mut Vec<u8>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        out.extend_from_slice(key);
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

fn int(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    push_display(value, &mut out);
    out
}

fn text(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    push_text(value, &mut out);
    out
}
