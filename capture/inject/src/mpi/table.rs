//! The C functions, by their prototypes.
//!
//! A row is a name, the names of the arguments, and what the function does; positions follow from the names, for which
//! those that the standard uses were made alike (`comm_old` is `comm`, `array_of_requests` is `requests`). Of a
//! large-count function, the plain one that takes its place follows.

use std::ffi::c_int;

use super::spec::Action::*;
use super::spec::Spec;
use super::spec::Volume::*;
use super::{Function, run};
use crate::mpi::library::IMAGE;
use crate::symbols::Symbol;

/// One exported function per row. Arguments are integers of full width, whatever they are in C: all of them are numbers,
/// handles and pointers, which travel in the same registers.
macro_rules! functions {
    ($($name:ident($($argument:ident),*) $action:ident $(($volume:ident))? $(, else $plain:ident)?;)*) => {$(
        // SAFETY: the name is MPI's, and the function takes and gives what MPI's does.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: usize),*) -> c_int {
            const SPEC: &Spec =
                &Spec::new(stringify!($name), &[$(stringify!($argument)),*], $action $(($volume))?, false);
            static FUNCTION: Function = Function {
                symbol: Symbol::new(concat!("P", stringify!($name), "\0"), IMAGE),
                plain: plain!($($plain)?),
            };
            run(SPEC, &FUNCTION, [$($argument),*], |address, [$($argument),*]| {
                // SAFETY: the address is that of MPI's function of this name, with as many arguments.
                unsafe {
                    let function: unsafe extern "C-unwind" fn($(one!($argument)),*) -> c_int =
                        std::mem::transmute(address);
                    function($($argument),*)
                }
            })
        }
    )*};
}

macro_rules! one {
    ($argument:ident) => {
        usize
    };
}

macro_rules! plain {
    () => {
        None
    };
    ($plain:ident) => {
        Some(Symbol::new(concat!("P", stringify!($plain), "\0"), IMAGE))
    };
}

