"""The way into Pythons that ignore PYTHONPATH: `python -I` and `python -E`.

They still read the `.pth` files of their site-packages. The file made here holds one line, which does nothing outside
a recording. It is written only when the user asks for it.

    python pth.py install [FOLDER]      python pth.py remove [FOLDER]

FOLDER is a site-packages folder; without it, the one of the Python that runs this.
"""

import os
import sys

FILE = "gapless.pth"

# Python runs a line of a .pth file that begins with `import`. GAPLESS_HOOK is the folder of the hook, set for the job
# by `gapless record`; a file that outlives the recording, or a hook that is gone, must not make Python complain. At the
# end of sys.path, because nothing of the job must be found there first.
LINE = (
    "import os, sys; exec(\"try:\\n"
    " h = os.environ['GAPLESS_HOOK']\\n"
    " h in sys.path or sys.path.append(h)\\n"
    " import _gapless\\n"
    " _gapless.start()\\n"
    "except Exception: pass\") "
    "if os.environ.get('GAPLESS_HOOK') and sys.version_info >= (3, 8) else None\n"
)


def install_pth(folder):
    """Writes the file into a site-packages folder and returns its path. Raises OSError where it cannot."""
    path = os.path.join(folder, FILE)
    scratch = "%s.%d" % (path, os.getpid())
    with open(scratch, "w") as out:
        out.write(LINE)
    # Never half a line in a file that every start of Python reads.
    os.replace(scratch, path)
    return path


def remove_pth(folder):
    """Takes the file away and returns whether it was there. A file of that name that is not ours raises OSError."""
    path = os.path.join(folder, FILE)
    try:
        with open(path) as file:
            text = file.read()
    except FileNotFoundError:
        return False
    if "GAPLESS_HOOK" not in text:
        raise OSError("%s is not Gapless' file; it was left as it is" % path)
    os.remove(path)
    return True


def main(arguments):
    import sysconfig

    action = arguments[0] if arguments else ""
    folder = arguments[1] if len(arguments) > 1 else sysconfig.get_paths()["purelib"]
    if action not in ("install", "remove") or len(arguments) > 2:
        return "usage: pth.py install|remove [FOLDER]"
    try:
        if action == "install":
            print("wrote %s" % install_pth(folder))
        else:
            print("removed" if remove_pth(folder) else "was not there")
    except OSError as error:
        return str(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
