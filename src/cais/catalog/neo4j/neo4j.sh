#!/bin/bash
# The launcher: turns neo4j.conf into a Java command line, as the one of the distribution does with a Java of its own.
set -euo pipefail
shopt -s nullglob

: "${NEO4J_HOME:=/var/lib/neo4j}" "${NEO4J_CONF:=$NEO4J_HOME/conf}"
SHARE=/usr/share/neo4j
conf=$NEO4J_CONF/neo4j.conf

setting() { sed -n "s/^$1=//p" "$conf" 2>/dev/null | tail -n 1; }

# Only what the server's archive was trained with may come first: the library, sorted (JEP 483, class path prefix).
class_path() {
    local LC_ALL=C jars plugins
    jars=("$SHARE"/lib/*.jar)
    plugins=$(setting "$prefix.directories.plugins")
    plugins=${plugins:-$NEO4J_HOME/plugins}
    [[ $plugins == /* ]] || plugins=$NEO4J_HOME/$plugins
    jars+=("$plugins"/*.jar)
    local IFS=:
    printf '%s' "${jars[*]}"
}

console() {
    local options=() additional initial max
    mapfile -t additional < <(sed -n "s/^$prefix\.jvm\.additional=//p" "$conf" 2>/dev/null)
    initial=$(setting "$prefix.memory.heap.initial_size")
    max=$(setting "$prefix.memory.heap.max_size")
    mapfile -t options <"$SHARE/java.options"
    # A collector of the user's own and ours would be two.
    if [[ " ${additional[*]-} " =~ \ -XX:\+Use[A-Za-z0-9]+GC\  ]]; then
        local kept=() option
        for option in "${options[@]}"; do [[ $option == -XX:+UseSerialGC ]] || kept+=("$option"); done
        options=("${kept[@]}")
    fi
    if [[ -e $SHARE/aot/server.aot ]]; then options+=(-XX:AOTCache="$SHARE/aot/server.aot" -Xlog:aot=off -Xlog:cds=off); fi
    options+=(-Xms"${initial:-64m}")
    if [[ -n $max ]]; then options+=(-Xmx"$max"); fi
    if ((${#additional[@]})); then options+=("${additional[@]}"); fi
    cd "$NEO4J_HOME"
    exec "$JAVA_HOME/bin/java" -cp "$(class_path)" "${options[@]}" "$(<"$SHARE/main")" \
        --home-dir="$NEO4J_HOME" --config-dir="$NEO4J_CONF" --console-mode
}

# By the command line, which everyone may read; /proc/PID/exe is only its owner's.
running() {
    local file words
    for file in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words <"$file" 2>/dev/null || continue
        if [[ ${words[0]-} == "$JAVA_HOME/bin/java" && ${words[-1]} == --console-mode ]]; then
            file=${file#/proc/}
            printf '%s' "${file%/cmdline}"
            return 0
        fi
    done
    return 1
}

prefix=server
if [[ ${NEO4J_SERIES-} == 4 ]]; then prefix=dbms; fi
case ${1-console} in
console | start) console ;;
status)
    if pid=$(running); then echo "Neo4j is running at pid $pid"; else
        echo 'Neo4j is not running.'
        exit 3
    fi
    ;;
stop) if pid=$(running); then kill "$pid"; else echo 'Neo4j is not running.'; fi ;;
version | --version | -V) echo "$NEO4J_VERSION" ;;
*)
    echo "usage: neo4j { console | start | stop | status | version }" >&2
    exit 64
    ;;
esac
