"""The one line that says that something of the recording does not work."""

import os

_said = False
_noted = set()


def say(text):
    """Writes one line to standard error, once per process; children that inherit the environment stay silent.

    The line goes to the file descriptor itself: the job may have replaced `sys.stderr` by something of its own.
    """
    global _said
    if _said or os.environ.get("GAPLESS_PYTHON_SAID"):
        return
    _said = True
    os.environ["GAPLESS_PYTHON_SAID"] = "1"
    line = "gapless: %s\n" % " ".join(str(text).split())
    try:
        os.write(2, line.encode("utf-8", "replace"))
    except OSError:
        # A job without standard error has nowhere to read it.
        pass
    note("trouble", text)


def note(what, text):
    """Puts a fact about the hook into the recording, without a line on standard error."""
    from . import lib

    # What fails at each collective is told once.
    if lib is not None and (what, str(text)) not in _noted:
        _noted.add((what, str(text)))
        lib.info(("python_hook:" + what).encode("utf-8", "replace"), str(text).encode("utf-8", "replace"))
