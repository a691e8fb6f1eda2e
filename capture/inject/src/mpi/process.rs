//! Begin and end of MPI in a process, and what only keeps our tables right.

use gapless_ring::layout::{Kind, Record, SOURCE_MPI};
use gapless_ring::writer;

use super::library::{FortranHandle, ask, library, text};
use super::{Call, communicators, datatypes, facts_of};

/// `MPI_Init` and `MPI_Init_thread`.
pub(super) fn init(call: &mut Call<'_>) {
    let mut range = call.begin(facts_of(None), b"", None);
    let code = call.go();
    if code == 0 {
        writer::note_source(SOURCE_MPI);
        let library = library();
        let world = communicators::learn(library.world);
        communicators::learn(library.own);
        let version = text(|buffer, len| ask!("Get_library_version", buffer, len));
        info("mpi:library", version.lines().next().unwrap_or_default());
        if let Some(world) = world {
            let facts = facts_of(Some((library.world, world)));
            info("mpi:rank", &facts.rank.to_string());
            info("mpi:size", &facts.size.to_string());
        }
    }
    range.check(code);
}

fn info(key: &str, value: &str) {
    writer::with(|thread| {
        let name = thread.name(key.as_bytes());
        thread.put_bytes(Record { kind: Kind::Info as u8, name, ..Record::default() }, value.as_bytes());
    });
}

/// A call with nothing but its name and communicator.
pub(super) fn plain(call: &mut Call<'_>) {
    let communicator = call.communicator();
    let mut range = call.begin(facts_of(communicator), b"", communicator);
    let code = call.go();
    range.check(code);
}

pub(super) fn type_commit(call: &mut Call<'_>) {
    if call.go() == 0 {
        datatypes::learn(call.handle_at(call.spec.at.datatype, 0, FortranHandle::Datatype));
    }
}

pub(super) fn type_free(call: &mut Call<'_>) {
    // Before the call: afterwards another thread may get the same handle.
    datatypes::forget(call.handle_at(call.spec.at.datatype, 0, FortranHandle::Datatype));
    call.go();
}
