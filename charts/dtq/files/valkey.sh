# Start Valkey on /data. Needs valkey-server on PATH, and VALKEYPASSWORD.
set -eu
: "${VALKEYPASSWORD:?is empty: a password is needed}"

# Deleted by force, the pod before this one may still write for a moment: two servers on one volume would destroy it.
exec 9>/data/.lock
if command -v flock >/dev/null && ! flock -w 120 9; then
    echo "another Valkey uses this volume" >&2
    exit 1
fi

umask 077
escaped=$(printf %s "$VALKEYPASSWORD" | sed 's/[\\"]/\\&/g')
{
    cat /etc/dtq/valkey.conf
    printf 'requirepass "%s"\n' "$escaped"
} >/tmp/valkey.conf
exec valkey-server /tmp/valkey.conf
