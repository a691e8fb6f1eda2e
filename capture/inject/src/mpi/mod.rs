//! MPI, seen by standing in front of it: the exported `MPI_` functions of a preloaded image come before the library's,
//! and call its `PMPI_` ones. One image serves Open MPI and MPICH with their relatives, C and Fortran.
//!
//! [`table`] and [`fortran`] list the functions; [`spec`] makes of each prototype, at compile time, where its arguments
//! lie; everything else works on that.
//!
//! What is recorded of a call:
//! - A range of the calling thread with a [`Comm`]. `communicator` is a number of ours, as handles are used again;
//!   `members` is equal on all members and differs between communicators of the same members, whose order of creation
//!   is the same on all of them. Who they are stands in an info record, `mpi:communicator:HASH`.
//! - `peer` is a rank of the communicator, -1 for nobody, -2 for any sender. `bytes` of a receive are the room that it
//!   offers. The end of a receive's range has facts about what came: `received_bytes`, `source`, `received_tag`. Of a
//!   combined send and receive the [`Comm`] is the send, and the begin of its range has the facts `receive_peer`,
//!   `receive_tag` and `receive_bytes`.
//! - `bytes` of a collective: the buffer that the rank gives (broadcast, reductions), what it gives for itself
//!   (gather), what it sends to all (scatter at the root, all-to-all), what it receives (scatter elsewhere).
//! - A call that begins a request has the request's number in `request`; a [`Kind::CommDone`] with that number follows
//!   inside the wait or test that ended it, with the facts of a receive. Persistent requests get a number at each start;
//!   `MPI_Startall` holds one range `MPI_Start` per request.
//! - Tests and immediate probes leave a range only when they find something; `polls` says how often they were asked
//!   in vain before.
//! - `bytes` as a fact of a range's end is what the [`Comm`] does not have where a data type is seen for the first time.
//!   `new_communicator` is the number of the one that a call made, `error` the code that a failed call returned. It is
//!   passed on unchanged, like everything else.
//!
//! Calls of MPI from within MPI (a Fortran binding into the C one, MPI's own I/O) are not recorded twice.
//!
//! Limits: a program that asks through weak references whether a library has a function finds ours. So only functions
//! are exported that every MPI 3 library has, and large-count ones, which fall back to the plain ones. MPI 4's persistent
//! collectives, partitioned messages and sessions, one-sided communication and I/O are passed by.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU8, Ordering};

use gapless_ring::Facts;
use gapless_ring::layout::{AttrType, Class, Comm, Kind, Record};
use gapless_ring::reader::comm_slots;
use gapless_ring::writer::{self, Thread};

use self::communicators::Communicator;
use self::library::{FortranHandle, Received, library};
use self::spec::{Action, NONE, Spec};
use crate::pin::pin;
use crate::symbols::Symbol;

mod collectives;
mod communicators;
mod datatypes;
mod fortran;
mod library;
mod messages;
mod places;
mod process;
mod requests;
mod spec;
mod table;
mod waits;
mod wide;

/// What a call returns where no library has the function; "other error" in both families or next to it.
const MISSING: c_int = 16;

