//! What blocking calls and streams wait for.
//!
//! With synchronisation rows (`cuda_sync`) the stream and the recording of the event are known: by correlation id,
//! never by the event's handle, since handles are used again. Without rows a blocking call waits for the last work that
//! was launched before it and ended in it.

use gapless_trace::{Args, EventId, ProcessId, Trace};
use rustc_hash::FxHashMap;

use super::anchors::Call;
use super::api::Api;
use super::constants::Lookup;
use super::device::{Stream, Work, latest_ends};
use super::{Evidence, GraphOptions, NodeKind};

/// Work or a marker on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Work(usize),
    Marker(usize),
}

/// A call that waits for the device.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    pub call: usize,
    pub targets: Vec<Item>,
    pub evidence: Evidence,
}

/// Where a stream records an event, or waits for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub call: usize,
    pub stream: u32,
    /// How much work of the stream was submitted before it.
    pub position: usize,
    /// When it was submitted.
    pub submitted: i64,
    /// The recording that it waits for, as a place in the markers.
    pub source: Option<usize>,
    pub node: u32,
}

impl Marker {
    pub const fn kind(&self) -> NodeKind {
        if self.source.is_some() { NodeKind::Wait } else { NodeKind::Record }
    }
}

/// All waits of a rank.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    pub blocking: Vec<Blocking>,
    /// In order of submission.
    pub markers: Vec<Marker>,
    /// Calls by which a stream waits for an event that the recording does not name, by thread and time.
    pub unknown: Vec<(u32, i64)>,
}

/// How long after the end of work a call that waited for it may be said to return before: rounding of old traces.
const ROUNDING_NS: i64 = 1_000;
/// A copy whose call is shorter may have ended in it by chance.
const LONG_CALL_NS: i64 = 20_000;
/// An allocation that waited for work returns soon after it.
const SOON_NS: i64 = 50_000;

struct Search<'a> {
    streams: &'a [Stream],
    work: &'a [Work],
    /// Places of work by end.
    by_end: Vec<u32>,
    /// For each piece of work the one on its stream that ends last up to it.
    latest: Vec<u32>,
}

impl Search<'_> {
    /// How much work of a stream was submitted before `at`.
    fn submitted_before(&self, stream: u32, at: i64) -> usize {
        let own = self.streams.get(stream as usize).and_then(|stream| self.work.get(stream.work.clone()));
        own.map_or(0, |own| own.partition_point(|work| work.submitted < at))
    }

    /// The last thing on a stream that was submitted before `at`.
    fn last_before(&self, stream: u32, at: i64, markers: &[Marker]) -> Option<Item> {
        let count = self.submitted_before(stream, at);
        let of_stream = |marker: &&(usize, &Marker)| marker.1.stream == stream && marker.1.submitted < at;
        let up_to = markers.partition_point(|marker| marker.submitted < at);
        let before = markers.get(..up_to).unwrap_or_default();
        // Markers are few between two pieces of work; the last of the stream decides.
        let enumerated: Option<(usize, &Marker)> = before.iter().enumerate().rev().take(4_096).find(|m| of_stream(&m));
        if let Some((place, marker)) = enumerated
            && marker.position == count
        {
            return Some(Item::Marker(place));
        }
        let first = self.streams.get(stream as usize)?.work.start;
        let place = first + count.checked_sub(1)?;
        Some(Item::Work(*self.latest.get(place)? as usize))
    }

    /// The work that ended last in `(from, to]` of what was submitted before `before`.
    fn last_ended(&self, from: i64, to: i64, before: i64) -> Option<usize> {
        let at = |place: u32| self.work.get(place as usize);
        let count = self.by_end.partition_point(|&place| at(place).is_some_and(|work| work.end <= to));
        let ended = self.by_end.get(..count)?.iter().rev();
        let mut ended = ended.take_while(|&&place| at(place).is_some_and(|work| work.end >= from));
        ended.find(|&&place| at(place).is_some_and(|work| work.submitted < before)).map(|&place| place as usize)
    }

    fn stream(&self, device: Option<ProcessId>, number: i64) -> Option<u32> {
        let fits =
            |stream: &Stream| stream.number == Some(number) && device.is_none_or(|device| device == stream.device);
        self.streams.iter().position(fits).map(|place| place as u32)
    }
}

fn int(args: &Args, name: &str) -> Option<i64> {
    args.iter().find(|(key, _)| key == name)?.1.as_i64()
}

