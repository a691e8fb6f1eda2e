"""What `gapless record` costs a training job, beside the same job alone and under torch.profiler.

    python3 bench_record.py --gapless PATH [--python TORCH] [--rounds 5] [--steps 300]

Each way runs in turn, round after round, and the median of the rounds is shown, because the machine does other work too.
A step is measured twice: by the wall clock, and in processor time of the thread that trains (the backward pass of a CPU
job runs on it), which other work disturbs much less.
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

# Runs the job with the clock of its `--time` replaced: both clocks are read at the end of each step.
DRIVER = """
import runpy, sys, time
profiled = sys.argv[1] == "profiler"
wall, processor, last = [], [], [time.perf_counter(), time.thread_time()]
real = time.perf_counter
def both():
    now = [real(), time.thread_time()]
    wall.append(now[0] - last[0]); processor.append(now[1] - last[1])
    last[:] = now
    return now[0]
import torch
if profiled:
    # As long as a window of it may be: its events stay in memory.
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    profiler.start()
time.perf_counter = both
sys.argv = sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    time.perf_counter = real
    middle = lambda values: sorted(values)[len(values) // 2] * 1e3
    # The first steps warm up.
    print("bench", middle(wall[20:]), middle(processor[20:]), flush=True)
    if profiled:
        profiler.stop()
"""


def ways(gapless, folder):
    record = [gapless, "record", "-q", "-o", folder]
    return {
        "alone": [],
        "alone again": [],
        "record": record + ["--"],
        "record --no-operators": record + ["--no-operators", "--"],
        "flight recorder": record + ["--flight-recorder", "30s", "--"],
        "flight recorder --no-operators": record + ["--flight-recorder", "30s", "--no-operators", "--"],
        "torch.profiler": None,
    }


def run(prefix, python, driver, how, job):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    command = (prefix or []) + [python, driver, how] + job
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(r"^bench (\S+) (\S+)$", done.stdout, re.M)
    return float(found[1]), float(found[2])


def written(folder):
    with open(os.path.join(folder, "manifest.json")) as file:
        processes = json.load(file)["processes"]
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(".pftrace"))
    lost = sum(p["lost"]["ring_full"] + p["lost"]["no_ring"] for p in processes)
    return sum(p["events"] for p in processes), size, lost


def steps(args, scratch):
    driver = os.path.join(scratch, "driver.py")
    with open(driver, "w") as file:
        file.write(DRIVER)
    folder = os.path.join(scratch, "run")
    for model in args.models.split(","):
        job = [JOB, "--steps", str(args.steps), "--model", model, "--time"]
        found = {name: [] for name in ways(args.gapless, folder)}
        disk = None
        for _ in range(args.rounds):
            for name, prefix in ways(args.gapless, folder).items():
                found[name].append(run(prefix, args.python, driver, "profiler" if prefix is None else "plain", job))
                if name == "record":
                    disk = written(folder)
                shutil.rmtree(folder, ignore_errors=True)
        print("%s, %d steps, medians of %d rounds" % (model, args.steps, args.rounds))
        alone = [statistics.median(values) for values in zip(*found["alone"])]
        for name, values in found.items():
            wall, processor = (statistics.median(column) for column in zip(*values))
            print("  %-32s step %7.3f ms %+6.1f %%   processor %7.3f ms %+6.1f %%" % (
                name, wall, 100 * (wall / alone[0] - 1), processor, 100 * (processor / alone[1] - 1)))  # fmt: skip
        events, size, lost = disk
        print("  on disk: %d events, %d bytes, %.1f bytes an event, %d lost" % (events, size, size / events, lost), flush=True)


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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--models", default="transformer,mlp")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        starts(args, scratch)
        recorder(args, scratch)
        steps(args, scratch)


if __name__ == "__main__":
    main()
