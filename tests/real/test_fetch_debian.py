"""A userland out of Debian's packages: what is in it, what apt makes of it, and what happens when things fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import in_image
import pytest

from cais.fetch.debian import userland
from cais.paths import cache_home

# An ordinary user's namespace has one user: there is nobody to change to, and setgroups(2) is denied.
AS_ROOT = "su -s /bin/sh -c 'id -un' root" if os.geteuid() == 0 else "id -un"

pytestmark = pytest.mark.real

_MAKE = "import sys; from cais.fetch.debian import userland; print(userland.userland(sys.argv[1]))"


def make(suite: str, env: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _MAKE, suite], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture
def empty(tmp_path: Path) -> dict[str, str]:
    """The environment with a cache that has nothing."""
    return {**os.environ, "CAIS_CACHE": str(tmp_path / "cache")}


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "sid"])
def test_a_userland_is_complete_and_apt_finds_nothing_to_mend(suite: str) -> None:
    said = in_image.run(
        f"debian:{suite}-slim",
        "sh",
        "-ec",
        "dpkg --audit; apt-get check >/dev/null; pam-auth-update --package </dev/null; getent hosts localhost; "
        "cp /etc/ld.so.cache /tmp/ours; ldconfig; "
        "ldconfig -p -C /tmp/ours | grep '=>' | sort >/tmp/a; ldconfig -p | grep '=>' | sort >/tmp/b; "
        "cmp /tmp/a /tmp/b; locale -a | grep -i c.utf; awk 'BEGIN { print \"awk\" }'; which perl; "
        "test -s /etc/ssl/certs/ca-certificates.crt; cat /etc/timezone; " + AS_ROOT,
    ).stdout
    assert "Local modifications" not in said
    assert said.split() [-4:] == ["awk", "/usr/bin/perl", "Etc/UTC", "root"]  # fmt: skip


def test_apt_installs_what_a_dockerfile_asks_for() -> None:
    said = in_image.run(
        "debian:bookworm-slim",
        "sh",
        "-ec",
        "apt-get update -q; "
        "apt-get install -y -q --no-install-recommends gcc libc6-dev curl openssh-client redis-server; "
        "dpkg --audit; echo 'int main(){return 42;}' >/tmp/a.c; gcc -o /tmp/a /tmp/a.c; /tmp/a || test $? = 42; "
        "id redis; stat -c %G /usr/bin/ssh-agent; curl --version | head -1",
        timeout=500,
    ).stdout
    assert "uid=" in said and said.splitlines()[-1].startswith("curl 7.88")


def test_two_at_once_make_one_and_nothing_is_left_over(empty: dict[str, str]) -> None:
    both = [make("bookworm", empty), make("bookworm", empty)]
    outputs = [p.communicate(timeout=240) for p in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert list(Path(empty["CAIS_CACHE"], "tmp").iterdir()) == []
    lock = Path(outputs[0][0].strip() + ".lock.json")
    assert '"libc6": "2.36-' in lock.read_text()


def test_a_killed_fetch_leaves_no_half_and_the_next_one_works(empty: dict[str, str]) -> None:
    for delay in (0.6, 1.8, 2.4):
        first = make("bookworm", empty)
        time.sleep(delay)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        half = [p for p in Path(empty["CAIS_CACHE"]).glob("userlands/*") if p.is_dir()]
        assert all((p / "var/lib/dpkg/status").exists() and (p / "etc/ld.so.cache").exists() for p in half)
    last = make("bookworm", empty)
    out, error = last.communicate(timeout=240)
    assert last.returncode == 0, error
    assert Path(out.strip(), "var/lib/dpkg/status").exists()
    assert list(Path(empty["CAIS_CACHE"], "tmp").iterdir()) == []


def test_what_is_there_needs_no_network() -> None:
    made = userland.userland("bookworm")
    cut = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    cut["CAIS_CACHE"] = str(cache_home())
    again = make("bookworm", cut)
    out, error = again.communicate(timeout=60)
    assert (out.strip(), error) == (str(made), "")


def test_a_silent_mirror_is_named_once(empty: dict[str, str]) -> None:
    code = (
        "from cais.catalog import find, make\nfrom cais.diag.api import CaisError\n"
        "try:\n    make.image_for(find.parse('python:3.11-slim'))\nexcept CaisError as err:\n    print(err.message)"
    )
    cut = {**empty, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], env=cut, capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == 1
    assert "does not answer through the proxy http://127.0.0.1:9 (connection refused" in done.stdout
    assert done.stderr == ""


def test_a_users_files_are_his_and_nobody_elses_can_read_the_cache() -> None:
    made = userland.userland("bookworm")
    for path in (made, made / "etc/passwd", made / "usr/bin/bash", made / "var/mail"):
        assert path.stat().st_uid == os.geteuid()
    assert made.stat().st_mode & 0o777 == 0o755
    assert made.parent.stat().st_mode & 0o777 == 0o700
