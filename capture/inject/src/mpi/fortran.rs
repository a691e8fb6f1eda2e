//! The Fortran functions, by their prototypes.
//!
//! Open MPI's Fortran functions call the `PMPI_` ones of C, so that the C table does not see them, and its `mpi_f08`
//! module calls `ompi_send_f` and its like instead of `mpi_send_`. MPICH's call `MPI_` ones, which are then calls from
//! within MPI and are not recorded twice. All arguments are addresses. Rows are as in the C table, with the names
//! under which a function is called and the one under which it does its work; names are those of compilers that put one
//! underscore behind, as all current ones on Linux do.

use std::ffi::c_int;

use super::spec::Action::*;
use super::spec::Spec;
use super::spec::Volume::*;
use super::{Function, run};
use crate::mpi::library::IMAGE;
use crate::symbols::Symbol;

macro_rules! functions {
    ($(
        $c:ident $name:ident $inner:ident $real:ident($($argument:ident),*) $action:ident $(($volume:ident))?;
    )*) => {$(
        functions!(@one $c $name $real [$($argument),*] $action $(($volume))?);
        functions!(@one $c $inner $real [$($argument),*] $action $(($volume))?);
    )*};
    (@one $c:ident $name:ident $real:ident [$($argument:ident),*] $action:expr) => {
        // SAFETY: the name is that of MPI's Fortran interface, and the function takes what that takes.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: usize),*) {
            const SPEC: &Spec = &Spec::new(stringify!($c), &[$(stringify!($argument)),*], $action, true);
            static FUNCTION: Function =
                Function { symbol: Symbol::new(concat!(stringify!($real), "\0"), IMAGE), plain: None };
            run(SPEC, &FUNCTION, [$($argument),*], |address, [$($argument),*]| {
                // SAFETY: the address is that of MPI's Fortran function of this name, with as many arguments.
                unsafe {
                    let function: unsafe extern "C-unwind" fn($(one!($argument)),*) = std::mem::transmute(address);
                    function($($argument),*)
                }
                0 as c_int
            });
        }
    };
    (@one $c:ident $name:ident $real:ident [$($argument:ident),*] $action:ident ($volume:ident)) => {
        functions!(@one $c $name $real [$($argument),*] $action($volume));
    };
}

/// Functions without buffers of the module `mpi_f08`. MPICH's call the `PMPI_` ones of C.
macro_rules! modern {
    ($($c:ident $name:ident ($($argument:ident),*) $action:ident $(($volume:ident))?;)*) => {$(
        functions!(@one $c $name $name [$($argument),*] $action $(($volume))?);
    )*};
}

macro_rules! one {
    ($argument:ident) => {
        usize
    };
}

