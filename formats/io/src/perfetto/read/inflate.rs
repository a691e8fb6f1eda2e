//! Packets that hold compressed packets.

use std::io::Read;

use super::record::Compressed;
use crate::limits::Limits;

/// What came out of compressed packets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inflated {
    /// All of it.
    Whole(Vec<u8>),
    /// What came before the damage.
    Damaged(Vec<u8>),
    /// More than is allowed.
    TooMuch,
}

/// Bytes that any packet may inflate to.
const ALWAYS: u64 = 64 << 20;

/// Inflates `bytes`, the content of `compressed`.
pub(super) fn inflate(compressed: &Compressed, bytes: &[u8], limits: &Limits) -> Inflated {
    let most = (bytes.len() as u64).saturating_mul(limits.ratio).max(ALWAYS).min(limits.inflated_bytes);
    if compressed.is_zstd {
        match zstd::stream::read::Decoder::new(bytes) {
            Ok(decoder) => read(decoder, most),
            Err(_) => Inflated::Damaged(Vec::new()),
        }
    } else {
        read(flate2::read::ZlibDecoder::new(bytes), most)
    }
}

fn read(decoder: impl Read, most: u64) -> Inflated {
    let mut out = Vec::new();
    let result = decoder.take(most.saturating_add(1)).read_to_end(&mut out);
    if out.len() as u64 > most {
        return Inflated::TooMuch;
    }
    out.shrink_to_fit();
    match result {
        Ok(_) => Inflated::Whole(out),
        Err(_) => Inflated::Damaged(out),
    }
}
