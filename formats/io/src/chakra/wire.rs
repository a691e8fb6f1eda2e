//! Fields of a protobuf message, one after the other.

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Fields of a message. Ends at the first thing that is none; `is_broken` says so then.
pub(super) struct Fields<'a> {
    text: &'a [u8],
    pub at: usize,
    pub is_broken: bool,
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { text: bytes, at: 0, is_broken: false }
    }

    /// A base-128 number; `None` where the bytes end or it is too long.
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(len).ok()?)?;
        let taken = self.text.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.bytes(8)?.first_chunk()?)),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.bytes(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(*self.bytes(4)?.first_chunk()?)),
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken || self.at >= self.text.len() {
            return None;
        }
        let field = self.field();
        self.is_broken = field.is_none();
        field
    }
}

/// Numbers of a repeated field: packed, or one by one.
pub(super) fn numbers(value: Value<'_>, into: &mut Vec<u64>) {
    match value {
        Value::Varint(number) => into.push(number),
        Value::Bytes(packed) => {
            let mut fields = Fields::new(packed);
            while fields.at < packed.len() {
                let Some(number) = fields.varint() else { return };
                into.push(number);
            }
        }
        _ => {}
    }
}
