//! Where packets begin and end, and how to go on behind bytes that are none.
//!
//! A file is a run of `0x0A <length> <packet>`. Only lengths are looked at here; what is in a packet is the walker's.

use std::ops::Range;

use gapless_trace::{SourceId, WarningKind, Warnings};

use crate::protobuf::{Field, Fields, Value, delimited, varint};

/// Key of `Trace.packet`: field 1, length-delimited.
const PACKET_KEY: u8 = 0x0A;
/// A piece ends with the first packet that reaches so many bytes. Tests have small files, and want several pieces.
const PIECE_BYTES: usize = if cfg!(test) { 4 << 10 } else { 4 << 20 };
/// Packets beyond this size are looked into before their length is believed.
const LARGE_PACKET: usize = 1 << 20;
/// Fields that are looked at to tell whether bytes are a packet. Bounds the work per candidate.
const CHECKED_FIELDS: usize = 24;
/// Packets that must follow one another where reading goes on after damage.
const CHAIN: usize = 3;

/// Walks the top level of a run of packets.
pub(super) struct Bounds<'a> {
    bytes: &'a [u8],
    /// Place of the bytes in the source, for warnings.
    base: u64,
    at: usize,
}

impl<'a> Bounds<'a> {
    /// A walk over `bytes`, which begin at `base` in the source.
    pub fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, base, at: 0 }
    }

    /// How many bytes are done.
    pub fn done(&self) -> usize {
        self.at
    }

    /// The next stretch of whole packets, about 4 MiB long; what lies between stretches is no packet and is counted.
    pub fn next_piece(&mut self, warnings: &mut Warnings) -> Option<Range<usize>> {
        let mut from = self.at;
        while self.at < self.bytes.len() {
            let (end, is_end) = match packet_end(self.bytes, self.at) {
                Some(end) => (end, false),
                None => (self.at, true),
            };
            if is_end {
                let piece = from..self.at;
                self.skip_damage(warnings);
                if !piece.is_empty() {
                    return Some(piece);
                }
                from = self.at;
                continue;
            }
            self.at = end;
            if end - from >= PIECE_BYTES {
                break;
            }
        }
        (from < self.at).then_some(from..self.at)
    }

    /// Moves to the next place where packets follow one another, or to the end.
    fn skip_damage(&mut self, warnings: &mut Warnings) {
        let from = self.at;
        let found = find_chain(self.bytes, from + 1);
        self.at = found.unwrap_or(self.bytes.len());
        let offset = Some(self.base + from as u64);
        let is_cut = found.is_none() && begins_packet(self.bytes.get(from..).unwrap_or_default());
        if is_cut {
            warnings.add(WarningKind::Truncated, SourceId(0), offset, "");
        } else {
            let detail = format!("{} bytes that are no packet", self.at - from);
            warnings.add(WarningKind::MalformedPacket, SourceId(0), offset, &detail);
        }
    }
}

/// The end of the packet that begins at `at`; `None` where there is none, or it is not whole.
#[inline]
fn packet_end(bytes: &[u8], at: usize) -> Option<usize> {
    let content = frame(bytes, at)?;
    if content.len() > LARGE_PACKET && !is_packet(bytes.get(content.clone())?) {
        return None;
    }
    Some(content.end)
}

/// The content of the packet that begins at `at`, if its length fits the bytes.
#[inline]
pub(super) fn frame(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if *bytes.get(at)? != PACKET_KEY {
        return None;
    }
    let mut end = at + 1;
    let content = delimited(bytes, &mut end)?;
    Some(end - content.len()..end)
}

/// Whether `bytes` begin with a packet that goes on beyond their end, rather than with something else.
fn begins_packet(bytes: &[u8]) -> bool {
    let mut at = 1;
    if bytes.first() != Some(&PACKET_KEY) {
        return false;
    }
    match varint(bytes, &mut at) {
        // The length itself is cut.
        None => bytes.len() <= 10,
        // No file is that long: the length is damaged, not the file cut.
        Some(len) => len < 1 << 40,
    }
}

