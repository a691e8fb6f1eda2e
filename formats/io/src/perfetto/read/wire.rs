//! Reading the protobuf wire format, field by field, from bytes that may be anything.

/// A value as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// A base-128 number.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
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
pub(super) fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7F);
    let mut shift = 7;
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        // The tenth byte holds one bit; what a wrong writer puts beside it is cut, as protobuf does.
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

/// The fields of a message, in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    is_broken: bool,
}

impl<'a> Fields<'a> {
    /// The fields of the message whose content is `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, is_broken: false }
    }

    /// Whether the bytes ended in the middle of a field or held a wire type that does not exist. What came before
    /// was given.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Field<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let found = read_field(self.bytes, &mut self.at);
        if found.is_none() {
            self.is_broken = true;
            self.at = self.bytes.len();
        }
        found
    }
}

#[inline(always)]
fn read_field<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Field<'a>> {
    let key = varint(bytes, at)?;
    let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0)?;
    let (value, from) = match key & 7 {
        0 => (Value::Varint(varint(bytes, at)?), *at),
        1 => {
            let from = *at;
            let word = bytes.get(from..from.checked_add(8)?)?;
            *at = from + 8;
            (Value::Fixed64(u64::from_le_bytes(word.try_into().ok()?)), from)
        }
        2 => {
            let len = usize::try_from(varint(bytes, at)?).ok()?;
            let from = *at;
            let content = bytes.get(from..from.checked_add(len)?)?;
            *at = from + len;
            (Value::Bytes(content), from)
        }
        5 => {
            let from = *at;
            let word = bytes.get(from..from.checked_add(4)?)?;
            *at = from + 4;
            (Value::Fixed32(u32::from_le_bytes(word.try_into().ok()?)), from)
        }
        // Groups (3, 4) are not part of the schema; 6 and 7 do not exist.
        _ => return None,
    };
    Some(Field { number, value, at: from })
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
        let fields: Vec<_> = Fields::new(writer.as_bytes()).collect();
        assert_eq!(fields[0].uint(), Some(u64::MAX));
        assert_eq!(fields[1].int(), Some(-1));
        assert_eq!(fields[2].double(), Some(-0.5));
        assert_eq!(fields[3].bytes(), Some(&b"text"[..]));
        let at = fields[3].at;
        assert_eq!(&writer.as_bytes()[at..at + 4], b"text");
    }

    #[test]
    fn broken_bytes_end_the_fields_and_say_so() {
        // A varint of eleven bytes, a length beyond the end, a length of 2^63, a group, field number 0, a cut varint.
        let broken: [&[u8]; 6] = [
            &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            &[10, 5, 1],
            &[10, 255, 255, 255, 255, 255, 255, 255, 255, 127],
            &[11, 8, 1, 12],
            &[0, 1],
            &[8, 128],
        ];
        for bytes in broken {
            let mut fields = Fields::new(bytes);
            assert_eq!(fields.next(), None, "{bytes:?}");
            assert!(fields.is_broken(), "{bytes:?}");
        }
        let mut whole = Fields::new(&[8, 1]);
        assert!(whole.next().is_some() && whole.next().is_none() && !whole.is_broken());
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
