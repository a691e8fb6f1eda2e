//! Batches of work, each encoded on its own.

use std::ops::Range;

use gapless_trace::{CounterId, Event, EventId, RankId, Row, Trace, TrackId};
use rustc_hash::FxHashSet;

use super::event::{Categories, Phase, complete_args};
use super::json::{push_dict, push_display, push_double, push_micros, push_text};
use super::place::Places;
use super::write::WriteOptions;

/// Events, values or arrows in a batch.
const BATCH_LEN: usize = 4096;
/// Children that are looked at for a moment at which an event is the innermost one.
const CHILDREN_LOOKED_AT: usize = 256;
/// Flow ids from here up are made up; below are correlation ids.
const MADE_UP_IDS_FROM: u64 = 1 << 40;
/// The same for arrows that are no launches.
const FLOW_IDS_FROM: u64 = 1 << 41;

/// What all batches share.
pub(super) struct Context<'t> {
    pub trace: &'t Trace,
    pub options: WriteOptions,
    pub ranks: FxHashSet<RankId>,
    pub places: Places,
    pub categories: Categories,
    /// What the times of the file count from, in ns.
    pub base_ns: i64,
}

/// A piece of work.
#[derive(Clone, Debug)]
pub(super) enum Batch {
    /// Events of a row.
    Events { track: TrackId, row: Row, ids: Range<u32> },
    /// Values of a counter.
    Values { track: TrackId, series: CounterId, values: Range<usize> },
    /// Launches and their device work.
    Launches(Range<usize>),
    /// Other arrows.
    Flows(Range<usize>),
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub events: u64,
    pub counter_values: u64,
    pub flows: u64,
    pub unreadable_args: u64,
    pub values_left_out: u64,
}

/// All work on a trace but the metadata.
pub(super) fn batches<'t>(
    context: &'t Context<'t>,
    skip: &'t FxHashSet<CounterId>,
) -> impl Iterator<Item = Batch> + 't {
    let trace = context.trace;
    let tracks = move || trace.track_ids().filter(|(_, track)| context.ranks.contains(&track.rank));
    let events = tracks().flat_map(move |(id, track)| {
        trace.rows_of(track).iter().flat_map(move |row| {
            split(row.indices()).map(move |ids| Batch::Events {
                track: id,
                row: row.clone(),
                ids: ids.start as u32..ids.end as u32,
            })
        })
    });
    let values = tracks().filter_map(|(id, track)| Some((id, track.counter?))).flat_map(move |(track, series)| {
        let len = trace.counters().get(series.index()).map_or(0, |found| found.times.len());
        let len = if skip.contains(&series) { 0 } else { len };
        split(0..len).map(move |values| Batch::Values { track, series, values })
    });
    // Links are sorted by where they start, and events by rank.
    let ids = context.event_ids();
    let part = |len: usize, start_of: &dyn Fn(usize) -> u32| {
        let [from, to] = [ids.start, ids.end].map(|id| partition(len, |place| start_of(place) < id));
        split(from..to)
    };
    let (pairs, arrows) = (trace.launches().pairs(), trace.flows());
    let launch_at = |place: usize| pairs.get(place).map_or(u32::MAX, |pair| pair.0.0);
    let flow_at = |place: usize| arrows.get(place).map_or(u32::MAX, |flow| flow.from.0);
    let launches = part(pairs.len(), &launch_at).map(Batch::Launches);
    let flows = part(arrows.len(), &flow_at).map(Batch::Flows);
    events.chain(values).chain(launches).chain(flows)
}

/// The first of `len` places for which `is_before` does not hold; it holds for all before that.
fn partition(len: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

fn split(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BATCH_LEN).map(move |from| from..end.min(from + BATCH_LEN))
}

