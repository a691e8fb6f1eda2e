"""The identity of collectives on a PyTorch whose process groups have no hooks: its functions are wrapped.

Only what the job calls through `torch.distributed` is seen, not what C++ starts, as DDP's reducer does.
"""

import functools
import inspect
import sys
import weakref

from . import at_exit, torch_ops, trouble
from .collectives import _Group, tell_world

# Function -> (name of the collective, position and name of what goes in, of what comes out, of the root or peer).
# None where there is none.
_FUNCTIONS = {
    "all_reduce": ("allreduce", (0, "tensor"), (0, "tensor"), None),
    "broadcast": ("broadcast", (0, "tensor"), (0, "tensor"), (1, "src")),
    "reduce": ("reduce", (0, "tensor"), (0, "tensor"), (1, "dst")),
    "all_gather": ("allgather", (1, "tensor"), (0, "tensor_list"), None),
    "all_gather_into_tensor": ("_allgather_base", (1, "input_tensor"), (0, "output_tensor"), None),
    "all_gather_single": ("_allgather_base", (1, "input_tensor"), (0, "output_tensor"), None),
    "gather": ("gather", (0, "tensor"), (1, "gather_list"), (2, "dst")),
    "scatter": ("scatter", (1, "scatter_list"), (0, "tensor"), (2, "src")),
    "reduce_scatter": ("reduce_scatter", (1, "input_list"), (0, "output"), None),
    "reduce_scatter_tensor": ("_reduce_scatter_base", (1, "input"), (0, "output"), None),
    "reduce_scatter_single": ("_reduce_scatter_base", (1, "input"), (0, "output"), None),
    "all_to_all": ("alltoall", (1, "input_tensor_list"), (0, "output_tensor_list"), None),
    "all_to_all_single": ("alltoall_base", (1, "input"), (0, "output"), None),
    "barrier": ("barrier", None, None, None),
    "send": ("send", (0, "tensor"), None, (1, "dst")),
    "isend": ("send", (0, "tensor"), None, (1, "dst")),
    "recv": ("recv", None, (0, "tensor"), (1, "src")),
    "irecv": ("recv", None, (0, "tensor"), (1, "src")),
}


def start(lib, module):
    """Wraps the functions in `torch.distributed.distributed_c10d` (`module`) and where they were taken from there."""
    import threading

    groups = weakref.WeakKeyDictionary()
    # A function may call another one of them; the outer one counts.
    inside = threading.local()
    undo = []
    # Where `torch.distributed` has not taken the names over yet, it takes the wrappers.
    for name in _FUNCTIONS:
        original = getattr(module, name, None)
        if original is None:
            continue
        wrapper = _wrap(lib, module, groups, inside, name, original)
        for place in (module, sys.modules.get("torch.distributed")):
            if place is not None and getattr(place, name, None) is original:
                setattr(place, name, wrapper)
                undo.append((place, name, original, wrapper))

    def stop():
        for place, name, original, wrapper in undo:
            if getattr(place, name, None) is wrapper:
                setattr(place, name, original)

    at_exit(stop)


def _wrap(lib, module, groups, inside, function, original):
    name, given, received, root = _FUNCTIONS[function]
    is_async = function in ("isend", "irecv")
    code = inspect.unwrap(original).__code__
    positions = code.co_varnames[: code.co_argcount]
    # Where the two stand that most of them take; behind all where they are not there, so by name.
    group_at, async_at = ((positions.index(each) if each in positions else 99, each) for each in ("group", "async_op"))

    def argument(args, kwargs, at):
        if at is None:
            return None
        position, parameter = at
        return args[position] if len(args) > position else kwargs.get(parameter)

    def record(args, kwargs):
        group = argument(args, kwargs, group_at) or module._get_default_group()
        if not isinstance(group, module.ProcessGroup):
            # What stands for a group that this process is not in; the call does nothing.
            return
        about = groups.get(group)
        if about is None:
            about = groups[group] = _Group(lib, module, group)
            tell_world(lib, about)
            about.describe(module, group)
        peer = argument(args, kwargs, root)
        if peer is not None and peer in about.ranks:
            # By this name the functions take ranks of the world, by the other one ranks of the group.
            peer = about.ranks.index(peer)
        elif peer is None and root is not None:
            peer = kwargs.get("group_" + root[1])
        peer = -1 if peer is None else int(peer)
        asynchronous = is_async or bool(argument(args, kwargs, async_at))
        about.record(name, _tensors(argument(args, kwargs, given)), _tensors(argument(args, kwargs, received)), peer, asynchronous)

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        if getattr(inside, "one", False):
            return original(*args, **kwargs)
        try:
            torch_ops.follow()
            record(args, kwargs)
        except Exception as error:
            trouble.note("collectives", "%s is not recorded: %r" % (function, error))
        inside.one = True
        try:
            return original(*args, **kwargs)
        finally:
            inside.one = False

    return wrapper


def _tensors(value):
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple)) else (value,)
