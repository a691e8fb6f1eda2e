"""What records a Python process from inside: the hook of `gapless record`.

`start` runs before the job's first line. It loads the recording library, says what this process is, and waits for the
modules that it has something to do with; nothing is imported that the job does not import itself. Each source of
events is a module of its own:

- `torch_ops`, `stepaside`: PyTorch's operators, and making way for the job's own profiler
- `steps`: training steps from optimizers, and those that the job marks
- `dataloader`, `gc_events`, `threads`, `collectives`: what their names say
- `library`, `imports`, `trouble`: the C library, the wait for imports, the one line when something is wrong
- `pth`: the way into Pythons that ignore PYTHONPATH

Rules for all of them: the job's results, its output and its exit code stay as they are; everything is taken back at
exit; whatever fails here is caught here.

Environment: `GAPLESS_INJECT` is the library, `GAPLESS_PYTHON` lists what is turned on (all where it is not set;
`off` for nothing at all).
"""

import os
import sys

SOURCES = ("operators", "optimizer", "dataloader", "gc", "threads", "collectives")

#: The recording library's functions (`library.Library`), or None where this process is not recorded.
lib = None

_started = False
_sources = frozenset()
_at_exit = []


def wanted_sources(setting):
    """The sources that a value of GAPLESS_PYTHON turns on. Unknown names are ignored: a newer launcher may know more."""
    if setting is None:
        return frozenset(SOURCES)
    names = {name.strip() for name in setting.split(",")}
    return frozenset() if "off" in names else frozenset(SOURCES) & names


def start():
    """Starts recording this process. Does nothing the second time, and nothing where the process is not recorded."""
    global lib, _started, _sources
    if _started:
        return
    _started = True
    path = os.environ.get("GAPLESS_INJECT")
    setting = os.environ.get("GAPLESS_PYTHON")
    if not path or setting == "off":
        return

    from . import trouble

    try:
        from . import library

        lib = library.load(path)
    except Exception as error:
        # Children inherit this, so that a job of many processes says it once.
        os.environ["GAPLESS_PYTHON"] = "off"
        trouble.say("Python is not recorded: %s" % error)
        return
    try:
        _sources = wanted_sources(setting)
        _start_sources()
    except Exception as error:
        trouble.say("Python is recorded in part: %r" % error)


def _start_sources():
    import atexit

    from . import facts, imports

    atexit.register(_exit)
    facts.of_process(lib)
    os.register_at_fork(after_in_child=_after_fork)
    if "gc" in _sources:
        from . import gc_events

        gc_events.start(lib)
    if "threads" in _sources or "operators" in _sources:
        imports.after("threading", _on_threading)
    imports.after("torch", _on_torch)
    if "dataloader" in _sources:
        imports.after("torch.utils.data.dataloader", _on_dataloader)
    if "collectives" in _sources:
        imports.after("torch.distributed.distributed_c10d", _on_distributed)


def at_exit(undo):
    """Has `undo()` called when Python exits, the last one first. It runs after the job's own exit handlers, because
    ours was registered before theirs."""
    _at_exit.append(undo)


def _exit():
    while _at_exit:
        try:
            _at_exit.pop()()
        except Exception:
            # Too late to say anything: the job has finished, and its exit code is its own.
            pass


def _after_fork():
    """A forked child is a process of its own, with facts of its own. No hook of Python's may raise here."""
    try:
        from . import facts

        facts.of_process(lib)
        if "torch" in sys.modules:
            facts.of_torch(lib, sys.modules["torch"])
    except Exception as error:
        from . import trouble

        trouble.note("fork", repr(error))


def _on_threading(module):
    from . import threads

    threads.start(lib, module, "threads" in _sources)


def _on_torch(torch):
    from . import facts

    facts.of_torch(lib, torch)
    if "operators" in _sources:
        from . import torch_ops

        torch_ops.start(lib, torch)
    # After the operators, so that a trouble here costs as little as possible.
    if "optimizer" in _sources:
        from . import steps

        steps.follow_optimizers(lib, torch)


def _on_dataloader(module):
    from . import dataloader

    dataloader.start(lib, module)


def _on_distributed(module):
    from . import collectives

    collectives.start(lib, module)
