//! Strings that a packet sequence has already been told.

use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap};

/// Ids that were written once. One bit per id.
#[derive(Debug, Default)]
pub(super) struct IdSet {
    words: Vec<u64>,
}

impl IdSet {
    /// Adds `id`; true if it is new.
    pub(super) fn insert(&mut self, id: u32) -> bool {
        let (word, bit) = (id as usize / 64, 1u64 << (id % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let Some(place) = self.words.get_mut(word) else { return false };
        let is_new = *place & bit == 0;
        *place |= bit;
        is_new
    }
}

/// Most strings that one interner holds; later ones are written out each time.
const MAX_STRINGS: usize = 1 << 16;
/// Most bytes of strings that one interner holds.
const MAX_BYTES: usize = 8 << 20;
/// Longest string that is interned.
const MAX_LEN: usize = 4096;

/// How a string is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interned {
    /// It has this id already.
    Known(u64),
    /// It gets this id now; the sequence has to be told.
    New(u64),
    /// It is written out.
    Inline,
}

/// Gives ids to strings, bounded in memory for the writer and for whoever reads.
#[derive(Debug, Default)]
pub(super) struct Interner {
    ids: FxHashMap<Box<str>, u32>,
    bytes: usize,
}

impl Interner {
    /// The id of `text`, given now if there is room.
    pub(super) fn intern(&mut self, text: &str) -> Interned {
        if let Some(&id) = self.ids.get(text) {
            return Interned::Known(u64::from(id));
        }
        if self.ids.len() >= MAX_STRINGS || self.bytes + text.len() > MAX_BYTES || text.len() > MAX_LEN {
            return Interned::Inline;
        }
        let id = self.ids.len() as u32 + 1;
        self.bytes += text.len();
        self.ids.insert(text.into(), id);
        Interned::New(u64::from(id))
    }
}

/// Slots of the filter of strings that were seen once.
const SEEN_SLOTS: usize = 1 << 14;

/// Gives ids to strings that come a second time. Argument values are often unique (addresses, ids), and an
/// interned string that is used once costs more than the string.
#[derive(Debug)]
pub(super) struct RepeatInterner {
    interner: Interner,
    /// Hash of the last string that fell on each slot. A lost entry only delays an id.
    seen: Vec<u64>,
}

impl Default for RepeatInterner {
    fn default() -> Self {
        Self { interner: Interner::default(), seen: vec![0; SEEN_SLOTS] }
    }
}

impl RepeatInterner {
    /// The id of `text`, if it was seen before.
    pub(super) fn intern(&mut self, text: &str) -> Interned {
        if let Some(&id) = self.interner.ids.get(text) {
            return Interned::Known(u64::from(id));
        }
        // An id costs two to four bytes wherever it stands; strings that short are not worth one.
        if text.len() < 4 {
            return Interned::Inline;
        }
        let hash = FxBuildHasher.hash_one(text);
        let Some(slot) = self.seen.get_mut(hash as usize % SEEN_SLOTS) else { return Interned::Inline };
        if *slot == hash {
            return self.interner.intern(text);
        }
        *slot = hash;
        Interned::Inline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_get_ids_once_and_only_when_they_repeat() {
        let mut names = Interner::default();
        assert_eq!(names.intern("a"), Interned::New(1));
        assert_eq!(names.intern("b"), Interned::New(2));
        assert_eq!(names.intern("a"), Interned::Known(1));
        assert_eq!(names.intern(&"x".repeat(MAX_LEN + 1)), Interned::Inline);

        let mut values = RepeatInterner::default();
        assert_eq!(values.intern("Float"), Interned::Inline);
        assert_eq!(values.intern("Float"), Interned::New(1));
        assert_eq!(values.intern("Float"), Interned::Known(1));
        assert_eq!(values.intern("7"), Interned::Inline);
        assert_eq!(values.intern("7"), Interned::Inline);
    }

    #[test]
    fn interners_stop_growing() {
        let mut names = Interner::default();
        for i in 0..MAX_STRINGS + 10 {
            names.intern(&i.to_string());
        }
        assert_eq!(names.ids.len(), MAX_STRINGS);
        assert_eq!(names.intern("new"), Interned::Inline);
        assert_eq!(names.intern("0"), Interned::Known(1));
    }

    #[test]
    fn id_sets_tell_new_ids() {
        let mut set = IdSet::default();
        assert!(set.insert(0) && set.insert(1000) && set.insert(63));
        assert!(!set.insert(0) && !set.insert(1000) && !set.insert(63));
    }
}
