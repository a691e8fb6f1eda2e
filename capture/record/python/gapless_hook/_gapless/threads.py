"""Every thread that Python's `threading` starts: its name, and PyTorch's operators on it.

`Thread._bootstrap_inner` is wrapped, not `run`: subclasses override `run`, and a frame around it would show in the
traceback that a failing thread prints. Around `_bootstrap_inner`, which catches what `run` raises, it does not.
"""

from . import at_exit

# What else begins and ends with a thread: pairs of functions without arguments, which do not raise.
_with_each = []
# The threads whose end we see. On others, nothing must be begun that has to be ended.
_followed = set()
_get_ident = None


def with_each_thread(begin, end):
    """Has `begin()` called on each new thread before its code, and `end()` at the end of every thread."""
    _with_each.append((begin, end))


def is_followed():
    """Whether the calling thread is one whose end we see: the main thread, or one that `threading` started."""
    return _get_ident is not None and _get_ident() in _followed


def start(lib, threading, names):
    """Follows threads; `names` says whether their names are recorded."""
    global _get_ident
    _get_ident = threading.get_ident
    _followed.add(threading.main_thread().ident)
    thread_class = threading.Thread
    original = thread_class._bootstrap_inner

    def _bootstrap_inner(self):
        if names:
            try:
                lib.thread_name(self.name.encode("utf-8", "replace"))
            except Exception:
                # A subclass may have made `name` anything. The thread then goes by its number.
                pass
        ident = _get_ident()
        _followed.add(ident)
        for begin, _ in list(_with_each):
            begin()
        try:
            original(self)
        finally:
            for _, end in list(_with_each):
                end()
            _followed.discard(ident)

    def stop():
        # Something else may have wrapped it since; then taking ours away would take that away too.
        if thread_class._bootstrap_inner is _bootstrap_inner:
            thread_class._bootstrap_inner = original

    thread_class._bootstrap_inner = _bootstrap_inner
    at_exit(stop)
    if names:
        lib.thread_name(b"MainThread")