thread_local! {
    /// Whether the calling thread is inside a call of MPI that is being looked at.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// 0: not yet asked, 1: this process is recorded, 2: it is not.
static RECORDED: AtomicU8 = AtomicU8::new(0);

#[inline(always)]
fn is_recorded() -> bool {
    match RECORDED.load(Ordering::Relaxed) {
        0 => ask_recorded(),
        state => state == 1,
    }
}

#[cold]
fn ask_recorded() -> bool {
    let recorded = std::env::var_os(writer::RINGS_VARIABLE).is_some_and(|folder| !folder.is_empty());
    if recorded {
        pin();
    }
    RECORDED.store(if recorded { 1 } else { 2 }, Ordering::Relaxed);
    recorded
}

/// One function of the library.
struct Function {
    symbol: Symbol,
    /// The function with plain counts, for libraries that have no large ones.
    plain: Option<Symbol>,
}

/// While one lives, calls of MPI on this thread are MPI's own.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// What every exported function does. `forward` calls the function at an address with the arguments.
#[inline(always)]
fn run<const N: usize>(
    spec: &'static Spec,
    function: &Function,
    mut arguments: [usize; N],
    forward: fn(usize, [usize; N]) -> c_int,
) -> c_int {
    let (address, narrowed) = match function.symbol.get() {
        Some(address) => (address, None),
        None => match function.plain.as_ref().and_then(Symbol::get) {
            // The arguments differ in the width of numbers only.
            Some(address) => match wide::narrow(spec, &mut arguments) {
                Some(kept) => (address, Some(kept)),
                None => return wide::TOO_LARGE,
            },
            None => return MISSING,
        },
    };
    if INSIDE.get() || !is_recorded() {
        let code = forward(address, arguments);
        if spec.at.request != NONE {
            // Nobody sees the request's end, and MPI reads the arrays until then.
            narrowed.into_iter().flatten().for_each(|array| _ = Box::leak(array));
        }
        return code;
    }
    INSIDE.set(true);
    let _inside = Inside;
    let mut go = |arguments: &[usize]| match <[usize; N]>::try_from(arguments) {
        Ok(arguments) => forward(address, arguments),
        Err(_) => MISSING,
    };
    let wide = spec.wide && narrowed.is_none();
    Call { spec, arguments: &mut arguments, wide, kept: narrowed.unwrap_or_default(), go: &mut go, result: 0 }.run()
}

/// A call that is being looked at.
struct Call<'a> {
    spec: &'static Spec,
    arguments: &'a mut [usize],
    /// Counts are 64 bits wide in the arguments as they are now.
    wide: bool,
    /// Arrays that must live as long as the request.
    kept: Vec<Box<[i32]>>,
    go: &'a mut dyn FnMut(&[usize]) -> c_int,
    result: c_int,
}

