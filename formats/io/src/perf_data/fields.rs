//! Numbers and strings of the file, in its byte order.

/// Reads one field after the other; `None` where the bytes end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self { bytes, big_endian }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(head)
    }

    /// The next `len` bytes as fields of their own.
    pub fn part(&mut self, len: usize) -> Option<Self> {
        Some(Self::new(self.bytes(len)?, self.big_endian))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u16(&mut self) -> Option<u16> {
        let bytes = self.array()?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    pub fn u32(&mut self) -> Option<u32> {
        let bytes = self.array()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub fn u64(&mut self) -> Option<u64> {
        let bytes = self.array()?;
        Some(if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// A 32-bit number with a sign: ids of processes and threads.
    pub fn i32(&mut self) -> Option<i32> {
        Some(self.u32()?.cast_signed())
    }

    /// Text up to the first zero byte, or up to the end.
    pub fn text(&self) -> &'a [u8] {
        text(self.bytes)
    }
}

/// Text up to the first zero byte, or up to the end.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    bytes.get(..memchr::memchr(0, bytes).unwrap_or(bytes.len())).unwrap_or_default()
}