functions! {
    // Begin and end. `MPI_Abort` does not come back.
    MPI_Init(argc, argv) Init;
    MPI_Init_thread(argc, argv, required, provided) Init;
    MPI_Finalize() Plain;
    MPI_Abort(comm, errorcode) Plain;
    // Messages.
    MPI_Send(buf, count, datatype, dest, tag, comm) Send;
    MPI_Send_c(buf, count, datatype, dest, tag, comm) Send, else MPI_Send;
    MPI_Bsend(buf, count, datatype, dest, tag, comm) Send;
    MPI_Bsend_c(buf, count, datatype, dest, tag, comm) Send, else MPI_Bsend;
    MPI_Ssend(buf, count, datatype, dest, tag, comm) Send;
    MPI_Ssend_c(buf, count, datatype, dest, tag, comm) Send, else MPI_Ssend;
    MPI_Rsend(buf, count, datatype, dest, tag, comm) Send;
    MPI_Rsend_c(buf, count, datatype, dest, tag, comm) Send, else MPI_Rsend;
    MPI_Recv(buf, count, datatype, source, tag, comm, status) Receive;
    MPI_Recv_c(buf, count, datatype, source, tag, comm, status) Receive, else MPI_Recv;
    MPI_Isend(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Isend_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Isend;
    MPI_Ibsend(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Ibsend_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Ibsend;
    MPI_Issend(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Issend_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Issend;
    MPI_Irsend(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Irsend_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Irsend;
    MPI_Irecv(buf, count, datatype, source, tag, comm, request) Receive;
    MPI_Irecv_c(buf, count, datatype, source, tag, comm, request) Receive, else MPI_Irecv;
    MPI_Send_init(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Send_init_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Send_init;
    MPI_Bsend_init(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Bsend_init_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Bsend_init;
    MPI_Ssend_init(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Ssend_init_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Ssend_init;
    MPI_Rsend_init(buf, count, datatype, dest, tag, comm, request) Send;
    MPI_Rsend_init_c(buf, count, datatype, dest, tag, comm, request) Send, else MPI_Rsend_init;
    MPI_Recv_init(buf, count, datatype, source, tag, comm, request) Receive;
    MPI_Recv_init_c(buf, count, datatype, source, tag, comm, request) Receive, else MPI_Recv_init;
    MPI_Sendrecv(sendbuf, sendcount, sendtype, dest, sendtag, recvbuf, recvcount, recvtype, source, recvtag, comm, status) SendReceive;
    MPI_Sendrecv_c(sendbuf, sendcount, sendtype, dest, sendtag, recvbuf, recvcount, recvtype, source, recvtag, comm, status) SendReceive, else MPI_Sendrecv;
    MPI_Sendrecv_replace(buf, count, datatype, dest, sendtag, source, recvtag, comm, status) SendReceive;
    MPI_Sendrecv_replace_c(buf, count, datatype, dest, sendtag, source, recvtag, comm, status) SendReceive, else MPI_Sendrecv_replace;
    MPI_Probe(source, tag, comm, status) Probe;
    MPI_Iprobe(source, tag, comm, flag, status) TestProbe;
    MPI_Mprobe(source, tag, comm, message, status) Probe;
    MPI_Improbe(source, tag, comm, flag, message, status) TestProbe;
    MPI_Mrecv(buf, count, datatype, message, status) MatchedReceive;
    MPI_Mrecv_c(buf, count, datatype, message, status) MatchedReceive, else MPI_Mrecv;
    MPI_Imrecv(buf, count, datatype, message, request) MatchedReceive;
    MPI_Imrecv_c(buf, count, datatype, message, request) MatchedReceive, else MPI_Imrecv;
    // Requests.
    MPI_Start(request) Start;
    MPI_Startall(count, requests) StartAll;
    MPI_Wait(request, status) Wait;
    MPI_Waitall(count, requests, statuses) WaitAll;
    MPI_Waitany(count, requests, index, status) WaitAny;
    MPI_Waitsome(count, requests, outcount, indices, statuses) WaitSome;
    MPI_Test(request, flag, status) Test;
    MPI_Testall(count, requests, flag, statuses) TestAll;
    MPI_Testany(count, requests, index, flag, status) TestAny;
    MPI_Testsome(count, requests, outcount, indices, statuses) TestSome;
    MPI_Request_free(request) RequestFree;
    // Collectives, each with the form that does not block.
    MPI_Barrier(comm) Collective(Nothing);
    MPI_Ibarrier(comm, request) Collective(Nothing);
    MPI_Bcast(buffer, count, datatype, root, comm) Collective(Buffer);
    MPI_Bcast_c(buffer, count, datatype, root, comm) Collective(Buffer), else MPI_Bcast;
    MPI_Ibcast(buffer, count, datatype, root, comm, request) Collective(Buffer);
    MPI_Ibcast_c(buffer, count, datatype, root, comm, request) Collective(Buffer), else MPI_Ibcast;
    MPI_Reduce(sendbuf, recvbuf, count, datatype, op, root, comm) Collective(Buffer);
    MPI_Reduce_c(sendbuf, recvbuf, count, datatype, op, root, comm) Collective(Buffer), else MPI_Reduce;
    MPI_Ireduce(sendbuf, recvbuf, count, datatype, op, root, comm, request) Collective(Buffer);
    MPI_Ireduce_c(sendbuf, recvbuf, count, datatype, op, root, comm, request) Collective(Buffer), else MPI_Ireduce;
    MPI_Allreduce(sendbuf, recvbuf, count, datatype, op, comm) Collective(Buffer);
    MPI_Allreduce_c(sendbuf, recvbuf, count, datatype, op, comm) Collective(Buffer), else MPI_Allreduce;
    MPI_Iallreduce(sendbuf, recvbuf, count, datatype, op, comm, request) Collective(Buffer);
    MPI_Iallreduce_c(sendbuf, recvbuf, count, datatype, op, comm, request) Collective(Buffer), else MPI_Iallreduce;
    MPI_Scan(sendbuf, recvbuf, count, datatype, op, comm) Collective(Buffer);
    MPI_Scan_c(sendbuf, recvbuf, count, datatype, op, comm) Collective(Buffer), else MPI_Scan;
    MPI_Iscan(sendbuf, recvbuf, count, datatype, op, comm, request) Collective(Buffer);
    MPI_Iscan_c(sendbuf, recvbuf, count, datatype, op, comm, request) Collective(Buffer), else MPI_Iscan;
    MPI_Exscan(sendbuf, recvbuf, count, datatype, op, comm) Collective(Buffer);
    MPI_Exscan_c(sendbuf, recvbuf, count, datatype, op, comm) Collective(Buffer), else MPI_Exscan;
    MPI_Iexscan(sendbuf, recvbuf, count, datatype, op, comm, request) Collective(Buffer);
    MPI_Iexscan_c(sendbuf, recvbuf, count, datatype, op, comm, request) Collective(Buffer), else MPI_Iexscan;
    MPI_Reduce_scatter(sendbuf, recvbuf, recvcounts, datatype, op, comm) Collective(ReduceScatter);
    MPI_Reduce_scatter_c(sendbuf, recvbuf, recvcounts, datatype, op, comm) Collective(ReduceScatter), else MPI_Reduce_scatter;
    MPI_Ireduce_scatter(sendbuf, recvbuf, recvcounts, datatype, op, comm, request) Collective(ReduceScatter);
    MPI_Ireduce_scatter_c(sendbuf, recvbuf, recvcounts, datatype, op, comm, request) Collective(ReduceScatter), else MPI_Ireduce_scatter;
    MPI_Reduce_scatter_block(sendbuf, recvbuf, recvcount, datatype, op, comm) Collective(ReduceScatter);
    MPI_Reduce_scatter_block_c(sendbuf, recvbuf, recvcount, datatype, op, comm) Collective(ReduceScatter), else MPI_Reduce_scatter_block;
    MPI_Ireduce_scatter_block(sendbuf, recvbuf, recvcount, datatype, op, comm, request) Collective(ReduceScatter);
    MPI_Ireduce_scatter_block_c(sendbuf, recvbuf, recvcount, datatype, op, comm, request) Collective(ReduceScatter), else MPI_Ireduce_scatter_block;
    MPI_Gather(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm) Collective(Gather);
    MPI_Gather_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm) Collective(Gather), else MPI_Gather;
    MPI_Igather(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, request) Collective(Gather);
    MPI_Igather_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, request) Collective(Gather), else MPI_Igather;
    MPI_Gatherv(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, root, comm) Collective(Gather);
    MPI_Gatherv_c(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, root, comm) Collective(Gather), else MPI_Gatherv;
    MPI_Igatherv(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, root, comm, request) Collective(Gather);
    MPI_Igatherv_c(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, root, comm, request) Collective(Gather), else MPI_Igatherv;
    MPI_Scatter(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm) Collective(Scatter);
    MPI_Scatter_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm) Collective(Scatter), else MPI_Scatter;
    MPI_Iscatter(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, request) Collective(Scatter);
    MPI_Iscatter_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, request) Collective(Scatter), else MPI_Iscatter;
    MPI_Scatterv(sendbuf, sendcounts, displs, sendtype, recvbuf, recvcount, recvtype, root, comm) Collective(Scatter);
    MPI_Scatterv_c(sendbuf, sendcounts, displs, sendtype, recvbuf, recvcount, recvtype, root, comm) Collective(Scatter), else MPI_Scatterv;
    MPI_Iscatterv(sendbuf, sendcounts, displs, sendtype, recvbuf, recvcount, recvtype, root, comm, request) Collective(Scatter);
    MPI_Iscatterv_c(sendbuf, sendcounts, displs, sendtype, recvbuf, recvcount, recvtype, root, comm, request) Collective(Scatter), else MPI_Iscatterv;
    MPI_Allgather(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(Gather);
    MPI_Allgather_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(Gather), else MPI_Allgather;
    MPI_Iallgather(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(Gather);
    MPI_Iallgather_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(Gather), else MPI_Iallgather;
    MPI_Allgatherv(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm) Collective(Gather);
    MPI_Allgatherv_c(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm) Collective(Gather), else MPI_Allgatherv;
    MPI_Iallgatherv(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm, request) Collective(Gather);
    MPI_Iallgatherv_c(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm, request) Collective(Gather), else MPI_Iallgatherv;
    MPI_Alltoall(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(AllToAll);
    MPI_Alltoall_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(AllToAll), else MPI_Alltoall;
    MPI_Ialltoall(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(AllToAll);
    MPI_Ialltoall_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(AllToAll), else MPI_Ialltoall;
    MPI_Alltoallv(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm) Collective(AllToAll);
    MPI_Alltoallv_c(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm) Collective(AllToAll), else MPI_Alltoallv;
    MPI_Ialltoallv(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm, request) Collective(AllToAll);
    MPI_Ialltoallv_c(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm, request) Collective(AllToAll), else MPI_Ialltoallv;
    MPI_Alltoallw(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm) Collective(AllToAll);
    MPI_Alltoallw_c(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm) Collective(AllToAll), else MPI_Alltoallw;
    MPI_Ialltoallw(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm, request) Collective(AllToAll);
    MPI_Ialltoallw_c(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm, request) Collective(AllToAll), else MPI_Ialltoallw;
    // Collectives of neighbours in a topology.
    MPI_Neighbor_allgather(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(Gather);
    MPI_Neighbor_allgather_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(Gather), else MPI_Neighbor_allgather;
    MPI_Ineighbor_allgather(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(Gather);
    MPI_Ineighbor_allgather_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(Gather), else MPI_Ineighbor_allgather;
    MPI_Neighbor_allgatherv(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm) Collective(Gather);
    MPI_Neighbor_allgatherv_c(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm) Collective(Gather), else MPI_Neighbor_allgatherv;
    MPI_Ineighbor_allgatherv(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm, request) Collective(Gather);
    MPI_Ineighbor_allgatherv_c(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm, request) Collective(Gather), else MPI_Ineighbor_allgatherv;
    MPI_Neighbor_alltoall(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(AllToAll);
    MPI_Neighbor_alltoall_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm) Collective(AllToAll), else MPI_Neighbor_alltoall;
    MPI_Ineighbor_alltoall(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(AllToAll);
    MPI_Ineighbor_alltoall_c(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request) Collective(AllToAll), else MPI_Ineighbor_alltoall;
    MPI_Neighbor_alltoallv(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm) Collective(AllToAll);
    MPI_Neighbor_alltoallv_c(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm) Collective(AllToAll), else MPI_Neighbor_alltoallv;
    MPI_Ineighbor_alltoallv(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm, request) Collective(AllToAll);
    MPI_Ineighbor_alltoallv_c(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm, request) Collective(AllToAll), else MPI_Ineighbor_alltoallv;
    MPI_Neighbor_alltoallw(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm) Collective(AllToAll);
    MPI_Neighbor_alltoallw_c(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm) Collective(AllToAll), else MPI_Neighbor_alltoallw;
    MPI_Ineighbor_alltoallw(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm, request) Collective(AllToAll);
    MPI_Ineighbor_alltoallw_c(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm, request) Collective(AllToAll), else MPI_Ineighbor_alltoallw;
    // Communicators.
    MPI_Comm_dup(comm, newcomm) Make;
    MPI_Comm_dup_with_info(comm, info, newcomm) Make;
    MPI_Comm_idup(comm, newcomm, request) Make;
    MPI_Comm_split(comm, color, key, newcomm) Make;
    MPI_Comm_split_type(comm, split_type, key, info, newcomm) Make;
    MPI_Comm_create(comm, group, newcomm) Make;
    MPI_Comm_create_group(comm, group, tag, newcomm) MakeOfSome;
    MPI_Cart_create(comm, ndims, dims, periods, reorder, newcomm) Make;
    MPI_Cart_sub(comm, remain_dims, newcomm) Make;
    MPI_Graph_create(comm, nnodes, indices, edges, reorder, newcomm) Make;
    MPI_Dist_graph_create(comm, n, sources, degrees, destinations, weights, info, reorder, newcomm) Make;
    MPI_Dist_graph_create_adjacent(comm, indegree, sources, sourceweights, outdegree, destinations, destweights, info, reorder, newcomm) Make;
    MPI_Intercomm_create(comm, local_leader, peer_comm, remote_leader, tag, newcomm) Make;
    MPI_Intercomm_merge(comm, high, newcomm) Make;
    MPI_Comm_spawn(command, argv, maxprocs, info, root, comm, newcomm, errcodes) Make;
    MPI_Comm_spawn_multiple(number, commands, argvs, maxprocs, infos, root, comm, newcomm, errcodes) Make;
    MPI_Comm_accept(port_name, info, root, comm, newcomm) Make;
    MPI_Comm_connect(port_name, info, root, comm, newcomm) Make;
    MPI_Comm_join(fd, newcomm) MakeOfSome;
    MPI_Comm_free(comm) Free;
    MPI_Comm_disconnect(comm) Free;
    // Data types: only to know their sizes.
    MPI_Type_commit(datatype) TypeCommit;
    MPI_Type_free(datatype) TypeFree;
}
