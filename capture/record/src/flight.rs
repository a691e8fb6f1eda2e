//! A flight recorder's memory: the last seconds of a process's packets.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long a piece lasts. Each piece can be read without those before it, so this is also by how much a dump may be
/// longer than asked for.
const PIECE: Duration = Duration::from_secs(1);

/// Packets of the last seconds, in pieces that can be read alone.
#[derive(Debug)]
pub struct Flight {
    keep: Duration,
    pieces: VecDeque<Piece>,
}

/// Packets that can be read without those before.
#[derive(Debug)]
struct Piece {
    start: Instant,
    /// Begins of what was open then, for a dump that begins here. One that begins before has them already.
    opening: Vec<u8>,
    packets: Vec<u8>,
}

impl Piece {
    fn new(start: Instant) -> Piece {
        Piece { start, opening: Vec::new(), packets: Vec::new() }
    }
}

impl Flight {
    /// Keeps `seconds`.
    pub fn new(seconds: f64) -> Flight {
        let keep = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(30));
        Flight { keep, pieces: VecDeque::new() }
    }

    /// Whether the next packets begin a new piece: the encoder must then write what they need to be read alone, and
    /// [`set_opening`](Self::set_opening) takes what is open.
    pub fn wants_restart(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.pieces.back().is_none_or(|piece| now.duration_since(piece.start) >= PIECE);
        if is_due {
            self.pieces.push_back(Piece::new(now));
            // A piece is needed as long as the one after it does not cover all that is to be kept.
            while let Some(next) = self.pieces.get(1)
                && now.duration_since(next.start) > self.keep
            {
                self.pieces.pop_front();
            }
        }
        is_due
    }

    /// What was open when the newest piece began.
    pub fn set_opening(&mut self, bytes: &[u8]) {
        if let Some(piece) = self.pieces.back_mut() {
            piece.opening = bytes.to_vec();
        }
    }

    /// Adds packets to the newest piece.
    pub fn add(&mut self, bytes: &[u8]) {
        if self.pieces.is_empty() {
            self.pieces.push_back(Piece::new(Instant::now()));
        }
        if let Some(piece) = self.pieces.back_mut() {
            piece.packets.extend_from_slice(bytes);
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(|piece| piece.packets.is_empty() && piece.opening.is_empty())
    }

    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| (piece.opening.len() + piece.packets.len()) as u64).sum()
    }

    /// Writes the pieces that cover the last `seconds`, or all.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, seconds: Option<f64>, out: &mut impl Write) -> io::Result<()> {
        let keep = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(self.keep);
        let now = Instant::now();
        let first = self.pieces.iter().rposition(|piece| now.duration_since(piece.start) >= keep).unwrap_or(0);
        for (index, piece) in self.pieces.iter().enumerate().skip(first) {
            if index == first {
                out.write_all(&piece.opening)?;
            }
            out.write_all(&piece.packets)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_the_first_piece_of_a_dump_begins_what_was_open() {
        let now = Instant::now();
        let mut flight = Flight::new(30.0);
        for (seconds_ago, opening, packets) in [(20, "a", "1"), (10, "b", "2"), (0, "c", "3")] {
            let start = now.checked_sub(Duration::from_secs(seconds_ago)).unwrap();
            flight.pieces.push_back(Piece::new(start));
            flight.set_opening(opening.as_bytes());
            flight.add(packets.as_bytes());
        }
        let dump = |seconds| {
            let mut out = Vec::new();
            flight.write(seconds, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!((dump(None), dump(Some(5.0)), dump(Some(15.0))), ("a123".into(), "b23".into(), "a123".into()));
        assert_eq!((flight.bytes(), flight.is_empty()), (6, false));
    }
}
