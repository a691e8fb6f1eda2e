"""The comparisons of the GPU check; started by check.sh."""

import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

# Name, job, ranks, options.
WORK = [
    ("matmul", "matmul", 1, []),
    ("train-eager", "train", 1, []),
    ("train-compile", "train", 1, ["compile=1"]),
    ("train-graphs", "train", 1, ["graphs=1"]),
    ("copies", "copies", 1, []),
    ("stall", "stall", 1, []),
    ("nccl-2", "nccl", 2, []),
    ("nccl-4", "nccl", 4, []),
]
# Name, job, before, after: what the what-if engine is to predict.
PAIRS = [
    ("workers", "stall", ["workers=0"], ["workers=4"]),
    ("pinned", "stall", ["workers=4"], ["workers=4", "pinned=1"]),
    ("compile", "train", [], ["compile=1"]),
    ("graphs", "train", ["fused=1"], ["fused=1", "graphs=1"]),
    ("amp", "train", [], ["amp=1"]),
    ("tf32", "train", [], ["tf32=1"]),
    ("fused", "train", [], ["fused=1"]),
    ("channels_last", "images", ["amp=1"], ["amp=1", "channels_last=1"]),
    ("checkpoint", "train", [], ["checkpoint=1"]),
]
STEPS = 30
# Recordings that may become test data stay short.
SMALL_STEPS = 3


class Failed(Exception):
    pass


