"""What the Python hook costs: per operator, per collective, per load of data, and at startup.

    python3 bench_hook.py            in this folder; PyTorch as in test_hook_torch.py

The library is the stand-in without its log, whose calls cost a nanosecond: this is what Python and PyTorch add to what
the real library costs, which has benches of its own. Runs take turns, and the best of each is compared, because the
machine does other work too.
"""

import os
import sys

from hook_runs import clean_environment, library, HOOK, plain, scratch, script

VENV = os.environ.get("GAPLESS_TORCH_VENV") or os.path.join(scratch, "none")
TORCH = os.path.join(VENV, "bin", "python")

LOOPS = """
import time, torch
torch.set_num_threads(1)
a, b = torch.ones(4), torch.ones(4)
def loop(n):
    for _ in range(n):
        torch.add(a, b)
def best(function, n, times=15):
    found = 1e9
    for _ in range(times):
        begin = time.perf_counter()
        function(n)
        found = min(found, (time.perf_counter() - begin) / n)
    return found * 1e9
loop(1000)
"""


def hooked(**more):
    variables = dict(PYTHONPATH=HOOK, GAPLESS_INJECT=library(), INTEL_LIBITTNOTIFY64=library())
    variables.update(more)
    return variables


def last_number(run):
    assert run.returncode == 0, run.stderr
    return float(run.stdout.split()[-1])


def operators():
    ways = {
        "plain": (LOOPS + "print(best(loop, 20000))", {}),
        "hook, operators off": (LOOPS + "print(best(loop, 20000))", hooked(GAPLESS_PYTHON="optimizer,dataloader,gc,threads,collectives")),
        "hook": (LOOPS + "print(best(loop, 20000))", hooked()),
        "emit_itt without a collector": (LOOPS + "with torch.autograd.profiler.emit_itt():\n    print(best(loop, 20000))", {}),
        "torch.profiler": (LOOPS + "with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):\n    t = best(loop, 20000, 5)\nprint(t)", {}),
    }
    found = dict.fromkeys(ways, 1e9)
    for _ in range(3):
        for name, (text, variables) in ways.items():
            found[name] = min(found[name], last_number(plain([TORCH, script(text)], environment=variables)))
    print("torch.add of 4 elements")
    for name, ns in found.items():
        print("  %-30s %7.0f ns  +%5.0f ns" % (name, ns, ns - found["plain"]))


def others():
    text = """
import gc, time, torch
from torch.utils.data import DataLoader
def best(function, times=15):
    found = 1e9
    for _ in range(times):
        begin = time.perf_counter()
        n = function()
        found = min(found, (time.perf_counter() - begin) / n)
    return found * 1e9
loader = DataLoader(list(range(5000)), batch_size=None)
def loads():
    for _ in loader: pass
    return 5000
def collections():
    for _ in range(5000): gc.collect(0)
    return 5000
import torch.distributed as dist
dist.init_process_group('gloo', rank=0, world_size=1, store=dist.HashStore())
x = torch.ones(10)
def reductions():
    for _ in range(500): dist.all_reduce(x)
    return 500
p = torch.nn.Parameter(torch.ones(4))
p.grad = torch.ones(4)
o = torch.optim.SGD([p], lr=0.1)
def updates():
    for _ in range(500): o.step()
    return 500
print(best(loads), best(collections), best(reductions, 40), best(updates, 40))
"""
    names = ("DataLoader, one load", "young collection", "all_reduce of one rank", "SGD.step")
    only = {
        "plain": {},
        "hook without operators": hooked(GAPLESS_PYTHON="optimizer,dataloader,gc,threads,collectives"),
        "hook": hooked(),
    }
    found = {name: [1e9] * 4 for name in only}
    for _ in range(3):
        for name, variables in only.items():
            run = plain([TORCH, script(text)], environment=variables)
            assert run.returncode == 0, run.stderr
            found[name] = [min(pair) for pair in zip(found[name], map(float, run.stdout.split()))]
    for index, name in enumerate(names):
        base = found["plain"][index]
        print("  %-24s %7.0f ns; " % (name, base) + ", ".join("%s +%.0f ns" % (way, of[index] - base) for way, of in found.items() if way != "plain"))


def startup(python, what, times):
    """Processor time of a whole process, the smallest of many: the wall clock shows what else the machine does."""
    ways = {"plain": {}, "hook": hooked(), "hook off": hooked(GAPLESS_PYTHON="off")}
    found = dict.fromkeys(ways, 1e9)
    for _ in range(times):
        for name, variables in ways.items():
            environment = dict(clean_environment(), **variables)
            pid = os.spawnve(os.P_NOWAIT, python, [python, "-c", what], environment)
            used = os.wait4(pid, 0)[2]
            found[name] = min(found[name], used.ru_utime + used.ru_stime)
    print("  %-14s %-22s plain %7.2f ms, hook +%.2f ms, hook turned off +%.2f ms" % (
        what, os.path.basename(os.path.realpath(python)), found["plain"] * 1e3,
        (found["hook"] - found["plain"]) * 1e3, (found["hook off"] - found["plain"]) * 1e3))  # fmt: skip


def inside(python):
    """The time inside the hook's own start, as Python's import timer sees it."""
    best = 1e9
    for _ in range(30):
        run = plain([python, "-X", "importtime", "-c", ""], environment=hooked())
        line = next(line for line in run.stderr.splitlines() if line.endswith(" sitecustomize"))
        best = min(best, int(line.split("|")[1]))
    print("  sitecustomize with all it does, by -X importtime: %.2f ms" % (best / 1e3))


if __name__ == "__main__":
    print("startup")
    startup(sys.executable, "pass", 100)
    inside(sys.executable)
    if os.path.exists(TORCH):
        startup(TORCH, "import torch", 5)
        operators()
        others()
    else:
        print("skipped: no PyTorch in %s" % VENV)
