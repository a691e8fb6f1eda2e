"""How long the training loop waits for its data: one range per `next()` of a DataLoader's iterator.

PyTorch's own range of the same place, `enumerate(DataLoader)#…__next__`, comes with the operators; this one is there
without them too, and tells by its kind what it is.
"""

from . import at_exit, steps, torch_ops
from .library import DATA_WAIT

NAME = b"DataLoader wait"


def start(lib, module):
    """Wraps `__next__` of the iterators' base class, which both the one of this process and the one of worker
    processes use; `module` is `torch.utils.data.dataloader`."""
    base = module._BaseDataLoaderIter
    original = base.__next__
    push, pop = lib.push_kind, lib.pop

    def __next__(self):
        try:
            steps.first_load(lib)
            torch_ops.follow()
        finally:
            push(NAME, DATA_WAIT)
        try:
            return original(self)
        finally:
            pop()

    def stop():
        if base.__next__ is __next__:
            base.__next__ = original

    base.__next__ = __next__
    at_exit(stop)
