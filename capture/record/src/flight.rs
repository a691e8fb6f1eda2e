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
    pieces: VecDeque<(Instant, Vec<u8>)>,
}

impl Flight {
    /// Keeps `seconds`.
    pub fn new(seconds: f64) -> Flight {
        let keep = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(30));
        Flight { keep, pieces: VecDeque::new() }
    }

    /// Whether the next packets begin a new piece: the encoder must then write what they need to be read alone.
    pub fn wants_restart(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.pieces.back().is_none_or(|(start, _)| now.duration_since(*start) >= PIECE);
        if is_due {
            self.pieces.push_back((now, Vec::new()));
            // A piece is needed as long as the one after it does not cover all that is to be kept.
            while let Some((next, _)) = self.pieces.get(1)
                && now.duration_since(*next) > self.keep
            {
                self.pieces.pop_front();
            }
        }
        is_due
    }

    /// Adds packets to the piece.
    pub fn add(&mut self, bytes: &[u8]) {
        match self.pieces.back_mut() {
            Some((_, piece)) => piece.extend_from_slice(bytes),
            None => self.pieces.push_back((Instant::now(), bytes.to_vec())),
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.pieces.iter().all(|(_, piece)| piece.is_empty())
    }

    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, piece)| piece.len() as u64).sum()
    }

    /// Writes the pieces that cover the last `seconds`, or all.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, seconds: Option<f64>, out: &mut impl Write) -> io::Result<()> {
        let keep = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(self.keep);
        let now = Instant::now();
        let first = self.pieces.iter().rposition(|(start, _)| now.duration_since(*start) >= keep).unwrap_or(0);
        for (_, piece) in self.pieces.iter().skip(first) {
            out.write_all(piece)?;
        }
        Ok(())
    }
}
