"""The Python hook in jobs with PyTorch.

Run with `python3 -m unittest test_hook_torch` in this folder. PyTorch is taken from $GAPLESS_TORCH_VENV or
target/torch-venv, as setup-torch.sh makes it; without it these tests say that they are skipped.
"""

import collections
import json
import os
import unittest

from hook_runs import JOBS, ROOT, HookTest, infos, plain, recorded, scratch, script

VENV = os.environ.get("GAPLESS_TORCH_VENV") or os.path.join(ROOT, "target", "torch-venv")
PYTHON = os.path.join(VENV, "bin", "python")
TORCHRUN = os.path.join(VENV, "bin", "torchrun")

# A model and a training step, and what each test does with them.
STEP = """
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
def step():
    model(torch.ones(4, 8)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""


def operators(calls):
    """The names that ITT reported, with how often."""
    return collections.Counter(call.arguments for call in calls if call.function == "itt")


def collectives(calls):
    """Process -> its collectives in order."""
    found = collections.defaultdict(list)
    for call in calls:
        if call.function == "collective":
            found[call.pid].append(json.loads(call.arguments))
    return found


def steps(calls):
    return [int(call.arguments) for call in calls if call.function == "step"]


@unittest.skipUnless(os.path.exists(PYTHON), "skipped: no PyTorch in %s (tests/python/setup-torch.sh makes it)" % VENV)
class TorchTest(HookTest):
    python = PYTHON

    def job(self, name, *options):
        return [self.python, os.path.join(JOBS, name)] + list(options)


class Training(TorchTest):
    def test_workers_steps_and_waits(self):
        calls = self.assert_unchanged(self.job("train.py", "--steps", "5"))
        self.assert_balanced(calls, {"itt"}, {"itt_end"})
        main = next(call.pid for call in calls if call.function == "step")
        own = [call for call in calls if call.pid == main]
        self.assertEqual([0, 1, 2, 3, 4, 5, -1], steps(calls))
        facts = infos(calls)
        self.assertEqual("5", facts[main]["steps"])
        self.assertTrue(facts[main]["torch"])
        # One wait per batch, and the one that finds the end.
        self.assertEqual(6, len([call for call in own if call.arguments == "4 DataLoader wait"]))
        names = operators(own)
        self.assertEqual(5, names["Optimizer.step#AdamW.step"])
        self.assertGreater(names["aten::addmm"], 5)
        # Each worker is a process of its own, with its operators.
        workers = set(facts) - {main}
        self.assertEqual(2, len(workers))
        for worker in workers:
            self.assertIn("aten::randint", operators([call for call in calls if call.pid == worker]))
            self.assertNotIn("python_hook:trouble", facts[worker])

    def test_step_begins_with_the_load_and_ends_with_the_update(self):
        _, calls = recorded(self.job("train.py", "--steps", "3", "--workers", "0"))
        kinds = [call for call in calls if call.function == "step" or call.arguments in ("4 DataLoader wait", "Optimizer.step#AdamW.step")]
        text = " ".join({"step": "step" + call.arguments, "itt": "update", "push_kind": "wait"}[call.function] for call in kinds)
        self.assertEqual("step0 wait update step1 wait update step2 wait update step3 wait step-1", text)

    def test_gradient_accumulation(self):
        calls = self.assert_unchanged(self.job("train.py", "--steps", "3", "--accumulate", "4", "--workers", "0", "--model", "mlp"))
        self.assertEqual([0, 1, 2, 3, -1], steps(calls))
        self.assertEqual(13, len([call for call in calls if call.arguments == "4 DataLoader wait"]))

    def test_workers_that_are_spawned(self):
        job = script(
            "import torch\n"
            "from torch.utils.data import DataLoader, TensorDataset\n"
            "if __name__ == '__main__':\n"
            "    data = TensorDataset(torch.arange(8))\n"
            "    for how in ('spawn', 'forkserver'):\n"
            "        print([batch[0].tolist() for batch in DataLoader(data, 4, num_workers=1, multiprocessing_context=how)])\n"
        )
        calls = self.assert_unchanged([self.python, job])
        self.assertGreaterEqual(len(infos(calls)), 4)
        self.assertEqual(6, len([call for call in calls if call.arguments == "4 DataLoader wait"]))

    def test_several_optimizers(self):
        job = script(
            STEP
            + "other = torch.optim.SGD(model.parameters(), lr=1e-3)\n"
            + "for _ in range(3):\n    step()\n    other.step()\n    other.step()\n"
            # The leader goes, the other one takes over.
            + "del optimizer\nfor _ in range(2):\n    other.step()\n"
        )
        _, calls = recorded([self.python, job])
        self.assertEqual([1, 2, 3, 4, 5, -1], steps(calls))
        self.assertEqual({"4"}, {facts["steps"] for facts in infos(calls).values()})

    def test_steps_of_the_job_alone_count(self):
        job = script("import gapless\n" + STEP + "for _ in range(3):\n    gapless.step()\n    step()\n    step()\n")
        _, calls = recorded([self.python, job])
        self.assertEqual([0, 1, 2, -1], steps(calls))

    def test_a_failing_job_prints_what_it_would(self):
        job = script(STEP + "step()\nmodel(torch.ones(3, 3))\n")
        self.assert_unchanged([self.python, job])

    def test_a_compiled_step(self):
        job = script(
            STEP
            + "import torch._dynamo.utils\n"
            + "torch.compile(step, backend='eager')()\n"
            + "step()\n"
            + "print(sum(p.sum().item() for p in model.parameters()), dict(torch._dynamo.utils.counters['graph_break']))\n"
            + "print(dict(torch._dynamo.utils.counters['stats']))\n"
        )
        self.assert_unchanged([self.python, job])


class Operators(TorchTest):
    def test_counts_are_those_of_the_profiler(self):
        profiled = script(
            STEP
            + "step()\n"
            + "from torch.profiler import profile, ProfilerActivity\n"
            + "with profile(activities=[ProfilerActivity.CPU]) as profiler:\n    for _ in range(3):\n        step()\n"
            # The profiler's own table leaves out an operator that calls itself; its trace has all.
            + "profiler.export_chrome_trace('counted.json')\n"
        )
        self.assertEqual(0, plain([self.python, profiled]).returncode)
        with open(os.path.join(scratch, "counted.json")) as file:
            events = json.load(file)["traceEvents"]
        wanted = collections.Counter(event["name"] for event in events if event.get("cat") in ("cpu_op", "user_annotation"))
        recorded_job = script(
            "import _gapless\n" + STEP + "step()\n_gapless.lib.mark(b'begin')\nfor _ in range(3):\n    step()\n_gapless.lib.mark(b'end')\n"
        )
        _, calls = recorded([self.python, recorded_job])
        marks = [index for index, call in enumerate(calls) if call.function == "mark"]
        self.assertEqual(wanted, operators(calls[marks[0] : marks[1]]))

    def test_all_threads(self):
        job = script(
            STEP
            + "import threading\n"
            + "class Own(threading.Thread):\n    def run(self):\n        torch.ones(3).cumsum(0)\n"
            + "threads = [Own() for _ in range(3)]\n"
            + "for thread in threads: thread.start()\n"
            + "for thread in threads: thread.join()\n"
        )
        calls = self.assert_unchanged([self.python, job])
        self.assertEqual(3, len({call.tid for call in calls if call.arguments == "aten::cumsum"}))

    def test_threads_from_elsewhere_are_left_alone(self):
        # Their end is not seen, and PyTorch would warn of what is still on then.
        job = script(
            STEP
            + "import _thread, time\n"
            + "done = []\n"
            + "def work():\n    step()\n    done.append(1)\n"
            + "_thread.start_new_thread(work, ())\n"
            + "while not done: time.sleep(0.01)\n"
            + "time.sleep(0.1)\nstep()\n"
        )
        self.assert_unchanged([self.python, job])

    def test_imported_on_another_thread(self):
        job = script(
            "import threading\n"
            + "def load():\n    import torch\n    torch.ones(3).cumsum(0)\n"
            + "thread = threading.Thread(target=load)\nthread.start()\nthread.join()\n"
            + STEP
            + "step()\ntorch.ones(3).cumprod(0)\n"
        )
        calls = self.assert_unchanged([self.python, job])
        self.assertEqual((1, 1), (operators(calls)["aten::cumsum"], operators(calls)["aten::cumprod"]))

    def test_follows_the_recording(self):
        flag = os.path.join(scratch, "paused")
        job = script(
            STEP
            + "import os\nflag = os.environ['STAND_IN_PAUSED']\n"
            + "step()\ntorch.ones(3).cumsum(0)\n"
            + "open(flag, 'w').close()\nstep()\ntorch.ones(3).cumprod(0)\n"
            + "os.remove(flag)\nstep()\ntorch.ones(3).logcumsumexp(0)\n"
        )
        _, calls = recorded([self.python, job], environment={"STAND_IN_PAUSED": flag})
        names = operators(calls)
        self.assertEqual((1, 0, 1), (names["aten::cumsum"], names["aten::cumprod"], names["aten::logcumsumexp"]))

    def test_another_collector(self):
        _, calls = recorded([self.python, script(STEP + "step()\n")], environment={"INTEL_LIBITTNOTIFY64": "/nowhere/lib.so"})
        (facts,) = infos(calls).values()
        self.assertIn("/nowhere/lib.so", facts["python_hook:operators"])
        self.assertEqual(0, sum(operators(calls).values()))
        self.assertEqual([1, -1], steps(calls))


class OwnProfiler(TorchTest):
    """The job's own profiler sees what it sees without us, and ours goes on after it."""

    def check(self, how):
        command = self.job("profiled.py", "--how", how, "--steps", "6")
        without = plain(command)
        run, calls = recorded(command)
        self.assertEqual((without.stdout, 0, 0), (run.stdout, without.returncode, run.returncode), run.stderr)
        # PyTorch prints lines with times and process ids while it profiles; there are as many.
        self.assertEqual(len(without.stderr.splitlines()), len(run.stderr.splitlines()))
        self.assertNotIn("gapless", run.stderr)
        # One step of the job is before its profiler and one behind it.
        begun = [index for index, call in enumerate(calls) if call.arguments == "Optimizer.step#AdamW.step"]
        ended = [index for index, call in enumerate(calls) if call.function == "step"]
        self.assertLess(begun[0], ended[0])
        # The last one is the end at exit; the step before it is the one behind the profiler.
        self.assertTrue(ended[-3] < begun[-1] < ended[-2], "operators do not go on")
        return len(begun), len(steps(calls)) - 1

    def test_profile(self):
        self.assertEqual((2, 8), self.check("plain"))

    def test_with_stacks(self):
        self.assertEqual((2, 8), self.check("stacks"))

    def test_schedule(self):
        # Of six steps the profiler takes two, then waits one, warms up for one and stops within the next.
        seen, all_steps = self.check("schedule")
        self.assertEqual(8, all_steps)
        self.assertTrue(2 < seen < 8, seen)

    def test_autograd_profiler(self):
        self.assertEqual((2, 8), self.check("autograd"))

    def test_one_that_emits_itt_itself(self):
        self.assertEqual((8, 8), self.check("emit_itt"))

    def test_failing_and_nested(self):
        self.check("failing")

    def test_work_on_another_thread(self):
        # The thread has no profiler of the job, so ours records it.
        self.assertEqual(3, self.check("thread")[0])

    def test_its_trace_is_written(self):
        traces = []
        for run in (plain, recorded):
            out = os.path.join(scratch, "trace.json")
            run(self.job("profiled.py", "--out", out))
            with open(out) as file:
                traces.append(collections.Counter(event.get("name") for event in json.load(file)["traceEvents"] if event.get("cat") == "cpu_op"))
            os.remove(out)
        self.assertTrue(traces[0])
        self.assertEqual(traces[0], traces[1])


