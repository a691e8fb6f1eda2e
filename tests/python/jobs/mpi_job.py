"""An MPI job for mpi4py on two or more ranks: collectives, non-blocking point-to-point with waits, sub-communicators.

Each rank prints one line that depends on everything it received. Options plant a rank that comes late.
"""

import argparse
import array
import time

from mpi4py import MPI


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--elements", type=int, default=1000)
    parser.add_argument("--late-rank", type=int, default=-1)
    parser.add_argument("--late-seconds", type=float, default=0.01)
    args = parser.parse_args()

    world = MPI.COMM_WORLD
    rank, size = world.Get_rank(), world.Get_size()
    halves = world.Split(rank % 2, rank)
    halves.Set_name("halves")
    mine = array.array("d", [float(rank)] * args.elements)
    total = array.array("d", [0.0] * args.elements)
    got = array.array("d", [0.0] * args.elements)
    everything = 0.0
    for number in range(args.rounds):
        if rank == args.late_rank:
            time.sleep(args.late_seconds)
        world.Allreduce(mine, total, op=MPI.SUM)
        everything += total[0]
        halves.Allreduce(mine, total, op=MPI.SUM)
        everything += total[0]
        # A ring, with the receive first so that nothing depends on buffering.
        receive = world.Irecv(got, source=(rank - 1) % size, tag=number)
        send = world.Isend(mine, dest=(rank + 1) % size, tag=number)
        receive.Wait()
        send.Wait()
        everything += got[0]
        world.Bcast(total, root=number % size)
        everything += total[0]
    requests = [world.Isend(mine, dest=peer, tag=99) for peer in range(size) if peer != rank]
    requests += [world.Irecv(got, source=peer, tag=99) for peer in range(size) if peer != rank]
    MPI.Request.Waitall(requests)
    reduced = world.reduce(everything, op=MPI.SUM, root=0)
    gathered = world.gather(rank, root=0)
    world.Barrier()
    if rank == 0:
        print("ranks %s all %.1f" % (gathered, reduced), flush=True)
    print("rank %d of %d: %.1f" % (rank, size, everything), flush=True)
    halves.Free()


if __name__ == "__main__":
    main()
