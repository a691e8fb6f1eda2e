//! The functions of CUPTI, by name.

use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;

use libloading::os::unix::Library;
use thiserror::Error;

use crate::layout::{self, Kind, VERSIONS, version_place};
use crate::locate;
use crate::record::Record;
use crate::result::CuptiResult;

/// Why there is no CUPTI.
#[derive(Debug, Error)]
pub enum CuptiError {
    /// The process does not use CUDA, or not yet.
    #[error("libcuda.so.1 is not in this process")]
    NoDriver,
    /// No library.
    #[error("libcupti.so.{major} was not found (looked at {tried}); set GAPLESS_CUPTI to its path")]
    NotFound {
        /// Major version of the CUDA of the process.
        major: u32,
        /// Places that were looked at.
        tried: String,
    },
    /// A library without the functions.
    #[error("{path} has no {symbol}: it is no CUPTI that can be used here")]
    Symbol {
        /// The library.
        path: PathBuf,
        /// What it lacks.
        symbol: &'static str,
    },
    /// It does not even tell its version.
    #[error("{path} does not work: {result}")]
    Version {
        /// The library.
        path: PathBuf,
        /// What it said.
        result: CuptiResult,
    },
    /// Records of CUDA 11 and older differ.
    #[error("{path} is of version {version}; CUDA 12.1 or newer is needed")]
    TooOld {
        /// The library.
        path: PathBuf,
        /// What `cuptiGetVersion` says.
        version: u32,
    },
}

/// A subscriber's handle; never dereferenced.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Subscriber(pub *mut c_void);

/// Called by CUPTI when it needs room for records: place, bytes and most records (0 for no limit) go out.
pub type BufferRequested = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
/// Called by CUPTI when a buffer comes back: context, stream, buffer, its bytes, bytes that hold records.
pub type BufferCompleted = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);
/// Called by CUPTI for the time.
pub type TimestampCallback = extern "C" fn() -> u64;
/// Called by CUPTI for what a subscriber enabled: user data, domain, callback id, data.
pub type SubscriberCallback = unsafe extern "C" fn(*mut c_void, u32, u32, *const c_void);

/// `CUpti_SubscriberParams`.
#[repr(C)]
struct SubscriberParams {
    struct_size: usize,
    name: *const c_char,
    old_name: *mut c_char,
    old_name_bytes: usize,
    allow_multiple: u8,
    padding: [u8; 7],
}

/// Callback domain of the driver's functions.
pub const DOMAIN_DRIVER: u32 = 1;
/// Callback domain of the runtime's functions.
pub const DOMAIN_RUNTIME: u32 = 2;
/// Flushes records that are not complete, too (`CUPTI_ACTIVITY_FLAG_FLUSH_FORCED`).
pub const FLUSH_FORCED: u32 = 1;
/// Thread ids of the system rather than of pthreads (`CUPTI_ACTIVITY_THREAD_ID_TYPE_SYSTEM`).
pub const THREAD_ID_SYSTEM: u32 = 1;

