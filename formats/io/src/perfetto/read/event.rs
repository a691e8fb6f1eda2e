//! Track events: slices, instants, counters, with what hangs on them.

use gapless_trace::{ArgsLoc, CollectiveArgs, EventKind, RawEventStack, RawId, StrId, TrackKind, WarningKind};
use perfetto_proto::field::track_event;

use super::facts::Facts;
use super::record::{Record, Slot, What, flag};
use super::resolve::{Category, CounterValue, FlowPoint, Home, NO_ID, NamedValue, OPEN, Resolver};
use super::wanted::{Key, Number, Own};
use crate::kineto::{is_point_to_point, issues_collective, track_kind};
use crate::protobuf::Fields;

/// What a track event holds beside its record.
#[derive(Default)]
pub(super) struct More<'a> {
    pub name: Option<&'a [u8]>,
    pub name_iid: u64,
    pub categories: Vec<&'a [u8]>,
    pub category_iids: Vec<u64>,
    pub legacy: Option<&'a [u8]>,
    extra_values: Vec<f64>,
    extra_uuids: Vec<u64>,
    extra_doubles: Vec<f64>,
    extra_double_uuids: Vec<u64>,
    callstack: Option<&'a [u8]>,
    callstack_iid: u64,
    weight: Option<f64>,
    gpu: Option<&'a [u8]>,
}

impl<'a> More<'a> {
    fn read(event: &'a [u8]) -> Self {
        let mut more = Self::default();
        for field in Fields::new(event) {
            match field.number {
                track_event::NAME => more.name = field.bytes(),
                track_event::NAME_IID => more.name_iid = field.uint().unwrap_or(0),
                track_event::CATEGORIES => more.categories.extend(field.bytes()),
                track_event::CATEGORY_IIDS => field.each_varint(|iid| more.category_iids.push(iid)),
                track_event::LEGACY_EVENT => more.legacy = field.bytes(),
                track_event::EXTRA_COUNTER_VALUES => {
                    field.each_varint(|value| more.extra_values.push(value as i64 as f64));
                }
                track_event::EXTRA_COUNTER_TRACK_UUIDS => field.each_varint(|uuid| more.extra_uuids.push(uuid)),
                track_event::EXTRA_DOUBLE_COUNTER_VALUES => {
                    field.each_fixed64(|bits| more.extra_doubles.push(f64::from_bits(bits)));
                }
                track_event::EXTRA_DOUBLE_COUNTER_TRACK_UUIDS => {
                    field.each_varint(|uuid| more.extra_double_uuids.push(uuid));
                }
                track_event::CALLSTACK => more.callstack = field.bytes(),
                track_event::CALLSTACK_IID => more.callstack_iid = field.uint().unwrap_or(0),
                track_event::CALLSTACK_WEIGHT => more.weight = field.double(),
                track_event::GPU_CORRELATION => more.gpu = field.bytes(),
                _ => {}
            }
        }
        more
    }
}

/// An event before it is pushed.
#[derive(Clone, Copy)]
pub(super) struct NewEvent {
    pub time: i64,
    pub dur: i64,
    pub name: StrId,
    pub category: Category,
    pub is_instant: bool,
    pub lane: u32,
    pub home: Home,
}

impl<'a> Resolver<'a> {
    /// A track event, whatever its type.
    #[inline(always)]
    pub(super) fn track_event(&mut self, record: &Record, time: i64) {
        if record.has(flag::MORE) || record.what == What::Legacy {
            return self.full_track_event(record, time);
        }
        let lane = self.lane_of(record);
        match record.what {
            What::End => {
                self.end(lane, time, false);
                if record.has(flag::ARGS) {
                    let args = self.packet_loc(record);
                    self.out.end_args.push((self.record, args));
                }
                self.flows(record, u32::MAX, time);
            }
            What::Counter => self.counter(record, lane, time, record.value()),
            _ => {
                let (name, category) = (self.name(record), self.category(record));
                let event = self.begin(record, lane, time, name, category);
                self.flows(record, event, time);
            }
        }
    }

