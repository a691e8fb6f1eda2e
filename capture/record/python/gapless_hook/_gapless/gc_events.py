"""Garbage collections as ranges of the thread that they stop."""

import gc

from . import at_exit
from .library import GARBAGE


def start(lib):
    # Bound here, because a collection may run so late at exit that the module's names are gone.
    push, pop, kind = lib.push_kind, lib.pop, GARBAGE
    names = tuple(b"gc generation %d" % generation for generation in range(3))

    def on_collection(phase, info):
        if phase == "start":
            push(names[info["generation"]], kind)
        else:
            pop()

    def stop():
        if on_collection in gc.callbacks:
            gc.callbacks.remove(on_collection)

    gc.callbacks.append(on_collection)
    at_exit(stop)
