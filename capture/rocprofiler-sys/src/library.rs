//! The functions of rocprofiler-sdk, by name.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;

use libloading::os::unix::Library;
use thiserror::Error;

use crate::layout::{Kind, OLDEST, WITH_ANCESTOR};
use crate::record::Record;
use crate::status::Status;

/// Why there is no rocprofiler that can be used.
#[derive(Debug, Error)]
pub enum Missing {
    /// It is not in the process, or not yet.
    #[error("librocprofiler-sdk is not in this process")]
    NotLoaded,
    /// A library without the functions.
    #[error("{path} has no {symbol}: it is no rocprofiler-sdk that can be used here")]
    Symbol {
        /// The library.
        path: PathBuf,
        /// What it lacks.
        symbol: &'static str,
    },
    /// Versions before ROCm 6.2 differ.
    #[error("rocprofiler-sdk is of version {major}.{minor}; ROCm 6.2 or newer is needed")]
    TooOld {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
    },
}

/// Starts and stops what was configured with it. Never dereferenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Context(pub u64);

/// A buffer's handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Buffer(u64);

/// `rocprofiler_record_header_t`: what a buffer holds of a record.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Category {
    /// [`Category::TRACING`] for all that is asked for here.
    pub category: u32,
    /// Number of the kind in this version.
    pub kind: u32,
    /// The record.
    pub payload: *const u8,
}

impl Category {
    /// Records of tracing services.
    pub const TRACING: u32 = 1;
}

/// Called with records: context, buffer, headers, how many, our data, records that were dropped since the buffer was made.
pub type BufferCallback = unsafe extern "C" fn(Context, u64, *const *const Category, usize, *mut c_void, u64);
/// Called for each kernel of a code object that is loaded.
pub type SymbolCallback = fn(Record<'_>);

/// `rocprofiler_callback_tracing_record_t` up to ROCm 6.4, as far as it is read, by value.
#[derive(Clone, Copy)]
#[repr(C)]
struct OldCallbackRecord {
    context: Context,
    thread: u64,
    correlation: [u64; 2],
    kind: u32,
    operation: i32,
    phase: u32,
    payload: *const u8,
}

/// The same from ROCm 7.0 on.
#[derive(Clone, Copy)]
#[repr(C)]
struct CallbackRecord {
    context: Context,
    thread: u64,
    correlation: [u64; 3],
    kind: u32,
    operation: i32,
    phase: u32,
    payload: *const u8,
}

const _: () = assert!(size_of::<OldCallbackRecord>() == 56 && size_of::<CallbackRecord>() == 64);

/// `ROCPROFILER_CODE_OBJECT_DEVICE_KERNEL_SYMBOL_REGISTER`
const REGISTER_SYMBOL: i32 = 2;
/// `ROCPROFILER_CALLBACK_PHASE_LOAD`
const PHASE_LOAD: u32 = 1;
/// `ROCPROFILER_BUFFER_POLICY_LOSSLESS`: two buffers, one of which is filled while the other is read.
const LOSSLESS: c_int = 2;
/// `ROCPROFILER_AGENT_INFO_VERSION_0`
const AGENT_VERSION: u32 = 1;
/// What the service of code objects is called.
const CODE_OBJECT: &str = "CODE_OBJECT";

type Numbers = unsafe extern "C" fn(c_int, *mut c_void) -> c_int;
type Operations = unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int;
type AgentsCallback = unsafe extern "C" fn(u32, *const *const c_void, usize, *mut c_void) -> Status;

macro_rules! functions {
    (needed { $($needed:ident $symbol:literal: fn($($a:ty),*);)* }
     optional { $($optional:ident $other:literal: fn($($b:ty),*);)* }) => {
        struct Functions {
            $($needed: unsafe extern "C" fn($($a),*) -> Status,)*
            $($optional: Option<unsafe extern "C" fn($($b),*) -> Status>,)*
        }

        impl Functions {
            /// Takes all functions; the name of one that is missing and needed otherwise.
            fn of(library: &Library) -> Result<Functions, &'static str> {
                // SAFETY: each symbol is rocprofiler's function of this name, whose signature is the header's.
                unsafe {
                    Ok(Functions {
                        $($needed: *library
                            .get(concat!($symbol, "\0").as_bytes())
                            .map_err(|_| $symbol)?,)*
                        $($optional: library.get(concat!($other, "\0").as_bytes()).ok().map(|symbol| *symbol),)*
                    })
                }
            }
        }
    };
}