/// The first place at or behind `from` where packets follow one another, or one reaches exactly to the end.
fn find_chain(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memchr::memchr_iter(PACKET_KEY, rest).map(|at| from + at).find(|&start| {
        let mut at = start;
        for _ in 0..CHAIN {
            let Some(content) = frame(bytes, at) else { return false };
            if !bytes.get(content.clone()).is_some_and(has_head) {
                return false;
            }
            at = content.end;
            if at == bytes.len() {
                return true;
            }
        }
        true
    })
}

/// Wire type of the fields of a packet that every writer of traces uses; `None` for fields not known here.
fn wire_type(number: u32) -> Option<u8> {
    Some(match number {
        // Timestamp, uid, sequence, flags, clock, pid, machine.
        3 | 8 | 10 | 13 | 41 | 42 | 58 | 79 | 87 | 98 => 0,
        // Data, interned data, defaults.
        1..=138 => 2,
        _ => return None,
    })
}

/// Whether the field has the wire type that it has in packets; `None` for fields that are not known here.
fn fits(field: &Field<'_>) -> Option<bool> {
    let wire = match field.value {
        Value::Varint(_) => 0,
        Value::Fixed64(_) => 1,
        Value::Bytes(_) => 2,
        Value::Fixed32(_) => 5,
    };
    wire_type(field.number).map(|known| known == wire)
}

/// Whether `content` looks like a packet: fields that packets have, with the wire types that they have there, and at
/// least one number that tells packets from the messages of other formats.
pub(super) fn is_packet(content: &[u8]) -> bool {
    let mut fields = Fields::new(content);
    let mut tells = false;
    for field in fields.by_ref().take(CHECKED_FIELDS) {
        match fits(&field) {
            Some(false) => return false,
            Some(true) => tells |= field.number >= 7,
            // An extension.
            None => {}
        }
    }
    !fields.is_broken() && tells
}

/// Whether `content` looks like a packet with a time or a sequence. Stricter than [`is_packet`], for places where
/// nothing else says that a packet begins.
fn has_head(content: &[u8]) -> bool {
    let mut fields = Fields::new(content);
    let mut tells = false;
    for field in fields.by_ref().take(CHECKED_FIELDS) {
        if fits(&field) != Some(true) {
            return false;
        }
        tells |= matches!(field.number, 8 | 10 | 50 | 133);
    }
    !fields.is_broken() && tells
}

/// Packets that are looked at to tell the format.
const SNIFFED: usize = 3;

/// Whether `head`, the first bytes of a file, is a run of packets.
pub(super) fn sniff(head: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    while seen < SNIFFED && at < head.len() {
        let Some(content) = frame(head, at) else {
            // The last one may go beyond the head; a file of one large packet has nothing else to show.
            return seen > 0 || begins_large_packet(head.get(at..).unwrap_or_default());
        };
        let Some(bytes) = head.get(content.clone()) else { return false };
        at = content.end;
        if bytes.is_empty() {
            continue;
        }
        if !is_packet(bytes) {
            return false;
        }
        seen += 1;
    }
    seen > 0
}

/// Whether `head` is the beginning of one packet that goes on behind it.
fn begins_large_packet(head: &[u8]) -> bool {
    let mut at = 1;
    if head.first() != Some(&PACKET_KEY) {
        return false;
    }
    let Some(len) = varint(head, &mut at).filter(|&len| len < 1 << 40) else { return false };
    let rest = head.get(at..).unwrap_or_default();
    let mut fields = Fields::new(rest);
    let known = fields
        .by_ref()
        .take(CHECKED_FIELDS)
        .take_while(|field| fits(field) == Some(true))
        .filter(|field| field.number >= 7)
        .count();
    // Compressed packets are one field, which is cut here.
    let is_compressed = rest.starts_with(&[0x92, 0x03]) || rest.starts_with(&[0xAA, 0x08]);
    len as usize > rest.len() && (known > 0 || is_compressed)
}

