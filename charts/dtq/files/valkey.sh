# Start Valkey on the folder $DATA; arguments are passed on. Needs valkey-server on PATH, and VALKEYPASSWORD.
set -eu
: "${VALKEYPASSWORD:?is empty: a password is needed}"
here=$(dirname "$0")
conf=${TMPDIR:-/tmp}/valkey.conf

. "$here/lock.sh"
lock Valkey

umask 077
escaped=$(printf %s "$VALKEYPASSWORD" | sed 's/[\\"]/\\&/g')
{
    cat "$here/valkey.conf"
    printf 'dir "%s"\nrequirepass "%s"\n' "$DATA" "$escaped"
} >"$conf"
exec valkey-server "$conf" "$@"
