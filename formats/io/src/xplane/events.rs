//! From the bytes of events to columns, one chunk per stretch of a plane's lines.

use gapless_trace::{
    ArgsLoc, EventKind, RawChunk, RawCounter, RawId, RawMeta, SourceId, StrId, TrackKind, WarningKind,
};
use rustc_hash::FxHashMap;

use super::facts::Clock;
use super::flows::{Direction, Point};
use super::kinds::{CONTEXTS, GPU_LAUNCH, LineKind, PlaneKind, TypeKind, kind_of_type, stream_number};
use super::message::{Fields, Slice, Value};
use super::space::{Line, Plane};
use super::tables::{Role, StatValue, Stretch, read_stat, stat_id};

/// No correlation id.
const NO_ID: u32 = u32::MAX;

/// What one thread reads at a time: stretches of lines of one plane.
pub(super) struct Unit<'a> {
    /// The plane.
    pub plane: &'a Plane,
    /// Process that its threads belong to.
    pub pid: i64,
    /// Whether processes and devices have ids of their own, so that names of both can be told apart.
    pub names_processes: bool,
    /// Line and stretch of its events; whether it is the first of the line.
    pub pieces: Vec<(&'a Line, Stretch, bool)>,
}

/// What became of a unit.
pub(super) struct UnitEvents {
    /// Its events.
    pub chunk: RawChunk,
    /// Work that its events hand on or take up.
    pub points: Vec<Point>,
}

/// What an event type is called and what it is, in a chunk.
#[derive(Clone, Copy)]
struct Known {
    name: StrId,
    category: StrId,
    kind: TypeKind,
    is_memory: bool,
    /// Defined in the plane.
    is_defined: bool,
    /// Its name is valid UTF-8.
    is_valid: bool,
}

/// What the stats of an event say beside its arguments.
#[derive(Clone, Copy, Default)]
struct Found<'a> {
    correlation: Option<u64>,
    is_step: bool,
    is_operation: bool,
    is_copy: bool,
    is_fill: bool,
    is_note: bool,
    copy_bytes: Option<u64>,
    category: Option<&'a [u8]>,
    produces: (Option<u64>, Option<u64>),
    consumes: (Option<u64>, Option<u64>),
    flow: Option<u64>,
}

struct Reading<'a> {
    file: &'a [u8],
    plane: &'a Plane,
    clock: Clock,
    chunk: RawChunk,
    points: Vec<Point>,
    known: FxHashMap<i64, Known>,
    contexts: FxHashMap<u64, StrId>,
    tracks: FxHashMap<(TrackKind, RawId, RawId), u32>,
}

/// Tracks of a line in the chunk.
struct Tracks {
    pid: RawId,
    main: u32,
    /// Where what is no work of a work line, and what is an instant of a thread, goes.
    beside: u32,
}

/// Reads the events of `unit`. O(bytes of the unit).
pub(super) fn read_unit(file: &[u8], unit: &Unit<'_>, clock: Clock) -> UnitEvents {
    let mut reading = Reading {
        file,
        plane: unit.plane,
        clock,
        chunk: RawChunk::default(),
        points: Vec::new(),
        known: FxHashMap::default(),
        contexts: FxHashMap::default(),
        tracks: FxHashMap::default(),
    };
    for &(line, piece, is_first) in &unit.pieces {
        let tracks = reading.tracks(unit, line, is_first);
        let base = clock.line_ns(line.timestamp_ns);
        for field in Fields::new(piece.of(file)) {
            if let (4, Value::Bytes(event)) = field {
                reading.chunk.file_events += 1;
                if line.kind == LineKind::Counters {
                    reading.counter(event, base, tracks.pid);
                } else {
                    reading.event(event, base, line.kind, &tracks);
                }
            }
        }
    }
    UnitEvents { chunk: reading.chunk, points: reading.points }
}

impl<'a> Reading<'a> {
    fn warn(&mut self, kind: WarningKind, at: usize, detail: &str) {
        self.chunk.warnings.add(kind, SourceId(0), Some(at as u64), detail);
    }

