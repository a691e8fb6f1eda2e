"""What this process is: versions, rank, host. The recorder writes it into the manifest."""

import os
import sys

# Variable of the launcher -> fact. Launchers other than torchrun are known to the recorder, which sees them too.
_RANKS = {"RANK": "rank", "LOCAL_RANK": "local_rank", "WORLD_SIZE": "world_size"}


# What this process has told already: the launcher's variables and PyTorch both know the rank.
_told = {}


def tell(lib, key, value):
    """Tells a fact of this process, unless that is what was told last."""
    value = str(value)
    if _told.get(key) != value:
        _told[key] = value
        lib.info(key.encode("utf-8", "replace"), value.encode("utf-8", "replace"))


def of_process(lib):
    # A forked child starts anew.
    _told.clear()
    # That the hook is there is a fact too.
    lib.python()
    tell(lib, "python", "%d.%d.%d" % sys.version_info[:3])
    tell(lib, "python_implementation", sys.implementation.name)
    tell(lib, "hostname", os.uname().nodename)
    for variable, fact in _RANKS.items():
        value = os.environ.get(variable, "")
        if value.isdigit():
            tell(lib, fact, value)


def of_torch(lib, torch):
    tell(lib, "torch", getattr(torch, "__version__", "unknown"))
    cuda = getattr(getattr(torch, "version", None), "cuda", None)
    if cuda:
        tell(lib, "torch_cuda", cuda)
