#!/bin/bash
# What the official redis image does before the server runs: options alone mean the server, /data is redis's, the
# server is not root.
set -euo pipefail

if [[ ${1-} == -* || ${1-} == *.conf ]]; then set -- redis-server "$@"; fi

if [[ ${1-} == redis-server && $EUID == 0 ]]; then
    find . \! -user redis -exec chown redis:redis {} + 2>/dev/null || :
    uid=$(id -u redis) gid=$(id -g redis)
    # One mapped uid, no setuid (an ordinary user's sandbox): the same by a user namespace of its own.
    if setpriv --reuid "$uid" --regid "$gid" --init-groups true 2>/dev/null; then
        exec setpriv --reuid "$uid" --regid "$gid" --init-groups "$0" "$@"
    fi
    exec unshare --user --map-user="$uid" --map-group="$gid" "$0" "$@"
fi

# As the image does: files that the server writes are its own alone.
if [[ $(umask) == 0022 ]]; then umask 0077; fi

exec "$@"
