"""Valkey 8: Debian's own packages, unpacked."""

from pathlib import Path

from cais.catalog.api import RUNS, Card, DebianPackages, DirIn, FileIn, ImageRef, Program, Recipe, Service, User
from cais.catalog.tags import alpine_differs, read_tag
from cais.diag.api import CaisError
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="valkey",
    title="Valkey",
    images=("valkey/valkey",),
    level=RUNS,
    ports=((6379, "redis"),),
    data=("/data",),
    versions="8 (8.1), 9 (Debian sid); 7.2 as 8.1 (`-alpine` too)",
)


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    tag = read_tag(ref.tag)
    major = tag.version[0] if tag.version else 9
    if not 7 <= major <= 9:
        said = f"no source has Valkey {tag.said}"
        raise CaisError(f"cannot run {ref.text}: {said}", hint="use valkey/valkey:8", span=ref.span)
    differs = [alpine_differs(ref)] if tag.alpine else []
    if major == 7:
        differs.append(f"Valkey 8.1 stands for {tag.said}")
    suite, version = ("sid", "9") if major == 9 else ("trixie", "8.1")
    package = f"valkey-server (>= {version})"
    return Recipe(
        programs=(Program("valkey", version, (DebianPackages(suite, (package, "valkey-tools")),)),),
        config=ImageConfig(
            env=(
                ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("VALKEY_VERSION", version),
            ),
            entrypoint=("docker-entrypoint.sh",),
            cmd=("valkey-server",),
            working_dir="/data",
            volumes=("/data",),
            exposed_ports=("6379/tcp",),
        ),
        suite=suite,
        files=(
            FileIn("/usr/local/bin/docker-entrypoint.sh", _text("entrypoint.sh"), 0o755),
            FileIn("/usr/local/bin/valkey-server", _text("server.sh"), 0o755),
            DirIn("/data", 0o755, 999, 1000 if tag.alpine else 999),
        ),
        links=(
            ("/usr/local/bin/redis-server", "valkey-server"),
            ("/usr/local/bin/redis-cli", "/usr/bin/valkey-cli"),
        ),
        users=(User("valkey", 999, 1000 if tag.alpine else 999, "/data"),),
        fidelity=NEAR if tag.alpine or major == 7 else REAL,
        differs=tuple(differs),
    )


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text()