functions! {
    // Begin and end. `MPI_Abort` does not come back.
    MPI_Init mpi_init_ ompi_init_f pmpi_init_(ierror) Init;
    MPI_Init_thread mpi_init_thread_ ompi_init_thread_f pmpi_init_thread_(required, provided, ierror) Init;
    MPI_Finalize mpi_finalize_ ompi_finalize_f pmpi_finalize_(ierror) Plain;
    MPI_Abort mpi_abort_ ompi_abort_f pmpi_abort_(comm, errorcode, ierror) Plain;
    // Messages.
    MPI_Send mpi_send_ ompi_send_f pmpi_send_(buf, count, datatype, dest, tag, comm, ierror) Send;
    MPI_Bsend mpi_bsend_ ompi_bsend_f pmpi_bsend_(buf, count, datatype, dest, tag, comm, ierror) Send;
    MPI_Ssend mpi_ssend_ ompi_ssend_f pmpi_ssend_(buf, count, datatype, dest, tag, comm, ierror) Send;
    MPI_Rsend mpi_rsend_ ompi_rsend_f pmpi_rsend_(buf, count, datatype, dest, tag, comm, ierror) Send;
    MPI_Recv mpi_recv_ ompi_recv_f pmpi_recv_(buf, count, datatype, source, tag, comm, status, ierror) Receive;
    MPI_Isend mpi_isend_ ompi_isend_f pmpi_isend_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Ibsend mpi_ibsend_ ompi_ibsend_f pmpi_ibsend_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Issend mpi_issend_ ompi_issend_f pmpi_issend_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Irsend mpi_irsend_ ompi_irsend_f pmpi_irsend_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Irecv mpi_irecv_ ompi_irecv_f pmpi_irecv_(buf, count, datatype, source, tag, comm, request, ierror) Receive;
    MPI_Send_init mpi_send_init_ ompi_send_init_f pmpi_send_init_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Bsend_init mpi_bsend_init_ ompi_bsend_init_f pmpi_bsend_init_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Ssend_init mpi_ssend_init_ ompi_ssend_init_f pmpi_ssend_init_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Rsend_init mpi_rsend_init_ ompi_rsend_init_f pmpi_rsend_init_(buf, count, datatype, dest, tag, comm, request, ierror) Send;
    MPI_Recv_init mpi_recv_init_ ompi_recv_init_f pmpi_recv_init_(buf, count, datatype, source, tag, comm, request, ierror) Receive;
    MPI_Sendrecv mpi_sendrecv_ ompi_sendrecv_f pmpi_sendrecv_(sendbuf, sendcount, sendtype, dest, sendtag, recvbuf, recvcount, recvtype, source, recvtag, comm, status, ierror) SendReceive;
    MPI_Sendrecv_replace mpi_sendrecv_replace_ ompi_sendrecv_replace_f pmpi_sendrecv_replace_(buf, count, datatype, dest, sendtag, source, recvtag, comm, status, ierror) SendReceive;
    MPI_Probe mpi_probe_ ompi_probe_f pmpi_probe_(source, tag, comm, status, ierror) Probe;
    MPI_Iprobe mpi_iprobe_ ompi_iprobe_f pmpi_iprobe_(source, tag, comm, flag, status, ierror) TestProbe;
    MPI_Mprobe mpi_mprobe_ ompi_mprobe_f pmpi_mprobe_(source, tag, comm, message, status, ierror) Probe;
    MPI_Improbe mpi_improbe_ ompi_improbe_f pmpi_improbe_(source, tag, comm, flag, message, status, ierror) TestProbe;
    MPI_Mrecv mpi_mrecv_ ompi_mrecv_f pmpi_mrecv_(buf, count, datatype, message, status, ierror) MatchedReceive;
    MPI_Imrecv mpi_imrecv_ ompi_imrecv_f pmpi_imrecv_(buf, count, datatype, message, request, ierror) MatchedReceive;
    // Requests.
    MPI_Start mpi_start_ ompi_start_f pmpi_start_(request, ierror) Start;
    MPI_Startall mpi_startall_ ompi_startall_f pmpi_startall_(count, requests, ierror) StartAll;
    MPI_Wait mpi_wait_ ompi_wait_f pmpi_wait_(request, status, ierror) Wait;
    MPI_Waitall mpi_waitall_ ompi_waitall_f pmpi_waitall_(count, requests, statuses, ierror) WaitAll;
    MPI_Waitany mpi_waitany_ ompi_waitany_f pmpi_waitany_(count, requests, index, status, ierror) WaitAny;
    MPI_Waitsome mpi_waitsome_ ompi_waitsome_f pmpi_waitsome_(count, requests, outcount, indices, statuses, ierror) WaitSome;
    MPI_Test mpi_test_ ompi_test_f pmpi_test_(request, flag, status, ierror) Test;
    MPI_Testall mpi_testall_ ompi_testall_f pmpi_testall_(count, requests, flag, statuses, ierror) TestAll;
    MPI_Testany mpi_testany_ ompi_testany_f pmpi_testany_(count, requests, index, flag, status, ierror) TestAny;
    MPI_Testsome mpi_testsome_ ompi_testsome_f pmpi_testsome_(count, requests, outcount, indices, statuses, ierror) TestSome;
    MPI_Request_free mpi_request_free_ ompi_request_free_f pmpi_request_free_(request, ierror) RequestFree;
    // Collectives, each with the form that does not block.
    MPI_Barrier mpi_barrier_ ompi_barrier_f pmpi_barrier_(comm, ierror) Collective(Nothing);
    MPI_Ibarrier mpi_ibarrier_ ompi_ibarrier_f pmpi_ibarrier_(comm, request, ierror) Collective(Nothing);
    MPI_Bcast mpi_bcast_ ompi_bcast_f pmpi_bcast_(buffer, count, datatype, root, comm, ierror) Collective(Buffer);
    MPI_Ibcast mpi_ibcast_ ompi_ibcast_f pmpi_ibcast_(buffer, count, datatype, root, comm, request, ierror) Collective(Buffer);
    MPI_Reduce mpi_reduce_ ompi_reduce_f pmpi_reduce_(sendbuf, recvbuf, count, datatype, op, root, comm, ierror) Collective(Buffer);
    MPI_Ireduce mpi_ireduce_ ompi_ireduce_f pmpi_ireduce_(sendbuf, recvbuf, count, datatype, op, root, comm, request, ierror) Collective(Buffer);
    MPI_Allreduce mpi_allreduce_ ompi_allreduce_f pmpi_allreduce_(sendbuf, recvbuf, count, datatype, op, comm, ierror) Collective(Buffer);
    MPI_Iallreduce mpi_iallreduce_ ompi_iallreduce_f pmpi_iallreduce_(sendbuf, recvbuf, count, datatype, op, comm, request, ierror) Collective(Buffer);
    MPI_Scan mpi_scan_ ompi_scan_f pmpi_scan_(sendbuf, recvbuf, count, datatype, op, comm, ierror) Collective(Buffer);
    MPI_Iscan mpi_iscan_ ompi_iscan_f pmpi_iscan_(sendbuf, recvbuf, count, datatype, op, comm, request, ierror) Collective(Buffer);
    MPI_Exscan mpi_exscan_ ompi_exscan_f pmpi_exscan_(sendbuf, recvbuf, count, datatype, op, comm, ierror) Collective(Buffer);
    MPI_Iexscan mpi_iexscan_ ompi_iexscan_f pmpi_iexscan_(sendbuf, recvbuf, count, datatype, op, comm, request, ierror) Collective(Buffer);
    MPI_Reduce_scatter mpi_reduce_scatter_ ompi_reduce_scatter_f pmpi_reduce_scatter_(sendbuf, recvbuf, recvcounts, datatype, op, comm, ierror) Collective(ReduceScatter);
    MPI_Ireduce_scatter mpi_ireduce_scatter_ ompi_ireduce_scatter_f pmpi_ireduce_scatter_(sendbuf, recvbuf, recvcounts, datatype, op, comm, request, ierror) Collective(ReduceScatter);
    MPI_Reduce_scatter_block mpi_reduce_scatter_block_ ompi_reduce_scatter_block_f pmpi_reduce_scatter_block_(sendbuf, recvbuf, recvcount, datatype, op, comm, ierror) Collective(ReduceScatter);
    MPI_Ireduce_scatter_block mpi_ireduce_scatter_block_ ompi_ireduce_scatter_block_f pmpi_ireduce_scatter_block_(sendbuf, recvbuf, recvcount, datatype, op, comm, request, ierror) Collective(ReduceScatter);
    MPI_Gather mpi_gather_ ompi_gather_f pmpi_gather_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, ierror) Collective(Gather);
    MPI_Igather mpi_igather_ ompi_igather_f pmpi_igather_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, request, ierror) Collective(Gather);
    MPI_Gatherv mpi_gatherv_ ompi_gatherv_f pmpi_gatherv_(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, root, comm, ierror) Collective(Gather);
    MPI_Igatherv mpi_igatherv_ ompi_igatherv_f pmpi_igatherv_(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, root, comm, request, ierror) Collective(Gather);
    MPI_Scatter mpi_scatter_ ompi_scatter_f pmpi_scatter_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, ierror) Collective(Scatter);
    MPI_Iscatter mpi_iscatter_ ompi_iscatter_f pmpi_iscatter_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, root, comm, request, ierror) Collective(Scatter);
    MPI_Scatterv mpi_scatterv_ ompi_scatterv_f pmpi_scatterv_(sendbuf, sendcounts, displs, sendtype, recvbuf, recvcount, recvtype, root, comm, ierror) Collective(Scatter);
    MPI_Iscatterv mpi_iscatterv_ ompi_iscatterv_f pmpi_iscatterv_(sendbuf, sendcounts, displs, sendtype, recvbuf, recvcount, recvtype, root, comm, request, ierror) Collective(Scatter);
    MPI_Allgather mpi_allgather_ ompi_allgather_f pmpi_allgather_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, ierror) Collective(Gather);
    MPI_Iallgather mpi_iallgather_ ompi_iallgather_f pmpi_iallgather_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request, ierror) Collective(Gather);
    MPI_Allgatherv mpi_allgatherv_ ompi_allgatherv_f pmpi_allgatherv_(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm, ierror) Collective(Gather);
    MPI_Iallgatherv mpi_iallgatherv_ ompi_iallgatherv_f pmpi_iallgatherv_(sendbuf, sendcount, sendtype, recvbuf, recvcounts, displs, recvtype, comm, request, ierror) Collective(Gather);
    MPI_Alltoall mpi_alltoall_ ompi_alltoall_f pmpi_alltoall_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, ierror) Collective(AllToAll);
    MPI_Ialltoall mpi_ialltoall_ ompi_ialltoall_f pmpi_ialltoall_(sendbuf, sendcount, sendtype, recvbuf, recvcount, recvtype, comm, request, ierror) Collective(AllToAll);
    MPI_Alltoallv mpi_alltoallv_ ompi_alltoallv_f pmpi_alltoallv_(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm, ierror) Collective(AllToAll);
    MPI_Ialltoallv mpi_ialltoallv_ ompi_ialltoallv_f pmpi_ialltoallv_(sendbuf, sendcounts, sdispls, sendtype, recvbuf, recvcounts, rdispls, recvtype, comm, request, ierror) Collective(AllToAll);
    MPI_Alltoallw mpi_alltoallw_ ompi_alltoallw_f pmpi_alltoallw_(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm, ierror) Collective(AllToAll);
    MPI_Ialltoallw mpi_ialltoallw_ ompi_ialltoallw_f pmpi_ialltoallw_(sendbuf, sendcounts, sdispls, sendtypes, recvbuf, recvcounts, rdispls, recvtypes, comm, request, ierror) Collective(AllToAll);
    // Collectives of neighbours in a topology.
    // Communicators.
    MPI_Comm_dup mpi_comm_dup_ ompi_comm_dup_f pmpi_comm_dup_(comm, newcomm, ierror) Make;
    MPI_Comm_dup_with_info mpi_comm_dup_with_info_ ompi_comm_dup_with_info_f pmpi_comm_dup_with_info_(comm, info, newcomm, ierror) Make;
    MPI_Comm_split mpi_comm_split_ ompi_comm_split_f pmpi_comm_split_(comm, color, key, newcomm, ierror) Make;
    MPI_Comm_split_type mpi_comm_split_type_ ompi_comm_split_type_f pmpi_comm_split_type_(comm, split_type, key, info, newcomm, ierror) Make;
    MPI_Comm_create mpi_comm_create_ ompi_comm_create_f pmpi_comm_create_(comm, group, newcomm, ierror) Make;
    MPI_Comm_create_group mpi_comm_create_group_ ompi_comm_create_group_f pmpi_comm_create_group_(comm, group, tag, newcomm, ierror) MakeOfSome;
    MPI_Cart_create mpi_cart_create_ ompi_cart_create_f pmpi_cart_create_(comm, ndims, dims, periods, reorder, newcomm, ierror) Make;
    MPI_Cart_sub mpi_cart_sub_ ompi_cart_sub_f pmpi_cart_sub_(comm, remain_dims, newcomm, ierror) Make;
    MPI_Graph_create mpi_graph_create_ ompi_graph_create_f pmpi_graph_create_(comm, nnodes, indices, edges, reorder, newcomm, ierror) Make;
    MPI_Dist_graph_create mpi_dist_graph_create_ ompi_dist_graph_create_f pmpi_dist_graph_create_(comm, n, sources, degrees, destinations, weights, info, reorder, newcomm, ierror) Make;
    MPI_Dist_graph_create_adjacent mpi_dist_graph_create_adjacent_ ompi_dist_graph_create_adjacent_f pmpi_dist_graph_create_adjacent_(comm, indegree, sources, sourceweights, outdegree, destinations, destweights, info, reorder, newcomm, ierror) Make;
    MPI_Intercomm_create mpi_intercomm_create_ ompi_intercomm_create_f pmpi_intercomm_create_(comm, local_leader, peer_comm, remote_leader, tag, newcomm, ierror) Make;
    MPI_Intercomm_merge mpi_intercomm_merge_ ompi_intercomm_merge_f pmpi_intercomm_merge_(comm, high, newcomm, ierror) Make;
    MPI_Comm_free mpi_comm_free_ ompi_comm_free_f pmpi_comm_free_(comm, ierror) Free;
    MPI_Comm_disconnect mpi_comm_disconnect_ ompi_comm_disconnect_f pmpi_comm_disconnect_(comm, ierror) Free;
    // Data types: only to know their sizes.
    MPI_Type_commit mpi_type_commit_ ompi_type_commit_f pmpi_type_commit_(datatype, ierror) TypeCommit;
    MPI_Type_free mpi_type_free_ ompi_type_free_f pmpi_type_free_(datatype, ierror) TypeFree;
}

