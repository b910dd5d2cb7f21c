#!/bin/bash
# cypher-shell. It is a healthcheck in many files, so it starts as fast as Java can.
set -euo pipefail
shopt -s nullglob
LC_ALL=C jars=(/usr/share/neo4j/cypher-shell/*.jar)
options=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1)  # -Xshare:auto is the default, and with AOTCache an error
if [[ -e /usr/share/neo4j/aot/shell.aot ]]; then
    options+=(-XX:AOTCache=/usr/share/neo4j/aot/shell.aot -Xlog:aot=off -Xlog:cds=off)
fi
class_path=$(IFS=: && printf '%s' "${jars[*]}")
exec "$JAVA_HOME/bin/java" -cp "$class_path" "${options[@]}" $(</usr/share/neo4j/shell.options) org.neo4j.shell.Main "$@"
