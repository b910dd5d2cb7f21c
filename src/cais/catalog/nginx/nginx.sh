#!/bin/sh
# Debian's nginx keeps what it receives below /var/lib/nginx, where links lead to the folders of the official image. That
# one makes them itself, also in a tmpfs over /var/cache/nginx (`read_only: true`); through a link nginx does not.
for one in client proxy fastcgi uwsgi scgi; do
    [ -d /var/cache/nginx/${one}_temp ] || mkdir -m 700 /var/cache/nginx/${one}_temp 2>/dev/null
done
# A master that is root gives its workers another user; with one mapped uid (an ordinary user's sandbox) it cannot.
# There the whole server is nginx's, as in nginx-unprivileged; ports below 1024 are free in a container.
if [ "$(id -u)" = 0 ]; then
    uid=$(id -u nginx) gid=$(id -g nginx)
    if ! setpriv --reuid "$uid" --regid "$gid" --clear-groups true 2>/dev/null; then
        exec unshare --user --map-user="$uid" --map-group="$gid" /usr/sbin/nginx "$@"
    fi
fi
exec /usr/sbin/nginx "$@"
