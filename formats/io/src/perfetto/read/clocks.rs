//! Clocks: which reading of one is which time of the trace.
//!
//! Snapshots read several clocks at one moment. A time between two snapshots is counted from the earlier one, a time
//! before the first from the first.

use rustc_hash::FxHashMap;

use crate::protobuf::Fields;

/// Times further from zero than this are no times: sums of two still fit 64 bits.
pub(super) const FARTHEST_NS: i64 = 1 << 62;
/// The clock of a trace that names none.
pub(super) const BOOTTIME: u32 = 6;
/// Unix time.
const REALTIME: u32 = 1;
/// What older time stamps count on.
pub(super) const MONOTONIC: u32 = 3;

/// A clock: those from 64 to 127 belong to one sequence, all others to the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClockKey(u64);

impl ClockKey {
    /// The clock that packets of the sequence at place `sequence` call `id`.
    pub fn new(id: u32, sequence: u32) -> Self {
        let scope = if (64..128).contains(&id) { u64::from(sequence) + 1 } else { 0 };
        Self(scope << 32 | u64::from(id))
    }
}

#[derive(Debug)]
struct Clock {
    unit_ns: u64,
    /// Where times of the clock count from the one before: the last one in ns.
    incremental: Option<i64>,
    /// (reading, what is added from there on), ascending.
    deltas: Vec<(i64, i64)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { unit_ns: 1, incremental: None, deltas: Vec::new() }
    }
}

/// All clocks of the trace.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    clocks: FxHashMap<ClockKey, Clock>,
    /// The clock that all are brought to, once a snapshot was seen.
    primary: Option<u32>,
    /// Snapshots none of whose clocks is related to the primary one yet.
    unrelated: Vec<Vec<(ClockKey, i64)>>,
    /// Unix time minus trace time, where a snapshot says it.
    unix_delta_ns: Option<i64>,
    has_incremental: bool,
}

/// A stretch of a clock's readings with what is added to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub from: i64,
    pub to: i64,
    pub delta: i64,
}

/// Snapshots that are kept until they can be related.
const MOST_UNRELATED: usize = 1024;

impl Clocks {
    /// Whether a packet that calls its clock `id` (`None`: the trace's own) is on the trace's clock.
    pub fn is_primary(&self, id: Option<u32>) -> bool {
        id.is_none_or(|id| id == self.primary.unwrap_or(BOOTTIME))
    }

    /// Whether any clock counts from one packet to the next.
    pub fn has_incremental(&self) -> bool {
        self.has_incremental
    }

    /// Unix time minus trace time.
    pub fn unix_delta_ns(&self) -> Option<i64> {
        self.unix_delta_ns
    }

    /// Reads the snapshot in `message`, from the sequence at place `sequence`.
    pub fn snapshot(&mut self, message: &[u8], sequence: u32) {
        let mut readings: Vec<(ClockKey, i64)> = Vec::new();
        let (mut primary, mut unix) = (None, None);
        for field in Fields::new(message) {
            match field.number {
                1 => {
                    let Some(entry) = field.bytes() else { continue };
                    let (mut id, mut reading, mut is_incremental, mut unit) = (0u32, 0u64, false, 1u64);
                    for field in Fields::new(entry) {
                        let Some(value) = field.uint() else { continue };
                        match field.number {
                            1 => id = value as u32,
                            2 => reading = value,
                            3 => is_incremental = value != 0,
                            4 => unit = value.max(1),
                            _ => {}
                        }
                    }
                    let Some(ns) = nanoseconds(reading, unit) else { continue };
                    let key = ClockKey::new(id, sequence);
                    let clock = self.clocks.entry(key).or_default();
                    clock.unit_ns = unit;
                    clock.incremental = is_incremental.then_some(ns);
                    self.has_incremental |= is_incremental;
                    if id == REALTIME {
                        unix = Some(ns);
                    }
                    readings.push((key, ns));
                }
                2 => primary = field.uint().map(|id| id as u32).filter(|&id| id != 0),
                _ => {}
            }
        }
        let primary = *self.primary.get_or_insert(primary.unwrap_or(BOOTTIME));
        let own = ClockKey::new(primary, sequence);
        if let Some(clock) = self.clocks.get_mut(&own)
            && clock.deltas.is_empty()
        {
            clock.deltas.push((i64::MIN, 0));
        }
        if self.relate(&readings) {
            let mut waiting = std::mem::take(&mut self.unrelated);
            waiting.retain(|readings| !self.relate(readings));
            self.unrelated = waiting;
        } else if self.unrelated.len() < MOST_UNRELATED {
            self.unrelated.push(readings.clone());
        }
        if let (None, Some(unix)) = (self.unix_delta_ns, unix) {
            let now = readings.iter().find(|reading| reading.0 == own).map(|reading| reading.1);
            self.unix_delta_ns = now.and_then(|now| unix.checked_sub(now));
        }
    }

    /// Adds to each clock of a snapshot how it lies to the trace's; false if none of them does yet.
    fn relate(&mut self, readings: &[(ClockKey, i64)]) -> bool {
        let own = ClockKey::new(self.primary.unwrap_or(BOOTTIME), 0);
        let direct = readings.iter().find(|reading| reading.0 == own).map(|reading| reading.1);
        let now = direct.or_else(|| readings.iter().find_map(|&(key, reading)| self.to_trace(key, reading)));
        let Some(now) = now else { return false };
        for &(key, reading) in readings {
            if key == own {
                continue;
            }
            let Some(clock) = self.clocks.get_mut(&key) else { continue };
            let delta = now.saturating_sub(reading);
            // A clock that goes back cannot be searched by reading; the first relation of a reading holds.
            if clock.deltas.last().is_none_or(|&(last, before)| last < reading && before != delta) {
                clock.deltas.push((reading, delta));
            }
        }
        true
    }

