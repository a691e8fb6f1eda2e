//! Parquet's hybrid of run lengths and packed bits, which holds dictionary indices and definition levels.

/// Fewest equal values in a row that are worth a run of their own: a packed group.
const GROUP: usize = 8;

/// Bits that hold every value up to `max`; at least one, because some readers do not know values of no bits.
pub(super) fn bit_width(max: u32) -> u8 {
    (u32::BITS - max.leading_zeros()).max(1) as u8
}

/// Appends `values`, each of `width` bits (1 to 32).
pub(super) fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    // Values from `packed` to `at` wait to be packed; whole groups except at the very end.
    let (mut packed, mut at) = (0, 0);
    while let Some((&value, rest)) = values.get(at..).and_then(<[u32]>::split_first) {
        let run = 1 + rest.iter().take_while(|&&next| next == value).count();
        let missing = (at - packed).wrapping_neg() % GROUP;
        if run < missing + GROUP {
            at += run;
            continue;
        }
        pack(values.get(packed..at + missing).unwrap_or_default(), width, out);
        varint(((run - missing) as u64) << 1, out);
        let bytes = usize::from(width).div_ceil(8);
        out.extend_from_slice(value.to_le_bytes().get(..bytes).unwrap_or_default());
        at += run;
        packed = at;
    }
    pack(values.get(packed..).unwrap_or_default(), width, out);
}

/// Appends `values` in packed groups of eight, the last filled up with zeros.
fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    varint(((groups as u64) << 1) | 1, out);
    let end = out.len() + groups * usize::from(width);
    let (mut bits, mut count) = (0_u64, 0_u32);
    for &value in values {
        bits |= u64::from(value) << count;
        count += u32::from(width);
        if count >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            count -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes());
    // Cuts what the last word has too much, or fills the last group.
    out.resize(end, 0);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The plain reading of the format: bit by bit.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let bits = usize::from(width);
            if header & 1 == 0 {
                let size = bits.div_ceil(8);
                let mut word = [0; 4];
                word[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                values.extend(std::iter::repeat_n(u32::from_le_bytes(word), (header >> 1) as usize));
            } else {
                let groups = (header >> 1) as usize;
                for value in 0..groups * 8 {
                    let bit = |i: usize| u32::from(bytes[(value * bits + i) / 8] >> ((value * bits + i) % 8) & 1);
                    values.push((0..bits).map(|i| bit(i) << i).sum());
                }
                bytes = &bytes[groups * bits..];
            }
        }
        assert!(bytes.is_empty());
        assert!(values.len() < count + 8);
        values.truncate(count);
        values
    }

    proptest::proptest! {
        #[test]
        fn runs_and_groups_come_back(
            runs in proptest::collection::vec((0_u32..=u32::MAX, 1_usize..40), 0..60),
            width in 1_u8..=32,
        ) {
            let mask = u32::MAX >> (32 - u32::from(width));
            let values: Vec<u32> =
                runs.iter().flat_map(|&(value, count)| std::iter::repeat_n(value & mask, count)).collect();
            let mut out = vec![7];
            encode(&values, width, &mut out);
            proptest::prop_assert_eq!(decode(&out[1..], width, values.len()), values);
        }
    }

    #[test]
    fn widths_hold_their_values() {
        for (max, width) in [(0, 1), (1, 1), (2, 2), (255, 8), (256, 9), (u32::MAX, 32)] {
            assert_eq!(bit_width(max), width, "{max}");
        }
    }

    #[test]
    fn one_long_run_takes_a_few_bytes() {
        let mut out = Vec::new();
        encode(&vec![3; 1_000_000], 2, &mut out);
        assert_eq!(out.len(), 4);
    }
}