modern! {
    MPI_Init mpi_init_f08_ (ierror) Init;
    MPI_Init_thread mpi_init_thread_f08_ (required, provided, ierror) Init;
    MPI_Finalize mpi_finalize_f08_ (ierror) Plain;
    MPI_Abort mpi_abort_f08_ (comm, errorcode, ierror) Plain;
    MPI_Probe mpi_probe_f08_ (source, tag, comm, status, ierror) Probe;
    MPI_Iprobe mpi_iprobe_f08_ (source, tag, comm, flag, status, ierror) TestProbe;
    MPI_Mprobe mpi_mprobe_f08_ (source, tag, comm, message, status, ierror) Probe;
    MPI_Improbe mpi_improbe_f08_ (source, tag, comm, flag, message, status, ierror) TestProbe;
    MPI_Start mpi_start_f08_ (request, ierror) Start;
    MPI_Startall mpi_startall_f08_ (count, requests, ierror) StartAll;
    MPI_Wait mpi_wait_f08_ (request, status, ierror) Wait;
    MPI_Waitall mpi_waitall_f08_ (count, requests, statuses, ierror) WaitAll;
    MPI_Waitany mpi_waitany_f08_ (count, requests, index, status, ierror) WaitAny;
    MPI_Waitsome mpi_waitsome_f08_ (count, requests, outcount, indices, statuses, ierror) WaitSome;
    MPI_Test mpi_test_f08_ (request, flag, status, ierror) Test;
    MPI_Testall mpi_testall_f08_ (count, requests, flag, statuses, ierror) TestAll;
    MPI_Testany mpi_testany_f08_ (count, requests, index, flag, status, ierror) TestAny;
    MPI_Testsome mpi_testsome_f08_ (count, requests, outcount, indices, statuses, ierror) TestSome;
    MPI_Request_free mpi_request_free_f08_ (request, ierror) RequestFree;
    MPI_Barrier mpi_barrier_f08_ (comm, ierror) Collective(Nothing);
    MPI_Ibarrier mpi_ibarrier_f08_ (comm, request, ierror) Collective(Nothing);
    MPI_Comm_dup mpi_comm_dup_f08_ (comm, newcomm, ierror) Make;
    MPI_Comm_dup_with_info mpi_comm_dup_with_info_f08_ (comm, info, newcomm, ierror) Make;
    MPI_Comm_split mpi_comm_split_f08_ (comm, color, key, newcomm, ierror) Make;
    MPI_Comm_split_type mpi_comm_split_type_f08_ (comm, split_type, key, info, newcomm, ierror) Make;
    MPI_Comm_create mpi_comm_create_f08_ (comm, group, newcomm, ierror) Make;
    MPI_Comm_create_group mpi_comm_create_group_f08_ (comm, group, tag, newcomm, ierror) MakeOfSome;
    MPI_Cart_create mpi_cart_create_f08_ (comm, ndims, dims, periods, reorder, newcomm, ierror) Make;
    MPI_Cart_sub mpi_cart_sub_f08_ (comm, remain_dims, newcomm, ierror) Make;
    MPI_Graph_create mpi_graph_create_f08_ (comm, nnodes, indices, edges, reorder, newcomm, ierror) Make;
    MPI_Dist_graph_create mpi_dist_graph_create_f08_ (comm, n, sources, degrees, destinations, weights, info, reorder, newcomm, ierror) Make;
    MPI_Dist_graph_create_adjacent mpi_dist_graph_create_adjacent_f08_ (comm, indegree, sources, sourceweights, outdegree, destinations, destweights, info, reorder, newcomm, ierror) Make;
    MPI_Intercomm_create mpi_intercomm_create_f08_ (comm, local_leader, peer_comm, remote_leader, tag, newcomm, ierror) Make;
    MPI_Intercomm_merge mpi_intercomm_merge_f08_ (comm, high, newcomm, ierror) Make;
    MPI_Comm_free mpi_comm_free_f08_ (comm, ierror) Free;
    MPI_Comm_disconnect mpi_comm_disconnect_f08_ (comm, ierror) Free;
    MPI_Type_commit mpi_type_commit_f08_ (datatype, ierror) TypeCommit;
    MPI_Type_free mpi_type_free_f08_ (datatype, ierror) TypeFree;
}
