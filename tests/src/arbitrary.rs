//! Arbitrary traces: small plans of numbers and texts, from which parts are made as a reader makes them.
//!
//! What a trace may hold is in them: several ranks and chunks, overlap, equal and extreme times, odd texts, every
//! kind of event, track and argument, calls that launch, flows, counters, stacks, collectives, warnings. Plans, not
//! parts, are generated, because they are cheap to make, to print and to shrink.

use std::sync::Arc;

use gapless_trace::{
    ArgValue, Args, ArgsError, ArgsLoc, ArgsSource, AsyncPhase, BuildError, BuildOptions, CollectiveArgs, DeviceInfo,
    EventKind, Frame, RawAsync, RawBeginEnd, RawChunk, RawCounter, RawEdge, RawEventStack, RawFlow, RawId, RawMeta,
    RawPlace, Source, SourceId, StackId, StrId, Trace, TracePart, TrackKind, WarningKind, Warnings,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Place of a text in the plan's list, modulo its length.
type TextRef = u8;

/// How numbers become times.
#[derive(Clone, Copy, Debug)]
pub enum Times {
    /// A few dozen ns, so that starts and ends often meet.
    Near,
    /// A few hundred ns and as long, so that events of one track overlap in many lanes.
    Crowded,
    /// After 2023, in ns of Unix time.
    Unix,
    /// Around 0.
    Signed,
    /// At both ends of the range.
    Extreme,
    /// Anywhere.
    Any,
}

impl Times {
    const ALL: [Self; 6] = [Self::Near, Self::Crowded, Self::Unix, Self::Signed, Self::Extreme, Self::Any];

    fn start(self, number: u16) -> i64 {
        let number = i64::from(number);
        match self {
            Self::Near => number % 40,
            Self::Crowded => number % 300,
            Self::Unix => 1_700_000_000_000_000_000 + number * 37,
            Self::Signed => number % 2_000 - 1_000,
            Self::Extreme => {
                let ends = [i64::MIN, i64::MIN + 5, -1, 0, i64::MAX - 5, i64::MAX];
                let end = ends.get(number as usize % ends.len()).copied().unwrap_or_default();
                end.saturating_add(number % 7 - 3)
            }
            Self::Any => number.wrapping_mul(0x1E37_79B9_7F4A_7C15),
        }
    }

    fn dur(self, number: u16) -> i64 {
        match self {
            Self::Near | Self::Signed => i64::from(number % 8),
            Self::Crowded => i64::from(number % 300),
            Self::Unix => i64::from(number),
            Self::Extreme | Self::Any if number.is_multiple_of(2) => i64::from(number % 8),
            Self::Extreme | Self::Any => self.start(number) & i64::MAX,
        }
    }
}

/// An event.
#[derive(Clone, Debug)]
struct EventPlan {
    start: u16,
    dur: u16,
    name: TextRef,
    category: TextRef,
    kind: usize,
    track: usize,
    correlation: Option<u32>,
    external: Option<u32>,
    args: Option<usize>,
    /// 0 for a plain event; else what more it has.
    extra: u8,
    number: u64,
}

/// Anything that is not a complete event: a begin, an end, a flow, a counter's value, a name.
#[derive(Clone, Debug)]
struct OtherPlan {
    what: u8,
    time: u16,
    track: usize,
    id: u8,
    texts: (TextRef, TextRef),
    args: Option<usize>,
    number: u64,
}

/// A stretch of a file.
#[derive(Clone, Debug)]
struct ChunkPlan {
    events: Vec<EventPlan>,
    others: Vec<OtherPlan>,
}

/// A warning: kind, count, offset, detail.
type WarningPlan = (usize, u32, Option<u32>, TextRef);

/// A file and what was odd in it.
#[derive(Clone, Debug)]
struct SourcePlan {
    texts: (TextRef, TextRef),
    origin: Option<TextRef>,
    number: u64,
    warnings: Vec<WarningPlan>,
}

/// Number, name, memory, multiprocessors, compute capability, properties.
type DevicePlan = (u32, TextRef, Option<u64>, Option<u32>, Option<(u32, u32)>, usize);

/// A rank.
#[derive(Clone, Debug)]
struct PartPlan {
    source: SourcePlan,
    companions: Vec<SourcePlan>,
    base: usize,
    world_size: Option<u32>,
    host: Option<TextRef>,
    backend: Option<TextRef>,
    header: usize,
    devices: Vec<DevicePlan>,
    tracks: Vec<(usize, u8, u8)>,
    chunks: Vec<ChunkPlan>,
    edges: Vec<(u16, u16, Option<TextRef>)>,
    is_restored: bool,
}

/// A trace that can be built.
#[derive(Clone, Debug)]
pub struct Plan {
    times: Times,
    texts: Vec<String>,
    args: Vec<Args>,
    first_rank: Option<u32>,
    parts: Vec<PartPlan>,
}

/// Texts that programs stumble over, and those that mean something to a reader.
const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "aten::mm",
    "kernel",
    "ncclDevKernel_AllReduce_Sum",
    "correlation",
    "External id",
    "EXTERNAL ID",
    "bytes",
    "gapless.kind",
    "gapless.arg.gapless.kind",
    "gapless.facts",
    "gapless.version",
    "Trace information",
    "null",
    "{\"a\": [1, 2.5]}",
    "\"quoted\"\\",
    "nul\0 and tab\t and line\r\n",
    "カーネル 内核 🚀",
    "e\u{301}\u{202e}\u{feff}",
    " a / b ",
    "a / b / c",
    "CPU",
    "12",
];

