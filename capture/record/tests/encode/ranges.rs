//! Ranges, counters, steps, names of threads.

use gapless_ring::layout::{ABOUT_OPEN_RANGE, AttrType, Class, Kind, Record};
use perfetto_proto::{Trace as Messages, trace_packet};
use prost::Message;

use super::support::*;

#[test]
fn ranges_nest_with_their_arguments() {
    let mut job = Job::new();
    let (outer, inner, key, domain, category) =
        (job.id("outer"), job.id("inner"), job.id("key"), job.id("lib"), job.id("io"));
    job.encode(
        0,
        &[
            push(10, 0, outer),
            attr(10, key, AttrType::Signed, -5i64 as u64),
            Record { category, ..push(20, domain, inner) },
            attr(20, key, AttrType::Float, 1.5f64.to_bits()),
            attr(20, key, AttrType::String, u64::from(domain)),
            attr(20, key, AttrType::Color, 0xff00_80ff),
            pop(30, domain),
            attr(30, key, AttrType::Unsigned, 7),
            Record { name: inner, ..record(Kind::Mark, 35) },
            operator(push(36, domain, inner)),
            pop(37, domain),
            pop(40, 0),
        ],
    );
    let trace = job.trace();
    assert_clean(&trace);
    assert_eq!(
        lines(&trace),
        [
            "worker: outer 10..40 key=-5",
            "worker: inner 20..30 domain=\"lib\" category=\"io\" key=1.5 key=\"lib\" key=\"#0080ff\" key=7",
            "worker: inner 36..37",
            "worker · instants: inner 35..35",
        ]
    );
    assert_eq!(job.counts().events, 4);
}

#[test]
fn messages_say_the_same_to_any_reader() {
    let mut job = Job::new();
    let (name, key, value) = (job.id("step"), job.id("key"), job.id("text"));
    for start in [0, 100] {
        let text = attr(start, key, AttrType::String, u64::from(value));
        job.encode(0, &[push(start, 0, name), text, pop(start + 10, 0)]);
    }
    job.finish();
    let trace = Messages::decode(job.out.as_bytes()).unwrap();
    let events: Vec<_> = trace
        .packet
        .iter()
        .filter_map(|packet| match &packet.data {
            Some(trace_packet::Data::TrackEvent(event)) => Some((packet, event)),
            _ => None,
        })
        .collect();
    assert_eq!(events.len(), 4);
    // Names, categories and texts are written once and then go by number.
    let interned = |index: usize| events[index].0.interned_data.as_ref();
    let first = interned(0).unwrap();
    assert_eq!(
        (first.event_names.len(), first.debug_annotation_names.len(), first.debug_annotation_string_values.len()),
        (1, 1, 1)
    );
    assert!((1..4).all(|index| interned(index).is_none()));
    assert_eq!(events[0].1.name_field, events[2].1.name_field);
    assert_eq!(events[0].1.debug_annotations, events[2].1.debug_annotations);
    // Times count from one packet to the next, from the snapshot of each batch on. The end of the first batch waited for
    // its facts, so the second begins with it.
    let times: Vec<_> = events.iter().filter_map(|(packet, _)| packet.timestamp).collect();
    assert_eq!(times, [0, 0, 90, 10]);
}

#[test]
fn domains_that_do_not_nest_get_tracks_of_their_own() {
    let mut job = Job::new();
    let (a, b, x, y) = (job.id("lib a"), job.id("lib b"), job.id("x"), job.id("y"));
    let cycle = |start: u64| [push(start, a, x), push(start + 10, b, y), pop(start + 20, a), pop(start + 30, b)];
    job.encode(0, &cycle(0));
    job.encode(0, &cycle(100));
    let trace = job.trace();
    assert_clean(&trace);
    assert_eq!(
        lines(&trace),
        [
            // The first time nobody could know that they do not nest.
            "worker: x 0..30 domain=\"lib a\" ended_earlier_ns=10",
            "worker: y 10..30 domain=\"lib b\"",
            "worker: y 110..130 domain=\"lib b\"",
            "worker / lib a: x 100..120 domain=\"lib a\"",
        ]
    );
    assert_eq!(job.counts().interleaved, 1);
    // The track lies below the thread.
    let messages = Messages::decode(job.out.as_bytes()).unwrap();
    let tracks: Vec<_> = messages
        .packet
        .iter()
        .filter_map(|packet| match &packet.data {
            Some(trace_packet::Data::TrackDescriptor(track)) => Some(track),
            _ => None,
        })
        .collect();
    let thread = tracks.iter().find(|track| track.thread.is_some()).unwrap();
    assert!(tracks.iter().any(|track| track.parent_uuid == thread.uuid));
}

