#!/bin/bash
# What the official postgres image does before the server runs: variables, `*_FILE`, initdb, init scripts once.
# Promises kept here that the official image does not make: a data directory that was not initialised to the end is
# never taken for a good one, and a database to create costs no second server.
set -Eeuo pipefail
shopt -s dotglob nullglob

say() { printf '%s\n' "$*"; }
die() {
    printf 'Error: %s\n' "$1" >&2
    shift
    if (($#)); then printf '       %s\n' "$@" >&2; fi
    exit 1
}

# from_file NAME [DEFAULT]: NAME, else the content of the file NAME_FILE says, else the default.
from_file() {
    local name=$1 file=$1_FILE value=${2-}
    if [[ -n ${!name-} && -n ${!file-} ]]; then die "both $name and $file are set; give only one of them"; fi
    if [[ -n ${!name-} ]]; then
        value=${!name}
    elif [[ -n ${!file-} ]]; then
        [[ -r ${!file} ]] || die "cannot read ${!file}, which $file names"
        value=$(<"${!file}")
    fi
    export "$name=$value"
    unset "$file"
}

# Without a user map of more than one uid (an ordinary user's sandbox) setuid is refused: then a user namespace in
# which our one uid is called postgres does the same (user_namespaces(7)).
become_postgres() {
    local uid gid
    uid=$(id -u postgres) gid=$(id -g postgres)
    if setpriv --reuid "$uid" --regid "$gid" --init-groups true 2>/dev/null; then
        exec setpriv --reuid "$uid" --regid "$gid" --init-groups "$0" "$@"
    fi
    exec unshare --user --map-user="$uid" --map-group="$gid" "$0" "$@"
}

make_directories() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA" 2>/dev/null || :
    chmod 3775 /var/run/postgresql 2>/dev/null || :
    if [[ -n ${POSTGRES_INITDB_WALDIR-} ]]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chmod 700 "$POSTGRES_INITDB_WALDIR"
    fi
    if ((EUID == 0)); then
        find "$PGDATA" /var/run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} \
            \! -user postgres -exec chown postgres:postgres {} + 2>/dev/null || :
    fi
}

check_password() {
    if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
        die 'Database is uninitialized and superuser password is not specified.' \
            'You must specify POSTGRES_PASSWORD to a non-empty value for the superuser.' \
            'POSTGRES_HOST_AUTH_METHOD=trust lets everyone in without a password: not recommended.'
    fi
    if [[ $POSTGRES_HOST_AUTH_METHOD == trust ]]; then
        say 'WARNING: POSTGRES_HOST_AUTH_METHOD is "trust": whoever reaches the port needs no password.' >&2
    fi
}