/// Doubles at the seams.
const DOUBLES: &[u64] = &[
    0,
    1 << 63,
    0x3FF8_0000_0000_0000,
    0x4340_0000_0000_0000,
    0x4340_0000_0000_0001,
    0x4350_0000_0000_0000,
    0x7FF0_0000_0000_0000,
    0xFFF0_0000_0000_0000,
    0x7FF8_0000_0000_0000,
    0xFFF8_0000_0000_1234,
    0x7FF0_0000_0000_0001,
    1,
    0x7FEF_FFFF_FFFF_FFFF,
    0xBFF0_0000_0000_0000,
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => select(TEXTS).prop_map(str::to_owned),
        2 => vec(any::<char>(), 0..12).prop_map(|text| text.into_iter().collect()),
        1 => (1..9_000_usize).prop_map(|length| "長x".repeat(length / 4)),
    ]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![select(DOUBLES), any::<u64>()].prop_map(f64::from_bits)
}

fn value() -> impl Strategy<Value = ArgValue> {
    let leaf = prop_oneof![
        Just(ArgValue::Null),
        any::<bool>().prop_map(ArgValue::Bool),
        any::<i64>().prop_map(ArgValue::Int),
        (0..8_i64).prop_map(ArgValue::Int),
        any::<u64>().prop_map(ArgValue::UInt),
        double().prop_map(ArgValue::Double),
        text().prop_map(ArgValue::Text),
    ];
    let nested = leaf.prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(ArgValue::List),
            vec((text(), inner), 0..4).prop_map(ArgValue::Dict),
        ]
    });
    prop_oneof![12 => nested, 1 => deep()]
}

