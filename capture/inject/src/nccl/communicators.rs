//! Communicators that NCCL told of. They are never freed: proxy threads speak of them after their end.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use gapless_ring::layout::{Kind, Record};
use gapless_ring::names::Registered;
use gapless_ring::writer::Thread;

/// What NCCL says of a communicator.
#[derive(Debug)]
pub(super) struct Identity {
    /// Equal on all ranks; 0 where NCCL does not tell.
    pub hash: u64,
    /// -1 where NCCL does not tell.
    pub rank: i32,
    /// Ranks of the communicator, 0 where NCCL does not tell.
    pub size: i32,
    pub nodes: i32,
    /// As the user calls it; may be empty.
    pub name: Vec<u8>,
}

/// A communicator and the names that stand for it.
pub(super) struct Communicator {
    /// Number within the process, from 1.
    pub number: u64,
    pub identity: Identity,
    /// Equal on all ranks and other for each communicator: its name and hash.
    pub group: Registered,
    /// Name of the track of its collectives.
    pub track: Registered,
    /// Number of the launch that NCCL told of last, 0 for none: the collectives of a plan follow its launch.
    pub last_launch: AtomicU64,
    /// Generation of the process in which its facts were written.
    told: AtomicU32,
    is_closed: AtomicBool,
}

impl Communicator {
    fn new(number: u64, identity: Identity) -> Communicator {
        let name = String::from_utf8_lossy(&identity.name).into_owned();
        let hash = identity.hash;
        let group = match (name.is_empty(), hash) {
            (true, 0) => format!("communicator {number} of this process"),
            (true, _) => format!("communicator {hash:016x}"),
            (false, 0) => name,
            // A job may give one name to several.
            (false, _) => format!("{name} #{hash:016x}"),
        };
        Communicator {
            number,
            track: Registered::new(format!("NCCL {group}").as_bytes()),
            group: Registered::new(group.as_bytes()),
            identity,
            last_launch: AtomicU64::new(0),
            told: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Its hash in 32 bits.
    pub fn members(&self) -> u32 {
        (self.identity.hash >> 32) as u32 ^ self.identity.hash as u32
    }

    /// Writes, once per process, who it is: `nccl:communicator:NUMBER` = `{"group":…,"rank":…,…}`.
    pub fn tell(&self, thread: &mut Thread) {
        let generation = thread.generation();
        if self.told.swap(generation, Ordering::Relaxed) == generation {
            return;
        }
        let Identity { hash, rank, size, nodes, .. } = &self.identity;
        let group = escaped(&String::from_utf8_lossy(self.group.bytes()));
        let value = format!(
            "{{\"group\":\"{group}\",\"hash\":\"{hash:016x}\",\"rank\":{rank},\"size\":{size},\"nodes\":{nodes}}}"
        );
        let name = thread.name(format!("nccl:communicator:{}", self.number).as_bytes());
        thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value.as_bytes());
    }

    /// It will not be used any more, save by what comes late.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out
}

/// Communicators of a process that are known at a time.
const PLACES: usize = 8192;

static TABLE: [AtomicPtr<Communicator>; PLACES] = [const { AtomicPtr::new(null_mut()) }; PLACES];
static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// A place for a communicator about which NCCL may say more later. A place is used again after 8,192 others, if its
/// communicator has ended by then.
pub(super) fn reserve() -> Option<u32> {
    (0..PLACES).find_map(|_| {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let place = TABLE.get(number as usize % PLACES)?;
        let known = place.load(Ordering::Acquire);
        // SAFETY: what is in the table is never freed.
        let is_free = known.is_null() || unsafe { &*known }.is_closed.load(Ordering::Relaxed);
        if is_free {
            place.store(null_mut(), Ordering::Release);
        }
        is_free.then_some(number)
    })
}

/// The communicator at a place.
pub(super) fn find(index: u32) -> Option<&'static Communicator> {
    let known = TABLE.get(index as usize % PLACES)?.load(Ordering::Acquire);
    // SAFETY: what is in the table is never freed.
    let known = unsafe { known.as_ref() }?;
    (known.number == u64::from(index) + 1).then_some(known)
}

/// The communicator at a place, which is `identity` if nothing was said about it before.
pub(super) fn learn(index: u32, identity: impl FnOnce() -> Identity) -> Option<&'static Communicator> {
    if let Some(known) = find(index) {
        return Some(known);
    }
    let made = Box::into_raw(Box::new(Communicator::new(u64::from(index) + 1, identity())));
    let place = TABLE.get(index as usize % PLACES)?;
    if place.compare_exchange(null_mut(), made, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // Another thread was faster, or the place has gone to another communicator.
        // SAFETY: nobody else has seen this one.
        drop(unsafe { Box::from_raw(made) });
    }
    find(index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(name: &str, hash: u64) -> Communicator {
        Communicator::new(7, Identity { hash, rank: 0, size: 2, nodes: 1, name: name.as_bytes().to_vec() })
    }

    #[test]
    fn groups_have_names_that_all_ranks_share() {
        assert_eq!(named("DP", 0xab).group.bytes(), b"DP #00000000000000ab");
        assert_eq!(named("", 0xab).group.bytes(), b"communicator 00000000000000ab");
        assert_eq!(named("DP", 0).group.bytes(), b"DP");
        assert_eq!(named("", 0).group.bytes(), b"communicator 7 of this process");
        assert_eq!(escaped("a\"b\\\n"), "a\\\"b\\\\\\u000a");
    }

    #[test]
    fn places_are_used_again_only_after_their_end() {
        let first = reserve().unwrap();
        let known = learn(first, || named("kept", 1).identity).unwrap();
        assert_eq!(learn(first, || named("late", 2).identity).unwrap().identity.name, b"kept");
        for _ in 0..PLACES {
            let index = reserve().unwrap();
            assert_ne!(index as usize % PLACES, first as usize % PLACES);
        }
        known.close();
        let again: Vec<u32> = (0..PLACES).map(|_| reserve().unwrap()).collect();
        assert!(again.iter().any(|index| *index as usize % PLACES == first as usize % PLACES));
        assert!(find(first).is_none());
    }
}
