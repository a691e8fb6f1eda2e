#!/bin/sh
# Fetches CUPTI's headers and libraries of several CUDA versions from PyPI, once, into target/cupti, for the tests that
# compare record layouts. Prints `VERSION LIBRARY INCLUDE…` for each version that is there; what cannot be fetched is left
# out, and says why on stderr.
set -u
versions="12.1.105 12.4.127 12.6.80 12.8.90 12.9.79 13.0.48 13.1.115 13.5.25"

here=$(cd "$(dirname "$0")" && pwd)
target=${1:-"$here/../../target"}/cupti
mkdir -p "$target"
target=$(cd "$target" && pwd)

# fetch FOLDER PACKAGE...: unpacks wheels into a folder of their own. Made aside and renamed, because several tests may
# come here at once.
fetch() {
  folder=$1
  shift
  if [ -d "$target/$folder" ]; then return 0; fi
  new="$target/.$folder.$$"
  mkdir -p "$new/wheels"
  if python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$new/wheels" "$@" >&2; then
    for wheel in "$new/wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$new" >&2; done
    rm -rf "$new/wheels"
    mv "$new" "$target/$folder" 2>/dev/null
  fi
  rm -rf "$new"
  [ -d "$target/$folder" ]
}

# CUPTI's headers include CUDA's, of the same major version.
fetch runtime-12 nvidia-cuda-runtime-cu12==12.9.79
fetch runtime-13 nvidia-cuda-runtime==13.5.37 nvidia-cuda-crt==13.5.37
for version in $versions; do
  major=${version%%.*}
  case $major in
    12) package=nvidia-cuda-cupti-cu12 below=nvidia/cuda_cupti runtime="$target/runtime-12/nvidia/cuda_runtime/include" ;;
    *) package=nvidia-cuda-cupti below=nvidia/cu13 runtime="$target/runtime-13/nvidia/cu13/include" ;;
  esac
  if fetch "$version" "$package==$version" && [ -d "$runtime" ]; then
    root="$target/$version/$below"
    echo "$version $root/lib/libcupti.so.$major $root/include $runtime $target/runtime-13/nvidia/cu13/include"
  fi
done
exit 0
