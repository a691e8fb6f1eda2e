//! Damaged files: what is kept and what is counted.

use std::io::Write;

use gapless_trace::{ArgValue, WarningKind};
use perfetto_proto::wire::Writer;
use perfetto_proto::{DebugAnnotation, EventType, annotation};

use super::*;
use crate::{Limits, OpenError};

/// Twenty instants on one thread.
fn instants() -> Vec<u8> {
    let mut file = File::default();
    file.thread(2, 10, 11, "main");
    for index in 0..20 {
        file.event(100 + index, named(EventType::Instant, 2, &format!("i{index}"), ""));
    }
    file.bytes()
}

/// Offsets at which packets begin.
fn bounds(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut found = Vec::new();
    while let Some(content) = super::super::bounds::frame(bytes, at) {
        found.push(at);
        at = content.end;
    }
    found
}

#[test]
fn a_file_cut_anywhere_keeps_what_is_whole() {
    let bytes = instants();
    let starts = bounds(&bytes);
    for cut in (starts[1] + 1..bytes.len()).step_by(7) {
        let whole = starts.iter().filter(|&&start| start > 0 && start <= cut).count() - 1;
        let trace = opened(bytes[..cut].to_vec());
        assert_eq!(trace.events().len(), whole, "cut {cut}");
        let is_at_bound = starts.contains(&cut);
        assert_eq!(trace.warnings().count(WarningKind::Truncated), u64::from(!is_at_bound), "cut {cut}");
    }
}

#[test]
fn a_packet_with_broken_fields_is_skipped() {
    let mut bytes = instants();
    let starts = bounds(&bytes);
    // The field key of the packet's timestamp becomes a wire type that does not exist.
    bytes[starts[5] + 2] = 0x47;
    let trace = opened(bytes);
    assert_eq!(trace.events().len(), 19);
    assert_eq!(warnings(&trace), [(WarningKind::MalformedPacket, 1)]);
}

#[test]
fn garbage_between_packets_is_skipped() {
    let bytes = instants();
    let at = bounds(&bytes)[7];
    let mut garbage = bytes[..at].to_vec();
    garbage.extend_from_slice(&[0xFF; 100]);
    garbage.extend_from_slice(&bytes[at..]);
    let trace = opened(garbage);
    assert_eq!(trace.events().len(), 20);
    assert_eq!(warnings(&trace), [(WarningKind::MalformedPacket, 1)]);
    let detail = trace.warnings().sorted()[0].detail.clone();
    assert_eq!(detail, "100 bytes that are no packet");
}

#[test]
fn a_length_that_no_file_has_costs_one_packet() {
    let bytes = instants();
    let at = bounds(&bytes)[7];
    for length in [&[0xFF, 0xFF, 0xFF, 0xFF, 0x07][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]] {
        let mut damaged = bytes[..at].to_vec();
        damaged.push(0x0A);
        damaged.extend_from_slice(length);
        damaged.extend_from_slice(&bytes[at + 2..]);
        let trace = opened(damaged);
        assert_eq!(trace.events().len(), 19);
        assert_eq!(warnings(&trace), [(WarningKind::MalformedPacket, 1)]);
    }
}

#[test]
fn a_file_without_a_packet_is_refused() {
    for bytes in [vec![0x0A], b"\n\xFF\xFF\xFF\xFF".to_vec(), vec![0; 100]] {
        let error = open_bytes("x.pftrace", bytes, &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Format { .. }), "{error}");
    }
}

#[test]
fn any_byte_may_change_without_harm() {
    let bytes = instants();
    for index in 0..bytes.len() {
        for value in [0x00, 0x0A, 0x7F, 0x80, 0xFF] {
            let mut changed = bytes.clone();
            changed[index] = value;
            // It opens or is refused; what the arguments say can be asked.
            if let Ok(trace) = open_bytes("x.pftrace", changed, &OpenOptions::default()) {
                assert!(trace.events().len() <= 21);
            }
        }
    }
}

#[test]
fn ends_and_begins_without_each_other_are_counted() {
    let mut file = File::default();
    file.thread(2, 10, 11, "main");
    file.end(50, 2);
    file.begin(100, 2, "open", "");
    file.begin(110, 2, "closed", "");
    file.end(150, 2);
    file.event(400, named(EventType::Instant, 2, "last", ""));
    let trace = opened(file.bytes());
    assert_eq!(
        slices(&trace),
        [(100, 300, "open".to_owned()), (110, 40, "closed".to_owned()), (400, 0, "last".to_owned())]
    );
    assert_eq!(warnings(&trace), [(WarningKind::EndWithoutBegin, 1), (WarningKind::BeginWithoutEnd, 1)]);
}

#[test]
fn events_without_a_sequence_or_a_declared_track_are_counted() {
    let mut file = File::default();
    file.event(10, named(EventType::Instant, 77, "somewhere", ""));
    file.event(20, named(EventType::Instant, 77, "lost", "")).trusted_packet_sequence_id = None;
    let trace = opened(file.bytes());
    assert_eq!(slices(&trace), [(10, 0, "somewhere".to_owned())]);
    assert_eq!(warnings(&trace), [(WarningKind::NoSequence, 1), (WarningKind::UndeclaredTrack, 1)]);
    assert_eq!(trace.raw_id_text(trace.tracks()[0].tid), "track 77");
}

