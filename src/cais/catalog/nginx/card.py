"""nginx: Debian's own package with all of its built-in modules, configured as the official image is."""

from pathlib import Path

from cais.catalog.api import RUNS, Card, DebianPackages, DirIn, FileIn, ImageRef, Program, Recipe, Service, User
from cais.catalog.tags import alpine_differs, read_tag
from cais.diag.api import CaisError
from cais.model.image import NEAR, REAL, ImageConfig

CARD = Card(
    name="nginx",
    title="nginx",
    images=("nginx", "nginxinc/nginx-unprivileged"),
    level=RUNS,
    ports=((80, "http"), (443, "https")),
    web_ports=(80, 8080),
    versions="every 1.x, as 1.26 (1.22 and older as 1.22; `-alpine` too)",
)

# Debian's name below /var/lib/nginx, and the official image's below /var/cache/nginx: `--http-*-temp-path` of both.
_TEMPORARY = (
    ("body", "client_temp"),
    ("proxy", "proxy_temp"),
    ("fastcgi", "fastcgi_temp"),
    ("uwsgi", "uwsgi_temp"),
    ("scgi", "scgi_temp"),
)
_SCRIPTS = (
    ("10-listen-on-ipv6-by-default.sh", "ipv6.sh"),
    ("15-local-resolvers.envsh", "resolvers.envsh"),
    ("20-envsubst-on-templates.sh", "templates.sh"),
    ("30-tune-worker-processes.sh", "workers.sh"),
)


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    tag = read_tag(ref.tag)
    if tag.version and tag.version[0] != 1:
        said = f"no source has nginx {tag.said}"
        raise CaisError(f"cannot run {ref.text}: {said}", hint="use nginx:1.26", span=ref.span)
    minor = tag.version[1] if len(tag.version) > 1 else 26
    suite, carried = ("bookworm", 22) if minor <= 22 else ("trixie", 26)
    differs = [alpine_differs(ref)] if tag.alpine else []
    if minor != carried:
        differs.append(f"nginx 1.{carried} stands for {tag.said}")
    unprivileged = ref.name.endswith("unprivileged")
    conf, default, port, owner = _text("nginx.conf"), _text("default.conf"), 80, 0
    if unprivileged:
        port, owner = 8080, 101
        conf = conf.replace("user  nginx;\n", "").replace("/run/nginx.pid", "/tmp/nginx.pid")
        places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temp = "".join(f"    {p}_temp_path /tmp/{p}_temp;\n" for p in places)
        conf = conf.replace("http {\n", f"http {{\n{temp}\n")
        default = default.replace("listen       80;", "listen       8080;")
    packages = ("nginx", "gettext-base", "curl")
    return Recipe(
        programs=(Program("nginx", f"1.{carried}", (DebianPackages(suite, packages),)),),
        config=ImageConfig(
            env=(
                ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("NGINX_VERSION", f"1.{carried}"),
            ),
            entrypoint=("/docker-entrypoint.sh",),
            cmd=("nginx", "-g", "daemon off;"),
            user="101" if unprivileged else "",
            exposed_ports=(f"{port}/tcp",),
            stop_signal="SIGQUIT",
        ),
        suite=suite,
        files=(
            FileIn("/docker-entrypoint.sh", _text("entrypoint.sh"), 0o755),
            *(FileIn(f"/docker-entrypoint.d/{name}", _text(file), 0o755) for name, file in _SCRIPTS),
            DirIn("/etc/nginx", 0o755, owner, owner),
            FileIn("/etc/nginx/nginx.conf", conf, 0o644, owner, owner),
            DirIn("/etc/nginx/conf.d", 0o755, owner, owner),
            FileIn("/etc/nginx/conf.d/default.conf", default, 0o644, owner, owner),
            FileIn("/usr/share/nginx/default.conf", default),
            FileIn("/usr/share/nginx/html/index.html", _text("index.html")),
            FileIn("/usr/share/nginx/html/50x.html", _text("50x.html")),
            FileIn("/usr/local/sbin/nginx", _text("nginx.sh"), 0o755),
            DirIn("/var/cache/nginx", 0o755, 101, 101),
            *(DirIn(f"/var/cache/nginx/{name}", 0o700, 101) for _, name in _TEMPORARY),
            DirIn("/var/log/nginx"),
            DirIn("/var/lib/nginx", 0o755, 101, 101),
        ),
        links=(
            ("/var/log/nginx/access.log", "/dev/stdout"),
            ("/var/log/nginx/error.log", "/dev/stderr"),
            *((f"/var/lib/nginx/{debian}", f"/var/cache/nginx/{name}") for debian, name in _TEMPORARY),
            ("/etc/nginx/modules", "/usr/lib/nginx/modules"),
        ),
        users=(User("nginx", 101, 101),),
        fidelity=NEAR if tag.alpine else REAL,
        differs=tuple(differs),
    )


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text()
