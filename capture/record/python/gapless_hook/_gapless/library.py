"""The functions of the recording library, `libgapless_inject.so`, as Python callables.

They are bound through `_ctypes`, the extension module below `ctypes`: importing `ctypes` itself costs two to nine
milliseconds in every Python that the job starts, `_ctypes` half of one. Where that does not work, `ctypes` is used.

The functions are short and never block, so they are called with the interpreter's lock held: giving it up at each
call would cost more than the call, and would let other threads in where the job without us would not.
"""

import os

#: The version of the functions' meaning, which the library must have too.
VERSION = 1

# Kinds of `gapless_push_kind`.
USER_ANNOTATION, OPERATOR, AUTOGRAD, OPTIMIZER, DATA_WAIT, GARBAGE, PYTHON, STEP, COMMUNICATION = range(9)

# Name -> (result, arguments), with ctypes' letters: i int, q long long, d double, z NUL-terminated bytes.
_FUNCTIONS = {
    "version": ("i", ""),
    "python": (None, ""),
    "active": ("i", ""),
    "push": (None, "z"),
    "pop": (None, ""),
    "push_kind": (None, "zi"),
    "mark": (None, "z"),
    "counter": (None, "zd"),
    "thread_name": (None, "z"),
    "step": (None, "q"),
    "collective": (None, "z"),
    "info": (None, "zz"),
}


class Library:
    """The library's functions, without their prefix `gapless_`. Text is given as UTF-8 bytes."""

    __slots__ = tuple(_FUNCTIONS)


def load(path):
    """Loads the library at `path`.

    Raises OSError with the loader's reason where it cannot be loaded or lacks a function, and where it is of another
    version than this hook.
    """
    if not os.path.isabs(path):
        raise OSError("%s is not an absolute path" % path)
    library = Library()
    try:
        _bind(library, _bind_directly(path))
    except (ImportError, AttributeError, TypeError):
        _bind(library, _bind_by_ctypes(path))
    version = library.version()
    if version != VERSION:
        raise OSError("%s has version %d of the interface, the Python hook has %d" % (path, version, VERSION))
    return library


def _bind(library, bind):
    for name, (result, arguments) in _FUNCTIONS.items():
        setattr(library, name, bind("gapless_" + name, result, arguments))


def _bind_directly(path):
    import _ctypes

    simple = {letter: type("_" + letter, (_ctypes._SimpleCData,), {"_type_": letter}) for letter in "iqdz"}
    flags = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
    kinds = {
        result: type("_Function", (_ctypes.CFuncPtr,), {"_flags_": flags, "_restype_": simple.get(result)})
        for result in (None, "i")
    }
    handle = _ctypes.dlopen(path, os.RTLD_NOW | os.RTLD_LOCAL)

    def bind(name, result, arguments):
        function = kinds[result](_ctypes.dlsym(handle, name))
        function.argtypes = tuple(simple[letter] for letter in arguments)
        return function

    return bind


def _bind_by_ctypes(path):
    import ctypes

    simple = {"i": ctypes.c_int, "q": ctypes.c_longlong, "d": ctypes.c_double, "z": ctypes.c_char_p}
    handle = ctypes.PyDLL(path)

    def bind(name, result, arguments):
        try:
            function = getattr(handle, name)
        except AttributeError as error:
            raise OSError(str(error)) from None
        function.restype = simple.get(result)
        function.argtypes = tuple(simple[letter] for letter in arguments)
        return function

    return bind
