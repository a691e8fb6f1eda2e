#!/bin/sh
# Fetches the headers of rocprofiler-sdk that Triton's wheels on PyPI bring, once, into target/rocprofiler, for the test that
# compares record layouts. Of wheels of 250 MB only these files are read. Prints `VERSION INCLUDE` for each wheel that is
# there; what cannot be fetched is left out, and says why on stderr.
set -u
versions="3.8.0 3.9.0"

here=$(cd "$(dirname "$0")" && pwd)
target=${1:-"$here/../../target"}/rocprofiler
mkdir -p "$target"
target=$(cd "$target" && pwd)

for version in $versions; do
  if [ ! -d "$target/$version" ]; then
    new="$target/.$version.$$"
    if python3 "$here/fetch-members.py" triton "triton-$version-cp312-.*x86_64" 'backends/amd/include/(rocprofiler-sdk|hsakmt)/.*' "$new" >&2; then
      mv "$new" "$target/$version" 2>/dev/null
    fi
    rm -rf "$new"
  fi
  if [ -d "$target/$version" ]; then echo "$version $target/$version/triton/backends/amd/include"; fi
done
exit 0