# 18's image moved its data below /var/lib/postgresql/18; an old volume would be silently left aside.
check_old_layout() {
    [[ $PGDATA == "/var/lib/postgresql/$PG_MAJOR/docker" ]] || return 0
    local old=() place
    for place in /var/lib/postgresql /var/lib/postgresql/data /var/lib/postgresql/*/docker; do
        if [[ -s $place/PG_VERSION ]]; then old+=("$place"); fi
    done
    if ((${#old[@]} == 0)) && mountpoint -q /var/lib/postgresql/data; then
        old=('/var/lib/postgresql/data (unused mount/volume)')
    fi
    ((${#old[@]} == 0)) && return 0
    die "there appears to be PostgreSQL data in: ${old[*]}" \
        "From 18 on the image keeps its data in $PGDATA: mount the volume at /var/lib/postgresql," \
        'and move old data over with pg_upgrade or a dump, or set PGDATA to where it is.'
}

locale_arguments() {
    # initdb takes LANG; a userland without that locale would make it fail.
    if [[ ${LANG-} == *.utf8 && ! -e /usr/lib/locale/$LANG && ! -e /usr/lib/locale/locale-archive ]]; then
        export LANG=C.UTF-8
    fi
    # musl sorts by code point whatever the locale is called; CAIS_COLLATE says so for -alpine tags.
    if [[ -n ${CAIS_COLLATE-} ]]; then printf '%s\n' "--lc-collate=$CAIS_COLLATE"; fi
}

# While this file is there the directory is not a database: it is removed last.
UNFINISHED=.cais-unfinished

forget_unfinished() {
    [[ -e $PGDATA/$UNFINISHED ]] || return 0
    say "$0: an earlier initialisation of $PGDATA did not end; starting over"
    rm -rf -- "${PGDATA:?}"/*
    if [[ -n ${POSTGRES_INITDB_WALDIR-} ]]; then rm -rf -- "${POSTGRES_INITDB_WALDIR:?}"/*; fi
}

# initdb writes PG_VERSION first. So it works in a directory beside the mark, and what it made moves up when it is done.
run_initdb() {
    local new=$PGDATA/.cais-initdb present=("$PGDATA"/*) locale
    if ((${#present[@]})); then
        die "directory \"$PGDATA\" exists but is not empty" "It holds: ${present[*]##*/}" \
            'Use an empty volume, or set PGDATA to a subdirectory of the mount.'
    fi
    : >"$PGDATA/$UNFINISHED"
    locale=$(locale_arguments)
    local arguments=(--pgdata="$new" --username="$POSTGRES_USER")
    if [[ -n $locale ]]; then arguments+=("$locale"); fi
    if [[ -n ${POSTGRES_INITDB_WALDIR-} ]]; then arguments+=(--waldir="$POSTGRES_INITDB_WALDIR"); fi
    local more=()
    eval "more=($POSTGRES_INITDB_ARGS)" # the image evaluates it too: quotes in it count
    # initdb asks for its user's name; a `user:` of Compose may have none.
    if ! getent passwd "$EUID" >/dev/null; then
        local wrapper=(/usr/lib/*/libnss_wrapper.so)
        NSS_WRAPPER_PASSWD=$(mktemp) NSS_WRAPPER_GROUP=$(mktemp)
        printf 'postgres:x:%s:%s::%s:/bin/false\n' "$EUID" "$(id -g)" "$PGDATA" >"$NSS_WRAPPER_PASSWD"
        printf 'postgres:x:%s:\n' "$(id -g)" >"$NSS_WRAPPER_GROUP"
        export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP LD_PRELOAD=${wrapper[0]-}
    fi
    initdb "${arguments[@]}" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${more[@]}" |
        sed -e "s#$new#$PGDATA#g" -e '/^Success\. You can now start/,$d'
    if [[ -n ${NSS_WRAPPER_PASSWD-} ]]; then
        rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
        unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
    fi
    # The image's postgresql.conf.sample listens on every address; initdb's own on localhost.
    # Its socket is in /run/postgresql; clients that were built elsewhere look in /tmp.
    sed -ri -e "s/^#?listen_addresses *= *'localhost'/listen_addresses = '*'/" \
        -e "s#^\#?unix_socket_directories *= *'[^']*'#unix_socket_directories = '/var/run/postgresql,/tmp'#" \
        "$new/postgresql.conf"
    mv -- "$new"/* "$PGDATA/"
    rmdir "$new"
}

allow_hosts() {
    local method=$POSTGRES_HOST_AUTH_METHOD
    if [[ -z $method ]]; then method=$(postgres -C password_encryption "$@"); fi
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# The functions with the image's names are for sourced init scripts, which call them.
docker_process_sql() {
    local query=(psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc)
    if [[ -n ${POSTGRES_DB-} ]]; then query+=(--dbname "$POSTGRES_DB"); fi
    PGHOST='' PGHOSTADDR='' "${query[@]}" "$@"
}

docker_process_init_files() {
    local f
    psql=(docker_process_sql)
    for f; do
        case $f in
        *.sh)
            if [[ -x $f ]]; then
                say "$0: running $f"
                "$f"
            else
                say "$0: sourcing $f"
                set +u
                # shellcheck source=/dev/null
                . "$f"
                set -u
            fi
            ;;
        *.sql) say "$0: running $f" && docker_process_sql -f "$f" ;;
        *.sql.gz) say "$0: running $f" && gunzip -c "$f" | docker_process_sql ;;
        *.sql.xz) say "$0: running $f" && xzcat "$f" | docker_process_sql ;;
        *.sql.zst) say "$0: running $f" && zstd -dc "$f" | docker_process_sql ;;
        *) say "$0: ignoring $f" ;;
        esac
        script=''
    done
}

# Only a socket, no port: nobody sees a server that init scripts are still working on.
start_hidden_server() {
    # A server that was killed leaves its socket's lock, and the pid in it may be another process's now.
    local place
    for place in /var/run/postgresql /tmp; do
        pg_isready -q -h "$place" -p "${PGPORT:-5432}" || rm -f -- "$place/.s.PGSQL.${PGPORT:-5432}.lock"
    done
    NOTIFY_SOCKET='' postgres "$@" -c listen_addresses= -p "${PGPORT:-5432}" &
    server=$!
    until PGHOST='' PGHOSTADDR='' pg_isready -q -U "$POSTGRES_USER" -d postgres -p "${PGPORT:-5432}"; do
        kill -0 "$server" 2>/dev/null || die 'the server stopped before init scripts could run (see the lines above)'
        sleep 0.02
    done
}

stop_hidden_server() {
    kill -INT "$server"
    wait "$server"
    server=''
}

on_exit() {
    local status=$?
    trap - EXIT
    if [[ -n $server ]]; then
        kill -QUIT "$server" 2>/dev/null || :
        wait "$server" 2>/dev/null || :
    fi
    if ((status)); then
        say "$0: the database was not initialised${running:+: $running failed with status $status}; the next start begins again" >&2
    fi
    exit "$status"
}

create_database() {
    [[ $POSTGRES_DB == postgres ]] && return 0
    local name=${POSTGRES_DB//\"/\"\"}
    # One statement a line is what a single-user backend reads; it needs no port, socket or second process.
    printf 'CREATE DATABASE "%s"\n' "$name" |
        postgres --single -j "$@" -D "$PGDATA" postgres >/dev/null
}

initialise() {
    local scripts
    server='' running=initdb
    trap on_exit EXIT
    trap 'exit 143' TERM INT
    # Names are sorted in the C locale as a directory listing of the image's is; hidden files do not count.
    shopt -u dotglob
    LC_ALL=C eval 'scripts=(/docker-entrypoint-initdb.d/*)'
    shopt -s dotglob
    run_initdb
    allow_hosts "$@"
    running='creating the database'
    create_database "$@"
    if ((${#scripts[@]})); then
        export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
        running='starting the server for init scripts'
        start_hidden_server "$@"
        local f
        for f in "${scripts[@]}"; do
            running=$f
            docker_process_init_files "$f"
        done
        running='stopping the server after init scripts'
        stop_hidden_server
        unset PGPASSWORD
    fi
    sync -- "$PGDATA"
    rm -- "$PGDATA/$UNFINISHED"
    trap - EXIT TERM INT
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

if [[ ${1-} == -* ]]; then set -- postgres "$@"; fi

wants_help() {
    local word
    for word; do
        case $word in -'?' | --help | --describe-config | -V | --version) return 0 ;; esac
    done
    return 1
}

if [[ ${1-} == postgres ]] && ! wants_help "$@"; then
    from_file POSTGRES_PASSWORD
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS
    : "${POSTGRES_HOST_AUTH_METHOD:=}"
    make_directories
    if ((EUID == 0)); then become_postgres "$@"; fi
    forget_unfinished
    if [[ -s $PGDATA/PG_VERSION ]]; then
        found=$(<"$PGDATA/PG_VERSION")
        if [[ $found != "$PG_MAJOR" ]]; then
            die "$PGDATA was written by PostgreSQL $found, this is $PG_MAJOR: the formats differ." \
                "Use an image of PostgreSQL $found, or dump there and load here, or take a fresh volume."
        fi
        printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    else
        check_password
        check_old_layout
        initialise "${@:2}"
    fi
fi

exec "$@"