#[test]
fn late_facts_are_with_the_range_of_their_domain() {
    let mut job = Job::new();
    let (a, b, x, y, key, text) =
        (job.id("lib a"), job.id("lib b"), job.id("x"), job.id("y"), job.id("loss"), job.id("note"));
    let late = |record: Record, domain| Record { domain, category: ABOUT_OPEN_RANGE, ..record };
    let mut slots = vec![push(0, a, x), push(10, b, y), late(attr(11, key, AttrType::Unsigned, 1), a)];
    let mut note = blob(12, b, text, b"a text of more than thirty-two bytes, so of two slots");
    note[0].category = ABOUT_OPEN_RANGE;
    slots.extend(note);
    slots.extend([
        late(attr(13, key, AttrType::Unsigned, 2), b),
        pop(20, b),
        attr(20, key, AttrType::Unsigned, 3),
        late(attr(21, key, AttrType::Unsigned, 4), b),
        late(attr(22, key, AttrType::Unsigned, 5), a),
        pop(30, a),
    ]);
    // Wherever the batches are cut.
    for cut in 0..slots.len() {
        if cut > 0 && slots[..cut].iter().rev().take(2).any(|slot| slot.kind == Kind::Blob as u8 && slot.extra > 0) {
            continue;
        }
        let mut job = Job { names: job.names.clone(), ..Job::new() };
        job.encode(0, &slots[..cut]);
        job.encode(0, &slots[cut..]);
        let trace = job.trace();
        assert_clean(&trace);
        assert_eq!(
            lines(&trace),
            [
                "worker: x 0..30 domain=\"lib a\" loss=1 loss=5",
                "worker: y 10..20 domain=\"lib b\" \
                 note=\"a text of more than thirty-two bytes, so of two slots\" loss=2 loss=3",
            ],
            "cut at {cut}"
        );
        assert_eq!(job.counts().facts_without_event, 1);
    }
}

#[test]
fn facts_go_to_the_range_with_the_id_that_they_name() {
    let mut job = Job::new();
    let (lib, x, y, meta, key) = (job.id("lib"), job.id("x"), job.id("y"), job.id("metadata"), job.id("size"));
    let about = |ticks, id, value| {
        let mark = Record { domain: lib, name: meta, payload: id, ..record(Kind::Mark, ticks) };
        [mark, attr(ticks, key, AttrType::Unsigned, value)]
    };
    let mut slots = vec![
        Record { payload: 77, ..push(0, lib, x) },
        Record { domain: lib, name: y, payload: 88, ..record(Kind::Start, 1) },
    ];
    slots.extend([about(2, 77, 1), about(3, 88, 2), about(4, 99, 3)].concat());
    slots.extend([pop(10, lib), Record { payload: 88, ..record(Kind::End, 20) }]);
    slots.push(attr(20, key, AttrType::Unsigned, 4));
    job.encode(0, &slots);
    let trace = job.trace();
    assert_clean(&trace);
    assert_eq!(
        lines(&trace),
        [
            "lib: y 1..20 size=2 size=4",
            "worker: x 0..10 domain=\"lib\" size=1",
            "worker · instants: metadata 4..4 size=3 id=99",
        ]
    );
}

