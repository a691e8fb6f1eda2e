//! Messages of an XPlane file with their places in it, which arguments and warnings name.

use crate::protobuf::{self, Field};

/// The value of a field.
pub(super) type Value<'a> = protobuf::Value<Slice<'a>>;

/// Bytes of a field and where they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slice<'a> {
    /// The bytes that are there.
    pub bytes: &'a [u8],
    /// Offset of the first one in the file.
    pub at: usize,
    /// Whether all bytes that the length announces are there.
    pub is_whole: bool,
}

impl<'a> Slice<'a> {
    /// A whole message.
    pub const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, is_whole: true }
    }

    /// Offset after the last byte.
    pub const fn end(self) -> usize {
        self.at + self.bytes.len()
    }
}

/// The fields of a message, in the order of the file. Of one that reaches beyond the message, what there is.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    fields: protobuf::Fields<'a>,
    /// Offset of the message in the file.
    base: usize,
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub const fn new(message: Slice<'a>) -> Self {
        Self { fields: protobuf::Fields::keeping_cut(message.bytes), base: message.at }
    }

    /// Offset in the file at which the message could not be read on.
    pub fn damage(&self) -> Option<usize> {
        self.fields.is_broken().then(|| self.last_start())
    }

    /// Offset in the file of the field that was read last.
    pub const fn last_start(&self) -> usize {
        self.base.saturating_add(self.fields.last_start())
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Field { number, value, at } = self.fields.next()?;
        let value = match value {
            protobuf::Value::Varint(value) => Value::Varint(value),
            protobuf::Value::Fixed64(value) => Value::Fixed64(value),
            protobuf::Value::Fixed32(value) => Value::Fixed32(value),
            protobuf::Value::Bytes(bytes) => {
                Value::Bytes(Slice { bytes, at: self.base.saturating_add(at), is_whole: !self.fields.is_broken() })
            }
        };
        Some((number, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_where_they_stand_in_the_file_and_whether_they_are_whole() {
        let bytes = [0x08, 5, 0x1A, 2, b'h', b'i', 0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, b'x'];
        let mut fields = Fields::new(Slice::new(&bytes, 100));
        let found: Vec<_> = fields.by_ref().collect();
        let text = Slice { bytes: b"hi", at: 104, is_whole: true };
        let rest = Slice { bytes: b"x", at: 117, is_whole: false };
        assert_eq!(found, [(1, Value::Varint(5)), (3, Value::Bytes(text)), (2, Value::Bytes(rest))]);
        assert_eq!((fields.damage(), text.end()), (Some(106), 106));
        assert_eq!(Fields::new(Slice::new(&bytes[..6], 100)).damage(), None);
    }
}
