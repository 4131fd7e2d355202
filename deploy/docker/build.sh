#!/bin/sh
# Builds HAUL_IMAGE, and an image of Debian's etcd unless ETCD_IMAGE names another one to be used; one of Debian's
# Prometheus only if PROMETHEUS_IMAGE is haul-prometheus:local.
#
# BASE_IMAGE chooses the base; unset, Python's official image is taken, or where it cannot be pulled, one is made from
# Debian's packages (base.sh). WHEELS is a directory with wheels of all that requirements.py lists and of setuptools;
# unset, pip fetches them here, with this machine's own settings: the build itself asks no package index.
set -eu
cd "$(dirname "$0")/../.."
image=${HAUL_IMAGE:-haul:local}
etcd_image=haul-etcd:local
prometheus_image=haul-prometheus:local
official=python:3.11-slim-bookworm
own=haul-base:bookworm

exists() { docker image inspect "$1" >/dev/null 2>&1; }

base=${BASE_IMAGE:-}
if [ -z "$base" ]; then
    if exists "$own"; then
        base=$own
    elif exists "$official" || docker pull --quiet "$official" >/dev/null 2>&1; then
        base=$official
    else
        echo "No image can be pulled: making $own from Debian's packages."
        deploy/docker/base.sh "$own"
        base=$own
    fi
fi

context_wheels=deploy/docker/wheels
if [ -n "${WHEELS:-}" ]; then
    rm -f "$context_wheels"/*.whl
    cp "$WHEELS"/*.whl "$context_wheels"
else
    deploy/docker/wheels.py "$context_wheels" \
        "$(docker run --rm "$base" python3 -c 'import sys; print(*sys.version_info[:2], sep=".")')"
fi

docker build --quiet --network host --build-arg BASE_IMAGE="$base" --tag "$image" . >/dev/null
# of_debian NAME IMAGE: once, from NAME.Dockerfile
of_debian() {
    exists "$2" || docker build --quiet --network host --build-arg BASE_IMAGE="$base" --tag "$2" - \
        <"deploy/docker/$1.Dockerfile" >/dev/null
}
[ "${ETCD_IMAGE:-$etcd_image}" != "$etcd_image" ] || of_debian etcd "$etcd_image"
[ "${PROMETHEUS_IMAGE:-}" != "$prometheus_image" ] || of_debian prometheus "$prometheus_image"
docker image ls --format '{{.Repository}}:{{.Tag}}  {{.Size}}' | grep -xE "($image|$etcd_image|$prometheus_image|$base)  .*"
