//! What recording of devices has in common, whoever makes them: where records go, when they count, and clocks.

pub(crate) mod clock;
pub(crate) mod windows;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use gapless_ring::device::DeviceKind;
use gapless_ring::layout::{Kind, Record};
use gapless_ring::writer::{self, Thread};

/// Where records of the ring go.
pub trait Out {
    /// The number of a name.
    fn name(&mut self, bytes: &[u8]) -> u32;
    /// Takes a record and its extra slots.
    fn put(&mut self, record: Record, extra: &[Record]);
    /// Takes a fact of the process.
    fn fact(&mut self, key: &str, value: &str);
}

/// Hashes addresses and ids, which nobody chooses to collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

pub(crate) type ByAddress<T> = HashMap<u64, T, BuildHasherDefault<AddressHasher>>;

/// The ring of a thread that tells what devices did. Unlike threads of the job it can wait.
pub(crate) struct Ring<'a> {
    /// The calling thread's writer.
    pub thread: &'a mut Thread,
    /// How long to wait for a reader that does not read.
    pub patience: Duration,
    /// Whether that was waited for in vain.
    pub has_given_up: &'a mut bool,
}

impl Ring<'_> {
    /// Says that the device library dropped records.
    pub fn dropped(&mut self, count: u64) {
        if count > 0 {
            let (kind, class) = (Kind::Device as u8, DeviceKind::Dropped as u8);
            self.put(Record { kind, class, payload: count, ..Record::default() }, &[]);
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&mut self, slots: u64) {
        // A reader that did not read for so long is gone; records are counted as dropped until there is room again.
        if *self.has_given_up {
            return;
        }
        let until = Instant::now() + self.patience;
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
            if self.thread.can_take(slots) {
                return;
            }
        }
        *self.has_given_up = true;
    }
}

impl Out for Ring<'_> {
    fn name(&mut self, bytes: &[u8]) -> u32 {
        self.thread.name(bytes)
    }

    #[inline(always)]
    fn put(&mut self, record: Record, extra: &[Record]) {
        let slots = 1 + extra.len() as u64;
        if !self.thread.can_take(slots) {
            self.wait(slots);
        }
        if self.thread.put(record, extra) {
            *self.has_given_up = false;
        }
    }

    fn fact(&mut self, key: &str, value: &str) {
        let name = self.thread.name(key.as_bytes());
        self.thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value.as_bytes());
    }
}

/// One line for the user, and the same in the recording under this key.
pub(crate) fn tell(key: &str, text: &str) {
    let _ = writeln!(std::io::stderr(), "gapless: {text}");
    fact(key, text);
}

/// A fact of the process.
pub(crate) fn fact(key: &str, value: &str) {
    writer::with_even_if_off(|thread| {
        let name = thread.name(key.as_bytes());
        thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value.as_bytes());
    });
}

/// Starts a thread of the image. `None` where the system gives none.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Option<thread::Thread> {
    // A new thread has its maker's mask: signals of the job are for the job's threads.
    // SAFETY: both sets are of this function; a zeroed set is one to be filled.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    // SAFETY: the set is the one from before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    started.ok().map(|handle| handle.thread().clone())
}
