//! Interned strings: every name, category and label is stored once.

use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

/// An interned string of one [`StringTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct StrId(pub u32);

impl StrId {
    /// The empty string; every table holds it first.
    pub const EMPTY: Self = Self(0);

    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Strings stored once, found by content or by id.
///
/// The lookup is an open-addressing table of ids, so a string costs its bytes, an offset and about
/// eight bytes of table.
#[derive(Clone, Debug)]
pub struct StringTable {
    text: String,
    /// End of string `i` in `text`; it starts where string `i - 1` ends.
    ends: Vec<usize>,
    /// Hash (high half) and id + 1 (low half) per slot; 0 is free.
    slots: Vec<u64>,
}

impl Default for StringTable {
    fn default() -> Self {
        let mut table = Self { text: String::new(), ends: Vec::new(), slots: vec![0; 64] };
        table.intern("");
        table
    }
}

impl StringTable {
    /// A table that holds the empty string.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A table is never empty: it holds the empty string.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of `id`; empty for an id of another table that is out of range.
    #[must_use]
    pub fn get(&self, id: StrId) -> &str {
        let Some(&end) = self.ends.get(id.index()) else { return "" };
        let start = id.index().checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.text.get(start..end).unwrap_or("")
    }

    /// The id of `text`, stored if it is new.
    pub fn intern(&mut self, text: &str) -> StrId {
        let hash = Self::hash(text);
        match self.probe(hash, text) {
            Ok(id) => id,
            Err(slot) => self.insert(slot, hash, text),
        }
    }

    /// The id of `text`, if it is stored.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<StrId> {
        self.probe(Self::hash(text), text).ok()
    }

    /// All ids with their text, in order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (StrId, &str)> {
        (0..self.ends.len() as u32).map(|index| (StrId(index), self.get(StrId(index))))
    }

    /// Gives back room that was made for growth.
    pub(crate) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<usize>() + self.slots.capacity() * size_of::<u64>()
    }

    fn hash(text: &str) -> u32 {
        (FxBuildHasher.hash_one(text) >> 32) as u32
    }

    fn probe(&self, hash: u32, text: &str) -> Result<StrId, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.slots.get(slot).copied().unwrap_or(0);
            if entry == 0 {
                return Err(slot);
            }
            if (entry >> 32) as u32 == hash {
                let id = StrId(entry as u32 - 1);
                if self.get(id) == text {
                    return Ok(id);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn insert(&mut self, slot: usize, hash: u32, text: &str) -> StrId {
        let id = StrId(self.ends.len() as u32);
        self.text.push_str(text);
        self.ends.push(self.text.len());
        if let Some(place) = self.slots.get_mut(slot) {
            *place = (u64::from(hash) << 32) | u64::from(id.0 + 1);
        }
        if self.ends.len() * 4 > self.slots.len() * 3 {
            self.grow();
        }
        id
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        let mask = self.slots.len() - 1;
        for entry in old.into_iter().filter(|&entry| entry != 0) {
            let mut slot = (entry >> 32) as usize & mask;
            while self.slots.get(slot).is_some_and(|&place| place != 0) {
                slot = (slot + 1) & mask;
            }
            if let Some(place) = self.slots.get_mut(slot) {
                *place = entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_an_id_and_read_back() {
        let mut table = StringTable::new();
        let ids: Vec<_> = (0..5000).map(|i| table.intern(&format!("name {i}"))).collect();
        for (i, &id) in ids.iter().enumerate() {
            assert_eq!(table.get(id), format!("name {i}"));
            assert_eq!(table.intern(&format!("name {i}")), id);
            assert_eq!(table.find(&format!("name {i}")), Some(id));
        }
        assert_eq!(table.len(), 5001);
        assert_eq!(table.find("absent"), None);
        assert_eq!(table.get(StrId::EMPTY), "");
        assert_eq!(table.get(StrId(u32::MAX)), "");
    }
}
