#!/bin/bash
# Refuses the variables that the official image refuses, then becomes the server as its own user.
set -euo pipefail
for old in RABBITMQ_DEFAULT_PASS_FILE RABBITMQ_DEFAULT_USER_FILE RABBITMQ_VM_MEMORY_HIGH_WATERMARK; do
    if [ -n "${!old:-}" ]; then
        echo "error: $old is set but deprecated" >&2
        exit 1
    fi
done
if [[ "$1" == rabbitmq* ]] && [ "$(id -u)" = 0 ]; then
    if [ "$1" = rabbitmq-server ]; then find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +; fi
    exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups "$0" "$@"
fi
if [ "$1" = rabbitmq-server ] && [ ! -e ~/.erlang.cookie ]; then
    # Before a health check, which comes as root, makes one that the server cannot read.
    (umask 377 && head -c 30 /dev/urandom | base64 | tr -dc A-Za-z0-9 > ~/.erlang.cookie)
fi
exec "$@"
