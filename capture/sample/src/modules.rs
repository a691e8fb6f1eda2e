//! Which file lies where in each process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::procfs;

/// A program or library, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ModuleId(u32);

/// The module of the kernel's own code.
pub(crate) const KERNEL: ModuleId = ModuleId(0);
/// The module of memory that no file is mapped to: generated code.
pub(crate) const ANONYMOUS: ModuleId = ModuleId(1);

/// A program or library.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// What people call it: its file name.
    pub(crate) name: Arc<str>,
    /// Where its file can be read, if it is one.
    pub(crate) file: Option<PathBuf>,
}

/// All modules of all processes.
#[derive(Debug)]
pub(crate) struct Modules {
    all: Vec<Module>,
    by_path: FxHashMap<String, ModuleId>,
}

impl Modules {
    pub(crate) fn new() -> Self {
        let special = |name: &str| Module { name: name.into(), file: None };
        Self { all: vec![special("[kernel]"), special("[anonymous]")], by_path: FxHashMap::default() }
    }

    pub(crate) fn get(&self, id: ModuleId) -> Option<&Module> {
        self.all.get(id.0 as usize)
    }

    /// The module that is mapped under this path, `root` being the folder through which the files of the process are
    /// found where it is not our own root.
    fn of_path(&mut self, path: &str, root: Option<&str>) -> ModuleId {
        if path.is_empty() || path.starts_with("//anon") || path == "[heap]" || path.starts_with("[stack") {
            return ANONYMOUS;
        }
        let key = root.map_or_else(|| path.to_owned(), |root| format!("{root}{path}"));
        if let Some(id) = self.by_path.get(&key) {
            return *id;
        }
        let deleted = path.strip_suffix(" (deleted)");
        let name = deleted.unwrap_or(path);
        let is_file = path.starts_with('/') && deleted.is_none() && !path.starts_with("/memfd:");
        let module = Module {
            name: name.rsplit('/').next().unwrap_or(name).into(),
            file: is_file.then(|| PathBuf::from(key.as_str())),
        };
        let id = ModuleId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.all.push(module);
        self.by_path.insert(key, id);
        id
    }
}

/// A stretch of a process's memory that a module lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) file_offset: u64,
    pub(crate) module: ModuleId,
}

/// The mappings of one process that may be run.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressSpace {
    regions: Rc<BTreeMap<u64, Region>>,
    /// Grows with each change, and never repeats a number for one process.
    pub(crate) generation: u64,
}

impl AddressSpace {
    /// Enters a mapping; what it covers of older ones is gone.
    pub(crate) fn map(&mut self, pid: u32, mapping: &procfs::Mapping, modules: &mut Modules) {
        let Some(end) = mapping.address.checked_add(mapping.len) else { return };
        let root = if mapping.path.starts_with('/') { procfs::foreign_root(pid) } else { None };
        let module = modules.of_path(&mapping.path, root.as_deref());
        let new = Region { start: mapping.address, end, file_offset: mapping.file_offset, module };
        if self.regions.get(&new.start) == Some(&new) {
            return;
        }
        let regions = Rc::make_mut(&mut self.regions);
        let covered: Vec<Region> =
            regions.range(..end).rev().map(|(_, old)| *old).take_while(|old| old.end > new.start).collect();
        for old in covered {
            regions.remove(&old.start);
            if old.start < new.start {
                regions.insert(old.start, Region { end: new.start, ..old });
            }
            if old.end > new.end {
                let file_offset = old.file_offset.wrapping_add(new.end - old.start);
                regions.insert(new.end, Region { start: new.end, file_offset, ..old });
            }
        }
        regions.insert(new.start, new);
        self.generation += 1;
    }

    /// The process replaced its program.
    pub(crate) fn clear(&mut self) {
        self.regions = Rc::default();
        self.generation += 1;
    }

    /// What lies at an address.
    pub(crate) fn find(&self, address: u64) -> Option<Region> {
        self.regions.range(..=address).next_back().map(|(_, region)| *region).filter(|region| address < region.end)
    }

    /// All regions, ascending.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        self.regions.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapping(address: u64, len: u64, file_offset: u64, path: &str) -> procfs::Mapping {
        procfs::Mapping { address, len, file_offset, path: path.into() }
    }

    #[test]
    fn modules_by_path() {
        let mut modules = Modules::new();
        let a = modules.of_path("/lib/a.so", None);
        assert_eq!(modules.of_path("/lib/a.so", None), a);
        let foreign = modules.of_path("/lib/a.so", Some("/proc/7/root"));
        assert_ne!(foreign, a);
        let file = |id| modules.get(id).and_then(|module| module.file.clone());
        assert_eq!(file(a), Some("/lib/a.so".into()));
        assert_eq!(file(foreign), Some("/proc/7/root/lib/a.so".into()));
        assert_eq!(modules.of_path("//anon", None), ANONYMOUS);
        assert_eq!(modules.of_path("", None), ANONYMOUS);
        let gone = modules.of_path("/lib/b.so (deleted)", None);
        assert_eq!(modules.get(gone).map(|module| (&*module.name, module.file.is_none())), Some(("b.so", true)));
        let vdso = modules.of_path("[vdso]", None);
        assert_eq!(modules.get(vdso).map(|module| (&*module.name, module.file.is_none())), Some(("[vdso]", true)));
    }

    proptest! {
        /// Against a plain array of bytes.
        #[test]
        fn later_mappings_win(maps in proptest::collection::vec((0u64..60, 1u64..30, 0usize..3), 0..40)) {
            let (mut modules, mut space) = (Modules::new(), AddressSpace::default());
            let mut bytes = [None; 100];
            for (start, len, path) in maps {
                let path = ["/a", "/b", "/c"][path];
                let module = modules.of_path(path, None);
                space.map(u32::MAX, &mapping(start, len, start * 2, path), &mut modules);
                for (index, byte) in bytes.iter_mut().enumerate().skip(start as usize).take(len as usize) {
                    *byte = Some((module, start * 2 + (index as u64 - start)));
                }
            }
            for (address, expected) in bytes.iter().enumerate() {
                let address = address as u64;
                let found = space.find(address).map(|r| (r.module, r.file_offset + address - r.start));
                prop_assert_eq!(found, *expected);
            }
        }
    }
}
