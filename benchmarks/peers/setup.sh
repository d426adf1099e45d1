#!/bin/sh
# Makes the environments of the peers, each in a folder of its own: sh benchmarks/peers/setup.sh [NAME...]
#
# PEERS_DIR  where they go (.data/peers)
# PYTHON     interpreter of the Python peers (python3); PYTHON312 that of ardiq, which needs 3.12 or newer
#
# A folder that is complete holds a file .made with the versions in it; delete the folder to get newer ones. A peer whose language is
# not there, or whose packages cannot be installed, is left out with one line.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=${PEERS_DIR:-$here/../../.data/peers}
python=${PYTHON:-python3}
wanted=" $* "
mkdir -p "$root" && root=$(cd "$root" && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1

wants() { # whether NAME is asked for and not there yet
    case $wanted in "  " | *" $1 "*) [ ! -f "$root/$1/.made" ] ;; *) false ;; esac
}

skip() { echo "skipped $1: $2" >&2; }

venv() { # venv NAME INTERPRETER PACKAGE...: the newest releases of the packages
    name=$1 interpreter=$2
    shift 2
    wants "$name" || return 0
    [ -n "$interpreter" ] || { skip "$name" "needs Python 3.12 or newer; set PYTHON312"; return 0; }
    rm -rf "${root:?}/$name"
    "$interpreter" -m venv "$root/$name" && "$root/$name/bin/python" -m pip install --quiet "$@" >"$root/$name/setup.log" 2>&1 &&
        "$root/$name/bin/python" -m pip freeze >"$root/$name/.new" && mv "$root/$name/.new" "$root/$name/.made" &&
        echo "made $name" && return 0
    skip "$name" "cannot be installed, see $root/$name/setup.log"
}

python312=
for candidate in ${PYTHON312:-} "$python" python3.14 python3.13 python3.12; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
        python312=$candidate
        break
    fi
done

# hiredis wherever redis-py is the client, uvloop for whatever runs on asyncio: what a user who wants speed installs.
venv celery "$python" 'celery[redis]' hiredis
venv rq "$python" rq hiredis
venv dramatiq "$python" 'dramatiq[redis]' hiredis
venv arq "$python" arq hiredis uvloop
venv taskiq "$python" taskiq taskiq-redis hiredis uvloop orjson
venv streaq "$python" streaq uvloop
venv saq "$python" 'saq[redis,hiredis]' typing_extensions uvloop # saq 0.26 imports typing_extensions and does not require it
venv huey "$python" huey redis hiredis
venv procrastinate "$python" procrastinate 'psycopg[binary,pool]' uvloop
venv pgqueuer "$python" pgqueuer asyncpg uvloop
venv ardiq "$python312" ardiq redis hiredis uvloop # redis-py only counts what is left

if wants bullmq; then
    rm -rf "${root:?}/bullmq"
    mkdir -p "$root/bullmq"
    if ! command -v npm >/dev/null; then
        skip bullmq "needs node and npm"
    elif (cd "$root/bullmq" && npm init -y && npm install --silent bullmq ioredis) >"$root/bullmq/setup.log" 2>&1; then
        (cd "$root/bullmq" && npm ls) >"$root/bullmq/.made"
        echo "made bullmq"
    else
        skip bullmq "cannot be installed, see $root/bullmq/setup.log"
    fi
fi

if wants go; then # asynq and River, in the versions of adapters/go/go.mod
    rm -rf "${root:?}/go"
    mkdir -p "$root/go/bin"
    if ! command -v go >/dev/null; then
        skip go "asynq and River need go"
    elif (cd "$here/adapters/go" && go build -o "$root/go/bin/" ./asynq ./river) >"$root/go/setup.log" 2>&1; then
        cp "$here/adapters/go/go.mod" "$root/go/.made"
        echo "made go"
    else
        skip go "cannot be built, see $root/go/setup.log"
    fi
fi