functions! {
    needed {
        get_timestamp "rocprofiler_get_timestamp": fn(*mut u64);
        create_context "rocprofiler_create_context": fn(*mut Context);
        start_context "rocprofiler_start_context": fn(Context);
        stop_context "rocprofiler_stop_context": fn(Context);
        create_buffer "rocprofiler_create_buffer":
            fn(Context, usize, usize, c_int, BufferCallback, *mut c_void, *mut Buffer);
        flush_buffer "rocprofiler_flush_buffer": fn(Buffer);
        trace_buffered "rocprofiler_configure_buffer_tracing_service": fn(Context, c_int, *const c_int, usize, Buffer);
        trace_called "rocprofiler_configure_callback_tracing_service":
            fn(Context, c_int, *const c_int, usize, *const c_void, *mut c_void);
        buffer_kinds "rocprofiler_iterate_buffer_tracing_kinds": fn(Numbers, *mut c_void);
        buffer_kind_name "rocprofiler_query_buffer_tracing_kind_name": fn(c_int, *mut *const c_char, *mut u64);
        operations "rocprofiler_iterate_buffer_tracing_kind_operations": fn(c_int, Operations, *mut c_void);
        operation_name "rocprofiler_query_buffer_tracing_kind_operation_name":
            fn(c_int, c_int, *mut *const c_char, *mut u64);
        callback_kinds "rocprofiler_iterate_callback_tracing_kinds": fn(Numbers, *mut c_void);
        callback_kind_name "rocprofiler_query_callback_tracing_kind_name": fn(c_int, *mut *const c_char, *mut u64);
        agents "rocprofiler_query_available_agents": fn(u32, AgentsCallback, usize, *mut c_void);
    }
    optional {
        get_version "rocprofiler_get_version": fn(*mut u32, *mut u32, *mut u32);
    }
}

/// The rocprofiler-sdk of this process. It stays loaded as long as the process lives: its threads run in it.
pub struct Rocprofiler {
    functions: Functions,
    version: u32,
    path: PathBuf,
    /// Numbers of the kinds in this version; −1 where it does not have one.
    numbers: [c_int; Kind::ALL.len()],
}

/// What was configured.
#[derive(Clone, Copy, Debug)]
pub struct Configured {
    /// Starts and stops all of it.
    pub context: Context,
    buffer: Buffer,
}

/// The service that tells of code objects.
#[derive(Clone, Copy, Debug)]
pub struct CodeObject {
    /// Starts and stops it.
    pub context: Context,
}

/// Agents, each with what it says of itself.
pub type Agents<'a> = dyn FnMut(Record<'_>) + 'a;

/// Whether rocprofiler-sdk is in this process. Looks, and loads nothing.
pub fn is_loaded() -> bool {
    !loaded_paths().is_empty()
}

