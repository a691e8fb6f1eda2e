//! Which file lies at which addresses of a process.

use std::collections::BTreeMap;

use gapless_trace::StrId;
use rustc_hash::FxHashMap;

/// A file at some addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file of the first address.
    pub file_offset: u64,
    /// The file.
    pub module: StrId,
}

impl Mapping {
    /// Where `address` lies in the file.
    pub fn offset_of(&self, address: u64) -> u64 {
        address.wrapping_sub(self.start).wrapping_add(self.file_offset)
    }

    /// The part from `start` on.
    fn tail(self, start: u64) -> Self {
        Self { start, file_offset: self.offset_of(start), ..self }
    }
}

/// Ranges that do not overlap, by start.
#[derive(Debug, Default)]
struct Layer {
    mappings: BTreeMap<u64, Mapping>,
    /// The layer that this one was forked from.
    below: Option<usize>,
}

impl Layer {
    /// Puts `new` in the place of what lay there.
    fn insert(&mut self, new: Mapping) {
        let before = self.mappings.range_mut(..new.start).next_back().filter(|entry| entry.1.end > new.start);
        let mut rest = None;
        if let Some((_, old)) = before {
            rest = (old.end > new.end).then(|| old.tail(new.end));
            old.end = new.start;
        }
        while let Some((&start, &old)) = self.mappings.range(new.start..new.end).next() {
            self.mappings.remove(&start);
            rest = (old.end > new.end).then(|| old.tail(new.end));
        }
        if let Some(rest) = rest {
            self.mappings.insert(rest.start, rest);
        }
        self.mappings.insert(new.start, new);
    }

    fn find(&self, address: u64) -> Option<&Mapping> {
        self.mappings.range(..=address).next_back().map(|entry| entry.1).filter(|mapping| address < mapping.end)
    }
}

/// Layers looked at for one address: a process that forked more often than that since a file was mapped loses it.
const DEEPEST: usize = 64;

/// Mappings of all processes. A fork shares what was mapped before it, so that a file with many forks costs no more
/// than its records.
#[derive(Debug, Default)]
pub(super) struct Maps {
    layers: Vec<Layer>,
    /// The top layer of each process; −1 is the kernel.
    tops: FxHashMap<i32, usize>,
}

impl Maps {
    fn top(&mut self, pid: i32) -> usize {
        let layers = &mut self.layers;
        *self.tops.entry(pid).or_insert_with(|| {
            layers.push(Layer::default());
            layers.len() - 1
        })
    }

    /// A file was mapped into `pid`.
    pub fn map(&mut self, pid: i32, mapping: Mapping) {
        if mapping.end > mapping.start {
            let top = self.top(pid);
            if let Some(layer) = self.layers.get_mut(top) {
                layer.insert(mapping);
            }
        }
    }

    /// A process began as a copy of `parent`.
    pub fn fork(&mut self, pid: i32, parent: i32) {
        let Some(&top) = self.tops.get(&parent).filter(|_| pid != parent) else { return };
        // What either maps from now on is its own; an empty layer on top need not be shared.
        let is_empty = self.layers.get(top).is_some_and(|layer| layer.mappings.is_empty());
        let shared = match self.layers.get(top) {
            Some(layer) if is_empty => layer.below,
            _ => Some(top),
        };
        for pid in [Some(pid), (!is_empty).then_some(parent)].into_iter().flatten() {
            self.layers.push(Layer { below: shared, ..Layer::default() });
            self.tops.insert(pid, self.layers.len() - 1);
        }
    }

    /// A process runs another program: nothing of the old one is left.
    pub fn exec(&mut self, pid: i32) {
        self.layers.push(Layer::default());
        self.tops.insert(pid, self.layers.len() - 1);
    }

    /// The file at `address` of `pid`.
    pub fn find(&self, pid: i32, address: u64) -> Option<&Mapping> {
        let mut at = self.tops.get(&pid).copied();
        for _ in 0..DEEPEST {
            let layer = self.layers.get(at?)?;
            if let Some(found) = layer.find(address) {
                return Some(found);
            }
            at = layer.below;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, file_offset: u64, module: u32) -> Mapping {
        Mapping { start, end, file_offset, module: StrId(module) }
    }

    fn at(maps: &Maps, pid: i32, address: u64) -> Option<(u32, u64)> {
        maps.find(pid, address).map(|found| (found.module.0, found.offset_of(address)))
    }

    #[test]
    fn a_new_mapping_takes_the_place_of_old_ones() {
        let mut maps = Maps::default();
        maps.map(7, mapping(100, 200, 1000, 1));
        maps.map(7, mapping(200, 300, 0, 2));
        maps.map(7, mapping(150, 160, 0, 3));
        assert_eq!(
            [149, 155, 160, 199].map(|place| at(&maps, 7, place)),
            [Some((1, 1049)), Some((3, 5)), Some((1, 1060)), Some((1, 1099))]
        );
        maps.map(7, mapping(140, 250, 0, 4));
        assert_eq!(
            [139, 140, 249, 250, 300].map(|place| at(&maps, 7, place)),
            [Some((1, 1039)), Some((4, 0)), Some((4, 109)), Some((2, 50)), None]
        );
        maps.map(7, mapping(90, 90, 0, 5));
        assert_eq!(at(&maps, 7, 90), None);
    }

    #[test]
    fn a_fork_keeps_what_was_mapped_before_it_and_an_exec_nothing() {
        let mut maps = Maps::default();
        maps.map(1, mapping(0, 10, 0, 1));
        maps.fork(2, 1);
        maps.map(1, mapping(5, 10, 0, 2));
        maps.map(2, mapping(20, 30, 0, 3));
        assert_eq!((at(&maps, 1, 7), at(&maps, 2, 7), at(&maps, 1, 25)), (Some((2, 2)), Some((1, 7)), None));
        for child in 3..1_000 {
            maps.fork(child, 1);
        }
        assert_eq!(at(&maps, 999, 7), Some((2, 2)), "forks in a row share one layer");
        maps.exec(2);
        assert_eq!(at(&maps, 2, 7), None);
        maps.fork(4, 7_777);
        assert_eq!(at(&maps, 7_777, 7), None);
    }
}
