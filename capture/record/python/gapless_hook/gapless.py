"""Gapless' marks for a training job. All of it is optional, and does nothing where the job is not recorded.

    import gapless

    for batch in loader:
        gapless.step()                      # a step begins here
        with gapless.range("augment"):      # a range of this thread
            ...

    @gapless.range("evaluate")              # or of a whole function
    def evaluate(): ...

    gapless.record_window(3)                # ask for full detail of three steps, soon

`gapless record` supplies this module to the job. A job that also runs without it can keep a copy of this one file, or
guard the import.
"""

__all__ = ["step", "range", "record_window"]

try:
    import _gapless as _hook
except ImportError:
    _hook = None


def _lib():
    return None if _hook is None else _hook.lib


def step(number=None):
    """Says that a step begins here, and that the one before it ends. Steps are numbered from 0 unless `number` is
    given. From the first call on, optimizers mark no steps any more."""
    lib = _lib()
    if lib is not None:
        from _gapless import steps

        steps.mark(lib, None if number is None else int(number))


class range:
    """A range of the calling thread, as a context manager or around a plain function.

    A range belongs to a thread, so coroutines and generators, which share one, are left as they are.
    """

    __slots__ = ("_name",)

    def __init__(self, name):
        self._name = str(name).encode("utf-8", "replace")

    def __enter__(self):
        lib = _lib()
        if lib is not None:
            lib.push(self._name)
        return self

    def __exit__(self, *_):
        lib = _lib()
        if lib is not None:
            lib.pop()
        return False

    def __call__(self, function):
        import functools
        import inspect

        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            return function

        @functools.wraps(function)
        def inside(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return inside


def record_window(steps=1):
    """Asks the recorder for full detail (shapes, stacks, flows) of the next `steps` steps. PyTorch's profiler looks for
    such wishes about once a second, so the window begins with the next step or up to some seconds later. The recorder
    says no, with a note at the end, where one that this process asked for is still under way."""
    lib = _lib()
    if lib is not None:
        from _gapless import steps as counted

        counted.ask_for_window(lib, int(steps))