/// A value deeper than annotations nest, which has a JSON form.
fn deep() -> impl Strategy<Value = ArgValue> {
    let inner = vec((text(), any::<i64>(), -1e9..1e9_f64), 0..3).prop_map(|entries| {
        let value = |(text, int, double): (String, i64, f64)| {
            let words = [f64::INFINITY, f64::NEG_INFINITY, -0.0].map(ArgValue::Double).into();
            let items = vec![ArgValue::Int(int), ArgValue::Double(double), ArgValue::Null, ArgValue::List(words)];
            (text, ArgValue::List(items))
        };
        ArgValue::Dict(entries.into_iter().map(value).collect())
    });
    (inner, 25..60_usize, any::<bool>()).prop_map(|(inner, levels, is_list)| {
        (0..levels).fold(inner, |inner, level| {
            if is_list && level % 3 != 0 {
                ArgValue::List(vec![ArgValue::Bool(true), inner])
            } else {
                ArgValue::Dict(vec![("same".to_owned(), ArgValue::Null), ("same".to_owned(), inner)])
            }
        })
    })
}

fn args() -> impl Strategy<Value = Args> {
    vec((text(), value()), 0..5)
}

fn event() -> impl Strategy<Value = EventPlan> {
    let id = || prop::option::weighted(0.4, prop_oneof![4 => 0..8_u32, 1 => 0..u32::MAX]);
    let what = (any::<u8>(), any::<u8>(), 0..EventKind::ALL.len(), 0..8_usize);
    let more = (id(), id(), prop::option::weighted(0.4, 0..8_usize), 0..16_u8, any::<u64>());
    ((any::<u16>(), any::<u16>()), what, more).prop_map(
        |((start, dur), (name, category, kind, track), (correlation, external, args, extra, number))| EventPlan {
            start,
            dur,
            name,
            category,
            kind,
            track,
            correlation,
            external,
            args,
            extra,
            number,
        },
    )
}

fn other() -> impl Strategy<Value = OtherPlan> {
    let what = (0..16_u8, any::<u16>(), 0..8_usize, 0..4_u8);
    let more = ((any::<u8>(), any::<u8>()), prop::option::weighted(0.4, 0..8_usize), any::<u64>());
    (what, more).prop_map(|((what, time, track, id), (texts, args, number))| OtherPlan {
        what,
        time,
        track,
        id,
        texts,
        args,
        number,
    })
}

fn source() -> impl Strategy<Value = SourcePlan> {
    let warning = (0..WarningKind::ALL.len(), 1..1_000_000_u32, prop::option::of(any::<u32>()), any::<u8>());
    ((any::<u8>(), any::<u8>()), prop::option::of(any::<u8>()), any::<u64>(), vec(warning, 0..4))
        .prop_map(|(texts, origin, number, warnings)| SourcePlan { texts, origin, number, warnings })
}

fn part(events: std::ops::Range<usize>) -> impl Strategy<Value = PartPlan> {
    let device = (
        any::<u32>(),
        any::<u8>(),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u32>()),
        prop::option::of((any::<u32>(), any::<u32>())),
        0..8_usize,
    );
    let text = || prop::option::of(any::<u8>());
    let info = (0..BASES.len(), prop::option::of(any::<u32>()), text(), text(), 0..8_usize, vec(device, 0..3));
    let others = events.start / 2..events.end / 2 + 2;
    let chunk = (vec(event(), events), vec(other(), others)).prop_map(|(events, others)| ChunkPlan { events, others });
    let content = (
        vec((0..TrackKind::ALL.len(), 0..9_u8, 0..9_u8), 1..6),
        vec(chunk, 0..4),
        vec((any::<u16>(), any::<u16>(), text()), 0..5),
        prop::bool::weighted(0.1),
    );
    (source(), vec(source(), 0..2), info, content).prop_map(
        |(
            source,
            companions,
            (base, world_size, host, backend, header, devices),
            (tracks, chunks, edges, is_restored),
        )| {
            PartPlan {
                source,
                companions,
                base,
                world_size,
                host,
                backend,
                header,
                devices,
                tracks,
                chunks,
                edges,
                is_restored,
            }
        },
    )
}

