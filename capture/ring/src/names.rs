//! Strings of a process: each is written once into the segment and then goes by its number.

use std::borrow::Cow;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{Header, MAX_STRING_BYTES, STRINGS_BYTES, STRINGS_OFFSET};
use crate::sys;

/// Places of the table; three quarters of them are used at most.
const PLACES: usize = 1 << 18;
/// How much of the strings area is reserved at a time, in bytes.
const RESERVE_BYTES: u64 = 256 << 10;

/// A 64-bit hash of a string: folded multiplication over words of eight bytes, after wyhash. Names are told apart by
/// this hash alone; among a million names the odds of any two being equal are one in 37 million.
#[inline(always)]
pub fn hash(bytes: &[u8]) -> u64 {
    const A: u64 = 0x9e37_79b9_7f4a_7c15;
    const B: u64 = 0xd1b5_4a32_d192_ed03;
    let mut state = A ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        state = fold(state ^ u64::from_le_bytes(*word), B);
        rest = after;
    }
    let mut last = 0u64;
    for &byte in rest {
        last = last << 8 | u64::from(byte);
    }
    // Zero marks an empty place.
    fold(state ^ last, A).max(1)
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[repr(C)]
struct Place {
    hash: AtomicU64,
    id: AtomicU64,
}

/// The table of a process's names, in memory of its own; who calls holds the process's lock.
pub(crate) struct Names {
    places: NonNull<Place>,
    used: usize,
    /// Bytes of the strings area that have storage.
    reserved: u64,
    /// Names to lose before the next try at more storage, as a refusal takes system calls.
    refused: u32,
}

/// Names that are lost without another try at storage once there was none.
const REFUSED: u32 = 1024;

impl Names {
    pub(crate) fn new() -> io::Result<Names> {
        let places = sys::map_private(PLACES * size_of::<Place>())?;
        Ok(Names { places: places.cast(), used: 0, reserved: 0, refused: 0 })
    }

    /// The number of a string, which is written to the segment if it is new. `None` where there is no more room.
    /// `reserve` gives storage to bytes of the file.
    pub(crate) fn id(
        &mut self,
        header: &Header,
        strings: NonNull<u8>,
        bytes: &[u8],
        hash: u64,
        reserve: &dyn Fn(u64, u64) -> io::Result<()>,
    ) -> Option<u32> {
        let mut index = hash as usize & (PLACES - 1);
        loop {
            // SAFETY: the index is below PLACES, and the table is zeroed memory, which is a valid empty place.
            let place = unsafe { self.places.add(index).as_ref() };
            match place.hash.load(Ordering::Relaxed) {
                0 => break,
                found if found == hash => return u32::try_from(place.id.load(Ordering::Relaxed)).ok(),
                _ => index = (index + 1) & (PLACES - 1),
            }
        }
        if self.used >= PLACES / 4 * 3 {
            return None;
        }
        let kept = bytes.get(..MAX_STRING_BYTES).unwrap_or(bytes);
        if kept.len() < bytes.len() {
            header.names_cut.fetch_add(1, Ordering::Relaxed);
        }
        // Number 0 is "no name", so the first string lies at 8.
        let at = header.strings_len.load(Ordering::Relaxed).max(8);
        let end = at + (4 + kept.len() as u64).next_multiple_of(8);
        if end > STRINGS_BYTES as u64 {
            return None;
        }
        if end > self.reserved {
            if self.refused > 0 {
                self.refused -= 1;
                return None;
            }
            let until = end.next_multiple_of(RESERVE_BYTES).min(STRINGS_BYTES as u64);
            if reserve(STRINGS_OFFSET as u64 + self.reserved, until - self.reserved).is_err() {
                self.refused = REFUSED;
                return None;
            }
            self.reserved = until;
        }
        // SAFETY: `at .. end` lies within the area, has storage, and nobody else writes there: the lock is held.
        unsafe {
            let target = strings.add(at as usize);
            target.cast::<u32>().write(kept.len() as u32);
            target.add(4).copy_from_nonoverlapping(NonNull::from(kept).cast(), kept.len());
        }
        header.strings_len.store(end, Ordering::Release);
        let id = (at / 8) as u32;
        self.used += 1;
        // SAFETY: as above.
        let place = unsafe { self.places.add(index).as_ref() };
        place.id.store(u64::from(id), Ordering::Relaxed);
        place.hash.store(hash, Ordering::Relaxed);
        Some(id)
    }
}

/// A name that the job registers once and uses often: its number is looked up again only after a fork.
pub struct Registered {
    bytes: Cow<'static, [u8]>,
    /// Generation of the process in the upper half, number in the lower; 0 is not yet looked up.
    known: AtomicU64,
}

impl Registered {
    /// Keeps a copy of the name.
    pub fn new(bytes: &[u8]) -> Registered {
        Registered { bytes: Cow::Owned(bytes.to_vec()), known: AtomicU64::new(0) }
    }

    /// A name that is known when the program is built.
    pub const fn fixed(name: &'static str) -> Registered {
        Registered { bytes: Cow::Borrowed(name.as_bytes()), known: AtomicU64::new(0) }
    }

    /// The name itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number in this generation of the process, found by `look_up` where it is not known.
    #[inline(always)]
    pub(crate) fn id(&self, generation: u32, look_up: impl FnOnce(&[u8]) -> u32) -> u32 {
        let known = self.known.load(Ordering::Relaxed);
        if (known >> 32) as u32 == generation {
            return known as u32;
        }
        let id = look_up(&self.bytes);
        if id == 0 {
            // There was no room or no lock just now; the next event tries again.
            return 0;
        }
        self.known.store(u64::from(generation) << 32 | u64::from(id), Ordering::Relaxed);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn hashes_of_many_similar_names_differ() {
        let mut seen = HashSet::new();
        for number in 0..200_000u32 {
            assert!(seen.insert(hash(format!("aten::add_{number}").as_bytes())));
        }
        for len in 0..64 {
            assert!(seen.insert(hash(&vec![0u8; len])), "zeros of length {len}");
        }
    }
}
