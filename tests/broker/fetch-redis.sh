#!/bin/sh
# The tests of the broker's users need Redis 7 or later; the embedded one is older. Unpacks Debian's into a folder of
# its own where that is possible: nothing is installed, and everything else goes on with the embedded one.
set -eu
folder=${1:?give a folder}

new_enough() {
    "$1" --version 2>/dev/null | grep -Eq 'v=([7-9]|[1-9][0-9])\.'
}

if new_enough redis-server || [ -x "$folder/usr/bin/redis-server" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "fetching Debian's redis-server for the tests of the broker's users"
    mkdir -p "$folder/archives/partial"
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends --download-only \
        -o Dir::Cache::archives="$(cd "$folder" && pwd)/archives" redis-server >/dev/null
    for package in "$folder"/archives/*.deb; do dpkg-deb -x "$package" "$folder"; done
    exit 0
fi
echo "The tests of the broker's users need redis-server 7 or later on PATH: install it, or run the others with"
echo "    make test ARGS='-m \"not broker_users\"'"
exit 1
