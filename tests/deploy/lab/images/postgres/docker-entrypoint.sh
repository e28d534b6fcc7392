#!/bin/bash
# Makes the database on the first start, then becomes the server.
set -euo pipefail
file_or() { # file_or NAME: the value of NAME, or what the file NAME_FILE holds
    local file="$1_FILE"
    if [ -n "${!file:-}" ]; then cat "${!file}"; else printf %s "${!1:-}"; fi
}
[ "${1:-}" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    password=$(file_or POSTGRES_PASSWORD)
    [ -n "$password" ] || { echo "Error: Database is uninitialized and superuser password is not specified." >&2; exit 1; }
    user=$(file_or POSTGRES_USER)
    user=${user:-postgres}
    database=$(file_or POSTGRES_DB)
    initdb --username="$user" --pwfile=<(printf '%s\n' "$password") ${POSTGRES_INITDB_ARGS:-} >/dev/null
    echo "host all all all ${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start >/dev/null
    export PGPASSWORD=$password
    run() { psql --no-password --no-psqlrc --set ON_ERROR_STOP=1 --username "$user" --dbname "${database:-$user}" "$@"; }
    if [ "${database:-$user}" != postgres ]; then
        psql --no-password --no-psqlrc --username "$user" --dbname postgres --set "name=${database:-$user}" <<< 'CREATE DATABASE :"name"'
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
        *.sql) run --file "$file" ;;
        esac
    done
    unset PGPASSWORD
    pg_ctl --wait --mode=fast stop >/dev/null
fi
exec "$@" -c "listen_addresses=*"
