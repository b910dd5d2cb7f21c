#!/bin/bash
# The postgis image makes its extensions in the new database and in a template for others.
set -e
psql=(psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-psqlrc -q)
"${psql[@]}" --dbname postgres -c 'CREATE DATABASE template_postgis IS_TEMPLATE true'
for db in template_postgis "$POSTGRES_DB"; do
    "${psql[@]}" --dbname "$db" <<'SQL'
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS postgis_topology;
CREATE EXTENSION IF NOT EXISTS fuzzystrmatch;
CREATE EXTENSION IF NOT EXISTS postgis_tiger_geocoder;
SQL
done