    /// Notes the flows that `event` is a point of; `u32::MAX` is the one that ends with the record.
    #[inline(always)]
    fn flows(&mut self, record: &Record, event: u32, time: i64) {
        if !record.has(flag::FLOWS) {
            return;
        }
        self.look(record);
        for &(id, terminates) in &self.wanted.flows {
            self.out.flow_points.push(FlowPoint { id, time, record: self.record, event, terminates });
        }
    }

    /// Place of the Perfetto track of the record.
    #[inline(always)]
    fn lane_of(&mut self, record: &Record) -> u32 {
        let uuid = if record.has(flag::TRACK) { record.track } else { self.default_track(record) };
        self.lane(uuid)
    }

    fn default_track(&self, record: &Record) -> u64 {
        self.defaults(record).and_then(|defaults| defaults.track).unwrap_or(0)
    }

    /// Where events of a Perfetto track go.
    #[inline(always)]
    pub(super) fn home_of(&self, record: &Record, lane: u32) -> Home {
        let (uuid, home) = self.out.lanes.get(lane as usize).map_or((0, Home::Lane), |lane| (lane.uuid, lane.home));
        // Older writers describe the thread of a sequence instead of naming tracks.
        if uuid == 0 && self.shared.facts.is_none() {
            return self.sequence_thread(record).unwrap_or(home);
        }
        home
    }

    fn counter(&mut self, record: &Record, lane: u32, time: i64, value: f64) {
        if let Some(lane) = self.out.lanes.get_mut(lane as usize) {
            lane.values += 1;
        }
        let mut exact = None;
        if self.shared.facts.is_some() && record.has(flag::ARGS) {
            self.look(record);
            exact = self.wanted.signed(Key::OwnStart);
        }
        let (time, is_exact) = (exact.unwrap_or(time), exact.is_some());
        self.out.counters.push(CounterValue { lane, time, value, is_exact });
    }

    /// Begins a slice or state, or makes an instant.
    #[inline(always)]
    fn begin(&mut self, record: &Record, lane: u32, time: i64, name: StrId, category: Category) -> u32 {
        if record.what == What::State {
            self.end(lane, time, true);
            if let Some(lane) = self.out.lanes.get_mut(lane as usize) {
                lane.has_states = true;
            }
        }
        let is_instant = record.what == What::Instant;
        let home = self.home_of(record, lane);
        let dur = if is_instant { 0 } else { OPEN };
        let event = self.add(record, NewEvent { time, dur, name, category, is_instant, lane, home });
        if !is_instant {
            self.open(lane, event, time);
        }
        event
    }

    /// Pushes an event with what its arguments say.
    #[inline(always)]
    pub(super) fn add(&mut self, record: &Record, new: NewEvent) -> u32 {
        if let Some(lane) = self.out.lanes.get_mut(new.lane as usize) {
            lane.events += 1;
        }
        if self.shared.facts.is_some() {
            return self.add_restored(record, new);
        }
        let kind = if new.is_instant {
            let is_memory = self.out.chunk.strings.get(new.name) == "[memory]";
            if is_memory { EventKind::MemoryInstant } else { EventKind::Instant }
        } else {
            self.refined(new.category.kind, new.name)
        };
        let args = if record.has(flag::ARGS) { self.packet_loc(record) } else { ArgsLoc::NONE };
        let needs_none = matches!(kind, EventKind::Other | EventKind::PythonFunction | EventKind::Instant);
        if needs_none || args.is_empty() {
            let out = self.out_of(new.lane, new.home, track_kind(kind), StrId::EMPTY);
            return self.push(new.time, new.dur, new.name, new.category.id, kind, out, (NO_ID, NO_ID), args);
        }
        self.add_with_args(record, new, kind, args)
    }

