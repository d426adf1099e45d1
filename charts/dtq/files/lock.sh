# For the start scripts of the bundled servers: `lock NAME` makes the folder $DATA this process's own, and that of the server it becomes.

lock() {
    # Deleted by force, the pod before this one may still write for a moment: two servers on one volume would destroy it.
    exec 9>"$DATA/.lock"
    waited=0
    while command -v flock >/dev/null && ! flock -n 9; do
        if [ "$waited" -ge 120 ]; then
            echo "another $1 uses this volume" >&2
            exit 1
        fi
        waited=$((waited + 1))
        sleep 1
    done
}
