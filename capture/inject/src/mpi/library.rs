//! The MPI library of this process: which one it is, its constants, and questions to it.
//!
//! Handles are pointers in Open MPI and 32-bit integers in MPICH and its relatives (Intel MPI, MVAPICH, Cray MPICH,
//! ParaStation); here they are `u64`. Questions go to the `PMPI_` names, which never come back to us.

use std::ffi::{c_char, c_int};
use std::sync::OnceLock;

use crate::symbols::{Symbol, base_of, object};

/// Part of the file name of every MPI library.
pub(super) const IMAGE: &str = "libmpi";

/// Bytes of room for a status; both libraries' are smaller.
pub(super) const STATUS_ROOM: usize = 64;

/// What a peer is that stands for any sender, in what is recorded.
pub(super) const ANY: i32 = -2;

/// Calls a `PMPI_` function with integers for arguments and says whether it succeeded; `false` too where it is missing.
macro_rules! ask {
    ($name:literal $(, $argument:expr)*) => {{
        static SYMBOL: crate::symbols::Symbol =
            crate::symbols::Symbol::new(concat!("PMPI_", $name, "\0"), crate::mpi::library::IMAGE);
        match SYMBOL.get() {
            // SAFETY: the symbol is an MPI function with this many arguments, each an integer or pointer, which all
            // travel in registers of full width; the caller passes valid handles and places to write to.
            Some(address) => unsafe {
                type Function = unsafe extern "C-unwind" fn($(ask!(@one $argument)),*) -> std::ffi::c_int;
                let function: Function = std::mem::transmute(address);
                function($($argument as usize),*) == 0
            },
            None => false,
        }
    }};
    (@one $argument:expr) => { usize };
}
pub(super) use ask;

/// Which family of libraries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flavour {
    OpenMpi,
    Mpich,
}

/// Constants of the library.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) flavour: Flavour,
    pub(super) world: u64,
    pub(super) own: u64,
    pub(super) byte: u64,
    comm_null: u64,
    datatype_null: u64,
    request_null: u64,
    message_no_proc: u64,
    message_null: u64,
    pub(super) any_source: i32,
    /// Root of an intercommunicator's rooted collective.
    pub(super) root: i32,
    in_place: usize,
    /// Fortran's place that means "in place"; 0 where the Fortran library is not there.
    fortran_in_place: [usize; 2],
    /// Address that means "no status".
    status_ignore: usize,
    fortran_status_ignore: [usize; 4],
    /// Bytes of a status, of a handle.
    pub(super) status_bytes: usize,
    handle_bytes: usize,
    /// Where the sender's rank and the tag lie in a status.
    source_at: usize,
    tag_at: usize,
    cart: c_int,
    graph: c_int,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Facts of the library.
#[inline(always)]
pub(super) fn library() -> &'static Library {
    LIBRARY.get_or_init(Library::find)
}

