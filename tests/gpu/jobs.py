"""Jobs for the GPU check. Each prints one JSON line: milliseconds of each step, and what it computed.

    python jobs.py JOB [--steps N] [--profile FILE] [--seed N] [OPTION=VALUE ...]

With --profile the last steps run under torch.profiler, whose trace goes to FILE. Options change a job for before/after
pairs: compile, graphs, amp, tf32, fused, channels_last, checkpoint, workers, pinned.
"""

import argparse
import contextlib
import json
import os
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=sorted(JOBS))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--profile")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("options", nargs="*")
    found = parser.parse_args()
    found.options = dict(option.split("=", 1) for option in found.options)
    return found


class Options:
    def __init__(self, pairs):
        self.pairs = pairs

    def on(self, name):
        return self.pairs.get(name) == "1"

    def number(self, name, otherwise):
        return int(self.pairs.get(name, otherwise))


def matmul(torch, options):
    a = torch.randn(2048, 2048, device="cuda")
    b = torch.randn(2048, 2048, device="cuda")

    def step(_):
        c = a
        for _ in range(10):
            c = torch.relu(c @ b) * 1e-3
        return c

    return step


def block(torch, width):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(width, 8, batch_first=True)
            self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(width) for _ in range(2)])
            self.feed = torch.nn.Sequential(
                torch.nn.Linear(width, 4 * width), torch.nn.GELU(), torch.nn.Linear(4 * width, width)
            )

        def forward(self, x):
            y = self.norms[0](x)
            x = x + self.attention(y, y, y, need_weights=False)[0]
            return x + self.feed(self.norms[1](x))

    return Block()


def train(torch, options):
    """A small transformer; compile=1, graphs=1, amp=1, tf32=1, fused=1, checkpoint=1."""
    from torch.utils.checkpoint import checkpoint

    torch.backends.cuda.matmul.allow_tf32 = options.on("tf32")
    width, layers = options.number("width", 512), options.number("layers", 4)
    model = torch.nn.ModuleList([block(torch, width) for _ in range(layers)]).cuda()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, fused=options.on("fused"), capturable=options.on("graphs")
    )
    data = torch.randn(16, 256, width, device="cuda")
    amp = torch.autocast("cuda", dtype=torch.bfloat16) if options.on("amp") else contextlib.nullcontext()

    def forward(x):
        for layer in model:
            x = checkpoint(layer, x, use_reentrant=False) if options.on("checkpoint") else layer(x)
        return x

    if options.on("compile"):
        forward = torch.compile(forward)

    def work():
        optimizer.zero_grad(set_to_none=not options.on("graphs"))
        with amp:
            loss = forward(data).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    if not options.on("graphs"):
        return lambda _: work()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = work()

    def replay(_):
        graph.replay()
        return loss

    return replay


def images(torch, options):
    """A small convolutional network; channels_last=1, amp=1."""
    layers = []
    for before, after in [(3, 64), (64, 128), (128, 256)]:
        layers += [torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
        layers += [torch.nn.MaxPool2d(2)]
    model = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1)).cuda()
    data = torch.randn(32, 3, 128, 128, device="cuda")
    if options.on("channels_last"):
        model = model.to(memory_format=torch.channels_last)
        data = data.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    amp = torch.autocast("cuda", dtype=torch.bfloat16) if options.on("amp") else contextlib.nullcontext()

    def step(_):
        optimizer.zero_grad()
        with amp:
            loss = model(data).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return step


def copies(torch, options):
    """Pinned and pageable copies both ways, on a stream of their own and on the default one."""
    size = 32 << 20
    pageable = torch.empty(size, dtype=torch.uint8)
    pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(size, dtype=torch.uint8, device="cuda")
    side = torch.cuda.Stream()

    def step(_):
        device.copy_(pageable)
        device.copy_(pinned, non_blocking=True)
        with torch.cuda.stream(side):
            pinned.copy_(device, non_blocking=True)
        event = torch.cuda.Event()
        event.record(side)
        event.synchronize()
        pageable.copy_(device)
        return device[0]

    return step


def stall(torch, options):
    """A DataLoader that takes longer than the step; workers=N, pinned=1."""
    delay = options.number("delay_ms", 20) / 1e3

    class Slow(torch.utils.data.Dataset):
        def __len__(self):
            return 1 << 20

        def __getitem__(self, index):
            time.sleep(delay / 8)
            return torch.full((256, 256), float(index % 7))

    loader = torch.utils.data.DataLoader(
        Slow(), batch_size=8, num_workers=options.number("workers", 0), pin_memory=options.on("pinned")
    )
    batches = iter(loader)
    weight = torch.randn(256, 256, device="cuda")

    def step(_):
        batch = next(batches).cuda(non_blocking=options.on("pinned"))
        for _ in range(20):
            batch = torch.tanh(batch @ weight)
        return batch

    return step


def nccl(torch, options):
    """Several ranks under torchrun, all-reduce and all-gather beside compute; on one GPU where there is only one."""
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    torch.cuda.set_device(rank % torch.cuda.device_count())
    dist.init_process_group("nccl")
    gradients = torch.randn(8 << 20, device="cuda")
    part = torch.randn(1 << 20, device="cuda")
    whole = torch.empty((1 << 20) * dist.get_world_size(), device="cuda")
    a = torch.randn(1024, 1024, device="cuda")

    def step(number):
        c = a @ a
        handle = dist.all_reduce(gradients, async_op=True)
        c = torch.relu(c @ a)
        handle.wait()
        dist.all_gather_into_tensor(whole, part)
        # A rank that is late in every step, to be found.
        if rank == dist.get_world_size() - 1:
            time.sleep(0.005)
        return c

    step.end = dist.destroy_process_group
    return step


JOBS = {"matmul": matmul, "train": train, "images": images, "copies": copies, "stall": stall, "nccl": nccl}


def main():
    args = arguments()
    import torch

    torch.manual_seed(args.seed)
    step = JOBS[args.job](torch, Options(args.options))
    for number in range(5):
        step(number)
    torch.cuda.synchronize()
    profiler = contextlib.nullcontext()
    if args.profile:
        from torch.profiler import ProfilerActivity, profile

        profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    times = []
    try:
        import gapless
    except ImportError:
        gapless = None
    with profiler:
        for number in range(args.steps):
            if gapless is not None:
                gapless.step()
            start = time.perf_counter()
            step(number)
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) * 1e3)
    if args.profile:
        profiler.export_chrome_trace(args.profile)
    end = getattr(step, "end", None)
    if end is not None:
        end()
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        print(json.dumps({"job": args.job, "steps_ms": [round(t, 4) for t in times]}), flush=True)


if __name__ == "__main__":
    main()
