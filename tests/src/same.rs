//! Whether two traces are the same, asked through all that a trace says of itself.

use std::fmt::Debug;

use gapless_trace::{
    ArgValue, Args, EventId, ProcessId, RawId, RowId, Source, SourceId, StackId, StrId, Trace, TrackId,
};
use rayon::prelude::*;

/// Says the first difference between `a` and `b`, if there is one.
///
/// Strings are compared by their text, doubles bit for bit, arguments of every event as they are read. What differs by
/// nature is left out: where a [`Source`] lies, its format, its bytes and its count of events. In their place the
/// origins are compared, where a file that says none is its own.
///
/// # Errors
/// The first difference, in words.
pub fn same_trace(a: &Trace, b: &Trace) -> Result<(), String> {
    let both = Both { a, b, strings: a.strings().iter().map(|(_, text)| b.strings().find(text)).collect() };
    both.ranks()?;
    both.processes()?;
    both.tracks()?;
    both.rows()?;
    both.events()?;
    both.links()?;
    both.side_tables()?;
    both.counters()?;
    both.warnings()?;
    same("span", &a.span(), &b.span())?;
    both.args()
}

fn same<T: PartialEq + Debug>(what: impl Into<String>, a: &T, b: &T) -> Result<(), String> {
    if a == b {
        return Ok(());
    }
    let what: String = what.into();
    Err(format!("{what}:\n  {}\n  {}", short(a), short(b)))
}

/// A value in one line that can be read.
fn short(value: &impl Debug) -> String {
    const MOST: usize = 2_000;
    let text = format!("{value:?}");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
        None => text,
    }
}

fn same_len(what: &str, a: usize, b: usize) -> Result<(), String> {
    same(format!("number of {what}"), &a, &b)
}

/// What a source was made from: what it says, else itself.
fn origin(source: &Source) -> String {
    source.origin.clone().unwrap_or_else(|| format!("{}, {}", source.path, source.format))
}

/// Whether arguments are equal, doubles bit for bit.
fn same_args(a: &Args, b: &Args) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same_value(&a.1, &b.1))
}

fn same_value(a: &ArgValue, b: &ArgValue) -> bool {
    match (a, b) {
        (ArgValue::Double(a), ArgValue::Double(b)) => a.to_bits() == b.to_bits(),
        (ArgValue::List(a), ArgValue::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (ArgValue::Dict(a), ArgValue::Dict(b)) => same_args(a, b),
        (a, b) => a == b,
    }
}

fn check_args(what: impl FnOnce() -> String, a: &Args, b: &Args) -> Result<(), String> {
    if same_args(a, b) { Ok(()) } else { Err(format!("{}:\n  {}\n  {}", what(), short(a), short(b))) }
}

/// An id with its text.
#[derive(Debug, PartialEq)]
enum IdText<'t> {
    None,
    Int(i64),
    Text(&'t str),
}

fn id_text(trace: &Trace, id: RawId) -> IdText<'_> {
    match id {
        RawId::None => IdText::None,
        RawId::Int(value) => IdText::Int(value),
        RawId::Text(text) => IdText::Text(trace.text(text)),
    }
}

struct Both<'t> {
    a: &'t Trace,
    b: &'t Trace,
    /// For each string of `a` the one of `b` with the same text.
    strings: Vec<Option<StrId>>,
}