class Distributed(TorchTest):
    def ddp(self, *options, ranks=2, environment=None):
        command = [TORCHRUN, "--nproc-per-node", str(ranks), os.path.join(JOBS, "ddp.py"), "--workers", "1"] + list(options)
        # torchrun warns of this variable otherwise, with a time in the line.
        variables = dict(environment or {}, OMP_NUM_THREADS="1")
        without = plain(command, environment=variables)
        run, calls = recorded(command, environment=variables)
        self.assertEqual(sorted(without.stdout.splitlines()), sorted(run.stdout.splitlines()))
        self.assertEqual((without.stderr, without.returncode), (run.stderr, run.returncode))
        self.assertEqual(0, run.returncode)
        return calls

    def test_two_ranks(self):
        calls = self.ddp("--steps", "3", "--subgroup", "--exchange")
        facts, found = infos(calls), collectives(calls)
        self.assertEqual({"0", "1"}, {facts[pid]["rank"] for pid in found})
        for pid in found:
            self.assertEqual(("2", "gloo", "3"), (facts[pid]["world_size"], facts[pid]["backend"], facts[pid]["steps"]))
            self.assertEqual(("[0, 1]", "default_pg"), (facts[pid]["group:0"], facts[pid]["group_description:0"]))
            self.assertEqual("metrics", facts[pid]["group_description:1"])
            self.assertFalse([key for key in facts[pid] if key.startswith("python_hook")])
        one, two = found.values()
        same = ("name", "group", "group_size", "seq", "bytes", "dtype", "in_elements", "root", "backend")
        of_rank = [
            [tuple(each.get(key) for key in same) for each in rank if not each.get("is_p2p")] for rank in (one, two)
        ]
        self.assertEqual(of_rank[0], of_rank[1])
        for group in ("0", "1"):
            numbers = [each["seq"] for each in one if each["group"] == group and not each.get("is_p2p")]
            self.assertEqual(list(range(1, len(numbers) + 1)), numbers)
        # DDP's gradients, one bucket per step.
        reduced = [each for each in one if each["name"] == "allreduce" and each["group"] == "0"]
        self.assertEqual([(29568, "float32", 118272, True)] * 3, [(e["in_elements"], e["dtype"], e["bytes"], e["async"]) for e in reduced])
        # The n-th send of one is the n-th receive of the other.
        for mine, other in ((one, two), (two, one)):
            sent = [(e["seq"], e["bytes"]) for e in mine if e["name"] == "send"]
            got = [(e["seq"], e["bytes"]) for e in other if e["name"] == "recv"]
            self.assertEqual([(1, 32), (2, 32), (3, 32)], sent)
            self.assertEqual(sent, got)

    def test_numbers_are_those_of_the_flight_recorder(self):
        job = script(
            "import json, torch, torch.distributed as dist\n"
            "dist.init_process_group('gloo')\n"
            "other = dist.new_group([0])\n"
            "x = torch.ones(10)\n"
            "dist.all_reduce(x); dist.broadcast(x, 0); dist.barrier(); dist.all_gather([torch.ones(10)], x)\n"
            "dist.all_reduce(x, group=other); dist.reduce(x, 0); dist.all_gather_object([None], 'a')\n"
            "dist.reduce_scatter_tensor(torch.ones(10), x)\n"
            "got = json.loads(torch._C._distributed_c10d._dump_fr_trace_json())\n"
            "print(json.dumps([[e['process_group'][0], e['collective_seq_id'], e['op_id'], sum(i for s in e['input_sizes'] for i in s)] for e in got['entries']]))\n"
            "dist.destroy_process_group()\n"
        )
        command = [TORCHRUN, "--nproc-per-node", "1", job]
        run, calls = recorded(command, environment={"TORCH_FR_BUFFER_SIZE": "100", "OMP_NUM_THREADS": "1"})
        wanted = [tuple(each[:3]) for each in json.loads(run.stdout)]
        (found,) = collectives(calls).values()
        self.assertEqual(9, len(wanted))
        self.assertEqual(sorted(wanted), sorted((e["group"], e["seq"], e["op_id"]) for e in found))

    def test_group_that_is_left_at_exit(self):
        job = script("import torch, torch.distributed as dist\ndist.init_process_group('gloo', rank=0, world_size=1, store=dist.HashStore())\ndist.all_reduce(torch.ones(3))\nprint('done')\n")
        for _ in range(8):
            run, calls = recorded([self.python, job])
            (facts,) = infos(calls).values()
            self.assertEqual(("done\n", "0", "1"), (run.stdout, facts["rank"], facts["world_size"]))
            # PyTorch itself now and then ends such a job with this line, also without us.
            if run.stderr != "terminate called without an active exception\n":
                break
        self.assertEqual(("", 0), (run.stderr, run.returncode))

    def test_group_that_is_dropped(self):
        job = script(
            "import torch, torch.distributed as dist, weakref, gc\n"
            "for _ in range(2):\n"
            "    dist.init_process_group('gloo', rank=0, world_size=1, store=dist.HashStore())\n"
            "    group = dist.new_group([0])\n"
            "    dist.all_reduce(torch.ones(3), group=group)\n"
            "    alive = weakref.ref(group)\n"
            "    dist.destroy_process_group()\n"
            "    del group\n    gc.collect()\n"
            "    print(alive())\n"
        )
        calls = self.assert_unchanged([self.python, job])
        (found,) = collectives(calls).values()
        self.assertEqual(2, len(found))

    def test_functions_where_groups_have_no_hooks(self):
        """What an older PyTorch gets, on this one: the job is the same, the functions are wrapped instead."""
        body = (
            "import torch\ndist = torch.distributed\n"
            "dist.init_process_group('gloo')\n"
            "rank = dist.get_rank()\n"
            "other = dist.new_group([0])\n"
            "x = torch.ones(10)\n"
            "dist.all_reduce(x); dist.broadcast(x, src=1); dist.barrier(); dist.all_gather([torch.ones(10), torch.ones(10)], x)\n"
            "dist.all_reduce(x, group=other); dist.reduce(x, 1); dist.all_gather_object([None, None], 'a')\n"
            "dist.all_gather_into_tensor(torch.ones(20), x); dist.all_to_all_single(torch.ones(10), x)\n"
            "dist.gather(x, [torch.ones(10), torch.ones(10)] if rank == 0 else None, dst=0)\n"
            "dist.scatter(x, [torch.ones(10), torch.ones(10)] if rank == 1 else None, src=1)\n"
            "dist.reduce_scatter_tensor(torch.ones(5), x)\n"
            "dist.send(x, 1) if rank == 0 else dist.recv(x, src=0)\n"
            "dist.all_reduce(x, async_op=True).wait()\n"
            "import sys\nsys.stdout.write('%d %s %s\\n' % (rank, x.sum().item(), dist.all_reduce.__name__))\n"
            "dist.destroy_process_group()\n"
        )
        by_functions = (
            "import sys, torch.distributed, _gapless\nfrom _gapless import collective_functions\n"
            "collective_functions.start(_gapless.lib, torch.distributed.distributed_c10d)\n"
        )
        results = []
        for text, sources in ((body, "collectives"), (by_functions + body, "gc")):
            command = [TORCHRUN, "--nproc-per-node", "2", script(text)]
            run, calls = recorded(command, environment={"GAPLESS_PYTHON": sources, "OMP_NUM_THREADS": "1"})
            self.assertEqual(0, run.returncode, run.stderr)
            facts, found = infos(calls), collectives(calls)
            self.assertFalse([key for of in facts.values() for key in of if key.startswith("python_hook")])
            results.append((sorted(run.stdout.splitlines()), {facts[pid]["rank"]: found[pid] for pid in found}))
        (out, hooks), (same_out, functions) = results
        self.assertEqual(out, same_out)
        for rank in ("0", "1"):
            # What both know of: outputs and asynchrony are written down differently by a function's caller.
            view = [
                [(e["name"], e["group"], e["seq"], e.get("root"), e.get("peer")) for e in found[rank]]
                for found in (hooks, functions)
            ]
            self.assertEqual(view[0], view[1])
            self.assertEqual([e["dtype"] for e in hooks[rank]], [e["dtype"] for e in functions[rank]])


if __name__ == "__main__":
    unittest.main()
