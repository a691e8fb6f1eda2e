#!/bin/sh
# Makes target/torch-venv (or $GAPLESS_TORCH_VENV): a Python with PyTorch for the capture tests, and prints its
# interpreter's path. PyTorch's own dependencies would bring 5 GB of CUDA libraries that a CPU job never calls; here
# stand-ins of the same names take their place (cuda_stubs.py), which leaves about 1.5 GB.
#
# Does nothing where it is there already. Where it cannot be made (no Python 3.11 or newer, no compiler, no space, no
# package index) it prints one line, leaves that line in the file "skipped" beside the folder, and exits 0: the tests
# that need PyTorch then say that they were skipped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${GAPLESS_TORCH_VENV:-"$here/../../target/torch-venv"}
mkdir -p "$(dirname "$venv")"
venv="$(cd "$(dirname "$venv")" && pwd)/$(basename "$venv")"
space_needed_mib=4000

# What the folder was made from; a change of these files makes it anew.
made_from() { cat "$here/torch-requirements.txt" "$here/cuda_stubs.py" | cksum; }

skip() {
  echo "PyTorch for the tests: skipped: $*" | tee "$venv.skipped" >&2
  exit 0
}

ready() { [ -f "$venv/made-from" ] && [ "$(cat "$venv/made-from")" = "$(made_from)" ] && [ -x "$venv/bin/python" ]; }

finish() {
  rm -f "$venv.skipped"
  echo "$venv/bin/python"
  exit 0
}

ready && finish

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "made for Linux on x86-64 only"
for tool in gcc readelf nm flock; do
  command -v "$tool" >/dev/null 2>&1 || skip "$tool is missing"
done
python=
for candidate in ${GAPLESS_TORCH_PYTHON:-} python3.12 python3.13 python3.11 python3; do
  if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || skip "no Python 3.11 to 3.14 with venv and ensurepip"
free_mib=$(df -Pm "$(dirname "$venv")" | awk 'NR == 2 { print $4 }')
[ "$free_mib" -ge "$space_needed_mib" ] || skip "$free_mib MiB free, $space_needed_mib needed"

# Several tests may come here at once: the first one works, the others wait for it.
exec 9>"$venv.lock"
flock 9
ready && finish

new="$venv.$$"
scratch="$venv.scratch.$$"
trap 'rm -rf "$new" "$scratch"' EXIT
log="$venv.log"
wanted() { grep -v '^#' "$here/torch-requirements.txt"; }

# Every step's output goes to the log; the step's exit status is what counts, so that `set -e` is not needed here.
make() {
  mkdir -p "$scratch" &&
  "$python" -m venv "$new" &&
  "$new/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" "$(wanted | grep '^torch==')" &&
  "$new/bin/python" "$here/cuda_stubs.py" --requirements "$scratch"/torch-*.whl "$scratch" >"$scratch/requirements" &&
  wanted | grep -v '^torch==' >>"$scratch/requirements" &&
  "$new/bin/python" -m pip install --quiet --disable-pip-version-check -r "$scratch/requirements" &&
  "$new/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$scratch"/torch-*.whl &&
  libraries=$("$new/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/torch/lib &&
  "$new/bin/python" "$here/cuda_stubs.py" "$libraries" &&
  "$new/bin/python" -c 'import torch; torch.ones(2).add(1)'
}
if ! make >"$log" 2>&1; then
  skip "could not be installed: $(tail -n 1 "$log") (all of it in $log)"
fi

# A venv is moved by rewriting the paths in its scripts: simpler and surer than making it where another one is used.
grep -rlI --null "$new" "$new/bin" "$new/pyvenv.cfg" | xargs -0 -r sed -i "s|$new|$venv|g"
# The same interpreter under the name that says what it is for, and what a shell would have to set: nothing but PATH.
ln -s python "$new/bin/python-torch"
echo "PATH=$venv/bin:\$PATH" >"$new/env"
made_from >"$new/made-from"
rm -rf "$venv"
mv "$new" "$venv"
rm -f "$log"
finish