    fn add_with_args(&mut self, record: &Record, new: NewEvent, mut kind: EventKind, args: ArgsLoc) -> u32 {
        self.look(record);
        let collective = self.wanted.text(Key::Collective);
        if kind == EventKind::Kernel
            && let Some(name) = collective
        {
            kind = if is_point_to_point(name) { EventKind::PointToPoint } else { EventKind::Collective };
        }
        let mut home = new.home;
        let of_track = track_kind(kind);
        if of_track.is_device()
            && let (Some(device), Some(stream)) = (
                self.wanted.number(Key::Device).and_then(Number::signed),
                self.wanted.number(Key::Stream).and_then(Number::signed),
            )
        {
            home = Home::Queue { device, queue: RawId::Int(stream) };
        }
        let out = self.out_of(new.lane, home, of_track, StrId::EMPTY);
        let mut is_wide = false;
        let mut narrow = |id: Option<Number>| {
            let id = id.and_then(Number::unsigned)?;
            let narrow = u32::try_from(id).ok().filter(|&id| id != NO_ID);
            is_wide |= narrow.is_none();
            narrow
        };
        let correlation = if kind == EventKind::Operator { None } else { narrow(self.wanted.number(Key::Correlation)) };
        let ids = (correlation.unwrap_or(NO_ID), narrow(self.wanted.number(Key::External)).unwrap_or(NO_ID));
        if is_wide {
            self.warn(WarningKind::WideId, record, "");
        }
        let event = self.push(new.time, new.dur, new.name, new.category.id, kind, out, ids, args);
        let issues =
            kind == EventKind::Operator && issues_collective(self.out.chunk.strings.get(new.name)) || kind.is_kernel();
        if collective.is_some() && (issues || kind == EventKind::Annotation) {
            self.collective(record, event);
        }
        if kind.is_copy()
            && let Some(bytes) = self.wanted.unsigned(Key::Bytes)
        {
            self.out.chunk.copy_bytes.push((event, bytes));
        }
        if kind == EventKind::MemoryInstant {
            self.memory_counters(out, new.time);
        }
        event
    }

    fn collective(&mut self, record: &Record, event: u32) {
        let mut text = |key: Key| match self.wanted.text(key) {
            Some(bytes) => self.text(bytes, record),
            None => StrId::EMPTY,
        };
        let texts = [Key::Collective, Key::Dtype, Key::Group, Key::GroupDesc].map(&mut text);
        let [name, dtype, group, group_desc] = texts;
        let entry = CollectiveArgs {
            event,
            name,
            dtype,
            group,
            group_desc,
            in_elems: self.wanted.unsigned(Key::InElems),
            out_elems: self.wanted.unsigned(Key::OutElems),
            group_size: self.wanted.unsigned(Key::GroupSize).and_then(|size| u32::try_from(size).ok()),
            seq: self.wanted.unsigned(Key::Seq),
        };
        self.out.chunk.collectives.push(entry);
    }

    /// The profiler's allocator totals, as counters of the process.
    fn memory_counters(&mut self, out: u32, time: i64) {
        let device = match (self.wanted.unsigned(Key::DeviceType), self.wanted.unsigned(Key::DeviceId)) {
            (Some(0) | None, _) => "CPU".to_owned(),
            (Some(_), device) => format!("GPU {}", device.unwrap_or(0)),
        };
        let unit = self.out.chunk.strings.intern("bytes");
        for (key, what) in [(Key::Allocated, "allocated"), (Key::Reserved, "reserved")] {
            // The CPU allocator reserves nothing: a flat zero says nothing.
            let Some(value) = self.wanted.unsigned(key).filter(|&value| what == "allocated" || value > 0) else {
                continue;
            };
            let name = self.out.chunk.strings.intern(&format!("{device} memory {what}"));
            self.out.named.push(NamedValue { out, name, unit, time, value: value as f64 });
        }
    }

