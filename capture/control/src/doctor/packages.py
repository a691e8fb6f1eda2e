import importlib.util, json, mmap, os, sys

found = {"executable": sys.executable, "version": ".".join(map(str, sys.version_info[:3])), "packages": {}}
try:
    from importlib import metadata
except ImportError:
    metadata = None
names = ("torch", "jax", "jaxlib", "nvtx", "mpi4py", "nvidia-nccl-cu11", "nvidia-nccl-cu12", "nvidia-nccl-cu13")
for name in names:
    try:
        found["packages"][name] = metadata.version(name)
    except Exception:
        # Built by hand or by conda: the package may be there without metadata.
        try:
            if "-" not in name and importlib.util.find_spec(name) is not None:
                found["packages"][name] = "of unknown version"
        except Exception:
            pass
try:
    folder = os.path.dirname(importlib.util.find_spec("torch").origin)
    with open(os.path.join(folder, "lib", "libtorch_cpu.so"), "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            found["has_itt"] = text.find(b"INTEL_LIBITTNOTIFY64") >= 0
            found["has_kineto_socket"] = text.find(b"KINETO_IPC_SOCKET_DIR") >= 0
except Exception:
    pass
print("\ngapless-doctor " + json.dumps(found), flush=True)
