//! Collectives, and the making and freeing of communicators.

use std::sync::atomic::Ordering;

use super::communicators::Communicator;
use super::datatypes::Datatype;
use super::library::{FortranHandle, library};
use super::messages::add;
use super::requests::Request;
use super::spec::{Action, NONE, Volume};
use super::{Call, communicators, datatypes, facts_of, requests};

/// What a rank moves: elements and bytes of one data type or, of the `w` forms, of several.
#[derive(Default)]
struct Moved {
    bytes: u64,
    count: u64,
    /// Name of the type.
    datatype: &'static [u8],
    /// The handle, where its size is not known yet.
    unknown: Option<u64>,
}

impl Moved {
    fn new(call: &Call<'_>, count: u64, datatype: u8) -> Moved {
        let handle = call.handle(datatype, FortranHandle::Datatype);
        let known = datatypes::find(handle);
        Moved {
            bytes: count * known.map_or(0, Datatype::size_bytes),
            count,
            datatype: known.map_or(b"", Datatype::name),
            unknown: known.is_none().then_some(handle),
        }
    }

    /// Counts and types of their own for each rank.
    fn of_types(call: &Call<'_>, counts: u8, types: u8, number: u64) -> Moved {
        let mut moved = Moved { datatype: b"mixed", ..Moved::default() };
        for index in 0..number {
            let count = call.count_of(counts, index);
            let handle = call.handle_at(types, index as usize, FortranHandle::Datatype);
            moved.count += count;
            if count > 0
                && let Some(known) = datatypes::find(handle)
            {
                moved.bytes += count * known.size_bytes();
            }
        }
        moved
    }
}

fn sum(call: &Call<'_>, counts: u8, number: u64) -> u64 {
    (0..number).map(|index| call.count_of(counts, index)).sum()
}

/// What this rank moves. Arguments that mean nothing on this rank are not looked at.
fn moved(call: &Call<'_>, volume: Volume, communicator: Option<(u64, &Communicator)>) -> Moved {
    let at = &call.spec.at;
    let Some((handle, communicator)) = communicator else { return Moved::default() };
    let rank = communicator.rank.load(Ordering::Relaxed);
    let mut is_root = false;
    if at.root != NONE {
        let root = call.int(at.root);
        is_root = root == rank && !communicator.is_inter();
        if communicator.is_inter() && root < 0 {
            // One side of an intercommunicator has the root; its other ranks take no part.
            is_root = root == library().root;
            if !is_root || volume == Volume::Gather {
                return Moved::default();
            }
        }
    }
    let targets = if call.spec.neighbours { communicator.neighbours(handle) } else { communicator.targets() };
    let own = u64::try_from(rank).unwrap_or(0);
    let in_place = call.is_in_place(at.sendbuf);
    match volume {
        Volume::Nothing => Moved::default(),
        Volume::Buffer => Moved::new(call, call.count(at.count), at.datatype),
        Volume::ReduceScatter => {
            // Each rank gives a vector for all of its own side.
            let size = u64::try_from(communicator.size.load(Ordering::Relaxed)).unwrap_or(0);
            let count = match at.recvcounts {
                NONE => call.count(at.recvcount) * size,
                counts => sum(call, counts, size),
            };
            Moved::new(call, count, at.datatype)
        }
        Volume::Gather if in_place => match at.recvcounts {
            NONE => Moved::new(call, call.count(at.recvcount), at.recvtype),
            counts => Moved::new(call, call.count_of(counts, own), at.recvtype),
        },
        Volume::Gather => Moved::new(call, call.count(at.sendcount), at.sendtype),
        Volume::Scatter if is_root => match at.sendcounts {
            NONE => Moved::new(call, call.count(at.sendcount) * targets, at.sendtype),
            counts => Moved::new(call, sum(call, counts, targets), at.sendtype),
        },
        Volume::Scatter => Moved::new(call, call.count(at.recvcount), at.recvtype),
        Volume::AllToAll => {
            let (count, counts, datatype, datatypes) = match in_place {
                true => (at.recvcount, at.recvcounts, at.recvtype, at.recvtypes),
                false => (at.sendcount, at.sendcounts, at.sendtype, at.sendtypes),
            };
            match (counts, datatypes) {
                (NONE, _) => Moved::new(call, call.count(count) * targets, datatype),
                (_, NONE) => Moved::new(call, sum(call, counts, targets), datatype),
                _ => Moved::of_types(call, counts, datatypes, targets),
            }
        }
    }
}

/// The next number among a communicator's collectives.
fn next(communicator: Option<(u64, &Communicator)>) -> u64 {
    communicator.map_or(u64::MAX, |(_, communicator)| communicator.sequence.fetch_add(1, Ordering::Relaxed))
}

/// Collectives, blocking or not.
pub(super) fn collective(call: &mut Call<'_>, volume: Volume) {
    let at = &call.spec.at;
    let communicator = call.communicator();
    let moved = moved(call, volume, communicator);
    let mut facts = facts_of(communicator);
    facts.sequence = next(communicator);
    (facts.bytes, facts.count) = (moved.bytes, moved.count);
    if at.root != NONE {
        facts.peer = call.int(at.root).max(-1);
    }
    let begins = at.request != NONE;
    if begins {
        facts.request = requests::number();
    }
    let mut range = call.begin(facts, moved.datatype, communicator);
    let code = call.go();
    if code == 0 {
        if begins {
            add(call, Request { number: facts.request, ..Request::default() });
        }
        if let Some(handle) = moved.unknown
            && let Some(datatype) = datatypes::learn(handle)
        {
            range.fact("bytes", (moved.count * datatype.size_bytes()) as i64);
        }
    }
    range.check(code);
}

/// Makes a communicator.
pub(super) fn make(call: &mut Call<'_>) {
    let at = &call.spec.at;
    let communicator = call.communicator();
    let mut facts = facts_of(communicator);
    if call.spec.action == Action::Make {
        facts.sequence = next(communicator);
    }
    if at.root != NONE {
        facts.peer = call.int(at.root).max(-1);
    }
    let begins = at.request != NONE;
    if begins {
        facts.request = requests::number();
    }
    let mut range = call.begin(facts, b"", communicator);
    let code = call.go();
    if code == 0 {
        if begins {
            let makes = Some(call.raw(at.newcomm));
            add(call, Request { number: facts.request, makes, ..Request::default() });
        } else if let Some(made) = communicators::learn(call.handle_at(at.newcomm, 0, FortranHandle::Comm)) {
            range.fact("new_communicator", made.number.load(Ordering::Relaxed) as i64);
        }
    }
    range.check(code);
}

/// Frees a communicator.
pub(super) fn free(call: &mut Call<'_>) {
    let handle = call.handle_at(call.spec.at.comm, 0, FortranHandle::Comm);
    let communicator = communicators::find(handle).map(|communicator| (handle, communicator));
    let mut facts = facts_of(communicator);
    facts.sequence = next(communicator);
    let mut range = call.begin(facts, b"", communicator);
    // Before the call: afterwards another thread may get the same handle.
    communicators::forget(handle);
    let code = call.go();
    range.check(code);
}
