"""Starts Gapless' Python hook in a recorded job, then runs the sitecustomize that this one stands in front of.

Python imports `sitecustomize` at startup; `gapless record` puts this folder in front of PYTHONPATH. The syntax is that
of every Python since 2.7, because a job may start any of them; the hook itself needs 3.8.
"""

import os
import sys


def _shadowed_paths():
    """The entries of sys.path behind this folder: where Python would have found another sitecustomize."""
    here = os.path.dirname(os.path.abspath(__file__))
    behind = False
    paths = []
    for entry in sys.path:
        # Entries before this folder are left out: a tool that chains like this one stands there, and it called us.
        if os.path.abspath(entry or ".") == here:
            behind = True
        elif behind:
            paths.append(entry)
    return paths


def _run_shadowed():
    """Runs the sitecustomize behind this one as the module of that name. What it raises goes to Python, which then
    says what it would have said without us."""
    paths = _shadowed_paths()
    try:
        # Already loaded by every Python 3; `importlib.util` would cost milliseconds.
        from _frozen_importlib import module_from_spec
        from _frozen_importlib_external import PathFinder
    except ImportError:
        _run_shadowed_python2(paths)
        return
    spec = PathFinder.find_spec("sitecustomize", paths)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _run_shadowed_python2(paths):
    import imp

    try:
        found = imp.find_module("sitecustomize", paths)
    except ImportError:
        return
    try:
        imp.load_module("sitecustomize", *found)
    finally:
        if found[0]:
            found[0].close()


if sys.version_info >= (3, 8):
    try:
        import _gapless

        _gapless.start()
    except Exception:
        # `start` reports its own troubles. What is left is a damaged folder, and that must not stop a job either.
        pass

_run_shadowed()
