#!/bin/sh
# Makes target/python-venv with the packages that the read-back tests need, and prints its interpreter's path.
# Does nothing where it is there already; fails where Python, venv or the package index are missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-"$here/../../target"}
mkdir -p "$target"
target=$(cd "$target" && pwd)
venv="$target/python-venv"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
  # Made aside and renamed, because several tests may come here at once.
  new="$target/python-venv.$$"
  trap 'rm -rf "$new"' EXIT
  python3 -m venv "$new" >&2
  "$new/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$new/requirements.txt"
  if [ -d "$venv" ] && ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then rm -rf "$venv"; fi
  python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$new" "$venv" 2>/dev/null || [ -x "$venv/bin/python" ]
fi
echo "$venv/bin/python"
