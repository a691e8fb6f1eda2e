"""Runs a function after a module was imported, without importing it: the job decides what is imported."""

import sys

from . import trouble

# Module name -> functions that wait for it.
_waiting = {}


def after(name, function):
    """Calls `function(module)` once the module is imported; now, if it is there already."""
    module = sys.modules.get(name)
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        _call(function, module)
        return
    _waiting.setdefault(name, []).append(function)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _call(function, module):
    try:
        function(module)
    except Exception as error:
        trouble.say("%s is recorded in part: %r" % (module.__name__, error))


class _Finder:
    """Finds what the other finders find, and has the loader call us when it is done."""

    def find_spec(self, name, path=None, target=None):
        if name not in _waiting:
            return None
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            if finder is self or find_spec is None:
                continue
            spec = find_spec(name, path, target)
            if spec is not None:
                _hook_loader(name, spec)
                return spec
        return None


def _hook_loader(name, spec):
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None or isinstance(loader, type) or not hasattr(loader, "__dict__"):
        # Of frozen and built-in modules the loader is a class that all of them share.
        trouble.note("imports", "the loader of %s cannot be followed" % name)
        return
    before = vars(loader).get("exec_module")

    def exec_module(module):
        # A loader of an archive is one for all of its modules.
        if module.__name__ != name:
            return execute(module)
        # The loader is as it was before the module's code can look at it.
        if vars(loader).get("exec_module") is exec_module:
            if before is None:
                del loader.exec_module
            else:
                loader.exec_module = before
        execute(module)
        for function in _waiting.pop(name, ()):
            _call(function, module)
        if not _waiting and _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        return None

    # On this one loader object, not its class: `module.__loader__` stays what it is without us.
    loader.exec_module = exec_module


_finder = _Finder()
