"""Data-parallel training over gloo, for torchrun: `torchrun --nproc-per-node 2 ddp.py`.

Each rank prints one line with the checksum of its weights. Options plant a rank that computes longer and one that
loads its data slowly, for tests that must find them.
"""

import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler

import train


def main():
    parser = train.options()
    parser.add_argument("--slow-rank", type=int, default=-1, help="this rank computes --slow-seconds longer per step")
    parser.add_argument("--slow-seconds", type=float, default=0.02)
    parser.add_argument("--slow-loader-rank", type=int, default=-1, help="this rank's samples take --loader-seconds each")
    parser.add_argument("--loader-seconds", type=float, default=0.01)
    parser.add_argument("--subgroup", action="store_true", help="also reduce over a group of its own in each step")
    parser.add_argument("--exchange", action="store_true", help="also send to the next rank in each step")
    args = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    if rank == args.slow_loader_rank:
        args.delay = args.loader_seconds
    group = dist.new_group(list(range(world)), group_desc="metrics") if args.subgroup else None

    model = DistributedDataParallel(train.make_model(args.model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    # Each rank gets its own part, so the whole set is the larger for more ranks.
    args.batch *= world
    sampler_of = lambda data: DistributedSampler(data, num_replicas=world, rank=rank, shuffle=False)  # noqa: E731
    data = train.loader(args).dataset
    args.batch //= world
    batches = torch.utils.data.DataLoader(data, batch_size=args.batch, num_workers=args.workers, sampler=sampler_of(data))
    for tokens, wanted in batches:
        if rank == args.slow_rank:
            # Computes, rather than sleeps, so that a sampler sees it too.
            until = time.perf_counter() + args.slow_seconds
            while time.perf_counter() < until:
                torch.mm(torch.ones(32, 32), torch.ones(32, 32))
        loss = loss_of(model(tokens).flatten(0, 1), wanted.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if group is not None:
            dist.all_reduce(loss.detach(), group=group)
        if args.exchange:
            sent = dist.isend(torch.full((8,), float(rank)), (rank + 1) % world)
            got = torch.empty(8)
            dist.recv(got, (rank - 1) % world)
            sent.wait()
    # In one write: `print` would let the line of another rank in before its end.
    sys.stdout.write("rank %d loss %.6f checksum %s\n" % (rank, loss.item(), train.checksum(model)))
    sys.stdout.flush()
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
