#!/bin/sh
# The browser tests drive Debian's chromium. Installs it where that is possible, and says so where it is not.
set -eu
if command -v chromium >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing Debian's chromium for the browser tests"
    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "The browser tests need chromium: install it (apt-get install chromium), or run the others with"
echo "    make test ARGS='-m \"not browser\"'"
exit 1