    /// The stretch of `key` that holds `ns`; `None` if the clock was never related to the trace's.
    pub fn stretch(&self, key: ClockKey, ns: i64) -> Option<Stretch> {
        let deltas = &self.clocks.get(&key)?.deltas;
        let after = deltas.partition_point(|&(from, _)| from <= ns).max(1);
        let &(from, delta) = deltas.get(after - 1)?;
        let from = if after == 1 { i64::MIN } else { from };
        Some(Stretch { from, to: deltas.get(after).map_or(i64::MAX, |next| next.0), delta })
    }

    /// Trace time of a reading in ns.
    pub fn to_trace(&self, key: ClockKey, ns: i64) -> Option<i64> {
        Some(ns.saturating_add(self.stretch(key, ns)?.delta))
    }

    /// A reading in ns: units applied; `None` if it is too far away.
    pub fn nanoseconds(&self, key: ClockKey, reading: u64) -> Option<i64> {
        nanoseconds(reading, self.clocks.get(&key).map_or(1, |clock| clock.unit_ns))
    }

    /// The reading in ns of a packet of the sequence: counted from the one before, where the clock does.
    pub fn advance(&mut self, key: ClockKey, reading: u64) -> Option<i64> {
        let clock = self.clocks.get_mut(&key)?;
        let ns = nanoseconds(reading, clock.unit_ns)?;
        let Some(last) = &mut clock.incremental else { return Some(ns) };
        let sum = last.checked_add(ns).filter(|sum| *sum <= FARTHEST_NS)?;
        *last = sum;
        Some(sum)
    }
}

fn nanoseconds(reading: u64, unit_ns: u64) -> Option<i64> {
    let ns = i64::try_from(reading.checked_mul(unit_ns)?).ok()?;
    (ns <= FARTHEST_NS).then_some(ns)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use perfetto_proto::{Clock as ClockReading, ClockSnapshot, Message};

    fn snapshot(clocks: &[(u32, u64)], primary: Option<i32>) -> Vec<u8> {
        let clocks = clocks
            .iter()
            .map(|&(id, reading)| ClockReading {
                clock_id: Some(id),
                timestamp: Some(reading),
                ..ClockReading::default()
            })
            .collect();
        ClockSnapshot { clocks, primary_trace_clock: primary }.encode_to_vec()
    }

    #[test]
    fn times_count_from_the_snapshot_before_them() {
        let mut clocks = Clocks::default();
        clocks.snapshot(&snapshot(&[(6, 1_000), (3, 100), (1, 5_000)], None), 0);
        clocks.snapshot(&snapshot(&[(6, 2_000), (3, 1_200)], None), 0);
        let monotonic = ClockKey::new(3, 0);
        assert_eq!(clocks.to_trace(monotonic, 150), Some(1_050));
        assert_eq!(clocks.to_trace(monotonic, 50), Some(950), "before the first: counted from the first");
        assert_eq!(clocks.to_trace(monotonic, 1_250), Some(2_050));
        assert_eq!(clocks.to_trace(ClockKey::new(5, 0), 1), None);
        assert_eq!(clocks.unix_delta_ns(), Some(4_000));
        assert!(clocks.is_primary(None) && clocks.is_primary(Some(6)) && !clocks.is_primary(Some(3)));
    }

    #[test]
    fn a_clock_is_related_through_others() {
        let mut clocks = Clocks::default();
        // Clock 200 is known beside 130 only, and that one beside the trace's later.
        clocks.snapshot(&snapshot(&[(200, 10), (130, 1_000)], None), 0);
        assert_eq!(clocks.to_trace(ClockKey::new(200, 0), 10), None);
        clocks.snapshot(&snapshot(&[(130, 2_000), (6, 50_000)], None), 0);
        assert_eq!(clocks.to_trace(ClockKey::new(200, 0), 11), Some(49_001));
    }

    #[test]
    fn clocks_of_a_sequence_are_its_own_and_count_on() {
        let incremental = |reading, trace| {
            let clock =
                |id, reading| ClockReading { clock_id: Some(id), timestamp: Some(reading), ..Default::default() };
            let own =
                ClockReading { is_incremental: Some(true), unit_multiplier_ns: Some(1_000), ..clock(64, reading) };
            ClockSnapshot { clocks: vec![own, clock(6, trace)], primary_trace_clock: Some(6) }.encode_to_vec()
        };
        let mut clocks = Clocks::default();
        clocks.snapshot(&incremental(5, 1_000_000), 0);
        clocks.snapshot(&incremental(5, 7_000_000), 1);
        let (first, second) = (ClockKey::new(64, 0), ClockKey::new(64, 1));
        assert_eq!(clocks.advance(first, 1), Some(6_000));
        assert_eq!(clocks.advance(first, 2), Some(8_000));
        assert_eq!(clocks.to_trace(first, 8_000), Some(1_003_000));
        assert_eq!(clocks.to_trace(second, 8_000), Some(7_003_000));
        assert_eq!(clocks.advance(first, u64::MAX), None);
        assert_eq!(clocks.advance(ClockKey::new(65, 0), 1), None);
    }
}
