//! Native stacks from copied stack memory, by the unwind tables that compilers leave in every program (`.eh_frame`).

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::Unwinding;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use none::Unwinding;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::fs::File;
    use std::io::{BufReader, Read, Seek, SeekFrom};
    use std::ops::Range;
    use std::path::Path;
    use std::sync::Arc;

    use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
    use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
    use object::elf::FileHeader64;
    use object::read::elf::{ElfFile, ProgramHeader};
    use object::{NativeEndian, Object, ObjectSection, ReadCache};
    use rustc_hash::FxHashMap;

    use crate::modules::{AddressSpace, ModuleId, Modules, Region};
    use crate::record::UserStack;

    /// Frames beyond this are a loop in damaged tables, or recursion that nobody reads to its end.
    const MOST_FRAMES: usize = 512;
    /// The largest table that is read into memory. PyTorch's largest has 30 MB.
    const MOST_TABLE_BYTES: u64 = 512 << 20;

    /// Tables of one file.
    struct Tables {
        /// File offset, its length, and the address that the file itself gives to it.
        segments: Vec<(Range<u64>, u64)>,
        text: Option<Range<u64>>,
        got: Option<Range<u64>>,
        eh_frame: Option<(Range<u64>, Arc<[u8]>)>,
        eh_frame_hdr: Option<(Range<u64>, Arc<[u8]>)>,
    }

    struct Process {
        generation: u64,
        unwinder: UnwinderX86_64<Arc<[u8]>>,
    }

    /// Unwinders of all processes.
    pub(crate) struct Unwinding {
        tables: FxHashMap<ModuleId, Option<Arc<Tables>>>,
        processes: FxHashMap<u32, Process>,
        cache: CacheX86_64,
    }

    impl Unwinding {
        pub(crate) fn new() -> Self {
            Self { tables: FxHashMap::default(), processes: FxHashMap::default(), cache: CacheX86_64::new() }
        }

        pub(crate) fn forget(&mut self, pid: u32) {
            self.processes.remove(&pid);
        }

        /// Code addresses, innermost first: where the thread was, then where each caller will go on.
        pub(crate) fn unwind(
            &mut self,
            pid: u32,
            space: &AddressSpace,
            modules: &Modules,
            stack: &UserStack,
        ) -> Vec<u64> {
            let &[frame_pointer, stack_pointer, instruction_pointer] = stack.registers.as_slice() else {
                return Vec::new();
            };
            let known = self.processes.get(&pid).is_some_and(|process| process.generation == space.generation);
            if !known {
                let mut unwinder = UnwinderX86_64::new();
                for region in space.regions() {
                    if let Some(module) = self.module(region, modules) {
                        unwinder.add_module(module);
                    }
                }
                self.processes.insert(pid, Process { generation: space.generation, unwinder });
            }
            let Some(process) = self.processes.get(&pid) else { return Vec::new() };
            let mut read = |address: u64| -> Result<u64, ()> {
                let offset = usize::try_from(address.checked_sub(stack_pointer).ok_or(())?).map_err(|_| ())?;
                let bytes = stack.bytes.get(offset..).and_then(<[u8]>::first_chunk::<8>).ok_or(())?;
                Ok(u64::from_ne_bytes(*bytes))
            };
            let registers = UnwindRegsX86_64::new(instruction_pointer, stack_pointer, frame_pointer);
            let mut frames = process.unwinder.iter_frames(instruction_pointer, registers, &mut self.cache, &mut read);
            let mut chain = Vec::new();
            while let Ok(Some(frame)) = frames.next() {
                chain.push(match frame {
                    FrameAddress::InstructionPointer(address) => address,
                    FrameAddress::ReturnAddress(address) => address.get(),
                });
                if chain.len() >= MOST_FRAMES {
                    break;
                }
            }
            chain
        }

        fn module(&mut self, region: Region, modules: &Modules) -> Option<Module<Arc<[u8]>>> {
            let module = modules.get(region.module)?;
            let file = module.file.as_deref()?;
            let tables = self.tables.entry(region.module).or_insert_with(|| read_tables(file).map(Arc::new)).clone()?;
            // How far the file was moved from the addresses that it gives itself.
            let (offsets, own_address) =
                tables.segments.iter().find(|(offsets, _)| offsets.contains(&region.file_offset))?;
            let own_start = own_address.wrapping_add(region.file_offset - offsets.start);
            let moved_by = region.start.wrapping_sub(own_start);
            let info = ExplicitModuleSectionInfo {
                base_svma: 0,
                text_svma: tables.text.clone(),
                got_svma: tables.got.clone(),
                eh_frame_svma: tables.eh_frame.as_ref().map(|(range, _)| range.clone()),
                eh_frame: tables.eh_frame.as_ref().map(|(_, bytes)| bytes.clone()),
                eh_frame_hdr_svma: tables.eh_frame_hdr.as_ref().map(|(range, _)| range.clone()),
                eh_frame_hdr: tables.eh_frame_hdr.as_ref().map(|(_, bytes)| bytes.clone()),
                ..ExplicitModuleSectionInfo::default()
            };
            Some(Module::new(module.name.to_string(), region.start..region.end, moved_by, info))
        }
    }

    fn read_tables(path: &Path) -> Option<Tables> {
        let mut file = File::open(path).ok()?;
        let page_bytes = rustix::param::page_size() as u64;
        let cache = ReadCache::new(BufReader::new(File::open(path).ok()?));
        let elf = ElfFile::<FileHeader64<NativeEndian>, _>::parse(&cache).ok()?;
        let endian = elf.endian();
        let segments = elf
            .elf_program_headers()
            .iter()
            .filter(|segment| segment.p_type(endian) == object::elf::PT_LOAD)
            .filter_map(|segment| {
                // What is mapped begins at a page's begin.
                let (offset, address) = (segment.p_offset(endian), segment.p_vaddr(endian));
                let before = offset % page_bytes;
                let end = offset.checked_add(segment.p_filesz(endian))?;
                Some((offset - before..end, address.checked_sub(before)?))
            })
            .collect();
        let mut section = |name: &str| {
            let section = elf.section_by_name(name)?;
            let range = section.address()..section.address().checked_add(section.size())?;
            let (offset, len) = section.file_range()?;
            (len <= MOST_TABLE_BYTES).then_some(())?;
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(offset)).ok()?;
            file.by_ref().take(len).read_to_end(&mut bytes).ok()?;
            Some((range, Arc::from(bytes)))
        };
        let eh_frame = section(".eh_frame");
        let eh_frame_hdr = section(".eh_frame_hdr");
        let range = |name: &str| {
            let section = elf.section_by_name(name)?;
            Some(section.address()..section.address().checked_add(section.size())?)
        };
        Some(Tables { segments, text: range(".text"), got: range(".got"), eh_frame, eh_frame_hdr })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod none {
    use crate::modules::{AddressSpace, Modules};
    use crate::record::UserStack;

    /// No unwinding on this architecture: stacks are taken by frame pointers.
    pub(crate) struct Unwinding;

    impl Unwinding {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn forget(&mut self, _pid: u32) {}

        pub(crate) fn unwind(
            &mut self,
            _pid: u32,
            _space: &AddressSpace,
            _modules: &Modules,
            _stack: &UserStack,
        ) -> Vec<u64> {
            Vec::new()
        }
    }
}
