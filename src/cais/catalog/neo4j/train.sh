# Makes the JVM's archives of loaded and linked classes (JEP 483, 514) once, in a throw-away home: with them the server
# answers after a third of the work. They match only the same JVM, the same options and the same first jars.
set -u
shopt -s nullglob
LC_ALL=C
share=/usr/share/neo4j
# Neo4j wants its own host's name to resolve, and there is no network here that would give it one.
echo "127.0.0.1 $(hostname)" >>/etc/hosts
home=$(mktemp -d)
mkdir -p "$share/aot" "$home"/{conf,data,logs,run,import,plugins}
cat >"$home/conf/neo4j.conf" <<'CONF'
server.default_listen_address=127.0.0.1
server.directories.import=import
server.memory.pagecache.size=64m
dbms.security.auth_enabled=false
dbms.usage_report.enabled=false
db.tx_log.preallocate=false
CONF
path() {
    local jars=("$@") IFS=:
    printf '%s' "${jars[*]}"
}
server=$(path $share/lib/*.jar)
shell=$(path $share/cypher-shell/*.jar)
cd "$home"
nice -n 15 /opt/java/openjdk/bin/java -cp "$server" @OPTIONS@ -Xms64m -XX:AOTCacheOutput="$share/aot/.server.aot" -Xlog:aot=off -Xlog:cds=off \
    @MAIN@ --home-dir="$home" --config-dir="$home/conf" --console-mode >"$home/out" 2>&1 &
pid=$!
ask() {
    nice -n 15 /opt/java/openjdk/bin/java -cp "$shell" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $shell_extra --enable-native-access=ALL-UNNAMED \
        --sun-misc-unsafe-memory-access=allow org.neo4j.shell.Main -a bolt://127.0.0.1:7687 "$@"
}
shell_extra=
for _ in $(seq 200); do
    kill -0 "$pid" 2>/dev/null || { cat "$home/out"; exit 1; }
    if (exec 3<>/dev/tcp/127.0.0.1/7687) 2>/dev/null && ask 'RETURN 1' >"$home/said" 2>&1; then break; fi
    sleep 0.5
done
cat "$home/said"
ask 'CREATE CONSTRAINT IF NOT EXISTS FOR (n:N) REQUIRE n.id IS UNIQUE;
UNWIND range(1, 100) AS i MERGE (n:N {id: i}) SET n.t = datetime();
MATCH (a:N), (b:N) WHERE a.id = b.id + 1 MERGE (a)-[:R]->(b);
MATCH p = (a:N {id: 9})-[:R*1..3]->(b) RETURN count(p);
MATCH (n:N) DETACH DELETE n;' >/dev/null
shell_extra="-XX:AOTCacheOutput=$share/aot/.shell.aot -Xlog:aot=off -Xlog:cds=off"
ask 'RETURN 1' >/dev/null
kill -TERM "$pid"
wait "$pid" || :
rm -rf "$home"
for name in server shell; do
    if [[ -s $share/aot/.$name.aot ]]; then mv "$share/aot/.$name.aot" "$share/aot/$name.aot"; fi
done
[[ -s $share/aot/server.aot ]]
