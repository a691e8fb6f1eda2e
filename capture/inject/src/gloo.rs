//! gloo's collectives, which `libtorch_cpu.so` calls through symbols that a preloaded image comes before.
//!
//! Each call is a range on the thread that runs it. What it moves is not read: the layout of gloo's option objects
//! differs between versions, and the Python hook says which collective of which group it is.

use std::ffi::c_void;
use std::io::Write;

use gapless_ring::layout::{Class, Kind, Record, SOURCE_GLOO};
use gapless_ring::writer;

use crate::symbols::Symbol;

/// An open range of the calling thread. It ends when it is dropped, which a C++ exception does too: gloo throws when a
/// peer is gone.
struct Range(bool);

impl Range {
    fn begin(name: &'static str) -> Range {
        let pushed = writer::with(|thread| {
            let name = thread.name(name.as_bytes());
            let class = Class::Communication as u8;
            thread.push(Record { kind: Kind::Push as u8, class, name, ..Record::default() });
        });
        Range(pushed.is_some())
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        if self.0 {
            writer::with(|thread| thread.pop());
        }
    }
}

/// The caller was bound to us and gloo is not there: to go on would mean wrong sums, so the process ends as it would
/// have without us, when the loader does not find the symbol.
#[cold]
fn missing(name: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "gapless: {name} was called, but no library of this process has it");
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

macro_rules! gloo {
    ($($symbol:ident $name:literal)*) => {$(
        // SAFETY: the mangled name belongs to gloo; the function keeps its signature, one reference in, nothing out.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $symbol(options: *mut c_void) {
            static NEXT: Symbol = Symbol::new(concat!(stringify!($symbol), "\0"), "libtorch_cpu");
            let Some(next) = NEXT.get() else { missing($name) };
            writer::note_source(SOURCE_GLOO);
            let _range = Range::begin($name);
            // SAFETY: the symbol is gloo's function of this signature; what it throws passes through.
            unsafe {
                let next: unsafe extern "C-unwind" fn(*mut c_void) = std::mem::transmute(next);
                next(options);
            }
        }
    )*};
}

gloo! {
    _ZN4gloo9allreduceERKNS_16AllreduceOptionsE "gloo:allreduce"
    _ZN4gloo9allgatherERNS_16AllgatherOptionsE "gloo:allgather"
    _ZN4gloo10allgathervERNS_17AllgathervOptionsE "gloo:allgatherv"
    _ZN4gloo8alltoallERNS_15AlltoallOptionsE "gloo:alltoall"
    _ZN4gloo9alltoallvERNS_16AlltoallvOptionsE "gloo:alltoallv"
    _ZN4gloo7barrierERNS_14BarrierOptionsE "gloo:barrier"
    _ZN4gloo9broadcastERNS_16BroadcastOptionsE "gloo:broadcast"
    _ZN4gloo6gatherERNS_13GatherOptionsE "gloo:gather"
    _ZN4gloo7gathervERNS_14GathervOptionsE "gloo:gatherv"
    _ZN4gloo6reduceERNS_13ReduceOptionsE "gloo:reduce"
    _ZN4gloo7scatterERNS_14ScatterOptionsE "gloo:scatter"
}
