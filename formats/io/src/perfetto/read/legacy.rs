//! Track events of the older form, which carry the phases of Chrome's JSON format.

use gapless_trace::{ArgValue, ArgsLoc, AsyncPhase, RawAsync, RawFlow, RawId, StrId, TrackKind, WarningKind};

use super::args;
use super::clocks::FARTHEST_NS;
use super::event::NewEvent;
use super::record::{Record, Slot, flag};
use super::resolve::{FlowPoint, Home, NamedValue, OPEN, Resolver};
use crate::kineto::is_launch_flow;
use crate::protobuf::Fields;

/// Keeps ids of older flows apart from those of track events.
const OLD_FLOW: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Default)]
struct Legacy<'a> {
    name_iid: u64,
    phase: u8,
    duration_us: Option<i64>,
    id: Option<u64>,
    scope: Option<&'a [u8]>,
    bind_id: Option<u64>,
    direction: u64,
    pid: Option<i64>,
    tid: Option<i64>,
}

impl<'a> Legacy<'a> {
    fn read(message: &'a [u8]) -> Self {
        let mut legacy = Self::default();
        for field in Fields::new(message) {
            match field.number {
                1 => legacy.name_iid = field.uint().unwrap_or(0),
                2 => legacy.phase = field.uint().and_then(|phase| u8::try_from(phase).ok()).unwrap_or(0),
                3 => legacy.duration_us = field.int(),
                6 | 10 | 11 => legacy.id = field.uint(),
                7 => legacy.scope = field.bytes(),
                8 => legacy.bind_id = field.uint(),
                13 => legacy.direction = field.uint().unwrap_or(0),
                18 => legacy.pid = field.int(),
                19 => legacy.tid = field.int(),
                _ => {}
            }
        }
        legacy
    }
}

impl<'a> Resolver<'a> {
    /// An event of the older form. Gives its place; `u32::MAX` for an end; nothing where it made no event.
    pub(super) fn legacy_event(&mut self, record: &Record, message: &'a [u8], mut new: NewEvent) -> Option<u32> {
        let legacy = Legacy::read(message);
        if new.name == StrId::EMPTY && legacy.name_iid > 0 {
            new.name = self.interned_text(Slot::Names, legacy.name_iid, record);
        }
        if legacy.pid.is_some() || legacy.tid.is_some() {
            let (pid, tid) = match self.sequence_thread(record) {
                Some(Home::Thread { pid, tid }) => (pid, tid),
                _ => (0, 0),
            };
            new.home = Home::Thread { pid: legacy.pid.unwrap_or(pid), tid: legacy.tid.unwrap_or(tid) };
        }
        let event = match legacy.phase {
            b'B' => {
                let event = self.add(record, NewEvent { dur: OPEN, ..new });
                self.open(new.lane, event, new.time);
                Some(event)
            }
            b'E' => {
                self.end(new.lane, new.time, false);
                if record.has(flag::ARGS) {
                    let args = self.packet_loc(record);
                    self.out.end_args.push((self.record, args));
                }
                Some(u32::MAX)
            }
            b'X' => {
                let dur = self.duration(record, legacy.duration_us);
                Some(self.add(record, NewEvent { dur, ..new }))
            }
            b'i' | b'I' | b'R' | b'P' => Some(self.add(record, NewEvent { is_instant: true, ..new })),
            b'b' | b'S' => return self.asynchronous(record, &legacy, new, AsyncPhase::Begin),
            b'n' | b'T' | b'p' => return self.asynchronous(record, &legacy, new, AsyncPhase::Instant),
            b'e' | b'F' => return self.asynchronous(record, &legacy, new, AsyncPhase::End),
            b's' | b't' | b'f' => {
                self.old_flow(record, &legacy, new);
                return None;
            }
            b'C' => {
                self.old_counter(record, new);
                return None;
            }
            phase => {
                self.warn(WarningKind::UnknownPhase, record, &format!("phase {:?}", char::from(phase)));
                return None;
            }
        };
        if let Some(event) = event {
            self.legacy_flow(message, event, new.time);
        }
        event
    }

