#!/bin/sh
# Debian's nginx keeps what it receives below /var/lib/nginx, where links lead to the folders of the official image. That
# one makes them itself, also in a tmpfs over /var/cache/nginx (`read_only: true`); through a link nginx does not.
for one in client proxy fastcgi uwsgi scgi; do
    [ -d /var/cache/nginx/${one}_temp ] || mkdir -m 700 /var/cache/nginx/${one}_temp 2>/dev/null
done
exec /usr/sbin/nginx "$@"
