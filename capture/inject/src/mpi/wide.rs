//! Large-count functions on libraries that do not have them.
//!
//! A program that refers to `MPI_Send_c` weakly finds ours and takes it for the library's. So ours must work on every
//! library: where counts fit into an `int`, the plain function does the same.

use std::ffi::c_int;

use super::library::{ask, library};
use super::spec::{NONE, Spec};

/// `MPI_ERR_COUNT` of both families of libraries.
pub(super) const TOO_LARGE: c_int = 2;

/// Turns the arguments of a large-count function into those of the plain one. Gives the arrays that replace the
/// caller's; `None` where a number does not fit.
#[cold]
pub(super) fn narrow(spec: &Spec, arguments: &mut [usize]) -> Option<Vec<Box<[i32]>>> {
    let at = &spec.at;
    for place in [at.count, at.sendcount, at.recvcount] {
        if let Some(&count) = arguments.get(place as usize) {
            i32::try_from(count as i64).ok()?;
        }
    }
    let arrays = [at.sendcounts, at.recvcounts, at.sdispls, at.rdispls, at.displs];
    if arrays.iter().all(|place| *place == NONE) {
        return Some(Vec::new());
    }
    let library = library();
    let argument = |place: u8| arguments.get(place as usize).copied().unwrap_or(0);
    let comm = library.handle(argument(at.comm));
    let (mut rank, mut size, mut inter): (c_int, c_int, c_int) = (0, 0, 0);
    if !library.is_comm(comm) || !ask!("Comm_rank", comm, &raw mut rank) {
        // The plain function says what is wrong; it does not read the arrays.
        return Some(Vec::new());
    }
    ask!("Comm_test_inter", comm, &raw mut inter);
    match inter {
        0 => ask!("Comm_size", comm, &raw mut size),
        _ => ask!("Comm_remote_size", comm, &raw mut size),
    };
    if at.root != NONE {
        let root = argument(at.root) as i32;
        // Elsewhere the arrays mean nothing, and need not even exist.
        if root != if inter == 0 { rank } else { library.root } {
            return Some(Vec::new());
        }
    }
    let mut number = usize::try_from(size).unwrap_or(0);
    if at.sendcounts == NONE && at.recvcounts != NONE && inter != 0 && at.datatype != NONE {
        // A reduce-scatter's counts are of its own side.
        ask!("Comm_size", comm, &raw mut size);
        number = usize::try_from(size).unwrap_or(0);
    }
    let (mut outgoing, mut incoming) = (number, number);
    if spec.neighbours {
        outgoing = library.neighbours(comm, rank) as usize;
        incoming = library.neighbours_in(comm, rank) as usize;
    }
    let in_place = library.is_in_place(argument(at.sendbuf), false);
    let mut kept = Vec::new();
    for place in arrays {
        let address = arguments.get(place as usize).copied().unwrap_or(0);
        let sends = place == at.sendcounts || place == at.sdispls || (place == at.displs && at.sendcounts != NONE);
        if address == 0 || (sends && in_place && at.root == NONE) {
            continue;
        }
        // The plain neighbour function with types of their own has displacements of full width already.
        if spec.neighbours && at.sendtypes != NONE && (place == at.sdispls || place == at.rdispls) {
            continue;
        }
        let number = if sends { outgoing } else { incoming };
        let plain: Option<Box<[i32]>> = (0..number)
            // SAFETY: the caller gives as many numbers as there are ranks to exchange with.
            .map(|index| i32::try_from(unsafe { (address as *const i64).add(index).read_unaligned() }).ok())
            .collect();
        let plain = plain?;
        if let Some(argument) = arguments.get_mut(place as usize) {
            *argument = plain.as_ptr() as usize;
        }
        kept.push(plain);
    }
    Some(kept)
}