/// Plans whose chunks have so many events each.
pub fn plan(events: std::ops::Range<usize>) -> impl Strategy<Value = Plan> {
    let ranks = prop_oneof![3 => 1..2_usize, 1 => 2..4_usize];
    let parts = ranks.prop_flat_map(move |ranks| vec(part(events.clone()), ranks));
    (select(&Times::ALL[..]), vec(text(), 1..8), vec(args(), 1..6), prop::option::of(0..9_u32), parts)
        .prop_map(|(times, texts, args, first_rank, parts)| Plan { times, texts, args, first_rank, parts })
}

/// What times may count from.
const BASES: [Option<i64>; 6] =
    [None, Some(0), Some(1_700_000_000_000_000_000), Some(-5), Some(i64::MAX), Some(i64::MIN)];

/// Arguments by number: the location's offset is the place in the list.
#[derive(Debug)]
pub(crate) struct ListedArgs(pub(crate) Vec<Args>);

impl ArgsSource for ListedArgs {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let missing = || ArgsError::Unreadable { offset: loc.offset(), reason: "no such entry".to_owned() };
        self.0.get(loc.offset() as usize).cloned().ok_or_else(missing)
    }
}

impl Plan {
    /// The trace of this plan.
    ///
    /// # Errors
    /// When there are too many events.
    pub fn build(&self) -> Result<Trace, BuildError> {
        let ranks = self.parts.len() as u32;
        let args: Arc<dyn ArgsSource> = Arc::new(ListedArgs(self.args.clone()));
        let parts = self.parts.iter().zip(0..).map(|(plan, place)| {
            let mut part = self.part(plan);
            // Several ranks of one trace have numbers.
            part.info.rank = match self.first_rank {
                Some(first) => Some(first + place * (first + 1)),
                None => (ranks > 1).then_some(place),
            };
            part.args = Arc::clone(&args);
            part
        });
        Trace::from_parts(parts.collect(), &BuildOptions::default())
    }

    fn text(&self, place: TextRef) -> &str {
        let own = self.texts.len() * 4;
        let place = usize::from(place);
        // Most texts are the plan's own, so that they repeat.
        match place.checked_sub(own) {
            None => self.texts.get(place % self.texts.len().max(1)).map_or("", String::as_str),
            Some(place) => TEXTS.get(place % TEXTS.len()).copied().unwrap_or_default(),
        }
    }

    fn loc(&self, place: usize) -> ArgsLoc {
        ArgsLoc::new((place % self.args.len().max(1)) as u64, 1).unwrap_or_default()
    }

    fn args(&self, place: usize) -> Args {
        self.args.get(place).cloned().unwrap_or_default()
    }

    fn source(&self, plan: &SourcePlan) -> (Source, Warnings) {
        let source = Source {
            path: self.text(plan.texts.0).to_owned(),
            format: self.text(plan.texts.1).to_owned(),
            file_bytes: plan.number,
            text_bytes: plan.number / 3,
            file_events: plan.number % 1_000,
            origin: plan.origin.map(|text| self.text(text).to_owned()),
        };
        let mut warnings = Warnings::default();
        for &(kind, count, offset, detail) in &plan.warnings {
            let Some(&kind) = WarningKind::ALL.get(kind) else { continue };
            warnings.add_many(kind, SourceId(0), count.into(), offset.map(u64::from), self.text(detail));
        }
        (source, warnings)
    }

    fn part(&self, plan: &PartPlan) -> TracePart {
        let (source, warnings) = self.source(&plan.source);
        let mut part = TracePart::new(source);
        part.warnings = warnings;
        let (companions, warnings) = plan.companions.iter().map(|plan| self.source(plan)).unzip();
        (part.companions, part.companion_warnings) = (companions, warnings);
        let info = &mut part.info;
        info.base_time_ns = BASES.get(plan.base).copied().flatten();
        info.world_size = plan.world_size;
        info.host = plan.host.map(|text| self.text(text).to_owned());
        info.backend = plan.backend.map(|text| self.text(text).to_owned());
        info.header = self.args(plan.header);
        info.devices = plan
            .devices
            .iter()
            .map(|&(id, name, memory_bytes, multiprocessors, compute_capability, properties)| DeviceInfo {
                id,
                name: self.text(name).to_owned(),
                memory_bytes,
                multiprocessors,
                compute_capability,
                properties: self.args(properties),
            })
            .collect();
        part.chunks = plan.chunks.iter().map(|chunk| self.chunk(plan, chunk)).collect();
        part.is_restored = plan.is_restored;
        self.edges(plan, &mut part);
        part
    }

