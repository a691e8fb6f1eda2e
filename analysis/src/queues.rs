//! How much work waits in each stream: launched and not yet started.
//!
//! The length grows at the start of a launch and falls at the start of its work on the device. All figures are weighted
//! by the time for which a length holds, from the first launch to the last start. Work whose launch is not in the
//! recording is not counted; a graph counts each piece of its work.

use std::collections::BTreeMap;

use gapless_trace::{Trace, TrackId};
use serde::Serialize;

use crate::work::DeviceWork;

/// Work in the launch queue of one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueRow {
    /// Track of the stream.
    #[serde(serialize_with = "crate::ids::track")]
    pub track: TrackId,
    /// Number of its device, where known.
    pub device: Option<u32>,
    /// Its id in the file.
    pub stream: String,
    /// Work whose launch is known.
    pub device_events: u64,
    /// From the first launch to the last start of work.
    pub observed_ns: i64,
    /// Mean length over that time.
    pub mean_length: f64,
    /// Length not exceeded for half of that time.
    pub median_length: u32,
    /// Length not exceeded for 95 % of that time.
    pub p95_length: u32,
    /// The greatest length.
    pub max_length: u32,
    /// When that length is first reached, in ns.
    pub max_at_ns: i64,
    /// Time in which nothing waits.
    pub empty_ns: i64,
    /// Time in which 1,024 or more wait: about as many as the driver takes before launches block.
    pub full_ns: i64,
}

/// Length from which on launches are taken to block.
const FULL: u32 = 1_024;

pub(crate) fn rows(trace: &Trace, device: &DeviceWork) -> Vec<QueueRow> {
    let mut changes: Vec<Vec<(i64, i32)>> = vec![Vec::new(); device.streams.len()];
    let starts = trace.events().starts();
    for work in &device.work {
        let launched = work.launch().and_then(|launch| starts.get(launch.index()).copied());
        if let (Some(launched), Some(changes)) = (launched, changes.get_mut(work.stream as usize)) {
            // Work that seems to begin before its launch (clocks that disagree) never waits.
            changes.push((launched.min(work.start), 1));
            changes.push((work.start, -1));
        }
    }
    let rows = device.streams.iter().zip(changes).map(|(stream, mut changes)| {
        // Joins before leaves: a length never falls below zero.
        changes.sort_unstable_by_key(|&(at, change)| (at, -change));
        let mut row = QueueRow {
            track: stream.track,
            device: device.devices.get(stream.device as usize).and_then(|device| device.number),
            stream: stream.id.clone(),
            device_events: changes.len() as u64 / 2,
            observed_ns: 0,
            mean_length: 0.0,
            median_length: 0,
            p95_length: 0,
            max_length: 0,
            max_at_ns: 0,
            empty_ns: 0,
            full_ns: 0,
        };
        row.measure(&changes);
        row
    });
    rows.filter(|row| row.device_events > 0).collect()
}

impl QueueRow {
    fn measure(&mut self, changes: &[(i64, i32)]) {
        let mut held: BTreeMap<u32, i64> = BTreeMap::new();
        let mut length = 0_u32;
        for (index, &(at, change)) in changes.iter().enumerate() {
            length = length.saturating_add_signed(change);
            let until = changes.get(index + 1).map_or(at, |next| next.0);
            if until > at {
                let time = held.entry(length).or_default();
                *time = time.saturating_add(until.saturating_sub(at));
                if length > self.max_length {
                    (self.max_length, self.max_at_ns) = (length, at);
                }
            }
        }
        self.observed_ns = held.values().copied().fold(0, i64::saturating_add);
        let weighted: f64 = held.iter().map(|(&length, &ns)| f64::from(length) * ns as f64).sum();
        self.mean_length = if self.observed_ns > 0 { weighted / self.observed_ns as f64 } else { 0.0 };
        self.median_length = self.not_exceeded(&held, 0.5);
        self.p95_length = self.not_exceeded(&held, 0.95);
        self.empty_ns = held.get(&0).copied().unwrap_or_default();
        self.full_ns = held.range(FULL..).map(|(_, &ns)| ns).fold(0, i64::saturating_add);
    }

    /// The least length that is not exceeded for the fraction `q` of the time.
    fn not_exceeded(&self, held: &BTreeMap<u32, i64>, q: f64) -> u32 {
        let mut passed = 0_i64;
        for (&length, &ns) in held {
            passed = passed.saturating_add(ns);
            if passed as f64 >= q * self.observed_ns as f64 {
                return length;
            }
        }
        self.max_length
    }
}
