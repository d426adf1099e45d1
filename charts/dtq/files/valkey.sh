# Start Valkey on the folder $DATA; arguments are passed on. Needs valkey-server on PATH, and VALKEYPASSWORD.
set -eu
: "${VALKEYPASSWORD:?is empty: a password is needed}"
here=$(dirname "$0")
conf=${TMPDIR:-/tmp}/valkey.conf

# Deleted by force, the pod before this one may still write for a moment: two servers on one volume would destroy it.
exec 9>"$DATA/.lock"
waited=0
while command -v flock >/dev/null && ! flock -n 9; do
    if [ "$waited" -ge 120 ]; then
        echo "another Valkey uses this volume" >&2
        exit 1
    fi
    waited=$((waited + 1))
    sleep 1
done

umask 077
escaped=$(printf %s "$VALKEYPASSWORD" | sed 's/[\\"]/\\&/g')
{
    cat "$here/valkey.conf"
    printf 'dir "%s"\nrequirepass "%s"\n' "$DATA" "$escaped"
} >"$conf"
exec valkey-server "$conf" "$@"
