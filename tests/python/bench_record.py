"""What `gapless record` costs a training job, beside the same job alone and under torch.profiler.

    python3 bench_record.py --gapless PATH [--python TORCH] [--rounds 15] [--repeats 3]

All ways of running the job are up at once and take turns: each makes a block of steps while the others wait, round after
round, all on one core. So what else the machine does falls on all of them alike, and a block is compared with the block
of the job alone in the same round. All of it is repeated with new processes, because each lies a little differently in
memory and caches. A step is measured twice: by the wall clock, and in processor time of the thread that
trains (the backward pass of a CPU job runs on it), which other work disturbs much less. Shown is the median of all rounds,
and the middle half of them. "Alone again" against "alone" is the noise; "PyTorch's emission" is what PyTorch itself takes
for reporting its operators by ITT when nobody listens.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
JOB = os.path.join(HERE, "jobs", "train.py")

# Runs the job with the clock of its `--time` replaced: both clocks are read at the end of each step, and after each block
# the job says how long its steps took and waits until it is its turn again.
DRIVER = """
import os, runpy, sys, time
profiled, block, core = sys.argv[1] == "torch.profiler", int(sys.argv[2]), int(sys.argv[3])
os.sched_setaffinity(0, {core})
wall, processor, last = [], [], [0.0, 0.0]
real = time.perf_counter
import torch
if sys.argv[1] == "PyTorch's emission":
    emission = torch.autograd.profiler.emit_itt()
    emission.__enter__()