impl Library {
    fn find() -> Library {
        let symbol = |name: &'static str| object(name).unwrap_or(0);
        // A Fortran library keeps some of its constants in variables, set when MPI is initialised.
        let variable = |name: &'static str| match symbol(name) {
            0 => 0,
            // SAFETY: a variable of the library that holds an address.
            place => unsafe { (place as *const usize).read() },
        };
        let world = symbol("ompi_mpi_comm_world\0");
        if world != 0 {
            return Library {
                flavour: Flavour::OpenMpi,
                world: world as u64,
                own: symbol("ompi_mpi_comm_self\0") as u64,
                byte: symbol("ompi_mpi_byte\0") as u64,
                comm_null: symbol("ompi_mpi_comm_null\0") as u64,
                datatype_null: symbol("ompi_mpi_datatype_null\0") as u64,
                request_null: symbol("ompi_request_null\0") as u64,
                message_no_proc: symbol("ompi_message_no_proc\0") as u64,
                message_null: symbol("ompi_message_null\0") as u64,
                any_source: -1,
                root: -4,
                in_place: 1,
                fortran_in_place: [symbol("mpi_fortran_in_place_\0"), 0],
                status_ignore: 0,
                fortran_status_ignore: [
                    symbol("mpi_fortran_status_ignore_\0"),
                    symbol("mpi_fortran_statuses_ignore_\0"),
                    0,
                    0,
                ],
                status_bytes: 24,
                handle_bytes: 8,
                source_at: 0,
                tag_at: 4,
                cart: 1,
                graph: 2,
            };
        }
        Library {
            flavour: Flavour::Mpich,
            world: 0x4400_0000,
            own: 0x4400_0001,
            byte: 0x4c00_010d,
            comm_null: 0x0400_0000,
            datatype_null: 0x0c00_0000,
            request_null: 0x2c00_0000,
            message_no_proc: 0x6c00_0000,
            message_null: 0x2c00_0000,
            any_source: -2,
            root: -3,
            in_place: usize::MAX,
            fortran_in_place: [variable("MPIR_F_MPI_IN_PLACE\0"), symbol("MPIR_F08_MPI_IN_PLACE\0")],
            status_ignore: 1,
            fortran_status_ignore: [
                variable("MPI_F_STATUS_IGNORE\0"),
                variable("MPI_F_STATUSES_IGNORE\0"),
                symbol("MPIR_F08_MPI_STATUS_IGNORE_OBJ\0"),
                symbol("MPIR_F08_MPI_STATUSES_IGNORE_OBJ\0"),
            ],
            status_bytes: 20,
            handle_bytes: 4,
            source_at: 8,
            tag_at: 12,
            cart: 2,
            graph: 1,
        }
    }

    /// A handle that came as an argument.
    #[inline(always)]
    pub(super) fn handle(&self, argument: usize) -> u64 {
        match self.flavour {
            Flavour::OpenMpi => argument as u64,
            // Only the lower half of the register means something.
            Flavour::Mpich => u64::from(argument as u32),
        }
    }

    /// The handle that lies at an address.
    ///
    /// # Safety
    /// A handle of the library lies there.
    #[inline(always)]
    pub(super) unsafe fn handle_at(&self, address: usize) -> u64 {
        // SAFETY: by this function's own contract.
        unsafe {
            match self.flavour {
                Flavour::OpenMpi => (address as *const u64).read_unaligned(),
                Flavour::Mpich => u64::from((address as *const u32).read_unaligned()),
            }
        }
    }

    /// The bytes of `count` handles.
    pub(super) fn handle_bytes(&self) -> usize {
        self.handle_bytes
    }

    pub(super) fn is_comm(&self, handle: u64) -> bool {
        handle != self.comm_null && handle != 0
    }

    pub(super) fn is_request(&self, handle: u64) -> bool {
        handle != self.request_null && handle != 0
    }

    pub(super) fn is_message(&self, handle: u64) -> bool {
        handle != self.message_null && handle != self.message_no_proc && handle != 0
    }

    /// Whether a data type is the library's own, so that it is always safe to ask about it.
    pub(super) fn is_own_datatype(&self, handle: u64) -> bool {
        match self.flavour {
            _ if handle == self.datatype_null || handle == 0 => false,
            // Its own types are variables of the library (or copies of them in the program), others lie on the heap.
            Flavour::OpenMpi => base_of(handle as usize).is_some(),
            // The upper two bits say "built in", the next four "data type"; value-and-index pairs are five more.
            Flavour::Mpich => handle >> 26 == 0b01_0011 || (0x8c00_0000..0x8c00_0005).contains(&handle),
        }
    }

    pub(super) fn is_datatype(&self, handle: u64) -> bool {
        handle != self.datatype_null && handle != 0
    }

    pub(super) fn is_in_place(&self, buffer: usize, fortran: bool) -> bool {
        if fortran { buffer != 0 && self.fortran_in_place.contains(&buffer) } else { buffer == self.in_place }
    }

    /// Whether an address of a status or of an array of them stands for "none wanted".
    pub(super) fn ignores_status(&self, status: usize, fortran: bool) -> bool {
        status == self.status_ignore || status == 0 || (fortran && self.fortran_status_ignore.contains(&status))
    }

    /// The peer as it is recorded: -1 for none, [`ANY`] for any sender.
    #[inline(always)]
    pub(super) fn peer(&self, rank: i32) -> i32 {
        if rank >= 0 {
            rank
        } else if rank == self.any_source {
            ANY
        } else {
            -1
        }
    }

    /// Sender, tag and bytes of a received message.
    ///
    /// # Safety
    /// A status that MPI has filled lies at the address.
    pub(super) unsafe fn received(&self, status: usize) -> Received {
        // SAFETY: by this function's own contract; the offsets lie within a status.
        let (source, tag) = unsafe {
            (
                ((status + self.source_at) as *const i32).read_unaligned(),
                ((status + self.tag_at) as *const i32).read_unaligned(),
            )
        };
        let mut bytes: i64 = 0;
        let known = ask!("Get_elements_x", status, self.byte, &raw mut bytes);
        Received { source: self.peer(source), tag, bytes: if known { u64::try_from(bytes).ok() } else { None } }
    }

    /// Ranks that this rank sends to in a communicator's topology.
    pub(super) fn neighbours(&self, comm: u64, rank: i32) -> u64 {
        self.topology(comm, rank).1
    }

    /// Ranks that it hears from.
    pub(super) fn neighbours_in(&self, comm: u64, rank: i32) -> u64 {
        self.topology(comm, rank).0
    }

    fn topology(&self, comm: u64, rank: i32) -> (u64, u64) {
        let mut kind: c_int = 0;
        // A communicator without a topology has an "undefined", negative, one.
        if !ask!("Topo_test", comm, &raw mut kind) || kind < 0 {
            return (0, 0);
        }
        let (mut number, mut inward): (c_int, c_int) = (0, -1);
        if kind == self.cart {
            ask!("Cartdim_get", comm, &raw mut number);
            number *= 2;
        } else if kind == self.graph {
            ask!("Graph_neighbors_count", comm, rank, &raw mut number);
        } else {
            let mut weighted: c_int = 0;
            ask!("Dist_graph_neighbors_count", comm, &raw mut inward, &raw mut number, &raw mut weighted);
        }
        let (number, inward) = (u64::try_from(number).unwrap_or(0), u64::try_from(inward).ok());
        (inward.unwrap_or(number), number)
    }

    /// The handle behind one of Fortran.
    pub(super) fn behind_fortran(&self, what: FortranHandle, handle: i32) -> u64 {
        if self.flavour == Flavour::Mpich {
            return u64::from(handle as u32);
        }
        static COMM: Symbol = Symbol::new("PMPI_Comm_f2c\0", IMAGE);
        static DATATYPE: Symbol = Symbol::new("PMPI_Type_f2c\0", IMAGE);
        static REQUEST: Symbol = Symbol::new("PMPI_Request_f2c\0", IMAGE);
        static MESSAGE: Symbol = Symbol::new("PMPI_Message_f2c\0", IMAGE);
        let symbol = match what {
            FortranHandle::Comm => &COMM,
            FortranHandle::Datatype => &DATATYPE,
            FortranHandle::Request => &REQUEST,
            FortranHandle::Message => &MESSAGE,
        };
        let Some(address) = symbol.get() else { return 0 };
        // SAFETY: these functions take a Fortran handle and give a C handle, which is a pointer in this library.
        unsafe {
            let function: unsafe extern "C" fn(c_int) -> usize = std::mem::transmute(address);
            function(handle) as u64
        }
    }
}

