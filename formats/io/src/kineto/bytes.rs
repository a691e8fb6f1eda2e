//! Byte search in 16-byte steps: the end of a string, the end of an object.
//!
//! SSE2 belongs to every x86-64; elsewhere the plain loops at the end of each function do all the work.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod simd {
    use std::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8};

    /// 16 bytes as a vector.
    #[inline(always)]
    pub fn load(block: &[u8; 16]) -> __m128i {
        // SAFETY: the reference covers 16 readable bytes, the load needs no alignment, every x86-64 has SSE2.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    /// Bit `i` is set where byte `i` equals `byte`.
    #[inline(always)]
    pub fn equal(block: __m128i, byte: u8) -> u32 {
        // SAFETY: arithmetic on registers; every x86-64 has SSE2.
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(block, _mm_set1_epi8(byte as i8))) as u32 }
    }

    /// Bit `i` is set where byte `i` equals one of two.
    #[inline(always)]
    pub fn either(block: __m128i, first: u8, second: u8) -> u32 {
        // SAFETY: arithmetic on registers; every x86-64 has SSE2.
        unsafe {
            let first = _mm_cmpeq_epi8(block, _mm_set1_epi8(first as i8));
            let second = _mm_cmpeq_epi8(block, _mm_set1_epi8(second as i8));
            _mm_movemask_epi8(_mm_or_si128(first, second)) as u32
        }
    }
}

/// The first `"` or `\` at or after `from`.
#[inline(always)]
pub(crate) fn quote_or_backslash(bytes: &[u8], mut from: usize) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    while let Some(block) = bytes.get(from..).and_then(|rest| rest.first_chunk::<16>()) {
        let hits = simd::either(simd::load(block), b'"', b'\\');
        if hits != 0 {
            return Some(from + hits.trailing_zeros() as usize);
        }
        from += 16;
    }
    let rest = bytes.get(from..)?;
    rest.iter().position(|&byte| byte == b'"' || byte == b'\\').map(|at| from + at)
}

/// The `}` that closes the object whose inside begins at `from` (outside of any string), if the object holds
/// no object and no escape: almost all arguments. `None` sends the caller the slow way.
///
/// A `}` closes the object if an even number of quotes stands before it.
#[inline(always)]
pub(crate) fn flat_object_end(bytes: &[u8], mut from: usize) -> Option<usize> {
    let mut odd = 0u32;
    #[cfg(target_arch = "x86_64")]
    while let Some(block) = bytes.get(from..).and_then(|rest| rest.first_chunk::<16>()) {
        let block = simd::load(block);
        let quotes = simd::equal(block, b'"');
        let mut closes = simd::equal(block, b'}');
        let odd_ones = simd::either(block, b'{', b'\\');
        if closes == 0 {
            if odd_ones != 0 {
                return None;
            }
            odd ^= quotes.count_ones() & 1;
            from += 16;
            continue;
        }
        while closes != 0 {
            let at = closes.trailing_zeros();
            let before = (1u32 << at) - 1;
            if odd_ones & before != 0 {
                return None;
            }
            if (odd ^ (quotes & before).count_ones()) & 1 == 0 {
                return Some(from + at as usize);
            }
            closes &= closes - 1;
        }
        if odd_ones != 0 {
            return None;
        }
        odd ^= quotes.count_ones() & 1;
        from += 16;
    }
    for (at, &byte) in bytes.get(from..)?.iter().enumerate() {
        match byte {
            b'"' => odd ^= 1,
            b'{' | b'\\' => return None,
            b'}' if odd & 1 == 0 => return Some(from + at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_plain_loop_finds() {
        // Every byte string over a small alphabet at lengths around the block size, from a fixed generator.
        let alphabet = b"\"\\{}a :";
        let mut seed = 1u64;
        for length in 0..70usize {
            for _ in 0..200 {
                let text: Vec<u8> = (0..length)
                    .map(|_| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let pick = (seed >> 33) as usize % 40;
                        alphabet.get(pick).copied().unwrap_or(b'x')
                    })
                    .collect();
                let plain = text.iter().position(|b| b"\"\\".contains(b));
                assert_eq!(quote_or_backslash(&text, 0), plain);
                let mut odd = false;
                let mut expected = None;
                for (i, &b) in text.iter().enumerate() {
                    match b {
                        b'"' => odd = !odd,
                        b'{' | b'\\' => break,
                        b'}' if !odd => {
                            expected = Some(i);
                            break;
                        }
                        _ => {}
                    }
                }
                assert_eq!(flat_object_end(&text, 0), expected, "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}