profiler = None
def turn():
    global profiler
    if profiler is not None:
        profiler.stop()
        profiler = None
    middle = lambda values: sorted(values)[len(values) // 2] * 1e3
    # The first ones find cold caches.
    print("bench", middle(wall[2:]), middle(processor[2:]), flush=True)
    wall.clear(); processor.clear()
    if not sys.stdin.readline():
        os._exit(0)
    if profiled:
        profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        profiler.start()
def both():
    now = [real(), time.thread_time()]
    wall.append(now[0] - last[0]); processor.append(now[1] - last[1])
    if len(wall) == block:
        turn()
        now = [real(), time.thread_time()]
    last[:] = now
    return now[0]
time.perf_counter = both
sys.argv = sys.argv[4:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# Name -> steps of a turn, arguments of train.py. The ranges of a step are as many in all of depth 2; what an operator has to
# do is not.
JOBS = {
    "width 32": (20, ["--width", "32", "--depth", "2", "--batch", "4", "--length", "16"]),
    "width 128": (12, ["--width", "128", "--depth", "2", "--batch", "8", "--length", "64"]),
    "width 256": (8, ["--width", "256", "--depth", "2", "--batch", "8", "--length", "128"]),
}


def ways(gapless, scratch):
    record = lambda name, *options: [gapless, "record", "-q", "-o", os.path.join(scratch, name), *options, "--"]
    return {
        "alone": [],
        "alone again": [],
        "record": record("record"),
        "record --no-operators": record("plain", "--no-operators"),
        "flight recorder": record("flight", "--flight-recorder", "30s"),
        "flight recorder --no-operators": record("quiet", "--flight-recorder", "30s", "--no-operators"),
        "PyTorch's emission": [],
        "torch.profiler": [],
    }


class Job:
    def __init__(self, prefix, python, driver, how, block, job):
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        command = prefix + [python, driver, how, str(block), str(max(os.sched_getaffinity(0)))] + job
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.blocks = []

    def block(self):
        """Waits for the end of a block: milliseconds of a step, wall and processor."""
        for line in self.process.stdout:
            if line.startswith("bench "):
                return tuple(map(float, line.split()[1:]))
        raise RuntimeError("the job has ended")

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()


def written(folder):
    with open(os.path.join(folder, "manifest.json")) as file:
        processes = json.load(file)["processes"]
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(".pftrace"))
    lost = sum(p["lost"]["ring_full"] + p["lost"]["no_ring"] for p in processes)
    return sum(p["events"] for p in processes), size, lost


def quartiles(values):
    values = sorted(values)
    return tuple(values[round((len(values) - 1) * part)] for part in (0.25, 0.5, 0.75))


def steps(args, scratch):
    driver = os.path.join(scratch, "driver.py")
    with open(driver, "w") as file:
        file.write(DRIVER)
    for name in args.jobs.split(","):
        block, options = JOBS[name]
        job = [JOB, "--steps", "1000000", "--workers", "0", "--time"] + options
        found, disk = {}, (0, 0, 0)
        for _ in range(args.repeats):
            disk = tuple(map(sum, zip(disk, repeat(args, scratch, driver, block, job, found))))
        events, size, lost = disk
        ranges = events / (args.repeats * (args.rounds + 2) * block)
        report(name, args, block, ranges, found)
        print("  on disk: %d events, %d bytes, %.1f bytes an event, %d lost" % (events, size, size / events, lost), flush=True)
        if args.raw:
            with open(args.raw, "a") as file:
                for way, blocks in found.items():
                    file.write(json.dumps({"job": name, "way": way, "blocks": blocks}) + "\n")


def repeat(args, scratch, driver, block, job, found):
    """One set of processes; adds their blocks to those found. What `record` left: events, bytes, lost."""
    runs = {}
    for way, prefix in ways(args.gapless, scratch).items():
        runs[way] = Job(prefix, args.python, driver, way, block, job)
        # Started one by one; the first block of each warms up.
        runs[way].block()
    for number in range(args.rounds + 1):
        order = list(runs.items())
        for way, run in order if number % 2 else reversed(order):
            run.go()
            measured = run.block()
            # In the first round the caches are others'.
            if number:
                found.setdefault(way, []).append(measured)
    for run in runs.values():
        run.end()
    disk = written(os.path.join(scratch, "record"))
    for folder in ("record", "plain", "flight", "quiet"):
        shutil.rmtree(os.path.join(scratch, folder), ignore_errors=True)
    return disk


def report(name, args, block, ranges, found):
    alone = found["alone"]
    count = len(alone)
    print("%s: %d repeats of %d rounds of %d steps, %.0f ranges a step" % (name, args.repeats, args.rounds, block, ranges))
    for way, blocks in found.items():
        (_, wall, _), (_, processor, _) = (quartiles(column) for column in zip(*blocks))
        pairs = list(zip(blocks, alone))
        by_wall, by_processor = (quartiles([100 * (mine[at] / other[at] - 1) for mine, other in pairs]) for at in (0, 1))
        added = quartiles([(mine[1] - other[1]) * 1e6 / ranges for mine, other in pairs])
        # The standard error of a median, from the middle half: 1.25 times that of a mean.
        error = 1.25 * (by_processor[2] - by_processor[0]) / 1.35 / count**0.5
        print("  %-30s wall %8.3f ms %+6.1f %% (%+.1f to %+.1f)   processor %8.3f ms %+6.1f %% ± %.1f (%+.1f to %+.1f)  %+5.0f ns a range" % (
            way, wall, by_wall[1], by_wall[0], by_wall[2],
            processor, by_processor[1], error, by_processor[0], by_processor[2], added[1]))  # fmt: skip


def processor_of(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def starts(args, scratch):
    """Processor time of all processes together: job and recorder."""
    folder = os.path.join(scratch, "start")
    for what, times in (("pass", 20), ("import torch", 5)):
        found = {"alone": [], "record": []}
        for _ in range(times):
            found["alone"].append(processor_of([args.python, "-c", what]))
            found["record"].append(processor_of([args.gapless, "record", "-q", "-o", folder, "--", args.python, "-c", what]))
            shutil.rmtree(folder)
        alone, record = (statistics.median(found[name]) for name in ("alone", "record"))
        print("python -c '%s': %.1f ms of processor, recorded %+.1f ms with the recorder's own" % (what, alone, record - alone), flush=True)


def recorder(args, scratch):
    """The recorder's own share, while a job records all operators."""
    folder = os.path.join(scratch, "own")
    # Kept to one job at a time: its own processor time is what its process says of itself when the job has ended.
    read = "import os,sys\nticks=open('/proc/%d/stat' % os.getppid()).read().rsplit(')',1)[1].split()[11:13]\n"
    text = (
        "import runpy,sys,time\nsys.argv=sys.argv[1:]\nbegin=time.time()\nrunpy.run_path(sys.argv[0],run_name='__main__')\n"
        + read
        + "print('recorder', sum(map(int,ticks))/os.sysconf('SC_CLK_TCK'), time.time()-begin, time.process_time())\n"
    )
    for options, name in (([], "all"), (["--no-operators"], "no operators"), (["--flight-recorder", "30s"], "flight recorder")):
        command = [args.gapless, "record", "-q", "-o", folder] + options + ["--", args.python, "-c", text, JOB, "--steps", str(args.steps)]
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS="1")).stdout
        used, wall, job = map(float, re.search(r"recorder (\S+) (\S+) (\S+)", out).groups())
        print("recorder, %s: %.2f s of processor beside %.2f s of the job, in %.1f s" % (name, used, job, wall), flush=True)
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gapless", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--raw", help="file that takes what each block measured, a line of JSON for each job and way")
    parser.add_argument("--only-steps", action="store_true")
    parser.add_argument("--steps", type=int, default=300, help="steps of the job beside which the recorder's own time is taken")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if not args.only_steps:
            starts(args, scratch)
            recorder(args, scratch)
        steps(args, scratch)


if __name__ == "__main__":
    main()