    fn edges(&self, plan: &PartPlan, part: &mut TracePart) {
        let places: Vec<RawPlace> = part
            .chunks
            .iter()
            .zip(0..)
            .flat_map(|(chunk, place)| (0..chunk.len() as u32).map(move |event| RawPlace { chunk: place, event }))
            .collect();
        if places.is_empty() {
            return;
        }
        for &(from, to, category) in &plan.edges {
            let place = |number: u16| places.get(usize::from(number) % places.len()).copied();
            let (Some(from), Some(to)) = (place(from), place(to)) else { continue };
            let Some(chunk) = part.chunks.get_mut(from.chunk as usize) else { continue };
            let category = category.map(|text| chunk.strings.intern(self.text(text)));
            part.edges.push(RawEdge { from, to, category });
        }
    }

    fn chunk(&self, part: &PartPlan, plan: &ChunkPlan) -> RawChunk {
        let mut chunk = RawChunk::default();
        let tracks: Vec<u32> = part
            .tracks
            .iter()
            .map(|&(kind, pid, tid)| {
                // Counters have no events of their own.
                let kind = TrackKind::ALL.get(kind).copied().filter(|&kind| kind != TrackKind::Counter);
                let (pid, tid) = (self.raw_id(&mut chunk, pid), self.raw_id(&mut chunk, tid));
                chunk.track(kind.unwrap_or(TrackKind::Thread), pid, tid)
            })
            .collect();
        let track = |place: usize| tracks.get(place % tracks.len().max(1)).copied().unwrap_or_default();
        for event in &plan.events {
            self.event(&mut chunk, event, track(event.track));
        }
        for other in &plan.others {
            self.other(&mut chunk, other, track(other.track));
        }
        chunk
    }

    fn raw_id(&self, chunk: &mut RawChunk, number: u8) -> RawId {
        match number {
            0 => RawId::None,
            1 => RawId::Int(0),
            2 => RawId::Int(-3),
            3 => RawId::Int(i64::MAX),
            4 => RawId::Int(1 << 33),
            5..=6 => RawId::Text(chunk.strings.intern(self.text(number))),
            other => RawId::Int(i64::from(other)),
        }
    }

    fn event(&self, chunk: &mut RawChunk, plan: &EventPlan, track: u32) {
        let place = chunk.len() as u32;
        let (name, category) =
            (chunk.strings.intern(self.text(plan.name)), chunk.strings.intern(self.text(plan.category)));
        let kind = EventKind::ALL.get(plan.kind).copied().unwrap_or(EventKind::Other);
        let (start, dur) = (self.times.start(plan.start), self.times.dur(plan.dur));
        let args = plan.args.map_or(ArgsLoc::NONE, |args| self.loc(args));
        let id = |id: Option<u32>| id.unwrap_or(u32::MAX);
        chunk.push(start, dur, name, category, kind, track, id(plan.correlation), id(plan.external), args);
        let number = plan.number;
        match plan.extra {
            1 => chunk.copy_bytes.push((place, number)),
            2 => chunk.more_args.push((place, self.loc(number as usize % 8))),
            3 => {
                let optional = |bit: u32| (number >> bit & 1 == 1).then_some(number >> (bit + 8));
                let entry = CollectiveArgs {
                    event: place,
                    name,
                    dtype: category,
                    group: if number.is_multiple_of(3) { name } else { StrId::EMPTY },
                    group_desc: if number.is_multiple_of(5) { category } else { StrId::EMPTY },
                    in_elems: optional(0),
                    out_elems: optional(1),
                    group_size: optional(2).map(|size| size as u32),
                    seq: optional(3),
                };
                chunk.collectives.push(entry);
            }
            4 | 5 => {
                if let Some(stack) = self.stack(chunk, number) {
                    let weight = if plan.extra == 4 { number % 3 } else { number };
                    chunk.event_stacks.push(RawEventStack { event: place, stack, weight });
                }
            }
            _ => {}
        }
    }

