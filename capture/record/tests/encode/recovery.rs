//! Files that are cut, taken up again, or begin in the middle.

use gapless_record::clock_map::ClockMap;
use gapless_record::encode::ProcessEncoder;
use gapless_record::recover::scan;
use gapless_ring::layout::{ABOUT_OPEN_RANGE, AttrType, Class, Kind, Record};
use gapless_ring::{Anchor, ClockKind};
use perfetto_proto::wire::Writer;

use super::support::*;

/// Two threads with all that a recording may hold, in the order of time.
fn busy(job: &mut Job) -> Vec<(u32, Vec<Record>)> {
    let (a, b, x, y, z, key, counter) =
        (job.id("lib a"), job.id("lib b"), job.id("x"), job.id("y"), job.id("z"), job.id("key"), job.id("counter"));
    let (schema, payload) = (job.id("nvtx-schema:16777216"), job.id("nvtx-payload:16777216"));
    let json = br#"{"id":16777216,"name":"s","type":1,"flags":0,"size":4,"entries":[{"name":"bytes","type":16,"flags":0,"detail":0,"offset":0}]}"#;
    let step = |ticks, step: u64| Record { class: Class::Step as u8, payload: step, ..record(Kind::Step, ticks) };
    let id = |kind, ticks, id, name| Record { payload: id, name, domain: b, ..record(kind, ticks) };
    let with = |head: Record, facts: Vec<Record>| [vec![head], facts].concat();
    vec![
        (0, info(1, a, schema, json)),
        (0, vec![step(2, 0)]),
        (0, vec![push(10, 0, x), attr(10, key, AttrType::Unsigned, 1)]),
        (1, vec![push(11, a, x)]),
        (1, vec![push(12, b, y)]),
        (0, vec![id(Kind::Start, 13, 5, z)]),
        (1, vec![pop(14, a)]),
        (0, with(push(15, a, y), blob(15, a, payload, &7u32.to_le_bytes()))),
        (0, vec![id(Kind::Start, 16, 6, z)]),
        (1, vec![pop(17, b), attr(17, key, AttrType::Signed, 3)]),
        (1, vec![push(18, a, z)]),
        (1, vec![push(19, b, z)]),
        (1, vec![id(Kind::End, 20, 5, 0)]),
        (1, vec![pop(21, a)]),
        (0, vec![step(22, 1)]),
        (0, vec![pop(23, a)]),
        (1, vec![Record { name: counter, payload: 2.5f64.to_bits(), ..record(Kind::Counter, 24) }]),
        (0, with(push(25, a, y), blob(25, a, payload, &9u32.to_le_bytes()))),
        (1, vec![pop(26, b)]),
        (0, vec![id(Kind::End, 27, 6, 0)]),
        (0, vec![pop(28, a)]),
        (0, vec![pop(29, 0), attr(29, key, AttrType::Unsigned, 2)]),
        (0, vec![Record { name: x, ..record(Kind::Mark, 30) }]),
    ]
}

#[test]
fn any_prefix_is_a_trace() {
    let mut job = Job::new();
    for (thread, slots) in busy(&mut job) {
        job.encode(thread, &slots);
        job.encoder.positions(&[(1, 1), (2, 2)], &mut job.out);
    }
    job.finish();
    let bytes = job.out.as_bytes();
    let whole = told(&read(bytes));
    let mut most = 0;
    let first = job.header().len();
    for cut in first..bytes.len() {
        let scanned = scan(&bytes[..cut]);
        assert!(scanned.whole as usize <= cut);
        let Ok(trace) = gapless_formats::open_bytes("pid1.pftrace", bytes[..cut].to_vec(), &Default::default()) else {
            unreachable!("cut at {cut} of {}", bytes.len())
        };
        let events = told(&trace);
        assert!(events.len() >= most, "cut at {cut}: more of the file holds less");
        most = events.len();
        for event in &events {
            assert!(
                whole.iter().any(|full| (full.begin, &full.name) == (event.begin, &event.name)),
                "cut at {cut}: {event:?}"
            );
        }
    }
    assert_eq!(most, whole.len());
}

#[test]
fn a_recorder_that_is_killed_anywhere_loses_nothing() {
    let mut job = Job::new();
    let records = busy(&mut job);
    for (thread, slots) in &records {
        job.encode(*thread, slots);
    }
    let expected = job.trace();
    assert_clean(&expected);
    for killed_after in 0..=records.len() {
        let mut job = Job::new();
        let records = busy(&mut job);
        let (before, after) = records.split_at(killed_after);
        for (thread, slots) in before {
            job.encode(*thread, slots);
        }
        // What is held back for facts is not in the file; the positions say that it was read.
        job.encoder.positions(&[(1, 1), (2, 2)], &mut job.out);
        let written = scan(job.out.as_bytes());
        assert_eq!(written.whole, job.out.len() as u64);
        job.encoder = ProcessEncoder::new(PID, START_TIME, written.last_sequence + 1);
        job.encoder.resume(written.state);
        for (thread, slots) in after {
            job.encode(*thread, slots);
        }
        let trace = job.trace();
        assert_clean(&trace);
        assert_eq!(told(&trace), told(&expected), "killed after {killed_after}");
        let values = |trace: &gapless_trace::Trace| {
            trace.counters().iter().map(|series| (series.times.clone(), series.values.clone())).collect::<Vec<_>>()
        };
        assert_eq!(values(&trace), values(&expected));
    }
}