impl Rocprofiler {
    /// Takes the functions of the rocprofiler-sdk that is in this process. `version` is what `rocprofiler_configure` was
    /// told: 10,000 times the major one, 100 times the minor, and the patch.
    ///
    /// # Errors
    /// It is not in the process, lacks functions, or is too old.
    pub fn find(version: u32) -> Result<Rocprofiler, Missing> {
        let Some(path) = loaded_paths().into_iter().next() else { return Err(Missing::NotLoaded) };
        // SAFETY: RTLD_NOLOAD runs no initialiser: it only takes a further reference to a library that is there.
        let library = unsafe { Library::open(Some(&path), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        let Ok(library) = library else { return Err(Missing::NotLoaded) };
        Rocprofiler::of(library, path, version)
    }

    fn of(library: Library, path: PathBuf, told: u32) -> Result<Rocprofiler, Missing> {
        let functions = match Functions::of(&library) {
            Ok(functions) => functions,
            Err(symbol) => return Err(Missing::Symbol { path, symbol }),
        };
        std::mem::forget(library);
        let (mut major, mut minor, mut patch) = (told / 10_000, told / 100 % 100, told % 100);
        if let Some(get_version) = functions.get_version {
            // SAFETY: three places that are writable.
            let _ = unsafe { get_version(&mut major, &mut minor, &mut patch) };
        }
        let version = 10_000 * major + 100 * minor + patch;
        if version < OLDEST {
            return Err(Missing::TooOld { major, minor });
        }
        let mut rocprofiler = Rocprofiler { functions, version, path, numbers: [-1; Kind::ALL.len()] };
        rocprofiler.numbers = Kind::ALL.map(|kind| {
            let functions = &rocprofiler.functions;
            number_of(functions.buffer_kinds, functions.buffer_kind_name, kind.name()).unwrap_or(-1)
        });
        Ok(rocprofiler)
    }

    /// 10,000 times the major version, 100 times the minor, and the patch.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The library.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The kinds that this version has.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        Kind::ALL.into_iter().zip(self.numbers).filter(|&(_, number)| number >= 0).map(|(kind, _)| kind)
    }

    /// The kind of a number in this version.
    #[inline(always)]
    pub fn kind(&self, number: u32) -> Option<Kind> {
        let place = self.numbers.iter().position(|&known| i64::from(known) == i64::from(number))?;
        Kind::ALL.get(place).copied()
    }

    /// Now, by rocprofiler's clock (`CLOCK_BOOTTIME`, by its source), in ns.
    pub fn timestamp(&self) -> Option<u64> {
        let mut time = 0;
        // SAFETY: the place is writable.
        let status = unsafe { (self.functions.get_timestamp)(&mut time) };
        (status.is_success() && time != 0).then_some(time)
    }

    /// What an operation of a kind is called: the function for calls.
    pub fn operation_name(&self, kind: Kind, operation: i32) -> Option<&'static CStr> {
        let number = *self.numbers.get(kind as usize).filter(|&&number| number >= 0)?;
        let (mut name, mut length) = (std::ptr::null(), 0);
        // SAFETY: two places that are writable; names are literals of the library, which stays.
        unsafe {
            let status = (self.functions.operation_name)(number, operation, &mut name, &mut length);
            (status.is_success() && !name.is_null()).then(|| CStr::from_ptr(name))
        }
    }

    /// Makes a context with a buffer that takes the records of each kind. Only to be called while rocprofiler initialises
    /// the tool. Gives what was configured, and the kinds that were refused.
    ///
    /// # Errors
    /// No context or buffer could be had.
    ///
    /// # Safety
    /// The callback can be called on any thread as long as the process lives.
    pub unsafe fn configure(
        &self,
        bytes: usize,
        watermark: usize,
        callback: BufferCallback,
        leave_out: impl Fn(Kind, &str) -> bool,
    ) -> Result<(Configured, Vec<(Kind, Status)>), Status> {
        // Handles must be zero before: rocprofiler looks.
        let (mut context, mut buffer) = (Context::default(), Buffer::default());
        // SAFETY: places that are writable, a callback as this function's contract says, and lists that outlive the calls.
        unsafe {
            checked((self.functions.create_context)(&mut context))?;
            checked((self.functions.create_buffer)(
                context,
                bytes,
                watermark,
                LOSSLESS,
                callback,
                std::ptr::null_mut(),
                &mut buffer,
            ))?;
            let mut refused = Vec::new();
            for (kind, number) in Kind::ALL.into_iter().zip(self.numbers).filter(|&(_, number)| number >= 0) {
                let all = self.operations(number);
                let wanted: Vec<c_int> =
                    all.iter().filter(|(_, name)| !leave_out(kind, name)).map(|&(operation, _)| operation).collect();
                // No list stands for all operations.
                let (list, count) =
                    if wanted.len() < all.len() { (wanted.as_ptr(), wanted.len()) } else { (std::ptr::null(), 0) };
                let status = (self.functions.trace_buffered)(context, number, list, count, buffer);
                if !status.is_success() {
                    refused.push((kind, status));
                }
            }
            Ok((Configured { context, buffer }, refused))
        }
    }

