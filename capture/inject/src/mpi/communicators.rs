//! Communicators: who is in them, and how many collectives each has seen.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use gapless_ring::layout::{Kind, Record};
use gapless_ring::names;
use gapless_ring::writer::Thread;

use super::library::{ask, is_running, library, text};
use super::places::{Place, Places};

/// What is known of a communicator.
pub(super) struct Communicator {
    /// Number of the communicator within the process, from 1; handles are used again, numbers are not.
    pub(super) number: AtomicU64,
    pub(super) rank: AtomicI32,
    pub(super) size: AtomicI32,
    /// Ranks of the other side of an intercommunicator, else 0.
    pub(super) remote_size: AtomicI32,
    /// Equal on all members, and other for a second communicator of the same members.
    pub(super) members: AtomicU32,
    /// Which of the communicators with the same members this is, from 0.
    instance: AtomicU64,
    /// Collectives begun.
    pub(super) sequence: AtomicU64,
    /// One more than the neighbours that this rank sends to; 0 is not asked yet.
    neighbours: AtomicU64,
    /// Whether its members are in the recording.
    told: AtomicBool,
}

const PLACES: usize = 4096;

static COMMUNICATORS: Places<Communicator, PLACES> = Places {
    places: [const {
        Place {
            key: AtomicU64::new(0),
            value: Communicator {
                number: AtomicU64::new(0),
                rank: AtomicI32::new(0),
                size: AtomicI32::new(0),
                remote_size: AtomicI32::new(0),
                members: AtomicU32::new(0),
                instance: AtomicU64::new(0),
                sequence: AtomicU64::new(0),
                neighbours: AtomicU64::new(0),
                told: AtomicBool::new(false),
            },
        }
    }; PLACES],
    writing: Mutex::new(()),
};

static NUMBERS: AtomicU64 = AtomicU64::new(0);
/// How often each set of members was seen.
static INSTANCES: Mutex<Option<HashMap<u64, u64>>> = Mutex::new(None);

/// What is known of a communicator; asked about on first sight, which fails as the job's own call would where the
/// handle is wrong.
#[inline(always)]
pub(super) fn find(handle: u64) -> Option<&'static Communicator> {
    COMMUNICATORS.find(handle).or_else(|| learn(handle))
}

/// Asks about a communicator.
#[cold]
#[inline(never)]
pub(super) fn learn(handle: u64) -> Option<&'static Communicator> {
    let library = library();
    if !library.is_comm(handle) || !is_running() {
        return None;
    }
    let (mut rank, mut size, mut inter, mut remote_size): (c_int, c_int, c_int, c_int) = (0, 0, 0, 0);
    if !(ask!("Comm_size", handle, &raw mut size) && ask!("Comm_rank", handle, &raw mut rank)) {
        return None;
    }
    ask!("Comm_test_inter", handle, &raw mut inter);
    let mut plain = hash(&members(handle, false));
    if inter != 0 {
        ask!("Comm_remote_size", handle, &raw mut remote_size);
        // Each side takes the other for the remote one.
        plain = plain.wrapping_add(hash(&members(handle, true)));
    }
    let instance = {
        let mut instances = INSTANCES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let seen = instances.get_or_insert_default().entry(plain).or_insert(0);
        *seen += 1;
        *seen - 1
    };
    let mixed = plain.wrapping_add(instance.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed) + 1;
    COMMUNICATORS.add(handle, |place| {
        place.number.store(number, Ordering::Relaxed);
        place.rank.store(rank, Ordering::Relaxed);
        place.size.store(size, Ordering::Relaxed);
        place.remote_size.store(remote_size, Ordering::Relaxed);
        place.members.store((mixed >> 32) as u32 ^ mixed as u32, Ordering::Relaxed);
        place.instance.store(instance, Ordering::Relaxed);
        place.sequence.store(0, Ordering::Relaxed);
        place.neighbours.store(0, Ordering::Relaxed);
        place.told.store(false, Ordering::Relaxed);
    })
}

/// The handle may mean another communicator from now on.
pub(super) fn forget(handle: u64) {
    COMMUNICATORS.remove(handle);
}

impl Communicator {
    /// Ranks that a collective sends to: of an intercommunicator those of the other side.
    pub(super) fn targets(&self) -> u64 {
        let remote = self.remote_size.load(Ordering::Relaxed);
        let size = if remote > 0 { remote } else { self.size.load(Ordering::Relaxed) };
        u64::try_from(size).unwrap_or(0)
    }

    pub(super) fn is_inter(&self) -> bool {
        self.remote_size.load(Ordering::Relaxed) > 0
    }

