"""Makes PyTorch's CUDA build import on a machine without a GPU and without two gigabytes of CUDA libraries.

The x86-64 build of PyTorch on the package index is the CUDA one, and its libraries name cuBLAS, cuDNN, NCCL and more
as needed. A CPU job calls none of them, so this writes libraries of the same names with the same symbols (with the
version names that the linker asks for), each symbol a function that returns 1. They go beside PyTorch's own
libraries, which PyTorch's library path ends with, so that no variable has to be set.

For tests on machines without a GPU only: a real CUDA job would fail in its first call.

Usage: cuda_stubs.py FOLDER_OF_TORCH_LIBRARIES
       cuda_stubs.py --requirements TORCH_WHEEL FOLDER   which packages of the wheel are still needed, one a line
"""

import os
import re
import subprocess
import sys
import tempfile
import zipfile

# The libraries whose packages are large and which a CPU job never calls. The CUDA runtime, CUPTI, cuFile and NVTX
# are small and are called while PyTorch is imported, so the real ones are installed.
STUBBED = re.compile(r"lib(cublas|cublasLt|cudnn|cusolver|cufft|nccl|cusparse|cusparseLt|nvshmem_host|nvrtc|nvJitLink)\.so")
REAL_EXTRAS = ("cudart", "cupti", "cufile", "nvtx")


def needed_libraries(path):
    text = subprocess.check_output(["readelf", "-dW", path], universal_newlines=True)
    return re.findall(r"\(NEEDED\).*\[(.*?)\]", text)


def undefined_symbols(path):
    """(symbol, version or '') of everything that the library takes from others."""
    text = subprocess.check_output(["nm", "-D", "--undefined-only", path], universal_newlines=True)
    for line in text.splitlines():
        name, _, version = line.split()[-1].partition("@")
        yield name, version.lstrip("@")


def belongs(symbol, library):
    """Whether an unversioned symbol is one of this library's, by the prefix that NVIDIA gives its functions."""
    stem = re.match(r"lib(\w+?)(_host)?\.so", library).group(1)
    longer = {"cublas": "cublasLt", "cusparse": "cusparseLt"}.get(stem)
    return symbol.startswith(stem) and not (longer and symbol.startswith(longer))


def write_stub(folder, library, symbols, version):
    with tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, "stub.c")
        with open(source, "w") as out:
            out.write("".join("int %s(void) { return 1; }\n" % name for name in sorted(symbols)))
        command = ["gcc", "-shared", "-fPIC", "-w", source, "-o", os.path.join(folder, library), "-Wl,-soname," + library]
        if version:
            script = os.path.join(scratch, "stub.map")
            with open(script, "w") as out:
                out.write("%s { global: %s local: *; };\n" % (version, " ".join(name + ";" for name in sorted(symbols))))
            command.append("-Wl,--version-script=" + script)
        subprocess.check_call(command)


def make_stubs(folder):
    own = [name for name in sorted(os.listdir(folder)) if ".so" in name]
    paths = [os.path.join(folder, name) for name in own]
    wanted = set()
    versioned, plain = {}, set()
    for path in paths:
        if STUBBED.match(os.path.basename(path)):
            continue
        wanted.update(name for name in needed_libraries(path) if STUBBED.match(name))
        for name, version in undefined_symbols(path):
            if version:
                versioned.setdefault(version, set()).add(name)
            else:
                plain.add(name)
    for library in sorted(wanted):
        # The version name is the library's file name, but for NVSHMEM.
        version = "NVSHMEM" if "nvshmem" in library else library
        if version in versioned:
            write_stub(folder, library, versioned[version], version)
        else:
            write_stub(folder, library, {name for name in plain if belongs(name, library)}, None)
    return sorted(wanted)


def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA"))
        return archive.read(name).decode("utf-8", "replace")


def requirements(wheel, folder):
    """What PyTorch asks for, without the large CUDA packages; the small ones at the versions of its CUDA toolkit."""
    toolkit = None
    for line in re.findall(r"(?m)^Requires-Dist: (.*)$", metadata(wheel)):
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if requirement.startswith("cuda-toolkit"):
            toolkit = re.sub(r"\[.*?\]", "", requirement)
        elif "platform_system" not in marker and "extra" not in marker:
            yield requirement
    if toolkit is None:
        raise SystemExit("this build of PyTorch names no cuda-toolkit; cuda_stubs.py does not know it")
    subprocess.check_call([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, toolkit])
    name = next(entry for entry in os.listdir(folder) if entry.startswith("cuda_toolkit"))
    for line in re.findall(r"(?m)^Requires-Dist: (.*)$", metadata(os.path.join(folder, name))):
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if any("extra == '%s'" % extra in marker for extra in REAL_EXTRAS):
            yield requirement


if __name__ == "__main__":
    if sys.argv[1] == "--requirements":
        print("\n".join(requirements(sys.argv[2], sys.argv[3])))
    else:
        print(" ".join(make_stubs(sys.argv[1])))