/// Kinds of handles that Fortran passes as integers.
#[derive(Clone, Copy)]
pub(super) enum FortranHandle {
    Comm,
    Datatype,
    Request,
    Message,
}

/// What a status says.
pub(super) struct Received {
    pub(super) source: i32,
    pub(super) tag: i32,
    pub(super) bytes: Option<u64>,
}

impl Received {
    /// As facts of a record.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&'static str, i64)> + use<> {
        let bytes = self.bytes.map(|bytes| ("received_bytes", bytes as i64));
        bytes.into_iter().chain([("source", i64::from(self.source)), ("received_tag", i64::from(self.tag))])
    }
}

/// Whether questions about communicators may be asked.
pub(super) fn is_running() -> bool {
    let (mut begun, mut over): (c_int, c_int) = (0, 0);
    ask!("Initialized", &raw mut begun) && ask!("Finalized", &raw mut over) && begun != 0 && over == 0
}

/// A name that a function of the form `f(handle, char*, int*)` gives.
pub(super) fn text(write: impl FnOnce(*mut c_char, *mut c_int) -> bool) -> String {
    // MPI_MAX_LIBRARY_VERSION_STRING is 8192 at most.
    let mut buffer = vec![0u8; 8192];
    let mut len: c_int = 0;
    if !write(buffer.as_mut_ptr().cast(), &raw mut len) {
        return String::new();
    }
    let bytes = buffer.get(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
