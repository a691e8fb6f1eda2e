//! Reading records of any version.

use std::ffi::CStr;

use crate::layout::{Field, head};

/// One record, as far as its own size goes. A field that it does not have is zero.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    bytes: &'a [u8],
}

/// No record is longer: what says so is damaged.
const LONGEST: u64 = 1 << 16;

impl<'a> Record<'a> {
    /// A record of these bytes.
    pub fn new(bytes: &'a [u8]) -> Record<'a> {
        Record { bytes }
    }

    /// The record at `place`; `None` where its size cannot be one.
    ///
    /// # Safety
    /// A record of rocprofiler lies there: it begins with its own size in bytes, and lives as long as what is given.
    #[inline(always)]
    pub unsafe fn at(place: *const u8) -> Option<Record<'a>> {
        if place.is_null() {
            return None;
        }
        // SAFETY: by this function's own contract; records are aligned to 8 bytes, but that is not relied on.
        let size = unsafe { place.cast::<u64>().read_unaligned() };
        if !(8..=LONGEST).contains(&size) {
            return None;
        }
        // SAFETY: the record says itself that it is so long.
        Some(Record { bytes: unsafe { std::slice::from_raw_parts(place, size as usize) } })
    }

    /// Bytes of it.
    pub fn len(self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether it has this field.
    #[inline(always)]
    pub fn has(self, field: Field) -> bool {
        self.bytes.len() >= field.end()
    }

    #[inline(always)]
    fn get<const N: usize>(self, from: usize) -> [u8; N] {
        self.bytes.get(from..from + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    /// Four bytes.
    #[inline(always)]
    pub fn u32(self, field: Field) -> u32 {
        debug_assert_eq!(field.bytes, 4);
        u32::from_ne_bytes(self.get(field.offset as usize))
    }

    /// Eight bytes.
    #[inline(always)]
    pub fn u64(self, field: Field) -> u64 {
        debug_assert_eq!(field.bytes, 8);
        u64::from_ne_bytes(self.get(field.offset as usize))
    }

    /// Three numbers of four bytes.
    #[inline(always)]
    pub fn sizes(self, field: Field) -> [u32; 3] {
        debug_assert_eq!(field.bytes, 12);
        let from = field.offset as usize;
        [0, 4, 8].map(|part| u32::from_ne_bytes(self.get(from + part)))
    }

    /// Which operation of its kind it is.
    #[inline(always)]
    pub fn operation(self) -> i32 {
        self.u32(head::OPERATION) as i32
    }

    /// A text that the record points to; `None` where it points to none.
    ///
    /// # Safety
    /// The record is rocprofiler's and the text still lives.
    pub unsafe fn text(self, field: Field) -> Option<&'a CStr> {
        let text = self.u64(field) as usize as *const std::ffi::c_char;
        // SAFETY: by this function's own contract.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::layout::{Kind, call, kernel, old_call};

    #[test]
    fn a_record_is_as_long_as_it_says() {
        let mut bytes = [7u8; 64];
        for size in [56u64, 64] {
            bytes.get_mut(..8).unwrap().copy_from_slice(&size.to_ne_bytes());
            // SAFETY: the bytes begin with a size that they have.
            let record = unsafe { Record::at(bytes.as_ptr()) }.unwrap();
            assert_eq!(record.len() as u64, size);
            assert_eq!(record.u64(old_call::THREAD), u64::from_ne_bytes([7; 8]));
            assert_eq!(record.u64(call::THREAD), if size == 64 { u64::from_ne_bytes([7; 8]) } else { 0 });
            assert_eq!(record.sizes(kernel::GRID), [0; 3]);
        }
        for size in [0u64, 7, 1 << 40] {
            bytes.get_mut(..8).unwrap().copy_from_slice(&size.to_ne_bytes());
            // SAFETY: nothing is read beyond the size.
            assert!(unsafe { Record::at(bytes.as_ptr()) }.is_none());
        }
        assert_eq!(Kind::ALL.map(Kind::name).len(), 6);
    }
}