impl Context<'_> {
    /// The events of the ranks that are written.
    fn event_ids(&self) -> Range<u32> {
        let ranges = self.ranks.iter().filter_map(|&rank| Some(self.trace.rank(rank)?.events.clone()));
        ranges.reduce(|sum, next| sum.start.min(next.start)..sum.end.max(next.end)).unwrap_or(0..0)
    }

    /// Encodes a batch; each entry begins with a comma.
    pub fn encode(&self, batch: &Batch) -> (Vec<u8>, Counts) {
        let mut out = Vec::new();
        let mut counts = Counts::default();
        match batch {
            Batch::Events { track, row, ids } => {
                for id in ids.clone().map(EventId) {
                    self.event(*track, row, id, &mut out, &mut counts);
                }
            }
            Batch::Values { track, series, values } => {
                self.values(*track, *series, values.clone(), &mut out, &mut counts);
            }
            Batch::Launches(range) => self.launches(range.clone(), &mut out, &mut counts),
            Batch::Flows(range) => self.flows(range.clone(), &mut out, &mut counts),
        }
        (out, counts)
    }

    /// Appends a time of the trace as one of the file.
    fn push_time(&self, time_ns: i64, out: &mut Vec<u8>) {
        push_micros(i128::from(time_ns) - i128::from(self.base_ns), out);
    }

    fn event(&self, track_id: TrackId, row: &Row, id: EventId, out: &mut Vec<u8>, counts: &mut Counts) {
        let trace = self.trace;
        let Some(track) = trace.track(track_id) else { return };
        let event = trace.event(id);
        let (phase, category) = self.categories.form(trace, track, &event);
        let letter: &[u8] = match phase {
            Phase::Complete => b"X",
            Phase::Instant => b"i",
            Phase::Async => b"b",
            Phase::AsyncInstant => b"n",
        };
        let head = |letter: &[u8], time_ns: i64, out: &mut Vec<u8>| {
            out.extend_from_slice(b",\n{\"ph\": \"");
            out.extend_from_slice(letter);
            out.extend_from_slice(b"\", ");
            if !category.is_empty() {
                out.extend_from_slice(b"\"cat\": ");
                push_text(category, out);
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(b"\"name\": ");
            push_text(trace.text(event.name), out);
            out.extend_from_slice(b", ");
            self.places.push_pid(track.process, out);
            match phase {
                // Each is a range of its own.
                Phase::Async | Phase::AsyncInstant => {
                    out.extend_from_slice(b"\"id\": ");
                    push_display(id.0, out);
                    out.extend_from_slice(b", ");
                }
                Phase::Complete | Phase::Instant => self.places.push_tid_of_row(trace, row, out),
            }
            out.extend_from_slice(b"\"ts\": ");
            self.push_time(time_ns, out);
        };
        head(letter, event.start.nanos(), out);
        match phase {
            Phase::Complete => {
                out.extend_from_slice(b", \"dur\": ");
                push_micros(i128::from(event.dur.nanos()), out);
            }
            Phase::Instant => out.extend_from_slice(b", \"s\": \"t\""),
            Phase::Async | Phase::AsyncInstant => {}
        }
        self.push_args(track_id, &event, out, counts);
        out.push(b'}');
        if phase == Phase::Async {
            head(b"e", event.end().nanos(), out);
            out.push(b'}');
        }
        counts.events += 1;
    }

    fn push_args(&self, track: TrackId, event: &Event, out: &mut Vec<u8>, counts: &mut Counts) {
        let trace = self.trace;
        let mut args = match self.options.arguments {
            true => trace.args(event.id).unwrap_or_else(|_| {
                counts.unreadable_args += 1;
                Vec::new()
            }),
            false => Vec::new(),
        };
        if let Some(track) = trace.track(track) {
            complete_args(trace, track, event, &mut args);
        }
        if !args.is_empty() {
            out.extend_from_slice(b", \"args\": ");
            push_dict(&args, out);
        }
    }

    fn values(&self, track: TrackId, series: CounterId, values: Range<usize>, out: &mut Vec<u8>, counts: &mut Counts) {
        let trace = self.trace;
        let (Some(track), Some(series)) = (trace.track(track), trace.counters().get(series.index())) else { return };
        for (&time, &value) in series.times.iter().zip(&series.values).take(values.end).skip(values.start) {
            if !value.is_finite() {
                counts.values_left_out += 1;
                continue;
            }
            out.extend_from_slice(b",\n{\"ph\": \"C\", \"name\": ");
            push_text(trace.text(series.name), out);
            out.extend_from_slice(b", ");
            self.places.push_pid(track.process, out);
            out.extend_from_slice(b"\"ts\": ");
            self.push_time(time, out);
            out.extend_from_slice(b", \"args\": {\"value\": ");
            push_double(value, out);
            out.extend_from_slice(b"}}");
            counts.counter_values += 1;
        }
    }

    /// An end of an arrow.
    fn point(&self, letter: &[u8], id: u64, category: &str, event: EventId, time_ns: i64, out: &mut Vec<u8>) -> bool {
        let trace = self.trace;
        let Some((_, row)) = trace.row_of(event) else { return false };
        let Some(track) = trace.track(row.track).filter(|track| self.ranks.contains(&track.rank)) else { return false };
        out.extend_from_slice(b",\n{\"ph\": \"");
        out.extend_from_slice(letter);
        out.extend_from_slice(b"\", \"id\": ");
        // Correlation ids of several ranks are not each other's.
        if self.ranks.len() > 1 {
            push_text(&format!("{}:{id}", track.rank.0), out);
        } else {
            push_display(id, out);
        }
        out.extend_from_slice(b", ");
        self.places.push_pid(track.process, out);
        self.places.push_tid_of_row(trace, row, out);
        out.extend_from_slice(b"\"ts\": ");
        self.push_time(time_ns, out);
        out.extend_from_slice(b", \"cat\": ");
        push_text(category, out);
        out.extend_from_slice(b", \"name\": ");
        push_text(category, out);
        if letter == b"f" {
            out.extend_from_slice(b", \"bp\": \"e\"");
        }
        out.push(b'}');
        true
    }

    fn launches(&self, range: Range<usize>, out: &mut Vec<u8>, counts: &mut Counts) {
        let trace = self.trace;
        let pairs = trace.launches().pairs();
        for place in range {
            let Some(&(launch, work)) = pairs.get(place) else { continue };
            let (from, to) = (trace.event(launch), trace.event(work));
            // Without a correlation id in common, the launch's own place stands for it.
            let id = match (from.correlation, to.correlation) {
                (Some(from), Some(to)) if from == to => u64::from(to),
                _ => MADE_UP_IDS_FROM | u64::from(launch.0),
            };
            let is_first =
                place.checked_sub(1).and_then(|before| pairs.get(before)).is_none_or(|pair| pair.0 != launch);
            if is_first {
                self.point(b"s", id, "ac2g", launch, from.start.nanos(), out);
            }
            counts.flows += u64::from(self.point(b"f", id, "ac2g", work, to.start.nanos(), out));
        }
    }

    fn flows(&self, range: Range<usize>, out: &mut Vec<u8>, counts: &mut Counts) {
        let trace = self.trace;
        for place in range {
            let Some(flow) = trace.flows().get(place) else { continue };
            let id = FLOW_IDS_FROM | place as u64;
            let category = trace.text(flow.category);
            let from_ns = self.own_moment(flow.from, i64::MIN);
            let to_ns = self.own_moment(flow.to, from_ns);
            if self.point(b"s", id, category, flow.from, from_ns, out) {
                counts.flows += u64::from(self.point(b"f", id, category, flow.to, to_ns, out));
            }
        }
    }

    /// A time, not before `earliest` where that can be, at which `event` is the innermost one of its thread: readers
    /// bind an end of an arrow to what they find at its time.
    fn own_moment(&self, event: EventId, earliest: i64) -> i64 {
        let trace = self.trace;
        let (start, end) = (trace.event(event).start.nanos(), trace.event(event).end().nanos());
        let mut time = start.max(earliest.min(end));
        for child in trace.children(event).take(CHILDREN_LOOKED_AT) {
            let child = trace.event(EventId(child as u32));
            if child.start.nanos() > time {
                return time;
            }
            if child.end().nanos() >= time {
                time = child.end().nanos().saturating_add(1);
            }
        }
        if time <= end { time } else { start.max(earliest.min(end)) }
    }
}