    fn duration(&mut self, record: &Record, us: Option<i64>) -> i64 {
        let (dur, warning) = match us.map(|us| us.checked_mul(1_000)) {
            Some(Some(ns @ 0..=FARTHEST_NS)) => return ns,
            Some(Some(..0)) => (0, WarningKind::NegativeDuration),
            Some(_) => (FARTHEST_NS, WarningKind::DurationOutOfRange),
            None => (0, WarningKind::NoDuration),
        };
        self.warn(warning, record, "");
        dur
    }

    fn asynchronous(&mut self, record: &Record, legacy: &Legacy<'a>, new: NewEvent, phase: AsyncPhase) -> Option<u32> {
        // The scope is part of the id: two scopes may use the same numbers.
        let id = match (legacy.id, legacy.scope) {
            (Some(id), Some(scope)) => {
                let text = format!("{}:{id}", String::from_utf8_lossy(scope));
                RawId::Text(self.out.chunk.strings.intern(&text))
            }
            (Some(id), None) => i64::try_from(id).map_or(RawId::None, RawId::Int),
            (None, _) => RawId::None,
        };
        let track = self.out_of(new.lane, new.home, TrackKind::Async, new.category.id);
        let args = if record.has(flag::ARGS) { self.packet_loc(record) } else { ArgsLoc::NONE };
        let offset = self.piece.base + u64::from(record.at);
        let event =
            RawAsync { phase, track, id, time: new.time, name: new.name, category: new.category.id, args, offset };
        self.out.chunk.asyncs.push(event);
        None
    }

    fn old_flow(&mut self, record: &Record, legacy: &Legacy<'a>, new: NewEvent) {
        let Some(id) = legacy.bind_id.or(legacy.id) else {
            self.warn(WarningKind::FlowUnbound, record, "a flow without an id");
            return;
        };
        let track = self.out_of(new.lane, new.home, TrackKind::Thread, StrId::EMPTY);
        let is_launch = is_launch_flow(self.out.chunk.strings.get(new.category.id));
        self.out.chunk.flows.push(RawFlow {
            id: RawId::Int(id as i64),
            time: new.time,
            track,
            category: new.category.id,
            name: new.name,
            phase: legacy.phase,
            is_launch,
            offset: self.piece.base + u64::from(record.at),
        });
    }

    /// A flow that an event of another phase names.
    pub(super) fn legacy_flow(&mut self, message: &'a [u8], event: u32, time: i64) {
        let legacy = Legacy::read(message);
        if let Some(id) = legacy.bind_id
            && legacy.direction != 0
        {
            let id = id ^ OLD_FLOW;
            self.out.flow_points.push(FlowPoint { id, time, record: self.record, event, terminates: false });
        }
    }

    /// A counter event whose arguments are its values.
    fn old_counter(&mut self, record: &Record, new: NewEvent) {
        let args = args::of_packet(&self.scope(record), self.content(record));
        let out = self.out_of(new.lane, new.home, TrackKind::Thread, StrId::EMPTY);
        let name = self.out.chunk.strings.get(new.name).to_owned();
        let is_single = args.len() == 1;
        let mut found = false;
        for (key, value) in args {
            let number = match value {
                ArgValue::Int(_) | ArgValue::UInt(_) | ArgValue::Double(_) | ArgValue::Text(_) => value.as_f64(),
                _ => None,
            };
            let Some(value) = number.filter(|value| value.is_finite()) else { continue };
            let series = if is_single { name.clone() } else { format!("{name} · {key}") };
            let name = self.out.chunk.strings.intern(&series);
            self.out.named.push(NamedValue { out, name, unit: StrId::EMPTY, time: new.time, value });
            found = true;
        }
        if !found {
            self.warn(WarningKind::CounterNotNumeric, record, &name);
        }
    }
}