    fn tracks(&mut self, unit: &Unit<'_>, line: &Line, is_first: bool) -> Tracks {
        let name = line.name.text(self.file).into_owned();
        let device = self.plane.kind.device().map(|device| RawId::Int(i64::from(device)));
        let pid = device.unwrap_or(RawId::Int(unit.pid));
        let core = match &self.plane.kind {
            PlaneKind::Tpu { core, .. } => core.as_str(),
            _ => "",
        };
        let full_name = match &self.plane.kind {
            PlaneKind::Other | PlaneKind::Facts => format!("{} / {name}", self.plane.name(self.file)),
            _ if core.is_empty() => name.clone(),
            _ => format!("{core} / {name}"),
        };
        let label = self.chunk.strings.intern(&full_name);
        let (kind, beside, tid) = match line.kind {
            LineKind::Thread => (TrackKind::Thread, TrackKind::ThreadInstants, RawId::Int(line.id)),
            LineKind::Work if core.is_empty() => {
                let stream = stream_number(&name).unwrap_or(line.id);
                (TrackKind::Stream, TrackKind::StreamAnnotations, RawId::Int(stream))
            }
            LineKind::Work => (TrackKind::Stream, TrackKind::StreamAnnotations, RawId::Text(label)),
            LineKind::Steps | LineKind::Notes | LineKind::Overhead => {
                (TrackKind::StreamAnnotations, TrackKind::StreamAnnotations, RawId::Text(label))
            }
            LineKind::Custom | LineKind::Counters => (TrackKind::Custom, TrackKind::Custom, RawId::Text(label)),
        };
        if is_first && line.kind != LineKind::Counters {
            self.chunk.metas.push(RawMeta::ThreadName(pid, tid, label));
            if unit.names_processes && (device.is_some() || self.plane.kind == PlaneKind::Host) && core.is_empty() {
                let plane = self.chunk.strings.intern(&self.plane.name(self.file));
                self.chunk.metas.push(RawMeta::ProcessName(pid, plane));
            }
        }
        Tracks { pid, main: self.track((kind, pid, tid)), beside: self.track((beside, pid, tid)) }
    }

    fn track(&mut self, key: (TrackKind, RawId, RawId)) -> u32 {
        *self.tracks.entry(key).or_insert_with(|| {
            self.chunk.tracks.push(key);
            self.chunk.tracks.len() as u32 - 1
        })
    }

    /// Name, category and kind of the events of type `id`.
    fn known(&mut self, id: i64) -> Known {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let strings = &mut self.chunk.strings;
        let known = match self.plane.tables.types.get(id) {
            Some(entry) => {
                let name = entry.label().of(self.file).bytes;
                Known {
                    name: strings.intern(&String::from_utf8_lossy(name)),
                    category: strings.intern(&entry.category.text(self.file)),
                    kind: entry.kind,
                    is_memory: matches!(name, b"MemoryAllocation" | b"MemoryDeallocation"),
                    is_defined: true,
                    is_valid: std::str::from_utf8(name).is_ok(),
                }
            }
            None => Known {
                name: strings.intern(&format!("event {id}")),
                category: StrId::EMPTY,
                kind: TypeKind::default(),
                is_memory: false,
                is_defined: false,
                is_valid: true,
            },
        };
        self.known.insert(id, known);
        known
    }

