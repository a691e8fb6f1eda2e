//! Names of addresses: functions, inlined functions, files and lines. Reads local files only.
//!
//! Each address of each module is looked up once and kept. Runs on a thread of its own, so that a library with half a
//! million symbols delays names, never samples.

use std::path::PathBuf;
use std::sync::Arc;

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Elf, Kernel, Source};
use blazesym::symbolize::{CodeInfo, Input, Symbolized, Symbolizer};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Frame;
use crate::modules::{KERNEL, ModuleId, Modules};

/// Addresses to keep the frames of. Beyond, all are forgotten: a bound on memory, not reached by ordinary programs.
const MOST_ADDRESSES: usize = 1 << 20;

/// Strings, each kept once.
#[derive(Debug, Default)]
pub(crate) struct Strings(FxHashSet<Arc<str>>);

impl Strings {
    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        if self.0.len() >= MOST_ADDRESSES {
            self.0.clear();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}

/// Names of addresses.
pub(crate) struct Symbols {
    symbolizer: Symbolizer,
    strings: Strings,
    frames: FxHashMap<(ModuleId, u64), Arc<[Frame]>>,
    kernel: Source<'static>,
}

impl Symbols {
    /// `source_lines`: whether debug information is read too, for files, lines and inlined functions.
    pub(crate) fn new(source_lines: bool) -> Self {
        let kernel = Kernel {
            kallsyms: MaybeDefault::Default,
            // A kernel image with debug information has gigabytes, and nobody asked for lines of the kernel.
            vmlinux: MaybeDefault::None,
            debug_syms: false,
            ..Kernel::default()
        };
        Self {
            symbolizer: Symbolizer::builder()
                // A file that is replaced while the job runs would otherwise give wrong names to old addresses.
                .enable_auto_reload(false)
                .enable_code_info(source_lines)
                .enable_inlined_fns(source_lines)
                .build(),
            strings: Strings::default(),
            frames: FxHashMap::default(),
            kernel: Source::Kernel(kernel),
        }
    }

    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        self.strings.intern(text)
    }

    /// The frames at an address of the kernel, innermost first.
    pub(crate) fn kernel(&mut self, address: u64) -> Arc<[Frame]> {
        if let Some(known) = self.frames.get(&(KERNEL, address)) {
            return known.clone();
        }
        let module = self.strings.intern("[kernel]");
        let found = self.symbolizer.symbolize_single(&self.kernel, Input::AbsAddr(address)).ok();
        let plain = Frame {
            name: self.strings.intern("[kernel]"),
            module,
            file: None,
            line: None,
            is_python: false,
            is_kernel: true,
        };
        let frames = frames(&mut self.strings, found, plain);
        self.keep((KERNEL, address), frames)
    }

    /// The frames at an offset in a module's file, innermost first. At least one.
    pub(crate) fn user(&mut self, modules: &Modules, module: ModuleId, file_offset: u64) -> Arc<[Frame]> {
        if let Some(known) = self.frames.get(&(module, file_offset)) {
            return known.clone();
        }
        let (name, file) = modules
            .get(module)
            .map_or_else(|| ("[unknown]".into(), None), |module| (module.name.clone(), module.file.as_ref()));
        let found = file.and_then(|file| {
            let mut elf = Elf::new(PathBuf::from(file));
            let offset = Input::FileOffset(file_offset);
            if let Ok(found) = self.symbolizer.symbolize_single(&Source::Elf(elf.clone()), offset) {
                return Some(found);
            }
            // Debug information that cannot be read, as in a compression that we have no code for, leaves the symbols.
            elf.debug_syms = false;
            self.symbolizer.symbolize_single(&Source::Elf(elf), offset).ok()
        });
        // An offset means something where there is a file; generated code lies elsewhere in each run.
        let plain_name = if file.is_some() { format!("{name}+{file_offset:#x}") } else { name.to_string() };
        let plain = Frame {
            name: self.strings.intern(&plain_name),
            module: name,
            file: None,
            line: None,
            is_python: false,
            is_kernel: false,
        };
        let frames = frames(&mut self.strings, found, plain);
        self.keep((module, file_offset), frames)
    }

    fn keep(&mut self, key: (ModuleId, u64), frames: Arc<[Frame]>) -> Arc<[Frame]> {
        if self.frames.len() >= MOST_ADDRESSES {
            self.frames.clear();
        }
        self.frames.insert(key, frames.clone());
        frames
    }
}

/// Frames of one address, innermost first. `plain` where nothing is known.
fn frames(strings: &mut Strings, found: Option<Symbolized<'_>>, plain: Frame) -> Arc<[Frame]> {
    let Some(Symbolized::Sym(symbol)) = found else { return [plain].into() };
    let mut frame = |name: &str, code: Option<&CodeInfo<'_>>| Frame {
        name: strings.intern(name),
        file: code.map(|code| strings.intern(&code.to_path().to_string_lossy())),
        line: code.and_then(|code| code.line),
        ..plain.clone()
    };
    let outermost = frame(&symbol.name, symbol.code_info.as_deref());
    let mut frames = vec![outermost];
    for inlined in &symbol.inlined {
        frames.push(frame(&inlined.name, inlined.code_info.as_ref()));
    }
    frames.reverse();
    frames.into()
}
