"""mpi4py on 4 ranks; says of each call what it knows, in the lines of calls.h."""

import array
import hashlib
import os

LOG = open(f"{os.environ['LOG']}.{os.environ.get('OMPI_COMM_WORLD_RANK') or os.environ.get('PMI_RANK')}", "w")
digest = hashlib.sha256()
sequences = {}


def know(line):
    print(line, file=LOG, flush=True)


def collective(comm):
    """The next `comm=` and `seq=` of a communicator."""
    number = sequences.get(comm, 0)
    sequences[comm] = number + 1
    return f"comm={comm} seq={number}"


know("MPI_Init_thread")
from mpi4py import MPI  # noqa: E402

world = MPI.COMM_WORLD
rank, size = world.rank, world.size
right, left = (rank + 1) % size, (rank - 1) % size


def floats(count, start=0.0):
    return array.array("d", [start + rank + index for index in range(count)])


def keep(buffer):
    digest.update(bytes(buffer))
    return buffer


# Steps as a data-parallel job has them: gradients in buckets, a halo exchange, a norm.
for step in range(5):
    gradient, total = floats(1000, step), floats(1000)
    know(f"MPI_Allreduce bytes=8000 count=1000 dtype=MPI_DOUBLE size=4 rank={rank} {collective('world')}")
    world.Allreduce(gradient, total, op=MPI.SUM)
    keep(total)
    halo = floats(50)
    know(f"MPI_Irecv bytes=400 peer={left} tag={step} seq=none begins=r{step}")
    receive = world.Irecv(halo, source=left, tag=step)
    know(f"MPI_Isend bytes=400 peer={right} tag={step} seq=none begins=s{step}")
    send = world.Isend(floats(50, step), dest=right, tag=step)
    if step % 2:
        know(f"MPI_Waitall count=2 ends=r{step}:400:{left}:{step},s{step}")
        MPI.Request.Waitall([receive, send])
    else:
        know(f"MPI_Wait waits=r{step} ends=r{step}:400:{left}:{step}")
        receive.Wait()
        know(f"MPI_Wait waits=s{step} ends=s{step}")
        send.Wait()
    keep(halo)
    know(f"MPI_Iallreduce bytes=8 {collective('world')} begins=n{step}")
    norm = floats(1)
    request = world.Iallreduce(MPI.IN_PLACE, norm, op=MPI.MAX)
    know(f"MPI_Wait waits=n{step} ends=n{step}")
    request.Wait()
    keep(norm)

# Groups of two, as tensor-parallel pairs.
know(f"MPI_Comm_split {collective('world')}")
pair = world.Split(rank // 2, rank)
members = "0-1" if rank < 2 else "2-3"
name = f"pair{rank // 2}"
know(f"MPI_Allgather bytes=16 size=2 rank={rank % 2} members={members} {collective(name)}")
gathered = floats(4)
pair.Allgather(floats(2), gathered)
keep(gathered)
counts = [1, 2, 3, 4]
everything = floats(10)
know(f"MPI_Allgatherv bytes={8 * counts[rank]} {collective('world')}")
world.Allgatherv(floats(counts[rank]), [everything, counts])
keep(everything)
know(f"MPI_Ialltoallv bytes=64 {collective('world')} begins=all")
exchanged = floats(8)
request = world.Ialltoallv([floats(8), [2] * 4], [exchanged, [2] * 4])
know("MPI_Wait waits=all ends=all")
request.Wait()
keep(exchanged)
know(f"MPI_Alltoallw bytes=32 {collective('world')}")
apart = [8 * index for index in range(4)]
world.Alltoallw([floats(4), [1] * 4, apart, [MPI.DOUBLE] * 4], [exchanged, [1] * 4, apart, [MPI.DOUBLE] * 4])
keep(exchanged)
know(f"MPI_Reduce_scatter bytes=80 {collective('world')}")
world.Reduce_scatter(floats(10), floats(counts[rank]), counts)
know(f"MPI_Scatterv bytes={80 if rank == 2 else 8 * counts[rank]} peer=2 {collective('world')}")
world.Scatterv([floats(10), counts] if rank == 2 else None, floats(counts[rank]), root=2)

# Persistent requests.
know(f"MPI_Send_init bytes=0 peer={right} tag=9")
sender = world.Send_init(halo, dest=right, tag=9)
know(f"MPI_Recv_init bytes=0 peer={left} tag=9")
receiver = world.Recv_init(floats(50), source=left, tag=9)
for turn in range(2):
    know("MPI_Startall count=2")
    know(f">MPI_Start bytes=400 peer={left} begins=pr{turn}")
    know(f">MPI_Start bytes=400 peer={right} begins=ps{turn}")
    MPI.Prequest.Startall([receiver, sender])
    know(f"MPI_Waitall count=2 ends=pr{turn}:400:{left}:9,ps{turn}")
    MPI.Prequest.Waitall([receiver, sender])
sender.Free()
receiver.Free()

know(f"MPI_Comm_free {collective(name)}")
pair.Free()

# What a library does not have stays as it was.
try:
    world.Allreduce_init(floats(1), floats(1)).Free()
    outcome = "there"
except NotImplementedError:
    outcome = "not there"
# In one piece, as all ranks share the output.
os.write(1, f"rank {rank}: {digest.hexdigest()}, persistent collectives {outcome}\n".encode())
know("MPI_Finalize")
MPI.Finalize()
