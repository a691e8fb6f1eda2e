"""A JAX job on CPU, alone and under `gapless record`: the same output, and its steps, ranges and threads in the recording.

    GAPLESS=target/debug/gapless GAPLESS_JAX_PYTHON=/path/to/python python3 -m unittest test_jax

JAX reports no operators to ITT or NVTX on CPU, so what is recorded of it is what the job itself marks, garbage
collection, and, with `--sample`, stacks. Skipped with a line where there is no Python with JAX, or no program.
"""

import json
import os
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
GAPLESS = os.environ.get("GAPLESS", os.path.join(HERE, "../../target/debug/gapless"))
PYTHON = os.environ.get("GAPLESS_JAX_PYTHON", os.path.join(HERE, "../../target/jax-venv/bin/python"))

JOB = """
import jax, jax.numpy as jnp
try:
    import gapless
except ImportError:
    gapless = None

@jax.jit
def update(weights, inputs, wanted):
    loss = lambda weights: jnp.mean((jnp.tanh(inputs @ weights) - wanted) ** 2)
    return weights - 0.1 * jax.grad(loss)(weights)

key = jax.random.PRNGKey(0)
inputs = jax.random.normal(key, (64, 32))
wanted = jnp.ones((64, 8))
weights = jnp.zeros((32, 8))
for index in range(50):
    if gapless:
        gapless.step()
        with gapless.range("update"):
            weights = update(weights, inputs, wanted).block_until_ready()
    else:
        weights = update(weights, inputs, wanted).block_until_ready()
print("%.6f" % float(weights.sum()), jax.default_backend())
"""


def why_not():
    if not os.access(GAPLESS, os.X_OK):
        return "there is no %s; build it, or name it with GAPLESS" % GAPLESS
    if not os.access(PYTHON, os.X_OK) or subprocess.run([PYTHON, "-c", "import jax"], capture_output=True).returncode:
        return "there is no Python with JAX at %s; `pip install jax` in a venv, and name it with GAPLESS_JAX_PYTHON" % PYTHON
    return None


class Jax(unittest.TestCase):
    def setUp(self):
        reason = why_not()
        if reason:
            self.skipTest(reason)

    def test_a_job_is_the_same_and_recorded(self):
        with tempfile.TemporaryDirectory() as folder:
            job = os.path.join(folder, "job.py")
            with open(job, "w") as file:
                file.write(JOB)
            environment = dict(os.environ, JAX_PLATFORMS="cpu")
            environment.pop("GAPLESS_INJECT", None)
            run = lambda command: subprocess.run(command, capture_output=True, text=True, env=environment)
            recording = os.path.join(folder, "run")
            alone = run([PYTHON, job])
            with_us = run([GAPLESS, "record", "-q", "-o", recording, "--", PYTHON, job])
            self.assertEqual((0, alone.stdout, alone.stderr), (with_us.returncode, with_us.stdout, with_us.stderr))
            self.assertTrue(alone.stdout.endswith(" cpu\n"), alone.stdout)
            info = run([GAPLESS, "info", "--json", recording])
            self.assertEqual(0, info.returncode, info.stderr)
            found = json.loads(info.stdout)
            kinds = found["events_by_kind"]
            self.assertEqual((50, 50), (kinds.get("step"), kinds.get("annotation")), kinds)
            self.assertEqual([], found["warnings"])
            with open(os.path.join(recording, "manifest.json")) as file:
                manifest = json.load(file)
            self.assertEqual((True, 0, []), (manifest["finished"], manifest["exit"], manifest["notices"]))
            (process,) = manifest["processes"]
            self.assertIn("python", process["sources"])
            self.assertEqual(0, sum(process["lost"].values()), process["lost"])


if __name__ == "__main__":
    unittest.main()