#[test]
fn a_write_that_was_not_completed_is_made_again() {
    let mut job = Job::new();
    let records = busy(&mut job);
    for (index, (thread, slots)) in records.iter().enumerate() {
        job.encode(*thread, slots);
        job.encoder.positions(&[(1, index as u64 + 1)], &mut job.out);
    }
    let bytes = job.out.as_bytes().to_vec();
    let expected = job.trace();
    for cut in 0..bytes.len() {
        let written = scan(&bytes[..cut]);
        assert!(written.whole as usize <= cut);
        let done = written.positions.iter().find(|(serial, _)| *serial == 1).map_or(0, |&(_, done)| done);
        let mut job = Job::new();
        let records = busy(&mut job);
        let kept = &bytes[..written.whole as usize];
        if done > 0 {
            job.out.clear();
            job.encoder = ProcessEncoder::new(PID, START_TIME, written.last_sequence + 1);
            job.encoder.resume(written.state);
        } else {
            assert!(kept.is_empty(), "what does not say how far it is, is not kept: cut at {cut}");
        }
        for (thread, slots) in records.get(done as usize..).unwrap_or_default() {
            job.encode(*thread, slots);
        }
        job.finish();
        let trace = read(&[kept, job.out.as_bytes()].concat());
        assert_clean(&trace);
        assert_eq!(told(&trace), told(&expected), "cut at {cut}");
    }
}

/// The clock of a recorder that goes on is not quite that of the one before.
#[test]
fn times_do_not_run_back_where_a_recording_is_taken_up() {
    let mut job = Job::new();
    let (x, y) = (job.id("x"), job.id("y"));
    job.encode(0, &[push(1_000, 0, x), push(2_000, 0, y), pop(3_000, 0), push(3_000, 0, y)]);
    // What is held back is written by whoever goes on.
    job.encoder.positions(&[(1, 4)], &mut job.out);
    let written = scan(job.out.as_bytes());
    job.encoder = ProcessEncoder::new(PID, START_TIME, written.last_sequence + 1);
    job.encoder.resume(written.state);
    let first = Anchor { ticks: 0, monotonic_ns: 0, realtime_ns: EPOCH_NS as u64 - 50, boottime_ns: 0 };
    job.clock = ClockMap::new(ClockKind::Monotonic, first, first);
    job.encode(0, &[pop(3_010, 0), pop(3_500, 0)]);
    let trace = job.trace();
    assert_clean(&trace);
    assert_eq!(lines(&trace), ["worker: x 1000..3450", "worker: y 2000..3000", "worker: y 3000..3000"]);
}

#[test]
fn a_file_may_begin_anywhere() {
    let mut job = Job::new();
    let records = busy(&mut job);
    for (thread, slots) in &records {
        job.encode(*thread, slots);
    }
    let expected = told(&job.trace());
    for begun_at in 0..records.len() {
        let mut job = Job::new();
        let records = busy(&mut job);
        let (before, after) = records.split_at(begun_at);
        for (thread, slots) in before {
            job.encode(*thread, slots);
        }
        job.flush();
        let mut opening = Writer::default();
        job.encoder.restart(&job.names, &mut opening);
        let mut whole = job.out.as_bytes().to_vec();
        job.out.clear();
        for (thread, slots) in after {
            job.encode(*thread, slots);
        }
        job.finish();
        let from = after[0].1[0].ticks as i64;
        let part = [job.header().as_bytes(), opening.as_bytes(), job.out.as_bytes()].concat();
        let part = read(&part);
        assert_clean(&part);
        let ends_later: Vec<_> = expected.iter().filter(|told| told.end >= from).cloned().collect();
        assert_eq!(told(&part), ends_later, "begun at {begun_at}");
        // A file that has the begins already goes on with the packets alone.
        whole.extend_from_slice(job.out.as_bytes());
        let whole = read(&whole);
        assert_clean(&whole);
        assert_eq!(told(&whole), expected, "gone on at {begun_at}");
    }
}

#[test]
fn late_facts_outlive_a_new_beginning() {
    let mut job = Job::new();
    let (x, key) = (job.id("x"), job.id("key"));
    let late = Record { category: ABOUT_OPEN_RANGE, ..attr(5, key, AttrType::Unsigned, 1) };
    job.encode(0, &[push(0, 0, x), attr(0, key, AttrType::Unsigned, 0), late]);
    let mut opening = Writer::default();
    job.encoder.restart(&job.names, &mut opening);
    job.out = job.header();
    let mut bytes = job.out.as_bytes().to_vec();
    bytes.extend_from_slice(opening.as_bytes());
    job.out.clear();
    job.encode(0, &[pop(10, 0)]);
    job.finish();
    bytes.extend_from_slice(job.out.as_bytes());
    assert_eq!(lines(&read(&bytes)), ["worker: x 0..10 key=0 key=1"]);
}
