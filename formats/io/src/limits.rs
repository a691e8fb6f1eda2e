//! What a file may cost before it is refused. A damaged or hostile file cannot fill memory or disk.

use crate::error::Refused;

/// Limits on what is read. Generous for honest files; the command line raises them with `--limit name=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that compressed content may inflate to where it is kept in memory, per file, in all its entries.
    pub inflated_bytes: u64,
    /// How many times larger than the compressed bytes the inflated ones may be, beyond the first 64 MiB.
    pub ratio: u64,
    /// Archives and compressions inside one another.
    pub archive_depth: usize,
    /// Entries of an archive.
    pub archive_entries: usize,
    /// Bytes of one string or one event. Enforced where it would cost memory: somewhat longer ones may still be read.
    pub string_bytes: usize,
    /// Values inside values (JSON, debug annotations).
    pub nesting: usize,
    /// Events of one file.
    pub events: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inflated_bytes: 8 << 30,
            ratio: 200,
            archive_depth: 5,
            archive_entries: 65_536,
            string_bytes: 32 << 20,
            nesting: 512,
            events: u32::MAX as u64 - 1,
        }
    }
}

/// Names of the limits and what they bound.
const NAMES: [&str; 7] = ["inflated", "ratio", "depth", "entries", "string", "nesting", "events"];

impl Limits {
    /// How limits are written, for people.
    pub const HELP: &str = "limits are inflated=SIZE, ratio=N, depth=N, entries=N, string=SIZE, nesting=N, events=N; \
                            a SIZE is a number of bytes or has KiB, MiB or GiB behind it";

    /// Sets the limit that `assignment` (`inflated=32GiB`) names.
    ///
    /// # Errors
    /// When there is no such limit, or the value is no number; the text says which.
    pub fn set(&mut self, assignment: &str) -> Result<(), String> {
        let (name, value) = assignment.split_once('=').ok_or_else(|| format!("{assignment:?} has no ="))?;
        let number = size(value).ok_or_else(|| format!("{value:?} is no number or size"))?;
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        match name {
            "inflated" => self.inflated_bytes = number,
            "ratio" => self.ratio = number,
            "depth" => self.archive_depth = count,
            "entries" => self.archive_entries = count,
            "string" => self.string_bytes = count,
            "nesting" => self.nesting = count,
            "events" => self.events = number,
            _ => return Err(format!("there is no limit {name:?}, only {}", NAMES.join(", "))),
        }
        Ok(())
    }
}

impl Limits {
    /// Length of the line that `text`, which begins at `offset` in the source, begins with, without its line feed.
    ///
    /// # Errors
    /// When it is longer than a string may be; no more than that is looked at.
    pub(crate) fn line(&self, text: &[u8], offset: u64) -> Result<usize, Refused> {
        let window = text.get(..=self.string_bytes).unwrap_or(text);
        match memchr::memchr(b'\n', window) {
            Some(length) => Ok(length),
            None if window.len() == text.len() => Ok(text.len()),
            None => Err(Refused::Limit {
                what: format!("the line at byte {offset}"),
                limit: format!("{} bytes", self.string_bytes),
                flag: format!("string={}", self.string_bytes.saturating_mul(10)),
            }),
        }
    }
}

/// A number with an optional binary unit.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)]
        .iter()
        .find_map(|&(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let mut limits = Limits::default();
        for assignment in ["inflated=32GiB", "ratio=7", "depth=1", "entries=2", "string=3 KiB", "nesting=4", "events=5"]
        {
            assert_eq!(limits.set(assignment), Ok(()), "{assignment}");
        }
        let expected = Limits {
            inflated_bytes: 32 << 30,
            ratio: 7,
            archive_depth: 1,
            archive_entries: 2,
            string_bytes: 3 << 10,
            nesting: 4,
            events: 5,
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for wrong in ["inflated", "inflated=", "inflated=-1", "inflated=1GB", "size=1", "inflated=99999999999GiB"] {
            assert!(Limits::default().set(wrong).is_err(), "{wrong}");
        }
    }
}
