"""PyTorch's operators, autograd nodes and `record_function` ranges, through its ITT emission.

`ProfilerState.ITT` makes PyTorch report every operator to the ITT collector that INTEL_LIBITTNOTIFY64 names, here the
recording library, with plain names that are the same at each call. It costs a fifth of what `torch.profiler` does. The
state belongs to a thread: autograd's own threads and forked workers inherit it, threads of `threading` get it from
`threads`, and a thread that was there before PyTorch gets it at its next step or load of data.

Where nothing is being recorded (`gapless_active`), a thread's emission is turned off at its next step, and on again
when recording begins, so that a job outside its window runs as fast as without us.
"""

import os

from . import at_exit, stepaside, threads, trouble

#: The `Operators` of this process, once PyTorch is there.
operators = None


class Operators:
    """Turns the emission on and off for the calling thread."""

    def __init__(self, lib, torch, threading):
        from torch._C._profiler import ProfilerConfig, ProfilerState, _ExperimentalConfig

        class Here(threading.local):
            # Whether ours is on for this thread, and how many profilers of the job run on it.
            on = False
            of_job = 0

        self._lib = lib
        self._here = Here()
        # Taken before `stepaside` wraps them: these are the real ones.
        self.raw_enable = torch._C._autograd._enable_profiler
        self.raw_disable = torch._C._autograd._disable_profiler
        # Shapes, memory, stacks, flops and modules off: ITT has no place for them.
        config = (ProfilerState.ITT, False, False, False, False, False, _ExperimentalConfig())
        self._config = lambda: ProfilerConfig(*config)

    @property
    def is_on(self):
        return self._here.on

    def turn_on(self):
        """Begins to record this thread's operators, unless that is so, the job's own profiler runs here, or the end
        of the thread would not be seen: PyTorch warns of what is still on then."""
        here = self._here
        if here.on or here.of_job or not threads.is_followed():
            return
        try:
            self.raw_enable(self._config(), set())
            here.on = True
        except Exception as error:
            # Most likely a profiler of the job that was started in a way that we do not see. It has precedence.
            trouble.note("operators", "not recorded on one thread: %r" % error)

    def turn_off(self):
        here = self._here
        if not here.on:
            return
        here.on = False
        try:
            self.raw_disable()
        except Exception as error:
            trouble.note("operators", "could not be turned off on one thread: %r" % error)

    def follow(self):
        """Turns this thread's emission on or off, as the recording is. To be called once in a while, cheaply."""
        if self._lib.active():
            self.turn_on()
        else:
            self.turn_off()

    def make_way(self):
        """Turns ours off because a profiler of the job begins on this thread."""
        self.turn_off()
        self._here.of_job += 1

    def come_back(self):
        """A profiler of the job has ended on this thread: ours goes on after the last one."""
        here = self._here
        here.of_job = max(0, here.of_job - 1)
        if not here.of_job:
            self.follow()

    @property
    def made_way(self):
        return self._here.of_job > 0


def start(lib, torch):
    """Turns the emission on for this thread and those to come."""
    global operators
    import threading

    collector = os.environ.get("INTEL_LIBITTNOTIFY64")
    if collector != os.environ.get("GAPLESS_INJECT"):
        trouble.note("operators", "off: INTEL_LIBITTNOTIFY64 names %s" % (collector or "nothing"))
        return
    itt = getattr(torch._C, "_itt", None)
    if itt is None or not itt.is_available():
        trouble.note("operators", "off: this PyTorch was built without ITT")
        return
    operators = Operators(lib, torch, threading)
    stepaside.install(operators, torch)
    threads.with_each_thread(operators.turn_on, operators.turn_off)
    # Before the threads' own state is torn down: PyTorch warns of a callback that is still there then.
    at_exit(operators.turn_off)
    operators.turn_on()


def follow():
    """Lets the calling thread's emission follow the recording, where PyTorch is there."""
    if operators is not None:
        operators.follow()
