//! The protobuf wire format, walked field by field in bytes that may be anything. All readers of protobuf share it.
//!
//! Encoding: <https://protobuf.dev/programming-guides/encoding/>. A message is a row of fields; what is damaged ends
//! the message that it stands in, and nothing around it.

/// A value as the wire has it. `B` is what stands for text, bytes, a message or packed numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<B> {
    /// A base-128 number.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Text, bytes, a message or packed numbers.
    Bytes(B),
    /// Four bytes.
    Fixed32(u32),
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field<'a> {
    /// Its number, at least 1.
    pub number: u32,
    /// Its value.
    pub value: Value<&'a [u8]>,
    /// Where its value begins in the message; for [`Value::Bytes`] the first byte of the content.
    pub at: usize,
}

impl<'a> Field<'a> {
    /// The number of a varint or fixed field.
    #[inline]
    pub fn uint(&self) -> Option<u64> {
        match self.value {
            Value::Varint(value) | Value::Fixed64(value) => Some(value),
            Value::Fixed32(value) => Some(u64::from(value)),
            Value::Bytes(_) => None,
        }
    }

    /// The number of a varint field, read as a signed one.
    #[inline]
    pub fn int(&self) -> Option<i64> {
        self.uint().map(|value| value as i64)
    }

    /// The value of a `double` field.
    #[inline]
    pub fn double(&self) -> Option<f64> {
        match self.value {
            Value::Fixed64(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// The content of a length-delimited field.
    #[inline]
    pub fn bytes(&self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Calls `each` with the numbers of a repeated field of varints, packed or not.
    pub fn each_varint(&self, mut each: impl FnMut(u64)) {
        match self.value {
            Value::Varint(value) | Value::Fixed64(value) => each(value),
            Value::Bytes(bytes) => {
                let mut at = 0;
                while let Some(value) = varint(bytes, &mut at) {
                    each(value);
                }
            }
            Value::Fixed32(_) => {}
        }
    }

    /// Calls `each` with the numbers of a repeated field of eight bytes each, packed or not.
    pub fn each_fixed64(&self, mut each: impl FnMut(u64)) {
        match self.value {
            Value::Fixed64(value) | Value::Varint(value) => each(value),
            Value::Bytes(bytes) => bytes.as_chunks::<8>().0.iter().for_each(|word| each(u64::from_le_bytes(*word))),
            Value::Fixed32(_) => {}
        }
    }
}

/// Reads a varint at `at` and moves behind it; `None` where it is cut or longer than ten bytes.
#[inline(always)]
pub(crate) fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(u64::from(first));
    }
    // Most keys, lengths and ids above 127 take two bytes.
    let second = *bytes.get(*at + 1)?;
    if second < 0x80 {
        *at += 2;
        return Some(u64::from(first & 0x7F) | u64::from(second) << 7);
    }
    let (value, len) = long_varint(bytes.get(*at..)?);
    *at += len;
    (len > 0).then_some(value)
}

/// The varint that `bytes` begin with, and its length; length 0 where there is none. Times take nine bytes and hashes
/// ten: eight are taken at once where there are so many.
#[inline(never)]
fn long_varint(bytes: &[u8]) -> (u64, usize) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let Some([word @ .., ninth, tenth]) = bytes.first_chunk::<10>() else { return varint_by_bytes(bytes) };
    let word = u64::from_le_bytes(*word);
    let last = !word & HIGH;
    // All bits up to those of the last byte; all, where none is the last.
    let groups = word & (last ^ last.wrapping_sub(1)) & !HIGH;
    // Groups of seven bits move together in three steps: pairs, pairs of pairs, halves.
    let pairs = (groups & 0x007F_007F_007F_007F) | (groups & 0x7F00_7F00_7F00_7F00) >> 1;
    let fours = (pairs & 0x0000_3FFF_0000_3FFF) | (pairs & 0x3FFF_0000_3FFF_0000) >> 2;
    let value = (fours & 0x0FFF_FFFF) | (fours & 0x0FFF_FFFF_0000_0000) >> 4;
    if last != 0 {
        return (value, last.trailing_zeros() as usize / 8 + 1);
    }
    let value = value | u64::from(*ninth & 0x7F) << 56;
    if *ninth < 0x80 {
        return (value, 9);
    }
    // The tenth byte holds one bit; what a wrong writer puts beside it is cut, as protobuf does.
    if *tenth < 0x80 { (value | u64::from(*tenth) << 63, 10) } else { (0, 0) }
}

/// The same byte by byte, near the end of a message.
fn varint_by_bytes(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return (value, index + 1);
        }
    }
    (0, 0)
}

/// Reads `length, content` at `at` and moves behind it; `None` where the content is not whole.
#[inline(always)]
pub(crate) fn delimited<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(bytes, at)?).ok()?;
    let content = bytes.get(*at..at.checked_add(len)?)?;
    *at += len;
    Some(content)
}

