#!/bin/bash
# What the official neo4j image does before the server runs: mounted folders, NEO4J_* settings, plugins, first password.
# The server is started by bin/neo4j, which `neo4j console` in a Dockerfile finds too.
set -Eeuo pipefail
shopt -s nullglob

CONF=$NEO4J_HOME/conf
SHARE=/usr/share/neo4j

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Where only one uid is mapped (an ordinary user's sandbox) setuid is refused; a user namespace in which it is called
# neo4j does the same (user_namespaces(7)).
become_neo4j() {
    local uid gid
    uid=$(id -u neo4j) gid=$(id -g neo4j)
    if setpriv --reuid "$uid" --regid "$gid" --init-groups true 2>/dev/null; then
        exec setpriv --reuid "$uid" --regid "$gid" --init-groups "$0" "$@"
    fi
    exec unshare --user --map-user="$uid" --map-group="$gid" "$0" "$@"
}

give_to_neo4j() {
    local folders=("$CONF" "$NEO4J_HOME/plugins" "$NEO4J_HOME/run") folder
    for folder in /data /logs; do
        if [[ -d $folder ]]; then folders+=("$folder"); fi
    done
    if [[ -d /plugins && -n ${NEO4J_PLUGINS-} ]]; then folders+=(/plugins); fi
    find "${folders[@]}" \! -user neo4j -exec chown neo4j:neo4j {} + 2>/dev/null || :
}

readable() {
    [[ -r $1 ]] || die "Folder $1 is not accessible for user: $EUID or group $(id -g), this is commonly a file permissions issue on the mounted folder."
}

# NEO4J_server_memory_heap_max__size -> server.memory.heap.max_size
setting_of() {
    local name=${1#NEO4J_}
    name=${name//__/$'\1'}
    name=${name//_/.}
    printf '%s' "${name//$'\1'/_}"
}

declare -A env_settings=() apoc_settings=()
jvm_additional=()

# 5 and later have new names for what 4 called dbms.*; the rest is migrated by the server itself.
modern_name() {
    [[ $NEO4J_SERIES == 4 ]] && printf '%s' "$1" && return
    case $1 in
    dbms.memory.pagecache.size) printf server.memory.pagecache.size ;;
    dbms.memory.heap.initial_size) printf server.memory.heap.initial_size ;;
    dbms.memory.heap.max_size) printf server.memory.heap.max_size ;;
    dbms.default_listen_address) printf server.default_listen_address ;;
    dbms.tx_log.rotation.retention_policy) printf db.tx_log.rotation.retention_policy ;;
    dbms.jvm.additional) printf server.jvm.additional ;;
    *) printf '%s' "$1" ;;
    esac
}

collect_settings() {
    local name setting value
    for name in $(compgen -e NEO4J_ | LC_ALL=C sort -r); do
        case $name in
        NEO4J_ACCEPT_LICENSE_AGREEMENT | NEO4J_AUTH | NEO4J_AUTH_PATH | NEO4J_DEBUG | NEO4J_EDITION | NEO4J_HOME | \
            NEO4J_PLUGINS | NEO4J_SHA256 | NEO4J_TARBALL | NEO4J_SERIES | NEO4J_VERSION) continue ;;
        esac
        value=${!name}
        [[ -n $value ]] || continue
        setting=$(modern_name "$(setting_of "$name")")
        if [[ $setting == [0-9]* ]]; then
            echo "WARNING: $setting not written to conf file because settings that start with a number are not permitted" >&2
            continue
        fi
        case $setting in
        apoc.*) apoc_settings[$setting]=$value ;;
        server.jvm.additional | dbms.jvm.additional) jvm_additional+=("$setting=$value") ;;
        *) env_settings[$setting]=$value ;;
        esac
    done
}

has_setting() { [[ -n ${env_settings[$1]-} ]] || grep -q "^$1=" "$CONF/neo4j.conf" 2>/dev/null; }
default_setting() { if ! has_setting "$1"; then printf '%s=%s\n' "$1" "$2" >>"$CONF/neo4j.conf"; fi; }