#[test]
fn ranges_over_threads_in_any_order_of_draining() {
    let start = |ticks, id, name| Record { payload: id, name, ..record(Kind::Start, ticks) };
    let end = |ticks, id| Record { payload: id, ..record(Kind::End, ticks) };
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut job = Job::new();
        let (x, y, z, key) = (job.id("x"), job.id("y"), job.id("z"), job.id("key"));
        let threads = [
            vec![start(10, 1, x), attr(10, key, AttrType::Unsigned, 1), end(60, 3), start(90, 5, x)],
            vec![start(20, 2, y), end(50, 1), attr(50, key, AttrType::Unsigned, 2), end(95, 5)],
            vec![start(30, 3, z), end(70, 2), start(80, 4, z), end(85, 4)],
        ];
        for thread in order {
            job.encode(thread, &threads[thread as usize]);
        }
        let trace = job.trace();
        assert_clean(&trace);
        let all: Vec<_> = told(&trace).iter().map(line).collect();
        assert_eq!(all, ["x 10..50 key=1 key=2", "y 20..70", "z 30..60", "z 80..85", "x 90..95"], "{order:?}");
        assert_eq!(job.counts().ends_without_begin, 0);
    }
}

#[test]
fn counters_are_tracks_of_the_process() {
    let mut job = Job::new();
    let (loss, other) = (job.id("loss"), job.id("lib"));
    let value = |ticks, domain, value: f64| Record {
        name: loss,
        domain,
        payload: value.to_bits(),
        ..record(Kind::Counter, ticks)
    };
    job.encode(0, &[value(1, 0, 0.5), value(2, other, 7.0), value(3, 0, 0.25)]);
    job.encode(1, &[value(2, 0, -1.0)]);
    let trace = job.trace();
    let mut series: Vec<_> = trace
        .counters()
        .iter()
        .map(|series| (series.times.iter().map(|time| time - EPOCH_NS).collect::<Vec<_>>(), series.values.clone()))
        .collect();
    series.sort_by_key(|(times, _)| std::cmp::Reverse(times.len()));
    assert_eq!(series, [(vec![1, 2, 3], vec![0.5, -1.0, 0.25]), (vec![2], vec![7.0])]);
}

#[test]
fn steps_lie_on_a_track_of_their_own() {
    let mut job = Job::new();
    let name = job.id("forward");
    let step =
        |ticks, step: i64| Record { class: Class::Step as u8, payload: step as u64, ..record(Kind::Step, ticks) };
    job.encode(0, &[push(5, 0, name), step(10, 0), step(20, 1), step(30, -1), step(40, 7), pop(45, 0)]);
    assert_eq!((job.encoder.steps_done(), job.encoder.take_step_durations()), (Some(7), vec![10, 10]));
    let trace = job.trace();
    assert_clean(&trace);
    assert_eq!(
        lines(&trace),
        [
            "worker: forward 5..45",
            "worker / Steps: ProfilerStep#0 10..20",
            "worker / Steps: ProfilerStep#1 20..30",
            "worker / Steps: ProfilerStep#7 40..45",
        ]
    );
}

#[test]
fn threads_are_named_by_any_thread() {
    let mut job = Job::new();
    let (x, own, seen, unseen) = (job.id("x"), job.id("main"), job.id("seen"), job.id("unseen"));
    let name = |name, tid| Record { name, payload: tid, ..record(Kind::ThreadName, 1) };
    job.encode(1, &[push(0, 0, x), pop(2, 0)]);
    job.encode(0, &[name(own, 0), name(seen, 101), name(unseen, 102), name(own, 1 << 40), push(3, 0, x), pop(4, 0)]);
    job.encode(2, &[push(5, 0, x), pop(6, 0)]);
    let trace = job.trace();
    let mut tracks: Vec<_> = by_track(&trace).into_keys().collect();
    tracks.sort();
    assert_eq!(tracks, ["main", "seen", "unseen"]);
    assert_eq!(job.counts().facts_without_event, 1);
}

#[test]
fn ends_without_begins_and_damaged_records_are_counted() {
    let mut job = Job::new();
    let x = job.id("x");
    job.encode(
        0,
        &[
            pop(0, 0),
            attr(0, x, AttrType::Unsigned, 1),
            Record { kind: 200, ..record(Kind::Mark, 1) },
            push(2, 0, x),
            Record { class: 99, ..attr(2, x, AttrType::Unsigned, 1) },
            pop(3, 0),
            Record { payload: 9, ..record(Kind::End, 4) },
            Record { extra: 250, ..record(Kind::Mark, 5) },
        ],
    );
    let trace = job.trace();
    assert_clean(&trace);
    let counts = job.counts();
    assert_eq!((counts.events, counts.ends_without_begin, counts.facts_without_event, counts.unknown), (2, 2, 1, 2));
}
