"""Where training steps begin and end.

The rule, without a word from the job: **one step is one `step()` of the leading optimizer**, and a step reaches from
the end of one such call to the end of the next. The leading optimizer is the first one that steps in the process; when
it is gone, the next one that steps. So

- gradient accumulation gives one step per update, not per batch;
- several optimizers that take turns (a GAN, one per parameter, one per pipeline stage) give one step per round;
- where the leader is stepped several times per round, each counts, and where an update is skipped (a loss scaler found
  an overflow) two rounds are one step. A job that wants it otherwise calls `gapless.step()`.

Step 0 begins with the first load of data; where there is none, with the leader's first call, whose step then is not
seen whole. The last step that has begun ends at exit and holds whatever came after the training; the fact `steps` is
the number of whole ones.

Once the job has called `gapless.step()`, its calls alone count.
"""

import os
import sys
import weakref

from . import at_exit, torch_ops
from .facts import tell


class _Steps:
    def __init__(self, lib):
        self.lib = lib
        # The step that is under way; -1 before the first one.
        self.current = -1
        # Whether its beginning was seen.
        self.is_open = False
        # Whole steps so far.
        self.finished = 0
        self.by_job = False
        self.leader = None

    def begin(self, number):
        self.finished += self.is_open
        self.is_open = True
        self.current = number
        self.lib.step(number)
        torch_ops.follow()

    def finish(self):
        if not self.is_open:
            return
        self.lib.step(-1)
        tell(self.lib, "steps", self.finished)


_steps = None


def _of_process(lib):
    global _steps
    if _steps is None:
        _steps = _Steps(lib)
        at_exit(_finish)
        os.register_at_fork(after_in_child=_forget)
    return _steps


def _finish():
    if _steps is not None:
        _steps.finish()


def _forget():
    """A forked child has steps of its own, if any."""
    if _steps is not None:
        _steps.__init__(_steps.lib)


def mark(lib, number=None):
    """The job says that a step begins here."""
    steps = _of_process(lib)
    steps.by_job = True
    steps.begin(steps.current + 1 if number is None else number)


def ask_for_window(lib, count):
    """The job asks for detail of the next `count` steps: the recorder is told the first one and the one after the
    last, as `first:end`."""
    first = _of_process(lib).current + 1
    tell(lib, "record_window", "%d:%d" % (first, first + max(count, 1)))


def first_load(lib):
    """Data is being loaded: step 0 begins, if none has begun yet."""
    steps = _of_process(lib)
    if steps.current < 0 and not steps.by_job:
        steps.begin(0)


def follow_optimizers(lib, torch):
    """Begins a step at each end of the leading optimizer's `step()`."""
    register = getattr(sys.modules.get("torch.optim.optimizer"), "register_optimizer_step_post_hook", None)
    is_compiling = getattr(getattr(torch, "compiler", None), "is_compiling", None)
    if register is None or is_compiling is None:
        from . import trouble

        trouble.note("optimizer", "off: this PyTorch has no hook for all optimizers")
        return
    steps = _of_process(lib)

    def after_step(optimizer, args, kwargs):
        # A compiler that traces this takes it as constant and leaves the rest out of its graph.
        if is_compiling() or steps.by_job:
            return
        leader = steps.leader and steps.leader()
        if leader is None:
            steps.leader = weakref.ref(optimizer)
        elif leader is not optimizer:
            return
        if steps.current < 0:
            # Its beginning was not seen, but it has a number.
            steps.current = 0
        steps.begin(steps.current + 1)

    handle = register(after_step)
    at_exit(handle.remove)

