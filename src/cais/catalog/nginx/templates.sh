#!/bin/bash
# /etc/nginx/templates/*.template with ${NAME} of variables that are set replaced, into /etc/nginx/conf.d.
set -euo pipefail

from=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
into=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
stream_suffix=${NGINX_ENVSUBST_STREAM_TEMPLATE_SUFFIX:-.stream-template}
stream_into=${NGINX_ENVSUBST_STREAM_OUTPUT_DIR:-/etc/nginx/stream-conf.d}

say() { if [[ -z ${NGINX_ENTRYPOINT_QUIET_LOGS-} ]]; then printf '%s\n' "$*"; fi; }

# Only what is set: $host, $uri and other variables of nginx stay as they are.
names=$(compgen -e | grep -E "${NGINX_ENVSUBST_FILTER-}" | sed 's/.*/${&}/' | tr '\n' ' ' || :)

fill() { # fill SUFFIX FOLDER
    local template target
    while IFS= read -r template; do
        target=$2/${template#"$from"/}
        target=${target%"$1"}
        mkdir -p "${target%/*}"
        say "${0##*/}: Running envsubst on $template to $target"
        envsubst "$names" <"$template" >"$target"
    done < <(find -L "$from" -type f -name "*$1" | LC_ALL=C sort)
}

[[ -d $from ]] || exit 0
if [[ ! -w $into ]]; then
    say "${0##*/}: ERROR: $from exists, but $into is not writable"
    exit 0
fi
fill "$suffix" "$into"
if [[ -n $(find -L "$from" -type f -name "*$stream_suffix" -print -quit) ]]; then
    mkdir -p "$stream_into"
    if ! grep -qE "^stream[[:space:]]*\{" /etc/nginx/nginx.conf; then
        printf '\nstream { include %s/*.conf; }\n' "$stream_into" >>/etc/nginx/nginx.conf
    fi
    fill "$stream_suffix" "$stream_into"
fi
