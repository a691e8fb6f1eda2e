"""A training job that uses PyTorch's own profiler, in each of the ways there are.

Prints how often each operator is in the profile as JSON, the same in each run of the same options; with --out it also
writes the profile's trace.
"""

import argparse
import collections
import json
import threading

import torch
from torch.profiler import ProfilerActivity, profile, schedule


def step(model, optimizer):
    loss = model(torch.ones(4, 8)).sum()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def counts(profiles):
    names = collections.Counter()
    for one in profiles:
        events = one.events() if isinstance(one, profile) else one.function_events
        names.update(event.name for event in events if not event.name.startswith("ProfilerStep"))
    return names


def run(how, steps, out):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found = collections.Counter()
    step(model, optimizer)
    if how == "schedule":
        plan = schedule(wait=1, warmup=1, active=2, repeat=2)
        ready = lambda one: found.update(counts([one]))  # noqa: E731
        with profile(activities=[ProfilerActivity.CPU], schedule=plan, on_trace_ready=ready) as profiler:
            for _ in range(steps):
                step(model, optimizer)
                profiler.step()
    elif how == "autograd":
        with torch.autograd.profiler.profile() as profiler:
            for _ in range(steps):
                step(model, optimizer)
        found.update(counts([profiler]))
    elif how == "emit_itt":
        with torch.autograd.profiler.emit_itt():
            for _ in range(steps):
                step(model, optimizer)
    elif how == "failing":
        # The profiled code fails, and so does starting a profiler twice: both must end as they do without a recorder.
        try:
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                step(model, optimizer)
                try:
                    with torch.autograd.profiler.profile():
                        pass
                except RuntimeError as error:
                    found[type(error).__name__] += 1
                raise ValueError
        except ValueError:
            found["ValueError"] += 1
        found["enabled"] += torch.autograd._profiler_enabled()
    elif how == "thread":
        # One profiler on the main thread and work on another: the profile has what it has without a recorder.
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            thread = threading.Thread(target=step, args=(model, optimizer))
            thread.start()
            thread.join()
            step(model, optimizer)
        found.update(counts([profiler]))
    else:
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_stack=how == "stacks") as profiler:
            for _ in range(steps):
                step(model, optimizer)
        if out:
            profiler.export_chrome_trace(out)
        if how != "stacks":
            found.update(counts([profiler]))
    step(model, optimizer)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--how", default="plain", choices=("plain", "schedule", "autograd", "emit_itt", "failing", "thread", "stacks"))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(run(args.how, args.steps, args.out), sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
