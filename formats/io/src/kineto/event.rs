//! One event of the file into the columns of a chunk.

use gapless_trace::{
    ArgsLoc, AsyncPhase, CollectiveArgs, EventKind, RawAsync, RawBeginEnd, RawChunk, RawCounter, RawFlow, RawId,
    RawMeta, SourceId, StrId, TrackKind, WarningKind,
};
use rustc_hash::FxHashMap;

use super::args::{parse_object, parse_value};
use super::category::{is_launch_flow, is_point_to_point, kind_of_category, refine, track_kind};
use super::intern::Interner;
use super::pieces::Text;
use super::resync::{list_end, next_event};
use super::scan::{Cursor, Nanos, RawStr};
use super::wanted::Wanted;

/// Absent correlation or external id.
pub(super) const NO_ID: u32 = u32::MAX;
/// Times beyond this are dropped, so that a base and a duration can be added without overflow.
const FARTHEST_NS: i64 = i64::MAX / 4;

/// Keys of an event that may stand once.
pub(super) mod seen {
    pub const PH: u16 = 1;
    pub const CAT: u16 = 2;
    pub const NAME: u16 = 4;
    pub const PID: u16 = 8;
    pub const TID: u16 = 16;
    pub const TS: u16 = 32;
    pub const DUR: u16 = 64;
    pub const ARGS: u16 = 128;
    pub const ID: u16 = 256;
}

/// An event as far as it is read.
pub(super) struct Fields<'a> {
    pub offset: u64,
    pub seen: u16,
    pub phase: u8,
    pub has_phase: bool,
    pub is_empty: bool,
    pub name: StrId,
    pub name_raw: &'a [u8],
    pub category: usize,
    pub pid: RawId,
    pub tid: RawId,
    pub time: Nanos,
    pub dur: Nanos,
    pub id: RawId,
    pub args: std::ops::Range<usize>,
    pub wanted: Wanted<'a>,
}

/// A category of the chunk.
pub(super) struct Category<'a> {
    pub raw: &'a [u8],
    pub id: StrId,
    pub kind: EventKind,
    pub is_launch_flow: bool,
}

/// Parses events of `cursor.bytes`, whose first byte stands at `base` in the source.
pub(crate) struct EventParser<'a> {
    pub cursor: Cursor<'a>,
    pub chunk: RawChunk,
    base: u64,
    pub(super) text: Text,
    list_end: Option<Option<usize>>,
    /// Whether what follows a string is looked at closely: only an event that made no sense without is read so.
    is_careful: bool,
    names: Interner<'a>,
    pub(super) categories: Vec<Category<'a>>,
    category_places: FxHashMap<&'a [u8], usize>,
    last_category: usize,
    tracks: FxHashMap<(TrackKind, RawId, RawId), u32>,
    last_tracks: [(TrackKind, RawId, RawId, u32); 8],
    /// Kind of an event by its name and the kind of its category, three to a name.
    refined: Vec<Option<EventKind>>,
}

impl<'a> EventParser<'a> {
    pub fn new(bytes: &'a [u8], at: usize, base: u64, text: Text, nesting: usize) -> Self {
        let mut chunk = RawChunk::default();
        let id = chunk.strings.intern("");
        Self {
            cursor: Cursor::new(bytes, at).with_nesting(nesting),
            chunk,
            base,
            text,
            list_end: None,
            is_careful: false,
            names: Interner::new(),
            categories: vec![Category { raw: &[], id, kind: EventKind::Other, is_launch_flow: false }],
            category_places: FxHashMap::default(),
            last_category: 0,
            tracks: FxHashMap::default(),
            last_tracks: [(TrackKind::Counter, RawId::None, RawId::None, u32::MAX); 8],
            refined: Vec::new(),
        }
    }

