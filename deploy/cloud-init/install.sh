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
rm -rf code && mkdir code
tar --extract --gzip --file release.tar.gz --directory code

case $WAY in
single)
    cd code/deploy/ansible
    ansible-playbook --inventory localhost, single.yml --extra-vars @/etc/serving-site/settings.json \
        --extra-vars "release_id=$id release_archive=$work/release.tar.gz"
    ;;
compose)
    code/deploy/compose/install /etc/serving-site/settings.json
    ;;
esac
