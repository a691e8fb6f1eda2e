"""Makes way for the job's own profiler.

A thread has one profiler. A job that starts `torch.profiler` or the autograd profiler while ours is on would die with
"Profiler is already enabled on this thread". So PyTorch's functions that begin and end one are wrapped, wherever its
modules keep them: ours goes off before the job's goes on, and comes back after it.
"""

import functools
import sys

# The modules that hold the functions under these names. `torch._C` is where everybody could take them from.
_MODULES = ("torch._C._autograd", "torch.autograd", "torch.autograd.profiler", "torch.autograd.profiler_legacy")
_BEGIN = ("_enable_profiler", "_enable_profiler_legacy")
_END = ("_disable_profiler", "_disable_profiler_legacy")


def install(operators, torch):
    """Wraps the functions that begin and end a profiler."""
    bindings = torch._C._autograd
    for name in _BEGIN + _END + ("_profiler_enabled",):
        original = getattr(bindings, name, None)
        if original is None:
            continue
        if name in _BEGIN:
            wrapper = _begin(operators, original)
        elif name in _END:
            wrapper = _end(operators, original)
        else:
            wrapper = _enabled(operators, original)
        functools.update_wrapper(wrapper, original, assigned=("__name__", "__qualname__", "__doc__"), updated=())
        for module in _modules(torch):
            if getattr(module, name, None) is original:
                setattr(module, name, wrapper)


def _modules(torch):
    yield torch._C._autograd
    for name in _MODULES:
        module = sys.modules.get(name)
        if module is not None:
            yield module


def _begin(operators, original):
    def begin(*args, **kwargs):
        operators.make_way()
        try:
            return original(*args, **kwargs)
        except BaseException:
            operators.come_back()
            raise

    return begin


def _end(operators, original):
    def end(*args, **kwargs):
        # Where ours is on, the job's is not on this thread: the call must fail, or end one of the whole process, as
        # it would without us, and must not end ours.
        if not operators.made_way:
            operators.make_way()
        try:
            return original(*args, **kwargs)
        finally:
            operators.come_back()

    return end


def _enabled(operators, original):
    def enabled():
        # The question is whether the job profiles; some of PyTorch's own code takes another path then.
        return False if operators.is_on else original()

    return enabled
