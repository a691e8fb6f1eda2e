"""Two ranks of gloo collectives; RANK, STORE and LOG come from the environment. Writes how often each was called."""

import os
import threading

import torch
import torch.distributed as dist

rank, size = int(os.environ["RANK"]), 2
dist.init_process_group("gloo", init_method=f"file://{os.environ['STORE']}", rank=rank, world_size=size)
value = torch.arange(64, dtype=torch.float32) + rank
pieces = [torch.zeros(64) for _ in range(size)]
if os.environ.get("BREAK"):
    # gloo throws where the other side is gone; Python sees the same error with and without the image.
    dist.barrier()
    if rank == 1:
        os._exit(0)
    try:
        for _ in range(100):
            dist.all_reduce(value)
        print("no error", flush=True)
    except RuntimeError:
        print("the peer is gone", flush=True)
    os._exit(0)
# `new_group` and the end of the job talk by themselves; what comes between these two marks is counted.
dist.barrier()
counts = {"gloo:allreduce": 30, "gloo:broadcast": 7, "gloo:allgather": 5, "gloo:reduce": 4, "gloo:scatter": 3}
counts |= {"gloo:gather": 2, "gloo:alltoall": 6, "gloo:alltoallv": 1}
for _ in range(counts["gloo:allreduce"] - 10):
    dist.all_reduce(value)
    value /= 2
works = [dist.all_reduce(torch.ones(1000), async_op=True) for _ in range(10)]
for work in works:
    work.wait()
for _ in range(counts["gloo:broadcast"]):
    dist.broadcast(value, 1)
for _ in range(counts["gloo:allgather"]):
    dist.all_gather(pieces, value)
for _ in range(counts["gloo:reduce"]):
    dist.reduce(value.clone(), 0)
for _ in range(counts["gloo:scatter"]):
    dist.scatter(pieces[0], [value, value] if rank == 0 else None, 0)
for _ in range(counts["gloo:gather"]):
    dist.gather(value, pieces if rank == 1 else None, 1)
for _ in range(counts["gloo:alltoall"]):
    dist.all_to_all_single(torch.zeros(64), value)
dist.all_to_all_single(torch.zeros(32 if rank == 0 else 96), torch.arange(64.0), [16, 16] if rank == 0 else [48, 48], [16, 48])
total = float(value.double().sum() + sum(piece.double().sum() for piece in pieces))
with open(f"{os.environ['LOG']}.{rank}", "w") as log:
    for name, count in counts.items():
        print(name, count, file=log)
    print("main-thread", threading.get_native_id(), file=log)
dist.barrier()
dist.destroy_process_group()
print(f"rank {rank}: {total:.6f}", flush=True)