impl Call<'_> {
    fn run(mut self) -> c_int {
        match self.spec.action {
            Action::Init => process::init(&mut self),
            Action::Plain => process::plain(&mut self),
            Action::TypeCommit => process::type_commit(&mut self),
            Action::TypeFree => process::type_free(&mut self),
            Action::Send | Action::Receive => messages::message(&mut self),
            Action::SendReceive => messages::send_receive(&mut self),
            Action::MatchedReceive => messages::matched_receive(&mut self),
            Action::Probe => messages::probe(&mut self),
            Action::TestProbe => messages::test_probe(&mut self),
            Action::Collective(volume) => collectives::collective(&mut self, volume),
            Action::Make | Action::MakeOfSome => collectives::make(&mut self),
            Action::Free => collectives::free(&mut self),
            Action::Start => waits::start(&mut self),
            Action::StartAll => waits::start_all(&mut self),
            Action::Wait => waits::wait(&mut self),
            Action::WaitAll | Action::WaitAny | Action::WaitSome => waits::wait_several(&mut self),
            Action::Test => waits::test(&mut self),
            Action::TestAll | Action::TestAny | Action::TestSome => waits::test_several(&mut self),
            Action::RequestFree => waits::free(&mut self),
        }
        self.result
    }

    /// Calls the library. Returns MPI's code.
    fn go(&mut self) -> c_int {
        if !self.spec.fortran {
            self.result = (self.go)(self.arguments);
            return self.result;
        }
        // A Fortran function's last argument is where its code goes; newer programs may leave it out.
        let mut spare: c_int = 0;
        let Some(last) = self.arguments.last_mut() else { return 0 };
        if *last == 0 {
            *last = (&raw mut spare) as usize;
        }
        let code = *last;
        (self.go)(self.arguments);
        // SAFETY: the address is the caller's place for the code or ours.
        unsafe { (code as *const c_int).read() }
    }

    /// The argument as it came; 0 where the function has none.
    #[inline(always)]
    fn raw(&self, at: u8) -> usize {
        self.arguments.get(at as usize).copied().unwrap_or(0)
    }

    /// A rank, tag or other plain number.
    #[inline(always)]
    fn int(&self, at: u8) -> i32 {
        let raw = self.raw(at);
        match self.spec.fortran {
            false => raw as i32,
            true if raw == 0 => 0,
            // SAFETY: Fortran passes the address of a number.
            true => unsafe { (raw as *const i32).read_unaligned() },
        }
    }

    /// A number of elements.
    #[inline(always)]
    fn count(&self, at: u8) -> u64 {
        let count = if self.wide { self.raw(at) as i64 } else { i64::from(self.int(at)) };
        u64::try_from(count).unwrap_or(0)
    }

    /// Element `index` of an array of counts.
    fn count_of(&self, at: u8, index: u64) -> u64 {
        let array = self.raw(at);
        if array == 0 {
            return 0;
        }
        // SAFETY: the caller of MPI gives an array of at least this many counts.
        let count = unsafe {
            match self.wide {
                true => (array as *const i64).add(index as usize).read_unaligned(),
                false => i64::from((array as *const i32).add(index as usize).read_unaligned()),
            }
        };
        u64::try_from(count).unwrap_or(0)
    }

    /// A handle.
    #[inline(always)]
    fn handle(&self, at: u8, what: FortranHandle) -> u64 {
        match self.spec.fortran {
            false => library().handle(self.raw(at)),
            true => self.handle_at(at, 0, what),
        }
    }

    /// Handle `index` of those that lie where the argument points; 0 where it points nowhere.
    #[inline(always)]
    fn handle_at(&self, at: u8, index: usize, what: FortranHandle) -> u64 {
        let address = self.address(at, index);
        if address == 0 {
            return 0;
        }
        // SAFETY: a handle of the library lies there, of Fortran an integer.
        unsafe {
            match self.spec.fortran {
                false => library().handle_at(address),
                true => library().behind_fortran(what, (address as *const i32).read_unaligned()),
            }
        }
    }

    /// Where handle `index` lies of those that the argument points to; 0 where it points nowhere.
    #[inline(always)]
    fn address(&self, at: u8, index: usize) -> usize {
        match self.raw(at) {
            0 => 0,
            first => first + index * if self.spec.fortran { 4 } else { library().handle_bytes() },
        }
    }

    /// A number that the library has written.
    fn result_int(&self, at: u8, index: usize) -> i32 {
        match self.raw(at) {
            0 => 0,
            // SAFETY: the argument is the address of at least this many numbers.
            address => unsafe { (address as *const i32).add(index).read_unaligned() },
        }
    }

    fn is_in_place(&self, at: u8) -> bool {
        at != NONE && library().is_in_place(self.raw(at), self.spec.fortran)
    }

    fn communicator(&self) -> Option<(u64, &'static Communicator)> {
        if self.spec.at.comm == NONE {
            return None;
        }
        let handle = self.handle(self.spec.at.comm, FortranHandle::Comm);
        communicators::find(handle).map(|communicator| (handle, communicator))
    }

    /// A place for a status: the job's own, else `spare`, so that what came is known where the job does not ask.
    fn use_status(&mut self, at: u8, spare: &mut Status) {
        if library().ignores_status(self.raw(at), self.spec.fortran)
            && let Some(argument) = self.arguments.get_mut(at as usize)
        {
            *argument = spare.0.as_mut_ptr() as usize;
        }
    }

    /// Begins the range of this call.
    #[inline(always)]
    fn begin(&self, facts: Comm, datatype: &[u8], communicator: Option<(u64, &Communicator)>) -> Range {
        Range::begin(self.spec.name, facts, datatype, communicator)
    }
}

/// Room for one status.
#[repr(align(8))]
struct Status([u8; library::STATUS_ROOM]);

impl Status {
    fn new() -> Status {
        Status([0; library::STATUS_ROOM])
    }
}