write_settings() {
    local name conf
    conf=$(<"$CONF/neo4j.conf")
    {
        while IFS= read -r line; do
            name=${line%%=*}
            if [[ $line != \#* && $line == *=* && -n ${env_settings[$name]-} ]]; then continue; fi
            printf '%s\n' "$line"
        done <<<"$conf"
        for name in "${!env_settings[@]}"; do printf '%s=%s\n' "$name" "${env_settings[$name]}"; done
        if ((${#jvm_additional[@]})); then printf '%s\n' "${jvm_additional[@]}"; fi
    } >"$CONF/neo4j.conf"
    if ((${#apoc_settings[@]})); then
        for name in "${!apoc_settings[@]}"; do printf '%s=%s\n' "$name" "${apoc_settings[$name]}"; done >>"$CONF/apoc.conf"
    fi
}

mounted_folders() {
    if [[ -d /conf ]]; then
        readable /conf
        rm -f "$CONF"/*
        local f
        for f in /conf/*; do if [[ -f $f ]]; then cp "$f" "$CONF/"; fi; done
    fi
    touch "$CONF/neo4j.conf"
    chmod u+w "$CONF"/*
    if [[ -d /ssl ]]; then
        readable /ssl
        rm -rf "$NEO4J_HOME/certificates"
        ln -s /ssl "$NEO4J_HOME/certificates" 2>/dev/null || :
    fi
    local prefix=server.directories
    if [[ $NEO4J_SERIES == 4 ]]; then prefix=dbms.directories; fi
    local folder
    for folder in plugins import logs licenses; do
        [[ -d /$folder ]] || continue
        readable "/$folder"
        : "${env_settings[$prefix.$folder]:=/$folder}"
    done
    if [[ -d /data && ! -w /data ]]; then
        die "Folder /data is not writable for user: $EUID or group $(id -g), this is commonly a file permissions issue on the mounted folder."
    fi
}

install_plugins() {
    local wanted plugin folder=$NEO4J_HOME/plugins jars present=() d
    if [[ -d /plugins ]]; then folder=/plugins; fi
    for d in "$SHARE"/plugins/*/; do d=${d%/} && present+=("${d##*/}"); done
    wanted=$(tr -d '[]" \t\n' <<<"$NEO4J_PLUGINS")
    local unrestricted=''
    for plugin in ${wanted//,/ }; do
        case $plugin in apoc-core) plugin=apoc ;; esac
        jars=("$SHARE/plugins/$plugin"/*.jar)
        if ((${#jars[@]} == 0)); then
            die "\"$plugin\" is not a plugin that is to be had for Neo4j $NEO4J_VERSION here. Options are: ${present[*]:-none}"
        fi
        echo "Installing Plugin '$plugin' to $folder"
        cp -u -- "${jars[@]}" "$folder/"
        case $plugin in
        apoc) unrestricted+=,apoc.\* ;;
        graph-data-science) unrestricted+=,gds.\* ;;
        esac
    done
    if [[ -n $unrestricted ]]; then default_setting dbms.security.procedures.unrestricted "${unrestricted#,}"; fi
}

# neo4j-admin dbms set-initial-password writes one line that is read once, by a server without users. Writing it here
# saves a second Java of a second.
set_password() {
    local auth=$1 password reset='' minimum folder=${env_settings[server.directories.data]-$NEO4J_HOME/data}/dbms
    [[ -n $auth ]] || return 0
    if [[ $auth == none ]]; then
        env_settings[dbms.security.auth_enabled]=false
        return 0
    fi
    if [[ ! $auth =~ ^([^/]+)/([^/]+)/?([tT][rR][uU][eE])?$ ]]; then
        die "Invalid value for NEO4J_AUTH: it must be none, or neo4j/<password>, or neo4j/<password>/true"
    fi
    password=${BASH_REMATCH[2]}
    if [[ ${BASH_REMATCH[1]} != neo4j ]]; then die 'Invalid admin username, it must be neo4j.'; fi
    if [[ -n ${BASH_REMATCH[3]} ]]; then reset=password_change_required; fi
    if [[ $password == neo4j ]]; then die "Invalid value for password. It cannot be 'neo4j', which is the default."; fi
    minimum=${env_settings[dbms.security.auth_minimum_password_length]-}
    if [[ -z $minimum ]]; then
        minimum=$(sed -n 's/^dbms.security.auth_minimum_password_length=//p' "$CONF/neo4j.conf")
        if [[ -z $minimum && $NEO4J_SERIES == 4 ]]; then minimum=1; fi
    fi
    if ((${#password} < ${minimum:-8})); then
        die "Invalid value for password. The minimum password length is ${minimum:-8} characters." \
            'Use a longer one, or set NEO4J_dbms_security_auth__minimum__password__length.'
    fi
    mkdir -p "$folder"
    if [[ -e $folder/auth.ini || -d ${folder%/dbms}/databases/system ]]; then return 0; fi
    (umask 077 && NEO4J_PASSWORD_TO_HASH=$password perl "$SHARE/auth.pl" "$reset" >"$folder/auth.ini.new")
    mv "$folder/auth.ini.new" "$folder/auth.ini"
}

if ((EUID == 0)); then
    give_to_neo4j
    become_neo4j "$@"
fi

if [[ -n ${NEO4JLABS_PLUGINS-} ]]; then
    echo 'NEO4JLABS_PLUGINS has been renamed to NEO4J_PLUGINS since Neo4j 5.0.0.' >&2
    : "${NEO4J_PLUGINS:=$NEO4JLABS_PLUGINS}"
fi
collect_settings
mounted_folders
if [[ -n ${NEO4J_PLUGINS-} ]]; then install_plugins; fi
if [[ $NEO4J_SERIES == 4 ]]; then
    default_setting dbms.memory.pagecache.size 512M
    default_setting dbms.default_listen_address 0.0.0.0
else
    default_setting server.memory.pagecache.size 512M
    default_setting server.default_listen_address 0.0.0.0
fi
if [[ $1 == neo4j ]]; then
    if [[ -n ${NEO4J_AUTH_PATH-} ]]; then
        [[ -f $NEO4J_AUTH_PATH ]] || die "The password file '$NEO4J_AUTH_PATH' does not exist"
        readable "$NEO4J_AUTH_PATH"
        set_password "$(<"$NEO4J_AUTH_PATH")"
    else
        set_password "${NEO4J_AUTH-}"
    fi
fi
write_settings
unset NEO4J_AUTH

if [[ -f ${EXTENSION_SCRIPT-} ]]; then
    # shellcheck source=/dev/null
    . "$EXTENSION_SCRIPT"
fi

case $1 in
dump-config)
    [[ -d /conf ]] || die 'You must mount a folder to /conf so that the configuration file(s) can be dumped to there.'
    cp -r "$CONF"/* /conf/
    echo 'Config Dumped'
    ;;
neo4j)
    if (($# > 1)); then exec "$NEO4J_HOME/bin/neo4j" "${@:2}"; fi
    exec "$NEO4J_HOME/bin/neo4j" console
    ;;
*) exec "$@" ;;
esac
