#!/bin/bash
# The image's redis-server is built with protected mode off unless a configuration says otherwise; Debian's is not.
# A wrapper, because many files start it themselves: `sh -c "redis-server --requirepass $REDIS_PASSWORD"`.
set -euo pipefail

server=/usr/bin/redis-server
file=()
if [[ ${1-} && $1 != -* ]]; then
    file=("$1")
    shift
fi
for word; do
    case $word in --protected-mode | --version | -v | --help | -h | --test-memory | --check-system) exec "$server" "${file[@]}" "$@" ;; esac
done
if ((${#file[@]})) && grep -qsi '^[[:space:]]*protected-mode' "${file[0]}"; then exec "$server" "${file[@]}" "$@"; fi
exec "$server" "${file[@]}" --protected-mode no "$@"
