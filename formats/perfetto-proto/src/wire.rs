//! Writing the protobuf wire format into a buffer that is used again.
//!
//! Encoding: <https://protobuf.dev/programming-guides/encoding/>. A field is a key (`number << 3 | wire type`) as a
//! varint, then its value; messages, text and bytes are preceded by their length.

/// Wire types that Perfetto uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    /// Base-128 number.
    Varint = 0,
    /// Eight bytes, little-endian.
    Fixed64 = 1,
    /// Length, then so many bytes.
    Delimited = 2,
}

/// Appends fields to a buffer.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    /// An empty writer; `capacity` in bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: Vec::with_capacity(capacity) }
    }

    /// What was written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Bytes written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Forgets what was written and keeps the buffer.
    pub fn clear(&mut self) {
        self.buffer.clear();
    }

    /// Exchanges what was written with `buffer`, which is emptied first and whose room is used from now on.
    pub fn swap(&mut self, buffer: &mut Vec<u8>) {
        buffer.clear();
        std::mem::swap(&mut self.buffer, buffer);
    }

    #[inline]
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buffer.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    #[inline]
    fn key(&mut self, field: u32, wire: WireType) {
        self.raw_varint(u64::from(field) << 3 | wire as u64);
    }

    /// A `uint32`, `uint64`, `bool` or enum field.
    #[inline]
    pub fn uint(&mut self, field: u32, value: u64) {
        self.key(field, WireType::Varint);
        self.raw_varint(value);
    }

    /// An `int32` or `int64` field. Negative numbers take ten bytes, as the format demands.
    #[inline]
    pub fn int(&mut self, field: u32, value: i64) {
        self.uint(field, value as u64);
    }

    /// A `bool` field.
    #[inline]
    pub fn bool(&mut self, field: u32, value: bool) {
        self.uint(field, u64::from(value));
    }

    /// A `fixed64` field.
    #[inline]
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, WireType::Fixed64);
        self.buffer.extend_from_slice(&value.to_le_bytes());
    }

    /// A `double` field.
    #[inline]
    pub fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    /// A `bytes` field, or a message that is encoded already.
    #[inline]
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, WireType::Delimited);
        self.raw_varint(value.len() as u64);
        self.buffer.extend_from_slice(value);
    }

    /// A `string` field.
    #[inline]
    pub fn string(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// Begins a message field; [`close`](Self::close) with the result ends it.
    ///
    /// One byte is kept free for the length: most messages are shorter than 128 bytes, and moving the others
    /// by a byte or two costs less than measuring every message first.
    #[inline]
    pub fn open(&mut self, field: u32) -> OpenMessage {
        self.key(field, WireType::Delimited);
        self.buffer.push(0);
        OpenMessage { start: self.buffer.len() }
    }

    /// Ends a message field.
    #[inline]
    pub fn close(&mut self, message: OpenMessage) {
        let len = self.buffer.len().saturating_sub(message.start);
        let length_at = message.start.saturating_sub(1);
        if len < 0x80 {
            if let Some(place) = self.buffer.get_mut(length_at) {
                *place = len as u8;
            }
            return;
        }
        let (length, size) = encode_varint(len as u64);
        let end = self.buffer.len();
        self.buffer.resize(end + size - 1, 0);
        self.buffer.copy_within(message.start..end, message.start + size - 1);
        for (place, byte) in self.buffer.iter_mut().skip(length_at).zip(length.into_iter().take(size)) {
            *place = byte;
        }
    }

    /// A message field whose content `write` appends.
    #[inline]
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let message = self.open(field);
        write(self);
        self.close(message);
    }
}

/// A message field that has begun and not ended.
#[derive(Debug)]
#[must_use = "close it"]
pub struct OpenMessage {
    /// First byte of its content.
    start: usize,
}

