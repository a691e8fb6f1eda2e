#!/bin/sh
# Fetches what the tests of the annotation interfaces compile against, once, into target/annotations: NVTX's headers
# and its Python package (PyPI), ITT's C sources (crates.io). Prints `nvtx=`, `python=` and `itt=` with the places of
# what is there; what cannot be fetched is left out, and says why on stderr.
set -u
nvtx_headers=nvidia-nvtx==13.5.25
nvtx_python=nvtx==0.2.17
itt=0.5.0

here=$(cd "$(dirname "$0")" && pwd)
target=${1:-"$here/../../target"}/annotations
mkdir -p "$target"
target=$(cd "$target" && pwd)

# done_once NAME VERSION: whether that was fetched in this version. Parts are made aside and renamed, because several
# tests may come here at once.
done_once() { [ "$(cat "$target/$1/version" 2>/dev/null)" = "$2" ]; }
keep() {
  echo "$2" >"$3/version"
  if ! done_once "$1" "$2"; then rm -rf "${target:?}/$1"; fi
  python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$3" "$target/$1" 2>/dev/null
  rm -rf "$3"
}

if ! done_once python "$nvtx_headers $nvtx_python"; then
  new="$target/python.$$"
  if python3 -m venv "$new" >&2 \
    && "$new/bin/python" -m pip install --quiet --disable-pip-version-check "$nvtx_headers" "$nvtx_python" >&2; then
    keep python "$nvtx_headers $nvtx_python" "$new"
  else
    rm -rf "$new"
  fi
fi
if done_once python "$nvtx_headers $nvtx_python"; then
  # Not through bin/pip: a renamed environment has the old path in its scripts.
  for folder in "$target"/python/lib/python*/site-packages/nvidia/cu*/include; do
    if [ -f "$folder/nvtx3/nvToolsExt.h" ]; then echo "nvtx=$folder"; fi
  done
  echo "python=$target/python/bin/python"
fi

if ! done_once itt "$itt"; then
  new="$target/itt.$$"
  mkdir -p "$new/src"
  printf '[package]\nname = "fetch"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n[dependencies]\nittapi-sys = "=%s"\n' \
    "$itt" >"$new/Cargo.toml"
  : >"$new/src/lib.rs"
  if (cd "$new" && "${CARGO:-cargo}" vendor --quiet vendor >/dev/null); then
    keep itt "$itt" "$new"
  else
    rm -rf "$new"
  fi
fi
if done_once itt "$itt"; then echo "itt=$target/itt/vendor/ittapi-sys/c-library"; fi
exit 0