    /// An event of a trace that Gapless wrote: the annotations say what the arguments leave open.
    fn add_restored(&mut self, record: &Record, new: NewEvent) -> u32 {
        if !record.has(flag::ARGS) {
            let out = self.out_of(new.lane, new.home, TrackKind::Thread, StrId::EMPTY);
            let kind = new.category.kind;
            return self.push(new.time, new.dur, new.name, new.category.id, kind, out, (NO_ID, NO_ID), ArgsLoc::NONE);
        }
        self.look(record);
        let own_kind = self.wanted.text(Key::OwnKind).and_then(|id| std::str::from_utf8(id).ok());
        let kind = own_kind.and_then(EventKind::from_id).unwrap_or(new.category.kind);
        let args = if self.wanted.has_foreign { self.packet_loc(record) } else { ArgsLoc::NONE };
        let wanted = &self.wanted;
        let said = |key: Key| wanted.number(key).filter(|said| !said.is_text).and_then(Number::unsigned);
        let id = |own: Key, key: Key| {
            let id = match wanted.own(own) {
                Own::Is(id) => Some(id),
                Own::Nothing => None,
                Own::Absent => said(key),
            };
            id.and_then(|id| u32::try_from(id).ok()).unwrap_or(NO_ID)
        };
        let ids = (id(Key::OwnCorrelation, Key::Correlation), id(Key::OwnExternal, Key::External));
        let bytes = match wanted.own(Key::OwnBytes) {
            Own::Is(bytes) => Some(bytes),
            Own::Nothing => None,
            Own::Absent if kind.is_copy() && self.shared.facts.is_some_and(Facts::derives_bytes) => said(Key::Bytes),
            Own::Absent => None,
        };
        let collective = wanted.text(Key::OwnCollective);
        let (start, dur) = (wanted.signed(Key::OwnStart), wanted.signed(Key::OwnDur));
        let out = self.out_of(new.lane, new.home, TrackKind::Thread, StrId::EMPTY);
        let event = self.push(new.time, new.dur, new.name, new.category.id, kind, out, ids, args);
        self.out.chunk.copy_bytes.extend(bytes.map(|bytes| (event, bytes)));
        if let Some(message) = collective {
            let scope = self.scope(record);
            let entry = super::facts::collective(&scope, message, event, &mut self.out.chunk.strings);
            self.out.chunk.collectives.push(entry);
        }
        if start.is_some() || dur.is_some() {
            self.out.exact.push((event, start, dur));
        }
        event
    }