class Check:
    def __init__(self, args):
        self.gapless = args.gapless
        self.folder = pathlib.Path(args.folder).resolve()
        self.jobs = args.jobs
        self.result = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}
        self.problems = []

    def run(self, command, environment=None, limit_s=900):
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, env={**os.environ, **(environment or {})}
        )
        if ran.returncode != 0:
            words = " ".join(str(word) for word in command)
            raise Failed(f"{words}: exit code {ran.returncode}: {ran.stderr[-2000:]}")
        return ran

    def job(self, name, ranks, options, steps=STEPS, profile=None):
        command = [sys.executable, self.jobs, name, "--steps", str(steps)]
        if profile:
            command += ["--profile", str(profile)]
        if ranks > 1:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
            command = launcher + command[1:]
        return command + options

    def steps_ms(self, ran):
        lines = [line for line in ran.stdout.splitlines() if line.startswith('{"job"')]
        if not lines:
            raise Failed("the job printed no result")
        return json.loads(lines[-1])["steps_ms"]

    def environment(self, ranks):
        # Several ranks on one GPU: NCCL 2.30 and newer allow it.
        return {"NCCL_MULTI_RANK_GPU_ENABLE": "1"} if ranks > 1 else {}

    def record(self, folder, command, ranks):
        words = [self.gapless, "record", "-o", str(folder), "--"] + command
        return self.run(words, self.environment(ranks))

    def analyze(self, path):
        return json.loads(self.run([self.gapless, "analyze", "--json", str(path)]).stdout)

    def streams(self, path):
        """Names of device work by device and stream, in order of start."""
        out = self.folder / "order.json"
        self.run([self.gapless, "convert", str(path), "-o", str(out)])
        events = json.loads(out.read_text())["traceEvents"]
        out.unlink()
        work = collections.defaultdict(list)
        for event in events:
            if event.get("ph") == "X" and event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
                args = event.get("args", {})
                work[(args.get("device", 0), args.get("stream", event.get("tid")))].append((event["ts"], event["name"]))
        return sorted([name for _, name in sorted(of_stream)] for of_stream in work.values())

    def problem(self, name, text):
        self.problems.append(f"{name}: {text}")
        print(f"not as it should be: {name}: {text}", flush=True)

    def work(self, name, job, ranks, options):
        print(f"== {name}", flush=True)
        alone = self.steps_ms(self.run(self.job(job, ranks, options), self.environment(ranks)))
        recording = self.folder / name
        recorded = self.steps_ms(self.record(recording, self.job(job, ranks, options), ranks))
        row = {
            "step_alone_ms": statistics.median(alone),
            "step_recorded_ms": statistics.median(recorded),
            "bytes": sum(file.stat().st_size for file in recording.glob("*.pftrace")),
        }
        row["overhead"] = row["step_recorded_ms"] / row["step_alone_ms"] - 1
        manifest = json.loads((recording / "manifest.json").read_text())
        row["notices"] = manifest["notices"] + [
            value for process in manifest["processes"] for key, value in process["facts"] if key == "cuda.notice"
        ]
        row["lost"] = sum(sum(process["lost"].values()) for process in manifest["processes"])
        row["devices"] = [process["devices"] for process in manifest["processes"] if "cupti" in process["sources"]]
        clocks = [v for process in manifest["processes"] for key, v in process["facts"] if key.startswith("cuda.clock")]
        row["clock"] = sorted(set(clocks))
        if len(row["devices"]) != ranks:
            self.problem(name, f"{len(row['devices'])} of {ranks} processes recorded GPU work: {row['notices']}")
            return row
        if row["lost"]:
            self.problem(name, f"{row['lost']} records are lost")
        analysis = self.analyze(recording)
        launches = [launch for rank in analysis["ranks"] for launch in rank["launches"]]
        row["launches"] = sum(launch["calls"] for launch in launches)
        row["work_before_call"] = sum(launch["work_before_call"] for launch in launches)
        row["least_delay_ns"] = min((launch["delay"]["min_ns"] for launch in launches), default=None)
        if row["work_before_call"]:
            self.problem(name, f"{row['work_before_call']} pieces of work begin before their launch")
        if ranks == 1:
            self.compare(name, job, options, row)
        return row

    def compare(self, name, job, options, row):
        """Against torch.profiler, over the same few steps of the same job."""
        small = self.folder / f"{name}-small"
        self.record(small, self.job(job, 1, options, SMALL_STEPS), 1)
        theirs = self.folder / f"{name}-small.profiler.json"
        self.run(self.job(job, 1, options, SMALL_STEPS, theirs))
        tables = []
        for path in (small, theirs):
            rank = self.analyze(path)["ranks"][0]
            table = {(kernel["name"]): kernel for kernel in rank["kernels"]}
            tables.append(table)
        # The profiler sees the measured steps only; ours sees the first five, too.
        ours, reference = tables
        row["kernel_names"] = {"ours": len(ours), "profiler": len(reference)}
        missing = sorted(set(reference) - set(ours))
        if missing:
            self.problem(name, f"{len(missing)} kernels of torch.profiler are missing, such as {missing[0]}")
        differences, counts = [], []
        for kernel, theirs_row in reference.items():
            if kernel not in ours:
                continue
            counts.append((ours[kernel]["count"], theirs_row["count"]))
            if theirs_row["count"] >= 3 and theirs_row["median_ns"] > 2000:
                differences.append(ours[kernel]["median_ns"] / theirs_row["median_ns"] - 1)
        fewer = sum(1 for mine, profiler in counts if mine < profiler)
        if fewer:
            self.problem(name, f"{fewer} kernels ran less often than torch.profiler says")
        if differences:
            row["duration_difference"] = {
                "median": statistics.median(differences),
                "worst": max(differences, key=abs),
                "kernels": len(differences),
            }
            if abs(row["duration_difference"]["median"]) > 0.05:
                self.problem(name, f"kernels last {row['duration_difference']['median']:+.1%} longer than in torch.profiler")
        # Each stream of the profiler must be the end of one of ours.
        own, other = self.streams(small), self.streams(theirs)
        found = sum(any(mine[-len(stream) :] == stream for mine in own) for stream in other)
        row["streams_in_same_order"] = f"{found} of {len(other)}"
        if found < len(other):
            self.problem(name, f"the order of work agrees on {found} of {len(other)} streams")
        row["small_bytes"] = sum(file.stat().st_size for file in small.glob("*.pftrace"))

    def pair(self, name, job, before, after):
        print(f"== pair {name}", flush=True)
        row = {}
        for what, options in (("before", before), ("after", after)):
            row[what + "_ms"] = statistics.median(self.steps_ms(self.run(self.job(job, 1, options))))
            self.record(self.folder / f"pair-{name}-{what}", self.job(job, 1, options), 1)
        row["gain"] = 1 - row["after_ms"] / row["before_ms"]
        return row

    def machine(self):
        import torch

        device = torch.cuda.get_device_properties(0)
        facts = {
            "gpu": device.name,
            "gpus": torch.cuda.device_count(),
            "capability": f"{device.major}.{device.minor}",
            "memory_bytes": device.total_memory,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "nccl": ".".join(str(part) for part in torch.cuda.nccl.version()),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "gapless": self.run([self.gapless, "--version"]).stdout.strip(),
        }
        try:
            asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            facts["driver"] = self.run(asked).stdout.splitlines()[0]
        except (OSError, Failed, IndexError):
            facts["driver"] = "unknown"
        return facts

    def each(self, part, rows, act):
        self.result[part] = {}
        for name, *more in rows:
            try:
                self.result[part][name] = act(name, *more)
            except (Failed, subprocess.TimeoutExpired, OSError, KeyError, ValueError) as error:
                self.result[part][name] = {"failed": str(error)}
                self.problem(name, str(error))
            self.write()

    def write(self):
        self.result["problems"] = self.problems
        (self.folder / "check.json").write_text(json.dumps(self.result, indent=1) + "\n")
        lines = ["# GPU check", "", f"{self.result['when']}", "", "| | |", "|---|---|"]
        lines += [f"| {key} | {value} |" for key, value in self.result["machine"].items()]
        lines += ["", "| job | step alone | recorded | overhead | bytes | lost | before launch | order | durations |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for name, row in self.result.get("work", {}).items():
            if "step_alone_ms" not in row:
                lines.append(f"| {name} | failed: {row.get('failed', '')[:80]} |||||||| ")
                continue
            durations = row.get("duration_difference", {}).get("median")
            lines.append(
                f"| {name} | {row['step_alone_ms']:.3f} ms | {row['step_recorded_ms']:.3f} ms | {row['overhead']:+.1%} "
                f"| {row['bytes']} | {row['lost']} | {row.get('work_before_call', '')} "
                f"| {row.get('streams_in_same_order', '')} | {'' if durations is None else f'{durations:+.2%}'} |"
            )
        if "pairs" in self.result:
            lines += ["", "| change | before | after | gain |", "|---|---|---|---|"]
        for name, row in self.result.get("pairs", {}).items():
            if "gain" in row:
                lines.append(f"| {name} | {row['before_ms']:.3f} ms | {row['after_ms']:.3f} ms | {row['gain']:+.1%} |")
        lines += ["", "Problems: " + ("none" if not self.problems else "")]
        lines += [f"- {problem}" for problem in self.problems]
        (self.folder / "check.md").write_text("\n".join(lines) + "\n")

    def main(self):
        self.result["machine"] = self.machine()
        self.each("work", WORK, self.work)
        self.each("pairs", PAIRS, self.pair)
        self.write()
        print(f"written: {self.folder / 'check.json'} and {self.folder / 'check.md'}")
        return 1 if self.problems else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gapless", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--jobs", required=True)
    return Check(parser.parse_args()).main()


if __name__ == "__main__":
    sys.exit(main())
