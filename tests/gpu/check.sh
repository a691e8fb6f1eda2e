#!/bin/sh
# Checks GPU recording on a machine with an NVIDIA GPU, Python and PyTorch. Needs no network and no compiler: the programs
# are built elsewhere.
#
#     tests/gpu/check.sh PATH-TO-GAPLESS [FOLDER]
#
# Runs each job of jobs.py alone, under `gapless record` and under torch.profiler; compares kernels (counts, names,
# durations, order on streams), launches, clocks, drops, time per step and file sizes; makes before/after pairs for
# what-if. Writes FOLDER/check.json and FOLDER/check.md, and leaves the recordings there. PYTHON names the Python.
#
# Exit code: 0 all is as it should be, 1 something is not, 2 wrong usage, 77 it cannot be run here.
set -u
here=$(cd "$(dirname "$0")" && pwd)
gapless=${1:-}
folder=${2:-gpu-check}
python=${PYTHON:-python3}
if [ -z "$gapless" ] || [ ! -x "$gapless" ]; then
  echo "usage: $0 PATH-TO-GAPLESS [FOLDER]" >&2
  exit 2
fi
gapless=$(cd "$(dirname "$gapless")" && pwd)/$(basename "$gapless")
skip() {
  echo "skipped: $1" >&2
  exit 77
}
# The devices of the kernel module, also under WSL.
if [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ]; then
  skip "no GPU is present (there is neither /dev/nvidiactl nor /dev/dxg)"
fi
command -v "$python" >/dev/null 2>&1 || skip "there is no $python"
"$python" -c 'import torch' 2>/dev/null || skip "$python has no PyTorch"
"$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)' 2>/dev/null \
  || skip "PyTorch cannot use a GPU here"
mkdir -p "$folder" || exit 2
exec "$python" "$here/check.py" --gapless "$gapless" --folder "$folder" --jobs "$here/jobs.py"
