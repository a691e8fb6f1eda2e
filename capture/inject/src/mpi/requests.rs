//! Requests that are under way: which call began them, so that the wait that ends them can say so.
//!
//! Libraries give the same handle to many requests at once where a message left at once (MPICH's lightweight request,
//! Open MPI's empty one). Each handle has a queue; the variable's address picks the right entry, else the oldest goes:
//! of requests that share a handle all are complete.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use gapless_ring::layout::Comm;

use super::communicators::Communicator;

/// Most requests that are remembered at once; a job that never completes its requests must not fill memory.
const MOST: usize = 1 << 20;
/// Entries of one handle's queue that are compared by address.
const COMPARED: usize = 64;
const SHARDS: usize = 16;

/// What a persistent request does each time.
#[derive(Clone)]
pub(super) struct Persistent {
    /// Facts without request and data type.
    pub(super) facts: Comm,
    /// Name of the data type.
    pub(super) datatype: &'static [u8],
    /// Its communicator, for the members.
    pub(super) communicator: Option<(u64, &'static Communicator)>,
}

/// One request.
#[derive(Default)]
pub(super) struct Request {
    /// Number of the request within the process; 0 while a persistent one is not started.
    pub(super) number: u64,
    /// Where the job keeps the handle.
    pub(super) address: usize,
    /// Whether its status tells of a message.
    pub(super) receives: bool,
    /// Where the handle of the communicator will lie that it makes.
    pub(super) makes: Option<usize>,
    /// Set for persistent requests.
    pub(super) persistent: Option<Box<Persistent>>,
    /// Arrays that MPI reads until the request is complete.
    pub(super) kept: Vec<Box<[i32]>>,
}

/// What a wait has to know of a request that it ended.
#[derive(Default)]
pub(super) struct Done {
    pub(super) number: u64,
    pub(super) receives: bool,
    pub(super) makes: Option<usize>,
    is_persistent: bool,
    kept: Vec<Box<[i32]>>,
}

#[derive(Default)]
struct HandleHasher(u64);

impl Hasher for HandleHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _bytes: &[u8]) {}
    fn write_u64(&mut self, handle: u64) {
        let product = u128::from(handle) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

type Shard = HashMap<u64, VecDeque<Request>, BuildHasherDefault<HandleHasher>>;

static TABLE: [Mutex<Shard>; SHARDS] = [const { Mutex::new(HashMap::with_hasher(BuildHasherDefault::new())) }; SHARDS];
static NUMBERS: AtomicU64 = AtomicU64::new(0);
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

fn shard(handle: u64) -> MutexGuard<'static, Shard> {
    let index = (handle >> 3 ^ handle >> 9 ^ handle) as usize & (SHARDS - 1);
    // The mask keeps the index within the table; the first shard is as good as any.
    let shard = TABLE.get(index).unwrap_or(&TABLE[0]);
    shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A number for a request that begins now.
pub(super) fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Remembers a request.
pub(super) fn add(handle: u64, request: Request) {
    if UNDER_WAY.load(Ordering::Relaxed) >= MOST {
        return;
    }
    UNDER_WAY.fetch_add(1, Ordering::Relaxed);
    shard(handle).entry(handle).or_default().push_back(request);
}

fn position(queue: &VecDeque<Request>, address: usize) -> usize {
    if queue.len() < 2 {
        return 0;
    }
    queue.iter().take(COMPARED).position(|request| request.address == address).unwrap_or(0)
}

/// MPI has completed this request, or is asked to now. A persistent one stays, not started. What is given back must
/// live until MPI is done.
pub(super) fn complete(handle: u64, address: usize) -> Option<Done> {
    let mut shard = shard(handle);
    let queue = shard.get_mut(&handle)?;
    let at = position(queue, address);
    let request = queue.get_mut(at)?;
    if request.persistent.is_some() {
        let number = std::mem::take(&mut request.number);
        let receives = request.receives;
        return (number != 0).then(|| Done { number, receives, is_persistent: true, ..Done::default() });
    }
    let Request { number, receives, makes, kept, .. } = queue.remove(at)?;
    UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    Some(Done { number, receives, makes, is_persistent: false, kept })
}

/// MPI was asked to complete this request, and has not.
pub(super) fn restore(handle: u64, address: usize, done: Done) {
    let Done { number, receives, makes, is_persistent, kept } = done;
    if !is_persistent {
        return add(handle, Request { number, address, receives, makes, persistent: None, kept });
    }
    let mut shard = shard(handle);
    if let Some(queue) = shard.get_mut(&handle) {
        let at = position(queue, address);
        if let Some(request) = queue.get_mut(at) {
            request.number = number;
        }
    }
}

/// The job gives a request up.
pub(super) fn forget(handle: u64, address: usize) {
    let mut shard = shard(handle);
    if let Some(queue) = shard.get_mut(&handle) {
        let at = position(queue, address);
        if queue.remove(at).is_some() {
            UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A persistent request is started: its new number and what it does.
pub(super) fn start(handle: u64, address: usize) -> Option<(u64, Persistent)> {
    let mut shard = shard(handle);
    let queue = shard.get_mut(&handle)?;
    let at = position(queue, address);
    let request = queue.get_mut(at)?;
    let persistent = request.persistent.as_deref()?.clone();
    request.number = number();
    Some((request.number, persistent))
}

/// What a matched probe found, for the receive that follows: facts of the communicator, sender and tag.
static MESSAGES: Mutex<Vec<(u64, Comm)>> = Mutex::new(Vec::new());
/// Most messages that are remembered between probe and receive.
const MOST_MESSAGES: usize = 4096;

/// A matched probe has found a message.
pub(super) fn add_message(handle: u64, facts: Comm) {
    let mut messages = MESSAGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if messages.len() < MOST_MESSAGES {
        messages.push((handle, facts));
    }
}

/// The message is received now.
pub(super) fn take_message(handle: u64) -> Option<Comm> {
    let mut messages = MESSAGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let at = messages.iter().position(|(known, _)| *known == handle)?;
    Some(messages.swap_remove(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64, address: usize) -> Request {
        Request { number, address, ..Request::default() }
    }

    #[test]
    fn requests_with_one_handle_are_told_apart() {
        let handle = 0x6c00_0001;
        for index in 1..=3 {
            add(handle, request(index, 100 * index as usize));
        }
        let second = complete(handle, 200).unwrap_or_default();
        assert_eq!(second.number, 2);
        restore(handle, 200, second);
        assert_eq!(complete(handle, 200).map(|done| done.number), Some(2));
        // Copied elsewhere: the oldest.
        assert_eq!(complete(handle, 999).map(|done| done.number), Some(1));
        assert_eq!(complete(handle, 300).map(|done| done.number), Some(3));
        assert!(complete(handle, 300).is_none());
    }

    #[test]
    fn persistent_requests_are_started_again() {
        let handle = 0x7000_0001;
        let persistent =
            Persistent { facts: Comm { tag: 5, ..Comm::default() }, datatype: b"MPI_INT", communicator: None };
        add(handle, Request { persistent: Some(Box::new(persistent)), ..request(0, 8) });
        assert!(complete(handle, 8).is_none(), "not started");
        let (first, what) = start(handle, 8).map(|(number, what)| (number, what.facts.tag)).unwrap_or_default();
        assert_eq!(what, 5);
        assert_eq!(complete(handle, 8).map(|done| done.number), Some(first));
        assert!(start(handle, 8).is_some_and(|(second, _)| second > first));
        forget(handle, 8);
        assert!(start(handle, 8).is_none());
    }
}
