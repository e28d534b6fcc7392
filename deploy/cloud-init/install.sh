#!/bin/sh
# Fetches the site's code and makes this machine a site with it. Safe to run again, after a failure too.
set -eu
export HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
. /etc/serving-site/source.conf # WAY, and REPOSITORY with REF, or ARCHIVE with SHA256
work=/usr/local/src/serving-site
mkdir -p "$work"
cd "$work"

try() { # a network may need a moment after the start of a machine
    for pause in 2 5 10 20 0; do
        "$@" && return
        [ "$pause" = 0 ] || { echo "Again in $pause s: $*" >&2; sleep "$pause"; }
    done
    return 1
}

case $WAY in
single) packages=ansible-core ;;
compose) packages="docker.io docker-cli docker-compose docker-buildx" ;;
esac
try apt-get --quiet=2 update
try apt-get --quiet=2 --option Dpkg::Use-Pty=0 --option DPkg::Lock::Timeout=300 install --yes --no-install-recommends \
    ca-certificates curl git $packages >/dev/null

if [ -n "${REPOSITORY:-}" ]; then
    [ -d code.git ] || git init --quiet --bare code.git
    try git -C code.git fetch --quiet --force "$REPOSITORY" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
    git -C code.git archive --format=tar.gz --output="$work/release.tar.gz" "$REF"
else
    try curl --fail --silent --show-error --location --max-time 600 --output release.tar.gz "$ARCHIVE"
    echo "$SHA256  release.tar.gz" | sha256sum --check --quiet
fi
commit=$(gzip --decompress --stdout release.tar.gz | git get-tar-commit-id) ||
    { echo "The release archive names no commit: make it with git archive." >&2; exit 1; }
id=$(echo "$commit" | cut -c1-12)
# Each release in a folder of its own: containers hold on to the files of the one that they were started with.
if [ ! -d "$id" ]; then
    rm -rf new && mkdir new
    tar --extract --gzip --file release.tar.gz --directory new
    mv new "$id"
fi
ln --symbolic --force --no-dereference "$id" code

case $WAY in
single)
    cd "$id/deploy/ansible"
    ansible-playbook --inventory localhost, single.yml --extra-vars @/etc/serving-site/settings.json \
        --extra-vars "release_id=$id release_archive=$work/release.tar.gz"
    ;;
compose)
    "$id/deploy/compose/install" /etc/serving-site/settings.json
    ;;
esac
find "$work" -mindepth 1 -maxdepth 1 -type d -name '????????????' ! -name "$id" -exec rm -rf {} +
