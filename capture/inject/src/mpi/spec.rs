//! What each MPI function is, made at compile time from its prototype in the words of the standard.

/// What a function does, so what is recorded around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// `MPI_Init`, `MPI_Init_thread`.
    Init,
    /// Recorded as a range, nothing more.
    Plain,
    /// Sends a message, or makes a persistent request that will.
    Send,
    /// Receives one.
    Receive,
    /// Both at once.
    SendReceive,
    /// Receives a message that a matched probe found.
    MatchedReceive,
    /// Waits for a message without receiving it.
    Probe,
    /// Looks for one.
    TestProbe,
    /// A collective.
    Collective(Volume),
    /// Makes a communicator, collectively over `comm`.
    Make,
    /// Makes a communicator without all ranks of `comm`.
    MakeOfSome,
    /// Frees a communicator.
    Free,
    /// Starts a persistent request.
    Start,
    /// Starts several.
    StartAll,
    /// Waits for a request.
    Wait,
    /// Waits for all of several.
    WaitAll,
    /// Waits for one of several.
    WaitAny,
    /// Waits for at least one of several.
    WaitSome,
    /// Asks whether a request is complete.
    Test,
    /// Asks whether all of several are.
    TestAll,
    /// Asks for one of several.
    TestAny,
    /// Asks which of several are.
    TestSome,
    /// Gives a request up.
    RequestFree,
    /// Makes a data type ready for use.
    TypeCommit,
    /// Frees a data type.
    TypeFree,
}

/// Which arguments say how much a rank moves in a collective.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Volume {
    /// Nothing.
    Nothing,
    /// `count` of `datatype`: the buffer that each rank gives.
    Buffer,
    /// What this rank gives.
    Gather,
    /// What the root sends to all, what any other rank receives.
    Scatter,
    /// What this rank sends to all.
    AllToAll,
    /// The whole vector that this rank gives.
    ReduceScatter,
}

/// Stands for "this function has no such argument".
pub(super) const NONE: u8 = u8::MAX;

/// Places of the arguments.
#[derive(Debug)]
pub(super) struct Positions {
    pub(super) comm: u8,
    pub(super) count: u8,
    pub(super) datatype: u8,
    pub(super) dest: u8,
    pub(super) source: u8,
    pub(super) tag: u8,
    pub(super) sendtag: u8,
    pub(super) recvtag: u8,
    pub(super) root: u8,
    pub(super) request: u8,
    pub(super) requests: u8,
    pub(super) status: u8,
    pub(super) statuses: u8,
    pub(super) flag: u8,
    pub(super) index: u8,
    pub(super) outcount: u8,
    pub(super) indices: u8,
    pub(super) message: u8,
    pub(super) newcomm: u8,
    pub(super) sendbuf: u8,
    pub(super) sendcount: u8,
    pub(super) sendcounts: u8,
    pub(super) sdispls: u8,
    pub(super) sendtype: u8,
    pub(super) sendtypes: u8,
    pub(super) recvcount: u8,
    pub(super) recvcounts: u8,
    pub(super) rdispls: u8,
    pub(super) recvtype: u8,
    pub(super) recvtypes: u8,
    pub(super) displs: u8,
}

/// One function.
#[derive(Debug)]
pub(super) struct Spec {
    /// The name that is recorded: of a large-count or Fortran function that of the plain C one.
    pub(super) name: &'static str,
    pub(super) action: Action,
    pub(super) at: Positions,
    /// Counts are `MPI_Count`.
    pub(super) wide: bool,
    /// The arguments are Fortran's: addresses, and an error code at the end.
    pub(super) fortran: bool,
    /// Makes a request that is started later.
    pub(super) persistent: bool,
    /// A collective of neighbours in a topology.
    pub(super) neighbours: bool,
}

impl Spec {
    /// From the C name (with `_c` for large counts) and the names of the arguments.
    pub(super) const fn new(name: &'static str, args: &[&str], action: Action, fortran: bool) -> Spec {
        let wide = ends_with(name, "_c");
        let name = if wide { name.split_at(name.len() - 2).0 } else { name };
        let at = Positions {
            comm: place(args, "comm"),
            count: place(args, "count"),
            datatype: place(args, "datatype"),
            dest: place(args, "dest"),
            source: place(args, "source"),
            tag: place(args, "tag"),
            sendtag: place(args, "sendtag"),
            recvtag: place(args, "recvtag"),
            root: place(args, "root"),
            request: place(args, "request"),
            requests: place(args, "requests"),
            status: place(args, "status"),
            statuses: place(args, "statuses"),
            flag: place(args, "flag"),
            index: place(args, "index"),
            outcount: place(args, "outcount"),
            indices: place(args, "indices"),
            message: place(args, "message"),
            newcomm: place(args, "newcomm"),
            sendbuf: place(args, "sendbuf"),
            sendcount: place(args, "sendcount"),
            sendcounts: place(args, "sendcounts"),
            sdispls: place(args, "sdispls"),
            sendtype: place(args, "sendtype"),
            sendtypes: place(args, "sendtypes"),
            recvcount: place(args, "recvcount"),
            recvcounts: place(args, "recvcounts"),
            rdispls: place(args, "rdispls"),
            recvtype: place(args, "recvtype"),
            recvtypes: place(args, "recvtypes"),
            displs: place(args, "displs"),
        };
        let neighbours = contains(name, "eighbor_");
        Spec { name, action, at, wide, fortran, persistent: ends_with(name, "_init"), neighbours }
    }
}

const fn place(args: &[&str], wanted: &str) -> u8 {
    let mut rest = args;
    let mut index = 0;
    while let Some((first, after)) = rest.split_first() {
        if same(first.as_bytes(), wanted.as_bytes()) {
            return index;
        }
        rest = after;
        index += 1;
    }
    NONE
}

const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    loop {
        match (a.split_first(), b.split_first()) {
            (None, None) => return true,
            (Some((x, rest_a)), Some((y, rest_b))) if *x == *y => (a, b) = (rest_a, rest_b),
            _ => return false,
        }
    }
}

const fn ends_with(text: &str, end: &str) -> bool {
    text.len() >= end.len() && same(text.as_bytes().split_at(text.len() - end.len()).1, end.as_bytes())
}

const fn contains(text: &str, part: &str) -> bool {
    let mut rest = text.as_bytes();
    while rest.len() >= part.len() {
        if same(rest.split_at(part.len()).0, part.as_bytes()) {
            return true;
        }
        rest = rest.split_at(1).1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_from_the_prototype() {
        const SPEC: Spec = Spec::new(
            "MPI_Ineighbor_alltoallv_c",
            &["sendbuf", "sendcounts", "sdispls", "sendtype", "recvbuf", "comm", "request"],
            Action::Collective(Volume::AllToAll),
            false,
        );
        assert_eq!(SPEC.name, "MPI_Ineighbor_alltoallv");
        assert_eq!((SPEC.wide, SPEC.neighbours, SPEC.persistent), (true, true, false));
        assert_eq!((SPEC.at.sendcounts, SPEC.at.comm, SPEC.at.request), (1, 5, 6));
        assert_eq!((SPEC.at.sendcount, SPEC.at.root), (NONE, NONE));
    }
}
