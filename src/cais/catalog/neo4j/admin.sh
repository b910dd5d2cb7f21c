#!/bin/bash
# neo4j-admin: the server's own, on the same library.
set -euo pipefail
export NEO4J_HOME=${NEO4J_HOME:-/var/lib/neo4j} NEO4J_CONF=${NEO4J_CONF:-/var/lib/neo4j/conf}
exec "$JAVA_HOME/bin/java" -cp '/usr/share/neo4j/lib/*' -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.disable.jmx=true \
    --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED org.neo4j.cli.AdminTool "$@"
