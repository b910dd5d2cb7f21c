#!/bin/bash
# What the official nginx image does before the server runs: the scripts of /docker-entrypoint.d in version order,
# templates filled in from the environment.
set -euo pipefail

say() { if [[ -z ${NGINX_ENTRYPOINT_QUIET_LOGS-} ]]; then printf '%s\n' "$*"; fi; }

if [[ ${1-} == nginx || ${1-} == nginx-debug ]]; then
    mapfile -t scripts < <(find -L /docker-entrypoint.d/ -type f 2>/dev/null | LC_ALL=C sort -V)
    if ((${#scripts[@]})); then
        say "$0: /docker-entrypoint.d/ is not empty, will attempt to perform configuration"
        for f in "${scripts[@]}"; do
            case $f in
            *.envsh | *.sh)
                if [[ ! -x $f ]]; then
                    say "$0: Ignoring $f, not executable"
                elif [[ $f == *.envsh ]]; then
                    say "$0: Sourcing $f"
                    set +u
                    # shellcheck source=/dev/null
                    . "$f"
                    set -u
                else
                    say "$0: Launching $f"
                    "$f"
                fi
                ;;
            *) say "$0: Ignoring $f" ;;
            esac
        done
        say "$0: Configuration complete; ready for start up"
    else
        say "$0: No files found in /docker-entrypoint.d/, skipping configuration"
    fi
fi

exec "$@"
