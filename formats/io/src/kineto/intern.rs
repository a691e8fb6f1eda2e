//! Names of a chunk: raw bytes to ids, decoded when they are first seen.

use gapless_trace::{RawChunk, SourceId, StrId, WarningKind};
use rustc_hash::FxHashMap;

use super::scan::RawStr;
use super::text::{Repairs, decode};

/// Slots that are looked at before the full table is asked.
const PROBES: usize = 8;

/// Raw strings seen in a chunk. A hash of samples finds almost all; a full hash finds the rest.
pub(crate) struct Interner<'a> {
    slots: Vec<(u64, &'a [u8], StrId)>,
    used: usize,
    full: FxHashMap<&'a [u8], StrId>,
    repaired: FxHashMap<StrId, Repairs>,
}

impl<'a> Interner<'a> {
    pub fn new() -> Self {
        Self {
            slots: vec![(0, &[], StrId::EMPTY); 1 << 12],
            used: 0,
            full: FxHashMap::default(),
            repaired: FxHashMap::default(),
        }
    }

    /// The id of `raw`, decoded into the chunk's strings if it is new. `offset` is for warnings.
    #[inline(always)]
    pub fn intern(&mut self, raw: RawStr<'a>, offset: u64, chunk: &mut RawChunk) -> StrId {
        let hash = sample_hash(raw.text);
        let mask = self.slots.len() - 1;
        for probe in 0..PROBES {
            match self.slots.get((hash as usize + probe) & mask) {
                Some(&(found, text, id)) if found == hash && text == raw.text => {
                    if !self.repaired.is_empty() {
                        self.count_repairs(id, offset, chunk);
                    }
                    return id;
                }
                Some(&(0, ..)) => break,
                _ => {}
            }
        }
        self.intern_new(raw, hash, offset, chunk)
    }

    #[cold]
    fn intern_new(&mut self, raw: RawStr<'a>, hash: u64, offset: u64, chunk: &mut RawChunk) -> StrId {
        if let Some(&id) = self.full.get(raw.text) {
            self.count_repairs(id, offset, chunk);
            return id;
        }
        let (text, repairs) = decode(raw);
        let id = chunk.strings.intern(&text);
        if repairs != Repairs::default() {
            self.repaired.insert(id, repairs);
            self.count_repairs(id, offset, chunk);
        }
        self.full.insert(raw.text, id);
        if self.used * 2 < self.slots.len() {
            let mask = self.slots.len() - 1;
            for probe in 0..PROBES {
                if let Some(slot) = self.slots.get_mut((hash as usize + probe) & mask)
                    && slot.0 == 0
                {
                    *slot = (hash, raw.text, id);
                    self.used += 1;
                    break;
                }
            }
        }
        id
    }

    /// Every use of a repaired string counts.
    #[cold]
    fn count_repairs(&self, id: StrId, offset: u64, chunk: &mut RawChunk) {
        let Some(repairs) = self.repaired.get(&id) else { return };
        let found = [
            (repairs.invalid_utf8, WarningKind::InvalidUtf8),
            (repairs.control_character, WarningKind::ControlCharacter),
            (repairs.bad_escape, WarningKind::BadEscape),
        ];
        for (_, kind) in found.into_iter().filter(|entry| entry.0) {
            chunk.warnings.add(kind, SourceId(0), Some(offset), "");
        }
    }
}

/// Length and four samples of eight bytes, mixed; never 0.
#[inline(always)]
fn sample_hash(text: &[u8]) -> u64 {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let word = |at: usize| {
        text.get(at..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let length = text.len();
    let mut hash = (length as u64).wrapping_mul(MIX);
    if length >= 8 {
        for at in [0, length / 3, length * 2 / 3, length - 8] {
            hash = (hash.rotate_left(23) ^ word(at.min(length - 8))).wrapping_mul(MIX);
        }
    } else {
        for &byte in text {
            hash = (hash.rotate_left(9) ^ u64::from(byte)).wrapping_mul(MIX);
        }
    }
    (hash ^ (hash >> 29)) | 1 << 63
}