macro_rules! functions {
    (needed { $($needed:ident $symbol:literal: fn($($a:ty),*);)* }
     optional { $($optional:ident $other:literal: fn($($b:ty),*);)* }) => {
        struct Functions {
            $($needed: unsafe extern "C" fn($($a),*) -> CuptiResult,)*
            $($optional: Option<unsafe extern "C" fn($($b),*) -> CuptiResult>,)*
        }

        impl Functions {
            /// Takes all functions; the name of one that is missing and needed otherwise.
            fn of(library: &Library) -> Result<Functions, &'static str> {
                // SAFETY: each symbol is CUPTI's function of this name, whose signature is the header's.
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
        get_version "cuptiGetVersion": fn(*mut u32);
        get_timestamp "cuptiGetTimestamp": fn(*mut u64);
        get_callback_name "cuptiGetCallbackName": fn(u32, u32, *mut *const c_char);
        subscribe "cuptiSubscribe": fn(*mut Subscriber, SubscriberCallback, *mut c_void);
        register_callbacks "cuptiActivityRegisterCallbacks": fn(BufferRequested, BufferCompleted);
        enable "cuptiActivityEnable": fn(u32);
        disable "cuptiActivityDisable": fn(u32);
        flush_all "cuptiActivityFlushAll": fn(u32);
        next_record "cuptiActivityGetNextRecord": fn(*mut u8, usize, *mut *mut u8);
        dropped_records "cuptiActivityGetNumDroppedRecords": fn(*mut c_void, u32, *mut usize);
    }
    optional {
        subscribe_v2 "cuptiSubscribe_v2": fn(*mut Subscriber, SubscriberCallback, *mut c_void, *mut SubscriberParams);
        unsubscribe "cuptiUnsubscribe": fn(Subscriber);
        register_timestamp "cuptiActivityRegisterTimestampCallback": fn(TimestampCallback);
        set_thread_id_type "cuptiSetThreadIdType": fn(u32);
        set_attribute "cuptiActivitySetAttribute": fn(u32, *mut usize, *mut c_void);
        enable_runtime_api "cuptiActivityEnableRuntimeApi": fn(u32, u8);
        enable_driver_api "cuptiActivityEnableDriverApi": fn(u32, u8);
        struct_size "cuptiActivityGetStructSize": fn(u32, u32, *mut usize);
        push_external "cuptiActivityPushExternalCorrelationId": fn(u32, u64);
        pop_external "cuptiActivityPopExternalCorrelationId": fn(u32, *mut u64);
        all_sync_records "cuptiActivityEnableAllSyncRecords": fn(u8);
    }
}

/// A loaded CUPTI. It stays loaded as long as the process lives: CUPTI's own threads may run in it.
pub struct Cupti {
    functions: Functions,
    version: u32,
    path: PathBuf,
    /// Bytes of records by number of their kind; 0 for kinds that are not read.
    sizes: [u16; KINDS],
}

/// One more than the highest number in [`Kind`].
const KINDS: usize = 64;

impl Cupti {
    /// Finds and loads the CUPTI of this process's CUDA.
    ///
    /// # Errors
    /// CUDA is not in the process, or there is no CUPTI that can be used.
    pub fn load() -> Result<Cupti, CuptiError> {
        if !locate::is_driver_loaded() {
            return Err(CuptiError::NoDriver);
        }
        let major = locate::cuda_major();
        let mut tried = Vec::new();
        for candidate in locate::candidates(major) {
            match locate::open(&candidate) {
                Some(library) => return Cupti::of(library, candidate.path),
                None => tried.push(candidate.path.display().to_string()),
            }
        }
        tried.dedup();
        Err(CuptiError::NotFound { major, tried: tried.join(", ") })
    }

    /// Takes the functions of a library that is loaded, and asks for its version.
    ///
    /// # Errors
    /// It lacks functions, does not work, or is too old.
    pub fn of(library: Library, path: PathBuf) -> Result<Cupti, CuptiError> {
        let functions = match Functions::of(&library) {
            Ok(functions) => functions,
            Err(symbol) => return Err(CuptiError::Symbol { path, symbol }),
        };
        std::mem::forget(library);
        let mut version = 0;
        // SAFETY: the place is writable.
        let result = unsafe { (functions.get_version)(&mut version) };
        if !result.is_success() {
            return Err(CuptiError::Version { path, result });
        }
        if version_place(version).is_none() {
            return Err(CuptiError::TooOld { path, version });
        }
        let mut cupti = Cupti { functions, version, path, sizes: [0; KINDS] };
        for &kind in Kind::ALL {
            let size = cupti.size_of(kind);
            if let Some(place) = cupti.sizes.get_mut(kind as usize) {
                *place = size;
            }
        }
        Ok(cupti)
    }

    /// What is known of a record of this kind: no more than the tables have, no more than the library says.
    fn size_of(&self, kind: Kind) -> u16 {
        let known = layout::record_size(kind, self.version).unwrap_or(0);
        let newest = layout::forms(kind).last().map_or(0, |form| usize::from(form.1));
        let exact = VERSIONS.iter().any(|known| known.0 == self.version);
        let mut said = 0;
        // A version between two known ones may have more than the older of them. Versions before 13 do not say.
        let size = match self.functions.struct_size {
            // SAFETY: the place is writable.
            Some(ask) if !exact && unsafe { ask(kind as u32, self.version, &mut said) }.is_success() && said > 0 => {
                said.min(newest)
            }
            _ => known,
        };
        size as u16
    }

    /// What `cuptiGetVersion` says: 18 for CUDA 12.1, 130500 for CUDA 13.5.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The library's file as far as it is known.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Bytes that are read of records of this kind.
    #[inline(always)]
    pub fn record_size(&self, kind: Kind) -> usize {
        self.sizes.get(kind as usize).map_or(0, |size| *size as usize)
    }

    /// Takes the one place for a subscriber. `Err` holds the reason and, where CUPTI tells it, who has the place.
    ///
    /// # Errors
    /// As CUPTI says; see [`CuptiResult::is_taken`].
    pub fn subscribe(&self) -> Result<Subscriber, (CuptiResult, Option<String>)> {
        let mut subscriber = Subscriber(std::ptr::null_mut());
        // SAFETY: the callback is a function that does nothing and stays; the place is writable.
        let result = unsafe { (self.functions.subscribe)(&mut subscriber, nothing, std::ptr::null_mut()) };
        if result.is_success() {
            return Ok(subscriber);
        }
        let holder = if result.is_taken() { self.holder() } else { None };
        Err((result, holder))
    }

    /// The name of the subscriber that has the place. Only for a place that is taken: the newer way of asking for it
    /// would take it.
    fn holder(&self) -> Option<String> {
        let subscribe = self.functions.subscribe_v2?;
        let mut name = [0u8; 128];
        let mut params = SubscriberParams {
            struct_size: size_of::<SubscriberParams>(),
            name: c"gapless".as_ptr(),
            old_name: name.as_mut_ptr().cast(),
            old_name_bytes: name.len(),
            allow_multiple: 0,
            padding: [0; 7],
        };
        let mut subscriber = Subscriber(std::ptr::null_mut());
        // SAFETY: all places are writable and as long as they say.
        let result = unsafe { subscribe(&mut subscriber, nothing, std::ptr::null_mut(), &mut params) };
        if result.is_success() {
            // The other one has just left. Its place is not ours to keep in the newer interface.
            if let Some(unsubscribe) = self.functions.unsubscribe {
                // SAFETY: the handle is the one just given.
                unsafe { unsubscribe(subscriber) };
            }
            return None;
        }
        let text = CStr::from_bytes_until_nul(&name).ok()?.to_string_lossy().into_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Gives up a subscription.
    pub fn unsubscribe(&self, subscriber: Subscriber) {
        if let Some(unsubscribe) = self.functions.unsubscribe {
            // SAFETY: the handle is one that `subscribe` gave.
            unsafe { unsubscribe(subscriber) };
        }
    }

    /// Sets the functions that give and take buffers.
    ///
    /// # Safety
    /// They stay callable from any thread as long as the process lives, and what they give is writable.
    pub unsafe fn register_callbacks(&self, requested: BufferRequested, completed: BufferCompleted) -> CuptiResult {
        // SAFETY: by this function's own contract.
        unsafe { (self.functions.register_callbacks)(requested, completed) }
    }

    /// Makes CUPTI take its times from this clock. `None` where the version cannot.
    pub fn register_timestamp(&self, clock: TimestampCallback) -> Option<CuptiResult> {
        // SAFETY: a function of no arguments, which stays.
        self.functions.register_timestamp.map(|register| unsafe { register(clock) })
    }

    /// Makes records name threads as the system does. `None` where the version cannot.
    pub fn use_system_thread_ids(&self) -> Option<CuptiResult> {
        // SAFETY: takes a number.
        self.functions.set_thread_id_type.map(|set| unsafe { set(THREAD_ID_SYSTEM) })
    }

    /// Sets an attribute that is a `size_t`. `None` where the version cannot.
    pub fn set_attribute(&self, attribute: u32, value: usize) -> Option<CuptiResult> {
        let (mut bytes, mut value) = (size_of::<usize>(), value);
        // SAFETY: the value is as long as it says.
        let set = |set: unsafe extern "C" fn(u32, *mut usize, *mut c_void) -> CuptiResult| unsafe {
            set(attribute, &mut bytes, (&raw mut value).cast())
        };
        self.functions.set_attribute.map(set)
    }

    /// Turns a kind of records on.
    pub fn enable(&self, kind: Kind) -> CuptiResult {
        // SAFETY: takes a number.
        unsafe { (self.functions.enable)(kind as u32) }
    }

    /// Turns a kind of records off.
    pub fn disable(&self, kind: Kind) -> CuptiResult {
        // SAFETY: takes a number.
        unsafe { (self.functions.disable)(kind as u32) }
    }

    /// Turns records of one function on or off. `None` where the version cannot.
    pub fn enable_api(&self, domain: u32, callback: u32, on: bool) -> Option<CuptiResult> {
        let enable = match domain {
            DOMAIN_DRIVER => self.functions.enable_driver_api,
            _ => self.functions.enable_runtime_api,
        };
        // SAFETY: takes numbers.
        enable.map(|enable| unsafe { enable(callback, u8::from(on)) })
    }

    /// Asks CUPTI to hand over buffers: those that are complete, or all with [`FLUSH_FORCED`]. Never from inside a
    /// callback.
    pub fn flush(&self, flags: u32) -> CuptiResult {
        // SAFETY: takes a number.
        unsafe { (self.functions.flush_all)(flags) }
    }

    /// Records that were dropped since this was last asked.
    ///
    /// # Safety
    /// `context` is the one of a completed buffer, or null.
    pub unsafe fn dropped(&self, context: *mut c_void, stream: u32) -> usize {
        let mut dropped = 0;
        // SAFETY: by this function's own contract; the place is writable.
        let result = unsafe { (self.functions.dropped_records)(context, stream, &mut dropped) };
        if result.is_success() { dropped } else { 0 }
    }

    /// The time on CUPTI's clock.
    pub fn timestamp(&self) -> Option<u64> {
        let mut time = 0;
        // SAFETY: the place is writable.
        unsafe { (self.functions.get_timestamp)(&mut time) }.is_success().then_some(time)
    }

    /// The name of a function of the driver or the runtime.
    pub fn callback_name(&self, domain: u32, callback: u32) -> Option<&'static CStr> {
        let mut name = std::ptr::null();
        // SAFETY: the place is writable; names are constants of the library, which stays loaded.
        unsafe {
            let result = (self.functions.get_callback_name)(domain, callback, &mut name);
            (result.is_success() && !name.is_null()).then(|| CStr::from_ptr(name))
        }
    }

    /// Puts an id on what the calling thread launches from now on. `None` where the version cannot.
    pub fn push_external(&self, kind: u32, id: u64) -> Option<CuptiResult> {
        // SAFETY: takes numbers.
        self.functions.push_external.map(|push| unsafe { push(kind, id) })
    }

    /// Takes the last id off again. `None` where the version cannot.
    pub fn pop_external(&self, kind: u32) -> Option<CuptiResult> {
        let mut last = 0;
        // SAFETY: the place is writable.
        self.functions.pop_external.map(|pop| unsafe { pop(kind, &mut last) })
    }

    /// Gives records of all waits, also of queries and of waits that returned at once. `None` where the version cannot.
    pub fn all_sync_records(&self, on: bool) -> Option<CuptiResult> {
        // SAFETY: takes a number.
        self.functions.all_sync_records.map(|enable| unsafe { enable(u8::from(on)) })
    }

    /// Hands each record of a completed buffer to `each`: its kind's number, and the record where the kind is one that
    /// is read here. The stride is CUPTI's own. Gives how many there were.
    ///
    /// # Safety
    /// The buffer is one that CUPTI completed, with this many valid bytes.
    #[inline]
    pub unsafe fn each_record(
        &self,
        buffer: *mut u8,
        valid_bytes: usize,
        mut each: impl FnMut(u32, Option<(Kind, Record<'_>)>),
    ) -> u64 {
        let mut record = std::ptr::null_mut();
        let mut count = 0;
        let end = buffer as usize + valid_bytes;
        loop {
            // SAFETY: by this function's own contract; the place is the one that CUPTI wrote last.
            let result = unsafe { (self.functions.next_record)(buffer, valid_bytes, &mut record) };
            if !result.is_success() || record.is_null() {
                return count;
            }
            count += 1;
            // SAFETY: a record lies there, of at least its kind.
            let number = unsafe { record.cast::<u32>().read_unaligned() };
            let known = Kind::from_number(number).and_then(|kind| {
                // A version that is newer than the tables may not be shorter; a buffer that ends early is not read past.
                let size = self.record_size(kind).min(end.saturating_sub(record as usize));
                // SAFETY: that much of the buffer is valid.
                (size > 0).then(|| (kind, unsafe { Record::at(record, size) }))
            });
            each(number, known);
        }
    }
}

impl std::fmt::Debug for Cupti {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cupti").field("version", &self.version).field("path", &self.path).finish_non_exhaustive()
    }
}

unsafe extern "C" fn nothing(_user: *mut c_void, _domain: u32, _callback: u32, _data: *const c_void) {}
