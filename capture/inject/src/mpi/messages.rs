//! Point-to-point messages.

use std::ffi::c_int;

use gapless_ring::layout::Comm;

use super::datatypes::Datatype;
use super::library::{FortranHandle, library};
use super::requests::{Persistent, Request};
use super::spec::{Action, NONE};
use super::waits::{add_polls, take_polls};
use super::{Call, Range, Status, datatypes, facts_of, requests};

/// How much a message's buffer holds.
struct Extent {
    bytes: u64,
    count: u64,
    /// Name of the type.
    datatype: &'static [u8],
    /// The handle, where its size is not known yet.
    unknown: Option<u64>,
}

impl Extent {
    fn of(call: &Call<'_>, count: u8, datatype: u8) -> Extent {
        let handle = call.handle(datatype, FortranHandle::Datatype);
        let known = datatypes::find(handle);
        let count = call.count(count);
        Extent {
            bytes: count * known.map_or(0, Datatype::size_bytes),
            count,
            datatype: known.map_or(b"", Datatype::name),
            unknown: known.is_none().then_some(handle),
        }
    }

    /// The type was good enough for the call, so it may be asked about now.
    fn learn(&self, range: &mut Range, fact: &'static str, moves: bool) {
        if let Some(handle) = self.unknown
            && let Some(datatype) = datatypes::learn(handle)
            && moves
        {
            range.fact(fact, (self.count * datatype.size_bytes()) as i64);
        }
    }
}

/// Sends and receives in all modes, blocking or not, persistent or not.
pub(super) fn message(call: &mut Call<'_>) {
    let (spec, at) = (call.spec, &call.spec.at);
    let receives = spec.action == Action::Receive;
    let communicator = call.communicator();
    let extent = Extent::of(call, at.count, at.datatype);
    let mut facts = facts_of(communicator);
    facts.peer = library().peer(call.int(if receives { at.source } else { at.dest }));
    facts.tag = call.int(at.tag).max(-1);
    // A message to nobody moves nothing.
    let moves = facts.peer != -1;
    if moves {
        (facts.bytes, facts.count) = (extent.bytes, extent.count);
    }
    if spec.persistent {
        let mut range = call.begin(Comm { bytes: 0, count: 0, ..facts }, extent.datatype, communicator);
        let code = call.go();
        if code == 0 {
            extent.learn(&mut range, "bytes", false);
            let persistent = Persistent { facts, datatype: extent.datatype, communicator };
            add(call, Request { persistent: Some(Box::new(persistent)), receives, ..Request::default() });
        }
        range.check(code);
        return;
    }
    if at.request != NONE {
        facts.request = requests::number();
        let mut range = call.begin(facts, extent.datatype, communicator);
        let code = call.go();
        if code == 0 {
            extent.learn(&mut range, "bytes", moves);
            add(call, Request { number: facts.request, receives, ..Request::default() });
        }
        range.check(code);
        return;
    }
    let mut spare = Status::new();
    if receives {
        call.use_status(at.status, &mut spare);
    }
    let mut range = call.begin(facts, extent.datatype, communicator);
    let code = call.go();
    if code == 0 {
        extent.learn(&mut range, "bytes", moves);
        if receives {
            received(call, &mut range);
        }
    }
    range.check(code);
}

/// Remembers the request that a call has just made.
pub(super) fn add(call: &mut Call<'_>, request: Request) {
    let handle = call.handle_at(call.spec.at.request, 0, FortranHandle::Request);
    if library().is_request(handle) {
        let address = call.address(call.spec.at.request, 0);
        let kept = std::mem::take(&mut call.kept);
        requests::add(handle, Request { address, kept, ..request });
    }
}

fn received(call: &Call<'_>, range: &mut Range) {
    let status = call.raw(call.spec.at.status);
    if range.open && status != 0 {
        // SAFETY: the call has succeeded, so it has filled the status, which is the job's or our spare one.
        range.received(&unsafe { library().received(status) });
    }
}

