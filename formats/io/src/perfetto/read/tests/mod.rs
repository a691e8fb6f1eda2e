//! Tests of the reader: files made packet by packet, and a plain second reading.

#![allow(clippy::unwrap_used, clippy::panic)]

mod clocks;
mod damage;
mod devices;
mod generic;
mod oracle;
mod restored;
mod system;

use gapless_trace::{EventId, Trace, TrackKind, WarningKind};
use perfetto_proto::{
    CounterDescriptor, EventCategory, EventName, EventType, InternedData, Message, ProcessDescriptor, ThreadDescriptor,
    TracePacket, TrackDescriptor, TrackEvent, trace_packet, track_event,
};

use crate::{OpenOptions, open_bytes};

/// A file under construction.
#[derive(Default)]
struct File {
    packets: Vec<TracePacket>,
}

impl File {
    fn bytes(self) -> Vec<u8> {
        perfetto_proto::Trace { packet: self.packets }.encode_to_vec()
    }

    fn add(&mut self, packet: TracePacket) -> &mut TracePacket {
        self.packets.push(packet);
        self.packets.last_mut().unwrap()
    }

    fn data(&mut self, time: Option<u64>, data: trace_packet::Data) -> &mut TracePacket {
        self.add(TracePacket {
            timestamp: time,
            trusted_packet_sequence_id: Some(1),
            data: Some(data),
            ..TracePacket::default()
        })
    }

    fn track(&mut self, descriptor: TrackDescriptor) {
        self.data(None, trace_packet::Data::TrackDescriptor(Box::new(descriptor)));
    }

    /// A thread with its own track.
    fn thread(&mut self, uuid: u64, pid: i32, tid: i64, name: &str) {
        self.track(TrackDescriptor {
            uuid: Some(uuid),
            thread: Some(ThreadDescriptor {
                pid: Some(pid),
                tid: Some(tid),
                thread_name: Some(name.to_owned()),
                ..ThreadDescriptor::default()
            }),
            ..TrackDescriptor::default()
        });
    }

    fn process(&mut self, uuid: u64, pid: i32, name: &str) {
        self.track(TrackDescriptor {
            uuid: Some(uuid),
            process: Some(ProcessDescriptor {
                pid: Some(pid),
                process_name: Some(name.to_owned()),
                ..ProcessDescriptor::default()
            }),
            ..TrackDescriptor::default()
        });
    }

    /// A track that is neither thread nor process.
    fn custom(&mut self, uuid: u64, parent: u64, name: &str) {
        self.track(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(parent).filter(|&parent| parent != 0),
            name: Some(name.to_owned()),
            ..TrackDescriptor::default()
        });
    }

    fn counter(&mut self, uuid: u64, parent: u64, name: &str, counter: CounterDescriptor) {
        self.track(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(parent).filter(|&parent| parent != 0),
            name: Some(name.to_owned()),
            counter: Some(counter),
            ..TrackDescriptor::default()
        });
    }

    fn event(&mut self, time: u64, event: TrackEvent) -> &mut TracePacket {
        self.data(Some(time), trace_packet::Data::TrackEvent(Box::new(event)))
    }

    fn begin(&mut self, time: u64, track: u64, name: &str, category: &str) -> &mut TrackEvent {
        let packet = self.event(time, named(EventType::SliceBegin, track, name, category));
        let Some(trace_packet::Data::TrackEvent(event)) = &mut packet.data else { unreachable!() };
        event
    }

    fn end(&mut self, time: u64, track: u64) -> &mut TrackEvent {
        let packet = self.event(time, typed(EventType::SliceEnd, track));
        let Some(trace_packet::Data::TrackEvent(event)) = &mut packet.data else { unreachable!() };
        event
    }
}

fn typed(kind: EventType, track: u64) -> TrackEvent {
    TrackEvent { r#type: Some(kind as i32), track_uuid: Some(track), ..TrackEvent::default() }
}

fn named(kind: EventType, track: u64, name: &str, category: &str) -> TrackEvent {
    TrackEvent {
        name_field: Some(track_event::NameField::Name(name.to_owned())),
        categories: Some(category.to_owned()).into_iter().filter(|text| !text.is_empty()).collect(),
        ..typed(kind, track)
    }
}

/// Names and categories with ids from 1 on.
fn interned(names: &[&str], categories: &[&str]) -> InternedData {
    let id = |index: usize| Some(index as u64 + 1);
    InternedData {
        event_names: names
            .iter()
            .enumerate()
            .map(|(index, name)| EventName { iid: id(index), name: Some((*name).to_owned()) })
            .collect(),
        event_categories: categories
            .iter()
            .enumerate()
            .map(|(index, name)| EventCategory { iid: id(index), name: Some((*name).to_owned()) })
            .collect(),
        ..InternedData::default()
    }
}

fn opened(bytes: Vec<u8>) -> Trace {
    open_bytes("test.pftrace", bytes, &OpenOptions::default()).unwrap()
}

/// All events as (track, start, duration, name), sorted.
fn events(trace: &Trace) -> Vec<(String, i64, i64, String)> {
    let mut all: Vec<_> = (0..trace.events().len() as u32)
        .map(|index| {
            let event = trace.event(EventId(index));
            let (id, _) = trace.track_of(event.id).unwrap();
            (trace.track_label(id), event.start.nanos(), event.dur.nanos(), trace.text(event.name).to_owned())
        })
        .collect();
    all.sort();
    all
}

/// (start, duration, name) of all events, sorted.
fn slices(trace: &Trace) -> Vec<(i64, i64, String)> {
    let mut all: Vec<_> = events(trace).into_iter().map(|(_, start, dur, name)| (start, dur, name)).collect();
    all.sort();
    all
}

fn event_named(trace: &Trace, name: &str) -> gapless_trace::Event {
    let found = (0..trace.events().len() as u32).map(|index| trace.event(EventId(index)));
    found.into_iter().find(|event| trace.text(event.name) == name).unwrap_or_else(|| panic!("no event {name}"))
}

fn track_kind_of(trace: &Trace, name: &str) -> TrackKind {
    trace.track_of(event_named(trace, name).id).unwrap().1.kind
}

/// All warnings as (kind, count), worst first.
fn warnings(trace: &Trace) -> Vec<(WarningKind, u64)> {
    trace.warnings().sorted().into_iter().map(|warning| (warning.kind, warning.count)).collect()
}
