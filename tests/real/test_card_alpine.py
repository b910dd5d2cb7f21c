"""Alpine's tags on Debian: apk by its table, BusyBox's words for users and groups."""

import os

import in_image
import pytest

# An ordinary user's namespace has one user: there is nobody to change to, and setgroups(2) is denied.
AS_ROOT = "su-exec root id -un" if os.geteuid() == 0 else "which su-exec >/dev/null; id -un"

pytestmark = pytest.mark.real


def test_users_and_groups_are_made_as_busybox_makes_them() -> None:
    said = in_image.run(
        "python:3.11-alpine",
        "sh",
        "-ec",
        "addgroup -S app; adduser -S -D -H -G app -u 555 app; id app; "
        "adduser -D -h /srv/dev -s /bin/ash dev; id dev; ls -d /srv/dev; "
        "addgroup -g 1234 extra; addgroup dev extra; id -G dev; "
        "adduser -SDHG app other; id -gn other; "
        "adduser --system --group --quiet --home /nonexistent --no-create-home deb; id -gn deb; "
        "deluser other; id other 2>/dev/null || echo gone; getent passwd app dev",
    ).stdout.splitlines()
    assert said == [
        "uid=555(app) gid=999(app) groups=999(app)",
        "uid=1000(dev) gid=1000(dev) groups=1000(dev)",
        "/srv/dev",
        "1000 1234",
        "app",
        "deb",
        "gone",
        "app:x:555:999::/home/app:/usr/sbin/nologin",
        "dev:x:1000:1000::/srv/dev:/bin/ash",
    ]


def test_apk_adds_and_takes_away_by_its_table() -> None:
    said = in_image.run(
        "alpine:3.20",
        "sh",
        "-ec",
        "apk update; apk add --no-cache --virtual .build gcc musl-dev curl=8.9-r0 >/dev/null 2>&1; "
        "gcc --version | head -1; "
        "apk del .build >/dev/null 2>&1; which gcc || echo gone; apk add bash tzdata; "
        f"apk add -q su-exec >/dev/null 2>&1; {AS_ROOT}; wget --version | head -1",
        timeout=500,
    ).stdout.splitlines()
    assert said[0].startswith("gcc (Debian")
    assert said[1:3] == ["gone", "root"]
    assert said[3].startswith("GNU Wget")


def test_a_name_that_is_not_in_the_table_is_an_error_with_the_way_out() -> None:
    done = in_image.run("alpine:3.20", "sh", "-c", "apk add --no-cache curl frobnicator", check=False)
    assert done.returncode == 1
    assert "cannot install frobnicator" in done.stdout
    assert "use the image's Debian tag" in done.stdout
    assert "Setting up" not in done.stdout, "nothing is installed when one name is unknown"


def test_nc_waits_for_ports_and_listens_as_busybox_does() -> None:
    said = in_image.run(
        "alpine:3.20",
        "sh",
        "-ec",
        "apk del netcat-openbsd; nc -z 127.0.0.1 7000 || echo closed; "
        "(nc -l -p 7000 >/tmp/got &); sleep 0.3; echo sent | nc 127.0.0.1 7000; sleep 0.2; cat /tmp/got; "
        "(nc -lk -p 7001 -e cat &); while ! nc -z 127.0.0.1 7001; do sleep 0.1; done; "
        "echo one | nc 127.0.0.1 7001; echo two | nc -w 2 127.0.0.1 7001; nc -zv 127.0.0.1 7001",
    ).stdout.splitlines()
    assert said[:4] == ["closed", "sent", "one", "two"]
    assert said[4].startswith("Connection to 127.0.0.1 7001 port") and len(said) == 5


def test_what_apk_adds_is_where_alpine_has_it() -> None:
    said = in_image.run(
        "alpine:3.20",
        "sh",
        "-ec",
        "apk add --no-cache tini su-exec vim >/dev/null 2>&1; /sbin/tini -s -- echo started; command -v vim; "
        "ls /sbin/su-exec; apk add tini vim >/dev/null 2>&1",
        timeout=500,
    ).stdout.splitlines()
    assert said == ["started", "/usr/bin/vim", "/sbin/su-exec"]


def test_the_table_names_packages_that_debian_has() -> None:
    table = in_image.run("alpine:3.20", "cat", "/usr/share/cais/apk-packages").stdout.splitlines()
    names = sorted({name for line in table if not line.startswith("#") for name in line.split()[1:]})
    said = in_image.run(
        "alpine:3.20",
        "sh",
        "-ec",
        f"apt-get -q update >/dev/null; apt-cache show {' '.join(names)} 2>&1 >/dev/null",
        timeout=500,
    ).stdout.splitlines()
    assert said == []


@pytest.mark.parametrize("image", ["alpine:3.20", "nginx:alpine", "busybox"])
@pytest.mark.parametrize("shell", ["sh", "ash"])
def test_the_shell_is_busybox_s(image: str, shell: str) -> None:
    script = "set -o pipefail; false | true || echo fail; x=abcdef; [[ ${x:0:3} == abc ]]; source /dev/null; echo -e x"
    assert in_image.run(image, shell, "-ec", script).stdout == "fail\nx\n"