    /// Ranks that this rank sends to in the communicator's topology.
    pub(super) fn neighbours(&self, handle: u64) -> u64 {
        match self.neighbours.load(Ordering::Relaxed) {
            0 => {
                let number = library().neighbours(handle, self.rank.load(Ordering::Relaxed));
                self.neighbours.store(number + 1, Ordering::Relaxed);
                number
            }
            known => known - 1,
        }
    }

    /// Writes, once, who is in it: `mpi:communicator:HASH` = `{"id":…,"size":…,"ranks":"0-3",…}`, ranks in
    /// `MPI_COMM_WORLD` in the communicator's order.
    #[inline(always)]
    pub(super) fn tell(&self, handle: u64, thread: &mut Thread) {
        if !self.told.load(Ordering::Relaxed) {
            self.tell_now(handle, thread);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_now(&self, handle: u64, thread: &mut Thread) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let name = text(|buffer, len| ask!("Comm_get_name", handle, buffer, len));
        let mut value = format!(
            "{{\"id\":{},\"size\":{},\"instance\":{},\"ranks\":\"{}\"",
            self.number.load(Ordering::Relaxed),
            self.size.load(Ordering::Relaxed),
            self.instance.load(Ordering::Relaxed),
            ranges(&members(handle, false)),
        );
        if self.is_inter() {
            value.push_str(&format!(",\"remote_ranks\":\"{}\"", ranges(&members(handle, true))));
        }
        if !name.is_empty() {
            value.push_str(&format!(",\"name\":\"{}\"", escaped(&name)));
        }
        value.push('}');
        let key = format!("mpi:communicator:{:08x}", self.members.load(Ordering::Relaxed));
        let name = thread.name(key.as_bytes());
        thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value.as_bytes());
    }
}

/// Ranks in `MPI_COMM_WORLD` of the members of a communicator, in order; of the other side where `remote`. Members
/// from another world (`MPI_Comm_spawn`) are -1. Empty where MPI does not say.
fn members(handle: u64, remote: bool) -> Vec<i32> {
    let library = library();
    let (mut group, mut world): (u64, u64) = (0, 0);
    let asked = if remote {
        ask!("Comm_remote_group", handle, &raw mut group)
    } else {
        ask!("Comm_group", handle, &raw mut group)
    };
    if !asked {
        return Vec::new();
    }
    let mut size: c_int = 0;
    let mut ranks = Vec::new();
    // A group's handle is written in the library's own width into zeroed places.
    if ask!("Group_size", group, &raw mut size) && ask!("Comm_group", library.world, &raw mut world) {
        let own: Vec<i32> = (0..size).collect();
        ranks = vec![-1; own.len()];
        if !ask!("Group_translate_ranks", group, size, own.as_ptr(), world, ranks.as_mut_ptr()) {
            ranks.clear();
        }
        for rank in &mut ranks {
            *rank = (*rank).max(-1);
        }
        ask!("Group_free", &raw mut world);
    }
    ask!("Group_free", &raw mut group);
    ranks
}

fn hash(ranks: &[i32]) -> u64 {
    let bytes: Vec<u8> = ranks.iter().flat_map(|rank| rank.to_le_bytes()).collect();
    names::hash(&bytes)
}

/// Most bytes of ranks that are written; an info record holds 8,160 bytes.
const MOST_RANGE_BYTES: usize = 7168;

/// Ranks in order as runs: `0-3,8,6`, with `…` at the end where there are too many runs.
fn ranges(ranks: &[i32]) -> String {
    let mut text = String::new();
    let mut rest = ranks;
    while let Some(&first) = rest.first() {
        let run = rest.iter().zip(first..).take_while(|(rank, expected)| **rank == *expected).count().max(1);
        // Members of other worlds are all -1 and follow nothing.
        let run = if first < 0 { 1 } else { run };
        if !text.is_empty() {
            text.push(',');
        }
        if text.len() > MOST_RANGE_BYTES {
            text.push('…');
            break;
        }
        match run {
            1 => text.push_str(&first.to_string()),
            _ => text.push_str(&format!("{first}-{}", first + run as i32 - 1)),
        }
        rest = rest.get(run..).unwrap_or_default();
    }
    text
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            control if control < ' ' => format!("\\u{:04x}", control as u32),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_written_as_runs() {
        assert_eq!(ranges(&[0, 1, 2, 3]), "0-3");
        assert_eq!(ranges(&[8, 6, 7, 1]), "8,6-7,1");
        assert_eq!(ranges(&[-1, -1, 0]), "-1,-1,0");
        assert_eq!(ranges(&[]), "");
        let scattered: Vec<i32> = (0..8000).map(|index| index * 2).collect();
        let text = ranges(&scattered);
        assert!(text.len() < 8000 && text.ends_with('…'));
    }

    #[test]
    fn names_are_valid_json() {
        assert_eq!(escaped("a\"b\\c\n"), "a\\\"b\\\\c\\u000a");
    }
}
