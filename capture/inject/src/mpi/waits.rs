//! Waits, tests and starts: what ends requests and begins persistent ones.

use std::cell::Cell;

use super::library::{FortranHandle, Received, library};
use super::requests::Done;
use super::spec::{Action, NONE};
use super::{Call, Range, Status, communicators, facts_of, requests, write_done};

thread_local! {
    /// Tests and probes of this thread that found nothing since the last that did.
    static POLLS: Cell<u32> = const { Cell::new(0) };
}

/// A test or probe has found nothing. Jobs do so in loops: that is counted, not recorded one by one.
pub(super) fn add_polls() {
    POLLS.set(POLLS.get().saturating_add(1));
}

/// Writes how many tests and probes came before the one that found something.
pub(super) fn take_polls(range: &mut Range) {
    let polls = POLLS.take();
    if polls > 0 {
        range.fact("polls", i64::from(polls));
    }
}

/// Writes that a request is complete; `status` is that of its message, 0 where there is none.
fn end(done: &Done, status: usize, fortran: bool) {
    if let Some(address) = done.makes {
        // SAFETY: the job keeps the place of the new communicator until the request is complete, which it is now.
        communicators::learn(unsafe { library().handle_at(address) });
    }
    if done.number == 0 {
        return;
    }
    let has_status = done.receives && !library().ignores_status(status, fortran);
    // SAFETY: the status belongs to this request, and MPI has filled it.
    let received: Option<Received> = has_status.then(|| unsafe { library().received(status) });
    write_done(done.number, received.as_ref());
}

/// `MPI_Wait`.
pub(super) fn wait(call: &mut Call<'_>) {
    let at = &call.spec.at;
    let (handle, address) = (call.handle_at(at.request, 0, FortranHandle::Request), call.address(at.request, 0));
    let done = if library().is_request(handle) { requests::complete(handle, address) } else { None };
    let mut facts = facts_of(None);
    facts.request = done.as_ref().map_or(0, |done| done.number);
    let mut spare = Status::new();
    call.use_status(at.status, &mut spare);
    let mut range = call.begin(facts, b"", None);
    let code = call.go();
    if let Some(done) = done {
        match code {
            0 => end(&done, call.raw(at.status), call.spec.fortran),
            _ => requests::restore(handle, address, done),
        }
    }
    range.check(code);
}

/// `MPI_Test`.
pub(super) fn test(call: &mut Call<'_>) {
    let at = &call.spec.at;
    let (handle, address) = (call.handle_at(at.request, 0, FortranHandle::Request), call.address(at.request, 0));
    let mut spare = Status::new();
    call.use_status(at.status, &mut spare);
    let code = call.go();
    if code == 0 && call.result_int(at.flag, 0) == 0 {
        return add_polls();
    }
    let done = if code == 0 && library().is_request(handle) { requests::complete(handle, address) } else { None };
    let mut facts = facts_of(None);
    facts.request = done.as_ref().map_or(0, |done| done.number);
    let mut range = call.begin(facts, b"", None);
    take_polls(&mut range);
    if let Some(done) = done {
        end(&done, call.raw(at.status), call.spec.fortran);
    }
    range.check(code);
}

/// Handles of an array of requests before a call sets them to "none", and a place for their statuses.
struct Several {
    handles: Vec<u64>,
    spare: Vec<u64>,
}

impl Several {
    fn of(call: &mut Call<'_>) -> Several {
        let at = &call.spec.at;
        let number = usize::try_from(call.int(at.count)).unwrap_or(0);
        let handles = (0..number).map(|index| call.handle_at(at.requests, index, FortranHandle::Request)).collect();
        let mut several = Several { handles, spare: Vec::new() };
        let unasked = at.statuses != NONE && library().ignores_status(call.raw(at.statuses), call.spec.fortran);
        if unasked && let Some(argument) = call.arguments.get_mut(at.statuses as usize) {
            several.spare = vec![0; (number * library().status_bytes).div_ceil(8)];
            *argument = several.spare.as_mut_ptr() as usize;
        }
        several
    }

    /// Ends the request at `index` of the array, whose status is number `status`.
    fn end(&self, call: &Call<'_>, index: usize, status: usize) {
        let Some(&handle) = self.handles.get(index) else { return };
        if !library().is_request(handle) {
            return;
        }
        let Some(done) = requests::complete(handle, call.address(call.spec.at.requests, index)) else { return };
        let status = match call.raw(call.spec.at.statuses) {
            0 => call.raw(call.spec.at.status),
            first => first + status * library().status_bytes,
        };
        end(&done, status, call.spec.fortran);
    }