/// Finds all waits of a rank; says of each call whether it blocks.
///
/// `rows`: for calls the synchronisation row that is linked to them, by call.
pub(crate) fn resolve(
    trace: &Trace,
    streams: &[Stream],
    work: &[Work],
    calls: &mut [Call],
    rows: &[(usize, EventId)],
    limits: &GraphOptions,
    lookup: &mut Lookup,
) -> Waits {
    let mut by_end: Vec<u32> = (0..work.len() as u32).collect();
    by_end.sort_unstable_by_key(|&place| work.get(place as usize).map(|work| (work.end, work.event)));
    let search = Search { streams, work, by_end, latest: latest_ends(streams, work) };
    let mut waits = Waits::default();
    place_markers(trace, &search, calls, rows, &mut waits);

    let row_of = |call: usize| {
        let place = rows.binary_search_by_key(&call, |row| row.0).ok()?;
        rows.get(place).map(|row| row.1)
    };
    let record_of = records(trace, calls);
    let mut costs: FxHashMap<gapless_trace::StrId, Vec<i64>> = FxHashMap::default();
    let mut returns: Vec<(gapless_trace::StrId, i64)> = Vec::new();
    for place in 0..calls.len() {
        let Some(&call) = calls.get(place) else { break };
        let (targets, evidence) = match call.api {
            Api::Copy => (own_copy(trace, &search, &call, place), Evidence::Inferred),
            Api::StreamSync | Api::EventSync | Api::DeviceSync => {
                let known = row_of(place)
                    .map(|row| of_row(trace, &search, row, &call, calls, &record_of, &waits.markers))
                    .unwrap_or_default();
                if !known.is_empty() {
                    (known, Evidence::Exact)
                } else if call.api == Api::DeviceSync {
                    (all_streams(&search, &call, None, &waits.markers), Evidence::Exact)
                } else {
                    let last = search.last_ended(call.start, call.end + ROUNDING_NS, call.start);
                    (last.map(Item::Work).into_iter().collect(), Evidence::Inferred)
                }
            }
            Api::Memory if call.end - call.start >= LONG_CALL_NS => {
                let last = search.last_ended(call.start.max(call.end - SOON_NS), call.end + ROUNDING_NS, call.start);
                (last.map(Item::Work).into_iter().collect(), Evidence::Inferred)
            }
            _ => continue,
        };
        let end_of = |item: &Item| match item {
            Item::Work(place) => work.get(*place).map(|work| work.end),
            Item::Marker(_) => None,
        };
        let last = targets.iter().filter_map(end_of).max();
        let waited = last.is_some_and(|last| last > call.start);
        if waited {
            let rest = last.map(|last| call.end.saturating_sub(last)).filter(|&rest| rest >= 0);
            returns.extend(rest.map(|rest| (call.name, rest)));
        } else if call.api.is_sync() && last.is_none_or(|last| last < call.start - LONG_CALL_NS) {
            costs.entry(call.name).or_default().push(call.end.saturating_sub(call.start));
        }
        if call.api.is_sync() || !targets.is_empty() {
            if let Some(call) = calls.get_mut(place) {
                call.blocks = Some(0);
            }
            waits.blocking.push(Blocking { call: place, targets, evidence });
        }
    }
    lookup.learn_returns(&returns, limits);
    lookup.learn_costs(costs);
    for call in calls.iter_mut() {
        if call.blocks.is_some() {
            call.blocks = Some(lookup.call_cost(call.name));
        }
    }
    waits
}

/// Calls that record events, by correlation id.
fn records(trace: &Trace, calls: &[Call]) -> FxHashMap<u32, usize> {
    let recording = calls.iter().enumerate().filter(|(_, call)| call.api == Api::RecordEvent);
    recording.filter_map(|(place, call)| Some((trace.event(EventId(call.event)).correlation?, place))).collect()
}

/// The stream and the recording that a row of an event names.
fn event_of(
    trace: &Trace,
    search: &Search<'_>,
    row: EventId,
    record_of: &FxHashMap<u32, usize>,
) -> Option<(u32, usize)> {
    let args = trace.args(row).ok()?;
    let record = u32::try_from(int(&args, "wait_on_cuda_event_record_corr_id")?).ok()?;
    let device = trace.track_of(row).map(|(_, track)| track.process);
    let stream = search.stream(device, int(&args, "wait_on_stream")?)?;
    Some((stream, *record_of.get(&record)?))
}