    /// Asks for the kernels of code objects, in a context of their own: their names are needed whenever they are loaded.
    ///
    /// # Errors
    /// Refused.
    pub fn configure_symbols(&self, callback: SymbolCallback) -> Result<CodeObject, Status> {
        let number = number_of(self.functions.callback_kinds, self.functions.callback_kind_name, CODE_OBJECT);
        let Some(number) = number else { return Err(Status::KIND_NOT_FOUND) };
        let mut context = Context::default();
        let function =
            if self.version >= WITH_ANCESTOR { on_symbol as *const c_void } else { on_old_symbol as *const c_void };
        let data = callback as *const () as *mut c_void;
        // SAFETY: a place that is writable; the function takes records in the form of this version.
        unsafe {
            checked((self.functions.create_context)(&mut context))?;
            checked((self.functions.trace_called)(context, number, std::ptr::null(), 0, function, data))?;
        }
        Ok(CodeObject { context })
    }

    /// Starts what was configured with a context.
    pub fn start(&self, context: Context) -> Status {
        // SAFETY: a handle that rocprofiler gave.
        unsafe { (self.functions.start_context)(context) }
    }

    /// Stops it. What was launched before is still told.
    pub fn stop(&self, context: Context) -> Status {
        // SAFETY: a handle that rocprofiler gave.
        unsafe { (self.functions.stop_context)(context) }
    }

    /// Hands over what the buffer holds, and waits for the callback.
    pub fn flush(&self, configured: &Configured) -> Status {
        // SAFETY: a handle that rocprofiler gave.
        unsafe { (self.functions.flush_buffer)(configured.buffer) }
    }

