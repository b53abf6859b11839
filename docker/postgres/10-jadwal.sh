#!/bin/sh
# Run once, by the image, when the database is made: the role and the database of the application. The role is
# no superuser.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres <<'SQL'
\getenv password DATABASE_PASSWORD
CREATE ROLE jadwal LOGIN PASSWORD :'password';
CREATE DATABASE jadwal OWNER jadwal;
SQL
