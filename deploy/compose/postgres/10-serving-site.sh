#!/bin/bash
# Run once by the image, on an empty volume: the site's own role, which is no superuser, gets the password that the image
# has read from its file; the superuser keeps none and comes through the socket inside the container alone.
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
SET log_min_duration_statement = -1;
SET log_min_error_statement = panic;
\set password `printf %s "$PGPASSWORD"`
CREATE ROLE "serving-site" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE "serving-site" OWNER "serving-site" ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0;
REVOKE ALL ON DATABASE "serving-site" FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
SQL
echo "include_dir = '/etc/serving-site/postgresql'" >> "$PGDATA/postgresql.conf"
