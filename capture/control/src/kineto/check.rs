//! Whether a file that Kineto wrote is a whole trace with something in it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Not there, or still being written.
    NotYet,
    /// A whole trace without a single event of the job: Kineto writes one when it was asked too early.
    Empty,
    /// A whole trace.
    Whole {
        /// Its size.
        bytes: u64,
    },
}

/// Categories that Kineto writes into every trace, whatever the job does.
const ALWAYS_THERE: [&[u8]; 2] = [b"Trace", b"Overhead"];
const CATEGORY: &[u8] = b"\"cat\": \"";

/// Looks at `path`. Reads up to the first event, so a large trace costs no more than a small one.
pub(crate) fn look_at(path: &Path) -> io::Result<Found> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::NotYet),
        other => other?,
    };
    let bytes = file.metadata()?.len();
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(bytes.saturating_sub(64)))?;
    (&mut file).take(64).read_to_end(&mut end)?;
    if end.trim_ascii_end().last() != Some(&b'}') {
        return Ok(Found::NotYet);
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(if has_event(&mut file)? { Found::Whole { bytes } } else { Found::Empty })
}

/// Searches for an event of a category that is not in every trace.
fn has_event(from: &mut impl Read) -> io::Result<bool> {
    const LONGEST: usize = 32;
    let mut text: Vec<u8> = Vec::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        let count = from.read(&mut piece)?;
        text.extend(piece.get(..count).unwrap_or_default());
        let is_last = count == 0;
        // A category whose name may still go on in the next piece waits for it.
        let limit = if is_last { text.len() } else { text.len().saturating_sub(LONGEST) };
        let mut at = 0;
        while let Some(found) = text.get(at..limit).and_then(|t| t.windows(CATEGORY.len()).position(|w| w == CATEGORY))
        {
            at += found + CATEGORY.len();
            let rest = text.get(at..).unwrap_or_default();
            let name = rest.split(|&b| b == b'"').next().unwrap_or_default();
            if !name.is_empty() && !ALWAYS_THERE.contains(&name) {
                return Ok(true);
            }
        }
        if is_last {
            return Ok(false);
        }
        // The end stays, in case the key itself was cut; what was looked at is not looked at again.
        let keep_from = at.max(limit.saturating_sub(CATEGORY.len()));
        text.drain(..keep_from.min(text.len()));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, so that every cut is met.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            let (now, later) = self.0.split_at(count);
            into[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    #[test]
    fn an_event_is_found_at_any_cut() {
        let empty = br#"{"traceEvents": [ {"ph": "X", "cat": "Trace", "ts": 1}, {"ph": "X", "cat": "Overhead"} ]}"#;
        let full = br#"{"traceEvents": [ {"ph": "X", "cat": "Trace", "ts": 1}, {"ph": "X", "cat": "cpu_op"} ]}"#;
        for size in 1..full.len() {
            assert!(!has_event(&mut Drip(empty, size)).unwrap(), "{size} bytes at a time");
            assert!(has_event(&mut Drip(full, size)).unwrap(), "{size} bytes at a time");
        }
    }

    #[test]
    fn a_file_that_still_grows_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        assert_eq!(look_at(&path).unwrap(), Found::NotYet);
        for (text, expected) in [
            ("", Found::NotYet),
            (r#"{"traceEvents": [ {"cat": "cpu_op"}, "#, Found::NotYet),
            (r#"{"traceEvents": [ {"cat": "Trace"} ]}"#, Found::Empty),
            ("{\"traceEvents\": [ {\"cat\": \"cpu_op\"} ]}\n", Found::Whole { bytes: 39 }),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(look_at(&path).unwrap(), expected, "{text}");
        }
    }
}
