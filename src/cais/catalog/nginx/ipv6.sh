#!/bin/sh
# The image listens on IPv6 too, when its own default.conf is unchanged and the container has IPv6.
set -eu
conf=/etc/nginx/conf.d/default.conf
[ -f /proc/net/if_inet6 ] && [ -f "$conf" ] && (: >>"$conf") 2>/dev/null || exit 0
grep -q '^ *listen  *80;$' "$conf" || exit 0
grep -q 'listen  *\[::\]:80;' "$conf" && exit 0
[ "$(md5sum <"$conf")" = "$(md5sum </usr/share/nginx/default.conf)" ] || exit 0
sed -i 's/^\( *\)listen  *80;$/&\n\1listen  [::]:80;/' "$conf"