    /// Where the list of events ends, if that is after `from`; looked for once.
    pub fn list_end_after(&mut self, from: usize) -> Option<usize> {
        if self.text == Text::Window {
            return None;
        }
        let bytes = self.cursor.bytes;
        self.list_end.get_or_insert_with(|| list_end(bytes)).filter(|&end| end > from)
    }

    /// Counts a warning at `at` in the bytes.
    pub fn warn(&mut self, kind: WarningKind, at: usize) {
        self.chunk.warnings.add(kind, SourceId(0), Some(self.base + at as u64), "");
    }

    /// Reads the event whose `{` is here. `None` if its text ends early or makes no sense; nothing was added then.
    #[inline]
    pub fn event(&mut self) -> Option<()> {
        let from = self.cursor.at;
        if self.event_here().is_some() {
            return Some(());
        }
        self.event_again(from)
    }

    /// Reads the event at `from`, which made no sense, once more and looks for unescaped quotes.
    #[cold]
    fn event_again(&mut self, from: usize) -> Option<()> {
        self.is_careful = true;
        self.cursor.is_too_deep = false;
        self.cursor.at = from;
        let read = self.event_here();
        self.is_careful = false;
        read
    }

    #[inline(always)]
    fn event_here(&mut self) -> Option<()> {
        let from = self.cursor.at;
        self.cursor.at += 1;
        let mut fields = Fields {
            offset: self.base + from as u64,
            seen: 0,
            phase: 0,
            has_phase: false,
            is_empty: true,
            name: StrId::EMPTY,
            name_raw: &[],
            category: 0,
            pid: RawId::None,
            tid: RawId::None,
            time: Nanos::Missing,
            dur: Nanos::Missing,
            id: RawId::None,
            args: 0..0,
            wanted: Wanted::default(),
        };
        let mut after_comma = false;
        loop {
            self.cursor.skip_space();
            match self.cursor.peek() {
                b'"' => self.field(&mut fields)?,
                b',' => {
                    self.cursor.at += 1;
                    after_comma = true;
                    continue;
                }
                b'}' => {
                    self.cursor.at += 1;
                    if after_comma {
                        self.warn(WarningKind::TrailingComma, from);
                    }
                    break;
                }
                _ => return None,
            }
            after_comma = false;
        }
        self.finish(fields);
        Some(())
    }

    #[inline(always)]
    fn field(&mut self, fields: &mut Fields<'a>) -> Option<()> {
        fields.is_empty = false;
        let key = self.cursor.string()?;
        self.cursor.skip_space();
        if !self.cursor.take(b':') {
            return None;
        }
        self.cursor.skip_space();
        let bit = match key.text {
            b"ph" => {
                if self.cursor.peek() == b'"' {
                    let text = self.cursor.string()?.text;
                    fields.phase = text.first().copied().unwrap_or(0);
                    fields.has_phase = text.len() == 1;
                } else {
                    self.cursor.skip_value()?;
                }
                seen::PH
            }
            b"name" => {
                match self.text_value()? {
                    Some(raw) => {
                        fields.name = self.names.intern(raw, fields.offset, &mut self.chunk);
                        fields.name_raw = raw.text;
                    }
                    None => self.cursor.skip_value()?,
                }
                seen::NAME
            }
            b"cat" => {
                match self.text_value()? {
                    Some(raw) => fields.category = self.category(raw, fields.offset),
                    None => self.cursor.skip_value()?,
                }
                seen::CAT
            }
            b"pid" => {
                match self.quick_id() {
                    Some(id) => fields.pid = RawId::Int(id),
                    None => fields.pid = self.place_id_slow(fields.offset)?,
                }
                seen::PID
            }
            b"tid" => {
                match self.quick_id() {
                    Some(id) => fields.tid = RawId::Int(id),
                    None => fields.tid = self.place_id_slow(fields.offset)?,
                }
                seen::TID
            }
            b"ts" => {
                match self.cursor.quick_micros() {
                    Some(nanos) => fields.time = Nanos::Value(nanos),
                    None => fields.time = self.cursor.micros_slow()?,
                }
                seen::TS
            }
            b"dur" => {
                match self.cursor.quick_micros() {
                    Some(nanos) => fields.dur = Nanos::Value(nanos),
                    None => fields.dur = self.cursor.micros_slow()?,
                }
                seen::DUR
            }
            b"args" => {
                self.args(fields)?;
                seen::ARGS
            }
            b"id" => {
                match self.quick_id() {
                    Some(id) => fields.id = RawId::Int(id),
                    None => fields.id = self.place_id_slow(fields.offset)?,
                }
                seen::ID
            }
            b"id2" => {
                self.scoped_id(fields)?;
                seen::ID
            }
            _ => {
                self.cursor.skip_value()?;
                0
            }
        };
        if fields.seen & bit != 0 {
            self.chunk.warnings.add(WarningKind::DuplicateKey, SourceId(0), Some(fields.offset), "");
        }
        fields.seen |= bit;
        Some(())
    }