    /// Goes through the agents of the machine. The records are [`crate::layout::agent`]'s, and live as long as the process.
    pub fn each_agent(&self, mut each: impl FnMut(Record<'_>)) -> Status {
        unsafe extern "C" fn collect(_: u32, agents: *const *const c_void, count: usize, data: *mut c_void) -> Status {
            // SAFETY: rocprofiler gives so many agents, each of which begins with its size; `data` is what is passed below.
            unsafe {
                let each = &mut *data.cast::<&mut Agents<'_>>();
                for place in 0..count {
                    if let Some(agent) = Record::at((*agents.add(place)).cast()) {
                        each(agent);
                    }
                }
            }
            Status::SUCCESS
        }
        let mut each: &mut Agents<'_> = &mut each;
        // The size that is told is the least that is expected: all versions have as much.
        let bytes = crate::layout::agent::ALL.bytes as usize;
        // SAFETY: the callback comes during this call only.
        unsafe { (self.functions.agents)(AGENT_VERSION, collect, bytes, (&raw mut each).cast()) }
    }

    /// Numbers and names of the operations of a kind.
    fn operations(&self, number: c_int) -> Vec<(c_int, String)> {
        unsafe extern "C" fn collect(_: c_int, operation: c_int, all: *mut c_void) -> c_int {
            // SAFETY: what is passed below.
            unsafe { (*all.cast::<Vec<c_int>>()).push(operation) };
            0
        }
        let mut all: Vec<c_int> = Vec::new();
        // SAFETY: the callback comes during this call only.
        unsafe { (self.functions.operations)(number, collect, (&raw mut all).cast()) };
        let name = |operation| {
            let (mut name, mut length) = (std::ptr::null(), 0);
            // SAFETY: two places that are writable; a name is a C string.
            unsafe {
                let status = (self.functions.operation_name)(number, operation, &mut name, &mut length);
                if !status.is_success() || name.is_null() {
                    return String::new();
                }
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        };
        all.into_iter().map(|operation| (operation, name(operation))).collect()
    }
}

fn checked(status: Status) -> Result<(), Status> {
    if status.is_success() { Ok(()) } else { Err(status) }
}

/// The number of the kind of this name, over what is iterated; names may stand with the prefix of their enumeration.
fn number_of(
    iterate: unsafe extern "C" fn(Numbers, *mut c_void) -> Status,
    name_of: unsafe extern "C" fn(c_int, *mut *const c_char, *mut u64) -> Status,
    wanted: &str,
) -> Option<c_int> {
    unsafe extern "C" fn collect(number: c_int, all: *mut c_void) -> c_int {
        // SAFETY: what is passed below.
        unsafe { (*all.cast::<Vec<c_int>>()).push(number) };
        0
    }
    let mut all: Vec<c_int> = Vec::new();
    // SAFETY: the callback comes during this call only.
    unsafe { iterate(collect, (&raw mut all).cast()) };
    all.into_iter().find(|&number| {
        let (mut name, mut length) = (std::ptr::null(), 0);
        // SAFETY: two places that are writable; a name is a C string.
        let name = unsafe {
            let status = name_of(number, &mut name, &mut length);
            if !status.is_success() || name.is_null() {
                return false;
            }
            CStr::from_ptr(name).to_string_lossy()
        };
        let name = ["ROCPROFILER_BUFFER_TRACING_", "ROCPROFILER_CALLBACK_TRACING_"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(&name);
        name == wanted
    })
}

unsafe extern "C" fn on_symbol(record: CallbackRecord, _user: *mut c_void, callback: *mut c_void) {
    // SAFETY: as told when it was configured.
    unsafe { symbol(record.operation, record.phase, record.payload, callback) };
}

unsafe extern "C" fn on_old_symbol(record: OldCallbackRecord, _user: *mut c_void, callback: *mut c_void) {
    // SAFETY: as told when it was configured.
    unsafe { symbol(record.operation, record.phase, record.payload, callback) };
}

unsafe fn symbol(operation: i32, phase: u32, payload: *const u8, callback: *mut c_void) {
    if operation != REGISTER_SYMBOL || phase != PHASE_LOAD || callback.is_null() {
        return;
    }
    // SAFETY: the pointer is a `SymbolCallback`, as `configure_symbols` passed it; the payload is the symbol's record.
    unsafe {
        let callback: SymbolCallback = std::mem::transmute(callback);
        if let Some(record) = Record::at(payload) {
            callback(record);
        }
    }
}

/// Files of the process that are `librocprofiler-sdk.so`, with whatever version behind.
fn loaded_paths() -> Vec<PathBuf> {
    unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _bytes: usize, paths: *mut c_void) -> c_int {
        // SAFETY: the loader gives a valid entry; `paths` is what is passed below.
        unsafe {
            let name: *const c_char = (*info).dlpi_name;
            if !name.is_null() {
                let name = CStr::from_ptr(name);
                let file = name.to_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                if file.starts_with(b"librocprofiler-sdk.so") {
                    (*paths.cast::<Vec<CString>>()).push(name.to_owned());
                }
            }
        }
        0
    }
    let mut paths: Vec<CString> = Vec::new();
    // SAFETY: the callback gets the vector back, and only during this call.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut paths).cast()) };
    paths.into_iter().map(|path| PathBuf::from(path.to_string_lossy().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rocprofiler_nothing_is_found() {
        assert!(!is_loaded());
        assert!(matches!(Rocprofiler::find(10_000), Err(Missing::NotLoaded)));
    }
}
