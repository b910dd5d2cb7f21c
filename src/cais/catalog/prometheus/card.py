"""Prometheus 2 and 3: Debian's own packages, unpacked."""

from pathlib import Path

from cais.catalog.api import RUNS, Card, DebianPackages, DirIn, FileIn, ImageRef, Program, Recipe, Service
from cais.catalog.tags import read_tag
from cais.diag.api import CaisError
from cais.model.image import REAL, ImageConfig

CARD = Card(
    name="prometheus",
    title="Prometheus",
    images=("prom/prometheus", "prometheus/prometheus"),
    level=RUNS,
    ports=((9090, "prometheus"),),
    web_ports=(9090,),
    data=("/prometheus",),
    versions="2 (2.53), 3 (Debian sid's)",
)


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    tag = read_tag(ref.tag)
    major = tag.version[0] if tag.version else 3
    if major not in (2, 3):
        said = f"no source has Prometheus {tag.said or ref.tag}"
        raise CaisError(f"cannot run {ref.text}: {said}", hint="use prom/prometheus:v2.53.3", span=ref.span)
    suite, version = ("trixie", "2.53") if major == 2 else ("sid", "3")
    arguments = ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
    if major == 2:
        arguments += [
            "--web.console.libraries=/usr/share/prometheus/console_libraries",
            "--web.console.templates=/usr/share/prometheus/consoles",
        ]
    return Recipe(
        programs=(Program("prometheus", version, (DebianPackages(suite, ("prometheus", "wget")),)),),
        config=ImageConfig(
            env=(("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),),
            entrypoint=("/usr/local/bin/prometheus",),
            cmd=tuple(arguments),
            working_dir="/prometheus",
            user="nobody",
            volumes=("/prometheus",),
            exposed_ports=("9090/tcp",),
        ),
        suite=suite,
        files=(
            FileIn("/usr/local/bin/prometheus", _text("entrypoint.sh"), 0o755),
            DirIn("/etc/prometheus", 0o755, 65534, 65534),
            FileIn("/etc/prometheus/prometheus.yml", _text("prometheus.yml"), 0o644, 65534, 65534),
            DirIn("/prometheus", 0o755, 65534, 65534),
        ),
        fidelity=REAL,
    )


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text()
