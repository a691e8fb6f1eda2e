//! Large files of real texture: one Kineto file written again and again, shifted in time, with ids of their own.

use std::io::{self, Write};

use crate::broken::object_ends;

/// What a number in the text is shifted by, per copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Whole microseconds of a time; what follows the point stays.
    Micros,
    /// Correlation and flow ids, which join one another.
    Correlation,
    /// All other running numbers.
    Running,
}

/// A trace file taken apart at the numbers that change from copy to copy.
#[derive(Debug)]
pub struct Replicator {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Text before each slot, the slot, and its number.
    parts: Vec<(Vec<u8>, Slot, u64)>,
    /// Text after the last slot.
    last: Vec<u8>,
    span_micros: u64,
    /// Events in one copy.
    pub events: u64,
}

const KEYS: [(&[u8], Slot); 6] = [
    (b"\"ts\":", Slot::Micros),
    (b"\"correlation\":", Slot::Correlation),
    (b"\"id\":", Slot::Correlation),
    (b"\"External id\":", Slot::Running),
    (b"\"Ev Idx\":", Slot::Running),
    (b"\"Sequence number\":", Slot::Running),
];

impl Replicator {
    /// Takes a valid trace apart; `None` if it is none.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let key = b"\"traceEvents\"";
        let found = text.windows(key.len()).position(|window| window == key)?;
        let open = found + text[found..].iter().position(|&byte| byte == b'[')? + 1;
        let (ends, close) = object_ends(&text[open..]);
        let body = &text[open..open + ends.last()?];
        let mut parts = Vec::new();
        let (mut from, mut at) = (0, 0);
        let (mut first, mut latest) = (u64::MAX, 0);
        while let Some(quote) = body[at..].iter().position(|&byte| byte == b'"') {
            at += quote;
            let Some((key, slot)) = KEYS.iter().find(|(key, _)| body[at..].starts_with(key)) else {
                at += 1;
                continue;
            };
            at += key.len();
            at += body[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let Ok(number) = String::from_utf8_lossy(&body[at..at + digits]).parse::<u64>() else { continue };
            // Small numbers are times that the profiler did not know, and ids that mean none.
            if number > 0 {
                if *slot == Slot::Micros {
                    (first, latest) = (first.min(number), latest.max(number));
                }
                parts.push((body[from..at].to_vec(), *slot, number));
                from = at + digits;
            }
            at += digits;
        }
        Some(Self {
            head: text[..open].to_vec(),
            tail: text[open + close?..].to_vec(),
            last: body[from..].to_vec(),
            parts,
            span_micros: latest.saturating_sub(first) + 1_000,
            events: ends.len() as u64,
        })
    }

    /// Writes copies until there are at least `target` bytes. Gives (bytes, events).
    ///
    /// # Errors
    /// When the sink fails.
    pub fn write(&self, mut sink: impl Write, target: u64) -> io::Result<(u64, u64)> {
        sink.write_all(&self.head)?;
        let (mut bytes, mut copies, mut buffer) = (self.head.len() as u64, 0, Vec::new());
        while bytes < target {
            buffer.clear();
            if copies > 0 {
                buffer.push(b',');
            }
            for (text, slot, number) in &self.parts {
                buffer.extend_from_slice(text);
                let shifted = number
                    + copies
                        * match slot {
                            Slot::Micros => self.span_micros,
                            Slot::Correlation => 300_000,
                            Slot::Running => 100_000,
                        };
                write!(buffer, "{shifted}")?;
            }
            buffer.extend_from_slice(&self.last);
            sink.write_all(&buffer)?;
            bytes += buffer.len() as u64;
            copies += 1;
        }
        sink.write_all(b"\n")?;
        sink.write_all(&self.tail)?;
        sink.flush()?;
        Ok((bytes + 1 + self.tail.len() as u64, copies * self.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;
    use crate::synth::{Config, Workload, texts};

    #[test]
    fn copies_are_the_original_later() {
        let text = texts(&Config::new(Workload::DataParallel, 1, 1)).expect("generates").0.remove(0);
        let once = oracle::read(&text).expect("valid");
        let replicator = Replicator::new(&text).expect("splits");
        let mut large = Vec::new();
        let (bytes, events) = replicator.write(&mut large, 3 * text.len() as u64 - 1_000).expect("writes");
        assert_eq!(bytes, large.len() as u64);
        assert_eq!(events, 3 * once.events.len() as u64);
        let thrice = oracle::read(&large).expect("valid");
        let shift = replicator.span_micros as i64 * 1_000;
        for (index, event) in thrice.events.iter().enumerate() {
            let (copy, original) = (index / once.events.len(), &once.events[index % once.events.len()]);
            assert_eq!(event.ts, original.ts.map(|ts| ts + copy as i64 * shift));
            assert_eq!((&event.name, event.dur, &event.ph), (&original.name, original.dur, &original.ph));
        }
    }
}