/// The fields of a message, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the field that was read last begins.
    start: usize,
    is_broken: bool,
    keeps_cut: bool,
}

impl<'a> Fields<'a> {
    /// The fields of the message whose content is `bytes`.
    #[inline(always)]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, start: 0, is_broken: false, keeps_cut: false }
    }

    /// The same, and where the length of the last field reaches beyond the message, the field with what there is
    /// of it. The fields are broken from then on.
    pub const fn keeping_cut(bytes: &'a [u8]) -> Self {
        Self { keeps_cut: true, ..Self::new(bytes) }
    }

    /// Whether the bytes ended in the middle of a field or held a wire type that does not exist. What came before
    /// was given.
    #[inline(always)]
    pub const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Where the field that was read last, or could not be read, begins in the message.
    pub const fn last_start(&self) -> usize {
        self.start
    }

    #[inline(always)]
    fn read(&mut self) -> Option<Field<'a>> {
        let key = varint(self.bytes, &mut self.at)?;
        if self.keeps_cut && key & 7 == 2 {
            let number = number_of(key)?;
            let len = varint(self.bytes, &mut self.at)?;
            let (rest, at) = (self.bytes.get(self.at..)?, self.at);
            let whole = usize::try_from(len).ok().and_then(|len| rest.get(..len));
            self.is_broken = whole.is_none();
            let content = whole.unwrap_or(rest);
            self.at += content.len();
            return Some(Field { number, value: Value::Bytes(content), at });
        }
        field(self.bytes, key, &mut self.at)
    }
}

/// The number of the field with this key; `None` where there is no such field.
#[inline(always)]
fn number_of(key: u64) -> Option<u32> {
    u32::try_from(key >> 3).ok().filter(|&number| number > 0)
}

/// The key of a field that is a varint.
pub(crate) const fn varint_key(number: u32) -> u64 {
    (number as u64) << 3
}

/// The key of a field that is text, bytes or a message.
pub(crate) const fn bytes_key(number: u32) -> u64 {
    (number as u64) << 3 | 2
}

/// The key of a field of eight bytes.
pub(crate) const fn fixed64_key(number: u32) -> u64 {
    (number as u64) << 3 | 1
}

/// Reads the field whose key was read, with its value at `at`, and moves behind it.
#[inline(always)]
pub(crate) fn field<'a>(bytes: &'a [u8], key: u64, at: &mut usize) -> Option<Field<'a>> {
    let number = number_of(key)?;
    let (value, len) = match key & 7 {
        0 => (Value::Varint(varint(bytes, at)?), 0),
        1 => (Value::Fixed64(u64::from_le_bytes(fixed(bytes, at)?)), 8),
        2 => {
            let content = delimited(bytes, at)?;
            (Value::Bytes(content), content.len())
        }
        5 => (Value::Fixed32(u32::from_le_bytes(fixed(bytes, at)?)), 4),
        // Groups (3, 4) are in no schema that is read here; 6 and 7 do not exist.
        _ => return None,
    };
    Some(Field { number, value, at: *at - len })
}

