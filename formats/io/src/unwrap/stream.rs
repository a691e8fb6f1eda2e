//! Compressed bytes as a stream of inflated ones, in steps that are counted.

use std::io::Read;

use flate2::bufread::{DeflateDecoder, GzDecoder};

use super::budget::Budget;
use crate::Progress;
use crate::error::Refused;

/// Bytes that are inflated between two looks at the budget.
const STEP: u64 = 256 << 10;
/// Largest window that a zstd frame may ask for, as a power of two: what zstd itself takes without being told.
const WINDOW_LOG: u32 = 27;

/// A way to compress a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Zstd,
    Deflate,
}

/// The compression that `bytes` begin with.
pub(super) fn codec_of(bytes: &[u8]) -> Option<Codec> {
    match *bytes.first_chunk::<4>()? {
        [0x1F, 0x8B, ..] => Some(Codec::Gzip),
        [0x28, 0xB5, 0x2F, 0xFD] => Some(Codec::Zstd),
        // A frame to be skipped may stand first.
        [0x50..=0x5F, 0x2A, 0x4D, 0x18] => Some(Codec::Zstd),
        _ => None,
    }
}

/// The members of a gzip file, one after the other; zeros behind the last are padding.
struct Members<'a> {
    member: GzDecoder<&'a [u8]>,
}

impl Read for Members<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let rest = *self.member.get_ref();
            let padding = rest.iter().take_while(|&&byte| byte == 0).count();
            let rest = rest.get(padding..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(0);
            }
            if !rest.starts_with(&[0x1F, 0x8B]) {
                return Err(std::io::Error::other("what follows the compressed data is not compressed"));
            }
            self.member = GzDecoder::new(rest);
        }
    }
}

/// A stream of what `bytes` inflate to.
///
/// # Errors
/// When the decoder cannot be made.
pub(super) fn open<'a>(codec: Codec, bytes: &'a [u8]) -> std::io::Result<Box<dyn Read + 'a>> {
    Ok(match codec {
        Codec::Gzip => Box::new(Members { member: GzDecoder::new(bytes) }),
        Codec::Deflate => Box::new(DeflateDecoder::new(bytes)),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// Bytes that `bytes` claim to inflate to; only a hint.
pub(super) fn claimed(codec: Codec, bytes: &[u8]) -> u64 {
    match codec {
        Codec::Gzip => bytes.last_chunk::<4>().map_or(0, |size| u64::from(u32::from_le_bytes(*size))),
        Codec::Zstd | Codec::Deflate => 0,
    }
}

/// How far a stream was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// As far as was asked.
    More,
    /// To its end.
    End,
    /// To damage, which is described.
    Damage(String),
}

/// Inflates into `text` until that has `goal` bytes, or the stream ends. Counts what came as kept.
///
/// # Errors
/// When the budget is spent, or the user gave up. What is damaged is no error: what came before it is in `text`.
pub(super) fn pour(
    stream: &mut dyn Read,
    text: &mut Vec<u8>,
    goal: usize,
    budget: &Budget,
    progress: &dyn Progress,
) -> Result<Reached, Refused> {
    while text.len() < goal {
        if progress.is_cancelled() {
            return Err(Refused::Cancelled);
        }
        let before = text.len();
        let step = STEP.min((goal - before) as u64);
        let read = stream.take(step).read_to_end(text);
        budget.keep(text.len() - before)?;
        match read {
            Ok(0) => return Ok(Reached::End),
            Ok(_) => {}
            Err(error) => return Ok(Reached::Damage(error.to_string())),
        }
    }
    Ok(Reached::More)
}
