"""Which collective is which: group, sequence number, bytes, type, root, so that those of all ranks can be matched.

Newer PyTorch calls hooks of a process group before each of its collectives, also of those that C++ starts (DDP's
reducer). Where it has none, the functions of `torch.distributed` are wrapped; what C++ starts then has no identity.

Numbers are what PyTorch's flight recorder counts: `seq` is its `collective_seq_id`, the number of collectives in the
group so far, this one included, the same on all ranks; `op_id` counts sends and receives too. A send or receive has as
`seq` its number among those between the same two ranks in the same direction, so that the n-th send meets the n-th
receive.
"""

import json

from . import at_exit, torch_ops, trouble
from .facts import tell

# Any number that no other hook of a process group has.
_HOOK_ID = 0x6761706C

# PyTorch's profiler writes these two with an underscore; all other names are the hook's in small letters.
_NAMES = {"allgather_base": "_allgather_base", "reduce_scatter_base": "_reduce_scatter_base"}
_SEND_RECEIVE = ("send", "recv")


class _Group:
    """What is the same for all collectives of a group, and how many there were."""

    def __init__(self, lib, module, group):
        self.lib = lib
        self.name = str(group.group_name)
        self.size = group.size()
        self.rank = group.rank()
        self.backend = str(module.get_backend(group))
        self.description = str(getattr(group, "group_desc", "") or "")
        self.collectives = 0
        self.operations = 0
        self.between = {}
        self.ranks = None
        # One JSON text of what does not change; the rest is written behind it, without a JSON writer per collective.
        common = {"group": self.name, "group_size": self.size, "backend": self.backend}
        self.common = json.dumps(common)[1:-1]

    def global_rank(self, rank):
        return self.ranks[rank] if self.ranks and 0 <= rank < len(self.ranks) else rank

    def describe(self, module, group):
        """Says which ranks the group has. Not known yet while the group is being made, so at its first collective."""
        ranks = module._world.pg_group_ranks.get(group) if hasattr(module, "_world") else None
        if ranks:
            self.ranks = sorted(ranks, key=ranks.get)
        else:
            self.ranks = list(range(self.size))
        tell(self.lib, "group:" + self.name, json.dumps(self.ranks))
        if self.description and self.description != "undefined":
            tell(self.lib, "group_description:" + self.name, self.description)

    def record(self, name, inputs, outputs, root, is_async):
        """Writes the identity of one collective; `root` is a rank of the group, negative where there is none."""
        self.operations += 1
        more = ""
        if name in _SEND_RECEIVE:
            pair = (name, root)
            sequence = self.between[pair] = self.between.get(pair, 0) + 1
            more = ', "is_p2p": true, "peer": %d' % (self.global_rank(root) if root >= 0 else -1)
        else:
            sequence = self.collectives = self.collectives + 1
            if root >= 0:
                more = ', "root": %d' % self.global_rank(root)
        in_elements, size, dtype = _measure(inputs)
        out_elements, out_size, out_dtype = _measure(outputs)
        # What a rank puts in; a rank that only receives has what comes out.
        text = '{"name": "%s", %s, "seq": %d, "op_id": %d, "bytes": %d, "dtype": "%s", "in_elements": %d, "out_elements": %d, "async": %s%s}' % (
            name,
            self.common,
            sequence,
            self.operations,
            size or out_size,
            dtype or out_dtype,
            in_elements,
            out_elements,
            "true" if is_async else "false",
            more,
        )
        self.lib.collective(text.encode("utf-8", "replace"))


def _measure(tensors):
    """Elements and bytes of all tensors, and the type of the first one without PyTorch's prefix."""
    elements = size = 0
    dtype = ""
    for tensor in tensors:
        count = tensor.numel()
        elements += count
        size += count * tensor.element_size()
        if not dtype:
            dtype = str(tensor.dtype).rpartition(".")[2]
    return elements, size, dtype


def start(lib, module):
    """Follows all process groups; `module` is `torch.distributed.distributed_c10d`."""
    group_class = getattr(module, "ProcessGroup", None)
    if group_class is None:
        # PyTorch was built without distributed.
        return
    if hasattr(group_class, "register_pre_hook") and hasattr(module, "_register_process_group"):
        _follow_groups(lib, module)
    else:
        from . import collective_functions

        collective_functions.start(lib, module)


def _follow_groups(lib, module):
    import weakref

    groups = weakref.WeakSet()
    register = module._register_process_group

    def register_process_group(name, group):
        register(name, group)
        try:
            _hook_group(lib, module, group)
            groups.add(group)
        except Exception as error:
            trouble.note("collectives", "group %s is not recorded: %r" % (name, error))

    def stop():
        if module._register_process_group is register_process_group:
            module._register_process_group = register
        # A group that outlives the interpreter must hold nothing of ours.
        for group in list(groups):
            group.unregister_pre_hook(_HOOK_ID)

    module._register_process_group = register_process_group
    at_exit(stop)


def _hook_group(lib, module, group):
    import weakref

    about = _Group(lib, module, group)
    tell_world(lib, about)
    # The hook belongs to the group, so it must not keep it: a job that drops a group means to end it.
    of = weakref.ref(group)

    def before(call):
        try:
            if about.ranks is None:
                about.describe(module, of())
            torch_ops.follow()
            name = call.name.name.lower()
            about.record(_NAMES.get(name, name), call.input_tensors, call.output_tensors, call.root, call.async_op)
        except Exception as error:
            trouble.note("collectives", "one of group %s is not recorded: %r" % (about.name, error))

    group.register_pre_hook(_HOOK_ID, before)


def tell_world(lib, about):
    """The first group is the job's world: its rank and size hold for jobs whose launcher sets no variables."""
    global _world_told
    if _world_told:
        return
    _world_told = True
    tell(lib, "rank", about.rank)
    tell(lib, "world_size", about.size)
    tell(lib, "backend", about.backend)


_world_told = False