    /// Ends what the call has completed.
    fn end_all(&self, call: &Call<'_>) {
        let at = &call.spec.at;
        // Fortran counts from one.
        let base = i32::from(call.spec.fortran);
        match call.spec.action {
            Action::WaitAny | Action::TestAny => {
                let counted = call.result_int(at.index, 0);
                // The module `mpi_f08` of MPICH 4.0 counts from zero here; the request that is gone tells.
                let misses = |index: i32| {
                    let Ok(index) = usize::try_from(index) else { return false };
                    self.handles.get(index).is_some_and(|handle| library().is_request(*handle))
                        && !library().is_request(call.handle_at(at.requests, index, FortranHandle::Request))
                };
                let index =
                    if base > 0 && !misses(counted - base) && misses(counted) { counted } else { counted - base };
                if let Ok(index) = usize::try_from(index) {
                    self.end(call, index, 0);
                }
            }
            Action::WaitSome | Action::TestSome => {
                for number in 0..usize::try_from(call.result_int(at.outcount, 0)).unwrap_or(0) {
                    if let Ok(index) = usize::try_from(call.result_int(at.indices, number) - base) {
                        self.end(call, index, number);
                    }
                }
            }
            _ => (0..self.handles.len()).for_each(|index| self.end(call, index, index)),
        }
    }
}

/// `MPI_Waitall`, `MPI_Waitany`, `MPI_Waitsome`.
pub(super) fn wait_several(call: &mut Call<'_>) {
    let several = Several::of(call);
    let mut spare = Status::new();
    call.use_status(call.spec.at.status, &mut spare);
    let mut facts = facts_of(None);
    facts.count = several.handles.len() as u64;
    let mut range = call.begin(facts, b"", None);
    let code = call.go();
    if code == 0 {
        several.end_all(call);
    }
    range.check(code);
}

/// `MPI_Testall`, `MPI_Testany`, `MPI_Testsome`.
pub(super) fn test_several(call: &mut Call<'_>) {
    let several = Several::of(call);
    let mut spare = Status::new();
    call.use_status(call.spec.at.status, &mut spare);
    let code = call.go();
    let at = &call.spec.at;
    let nothing = match call.spec.action {
        // "Undefined" (a negative number) means that no request was active at all.
        Action::TestSome => call.result_int(at.outcount, 0) == 0,
        _ => call.result_int(at.flag, 0) == 0,
    };
    if code == 0 && nothing {
        return add_polls();
    }
    let mut facts = facts_of(None);
    facts.count = several.handles.len() as u64;
    let mut range = call.begin(facts, b"", None);
    take_polls(&mut range);
    if code == 0 {
        several.end_all(call);
    }
    range.check(code);
}

/// `MPI_Start`.
pub(super) fn start(call: &mut Call<'_>) {
    let at = &call.spec.at;
    let (handle, address) = (call.handle_at(at.request, 0, FortranHandle::Request), call.address(at.request, 0));
    let mut range = begin_start(handle, address);
    let code = call.go();
    range.check(code);
}

fn begin_start(handle: u64, address: usize) -> Range {
    match requests::start(handle, address) {
        Some((number, what)) => {
            let mut facts = what.facts;
            facts.request = number;
            Range::begin("MPI_Start", facts, what.datatype, what.communicator)
        }
        None => Range::begin("MPI_Start", facts_of(None), b"", None),
    }
}

/// `MPI_Startall`: a range for each request, within the call's own.
pub(super) fn start_all(call: &mut Call<'_>) {
    let at = &call.spec.at;
    let number = usize::try_from(call.int(at.count)).unwrap_or(0);
    let mut facts = facts_of(None);
    facts.count = number as u64;
    let mut range = call.begin(facts, b"", None);
    for index in 0..number {
        let handle = call.handle_at(at.requests, index, FortranHandle::Request);
        drop(begin_start(handle, call.address(at.requests, index)));
    }
    let code = call.go();
    range.check(code);
}

/// `MPI_Request_free`: nobody will be told of its end.
pub(super) fn free(call: &mut Call<'_>) {
    let at = &call.spec.at;
    requests::forget(call.handle_at(at.request, 0, FortranHandle::Request), call.address(at.request, 0));
    call.go();
}
