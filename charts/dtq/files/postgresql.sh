# Start PostgreSQL on the folder $DATA; arguments are passed on. Needs PostgreSQL's programs on PATH, and POSTGRESQLPASSWORD.
set -eu
: "${POSTGRESQLPASSWORD:?is empty: a password is needed}"
here=$(dirname "$0")
db=$DATA/db

. "$here/lock.sh"
lock PostgreSQL

single() { # runs SQL without a server, a statement a line; any error ends it
    postgres --single -D "$1" -c exit_on_error=on -c log_min_error_statement=panic -c log_checkpoints=off postgres >/dev/null
}

password=$(printf %s "$POSTGRESQLPASSWORD" | sed "s/'/''/g")

if [ ! -s "$db/PG_VERSION" ]; then
    if [ -n "$(ls -A "$db" 2>/dev/null)" ]; then
        echo "$db holds files, but no database of PostgreSQL; move them away" >&2
        exit 1
    fi
    # Made under another name: an interrupted start leaves nothing half made.
    rm -rf "$db.new"
    initdb -D "$db.new" -U postgres --auth=reject --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C
    printf '%s\n' "CREATE ROLE dtq LOGIN" "CREATE DATABASE dtq OWNER dtq" | single "$db.new"
    rm -rf "$db"
    mv "$db.new" "$db"
fi
chmod 0700 "$db" # a volume's group may have been given rights, which PostgreSQL refuses

# Under the lock no other server is alive. A pid file left by a kill could name a process of this container.
rm -f "$db/postmaster.pid"

# The Secret may be another one than when the database was made, as after an uninstall that kept the volume. A salted hash beside the
# database tells. Only then is the password set: after a kill this would recover the database first, for as long as that takes, and
# nobody could see that it is alive. The server does the same in sight of the probes.
digest() { printf '%s %s' "$1" "$POSTGRESQLPASSWORD" | sha256sum | cut -d ' ' -f 1; }
known=$db/dtq.password
salt=
seen=
[ ! -s "$known" ] || read -r salt seen <"$known" || :
if [ -z "$salt" ] || [ "$seen" != "$(digest "$salt")" ]; then
    echo "ALTER ROLE dtq PASSWORD '$password'" | single "$db"
    salt=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && printf '%s %s\n' "$salt" "$(digest "$salt")" >"$known.new")
    mv "$known.new" "$known"
fi

exec postgres -D "$db" -c listen_addresses='*' -c port=5432 -c unix_socket_directories="${TMPDIR:-/tmp}" -c hba_file="$here/pg_hba.conf" \
    -c logging_collector=off "$@"