    /// A string value; one that holds unescaped quotes is read up to a quote that can end it. `Some(None)`: no string.
    #[inline(always)]
    fn text_value(&mut self) -> Option<Option<RawStr<'a>>> {
        if self.cursor.peek() != b'"' {
            return Some(None);
        }
        let from = self.cursor.at + 1;
        let mut raw = self.cursor.string()?;
        let mut after = self.cursor.clone();
        after.skip_space();
        if !matches!(after.peek(), b',' | b'}')
            || (self.is_careful && after.peek() == b',' && !self.key_follows(&after))
        {
            raw = self.unescaped_quotes(from)?;
        }
        Some(Some(raw))
    }

    /// Whether a key (or the end of a damaged list of keys) follows the comma here.
    #[inline(always)]
    fn key_follows(&self, comma: &Cursor<'a>) -> bool {
        let mut after = Cursor::new(comma.bytes, comma.at + 1);
        after.skip_space();
        match after.peek() {
            b'"' => {
                let is_key = after.string().is_some();
                after.skip_space();
                is_key && (after.peek() == b':' || after.is_at_end())
            }
            byte => after.is_at_end() || matches!(byte, b',' | b'}'),
        }
    }

    #[cold]
    fn unescaped_quotes(&mut self, from: usize) -> Option<RawStr<'a>> {
        // Names are short: a repair that runs on for long, or into the next event, has lost its way.
        const LONGEST: usize = 1 << 16;
        let window = self.cursor.bytes.get(..from + LONGEST).unwrap_or(self.cursor.bytes);
        let limit = next_event(window, from).unwrap_or(window.len());
        while self.cursor.at < limit {
            let mut after = self.cursor.clone();
            after.skip_space();
            if after.is_at_end() {
                return None;
            }
            if after.peek() == b'}' || (after.peek() == b',' && self.key_follows(&after)) {
                self.warn(WarningKind::UnescapedQuote, from);
                let text = self.cursor.bytes.get(from..self.cursor.at - 1)?;
                return Some(RawStr { text, is_escaped: text.contains(&b'\\') });
            }
            self.cursor.string_rest()?;
        }
        None
    }

    #[inline(always)]
    fn category(&mut self, raw: RawStr<'a>, offset: u64) -> usize {
        if self.categories.get(self.last_category).is_some_and(|last| last.raw == raw.text) {
            return self.last_category;
        }
        self.last_category = match self.category_places.get(raw.text) {
            Some(&place) => place,
            None => {
                let id = self.names.intern(raw, offset, &mut self.chunk);
                let is_launch_flow = is_launch_flow(self.chunk.strings.get(id));
                self.categories.push(Category { raw: raw.text, id, kind: kind_of_category(raw.text), is_launch_flow });
                self.category_places.insert(raw.text, self.categories.len() - 1);
                self.categories.len() - 1
            }
        };
        self.last_category
    }

    /// An id that is a plain number. In registers: an enum would go through memory, and every event has three.
    #[inline(always)]
    fn quick_id(&mut self) -> Option<i64> {
        let from = self.cursor.at;
        let mut value = 0u64;
        let mut at = from;
        while let Some(digit) =
            self.cursor.bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9)
        {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        if at > from && at - from < 19 && matches!(self.cursor.bytes.get(at), Some(b',' | b'}' | 0..=b' ')) {
            self.cursor.at = at;
            return Some(value as i64);
        }
        None
    }

    /// A process, thread, stream or flow id: a number, a text of digits, `stream 7`, or any text.
    #[inline(never)]
    fn place_id_slow(&mut self, offset: u64) -> Option<RawId> {
        let raw = match self.cursor.peek() {
            b'"' => self.cursor.string()?,
            b'{' | b'[' => {
                self.cursor.skip_nested()?;
                return Some(RawId::None);
            }
            _ => RawStr { text: self.cursor.scalar()?, is_escaped: false },
        };
        if raw.text == b"null" {
            return Some(RawId::None);
        }
        let digits = raw.text.strip_prefix(b"stream ").unwrap_or(raw.text);
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok());
        Some(match number {
            Some(number) => RawId::Int(number),
            None => RawId::Text(self.names.intern(raw, offset, &mut self.chunk)),
        })
    }

    /// `"id2": {"local": "0x1"}` of asynchronous events.
    fn scoped_id(&mut self, fields: &mut Fields<'a>) -> Option<()> {
        let from = self.cursor.at;
        self.cursor.skip_value()?;
        let mut inside = Cursor::new(self.cursor.bytes.get(..self.cursor.at)?, from);
        if inside.take(b'{') {
            inside.skip_space();
            let has_key = inside.string().is_some();
            inside.skip_space();
            if has_key && inside.take(b':') {
                inside.skip_space();
                let outer = std::mem::replace(&mut self.cursor.at, inside.at);
                fields.id = match self.quick_id() {
                    Some(id) => RawId::Int(id),
                    None => self.place_id_slow(fields.offset)?,
                };
                self.cursor.at = outer;
            }
        }
        Some(())
    }

    /// Adds the event to the chunk, or counts why not.
    #[inline(always)]
    fn finish(&mut self, fields: Fields<'a>) {
        if fields.is_empty {
            return self.lose(WarningKind::EmptyEvent, &fields);
        }
        if !fields.has_phase {
            return self.lose(WarningKind::NoPhase, &fields);
        }
        let kept = match fields.phase {
            b'X' => self.time(&fields).map(|time| {
                let dur = self.dur(&fields);
                self.push(&fields, time, dur);
            }),
            b's' | b't' | b'f' => self.flow(&fields),
            b'M' => {
                self.meta(&fields);
                Some(())
            }
            b'i' | b'I' | b'R' => self.time(&fields).map(|time| self.instant(&fields, time)),
            b'C' => self.counters(&fields),
            b'B' | b'E' => self.begin_end(&fields),
            b'b' | b'n' | b'e' | b'S' | b'T' | b'p' | b'F' => self.asynchronous(&fields),
            _ => {
                self.lose(WarningKind::UnknownPhase, &fields);
                None
            }
        };
        self.chunk.file_events += u64::from(kept.is_some());
    }

    #[cold]
    fn lose(&mut self, kind: WarningKind, fields: &Fields<'a>) {
        let detail = match kind {
            WarningKind::UnknownPhase => format!("\"ph\": \"{}\"", char::from(fields.phase)),
            _ => String::from_utf8_lossy(fields.name_raw).into_owned(),
        };
        self.chunk.warnings.add(kind, SourceId(0), Some(fields.offset), &detail);
    }

    /// The event's time, or nothing after the loss was counted.
    #[inline(always)]
    fn time(&mut self, fields: &Fields<'a>) -> Option<i64> {
        match fields.time {
            Nanos::Value(value) if (-FARTHEST_NS..=FARTHEST_NS).contains(&value) => return Some(value),
            Nanos::Value(_) | Nanos::OutOfRange { .. } => self.lose(WarningKind::TimeOutOfRange, fields),
            Nanos::NotANumber | Nanos::Missing => self.lose(WarningKind::NoTimestamp, fields),
        }
        None
    }

    #[inline(always)]
    fn dur(&mut self, fields: &Fields<'a>) -> i64 {
        let (value, warning) = match fields.dur {
            Nanos::Value(value @ 0..=FARTHEST_NS) => return value,
            Nanos::Value(..0) | Nanos::OutOfRange { negative: true } => (0, WarningKind::NegativeDuration),
            Nanos::Value(_) | Nanos::OutOfRange { negative: false } => (FARTHEST_NS, WarningKind::DurationOutOfRange),
            Nanos::NotANumber => (0, WarningKind::NotANumber),
            Nanos::Missing => (0, WarningKind::NoDuration),
        };
        self.chunk.warnings.add(warning, SourceId(0), Some(fields.offset), "");
        value
    }

    fn args_loc(&mut self, fields: &Fields<'a>) -> ArgsLoc {
        if fields.args.is_empty() {
            return ArgsLoc::NONE;
        }
        ArgsLoc::new(self.base + fields.args.start as u64, fields.args.len()).unwrap_or_else(|| {
            self.chunk.warnings.add(WarningKind::ArgsTooLong, SourceId(0), Some(fields.offset), "");
            ArgsLoc::NONE
        })
    }

    #[inline(always)]
    fn track(&mut self, kind: TrackKind, pid: RawId, tid: RawId) -> u32 {
        let slot = kind as usize & 7;
        if let Some(&(last_kind, last_pid, last_tid, track)) = self.last_tracks.get(slot)
            && (last_kind, last_pid, last_tid) == (kind, pid, tid)
            && track != u32::MAX
        {
            return track;
        }
        let chunk = &mut self.chunk;
        let track = *self.tracks.entry((kind, pid, tid)).or_insert_with(|| {
            chunk.tracks.push((kind, pid, tid));
            chunk.tracks.len() as u32 - 1
        });
        if let Some(last) = self.last_tracks.get_mut(slot) {
            *last = (kind, pid, tid, track);
        }
        track
    }

    fn kind_of(&mut self, fields: &Fields<'a>) -> EventKind {
        let kind = self.categories.get(fields.category).map_or(EventKind::Other, |category| category.kind);
        if !matches!(kind, EventKind::Operator | EventKind::Annotation | EventKind::Kernel) {
            return kind;
        }
        let slot = match kind {
            EventKind::Operator => 0,
            EventKind::Annotation => 1,
            _ => 2,
        };
        let place = fields.name.index() * 3 + slot;
        if let Some(&Some(known)) = self.refined.get(place) {
            return known;
        }
        let refined = refine(kind, self.chunk.strings.get(fields.name));
        if self.refined.len() <= place {
            self.refined.resize(place + 1, None);
        }
        if let Some(known) = self.refined.get_mut(place) {
            *known = Some(refined);
        }
        refined
    }

    fn category_id(&self, fields: &Fields<'a>) -> StrId {
        self.categories.get(fields.category).map_or(StrId::EMPTY, |category| category.id)
    }

    #[inline(always)]
    fn push(&mut self, fields: &Fields<'a>, time: i64, dur: i64) {
        let mut kind = self.kind_of(fields);
        let wanted = &fields.wanted;
        if kind == EventKind::Kernel
            && let Some(name) = wanted.collective
        {
            kind = if is_point_to_point(name.text) { EventKind::PointToPoint } else { EventKind::Collective };
        }
        let track = self.track(track_kind(kind), fields.pid, fields.tid);
        let args = self.args_loc(fields);
        if wanted.wide {
            self.chunk.warnings.add(WarningKind::WideId, SourceId(0), Some(fields.offset), "");
        }
        let narrow = |id: Option<u64>| id.and_then(|id| u32::try_from(id).ok()).unwrap_or(NO_ID);
        let event = self.chunk.len() as u32;
        if wanted.collective.is_some() {
            self.collective(event, wanted, fields.offset);
        }
        if kind.is_copy()
            && let Some(bytes) = wanted.bytes
        {
            self.chunk.copy_bytes.push((event, bytes));
        }
        let category = self.category_id(fields);
        self.chunk.push(
            time,
            dur,
            fields.name,
            category,
            kind,
            track,
            narrow(wanted.correlation),
            narrow(wanted.external),
            args,
        );
    }

    fn collective(&mut self, event: u32, wanted: &Wanted<'a>, offset: u64) {
        let mut text =
            |raw: Option<RawStr<'a>>| raw.map_or(StrId::EMPTY, |raw| self.names.intern(raw, offset, &mut self.chunk));
        let entry = CollectiveArgs {
            event,
            name: text(wanted.collective),
            dtype: text(wanted.dtype),
            group: text(wanted.group),
            group_desc: text(wanted.group_desc),
            in_elems: wanted.in_elems,
            out_elems: wanted.out_elems,
            group_size: wanted.group_size.and_then(|size| u32::try_from(size).ok()),
            seq: wanted.seq,
        };
        self.chunk.collectives.push(entry);
    }

    fn instant(&mut self, fields: &Fields<'a>, time: i64) {
        let is_memory = fields.name_raw == b"[memory]";
        let kind = if is_memory { EventKind::MemoryInstant } else { EventKind::Instant };
        let track = self.track(TrackKind::ThreadInstants, fields.pid, fields.tid);
        let args = self.args_loc(fields);
        let category = self.category_id(fields);
        self.chunk.push(time, 0, fields.name, category, kind, track, NO_ID, NO_ID, args);
        if is_memory {
            self.memory_counters(fields, time);
        }
    }

    /// The profiler's allocator totals, as counters of the process.
    fn memory_counters(&mut self, fields: &Fields<'a>, time: i64) {
        // c10::DeviceType: 0 is the CPU; its device id is −1 and means nothing.
        let device = match (fields.wanted.device_type, fields.wanted.device) {
            (Some(0) | None, _) => "CPU".to_owned(),
            (Some(_), device) => format!("GPU {}", device.unwrap_or(0)),
        };
        let unit = self.chunk.strings.intern("bytes");
        let totals = [(fields.wanted.allocated, "allocated"), (fields.wanted.reserved, "reserved")];
        for (value, what) in totals {
            // The CPU allocator reserves nothing: a flat zero says nothing.
            let Some(value) = value.filter(|&value| what == "allocated" || value > 0) else { continue };
            let name = self.chunk.strings.intern(&format!("{device} memory {what}"));
            self.chunk.counters.push(RawCounter { pid: fields.pid, name, unit, time, value: value as f64 });
        }
    }

    fn flow(&mut self, fields: &Fields<'a>) -> Option<()> {
        let time = self.time(fields)?;
        let category = self.categories.get(fields.category);
        let flow = RawFlow {
            id: fields.id,
            time,
            track: 0,
            category: category.map_or(StrId::EMPTY, |category| category.id),
            name: fields.name,
            phase: fields.phase,
            is_launch: category.is_some_and(|category| category.is_launch_flow),
            offset: fields.offset,
        };
        let track = self.track(TrackKind::Thread, fields.pid, fields.tid);
        self.chunk.flows.push(RawFlow { track, ..flow });
        Some(())
    }

    fn begin_end(&mut self, fields: &Fields<'a>) -> Option<()> {
        let time = self.time(fields)?;
        // Begins and ends pair on threads; device work lies on streams only.
        let kind = match self.kind_of(fields) {
            kind if track_kind(kind) == TrackKind::Thread => kind,
            _ => EventKind::Other,
        };
        let event = RawBeginEnd {
            begins: fields.phase == b'B',
            // An end need not repeat its category: both go to the thread, whatever they are.
            track: self.track(TrackKind::Thread, fields.pid, fields.tid),
            time,
            name: fields.name,
            category: self.category_id(fields),
            kind,
            args: self.args_loc(fields),
            offset: fields.offset,
        };
        self.chunk.begin_ends.push(event);
        Some(())
    }

    fn asynchronous(&mut self, fields: &Fields<'a>) -> Option<()> {
        let time = self.time(fields)?;
        let category = self.category_id(fields);
        let phase = match fields.phase {
            b'b' | b'S' => AsyncPhase::Begin,
            b'e' | b'F' => AsyncPhase::End,
            _ => AsyncPhase::Instant,
        };
        let event = RawAsync {
            phase,
            track: self.track(TrackKind::Async, fields.pid, RawId::Text(category)),
            id: fields.id,
            time,
            name: fields.name,
            category,
            args: self.args_loc(fields),
            offset: fields.offset,
        };
        self.chunk.asyncs.push(event);
        Some(())
    }

    /// A counter event holds a value per series.
    fn counters(&mut self, fields: &Fields<'a>) -> Option<()> {
        let time = self.time(fields)?;
        let args = parse_object(self.cursor.bytes.get(fields.args.clone()).unwrap_or_default());
        if args.is_empty() {
            self.lose(WarningKind::CounterNotNumeric, fields);
            return None;
        }
        let name = self.chunk.strings.get(fields.name).to_owned();
        let single = args.len() == 1;
        for (key, value) in args {
            let Some(value) = value.as_f64().filter(|value| value.is_finite()) else {
                self.chunk.warnings.add(WarningKind::CounterNotNumeric, SourceId(0), Some(fields.offset), &key);
                continue;
            };
            let series =
                if single && (key == name || key == "value") { name.clone() } else { format!("{name} · {key}") };
            let name = self.chunk.strings.intern(&series);
            self.chunk.counters.push(RawCounter { pid: fields.pid, name, unit: StrId::EMPTY, time, value });
        }
        Some(())
    }

    fn meta(&mut self, fields: &Fields<'a>) {
        let args = parse_object(self.cursor.bytes.get(fields.args.clone()).unwrap_or_default());
        let text = |key: &str| args.iter().find(|entry| entry.0 == key).map(|entry| entry.1.to_string());
        let number = |key: &str| args.iter().find(|entry| entry.0 == key).and_then(|entry| entry.1.as_i64());
        let (pid, tid) = (fields.pid, fields.tid);
        let strings = &mut self.chunk.strings;
        let meta = match fields.name_raw {
            b"process_name" => text("name").map(|name| RawMeta::ProcessName(pid, strings.intern(&name))),
            b"process_labels" => text("labels").map(|labels| RawMeta::ProcessLabels(pid, strings.intern(&labels))),
            b"process_sort_index" => number("sort_index").map(|index| RawMeta::ProcessSort(pid, index)),
            b"thread_name" => text("name").map(|name| RawMeta::ThreadName(pid, tid, strings.intern(&name))),
            b"thread_sort_index" => number("sort_index").map(|index| RawMeta::ThreadSort(pid, tid, index)),
            _ => None,
        };
        match meta {
            Some(meta) => self.chunk.metas.push(meta),
            None => {
                let name = String::from_utf8_lossy(fields.name_raw).into_owned();
                self.chunk.warnings.add(WarningKind::MetadataUnused, SourceId(0), Some(fields.offset), &name);
            }
        }
    }
}

/// A header value at the cursor, for the caller that walks the top level of the file.
pub(crate) fn header_value(cursor: &mut Cursor<'_>) -> Option<gapless_trace::ArgValue> {
    parse_value(cursor, 0)
}
