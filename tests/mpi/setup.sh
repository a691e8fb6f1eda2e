#!/bin/sh
# Installs what the tests of MPI need: Open MPI and MPICH with their C and Fortran compilers (as root or with sudo), and
# target/mpi-venv with mpi4py from PyPI, whose wheel serves both. Neither ./setup nor ./check does this. Prints the path
# of the Python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-"$here/../../target"}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
missing=
for program in mpicc.openmpi mpif90.openmpi mpiexec.openmpi mpicc.mpich mpif90.mpich mpiexec.mpich; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
done
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "the tests look for$missing; install Open MPI and MPICH and give their programs these names" >&2
        exit 1
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        openmpi-bin libopenmpi-dev mpich libmpich-dev gfortran >&2
fi
mkdir -p "$target"
venv="$(cd "$target" && pwd)/mpi-venv"
if ! "$venv/bin/python" -c 'import mpi4py' 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'mpi4py>=4.1' >&2
fi
echo "$venv/bin/python"
