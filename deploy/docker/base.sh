#!/bin/sh
# Makes the base image from Debian's packages where none can be pulled: base.sh IMAGE, as root, needs debootstrap.
# The mirror is the one that this machine's own apt uses; DEBIAN_MIRROR names another.
set -eu
image=$1
suite=bookworm

mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CODENAME) $(COMPONENT)' \
    | awk -v suite="$suite" '$2 == "Debian" && $3 == suite && $4 == "main" { print $1; exit }')}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$root/base" \
    ${mirror:+"$mirror"} >"$root/log" 2>&1 || { tail -n 20 "$root/log" >&2; exit 1; }
tar --create --numeric-owner --directory "$root/base" \
    --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* \
    --exclude=./var/cache/apt/* --exclude=./var/lib/apt/lists/* --exclude=./var/log/* \
    --exclude=./usr/share/doc/* --exclude=./usr/share/man/* --exclude=./usr/share/locale/* . \
    | docker import --change 'CMD ["/bin/sh"]' - "$image"
