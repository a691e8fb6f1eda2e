//! Reading records of any version.

use std::ffi::CStr;

use crate::layout::{Field, Kind};

/// One activity record, as long as the loaded version makes records of its kind.
///
/// From CUDA 12.0 on, a new version of a record only appends fields (compared over the headers of all versions in
/// [`crate::layout::VERSIONS`]). So a field is read where the record is long enough to have it, and is zero elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// A record of these bytes.
    pub fn new(bytes: &'a [u8]) -> Record<'a> {
        Record { bytes }
    }

    /// The record at `place`, of a kind whose records are `size` bytes long.
    ///
    /// # Safety
    /// `size` bytes can be read at `place` as long as the record lives.
    #[inline(always)]
    pub unsafe fn at(place: *const u8, size: usize) -> Record<'a> {
        // SAFETY: by this function's own contract.
        Record { bytes: unsafe { std::slice::from_raw_parts(place, size) } }
    }

    /// Which kind it is; `None` for kinds that are not read here.
    #[inline(always)]
    pub fn kind(self) -> Option<Kind> {
        Kind::from_number(self.u32(crate::layout::KIND))
    }

    /// Whether the loaded version has this field.
    #[inline(always)]
    pub fn has(self, field: Field) -> bool {
        self.bytes.len() >= field.end()
    }

    #[inline(always)]
    fn get<const N: usize>(self, field: Field) -> [u8; N] {
        debug_assert_eq!(field.bytes as usize, N);
        let from = field.offset as usize;
        self.bytes.get(from..from + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    /// A byte.
    #[inline(always)]
    pub fn u8(self, field: Field) -> u8 {
        let [byte] = self.get::<1>(field);
        byte
    }

    /// Two bytes.
    #[inline(always)]
    pub fn u16(self, field: Field) -> u16 {
        u16::from_ne_bytes(self.get(field))
    }

    /// Four bytes.
    #[inline(always)]
    pub fn u32(self, field: Field) -> u32 {
        u32::from_ne_bytes(self.get(field))
    }

    /// Eight bytes.
    #[inline(always)]
    pub fn u64(self, field: Field) -> u64 {
        u64::from_ne_bytes(self.get(field))
    }

    /// Sixteen bytes, a device's id.
    pub fn uuid(self, field: Field) -> [u8; 16] {
        self.get(field)
    }

    /// Four bytes of a field that holds more, `index` counted in fours.
    #[inline(always)]
    pub fn word(self, field: Field, index: usize) -> u32 {
        let from = field.offset as usize + 4 * index;
        let bytes = self.bytes.get(from..from + 4).filter(|_| 4 * index + 4 <= field.bytes as usize);
        bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    /// A text that the record points to; `None` where it points to none.
    ///
    /// # Safety
    /// The record is CUPTI's and the text still lives: texts of kernels live as long as the process.
    #[inline(always)]
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
    use crate::layout::{self, kernel};

    #[test]
    fn fields_beyond_the_record_are_zero() {
        let bytes: Vec<u8> = (0..248u32).map(|place| (place % 251) as u8).collect();
        for (version, _) in layout::VERSIONS {
            let size = layout::record_size(Kind::Kernel, version).unwrap();
            let record = Record::new(bytes.get(..size).unwrap());
            for field in layout::fields(Kind::Kernel) {
                let expected = u32::from_ne_bytes([0, 1, 2, 3].map(|byte: u8| byte + field.offset as u8));
                if field.bytes == 4 && field.end() < 248 {
                    let found = record.u32(*field);
                    assert_eq!(found, if field.end() <= size { expected } else { 0 }, "{} in {version}", field.name);
                }
            }
            assert_eq!(record.has(kernel::PRIORITY), version >= 130_101 || size >= 220, "{version}");
        }
    }

    #[test]
    fn parts_of_an_object_id_are_read_in_fours() {
        let mut bytes = vec![0u8; 56];
        bytes.splice(12..24, [7u32, 8, 9].iter().flat_map(|word| word.to_ne_bytes()));
        let record = Record::new(&bytes);
        let words: Vec<u32> = (0..4).map(|index| record.word(layout::overhead::OBJECT_ID, index)).collect();
        assert_eq!(words, [7, 8, 9, 0]);
    }
}
