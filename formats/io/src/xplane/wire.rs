//! The protobuf wire format, walked in place.
//!
//! Encoding: <https://protobuf.dev/programming-guides/encoding/>. A message is a row of fields; what is damaged ends
//! the message that it stands in, and nothing around it.

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Base-128 number.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes. No message of the format has one.
    Fixed32(u32),
    /// Text, bytes or a message.
    Bytes(Slice<'a>),
}

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

/// Reads a base-128 number at `at` and moves behind it. `None` where it does not end or is longer than ten bytes.
#[inline]
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7F);
    for shift in (7..70).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        // The tenth byte has room for one bit; what is above it is cut, as other decoders do.
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message, in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of the message in the file.
    base: usize,
    /// Where the field that was read last begins in the message.
    start: usize,
    damage: Option<usize>,
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub const fn new(message: Slice<'a>) -> Self {
        Self { bytes: message.bytes, at: 0, base: message.at, start: 0, damage: None }
    }

    /// Offset in the file at which the message could not be read on.
    pub const fn damage(&self) -> Option<usize> {
        self.damage
    }

    /// Offset in the file of the field that was read last.
    pub const fn last_start(&self) -> usize {
        self.base.saturating_add(self.start)
    }

    fn spoil(&mut self) {
        self.damage = Some(self.last_start());
        self.at = self.bytes.len();
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        self.start = self.at;
        let Some(key) = varint(self.bytes, &mut self.at) else {
            self.spoil();
            return None;
        };
        let Some(number) = u32::try_from(key >> 3).ok().filter(|&number| number != 0) else {
            self.spoil();
            return None;
        };
        let value = match key & 7 {
            0 => varint(self.bytes, &mut self.at).map(Value::Varint),
            1 => fixed::<8>(self.bytes, &mut self.at).map(|bytes| Value::Fixed64(u64::from_le_bytes(bytes))),
            5 => fixed::<4>(self.bytes, &mut self.at).map(|bytes| Value::Fixed32(u32::from_le_bytes(bytes))),
            2 => varint(self.bytes, &mut self.at).map(|length| {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let at = self.base.saturating_add(self.at);
                let whole = usize::try_from(length).ok().and_then(|length| rest.get(..length));
                let slice = Slice { bytes: whole.unwrap_or(rest), at, is_whole: whole.is_some() };
                if whole.is_some() {
                    self.at += slice.bytes.len();
                } else {
                    // The length reaches beyond the message around it: what is there is handed out, nothing follows.
                    self.spoil();
                }
                Value::Bytes(slice)
            }),
            _ => None,
        };
        let Some(value) = value else {
            self.spoil();
            return None;
        };
        Some((number, value))
    }
}

#[inline]
fn fixed<const N: usize>(bytes: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let found = *bytes.get(*at..)?.first_chunk::<N>()?;
    *at += N;
    Some(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn all(bytes: &[u8]) -> (Vec<(u32, Value<'_>)>, Option<usize>) {
        let mut fields = Fields::new(Slice::new(bytes, 100));
        let found = fields.by_ref().collect();
        (found, fields.damage())
    }

    #[test]
    fn numbers_of_every_length_are_read() {
        let check = |bytes: &[u8], value: Option<u64>, read: usize| {
            let mut at = 0;
            assert_eq!(varint(bytes, &mut at), value);
            assert_eq!(at, read);
        };
        check(&[0], Some(0), 1);
        check(&[0x7F], Some(127), 1);
        check(&[0x80, 1], Some(128), 2);
        check(&[0xFF; 9].iter().copied().chain([1]).collect::<Vec<_>>(), Some(u64::MAX), 10);
        check(&[0x80], None, 1);
        check(&[0xFF; 11], None, 10);
    }

    #[test]
    fn every_wire_type_is_walked_and_says_where_it_stands() {
        let bytes = [0x08, 5, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1A, 2, b'h', b'i', 0x25, 9, 0, 0, 0];
        let (found, damage) = all(&bytes);
        let text = Slice { bytes: b"hi", at: 113, is_whole: true };
        let expected = [(1, Value::Varint(5)), (2, Value::Fixed64(1)), (3, Value::Bytes(text)), (4, Value::Fixed32(9))];
        assert_eq!(found, expected);
        assert_eq!(damage, None);
    }

    #[test]
    fn damage_ends_the_message_and_keeps_what_came_before() {
        // A length of 2^63, a group, field number 0, a number that does not end.
        let long = [0x08, 1, 0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, b'x'];
        let (found, damage) = all(&long);
        let rest = Slice { bytes: b"x", at: 113, is_whole: false };
        assert_eq!((found, damage), (vec![(1, Value::Varint(1)), (2, Value::Bytes(rest))], Some(102)));
        for tail in [&[0x0B][..], &[0x02, 0], &[0x10, 0x80], &[0x11, 1, 2]] {
            let bytes = [&[0x08, 1], tail].concat();
            assert_eq!(all(&bytes), (vec![(1, Value::Varint(1))], Some(102)), "{tail:?}");
        }
    }
}
