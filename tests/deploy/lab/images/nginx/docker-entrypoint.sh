#!/bin/bash
# Fills /etc/nginx/templates/*.template with the environment's variables, then becomes nginx.
set -euo pipefail
for script in /docker-entrypoint.d/*.sh; do
    if [ -x "$script" ]; then "$script"; fi
done
defined=$(printf '${%s} ' $(compgen -e))
for template in /etc/nginx/templates/*.template; do
    [ -e "$template" ] || continue
    target=/etc/nginx/conf.d/$(basename "$template" .template)
    envsubst "$defined" < "$template" > "$target"
done
exec "$@"
