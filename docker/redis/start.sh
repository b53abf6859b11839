#!/bin/sh
# Starts Redis with its password, which is kept out of the arguments and out of every file: the configuration
# comes by standard input. The user of the application may not flush, reconfigure or shut down the server.
set -eu
umask 077

case "${REDIS_PASSWORD:?set REDIS_PASSWORD}" in
    *[!A-Za-z0-9_-]*)
        echo "REDIS_PASSWORD may hold letters, digits, - and _ only: it is part of a URL" >&2
        exit 1
        ;;
esac

exec redis-server - <<CONFIGURATION
include ${REDIS_CONF:-/etc/jadwal/redis.conf}
user default on >${REDIS_PASSWORD} ~* &* +@all -@dangerous +info
CONFIGURATION
