"""Runs jobs with and without the Python hook, for the tests of the hook.

The C library is a stand-in that logs every call (stand_in.c): these tests are about what the hook calls and about what
it leaves alone. The tests with the real library are the recorder's.
"""

import atexit
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HOOK = os.path.join(ROOT, "capture", "record", "python", "gapless_hook")
JOBS = os.path.join(HERE, "jobs")

# What a recorder above this test, or a test above it, may have set.
_OURS = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "INTEL_LIBITTNOTIFY64", "NVTX_INJECTION64_PATH", "LD_PRELOAD")

Call = collections.namedtuple("Call", "pid tid function arguments")

scratch = tempfile.mkdtemp(prefix="gapless-hook-")
atexit.register(shutil.rmtree, scratch, ignore_errors=True)
_library = None


def library():
    """The stand-in, compiled once; the test is skipped where there is no compiler."""
    global _library
    if _library is None:
        if not shutil.which("gcc"):
            raise unittest.SkipTest("skipped: gcc is missing, so there is no library to load")
        path = os.path.join(scratch, "libstand_in.so")
        subprocess.check_call(["gcc", "-shared", "-fPIC", "-O2", os.path.join(HERE, "stand_in.c"), "-o", path])
        _library = path
    return _library


def clean_environment():
    return {key: value for key, value in os.environ.items() if key not in _OURS and not key.startswith("GAPLESS_")}


def _finish(command, environment, directory):
    run = subprocess.run(
        command, env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        universal_newlines=True, timeout=300,
    )  # fmt: skip
    return run


def plain(command, path=(), environment=None, directory=None):
    """Runs a job without the hook."""
    variables = clean_environment()
    if path:
        variables["PYTHONPATH"] = os.pathsep.join(path)
    variables.update(environment or {})
    return _finish(command, variables, directory or scratch)


def recorded(command, path=(), environment=None, directory=None, front=()):
    """Runs a job with the hook; `path` is what the job itself has in PYTHONPATH, `front` what stands before the hook.

    Returns the finished process and all calls of the library, in the order of each process.
    """
    variables = clean_environment()
    folder = tempfile.mkdtemp(dir=scratch)
    variables.update(
        PYTHONPATH=os.pathsep.join(list(front) + [HOOK] + list(path)),
        GAPLESS_HOOK=HOOK,
        GAPLESS_INJECT=library(),
        INTEL_LIBITTNOTIFY64=library(),
        STAND_IN_LOG=os.path.join(folder, "log"),
    )
    variables.update(environment or {})
    run = _finish(command, {key: value for key, value in variables.items() if value is not None}, directory or scratch)
    calls = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            for line in file:
                pid, tid, function, *rest = line.rstrip("\n").split(" ", 3)
                calls.append(Call(int(pid), int(tid), function, rest[0] if rest else ""))
    return run, calls


def infos(calls):
    """Process -> fact -> value."""
    facts = collections.defaultdict(dict)
    for call in calls:
        if call.function == "info":
            key, _, value = call.arguments.partition(" = ")
            facts[call.pid][key] = value
    return facts


def script(text, name="job.py"):
    """Writes a job and returns its path."""
    folder = tempfile.mkdtemp(dir=scratch)
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _without_times(text):
    """PyTorch's log lines without their time and process: `W1123 18:23:30.026000 22057 torch/…`."""
    return re.sub(r"(?m)^([A-Z])\d{4} [0-9:.]+ \d+ ", r"\1 ", text)


class HookTest(unittest.TestCase):
    """What holds for each job."""

    python = sys.executable

    def assert_unchanged(self, command, **options):
        """Runs a job twice and checks that the hook changes neither output nor exit code. Returns the calls."""
        without = plain(command, path=options.get("path", ()), environment=options.get("environment"))
        run, calls = recorded(command, **options)
        self.assertEqual(without.stdout, run.stdout)
        self.assertEqual(_without_times(without.stderr), _without_times(run.stderr))
        self.assertEqual(without.returncode, run.returncode)
        return calls

    def assert_balanced(self, calls, begins, ends):
        """Each thread's ranges end as often as they begin, and never before."""
        depth = collections.Counter()
        for call in calls:
            if call.function in begins:
                depth[call.pid, call.tid] += 1
            elif call.function in ends:
                depth[call.pid, call.tid] -= 1
                self.assertGreaterEqual(depth[call.pid, call.tid], 0, call)
        self.assertEqual({}, {thread: count for thread, count in depth.items() if count})
