//! Thrift's compact protocol, as Parquet's footer and page headers are written in it, with bounds on everything.

/// Structures inside structures; Parquet's own go six deep.
const MAX_DEPTH: usize = 32;

/// A value of any type. Bytes are those of the source.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int(i64),
    /// A number with a fraction, a map: read over, nothing here needs them.
    Other,
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    Struct(Vec<(i16, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The field with this number; the last one where it stands twice.
    pub fn field(&self, id: i16) -> Option<&Self> {
        match self {
            Self::Struct(fields) => fields.iter().rev().find(|field| field.0 == id).map(|field| &field.1),
            _ => None,
        }
    }

    /// The whole number in a field.
    pub fn int(&self, id: i16) -> Option<i64> {
        match self.field(id)? {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth value in a field.
    pub fn bool(&self, id: i16) -> Option<bool> {
        match self.field(id)? {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The list in a field; empty where there is none.
    pub fn list(&self, id: i16) -> &[Self] {
        match self.field(id) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }

    /// The text in a field.
    pub fn text(&self, id: i16) -> Option<&'a str> {
        self.field(id)?.as_text()
    }

    /// As text.
    pub fn as_text(&self) -> Option<&'a str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// The structure at the beginning of `bytes`, and its length; `None` if there is no whole one.
pub(super) fn read_struct(bytes: &[u8]) -> Option<(Value<'_>, usize)> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.structure(0)?;
    Some((value, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }

    /// A number of things that still have to come, each of at least one byte.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count <= self.bytes.len().saturating_sub(self.at)).then_some(count)
    }

    fn structure(&mut self, depth: usize) -> Option<Value<'a>> {
        let mut fields = Vec::new();
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(Value::Struct(fields));
            }
            id = match head >> 4 {
                0 => i16::try_from(self.zigzag()?).ok()?,
                delta => id.checked_add(i16::from(delta))?,
            };
            let value = match head & 0x0F {
                1 => Value::Bool(true),
                2 => Value::Bool(false),
                kind => self.value(kind, depth)?,
            };
            fields.push((id, value));
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<Value<'a>> {
        if depth == MAX_DEPTH {
            return None;
        }
        Some(match kind {
            // In lists a truth value has a byte of its own.
            1 | 2 => Value::Bool(self.byte()? == 1),
            3 => Value::Int(i64::from(self.byte()? as i8)),
            4..=6 => Value::Int(self.zigzag()?),
            7 => {
                self.take(8)?;
                Value::Other
            }
            8 => {
                let len = self.count()?;
                Value::Bytes(self.take(len)?)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.count()?,
                    count => usize::from(count),
                };
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(head & 0x0F, depth + 1)?);
                }
                Value::List(items)
            }
            11 => {
                let count = self.count()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                for _ in 0..count {
                    self.value(kinds >> 4, depth + 1)?;
                    self.value(kinds & 0x0F, depth + 1)?;
                }
                Value::Other
            }
            12 => self.structure(depth + 1)?,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_lists_and_texts_are_read() {
        // 1: i32 −3; 2: binary "ab"; 20: list of i64 [1, 2]; 21: true; 22: struct {}.
        let bytes = [0x15, 5, 0x18, 2, b'a', b'b', 0x09, 40, 0x26, 2, 4, 0x11, 0x1C, 0, 0, 99];
        let (value, len) = read_struct(&bytes).unwrap();
        assert_eq!(len, bytes.len() - 1);
        assert_eq!((value.int(1), value.text(2), value.bool(21)), (Some(-3), Some("ab"), Some(true)));
        assert_eq!(value.list(20), [Value::Int(1), Value::Int(2)]);
        assert_eq!(value.field(22), Some(&Value::Struct(Vec::new())));
        assert!(value.field(3).is_none());
    }

    #[test]
    fn what_is_cut_or_lies_about_its_size_is_none() {
        assert_eq!(read_struct(&[0x15]), None);
        // A list of 2³¹ structures in five bytes.
        assert_eq!(read_struct(&[0x19, 0xFC, 0x80, 0x80, 0x80, 0x80, 0x08]), None);
        // A text of 2⁶³ bytes.
        assert_eq!(read_struct(&[0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), None);
        // Structures in structures without end.
        assert_eq!(read_struct(&[0x1C; 10_000]), None);
        // Lists in lists without end.
        assert_eq!(read_struct(&[0x19; 10_000]), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(0_u8..=255, 0..300)) {
            if let Some((_, len)) = read_struct(&bytes) {
                proptest::prop_assert!(len <= bytes.len());
            }
        }
    }
}