/// Facts of a communicator; no sequence.
#[inline(always)]
fn facts_of(communicator: Option<(u64, &Communicator)>) -> Comm {
    let mut facts = Comm { sequence: u64::MAX, peer: -1, tag: -1, rank: -1, ..Comm::default() };
    if let Some((_, communicator)) = communicator {
        facts.communicator = communicator.number.load(Ordering::Relaxed);
        facts.rank = communicator.rank.load(Ordering::Relaxed);
        facts.size = communicator.size.load(Ordering::Relaxed);
        facts.members = communicator.members.load(Ordering::Relaxed);
    }
    facts
}

/// Facts that one range may end with.
const MOST_FACTS: usize = 6;

/// An open range. It ends when it is dropped, which an exception thrown through MPI does too.
struct Range {
    open: bool,
    /// What is known of the call only at its end.
    facts: [(&'static str, i64); MOST_FACTS],
    facts_len: usize,
}

impl Range {
    #[inline(always)]
    fn begin(name: &str, facts: Comm, datatype: &[u8], communicator: Option<(u64, &Communicator)>) -> Range {
        Range::begin_with(name, facts, datatype, communicator, &[])
    }

    /// With facts for which a [`Comm`] has no place.
    #[inline(always)]
    fn begin_with(
        name: &str,
        mut facts: Comm,
        datatype: &[u8],
        communicator: Option<(u64, &Communicator)>,
        more: &[(&'static str, i64)],
    ) -> Range {
        let pushed = writer::with(|thread| {
            if let Some((handle, communicator)) = communicator {
                communicator.tell(handle, thread);
            }
            facts.dtype = if datatype.is_empty() { 0 } else { thread.name(datatype) };
            let name = thread.name(name.as_bytes());
            let class = Class::Communication as u8;
            let record = Record { kind: Kind::CommPush as u8, class, name, ..Record::default() };
            if thread.push_with(record, &comm_slots(&facts)) {
                for (key, value) in more {
                    let (name, payload) = (thread.name(key.as_bytes()), *value as u64);
                    let (kind, class) = (Kind::Attr as u8, AttrType::Signed as u8);
                    thread.put(Record { kind, class, name, payload, ..Record::default() }, &[]);
                }
            }
        });
        Range { open: pushed.is_some(), facts: [("", 0); MOST_FACTS], facts_len: 0 }
    }

    /// A fact about the range.
    fn fact(&mut self, key: &'static str, value: i64) {
        if let Some(place) = self.facts.get_mut(self.facts_len) {
            *place = (key, value);
            self.facts_len += 1;
        }
    }

    /// The fact that the call failed.
    #[inline(always)]
    fn check(&mut self, code: c_int) {
        if code != 0 {
            self.fact("error", i64::from(code));
        }
    }

    /// What came.
    fn received(&mut self, received: &Received) {
        for (key, value) in received.facts() {
            self.fact(key, value);
        }
    }
}

impl Drop for Range {
    #[inline(always)]
    fn drop(&mut self) {
        if self.open {
            let known = self.facts.get(..self.facts_len).unwrap_or_default();
            writer::with(|thread| match known {
                [] => thread.pop(),
                known => {
                    let mut facts = gather(thread, known.iter().copied());
                    thread.pop_facts(0, &mut facts);
                }
            });
        }
    }
}

fn gather(thread: &mut Thread, known: impl Iterator<Item = (&'static str, i64)>) -> Facts<'static> {
    let mut facts = Facts::default();
    for (key, value) in known {
        facts.attr(thread.name(key.as_bytes()), AttrType::Signed, value as u64);
    }
    facts
}

/// A request is complete.
fn write_done(number: u64, received: Option<&Received>) {
    writer::with(|thread| {
        let class = Class::Communication as u8;
        let name = thread.name(b"MPI request done");
        let record = Record { kind: Kind::CommDone as u8, class, name, payload: number, ..Record::default() };
        let mut facts = gather(thread, received.into_iter().flat_map(Received::facts));
        thread.put_facts(record, &mut facts);
    });
}
