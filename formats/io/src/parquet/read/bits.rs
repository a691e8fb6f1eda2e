//! Values in bits: the hybrid of runs and packed groups, and little-endian numbers.

/// Reads the hybrid of run lengths and packed groups, each value of `width` bits (0 to 32), up to `count` values.
///
/// `None` if the bytes end before or a run is of no sense.
pub(super) fn hybrid(bytes: &[u8], width: u32, count: usize) -> Option<Vec<u32>> {
    if width > 32 {
        return None;
    }
    let mut values = Vec::with_capacity(count);
    let mut rest = bytes;
    while values.len() < count {
        let header = varint(&mut rest)?;
        let missing = count - values.len();
        let size = usize::try_from(header >> 1).ok()?;
        if size == 0 {
            return None;
        }
        if header & 1 == 0 {
            let (word, after) = rest.split_at_checked(width.div_ceil(8) as usize)?;
            rest = after;
            let value = word.iter().rev().fold(0_u32, |value, &byte| value << 8 | u32::from(byte));
            values.extend(std::iter::repeat_n(value, size.min(missing)));
        } else {
            let wanted = size.saturating_mul(8).min(missing);
            // Writers may leave out the end of the last group.
            let len = size.checked_mul(width as usize)?;
            let (packed, after) = rest.split_at_checked(len.min(rest.len()))?;
            rest = after;
            if (packed.len() as u64) * 8 < wanted as u64 * u64::from(width) {
                return None;
            }
            unpack(packed, width, wanted, &mut values);
        }
    }
    Some(values)
}

fn unpack(packed: &[u8], width: u32, count: usize, values: &mut Vec<u32>) {
    let mask = if width == 0 { 0 } else { u64::from(u32::MAX >> (32 - width)) };
    let (mut bits, mut held) = (0_u64, 0_u32);
    let mut bytes = packed.iter();
    for _ in 0..count {
        while held < width {
            bits |= u64::from(bytes.next().copied().unwrap_or(0)) << held;
            held += 8;
        }
        values.push((bits & mask) as u32);
        bits >>= width;
        held -= width;
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The length that stands before something, and what follows it.
pub(super) fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*len)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::hybrid as writer;
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_the_writer_packs_is_read(
            runs in proptest::collection::vec((0_u32..=u32::MAX, 1_usize..40), 0..60),
            width in 1_u8..=32,
        ) {
            let mask = u32::MAX >> (32 - u32::from(width));
            let values: Vec<u32> =
                runs.iter().flat_map(|&(value, count)| std::iter::repeat_n(value & mask, count)).collect();
            let mut bytes = Vec::new();
            writer::encode(&values, width, &mut bytes);
            proptest::prop_assert_eq!(hybrid(&bytes, width.into(), values.len()), Some(values));
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(0_u8..=255, 0..100), width in 0_u32..40) {
            if let Some(values) = hybrid(&bytes, width, 1000) {
                proptest::prop_assert_eq!(values.len(), 1000);
            }
        }
    }

    #[test]
    fn the_example_of_the_format_is_read() {
        // 0 to 7 in three bits, from Parquet's description of its encodings.
        assert_eq!(hybrid(&[3, 0x88, 0xC6, 0xFA], 3, 8).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(hybrid(&[], 3, 1), None);
        assert_eq!(hybrid(&[0, 0, 0], 3, 1), None);
    }
}