fn encode_varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut size = 0;
    for place in &mut bytes {
        size += 1;
        if value < 0x80 {
            *place = value as u8;
            break;
        }
        *place = value as u8 | 0x80;
        value >>= 7;
    }
    (bytes, size)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost::Message;

    use super::*;
    use crate::{DebugAnnotation, TracePacket, TrackEvent, annotation, trace_packet, track_event};

    #[test]
    fn every_wire_type_decodes_to_the_value_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), i64::MAX as u64, u64::MAX] {
            let mut writer = Writer::default();
            writer.uint(crate::field::packet::TIMESTAMP, value);
            assert_eq!(TracePacket::decode(writer.as_bytes()).unwrap().timestamp, Some(value));
            writer.clear();
            writer.fixed64(crate::field::track_event::FLOW_IDS, value);
            writer.fixed64(crate::field::track_event::FLOW_IDS, 7);
            assert_eq!(TrackEvent::decode(writer.as_bytes()).unwrap().flow_ids, [value, 7]);
        }
        for value in [0, 1, -1, i64::MIN, i64::MAX] {
            let mut writer = Writer::default();
            writer.int(crate::field::annotation::INT_VALUE, value);
            let decoded = DebugAnnotation::decode(writer.as_bytes()).unwrap();
            assert_eq!(decoded.value, Some(annotation::Value::IntValue(value)));
        }
        for value in [0.0, -0.5, f64::MAX, f64::INFINITY] {
            let mut writer = Writer::default();
            writer.double(crate::field::annotation::DOUBLE_VALUE, value);
            let decoded = DebugAnnotation::decode(writer.as_bytes()).unwrap();
            assert_eq!(decoded.value, Some(annotation::Value::DoubleValue(value)));
        }
        let mut writer = Writer::default();
        writer.bool(crate::field::annotation::BOOL_VALUE, true);
        let decoded = DebugAnnotation::decode(writer.as_bytes()).unwrap();
        assert_eq!(decoded.value, Some(annotation::Value::BoolValue(true)));
    }

    #[test]
    fn nested_messages_of_any_length_decode() {
        // Around each length where the varint of the length grows by a byte, at three levels of nesting.
        for len in [0, 1, 100, 120, 126, 127, 128, 129, 200, 16_370, 16_383, 16_384, 20_000, 2_097_151, 2_097_152] {
            let text = "x".repeat(len);
            let mut writer = Writer::default();
            writer.uint(crate::field::packet::SEQUENCE_ID, 1);
            writer.message(crate::field::packet::TRACK_EVENT, |event| {
                event.message(crate::field::track_event::DEBUG_ANNOTATIONS, |outer| {
                    outer.string(crate::field::annotation::NAME, "outer");
                    outer.message(crate::field::annotation::DICT_ENTRIES, |entry| {
                        entry.string(crate::field::annotation::STRING_VALUE, &text);
                    });
                });
                event.uint(crate::field::track_event::TRACK_UUID, 9);
            });
            writer.uint(crate::field::packet::TIMESTAMP, 5);

            let decoded = TracePacket::decode(writer.as_bytes()).unwrap();
            assert_eq!((decoded.timestamp, decoded.trusted_packet_sequence_id), (Some(5), Some(1)));
            let Some(trace_packet::Data::TrackEvent(event)) = decoded.data else {
                unreachable!("a track event was written")
            };
            let entry =
                DebugAnnotation { value: Some(annotation::Value::StringValue(text)), ..DebugAnnotation::default() };
            let outer = DebugAnnotation {
                name_field: Some(annotation::NameField::Name("outer".to_owned())),
                dict_entries: vec![entry],
                ..DebugAnnotation::default()
            };
            assert_eq!(event.debug_annotations, [outer]);
            assert_eq!(event.track_uuid, Some(9));
        }
    }

    #[test]
    fn bytes_equal_what_prost_writes() {
        let message = TrackEvent {
            category_iids: vec![3],
            r#type: Some(1),
            name_field: Some(track_event::NameField::NameIid(300)),
            track_uuid: Some(4),
            flow_ids: vec![1],
            ..TrackEvent::default()
        };
        let mut writer = Writer::with_capacity(64);
        writer.uint(crate::field::track_event::CATEGORY_IIDS, 3);
        writer.uint(crate::field::track_event::TYPE, 1);
        writer.uint(crate::field::track_event::NAME_IID, 300);
        writer.uint(crate::field::track_event::TRACK_UUID, 4);
        writer.fixed64(crate::field::track_event::FLOW_IDS, 1);
        let mut ours: Vec<u8> = writer.as_bytes().to_vec();
        let mut theirs = message.encode_to_vec();
        // prost writes fields in another order; the bytes are the same ones.
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
        assert_eq!(TrackEvent::decode(writer.as_bytes()).unwrap(), message);
    }
}
