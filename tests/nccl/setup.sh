#!/bin/sh
# Fetches NCCL's library from PyPI (350 MB, 480 MB unpacked) into target/nccl, for the tests that hold our plugin against
# NCCL's own code: its adapters of older interfaces, and the layouts that it was compiled with (those by gdb). No GPU is
# needed. Neither ./setup nor ./check does this; without it the tests say that they are skipped. Prints the library's path.
set -eu
version=2.32.3
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-"$here/../../target"}
mkdir -p "$target/nccl"
target=$(cd "$target/nccl" && pwd)
library="$target/nvidia/nccl/lib/libnccl.so.2"
if [ "$(cat "$target/version" 2>/dev/null)" != "$version" ] || [ ! -f "$library" ]; then
    rm -rf "${target:?}"/*
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --platform "manylinux_2_27_$(uname -m)" --dest "$target/wheel" "nvidia-nccl-cu12==$version" >&2
    python3 - "$target" <<'PYTHON'
import glob, sys, zipfile
target = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(target + "/wheel/*.whl")[0])
wheel.extractall(target, [name for name in wheel.namelist() if name.endswith(("libnccl.so.2", "include/nccl.h"))])
PYTHON
    rm -rf "$target/wheel"
    echo "$version" >"$target/version"
fi
echo "$library"
