#!/bin/sh
# Writes .env from .env.example, with a random value for every empty secret. An existing .env is left alone.
set -eu
folder=$(cd "$(dirname "$0")/.." && pwd)
target=${1:-$folder/.env}

if [ -e "$target" ]; then
    echo "$target exists: nothing was changed" >&2
    exit 1
fi

random() {
    od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

umask 077
while IFS= read -r line; do
    case "$line" in
        SECRET_KEY=) echo "SECRET_KEY=$(random 48)" ;;
        *_PASSWORD=) echo "$line$(random 24)" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <"$folder/.env.example" >"$target"
echo "wrote $target" >&2