#[inline(always)]
fn fixed<const N: usize>(bytes: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let found = *bytes.get(*at..)?.first_chunk::<N>()?;
    *at += N;
    Some(found)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Field<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        self.start = self.at;
        let found = self.read();
        if found.is_none() {
            self.is_broken = true;
        }
        if self.is_broken {
            self.at = self.bytes.len();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use perfetto_proto::wire::Writer;

    #[test]
    fn fields_come_back_as_they_were_written() {
        let mut writer = Writer::default();
        writer.uint(1, u64::MAX);
        writer.int(2, -1);
        writer.double(3, -0.5);
        writer.string(4, "text");
        let mut bytes = writer.as_bytes().to_vec();
        bytes.extend_from_slice(&[0x2D, 9, 0, 0, 0]);
        let fields: Vec<_> = Fields::new(&bytes).collect();
        assert_eq!(fields[0].uint(), Some(u64::MAX));
        assert_eq!(fields[1].int(), Some(-1));
        assert_eq!(fields[2].double(), Some(-0.5));
        assert_eq!(fields[3].bytes(), Some(&b"text"[..]));
        assert_eq!((fields[4].number, fields[4].value), (5, Value::Fixed32(9)));
        assert_eq!(&bytes[fields[3].at..fields[3].at + 4], b"text");
        assert_eq!(bytes[fields[4].at..], [9, 0, 0, 0]);
        assert_eq!(fields[2].at + 8, fields[3].at - 2);
    }

    #[test]
    fn numbers_of_every_length_are_read_near_the_end_and_far_from_it() {
        for bits in 0..64 {
            for number in [1_u64 << bits, u64::MAX >> bits, 0x5A5A_5A5A_5A5A_5A5A >> bits] {
                let mut writer = Writer::default();
                writer.uint(1, number);
                let encoded = writer.as_bytes().get(1..).unwrap().to_vec();
                for behind in [0, 1, 9] {
                    let bytes = [encoded.clone(), vec![0xFF; behind]].concat();
                    let mut at = 0;
                    assert_eq!((varint(&bytes, &mut at), at), (Some(number), encoded.len()), "{number} {behind}");
                }
                for cut in 0..encoded.len() {
                    assert_eq!(varint(&encoded[..cut], &mut 0), None, "{number} cut at {cut}");
                }
            }
        }
        // What does not fit into the tenth byte is cut, an eleventh is too many, and longer ways to write are read.
        let tenth = [[0xFF; 9].as_slice(), &[0x7F]].concat();
        assert_eq!(varint(&tenth, &mut 0), Some(u64::MAX));
        assert_eq!(varint(&[0xFF; 11], &mut 0), None);
        assert_eq!(varint(&[0x81, 0x80, 0x80, 0x00], &mut 0), Some(1));
    }

    #[test]
    fn hostile_bytes_end_the_fields_and_say_so() {
        // A varint of eleven bytes, a length beyond the end, lengths of 2^63 and 2^64 - 1, groups, wire types that
        // do not exist, field number 0, field number 2^32, cut numbers.
        let hostile: [&[u8]; 13] = [
            &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            &[10, 5, 1],
            &[10, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1, 7],
            &[10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 7],
            &[10, 255, 255, 255, 255, 255, 255, 255, 255, 127],
            &[11, 8, 1, 12],
            &[12, 8, 1],
            &[14, 1],
            &[0, 1],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 1],
            &[8, 128],
            &[9, 1, 2, 3],
            &[13, 1, 2, 3],
        ];
        for bytes in hostile {
            let mut fields = Fields::new(bytes);
            assert_eq!(fields.next(), None, "{bytes:?}");
            assert!(fields.is_broken(), "{bytes:?}");
            assert_eq!(fields.next(), None, "{bytes:?}");
            // Behind a good field, that one is given.
            let behind = [&[0x18, 42], bytes].concat();
            let mut fields = Fields::new(&behind);
            assert_eq!(fields.by_ref().map(|field| field.uint()).collect::<Vec<_>>(), [Some(42)], "{bytes:?}");
            assert_eq!((fields.is_broken(), fields.last_start()), (true, 2), "{bytes:?}");
        }
        let mut whole = Fields::new(&[8, 1]);
        assert!(whole.next().is_some() && whole.next().is_none() && !whole.is_broken());
    }

    #[test]
    fn a_cut_field_is_given_where_it_is_asked_for() {
        for length in [&[5][..], &[128, 128, 128, 128, 128, 128, 128, 128, 128, 1]] {
            let bytes = [&[8, 1, 18], length, b"xy"].concat();
            let mut fields = Fields::keeping_cut(&bytes);
            assert_eq!(fields.next().unwrap().uint(), Some(1));
            assert!(!fields.is_broken());
            let cut = fields.next().unwrap();
            assert_eq!((cut.number, cut.bytes(), cut.at), (2, Some(&b"xy"[..]), bytes.len() - 2));
            assert_eq!((fields.is_broken(), fields.last_start(), fields.next()), (true, 2, None));
            let mut strict = Fields::new(&bytes);
            assert_eq!((strict.by_ref().count(), strict.is_broken()), (1, true));
        }
        let mut number = Fields::keeping_cut(&[8, 128]);
        assert_eq!((number.next(), number.is_broken()), (None, true));
    }

    #[test]
    fn messages_behind_their_lengths_are_whole_or_none() {
        let bytes = [2, b'a', b'b', 0, 3, b'c'];
        let mut at = 0;
        assert_eq!(delimited(&bytes, &mut at), Some(&b"ab"[..]));
        assert_eq!(delimited(&bytes, &mut at), Some(&b""[..]));
        assert_eq!(delimited(&bytes, &mut at), None);
        assert_eq!(delimited(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 7], &mut 0), None);
    }

    #[test]
    fn repeated_numbers_are_read_packed_and_plain() {
        let mut writer = Writer::default();
        writer.uint(1, 300);
        writer.bytes(1, &[1, 0xAC, 2]);
        writer.fixed64(2, 7);
        writer.bytes(2, &[8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        let (mut varints, mut fixed) = (Vec::new(), Vec::new());
        for field in Fields::new(writer.as_bytes()) {
            match field.number {
                1 => field.each_varint(|value| varints.push(value)),
                _ => field.each_fixed64(|value| fixed.push(value)),
            }
        }
        assert_eq!((varints, fixed), (vec![300, 1, 300], vec![7, 8, 9]));
    }
}