/// Markers for all waits of streams whose row names the recording.
fn place_markers(trace: &Trace, search: &Search<'_>, calls: &mut [Call], rows: &[(usize, EventId)], waits: &mut Waits) {
    let record_of = records(trace, calls);
    // (submitted, call, stream, call that recorded)
    let mut found: Vec<(i64, usize, u32, Option<usize>)> = Vec::new();
    let mut recorded: FxHashMap<usize, u32> = FxHashMap::default();
    for (place, call) in calls.iter().enumerate().filter(|(_, call)| call.api == Api::WaitEvent) {
        let known = rows.binary_search_by_key(&place, |row| row.0).ok().and_then(|index| rows.get(index));
        let resolved = known.and_then(|&(_, row)| {
            let (_, track) = trace.track_of(row)?;
            let waiting = search.stream(Some(track.process), track.stream()?)?;
            let (stream, record) = event_of(trace, search, row, &record_of)?;
            let before = calls.get(record)?.start < call.start;
            before.then_some((waiting, stream, record))
        });
        match resolved {
            // A stream that waits for itself waits for nothing.
            Some((waiting, stream, _)) if waiting == stream => {}
            Some((waiting, stream, record)) => {
                found.push((call.start, place, waiting, Some(record)));
                recorded.insert(record, stream);
            }
            None => waits.unknown.push((call.thread, call.start)),
        }
    }
    let mut recorded: Vec<(usize, u32)> = recorded.into_iter().collect();
    recorded.sort_unstable();
    for (record, stream) in recorded {
        let at = calls.get(record).map_or(0, |call| call.start);
        found.push((at, record, stream, None));
    }
    found.sort_unstable();
    let mut place_of: FxHashMap<usize, usize> = FxHashMap::default();
    for (submitted, call, stream, record) in found {
        let source = record.and_then(|record| place_of.get(&record).copied());
        if record.is_some() && source.is_none() {
            continue;
        }
        if record.is_none() {
            place_of.insert(call, waits.markers.len());
        }
        if let Some(call) = calls.get_mut(call) {
            call.has_marker = true;
        }
        let position = search.submitted_before(stream, submitted);
        waits.markers.push(Marker { call, stream, position, submitted, source, node: super::NONE });
    }
    waits.unknown.sort_unstable();
}

/// What a synchronisation row says that a call waits for.
fn of_row(
    trace: &Trace,
    search: &Search<'_>,
    row: EventId,
    call: &Call,
    calls: &[Call],
    record_of: &FxHashMap<u32, usize>,
    markers: &[Marker],
) -> Vec<Item> {
    let name = trace.name(row);
    let track = trace.track_of(row).map(|(_, track)| track);
    if name.contains("Event Sync") {
        let event = event_of(trace, search, row, record_of);
        let at = event.and_then(|(stream, record)| Some((stream, calls.get(record)?.start)));
        at.and_then(|(stream, at)| search.last_before(stream, at, markers)).into_iter().collect()
    } else if name.contains("Stream Sync") {
        let stream = track.and_then(|track| search.stream(Some(track.process), track.stream()?));
        stream.and_then(|stream| search.last_before(stream, call.start, markers)).into_iter().collect()
    } else if name.contains("Context Sync") {
        all_streams(search, call, track.map(|track| track.process), markers)
    } else {
        Vec::new()
    }
}

/// The last thing of every stream, of one device if known.
fn all_streams(search: &Search<'_>, call: &Call, device: Option<ProcessId>, markers: &[Marker]) -> Vec<Item> {
    let known = device.filter(|device| search.streams.iter().any(|stream| stream.device == *device));
    let streams = search.streams.iter().enumerate();
    let streams = streams.filter(|(_, stream)| known.is_none_or(|device| device == stream.device));
    let last = streams.filter_map(|(place, _)| search.last_before(place as u32, call.start, markers));
    let done = |item: &Item| match item {
        Item::Work(place) => search.work.get(*place).is_some_and(|work| work.end <= call.end + 2 * ROUNDING_NS),
        Item::Marker(_) => true,
    };
    // Work that runs on was not waited for: the call was for another device.
    last.filter(done).collect()
}

/// The copy that a call made and waited for.
fn own_copy(trace: &Trace, search: &Search<'_>, call: &Call, place: usize) -> Vec<Item> {
    if !call.launches {
        return Vec::new();
    }
    // Of the work that ends in the call, the one that the call launched.
    let at = |place: u32| search.work.get(place as usize);
    let to = call.end + ROUNDING_NS;
    let count = search.by_end.partition_point(|&place| at(place).is_some_and(|work| work.end <= to));
    let ended = search.by_end.get(..count).unwrap_or_default().iter().rev();
    let mut ended = ended.take_while(|&&place| at(place).is_some_and(|work| work.end >= call.start));
    let own = ended.find(|&&candidate| at(candidate).is_some_and(|work| work.call as usize == place));
    let Some(&own) = own else { return Vec::new() };
    let waits_by_name = at(own).is_some_and(|work| trace.text(work.name).contains("Pageable"))
        || trace.text(call.name).contains("WithStream")
        || !trace.text(call.name).contains("Async");
    if waits_by_name || call.end - call.start >= LONG_CALL_NS { vec![Item::Work(own as usize)] } else { Vec::new() }
}