    /// A call stack whose frames the bytes of `number` tell.
    fn stack(&self, chunk: &mut RawChunk, number: u64) -> Option<StackId> {
        let bytes = number.to_le_bytes();
        let depth = usize::from(bytes[0] % 8);
        let frames: Vec<Frame> = bytes
            .iter()
            .take(depth)
            .map(|&byte| {
                let mut text = |byte: u8| chunk.strings.intern(self.text(byte));
                let (name, file, module) = (text(byte % 16), text(byte / 16), text(byte / 64));
                Frame { name, file, module, line: if byte % 4 == 0 { u32::MAX } else { u32::from(byte % 3) } }
            })
            .collect();
        chunk.stacks.push_all(frames)
    }

    fn other(&self, chunk: &mut RawChunk, plan: &OtherPlan, track: u32) {
        let (first, second) =
            (chunk.strings.intern(self.text(plan.texts.0)), chunk.strings.intern(self.text(plan.texts.1)));
        let (time, offset) = (self.times.start(plan.time), plan.number >> 8);
        let args = plan.args.map_or(ArgsLoc::NONE, |args| self.loc(args));
        let (_, pid, tid) =
            chunk.tracks.get(track as usize).copied().unwrap_or((TrackKind::Thread, RawId::None, RawId::None));
        let id = RawId::Int(plan.id.into());
        let kind = EventKind::ALL.get(plan.number as usize % EventKind::ALL.len()).copied();
        let kind = kind.unwrap_or(EventKind::Other);
        match plan.what {
            0..=2 => {
                let begins = plan.number.is_multiple_of(2);
                let event = RawBeginEnd { begins, track, time, name: first, category: second, kind, args, offset };
                chunk.begin_ends.push(event);
            }
            3..=4 => {
                let phase = match plan.number % 5 {
                    0 => AsyncPhase::Instant,
                    1 | 2 => AsyncPhase::Begin,
                    _ => AsyncPhase::End,
                };
                chunk.asyncs.push(RawAsync { phase, track, id, time, name: first, category: second, args, offset });
            }
            5..=7 => {
                let phase = match plan.number % 3 {
                    0 => b's',
                    1 => b't',
                    _ => b'f',
                };
                let is_launch = plan.number.is_multiple_of(4);
                chunk.flows.push(RawFlow { id, time, track, category: first, name: second, phase, is_launch, offset });
            }
            8..=11 => {
                let seam = DOUBLES.get(plan.number as usize % (DOUBLES.len() * 2)).copied();
                let value = f64::from_bits(seam.unwrap_or(plan.number));
                let (pid, unit) = (if plan.id == 3 { RawId::Int(77) } else { pid }, second);
                chunk.counters.push(RawCounter { pid, name: first, unit, time, value });
            }
            12 => chunk.metas.push(RawMeta::ProcessName(pid, first)),
            13 => chunk.metas.push(RawMeta::ProcessLabels(pid, first)),
            14 if plan.id.is_multiple_of(2) => chunk.metas.push(RawMeta::ProcessSort(pid, plan.number as i64 >> 60)),
            14 => chunk.metas.push(RawMeta::ThreadSort(pid, tid, plan.number as i64 >> 60)),
            _ => chunk.metas.push(RawMeta::ThreadName(pid, tid, first)),
        }
    }
}
