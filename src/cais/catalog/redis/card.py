"""Redis 7 and 8: Debian's own packages, unpacked."""

from pathlib import Path

from cais.catalog.api import RUNS, Card, DebianPackages, DirIn, FileIn, ImageRef, Program, Recipe, Service, User
from cais.catalog.tags import alpine_differs, read_tag
from cais.diag.api import CaisError
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="redis",
    title="Redis",
    images=("redis", "redis/redis-stack", "redis/redis-stack-server"),
    level=RUNS,
    ports=((6379, "redis"),),
    data=("/data",),
    secret_variables=("REDIS_PASSWORD",),
    versions="7 (7.0), 8 (8.0); 6 as 7.0 (`-alpine` too)",
)

_PLACES = {7: ("bookworm", "7.0"), 8: ("trixie", "8.0")}


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    if ref.name != "redis":
        raise CaisError(
            f"cannot run {ref.text}: no source has the Redis Stack modules (search, JSON, time series)",
            hint="use redis:8 where the modules are not needed, or the docker engine",
            span=ref.span,
        )
    tag = read_tag(ref.tag)
    major = tag.version[0] if tag.version else 8
    differs = [alpine_differs(ref)] if tag.alpine else []
    if not 5 <= major <= 8:
        raise CaisError(f"cannot run {ref.text}: no source has Redis {tag.said}", hint="use redis:7", span=ref.span)
    if major < 7:
        differs.append(f"Redis 7.0 stands for {tag.said}")
    if major == 8:
        differs.append("the modules in the image (search, JSON, time series, Bloom filters) are not there")
    suite, version = _PLACES[max(major, 7)]
    package = f"redis-server (>= 5:{version})"
    return Recipe(
        programs=(Program("redis", version, (DebianPackages(suite, (package, "redis-tools")),)),),
        config=ImageConfig(
            env=(
                ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("REDIS_VERSION", version),
            ),
            entrypoint=("docker-entrypoint.sh",),
            cmd=("redis-server",),
            working_dir="/data",
            volumes=("/data",),
            exposed_ports=("6379/tcp",),
        ),
        suite=suite,
        files=(
            FileIn("/usr/local/bin/docker-entrypoint.sh", _text("entrypoint.sh"), 0o755),
            FileIn("/usr/local/bin/redis-server", _text("server.sh"), 0o755),
            DirIn("/data", 0o755, 999, 1000 if tag.alpine else 999),
        ),
        users=(User("redis", 999, 1000 if tag.alpine else 999, "/data"),),
        fidelity=NEAR if tag.alpine or major < 7 else REAL,
        differs=tuple(differs),
    )


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text()
