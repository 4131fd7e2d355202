#!/bin/sh
# with-engine.sh COMMAND…: runs it with a Docker engine: the one that answers, or else one that is started for it, as
# root, and stopped afterwards. That one has its socket in a temporary directory, and its images where they always are.
set -eu

if docker version >/dev/null 2>&1; then
    exec "$@"
fi

directory=$(mktemp -d)
dockerd --host "unix://$directory/docker.sock" --exec-root "$directory/exec" --pidfile "$directory/pid" \
    >"$directory/log" 2>&1 &
engine=$!
stop() {
    kill "$engine" 2>/dev/null || true
    wait "$engine" || true
    umount "$directory"/exec/netns/* 2>/dev/null || true
    rm -rf "$directory"
}
trap stop EXIT
trap 'exit 130' INT TERM

export DOCKER_HOST="unix://$directory/docker.sock"
left=60
until docker version >/dev/null 2>&1; do
    left=$((left - 1))
    if [ "$left" = 0 ] || ! kill -0 "$engine" 2>/dev/null; then
        echo "No Docker engine answers, and dockerd cannot be started:" >&2
        tail -n 5 "$directory/log" >&2
        exit 1
    fi
    sleep 0.5
done
"$@"
