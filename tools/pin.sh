#!/bin/sh
# Write constraints.txt anew: the newest versions that fit together on Python 3.11 and every later one; $1 is a Python 3.11+.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$1" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet uv
printf 'hatchling\neditables\n' >"$work/build.txt"
"$work/venv/bin/uv" pip compile --universal --python-version 3.11 --no-annotate --no-header --strip-extras --quiet \
    requirements.txt requirements-dev.txt requirements-audit.txt "$work/build.txt" >"$work/constraints.txt"
{
    head -n 1 constraints.txt
    grep -E '^[A-Za-z0-9._-]+==' "$work/constraints.txt" | sed 's/ *;.*//' # conditions are up to the packages themselves
} >"$work/pinned.txt"
cp "$work/pinned.txt" constraints.txt
