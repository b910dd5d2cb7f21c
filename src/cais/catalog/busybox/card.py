"""BusyBox: Debian's build of it, its applets first in PATH, over Debian's userland."""

from cais.catalog.api import RUNS, Card, DebianPackages, ImageRef, Program, Recipe, Service
from cais.catalog.suites import PATH
from cais.model.image import NEAR, ImageConfig

CARD = Card(
    name="busybox",
    title="BusyBox",
    images=("busybox",),
    level=RUNS,
    versions="any, near: 1.35",
)
_APPLETS = (
    "ash awk base64 basename cat chmod chown cp cut date dd df dirname du echo env expr false find free grep gunzip "
    "gzip head hostname httpd id ifconfig ip kill killall less ln ls md5sum mkdir mkfifo mktemp more mv nc netstat "
    "nproc nslookup od pgrep ping pkill printf ps pwd readlink realpath rm rmdir route sed seq sh sha256sum sleep "
    "sort stat strings stty sync tail tar tee telnet test timeout top touch tr traceroute true tty uname uniq unzip "
    "uptime usleep vi watch wc wget which whoami xargs xxd yes zcat"
)


def recipe(ref: ImageRef, service: Service | None) -> Recipe:
    return Recipe(
        programs=(Program("busybox-bookworm", "1", (DebianPackages("bookworm", ("busybox", "wget")),)),),
        config=ImageConfig(env=(("PATH", f"/opt/busybox/bin:{PATH}"),), cmd=("sh",)),
        links=tuple((f"/opt/busybox/bin/{name}", "/bin/busybox") for name in _APPLETS.split()),
        fidelity=NEAR,
        differs=(f"BusyBox 1.35 of Debian stands for {ref.tag}, over Debian's userland",),
    )