    fn stat(&self, stat: Slice<'a>, found: &mut Found<'a>) {
        let tables = &self.plane.tables;
        let role = tables.stats.get(stat_id(stat)).map_or(Role::None, |stat| stat.role);
        if role == Role::None {
            return;
        }
        let value = read_stat(stat).1;
        let bytes_of = |key: &str| {
            let text = tables.text(self.file, value).and_then(|text| std::str::from_utf8(text).ok())?;
            text.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix(':')?.parse().ok())
        };
        match role {
            Role::None => {}
            Role::CorrelationId => found.correlation = value.bits(),
            Role::StepNumber => found.is_step = true,
            Role::HloOp => found.is_operation = true,
            Role::HloCategory => found.category = tables.text(self.file, value),
            Role::CopyDetails => (found.is_copy, found.copy_bytes) = (true, bytes_of("size")),
            Role::FillDetails => (found.is_fill, found.copy_bytes) = (true, bytes_of("num_bytes")),
            Role::MemoryDetails | Role::CounterValue => found.is_note = true,
            Role::ProducerType => found.produces.0 = value.bits(),
            Role::ProducerId => found.produces.1 = value.bits(),
            Role::ConsumerType => found.consumes.0 = value.bits(),
            Role::ConsumerId => found.consumes.1 = value.bits(),
            Role::Flow => found.flow = value.bits(),
        }
    }

    fn event(&mut self, event: Slice<'a>, base: i64, line: LineKind, tracks: &Tracks) {
        let (mut id, mut offset_ps, mut dur_ps, mut is_sum) = (0, 0, 0, false);
        let mut found = Found::default();
        let mut fields = Fields::new(event);
        for field in fields.by_ref() {
            match field {
                (1, Value::Varint(value)) => id = value as i64,
                (2, Value::Varint(value)) => (offset_ps, is_sum) = (value as i64, false),
                (3, Value::Varint(value)) => dur_ps = value as i64,
                (4, Value::Bytes(stat)) => self.stat(stat, &mut found),
                (5, Value::Varint(_)) => is_sum = true,
                _ => {}
            }
        }
        if let Some(at) = fields.damage() {
            self.warn(WarningKind::MalformedEvent, at, "in an event");
            return;
        }
        let known = self.known(id);
        if is_sum {
            self.warn(WarningKind::SumOfEvents, event.at, "");
            return;
        }
        let Some((start, dur)) = self.times(event.at, base, offset_ps, dur_ps) else { return };
        if !known.is_defined {
            self.warn(WarningKind::UnknownId, event.at, "");
        }
        if !known.is_valid {
            self.warn(WarningKind::InvalidUtf8, event.at, "");
        }
        let category = match found.category {
            Some(text) => self.chunk.strings.intern(&String::from_utf8_lossy(text)),
            None => known.category,
        };
        let kind = self.kind(line, &known, &found, dur_ps);
        let is_beside = match line {
            LineKind::Thread => kind.is_instant(),
            LineKind::Work => !kind.is_device_work(),
            _ => false,
        };
        let correlation = found.correlation.filter(|_| kind.is_device_work() || kind.is_device_call());
        let correlation = match correlation.map(u32::try_from) {
            Some(Ok(id)) if id != NO_ID => id,
            Some(_) => {
                self.warn(WarningKind::WideId, event.at, "");
                NO_ID
            }
            None => NO_ID,
        };
        let args = ArgsLoc::new(event.at as u64, event.bytes.len()).unwrap_or_else(|| {
            self.chunk.warnings.add(WarningKind::ArgsTooLong, SourceId(0), Some(event.at as u64), "");
            ArgsLoc::NONE
        });
        let place = self.chunk.len() as u32;
        if let Some(bytes) = found.copy_bytes.filter(|_| kind.is_copy()) {
            self.chunk.copy_bytes.push((place, bytes));
        }
        if !matches!(line, LineKind::Notes | LineKind::Steps | LineKind::Overhead) {
            self.points_of(place, start, event.at, &found);
        }
        let track = if is_beside { tracks.beside } else { tracks.main };
        self.chunk.push(start, dur, known.name, category, kind, track, correlation, NO_ID, args);
    }

    fn kind(&self, line: LineKind, known: &Known, found: &Found<'_>, dur_ps: i64) -> EventKind {
        match line {
            LineKind::Thread => match known.kind.host {
                _ if found.is_step => EventKind::Step,
                kind if !matches!(kind, EventKind::Operator | EventKind::Annotation) => kind,
                // Only calls of the device's driver and runtime carry the id.
                _ if found.correlation.is_some() => EventKind::RuntimeCall,
                _ if dur_ps == 0 && known.is_memory => EventKind::MemoryInstant,
                _ if dur_ps == 0 => EventKind::Instant,
                _ if found.is_operation => EventKind::Operator,
                kind => kind,
            },
            LineKind::Work if found.is_copy => EventKind::Memcpy,
            LineKind::Work if found.is_fill => EventKind::Memset,
            LineKind::Work if found.is_note => EventKind::DeviceAnnotation,
            LineKind::Work => match found.category {
                Some(category) => {
                    let name = self.chunk.strings.get(known.name);
                    kind_of_type(&self.plane.kind, name, &String::from_utf8_lossy(category)).device
                }
                None => known.kind.device,
            },
            LineKind::Steps => EventKind::Step,
            LineKind::Notes => EventKind::DeviceAnnotation,
            LineKind::Overhead => EventKind::Overhead,
            LineKind::Counters | LineKind::Custom => EventKind::Other,
        }
    }

    /// Start and duration in ns. Both ends are rounded down, so that what nests in picoseconds nests in nanoseconds.
    fn times(&mut self, at: usize, base: i64, offset_ps: i64, dur_ps: i64) -> Option<(i64, i64)> {
        let start = base.checked_add(offset_ps.div_euclid(1_000)).filter(|&start| self.clock.fits(start));
        let Some(start) = start else {
            self.warn(WarningKind::TimeOutOfRange, at, "");
            return None;
        };
        if dur_ps < 0 {
            self.warn(WarningKind::NegativeDuration, at, "");
            return Some((start, 0));
        }
        let end = offset_ps.checked_add(dur_ps).and_then(|end| base.checked_add(end.div_euclid(1_000)));
        match end.filter(|&end| self.clock.fits(end)) {
            Some(end) => Some((start, end - start)),
            None => {
                self.warn(WarningKind::DurationOutOfRange, at, "");
                Some((start, self.clock.last_ns().saturating_sub(start)))
            }
        }
    }

    /// Notes work that the event hands on or takes up.
    fn points_of(&mut self, event: u32, start: i64, at: usize, found: &Found<'_>) {
        let push = |reading: &mut Self, direction, space, context: u64, id| {
            let category = reading.context(context);
            reading.points.push(Point { space, context, id, direction, start, chunk: 0, event, category, offset: at });
        };
        if let (context, Some(id)) = found.produces {
            push(self, Direction::Out, 0, context.unwrap_or(0), id);
        }
        if let (context, Some(id)) = found.consumes {
            push(self, Direction::In, 0, context.unwrap_or(0), id);
        }
        // Post-processing repeats the above, and correlation ids, as flows.
        let is_repeated = found.produces.1.is_some() || found.consumes.1.is_some();
        if let Some(flow) = found.flow.filter(|flow| !is_repeated && flow >> 58 != GPU_LAUNCH) {
            let direction = match flow & 3 {
                1 => Direction::In,
                2 => Direction::Out,
                3 => Direction::InOut,
                _ => return,
            };
            push(self, direction, 1, flow >> 58, flow >> 2 & ((1 << 56) - 1));
        }
    }

    fn context(&mut self, number: u64) -> StrId {
        let strings = &mut self.chunk.strings;
        *self.contexts.entry(number).or_insert_with(|| {
            match usize::try_from(number).ok().and_then(|number| CONTEXTS.get(number)) {
                Some(name) => strings.intern(name),
                None => strings.intern(&format!("context {number}")),
            }
        })
    }

    /// A sample of a counter: the value is the event's first number.
    fn counter(&mut self, event: Slice<'a>, base: i64, pid: RawId) {
        let (mut id, mut offset_ps, mut value) = (0, 0, StatValue::None);
        let mut fields = Fields::new(event);
        for field in fields.by_ref() {
            match field {
                (1, Value::Varint(number)) => id = number as i64,
                (2, Value::Varint(number)) => offset_ps = number as i64,
                (4, Value::Bytes(stat)) if value.number().is_none() => value = read_stat(stat).1,
                _ => {}
            }
        }
        if let Some(at) = fields.damage() {
            self.warn(WarningKind::MalformedEvent, at, "in a counter");
            return;
        }
        let Some(value) = value.number() else {
            self.warn(WarningKind::CounterNotNumeric, event.at, "");
            return;
        };
        if !value.is_finite() {
            self.warn(WarningKind::NotANumber, event.at, "");
            return;
        }
        let Some((time, _)) = self.times(event.at, base, offset_ps, 0) else { return };
        let known = self.known(id);
        if !known.is_defined {
            self.warn(WarningKind::UnknownId, event.at, "");
        }
        self.chunk.counters.push(RawCounter { pid, name: known.name, unit: StrId::EMPTY, time, value });
    }
}
