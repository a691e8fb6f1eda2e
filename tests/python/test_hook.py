"""The Python hook in jobs without PyTorch.

Run with `python3 -m unittest test_hook` in this folder; any Python from 3.8 on.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from hook_runs import HOOK, JOBS, HookTest, infos, library, plain, recorded, scratch, script

sys.path.insert(0, HOOK)
from _gapless import pth, wanted_sources  # noqa: E402


class Startup(HookTest):
    def test_facts_and_nothing_else_to_see(self):
        job = script("import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(3)\n")
        calls = self.assert_unchanged([self.python, job])
        (facts,) = infos(calls).values()
        self.assertEqual("%d.%d.%d" % sys.version_info[:3], facts["python"])
        self.assertEqual(os.uname().nodename, facts["hostname"])
        self.assertNotIn("rank", facts)

    def test_rank_from_the_launcher(self):
        ranks = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
        _, calls = recorded([self.python, "-c", ""], environment=ranks)
        (facts,) = infos(calls).values()
        self.assertEqual(("3", "1", "4"), (facts["rank"], facts["local_rank"], facts["world_size"]))

    def test_imports_nothing_of_the_standard_library(self):
        job = script("import sys\nprint(sorted(sys.modules))\n")
        without = set(eval(plain([self.python, job]).stdout))
        run, _ = recorded([self.python, job])
        added = set(eval(run.stdout)) - without
        ours = {name for name in added if name == "sitecustomize" or name.split(".")[0] == "_gapless"}
        # Extension modules: the first takes half a millisecond, the others are part of the interpreter.
        self.assertLessEqual(added - ours, {"_ctypes", "atexit", "gc"})
        self.assertFalse([name for name in ours if name.split(".")[-1] in ("torch_ops", "collectives", "steps", "dataloader")])

    def test_modules_keep_their_loaders(self):
        job = script(
            "import threading, sys\n"
            "print(type(threading.__loader__).__name__, sorted(vars(threading.__loader__)), threading.__spec__.loader is threading.__loader__)\n"
        )
        self.assert_unchanged([self.python, job])

    def test_turned_off(self):
        for setting in ({"GAPLESS_PYTHON": "off"}, {"GAPLESS_INJECT": None}):
            _, calls = recorded([self.python, "-c", "import gc; gc.collect()"], environment=setting)
            self.assertEqual([], calls)

    def test_only_some_sources(self):
        job = script("import gc, threading\ngc.collect()\nt = threading.Thread(target=int)\nt.start()\nt.join()\n")
        _, calls = recorded([self.python, job], environment={"GAPLESS_PYTHON": "threads,unknown"})
        self.assertEqual({"python", "info", "thread_name"}, {call.function for call in calls})
        _, calls = recorded([self.python, job], environment={"GAPLESS_PYTHON": "gc"})
        self.assertEqual({"python", "info", "push_kind", "pop"}, {call.function for call in calls})
        self.assertEqual(frozenset(), wanted_sources("gc,off"))

    def test_without_site(self):
        _, calls = recorded([self.python, "-S", "-c", "print(1)"])
        self.assertEqual([], calls)

    def test_exit_by_signal_and_by_os(self):
        for line in ("import os; os._exit(9)", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "raise SystemExit('bye')", "1/0"):
            self.assert_unchanged([self.python, "-c", line])

    def test_closed_standard_streams(self):
        command = ["sh", "-c", '"$0" -c "import sys; sys.exit(4)" >&- 2>&- <&-', self.python]
        run, calls = recorded(command)
        self.assertEqual(4, run.returncode)
        self.assertTrue(calls)
        run, _ = recorded(command, environment={"GAPLESS_INJECT": "/nowhere/lib.so"})
        self.assertEqual(4, run.returncode)

    def test_a_python_older_than_the_hook(self):
        found = [path for path in map(shutil.which, ("python2.7", "python2", "python3.6", "python3.7")) if path]
        found = [path for path in found if subprocess.run([path, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0]
        if not found:
            self.skipTest("skipped: no older Python here")
        behind = os.path.dirname(script("print('theirs')\n", "sitecustomize.py"))
        for python in found:
            run, calls = recorded([python, "-c", "print('ran')"], path=[behind])
            self.assertEqual(("theirs\nran\n", "", 0), (run.stdout, run.stderr, run.returncode))
            self.assertEqual([], calls)

    def test_torch_that_is_not_there(self):
        job = script("try:\n    import torch\nexcept ImportError as error:\n    print(type(error), error, error.__traceback__.tb_next)\nimport torch\n")
        if "None\n" not in plain([self.python, job]).stdout:
            self.skipTest("skipped: this Python has PyTorch")
        self.assert_unchanged([self.python, job])


class Sitecustomize(HookTest):
    def test_the_one_behind_runs_as_itself(self):
        behind = os.path.dirname(script("import sys\nsys.path.insert(0, '/added')\nVALUE = 5\nprint('theirs', __name__)\n", "sitecustomize.py"))
        job = script("import sys, sitecustomize\nprint(sitecustomize.VALUE, sitecustomize.__file__, sys.path[0], '/added' in sys.path)\n")
        calls = self.assert_unchanged([self.python, job], path=[behind])
        self.assertTrue(calls)

    def test_what_the_one_behind_raises_is_said_as_ever(self):
        for text in ("1/0\n", "import no_such_module_of_ours\n", "raise ImportError('x', name='sitecustomize')\n"):
            behind = os.path.dirname(script(text, "sitecustomize.py"))
            calls = self.assert_unchanged([self.python, "-c", "print('job')"], path=[behind])
            self.assertTrue(calls)

    def test_one_behind_that_exits(self):
        # Python prints a traceback of its startup then, and our two frames are in it.
        behind = os.path.dirname(script("import sys\nsys.exit(6)\n", "sitecustomize.py"))
        command = [self.python, "-c", "print('job')"]
        without, (run, _) = plain(command, path=[behind]), recorded(command, path=[behind])
        self.assertEqual((without.stdout, without.returncode), (run.stdout, run.returncode))

    def test_a_tool_in_front_that_chains_too(self):
        # As tracing agents do it: it takes its folder off the path and imports again.
        front = os.path.dirname(
            script(
                "import os, sys\n"
                "here = os.path.dirname(os.path.abspath(__file__))\n"
                "sys.path = [entry for entry in sys.path if entry != here]\n"
                "del sys.modules['sitecustomize']\n"
                "import sitecustomize\n"
                "sys.path.insert(0, here)\n"
                "print('front')\n",
                "sitecustomize.py",
            )
        )
        behind = os.path.dirname(script("print('behind')\n", "sitecustomize.py"))
        run, calls = recorded([self.python, "-c", "print('job')"], path=[behind], front=[front])
        self.assertEqual(("behind\nfront\njob\n", ""), (run.stdout, run.stderr))
        self.assertEqual(1, len([call for call in calls if call.arguments.startswith("python = ")]))

    def test_in_a_venv_with_a_sitecustomize(self):
        with Venv(self) as venv:
            with open(os.path.join(venv.packages, "sitecustomize.py"), "w") as file:
                file.write("print('of the venv')\n")
            calls = self.assert_unchanged([venv.python, "-c", "import sys; print(sys.prefix)"])
            self.assertTrue(calls)


class Venv:
    """A venv without pip, which takes a tenth of a second."""

    def __init__(self, test):
        self.folder = tempfile.mkdtemp(dir=scratch)
        made = subprocess.run([test.python, "-m", "venv", "--without-pip", self.folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if made.returncode:
            test.skipTest("skipped: this Python makes no venv")
        self.python = os.path.join(self.folder, "bin", "python")
        self.packages = subprocess.check_output(
            [self.python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], universal_newlines=True
        ).strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)


class Pth(HookTest):
    def test_isolated_pythons(self):
        with Venv(self) as venv:
            job = [venv.python, "-I", "-c", "import sys; print('job', sys.flags.isolated)"]
            self.assertEqual([], self.assert_unchanged(job))
            path = pth.install_pth(venv.packages)
            for flag in ("-I", "-E"):
                calls = self.assert_unchanged([venv.python, flag, "-c", "import gc; gc.collect(); print('job')"])
                self.assertEqual(1, len([call for call in calls if call.arguments.startswith("python = ")]), flag)
                self.assertIn("5 gc generation 2", [call.arguments for call in calls])
            # With both ways in, the hook starts once.
            calls = self.assert_unchanged([venv.python, "-c", "print('job')"])
            self.assertEqual(1, len([call for call in calls if call.arguments.startswith("python = ")]))
            # Outside a recording, and after one, it is silent.
            self.assertEqual(("job 1\n", ""), (plain(job).stdout, plain(job).stderr))
            gone = plain(job, environment={"GAPLESS_HOOK": "/nowhere", "GAPLESS_INJECT": library()})
            self.assertEqual(("job 1\n", "", 0), (gone.stdout, gone.stderr, gone.returncode))
            with open(path) as file:
                self.assertEqual(1, len(file.readlines()))
            self.assertTrue(pth.remove_pth(venv.packages))
            self.assertFalse(pth.remove_pth(venv.packages))
            self.assertEqual([], self.assert_unchanged(job))

    def test_a_file_that_is_not_ours_stays(self):
        folder = tempfile.mkdtemp(dir=scratch)
        with open(os.path.join(folder, pth.FILE), "w") as file:
            file.write("/somewhere\n")
        with self.assertRaises(OSError):
            pth.remove_pth(folder)
        self.assertEqual([pth.FILE], os.listdir(folder))

    def test_from_the_command_line(self):
        folder = tempfile.mkdtemp(dir=scratch)
        command = [self.python, os.path.join(HOOK, "_gapless", "pth.py")]
        self.assertEqual(0, plain(command + ["install", folder]).returncode)
        self.assertEqual([pth.FILE], os.listdir(folder))
        self.assertEqual("removed\n", plain(command + ["remove", folder]).stdout)
        missing = plain(command + ["install", os.path.join(folder, "no")])
        self.assertEqual(1, missing.returncode)
        self.assertIn("No such file", missing.stderr)
        self.assertEqual(1, plain(command).returncode)


class Processes(HookTest):
    def test_each_way_to_start_a_process(self):
        job = os.path.join(JOBS, "fork_job.py")
        for how, least in (("fork", 3), ("spawn", 3), ("forkserver", 4)):
            calls = self.assert_unchanged([self.python, job, "--how", how])
            facts = infos(calls)
            self.assertGreaterEqual(len(facts), least, how)
            self.assertTrue(all("python" in of for of in facts.values()), how)
            workers = {call.pid for call in calls if call.function == "thread_name" and call.arguments == "child thread"}
            self.assertGreaterEqual(len(workers), 1, how)
            self.assert_balanced([call for call in calls if call.pid in workers], {"push_kind"}, {"pop"})

    def test_fork_in_the_middle_of_a_range(self):
        job = os.path.join(JOBS, "fork_job.py")
        calls = self.assert_unchanged([self.python, job, "--how", "bare"])
        parent = next(call.pid for call in calls if call.arguments == "around the fork")
        children = {call.pid for call in calls} - {parent}
        self.assertEqual(1, len(children))
        self.assertIn("python", infos(calls)[children.pop()])
        self.assert_balanced([call for call in calls if call.pid == parent], {"push", "push_kind"}, {"pop"})

    def test_a_forked_child_has_its_own_steps(self):
        job = script(
            "import gapless, os, sys\n"
            "gapless.step()\ngapless.step()\n"
            "child = os.fork()\n"
            "if child:\n    os.waitpid(child, 0)\n"
            "else:\n    gapless.step()\n"
        )
        run, calls = recorded([self.python, job])
        self.assertEqual(("", 0), (run.stderr, run.returncode))
        steps = {}
        for call in calls:
            if call.function == "step":
                steps.setdefault(call.pid, []).append(call.arguments)
        self.assertEqual([["0", "-1"], ["0", "1", "-1"]], sorted(steps.values()))
        self.assertEqual({"0", "1"}, {facts["steps"] for facts in infos(calls).values()})


class Threads(HookTest):
    def test_names_of_all_threads(self):
        job = script(
            "import threading\n"
            "from concurrent.futures import ThreadPoolExecutor\n"
            "class Own(threading.Thread):\n"
            "    def run(self):\n        pass\n"
            "for thread in (threading.Thread(target=int, name='w\\u00f6rker'), Own(name='own run'), threading.Timer(0, int)):\n"
            "    thread.start()\n    thread.join()\n"
            "with ThreadPoolExecutor(1, thread_name_prefix='pool') as pool:\n    pool.submit(int).result()\n"
        )
        calls = self.assert_unchanged([self.python, job])
        names = [call.arguments for call in calls if call.function == "thread_name"]
        self.assertEqual(["MainThread", "w\u00f6rker", "own run"], names[:3])
        self.assertEqual("pool_0", names[-1])
        self.assertEqual(5, len({call.tid for call in calls if call.function == "thread_name"} | {0}) - 1)

    def test_a_failing_thread_prints_what_it_would(self):
        job = script("import threading\ndef fails():\n    1/0\nthread = threading.Thread(target=fails)\nthread.start()\nthread.join()\n")
        self.assert_unchanged([self.python, job])

    def test_daemon_threads_at_exit(self):
        job = script("import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint(threading.active_count())\n")
        self.assert_unchanged([self.python, job])


class Garbage(HookTest):
    def test_collections_are_ranges(self):
        job = script("import gc\ngc.disable()\nfor generation in (0, 1, 2, 2):\n    gc.collect(generation)\nprint(len(gc.callbacks) < 2)\n")
        run, calls = recorded([self.python, job])
        self.assertEqual(("True\n", ""), (run.stdout, run.stderr))
        own = [call.arguments for call in calls if call.function == "push_kind"]
        wanted = ["5 gc generation %d" % generation for generation in (0, 1, 2, 2)]
        # Python itself may collect before and after the job's lines.
        self.assertIn(",".join(wanted), ",".join(own))
        self.assert_balanced(calls, {"push_kind"}, {"pop"})


class Api(HookTest):
    JOB = (
        "import gapless\n"
        "@gapless.range('function')\n"
        "def function(a, *, b):\n    'its text'\n    return a + b\n"
        "@gapless.range('left alone')\n"
        "def numbers():\n    yield 1\n"
        "@gapless.range('left alone')\n"
        "async def coroutine():\n    pass\n"
        "for index in range(2):\n"
        "    gapless.step()\n"
        "    with gapless.range('outer'):\n"
        "        with gapless.range('inner %s' % index):\n            pass\n"
        "gapless.step(10)\n"
        "gapless.record_window(3)\n"
        "gapless.step()\n"
        "print(function(1, b=2), function.__name__, function.__doc__, list(numbers()))\n"
        "try:\n"
        "    with gapless.range('fails'):\n        raise KeyError\n"
        "except KeyError:\n    print('passed on')\n"
    )

    def test_marks(self):
        run, calls = recorded([self.python, script(self.JOB)], environment={"GAPLESS_PYTHON": ""})
        self.assertEqual(("3 function its text [1]\npassed on\n", "", 0), (run.stdout, run.stderr, run.returncode))
        marks = [(call.function, call.arguments) for call in calls if call.function in ("step", "push", "pop")]
        push, pop = (lambda name: ("push", name)), ("pop", "")
        self.assertEqual(
            [("step", "0"), push("outer"), push("inner 0"), pop, pop, ("step", "1"), push("outer"), push("inner 1"), pop, pop]
            + [("step", "10"), ("step", "11"), push("function"), pop, push("fails"), pop, ("step", "-1")],
            marks,
        )
        (facts,) = infos(calls).values()
        self.assertEqual(("11:14", "3"), (facts["record_window"], facts["steps"]))

    def test_no_operation_where_not_recorded(self):
        copy = os.path.dirname(script(self.JOB))
        shutil.copy(os.path.join(HOOK, "gapless.py"), copy)
        run = plain([self.python, os.path.join(copy, "job.py")])
        self.assertEqual(("3 function its text [1]\npassed on\n", "", 0), (run.stdout, run.stderr, run.returncode))
        run, calls = recorded([self.python, script(self.JOB)], environment={"GAPLESS_PYTHON": "off"})
        self.assertEqual(("3 function its text [1]\npassed on\n", "", 0), (run.stdout, run.stderr, run.returncode))
        self.assertEqual([], calls)


class Trouble(HookTest):
    def one_line(self, **environment):
        job = script("import subprocess, sys\nprint('job', flush=True)\nsubprocess.call([sys.executable, '-c', ''])\nsys.exit(5)\n")
        run, calls = recorded([self.python, job], environment=environment)
        self.assertEqual(("job\n", 5), (run.stdout, run.returncode))
        lines = run.stderr.splitlines()
        self.assertEqual(1, len(lines), run.stderr)
        self.assertTrue(lines[0].startswith("gapless: Python is not recorded: "), lines[0])
        return lines[0]

    def test_library_is_missing(self):
        self.assertIn("/nowhere/libgapless_inject.so", self.one_line(GAPLESS_INJECT="/nowhere/libgapless_inject.so"))

    def test_library_is_none(self):
        self.assertIn(__file__, self.one_line(GAPLESS_INJECT=__file__))

    def test_library_lacks_a_function(self):
        folder = tempfile.mkdtemp(dir=scratch)
        path = os.path.join(folder, "libempty.so")
        library()
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=b"int gapless_version(void) { return 1; }", check=True)
        self.assertIn("gapless_", self.one_line(GAPLESS_INJECT=path))

    def test_library_of_another_version(self):
        self.assertIn("version 2", self.one_line(STAND_IN_VERSION="2"))

    def test_library_by_a_relative_path(self):
        self.assertIn("absolute", self.one_line(GAPLESS_INJECT="libgapless_inject.so"))

    def test_a_damaged_hook(self):
        damaged = tempfile.mkdtemp(dir=scratch)
        shutil.copytree(HOOK, os.path.join(damaged, "hook"))
        with open(os.path.join(damaged, "hook", "_gapless", "facts.py"), "w") as file:
            file.write("this is no Python\n")
        run, _ = recorded([self.python, "-c", "print('job')"], environment={"PYTHONPATH": os.path.join(damaged, "hook")})
        self.assertEqual(("job\n", 0), (run.stdout, run.returncode))
        self.assertEqual(1, len(run.stderr.splitlines()), run.stderr)
        os.remove(os.path.join(damaged, "hook", "_gapless", "__init__.py"))
        run, _ = recorded([self.python, "-c", "print('job')"], environment={"PYTHONPATH": os.path.join(damaged, "hook")})
        self.assertEqual(("job\n", "", 0), (run.stdout, run.stderr, run.returncode))


if __name__ == "__main__":
    unittest.main()
