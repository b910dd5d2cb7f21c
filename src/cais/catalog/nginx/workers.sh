#!/bin/sh
# NGINX_ENTRYPOINT_WORKER_PROCESSES_AUTOTUNE: as many workers as this container may use processors.
set -eu
[ -n "${NGINX_ENTRYPOINT_WORKER_PROCESSES_AUTOTUNE:-}" ] || exit 0
conf=/etc/nginx/nginx.conf
(: >>"$conf") 2>/dev/null || exit 0
count=$(nproc)
if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [ "$quota" != max ]; then
    allowed=$(((quota + period - 1) / period))
    if [ "$allowed" -lt "$count" ]; then count=$allowed; fi
fi
sed -i -E "s/^worker_processes .*;$/worker_processes $count;/" "$conf"
