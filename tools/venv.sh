#!/bin/sh
# Make the virtual environment $1 with interpreter $2, or else with the first Python 3.11+ that is found.
# One line on standard error and exit code 2 when that is not possible.
set -eu
venv=$1
shift

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

fail() {
    echo "error: $1" >&2
    exit 2
}

python=
if [ $# -gt 0 ]; then
    fits "$1" || fail "PYTHON=$1 is no Python 3.11 or newer"
    python=$1
else
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if fits "$candidate"; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "DTQ needs Python 3.11 or newer; install it, or name one: make run PYTHON=/path/to/python3"
fi

"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    fail "$python lacks the modules venv and ensurepip (Debian, Ubuntu: apt-get install python3-venv); or name another Python: PYTHON=..."

echo "Making $venv with $("$python" --version)"
"$python" -m venv --clear "$venv" || fail "$python cannot make a virtual environment in $venv"
