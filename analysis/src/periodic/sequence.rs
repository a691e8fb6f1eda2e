//! Cutting a sequence into pieces and comparing them.

use rustc_hash::FxHashMap;

/// A prime of which products fit 128 bits: 2⁶¹ − 1.
const MODULUS: u64 = (1 << 61) - 1;

/// Any number that is no small power of another.
const BASE: u64 = 1_000_003_519_271_013;

/// Hashes of all pieces of a sequence in constant time each (Karp and Rabin 1987). Two different pieces of a million
/// tokens have the same hash with a chance of about 10⁻¹².
#[derive(Clone, Debug)]
pub(super) struct Hashes {
    prefix: Vec<u64>,
    powers: Vec<u64>,
}

impl Hashes {
    pub fn new(tokens: impl Iterator<Item = u64>) -> Self {
        let (mut prefix, mut powers) = (vec![0], vec![1]);
        let (mut hash, mut power) = (0, 1);
        for token in tokens {
            hash = (product(hash, BASE) + (token + 1) % MODULUS) % MODULUS;
            power = product(power, BASE);
            prefix.push(hash);
            powers.push(power);
        }
        Self { prefix, powers }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.prefix.len() - 1
    }

    fn of(&self, from: usize, to: usize) -> Option<u64> {
        let (before, whole) = (*self.prefix.get(from)?, *self.prefix.get(to)?);
        let shifted = product(before, *self.powers.get(to.checked_sub(from)?)?);
        Some((whole + MODULUS - shifted) % MODULUS)
    }
}

fn product(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(MODULUS)) as u64
}

/// A sequence cut into pieces.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Where pieces begin.
    pub starts: Vec<usize>,
    /// Where the last one ends.
    pub end: usize,
    /// Length of the equal pieces.
    pub length: usize,
    /// How many are equal.
    pub equal: usize,
    /// Share of the tokens that lie in pieces of about that length.
    pub regular: f64,
    /// Share of the pieces that have about that length.
    pub regular_pieces: f64,
}

impl Cut {
    /// Cuts at `starts`. `None` if there is no piece.
    pub fn new(hashes: &Hashes, mut starts: Vec<usize>) -> Option<Self> {
        let mut counts: FxHashMap<(usize, u64), usize> = FxHashMap::default();
        for pair in starts.windows(2) {
            let &[from, to] = pair else { continue };
            *counts.entry((to - from, hashes.of(from, to)?)).or_default() += 1;
        }
        // The longest of those that hold most, so that the order of the map does not matter.
        let best = counts.iter().max_by_key(|&(&(length, hash), &count)| (length * count, length, hash));
        let (&(length, hash), &count) = best?;
        let mut equal = count;
        // Nothing marks the end of the last piece: as much as is equal belongs to it, the rest to no piece.
        let last = *starts.last()?;
        let whole = hashes.of(last, last + length) == Some(hash);
        let end = if whole {
            equal += 1;
            last + length
        } else {
            // The recording ended within it.
            starts.pop();
            last
        };
        let first = *starts.first()?;
        let is_regular = |piece: &usize| piece.abs_diff(length) * 10 <= length;
        let ends = starts.iter().skip(1).copied().chain([end]);
        let pieces = || starts.iter().zip(ends.clone()).map(|(from, to)| to - from);
        let regular: usize = pieces().filter(is_regular).sum();
        let share_of_pieces = pieces().filter(is_regular).count() as f64 / starts.len() as f64;
        // What lies before the first piece and after the last counts as irregular only as far as it exceeds a piece:
        // a recording may begin and end within a step.
        let outside = first.saturating_sub(length) + (hashes.len() - end).saturating_sub(length);
        let share = regular as f64 / (end - first + outside).max(1) as f64;
        Some(Self { starts, end, length, equal, regular: share, regular_pieces: share_of_pieces })
    }

    /// Tokens in equal pieces.
    pub fn held(&self) -> usize {
        self.length * self.equal
    }
}