#[test]
fn packets_of_other_data_sources_are_counted() {
    let mut file = instants();
    let mut writer = Writer::default();
    for _ in 0..3 {
        writer.message(1, |packet| {
            packet.uint(8, 5);
            packet.uint(10, 1);
            packet.message(37, |profile| profile.uint(1, 1));
        });
    }
    file.extend_from_slice(writer.as_bytes());
    let trace = opened(file);
    assert_eq!(trace.events().len(), 20);
    let warning = trace.warnings().sorted()[0];
    assert_eq!(
        (warning.kind, warning.count, warning.detail.as_str()),
        (WarningKind::UnknownPacket, 3, "profile_packet")
    );
}

#[test]
fn deep_arguments_end_at_the_limit() {
    // Put together by hand: encoding it with prost would need a stack as deep.
    let mut bytes: Vec<u8> = vec![0x20, 1];
    for _ in 0..5_000 {
        let mut outer = Writer::default();
        outer.bytes(12, &bytes);
        bytes = outer.as_bytes().to_vec();
    }
    let mut file = instants();
    let mut writer = Writer::default();
    writer.message(1, |packet| {
        packet.uint(8, 5);
        packet.uint(10, 1);
        packet.message(11, |event| {
            event.uint(9, 3);
            event.uint(11, 2);
            event.string(23, "deep");
            event.bytes(4, &bytes);
        });
    });
    file.extend_from_slice(writer.as_bytes());
    let trace = opened(file);
    let args = trace.args(event_named(&trace, "deep").id).unwrap();
    let mut depth = 0;
    let mut value = &args[0].1;
    while let ArgValue::List(items) = value {
        let Some(first) = items.first() else { break };
        value = first;
        depth += 1;
    }
    assert_eq!(depth, Limits::default().nesting);
}

fn packed(bytes: &[u8], is_zstd: bool) -> Vec<u8> {
    if is_zstd {
        return zstd::stream::encode_all(bytes, 3).unwrap();
    }
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn compressed(bytes: &[u8], is_zstd: bool) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(1, |packet| packet.bytes(if is_zstd { 133 } else { 50 }, &packed(bytes, is_zstd)));
    writer.as_bytes().to_vec()
}

#[test]
fn compressed_packets_stand_where_they_stand() {
    let mut head = File::default();
    head.thread(2, 10, 11, "main");
    head.begin(1, 2, "outer", "");
    let mut inner = File::default();
    inner.begin(2, 2, "inner", "");
    inner.packets.last_mut().unwrap().sequence_flags = Some(1);
    inner.event(
        3,
        TrackEvent {
            name_field: Some(track_event::NameField::NameIid(1)),
            debug_annotations: vec![DebugAnnotation {
                name_field: Some(annotation::NameField::Name("a".to_owned())),
                value: Some(annotation::Value::IntValue(1)),
                ..DebugAnnotation::default()
            }],
            ..typed(EventType::Instant, 2)
        },
    );
    inner.packets.last_mut().unwrap().interned_data = Some(interned(&["told inside"], &[]));
    let mut tail = File::default();
    tail.event(4, TrackEvent { name_field: Some(track_event::NameField::NameIid(1)), ..typed(EventType::Instant, 2) });
    tail.end(5, 2);
    tail.end(6, 2);
    let (head, inner, tail) = (head.bytes(), inner.bytes(), tail.bytes());
    for is_zstd in [false, true] {
        let bytes = [head.clone(), compressed(&inner, is_zstd), tail.clone()].concat();
        let trace = opened(bytes);
        assert_eq!(warnings(&trace), []);
        assert_eq!(
            slices(&trace),
            [
                (1, 5, "outer".to_owned()),
                (2, 3, "inner".to_owned()),
                (3, 0, "told inside".to_owned()),
                (4, 0, "told inside".to_owned())
            ]
        );
        let args = trace.args(event_named(&trace, "told inside").id).unwrap();
        assert_eq!(args, [("a".to_owned(), ArgValue::Int(1))]);
    }
}

#[test]
fn damaged_and_nested_compressed_packets_are_counted() {
    let plain = instants();
    let mut damaged = compressed(&plain, false);
    let at = damaged.len() / 2;
    damaged.truncate(at);
    // The frame's length fits again, the content ends early.
    let content = damaged.split_off(4);
    let mut writer = Writer::default();
    let from = content.iter().position(|&byte| byte == 0x78).unwrap();
    writer.message(1, |packet| packet.bytes(50, &content[from..]));
    let trace = opened([plain.clone(), writer.as_bytes().to_vec()].concat());
    assert_eq!(trace.warnings().count(WarningKind::GzipDamaged), 1);
    assert!(trace.events().len() >= 20);

    let nested = compressed(&compressed(&plain, false), false);
    let trace = opened([plain.clone(), nested].concat());
    assert_eq!((trace.events().len(), trace.warnings().count(WarningKind::MalformedPacket)), (20, 1));
}

#[test]
fn compressed_packets_inflate_within_limits() {
    let bomb = compressed(&vec![0; 80 << 20], false);
    let error = open_bytes(
        "x.pftrace",
        [instants(), bomb].concat(),
        &OpenOptions { limits: Limits { ratio: 2, ..Limits::default() }, ..OpenOptions::default() },
    );
    assert!(matches!(error, Err(OpenError::Limit { .. })));
}

#[test]
fn too_many_events_are_refused() {
    let options = OpenOptions { limits: Limits { events: 5, ..Limits::default() }, ..OpenOptions::default() };
    let error = open_bytes("x.pftrace", instants(), &options);
    assert!(matches!(error, Err(OpenError::Limit { .. })));
}
