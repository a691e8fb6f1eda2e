//! Clocks: snapshots, clocks of a sequence, steps of time, and what has none.

use gapless_trace::WarningKind;
use perfetto_proto::{Clock, ClockSnapshot, EventType, ThreadDescriptor, TracePacketDefaults, TrackEvent, track_event};

use super::*;

fn clock(id: u32, reading: u64) -> Clock {
    Clock { clock_id: Some(id), timestamp: Some(reading), ..Clock::default() }
}

fn snapshot(file: &mut File, clocks: Vec<Clock>) -> &mut TracePacket {
    let snapshot = ClockSnapshot { clocks, primary_trace_clock: Some(6) };
    file.data(None, trace_packet::Data::ClockSnapshot(snapshot))
}

#[test]
fn packets_on_other_clocks_are_brought_to_the_traces() {
    let mut file = File::default();
    snapshot(&mut file, vec![clock(6, 1_000), clock(3, 500)]);
    file.thread(2, 10, 11, "main");
    let mut at = |time, name: &str, id| {
        file.event(time, named(EventType::Instant, 2, name, "")).timestamp_clock_id = id;
    };
    at(1_100, "own", None);
    at(650, "monotonic", Some(3));
    at(1_300, "said", Some(6));
    at(9, "unknown", Some(77));
    let trace = opened(file.bytes());
    assert_eq!(
        slices(&trace),
        [(1_100, 0, "own".to_owned()), (1_150, 0, "monotonic".to_owned()), (1_300, 0, "said".to_owned())]
    );
    assert_eq!(warnings(&trace), [(WarningKind::NoClock, 1)]);
    assert_eq!(trace.ranks()[0].base_time_ns, None);
}

#[test]
fn times_count_from_unix_time_where_a_snapshot_says_it() {
    let mut file = File::default();
    snapshot(&mut file, vec![clock(6, 1_000), clock(1, 1_700_000_000_000_000_000)]);
    file.thread(2, 10, 11, "main");
    file.event(1_100, named(EventType::Instant, 2, "a", ""));
    let trace = opened(file.bytes());
    assert_eq!(trace.ranks()[0].base_time_ns, Some(1_699_999_999_999_999_000));
    assert_eq!(slices(&trace), [(1_700_000_000_000_000_100, 0, "a".to_owned())]);
}

#[test]
fn incremental_clocks_are_summed_up_per_sequence() {
    let mut file = File::default();
    for (sequence, trace_time) in [(1, 1_000_000), (2, 5_000_000)] {
        let own = Clock { is_incremental: Some(true), unit_multiplier_ns: Some(1_000), ..clock(64, 100) };
        let packet = snapshot(&mut file, vec![own, clock(6, trace_time)]);
        packet.trusted_packet_sequence_id = Some(sequence);
        packet.sequence_flags = Some(1);
        packet.trace_packet_defaults =
            Some(TracePacketDefaults { timestamp_clock_id: Some(64), ..TracePacketDefaults::default() });
    }
    file.thread(2, 10, 11, "main");
    // A packet that shows nothing counts on, too.
    file.packets.last_mut().unwrap().timestamp = Some(5);
    for (sequence, delta, name) in [(1, 10, "a"), (2, 1, "b"), (1, 3, "c"), (2, 2, "d")] {
        let packet = file.event(delta, named(EventType::Instant, 2, name, ""));
        packet.trusted_packet_sequence_id = Some(sequence);
    }
    // A clock of its own is not counted on.
    file.event(1_234, named(EventType::Instant, 2, "e", "")).timestamp_clock_id = Some(6);
    file.event(1, named(EventType::Instant, 2, "f", ""));
    let trace = opened(file.bytes());
    assert_eq!(
        slices(&trace),
        [
            (1_234, 0, "e".to_owned()),
            (1_015_000, 0, "a".to_owned()),
            (1_018_000, 0, "c".to_owned()),
            (1_019_000, 0, "f".to_owned()),
            (5_001_000, 0, "b".to_owned()),
            (5_003_000, 0, "d".to_owned()),
        ]
    );
    assert_eq!(warnings(&trace), []);
}

#[test]
fn older_times_in_microseconds_count_from_the_threads_description() {
    let mut file = File::default();
    let thread = ThreadDescriptor {
        pid: Some(10),
        tid: Some(11),
        thread_name: Some("main".to_owned()),
        reference_timestamp_us: Some(1_000),
        ..ThreadDescriptor::default()
    };
    file.data(None, trace_packet::Data::ThreadDescriptor(thread));
    let old = |name: &str, timestamp| TrackEvent {
        track_uuid: None,
        timestamp: Some(timestamp),
        ..named(EventType::Instant, 0, name, "")
    };
    for (delta, name) in [(5, "a"), (7, "b")] {
        let packet = file.event(0, old(name, track_event::Timestamp::TimestampDeltaUs(delta)));
        packet.timestamp = None;
    }
    file.event(0, old("c", track_event::Timestamp::TimestampAbsoluteUs(2_000))).timestamp = None;
    let trace = opened(file.bytes());
    assert_eq!(
        slices(&trace),
        [(1_005_000, 0, "a".to_owned()), (1_012_000, 0, "b".to_owned()), (2_000_000, 0, "c".to_owned())]
    );
    let (_, track) = trace.track_of(event_named(&trace, "a").id).unwrap();
    assert_eq!(trace.text(track.name), "main");
    assert_eq!(warnings(&trace), []);
}

#[test]
fn times_out_of_range_and_missing_ones_are_counted() {
    let mut file = File::default();
    file.thread(2, 10, 11, "main");
    file.event(u64::MAX, named(EventType::Instant, 2, "far", ""));
    file.event(0, named(EventType::Instant, 2, "none", "")).timestamp = None;
    file.event(5, named(EventType::Instant, 2, "kept", ""));
    let trace = opened(file.bytes());
    assert_eq!(slices(&trace), [(5, 0, "kept".to_owned())]);
    assert_eq!(warnings(&trace), [(WarningKind::NoTimestamp, 1), (WarningKind::TimeOutOfRange, 1)]);
}
