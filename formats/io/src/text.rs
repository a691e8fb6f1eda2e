//! Where arguments are read from: mapped files, bytes in memory, or text inflated before or again.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use gapless_trace::{Args, ArgsError, ArgsLoc, ArgsSource};

use crate::kineto::parse_object;
use crate::mapped::Bytes;

/// Inflated text of one file that is kept in memory; beyond this it is inflated again when arguments are asked for.
const MOST_KEPT: usize = 256 << 20;
/// Inflated text of all files that are open together.
const MOST_KEPT_IN_ALL: usize = 1 << 30;

/// How much text all files that are opened together keep.
pub(crate) type KeptBytes = Arc<AtomicUsize>;

/// Blocks of inflated text.
#[derive(Debug, Default)]
pub(crate) struct KeptText {
    blocks: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    in_all: KeptBytes,
    is_too_large: bool,
}

impl KeptText {
    /// Nothing yet; counts towards `in_all`. A text that is `expected` to be too large is not kept at all.
    pub fn new(in_all: KeptBytes, expected: usize) -> Self {
        Self { in_all, is_too_large: expected > MOST_KEPT, ..Self::default() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.in_all.fetch_sub(self.bytes, Ordering::Relaxed);
        (self.blocks, self.bytes) = (Vec::new(), 0);
    }

    /// Keeps `text`, which begins at `base` in the source, if it still fits.
    pub fn keep(&mut self, base: u64, text: &[u8]) {
        if self.is_too_large {
            return;
        }
        self.bytes += text.len();
        let in_all = self.in_all.fetch_add(text.len(), Ordering::Relaxed) + text.len();
        if self.bytes > MOST_KEPT || in_all > MOST_KEPT_IN_ALL {
            self.clear();
            self.is_too_large = true;
        } else {
            self.blocks.push((base, text.to_vec()));
        }
    }
}

/// Arguments in JSON text.
#[derive(Debug)]
pub(crate) enum JsonText {
    /// Plain text, as the file has it.
    Plain(Arc<Bytes>),
    /// Inflated text, block by block.
    Inflated(Vec<(u64, Vec<u8>)>),
    /// A gzip file whose text is too large to keep: inflated on the first question, then kept.
    Gzip {
        /// The compressed file.
        file: Arc<Bytes>,
        /// Bytes that it inflated to when it was opened, within the limits of then. It never becomes more, whatever
        /// became of the file.
        text_bytes: u64,
        /// Its text, once somebody asked.
        text: OnceLock<Vec<u8>>,
    },
}

impl JsonText {
    /// What was `kept` of the text of `file`, which inflated to `text_bytes`.
    pub fn of_gzip(mut kept: KeptText, file: Arc<Bytes>, text_bytes: u64) -> Self {
        if kept.is_too_large {
            return Self::Gzip { file, text_bytes, text: OnceLock::new() };
        }
        kept.blocks.sort_by_key(|block| block.0);
        Self::Inflated(kept.blocks)
    }

    fn bytes(&self, loc: ArgsLoc) -> Option<&[u8]> {
        let slice = |text: &'_ [u8], base: u64| {
            let from = usize::try_from(loc.offset().checked_sub(base)?).ok()?;
            Some(from..from.checked_add(loc.len())?).filter(|range| range.end <= text.len())
        };
        match self {
            Self::Plain(bytes) => bytes.get(slice(bytes, 0)?),
            Self::Inflated(blocks) => {
                let index = blocks.partition_point(|block| block.0 <= loc.offset()).checked_sub(1)?;
                let (base, text) = blocks.get(index)?;
                text.get(slice(text, *base)?)
            }
            Self::Gzip { file, text_bytes, text } => {
                let text = text.get_or_init(|| {
                    let mut text = Vec::new();
                    let decoder = flate2::bufread::MultiGzDecoder::new(file.as_ref().as_ref());
                    // Damage at the end was counted when the file was opened; what came before it is here again.
                    let _ = decoder.take(*text_bytes).read_to_end(&mut text);
                    text
                });
                text.get(slice(text, 0)?)
            }
        }
    }
}

impl ArgsSource for JsonText {
    fn args(&self, loc: ArgsLoc) -> Result<Args, ArgsError> {
        let bytes = self.bytes(loc).ok_or_else(|| ArgsError::Unreadable {
            offset: loc.offset(),
            reason: "the file has become shorter since it was opened; open it again".to_owned(),
        })?;
        Ok(parse_object(bytes))
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.heap_bytes(),
            Self::Inflated(blocks) => blocks.iter().map(|block| block.1.capacity()).sum(),
            Self::Gzip { text, .. } => text.get().map_or(0, Vec::capacity),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Arc<Bytes> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        Arc::new(Bytes::Owned(encoder.finish().unwrap()))
    }

    #[test]
    fn text_is_inflated_again_up_to_what_it_was_and_no_further() {
        let object = br#"{"a": 1}"#;
        let in_all = KeptBytes::default();
        // The file became a bomb since it was opened: another object, and then ten megabytes of blanks.
        let grown = [&object[..], br#"{"b": 2}"#, &vec![b' '; 10 << 20]].concat();
        let text = JsonText::of_gzip(KeptText::new(in_all, usize::MAX), gzip(&grown), object.len() as u64);
        let loc = |from: usize| ArgsLoc::new(from as u64, object.len()).unwrap();
        assert_eq!(text.args(loc(0)).unwrap().len(), 1);
        assert!(matches!(text.args(loc(object.len())), Err(ArgsError::Unreadable { .. })));
        // What is held is about what was asked for, not what the file would give.
        assert!(text.heap_bytes() < 1 << 16, "{}", text.heap_bytes());
    }
}
