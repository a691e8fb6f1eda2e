//! Changes that suit any format: bytes, numbers, stretches, lines.

use crate::archive::{gzip, zstd};
use crate::synth::Rng;

/// Numbers that readers of binary formats stumble over, little-endian.
const NUMBERS: [u64; 16] = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x1_0000_0000,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX,
    u64::MAX - 7,
    1 << 62,
];

/// One of `items`, of which there must be some.
pub(super) fn pick<'a, T>(items: &'a [T], rng: &mut Rng) -> &'a T {
    &items[rng.below(items.len() as u64) as usize]
}

/// The same for values that are copied.
pub(super) fn any<T: Copy>(items: &[T], rng: &mut Rng) -> T {
    *pick(items, rng)
}

/// A number that is likely to be wrong.
pub(super) fn number(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.next_u64(),
        1 => rng.below(1_000),
        _ => *pick(&NUMBERS, rng),
    }
}

/// Changes `bytes` at one place, in a way that knows nothing of the format but `tokens`.
pub(super) fn change_text(bytes: &mut Vec<u8>, tokens: &[&[u8]], rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len() as u64) as usize;
    match rng.below(9) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => bytes[at] = rng.below(256) as u8,
        2 => {
            bytes.remove(at);
        }
        3 | 4 => {
            bytes.splice(at..at, any(tokens, rng).iter().copied());
        }
        5 => {
            let to = (at + rng.below(200) as usize).min(bytes.len());
            bytes.drain(at..to);
        }
        6 => copy_stretch(bytes, rng),
        7 if rng.chance(0.3) => bytes.truncate(at),
        7 => {
            let token = any(tokens, rng);
            let to = (at + token.len()).min(bytes.len());
            bytes.splice(at..to, token.iter().copied());
        }
        _ => {
            // Deep or long: what recursion and fixed buffers do not like.
            let unit: &[u8] = any(&[&b"["[..], b"{\"a\":", b"\\\\", b"\"", b" ", b"1"], rng);
            let many = unit.repeat(1 + rng.below(3_000) as usize);
            bytes.splice(at..at, many);
        }
    }
}

fn copy_stretch(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(bytes.len() as u64) as usize;
    let to = (at + rng.below(400) as usize).min(bytes.len());
    let piece = bytes[at..to].to_vec();
    let place = rng.below(bytes.len() as u64) as usize;
    bytes.splice(place..place, piece);
}

/// Changes `bytes` of a binary format at one place.
pub(super) fn change_binary(bytes: &mut Vec<u8>, rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.below(bytes.len() as u64) as usize;
    match rng.below(8) {
        0 | 1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes[at] = rng.below(256) as u8,
        3 => {
            let width = 1_usize << rng.below(4);
            let value = number(rng).to_le_bytes();
            for (byte, new) in bytes[at..].iter_mut().zip(&value[..width]) {
                *byte = *new;
            }
        }
        4 => {
            let to = (at + rng.below(40) as usize).min(bytes.len());
            bytes.drain(at..to);
        }
        5 => copy_stretch(bytes, rng),
        6 if rng.chance(0.3) => bytes.truncate(at),
        _ => {
            let zeros = vec![0; rng.below(64) as usize];
            bytes.splice(at..at, zeros);
        }
    }
}

/// Changes a text of lines: their order, their numbers, or where they come from.
pub(super) fn change_lines(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = rng.below(lines.len() as u64) as usize;
    match rng.below(7) {
        0 => {
            lines.remove(at);
        }
        1 => {
            let line = lines[at].clone();
            lines.insert(rng.below(lines.len() as u64) as usize, line);
        }
        2 => {
            let other = rng.below(lines.len() as u64) as usize;
            lines.swap(at, other);
        }
        3 => {
            let other: Vec<&[u8]> = pick::<Vec<u8>>(others, rng).split(|&byte| byte == b'\n').collect();
            lines.insert(at, any(&other, rng).to_vec());
        }
        4 => lines[at].truncate(0),
        _ => change_number(&mut lines[at], rng),
    }
    *bytes = lines.join(&b'\n');
}

/// Puts another number in the place of one.
pub(super) fn change_number(text: &mut Vec<u8>, rng: &mut Rng) {
    let starts: Vec<usize> = (0..text.len())
        .filter(|&at| text[at].is_ascii_digit() && (at == 0 || !text[at - 1].is_ascii_digit()))
        .collect();
    if starts.is_empty() {
        return;
    }
    let from = *pick(&starts, rng);
    let to = text[from..].iter().position(|byte| !byte.is_ascii_digit()).map_or(text.len(), |length| from + length);
    let new = match rng.below(4) {
        0 => number(rng).to_string(),
        1 => format!("-{}", number(rng)),
        2 => format!("{}.{}", number(rng), rng.below(1_000)),
        _ => any(&super::kineto::VALUES, rng).to_owned(),
    };
    text.splice(from..to, new.bytes());
}

/// Compresses `bytes`, and damages what comes of it half the time.
pub(super) fn pack(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut packed = if rng.chance(0.7) { gzip(bytes) } else { zstd(bytes) };
    match rng.below(4) {
        0 => packed.truncate(rng.below(packed.len() as u64 + 1) as usize),
        1 => {
            let at = rng.below(packed.len() as u64) as usize;
            packed[at] ^= 1 << rng.below(8);
        }
        2 => packed.extend_from_slice(&bytes[..bytes.len().min(40)]),
        _ => {}
    }
    packed
}