#[cfg(test)]
mod tests {
    // Lists of ranges are what is tested.
    #![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

    use super::*;
    use perfetto_proto::wire::Writer;

    fn packet(time: u64) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(1, |packet| {
            packet.uint(8, time);
            packet.uint(10, 1);
            packet.message(11, |event| event.uint(9, 3));
        });
        writer.as_bytes().to_vec()
    }

    fn pieces(bytes: &[u8]) -> (Vec<Range<usize>>, Warnings) {
        let (mut bounds, mut warnings) = (Bounds::new(bytes, 0), Warnings::default());
        let found = std::iter::from_fn(|| bounds.next_piece(&mut warnings)).collect();
        (found, warnings)
    }

    #[test]
    fn whole_packets_make_one_piece_and_long_runs_several() {
        let one = packet(5);
        assert_eq!(pieces(&one.repeat(3)), (vec![0..one.len() * 3], Warnings::default()));
        let bytes = one.repeat(PIECE_BYTES * 2 / one.len() + 10);
        let (found, warnings) = pieces(&bytes);
        assert_eq!((found.len(), found[0].start, found[2].end), (3, 0, bytes.len()));
        assert_eq!((found[0].end, found[1].end, warnings.is_empty()), (found[1].start, found[2].start, true));
    }

    #[test]
    fn a_cut_file_keeps_its_whole_packets() {
        let one = packet(5);
        let bytes = one.repeat(4);
        for cut in 1..one.len() {
            let (found, warnings) = pieces(&bytes[..bytes.len() - cut]);
            assert_eq!(found, vec![0..one.len() * 3], "cut {cut}");
            assert_eq!(warnings.count(WarningKind::Truncated), 1, "cut {cut}");
        }
    }

    #[test]
    fn garbage_between_packets_is_skipped_and_counted() {
        let one = packet(5);
        let mut bytes = one.repeat(3);
        bytes.extend_from_slice(b"\x00\xFFgarbage\x0A\x03abc");
        let from = bytes.len();
        bytes.extend(one.repeat(5));
        let (found, warnings) = pieces(&bytes);
        assert_eq!(found, vec![0..one.len() * 3, from..bytes.len()]);
        assert_eq!(warnings.count(WarningKind::MalformedPacket), 1);
    }

    #[test]
    fn a_length_beyond_the_end_costs_one_packet() {
        let one = packet(5);
        for length in [&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F][..], &[255, 255, 255, 255, 255, 255, 255, 255, 127]] {
            let mut bytes = one.repeat(2);
            bytes.push(PACKET_KEY);
            bytes.extend_from_slice(length);
            bytes.extend_from_slice(&[0x12, 0x34]);
            let from = bytes.len();
            bytes.extend(one.repeat(4));
            let (found, warnings) = pieces(&bytes);
            assert_eq!(found, vec![0..one.len() * 2, from..bytes.len()]);
            assert_eq!(warnings.count(WarningKind::MalformedPacket), 1);
        }
    }

    #[test]
    fn other_protobuf_files_are_not_taken() {
        assert!(sniff(&packet(1).repeat(2)));
        assert!(sniff(&packet(1).repeat(9)[..packet(1).len() * 2 + 3]));
        // A plane of an XPlane file: id, name, lines; and one with a name alone.
        let mut plane = Writer::default();
        plane.message(1, |plane| {
            plane.uint(1, 2);
            plane.string(2, "/device:GPU:0");
            plane.message(3, |line| line.uint(1, 7));
        });
        assert!(!sniff(plane.as_bytes()));
        let mut named = Writer::default();
        named.message(1, |plane| plane.string(2, "/host:metadata"));
        assert!(!sniff(named.as_bytes()));
        assert!(!sniff(b"\n{\"traceEvents\": []}"));
        assert!(!sniff(b""));
        assert!(!sniff(b"\n\n\n\n"));
    }
}