impl Both<'_> {
    fn same_text(&self, a: StrId, b: StrId) -> bool {
        self.strings.get(a.index()).copied().flatten() == Some(b)
    }

    fn ranks(&self) -> Result<(), String> {
        let (a, b) = (self.a, self.b);
        same_len("ranks", a.ranks().len(), b.ranks().len())?;
        same_len("sources", a.sources().len(), b.sources().len())?;
        for (index, (rank_a, rank_b)) in a.ranks().iter().zip(b.ranks()).enumerate() {
            let what = |field: &str| format!("rank {index}, {field}");
            let origin_of = |trace: &Trace, id: SourceId| trace.source(id).map(origin);
            same(what("number"), &rank_a.number, &rank_b.number)?;
            same(what("world size"), &rank_a.world_size, &rank_b.world_size)?;
            same(what("host"), &rank_a.host, &rank_b.host)?;
            same(what("backend"), &rank_a.backend, &rank_b.backend)?;
            same(what("base time"), &rank_a.base_time_ns, &rank_b.base_time_ns)?;
            same(what("clock offset"), &rank_a.clock_offset_ns, &rank_b.clock_offset_ns)?;
            same(what("processes"), &rank_a.processes, &rank_b.processes)?;
            same(what("tracks"), &rank_a.tracks, &rank_b.tracks)?;
            same(what("events"), &rank_a.events, &rank_b.events)?;
            check_args(|| what("header"), &rank_a.header, &rank_b.header)?;
            same(what("origin"), &origin_of(a, rank_a.source), &origin_of(b, rank_b.source))?;
            same(what("source"), &rank_a.source, &rank_b.source)?;
            same(what("companions"), &rank_a.companions, &rank_b.companions)?;
            for (&of_a, &of_b) in rank_a.companions.iter().zip(&rank_b.companions) {
                same(what("origin of a companion"), &origin_of(a, of_a), &origin_of(b, of_b))?;
            }
            same_len("devices", rank_a.devices.len(), rank_b.devices.len())?;
            for (device_a, device_b) in rank_a.devices.iter().zip(&rank_b.devices) {
                let plain = |device: &gapless_trace::DeviceInfo| {
                    (
                        device.id,
                        device.name.clone(),
                        device.memory_bytes,
                        device.multiprocessors,
                        device.compute_capability,
                    )
                };
                same(what("device"), &plain(device_a), &plain(device_b))?;
                check_args(|| what("device properties"), &device_a.properties, &device_b.properties)?;
            }
        }
        Ok(())
    }

    fn processes(&self) -> Result<(), String> {
        same_len("processes", self.a.processes().len(), self.b.processes().len())?;
        fn told(trace: &Trace, id: usize) -> impl PartialEq + Debug + '_ {
            trace.process(ProcessId(id as u32)).map(|process| {
                let name = (trace.text(process.name), trace.text(process.labels));
                (process.rank, process.kind, id_text(trace, process.pid), name, process.sort_index)
            })
        }
        (0..self.a.processes().len()).try_for_each(|id| {
            let (a, b) = (told(self.a, id), told(self.b, id));
            if a == b { Ok(()) } else { Err(format!("process {id}:\n  {}\n  {}", short(&a), short(&b))) }
        })
    }

    fn tracks(&self) -> Result<(), String> {
        same_len("tracks", self.a.tracks().len(), self.b.tracks().len())?;
        fn told(trace: &Trace, id: TrackId) -> impl PartialEq + Debug + '_ {
            trace.track(id).map(|track| {
                let place = (track.rank, track.process, track.kind, id_text(trace, track.tid));
                let ranges = (&track.rows, &track.events, track.lanes);
                (place, trace.text(track.name), track.sort_index, ranges, track.counter, trace.track_label(id))
            })
        }
        (0..self.a.tracks().len()).try_for_each(|id| {
            let id = TrackId(id as u32);
            let (a, b) = (told(self.a, id), told(self.b, id));
            if a == b { Ok(()) } else { Err(format!("{id:?}:\n  {}\n  {}", short(&a), short(&b))) }
        })
    }

    fn rows(&self) -> Result<(), String> {
        same_len("rows", self.a.rows().len(), self.b.rows().len())?;
        self.a.rows().iter().zip(self.b.rows()).enumerate().try_for_each(|(id, (a, b))| {
            let told = |row: &gapless_trace::Row| (row.track, row.lane, row.depth, row.events.clone());
            same(format!("{:?}: track, lane, depth, events", RowId(id as u32)), &told(a), &told(b))
        })
    }

    /// An event for people: where it lies and what it is.
    fn describe(&self, id: EventId) -> String {
        let (a, row) = (self.a, self.a.row_of(id).map(|(_, row)| (row.lane, row.depth)));
        let label = a.track_of(id).map(|(track, _)| a.track_label(track));
        format!("{id:?} {:?} of track {label:?}, lane and depth {row:?}", short(&a.name(id)))
    }

    fn events(&self) -> Result<(), String> {
        let (a, b) = (self.a, self.b);
        same_len("events", a.events().len(), b.events().len())?;
        (0..a.events().len() as u32).into_par_iter().try_for_each(|id| {
            let (of_a, of_b) = (a.event(EventId(id)), b.event(EventId(id)));
            let what = |field: &str| format!("{}: {field}", self.describe(EventId(id)));
            if of_a.start != of_b.start || of_a.dur != of_b.dur {
                same(what("start and duration"), &(of_a.start.0, of_a.dur.0), &(of_b.start.0, of_b.dur.0))?;
            }
            if !self.same_text(of_a.name, of_b.name) {
                same(what("name"), &a.text(of_a.name), &b.text(of_b.name))?;
            }
            if !self.same_text(of_a.category, of_b.category) {
                same(what("category"), &a.text(of_a.category), &b.text(of_b.category))?;
            }
            let ids = |event: &gapless_trace::Event| (event.kind, event.correlation, event.external);
            if ids(&of_a) != ids(&of_b) {
                same(what("kind, correlation, external id"), &ids(&of_a), &ids(&of_b))?;
            }
            Ok(())
        })
    }

    fn links(&self) -> Result<(), String> {
        let (a, b) = (self.a.launches().pairs(), self.b.launches().pairs());
        for (of_a, of_b) in a.iter().zip(b) {
            same("launch and its device work", of_a, of_b)?;
        }
        same_len("launches", a.len(), b.len())?;
        // Flows between the same two events have no order but that of their categories' numbers.
        fn flows(trace: &Trace) -> Vec<(EventId, EventId, &str)> {
            let told = trace.flows().iter().map(|flow| (flow.from, flow.to, trace.text(flow.category)));
            let mut flows: Vec<_> = told.collect();
            flows.sort_unstable();
            flows
        }
        let (a, b) = (flows(self.a), flows(self.b));
        for (of_a, of_b) in a.iter().zip(&b) {
            same("flow", of_a, of_b)?;
        }
        same_len("flows", a.len(), b.len())
    }

    fn side_tables(&self) -> Result<(), String> {
        let (a, b) = (self.a, self.b);
        fn collective<'t>(trace: &'t Trace, entry: &gapless_trace::Collective) -> impl PartialEq + Debug + use<'t> {
            let texts = [entry.name, entry.dtype, entry.group, entry.group_desc].map(|id| trace.text(id));
            (entry.event, texts, entry.in_elems, entry.out_elems, entry.group_size, entry.seq)
        }
        same_len("collectives", a.collectives().len(), b.collectives().len())?;
        for (of_a, of_b) in a.collectives().iter().zip(b.collectives()) {
            let (of_a, of_b) = (collective(a, of_a), collective(b, of_b));
            if of_a != of_b {
                return Err(format!("collective:\n  {}\n  {}", short(&of_a), short(&of_b)));
            }
        }
        same_len("copies", a.copies().len(), b.copies().len())?;
        for (of_a, of_b) in a.copies().iter().zip(b.copies()) {
            same("copied bytes", of_a, of_b)?;
        }
        same_len("events with a call stack", a.event_stacks().len(), b.event_stacks().len())?;
        fn frames(trace: &Trace, stack: StackId) -> Vec<([&str; 3], u32)> {
            let told = |frame: gapless_trace::Frame| {
                ([frame.name, frame.file, frame.module].map(|id| trace.text(id)), frame.line)
            };
            trace.stacks().frames_of(stack).map(told).collect()
        }
        a.event_stacks().par_iter().zip(b.event_stacks()).try_for_each(|(of_a, of_b)| {
            same("event and weight of a call stack", &(of_a.event, of_a.weight), &(of_b.event, of_b.weight))?;
            let what = format!("call stack of {:?}", of_a.event);
            same(what, &frames(a, of_a.stack), &frames(b, of_b.stack))
        })
    }

    fn counters(&self) -> Result<(), String> {
        let (a, b) = (self.a, self.b);
        same_len("counters", a.counters().len(), b.counters().len())?;
        for (of_a, of_b) in a.counters().iter().zip(b.counters()) {
            let name = a.text(of_a.name);
            same(format!("track of counter {name:?}"), &of_a.track, &of_b.track)?;
            same("counter", &(name, a.text(of_a.unit)), &(b.text(of_b.name), b.text(of_b.unit)))?;
            same(format!("times of counter {name:?}"), &of_a.times, &of_b.times)?;
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
            if bits(&of_a.values) != bits(&of_b.values) {
                return Err(format!("values of {name:?}:\n  {}\n  {}", short(&of_a.values), short(&of_b.values)));
            }
        }
        Ok(())
    }

    fn warnings(&self) -> Result<(), String> {
        let (a, b) = (self.a.warnings().sorted(), self.b.warnings().sorted());
        for (of_a, of_b) in a.iter().zip(&b) {
            same("warning", of_a, of_b)?;
        }
        same("warnings", &a, &b)
    }

    fn args(&self) -> Result<(), String> {
        (0..self.a.events().len() as u32).into_par_iter().try_for_each(|id| {
            let read = |trace: &Trace| trace.args(EventId(id)).map_err(|error| error.to_string());
            let (a, b) = (read(self.a)?, read(self.b)?);
            check_args(|| format!("{}: arguments", self.describe(EventId(id))), &a, &b)?;
            let has = |trace: &Trace| trace.has_args(EventId(id));
            same(format!("{}: whether it has arguments", self.describe(EventId(id))), &has(self.a), &has(self.b))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use gapless_trace::{
        ArgsError, ArgsLoc, ArgsSource, BuildOptions, CollectiveArgs, DeviceInfo, EventKind, Frame, RawChunk,
        RawCounter, RawEdge, RawEventStack, RawMeta, RawPlace, TracePart, TrackKind, WarningKind, Warnings,
    };

    use super::*;

    #[derive(Debug)]
    struct OneArgument(u64);

    impl ArgsSource for OneArgument {
        fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
            if loc.offset() > 0 {
                return Ok(Args::new());
            }
            let list = ArgValue::List(vec![ArgValue::Double(f64::from_bits(self.0))]);
            Ok(vec![("nested".to_owned(), ArgValue::Dict(vec![("list".to_owned(), list)]))])
        }
    }

    /// A small trace, one thing in it changed. `known` gathers the names of all things that can be changed.
    fn trace(change: &str, known: &RefCell<BTreeSet<&'static str>>) -> Trace {
        let is = |name: &'static str| -> bool {
            known.borrow_mut().insert(name);
            name == change
        };
        let number = |name: &'static str| u32::from(is(name));
        let text = |name: &'static str| if is(name) { "changed" } else { "as it was" };
        let mut chunk = RawChunk::default();
        let pid = RawId::Int(1234 + i64::from(number("pid")));
        let tid = if is("tid") { RawId::Text(chunk.strings.intern("5")) } else { RawId::Int(5) };
        let kind = if is("track kind") { TrackKind::Custom } else { TrackKind::Thread };
        let main = chunk.track(kind, pid, tid);
        let stream = chunk.track(TrackKind::Stream, RawId::Int(number("device").into()), RawId::Int(7));
        let (name, category) = (chunk.strings.intern(text("name")), chunk.strings.intern(text("category")));
        let kind = if is("kind") { EventKind::Overhead } else { EventKind::RuntimeCall };
        let (start, dur) = (100 + i64::from(number("start")), 50 + i64::from(number("duration")));
        let args = ArgsLoc::new(0, 1).unwrap();
        chunk.push(start, dur, name, category, kind, main, 3 + number("correlation"), 4 + number("external"), args);
        let other = chunk.strings.intern("other");
        // Two events that begin and end together, in one order or the other.
        let ties = if is("order") { [other, StrId::EMPTY] } else { [StrId::EMPTY, other] };
        let empty = if is("arguments that hold nothing") { ArgsLoc::new(1, 1).unwrap() } else { ArgsLoc::NONE };
        for name in ties {
            chunk.push(200, 10, name, category, EventKind::Kernel, stream, 9, u32::MAX, empty);
        }
        if is("another event") {
            chunk.push(500, 10, other, category, EventKind::Kernel, stream, 9, u32::MAX, ArgsLoc::NONE);
        }
        let place = |event: u32| RawPlace { chunk: 0, event };
        let mut edges = vec![
            RawEdge { from: place(0), to: place(1 + number("launch")), category: None },
            RawEdge { from: place(0), to: place(1 + number("flow")), category: Some(other) },
        ];
        if is("flow category") {
            edges[1].category = Some(name);
        }
        chunk.copy_bytes.push((1, 64 + u64::from(number("copied bytes"))));
        chunk.collectives.push(CollectiveArgs {
            event: 1 + number("collective event"),
            name: chunk.strings.intern(text("collective")),
            dtype: chunk.strings.intern(text("type")),
            group: chunk.strings.intern(text("group")),
            group_desc: chunk.strings.intern(text("group description")),
            in_elems: is("elements in").then_some(1),
            out_elems: is("elements out").then_some(1),
            group_size: is("group size").then_some(1),
            seq: is("sequence number").then_some(1),
        });
        let outer = Frame { name: other, ..Frame::default() };
        let inner = Frame {
            name: chunk.strings.intern(text("function")),
            file: chunk.strings.intern(text("file")),
            module: chunk.strings.intern(text("module")),
            line: number("line"),
        };
        let frames = if is("order of frames") { [inner, outer] } else { [outer, inner] };
        let stack = chunk.stacks.push_all(frames).unwrap();
        chunk.event_stacks.push(RawEventStack { event: 0, stack, weight: number("weight").into() });
        let counter = RawCounter {
            pid,
            name: chunk.strings.intern(text("counter")),
            unit: chunk.strings.intern(text("unit")),
            time: 100 + i64::from(number("time of a value")),
            value: if is("sign of zero") { -0.0 } else { 0.0 },
        };
        chunk.counters.push(counter);
        let process = chunk.strings.intern(text("process name"));
        let labels = chunk.strings.intern(text("process labels"));
        let thread = chunk.strings.intern(text("thread name"));
        chunk.metas = vec![
            RawMeta::ProcessName(pid, process),
            RawMeta::ProcessLabels(pid, labels),
            RawMeta::ThreadName(pid, tid, thread),
            RawMeta::ProcessSort(pid, number("process order").into()),
            RawMeta::ThreadSort(pid, tid, number("thread order").into()),
        ];
        let source = |path: &str| Source { path: path.to_owned(), ..Source::default() };
        let mut part = TracePart::new(source(text("origin")));
        part.chunks = vec![chunk];
        part.edges = edges;
        part.is_restored = true;
        part.args = Arc::new(OneArgument(0x7FF8_0000_0000_0000 + u64::from(number("bits of a double"))));
        part.companions = vec![source(text("origin of a companion"))];
        let mut more = Warnings::default();
        more.add(WarningKind::NoTimes, SourceId(0), None, text("warning of a companion"));
        part.companion_warnings = vec![more];
        let kind = if is("warning") { WarningKind::Truncated } else { WarningKind::MissingEnd };
        let (count, offset) = (1 + u64::from(number("count of a warning")), number("place of a warning"));
        part.warnings.add_many(kind, SourceId(0), count, Some(offset.into()), text("detail of a warning"));
        let info = &mut part.info;
        info.rank = is("rank").then_some(1);
        info.world_size = is("world size").then_some(1);
        info.host = is("host").then(String::new);
        info.backend = is("backend").then(String::new);
        info.base_time_ns = is("base").then_some(0);
        info.header = vec![("schema".to_owned(), ArgValue::Int(number("header").into()))];
        info.devices = vec![DeviceInfo {
            id: number("device number"),
            name: text("device name").to_owned(),
            memory_bytes: is("device memory").then_some(1),
            multiprocessors: is("multiprocessors").then_some(1),
            compute_capability: is("compute capability").then_some((1, 0)),
            properties: vec![("warpSize".to_owned(), ArgValue::Int(number("device properties").into()))],
        }];
        let mut parts = vec![part];
        if is("another rank") {
            parts.push(TracePart::new(source("second")));
        }
        Trace::from_parts(parts, &BuildOptions::default()).unwrap()
    }

    #[test]
    fn every_change_is_found() {
        let known = RefCell::default();
        let as_it_was = trace("", &known);
        assert_eq!(same_trace(&as_it_was, &trace("", &known)), Ok(()));
        let changes = known.borrow().clone();
        assert!(changes.len() > 50, "{changes:?}");
        for change in changes {
            let changed = trace(change, &known);
            assert!(same_trace(&as_it_was, &changed).is_err(), "{change}");
            assert!(same_trace(&changed, &as_it_was).is_err(), "{change}");
        }
    }

    #[test]
    fn where_a_file_lies_is_no_difference() {
        let known = RefCell::default();
        let restored = |text: &str| {
            let mut part = TracePart::new(Source { path: text.to_owned(), file_bytes: 7, ..Source::default() });
            part.source.origin = Some("as it was, ".to_owned());
            part
        };
        let parts = |part: TracePart| Trace::from_parts(vec![part], &BuildOptions::default()).unwrap();
        assert_eq!(same_trace(&parts(restored("here")), &parts(restored("there"))), Ok(()));
        assert!(same_trace(&trace("", &known), &parts(restored("here"))).is_err());
    }
}