    /// A track event with more than its record holds.
    fn full_track_event(&mut self, record: &Record, time: i64) {
        let more = More::read(self.event_of(record));
        if more.categories.first() == Some(&super::super::FACTS_CATEGORY.as_bytes()) && record.what == What::Instant {
            // Read before all events; see `facts`.
            return;
        }
        let name = match more.name {
            Some(name) => self.text(name, record),
            None if more.name_iid > u64::from(u32::MAX - 1) => self.interned_text(Slot::Names, more.name_iid, record),
            None => StrId::EMPTY,
        };
        let name = match (more.name, record.what) {
            // The record of a counter holds its value in place of the name.
            (None, What::Counter) => StrId::EMPTY,
            (None, _) if name == StrId::EMPTY => self.name(record),
            _ => name,
        };
        let category = self.category_of_more(record, &more);
        let lane = self.lane_of(record);
        self.extra_counters(record, &more, time);
        let event = match record.what {
            What::Legacy => match more.legacy {
                Some(legacy) => self.legacy_event(
                    record,
                    legacy,
                    NewEvent {
                        time,
                        dur: 0,
                        name,
                        category,
                        is_instant: false,
                        lane,
                        home: self.home_of(record, lane),
                    },
                ),
                None => {
                    self.warn(WarningKind::UnknownPhase, record, "a track event without a type");
                    return;
                }
            },
            What::End => {
                self.end(lane, time, false);
                if record.has(flag::ARGS) {
                    let args = self.packet_loc(record);
                    self.out.end_args.push((self.record, args));
                }
                Some(u32::MAX)
            }
            What::Counter => {
                self.counter(record, lane, time, record.value());
                return;
            }
            _ => Some(self.begin(record, lane, time, name, category)),
        };
        let Some(event) = event else { return };
        self.flows(record, event, time);
        if let (Some(legacy), true) = (more.legacy, record.what != What::Legacy) {
            self.legacy_flow(legacy, event, time);
        }
        if event == u32::MAX {
            return;
        }
        if let Some(gpu) = more.gpu {
            self.gpu_correlation(gpu, event);
        }
        let stack = match more.callstack {
            Some(inline) => self.inline_stack(inline, record),
            None if more.callstack_iid > 0 => self.interned_stack(more.callstack_iid, record),
            None => None,
        };
        if let Some(stack) = stack {
            let mut own = None;
            if self.shared.facts.is_some() && record.has(flag::ARGS) {
                self.look(record);
                own = match self.wanted.own(Key::OwnWeight) {
                    Own::Is(weight) => Some(weight),
                    Own::Absent | Own::Nothing => None,
                };
            }
            // A weight is a count, a time or a number of bytes: whole.
            let weight = own.unwrap_or_else(|| more.weight.map_or(1, |weight| weight as u64));
            self.out.chunk.event_stacks.push(RawEventStack { event, stack, weight });
        }
    }

    fn category_of_more(&mut self, record: &Record, more: &More<'a>) -> Category {
        if more.categories.is_empty() && more.category_iids.len() < 2 && record.what != What::Counter {
            let wide = more.category_iids.first().is_some_and(|&iid| iid > u64::from(u32::MAX - 1));
            if !wide {
                return self.category(record);
            }
        }
        let mut names: Vec<StrId> =
            more.category_iids.iter().map(|&iid| self.interned_text(Slot::Categories, iid, record)).collect();
        for bytes in &more.categories {
            names.push(self.text(bytes, record));
        }
        if let [one] = names.as_slice() {
            let place = self.category_of_text(*one);
            return self.known_category(place);
        }
        // Several categories are one text; the first that says a kind decides it.
        let places: Vec<u32> = names.iter().map(|&name| self.category_of_text(name)).collect();
        let kinds = places.iter().map(|&place| self.known_category(place).kind);
        let kind = kinds.into_iter().find(|&kind| kind != EventKind::Other).unwrap_or(EventKind::Other);
        let texts: Vec<&str> = names.iter().map(|&name| self.out.chunk.strings.get(name)).collect();
        let joined = texts.join(",");
        Category { id: self.out.chunk.strings.intern(&joined), kind }
    }

    /// Values of other counters at the time of an event.
    fn extra_counters(&mut self, record: &Record, more: &More<'a>, time: i64) {
        if more.extra_values.is_empty() && more.extra_doubles.is_empty() {
            return;
        }
        let defaults = self.defaults(record);
        let (mut whole, mut doubles) = (more.extra_uuids.as_slice(), more.extra_double_uuids.as_slice());
        if let Some(defaults) = defaults {
            if whole.is_empty() {
                whole = &defaults.extra_counters;
            }
            if doubles.is_empty() {
                doubles = &defaults.extra_doubles;
            }
        }
        let missing = more.extra_values.len().saturating_sub(whole.len())
            + more.extra_doubles.len().saturating_sub(doubles.len());
        if missing > 0 {
            self.warn(WarningKind::UndeclaredCounter, record, "a further value without a track");
        }
        let pairs = whole.iter().zip(&more.extra_values).chain(doubles.iter().zip(&more.extra_doubles));
        for (&uuid, &value) in pairs {
            let lane = self.lane(uuid);
            self.counter(&Record { flags: 0, ..*record }, lane, time, value);
        }
    }
}