/// `MPI_Sendrecv` and `MPI_Sendrecv_replace`.
pub(super) fn send_receive(call: &mut Call<'_>) {
    let at = &call.spec.at;
    let communicator = call.communicator();
    let replaces = at.sendcount == NONE;
    let (sent, room) = match replaces {
        true => (Extent::of(call, at.count, at.datatype), Extent::of(call, at.count, at.datatype)),
        false => (Extent::of(call, at.sendcount, at.sendtype), Extent::of(call, at.recvcount, at.recvtype)),
    };
    let mut facts = facts_of(communicator);
    facts.peer = library().peer(call.int(at.dest));
    facts.tag = call.int(at.sendtag).max(-1);
    if facts.peer != -1 {
        (facts.bytes, facts.count) = (sent.bytes, sent.count);
    }
    let source = library().peer(call.int(at.source));
    let mut spare = Status::new();
    call.use_status(at.status, &mut spare);
    let more = [
        ("receive_peer", i64::from(source)),
        ("receive_tag", i64::from(call.int(at.recvtag).max(-1))),
        ("receive_bytes", if source == -1 { 0 } else { room.bytes as i64 }),
    ];
    let mut range = Range::begin_with(call.spec.name, facts, sent.datatype, communicator, &more);
    let code = call.go();
    if code == 0 {
        sent.learn(&mut range, "bytes", facts.peer != -1);
        room.learn(&mut range, "receive_bytes", source != -1);
        received(call, &mut range);
    }
    range.check(code);
}

/// `MPI_Mrecv` and `MPI_Imrecv`: the message says where it comes from.
pub(super) fn matched_receive(call: &mut Call<'_>) {
    let at = &call.spec.at;
    let extent = Extent::of(call, at.count, at.datatype);
    let message = requests::take_message(call.handle_at(at.message, 0, FortranHandle::Message));
    let moves = message.is_some();
    let mut facts = message.unwrap_or_else(|| facts_of(None));
    (facts.bytes, facts.count) = (extent.bytes, extent.count);
    let waits = at.request == NONE;
    let mut spare = Status::new();
    if waits {
        call.use_status(at.status, &mut spare);
    } else {
        facts.request = requests::number();
    }
    let mut range = call.begin(facts, extent.datatype, None);
    let code = call.go();
    if code == 0 {
        extent.learn(&mut range, "bytes", moves);
        match waits {
            true => received(call, &mut range),
            false => add(call, Request { number: facts.request, receives: true, ..Request::default() }),
        }
    }
    range.check(code);
}

fn wanted(call: &Call<'_>) -> Comm {
    let mut facts = facts_of(call.communicator());
    facts.peer = library().peer(call.int(call.spec.at.source));
    facts.tag = call.int(call.spec.at.tag).max(-1);
    facts
}

/// `MPI_Probe` and `MPI_Mprobe`.
pub(super) fn probe(call: &mut Call<'_>) {
    let facts = wanted(call);
    let mut spare = Status::new();
    call.use_status(call.spec.at.status, &mut spare);
    let mut range = call.begin(facts, b"", call.communicator());
    let code = call.go();
    found(call, &mut range, facts, code);
}

/// `MPI_Iprobe` and `MPI_Improbe`.
pub(super) fn test_probe(call: &mut Call<'_>) {
    let facts = wanted(call);
    let mut spare = Status::new();
    call.use_status(call.spec.at.status, &mut spare);
    let code = call.go();
    if code == 0 && call.result_int(call.spec.at.flag, 0) == 0 {
        return add_polls();
    }
    let mut range = call.begin(facts, b"", call.communicator());
    take_polls(&mut range);
    found(call, &mut range, facts, code);
}

fn found(call: &Call<'_>, range: &mut Range, facts: Comm, code: c_int) {
    if code == 0 {
        received(call, range);
        let message = call.handle_at(call.spec.at.message, 0, FortranHandle::Message);
        if library().is_message(message) {
            // SAFETY: the call has succeeded and filled the status.
            let received = unsafe { library().received(call.raw(call.spec.at.status)) };
            requests::add_message(message, Comm { peer: received.source, tag: received.tag, ..facts });
        }
    }
    range.check(code);
}
