"""Dockerfiles carried out in the sandbox: what a RUN sees, what its layer holds, what is left when it fails."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin
from uuid import uuid4

import pytest

from cais.build.api import BuildEvent, BuildRequest
from cais.build.builder import build
from cais.build.machine import TRUST
from cais.build.view import View
from cais.diag.api import CaisError
from cais.engine.native.images import base_resolver
from cais.fetch import http, pypi
from cais.model.image import Image
from cais.paths import cache_home

pytestmark = pytest.mark.real
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nbm90IGEgcmVhbCBvbmUsIGJ1dCBlbm91Z2g=\n-----END CERTIFICATE-----\n"


class Yard:
    """A context; every build gets a nonce in its environment, so that none finds the layers of an earlier run."""

    def __init__(self, folder: Path) -> None:
        self.context = folder
        self.nonce = f"{os.getpid()}-{time.time_ns()}"
        self.events: list[BuildEvent] = []

    def write(self, path: str, text: str) -> Path:
        file = self.context / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        return file

    def request(self, text: str, base: str = "debian:bookworm-slim", **more: object) -> BuildRequest:
        text = f"FROM {base}\nENV NONCE={self.nonce}\n{textwrap.dedent(text)}"
        return BuildRequest(context=str(self.context), inline=text, name="api", **more)  # type: ignore[arg-type]

    def build(self, text: str, base: str = "debian:bookworm-slim", **more: object) -> Image:
        self.events.clear()
        return build(self.request(text, base, **more), base_resolver(lambda who, words: None), self.events.append)

    def made(self) -> list[str]:
        return [e.text for e in self.events if e.kind == "step"]

    def output(self) -> str:
        return "\n".join(e.text for e in self.events if e.kind == "output")


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yield Yard(tmp_path)
    left = [p.name for p in (cache_home() / "layers").glob(f".*-{os.getpid()}") if p.name.startswith((".new", ".run"))]
    assert left == [], "a build left its scratch behind"


def text_of(image: Image, path: str) -> str | None:
    entry = View(image.layers).find(path)
    return None if entry is None else Path(entry.host).read_text()


def own_layers(image: Image) -> list[str]:
    """Those that the build made, not its base."""
    return [layer for layer in image.layers if layer.startswith(str(cache_home() / "layers"))]


def paths_of(image: Image) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), layer)
        for layer in own_layers(image)
        for folder, folders, files in os.walk(layer)
        for name in (*folders, *files)
    }


def test_a_run_sees_image_and_arguments_and_nothing_of_the_shell(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "planted-in-the-callers-shell")
    image = yard.build(
        "ARG GIVEN\nARG DEFAULT=d\nENV SET=s DEFAULT=env\nWORKDIR /work\nRUN env | sort > /env; pwd >> /env",
        args=(("GIVEN", "g"),),
    )
    seen = (text_of(image, "/env") or "").split()
    assert [line for line in seen if not line.startswith(("NONCE=", "PATH=", "LANG=", *TRUST))] == [
        "DEFAULT=env", "GIVEN=g", "HOME=/root", "PWD=/work", "SET=s", "/work",
    ]  # fmt: skip
    assert "planted" not in repr(yard.events) + repr(image)
    for layer in own_layers(image):
        for folder, _, files in os.walk(layer):
            for name in files:
                assert b"planted-in" not in Path(folder, name).read_bytes()


def test_packages_install_as_root_and_as_an_ordinary_user(yard: Yard) -> None:
    image = yard.build(
        """
        RUN apt-get update && apt-get install -y --no-install-recommends bc && rm -rf /var/lib/apt/lists/*
        RUN test "$(echo 6*7 | bc)" = 42 && test -z "$(ls /var/lib/apt/lists)"
        """
    )
    assert View(image.layers).find("/usr/bin/bc") is not None


def test_users_are_made_owned_and_become(yard: Yard) -> None:
    yard.write("app.py", "print(1)")
    yard.build(
        """
        RUN groupadd -g 1234 app && useradd -m -u 1234 -g app app && mkdir /data && chown -R app:app /data
        COPY --chown=app:app app.py /srv/
        USER app
        WORKDIR /data
        RUN test "$(id -un):$(id -g)" = app:1234 && touch /data/x ~/y && cat /srv/app.py && test "$HOME" = /home/app
        USER 4321:100
        RUN test "$(id -u):$(id -g)" = 4321:100
        """
    )
    assert "print(1)" in yard.output()


def test_what_a_run_removes_is_gone_for_those_after_it(yard: Yard) -> None:
    image = yard.build(
        """
        RUN mkdir /d && touch /d/a /d/b /gone
        RUN rm -rf /gone /d && mkdir /d && touch /d/c
        RUN test ! -e /gone && test "$(ls /d)" = c
        """
    )
    view = View(image.layers)
    assert view.find("/gone") is None and view.find("/d/a") is None and view.find("/d/c") is not None


def test_heredocs_run_in_the_shell_by_their_own_interpreter_and_as_input(yard: Yard) -> None:
    yard.build(
        "RUN <<EOF\nset -e\necho shell $NONCE\nEOF\n"
        "RUN <<EOF\n#!/usr/bin/perl\nprint 'perl ', 6*7, \"\\n\";\nEOF\n"
        "RUN cat <<A <<B && echo after\none\nA\ntwo\nB\n"
        'SHELL ["/bin/bash", "-ec"]\nRUN echo ${BASH_VERSION:+bash}\nRUN ["/bin/echo", "exec $NONCE"]\n'
    )
    assert yard.output().splitlines() == [f"shell {yard.nonce}", "perl 42", "two", "after", "bash", "exec $NONCE"]


def test_build_secrets_are_seen_by_their_run_alone_and_stored_nowhere(yard: Yard, tmp_path: Path) -> None:
    value, from_file = "hunter2-the-planted-secret", "the-secret-of-a-file"
    (tmp_path / "secret.txt").write_text(from_file)
    image = yard.build(
        """
        RUN --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=file,target=/key,mode=0444 \\
            echo "$TOKEN $(cat /key)"; echo "${#TOKEN}" > /length
        RUN test -z "$TOKEN" && test ! -e /key && test ! -e /run/secrets/token
        """,
        secrets=(("token", None, value), ("file", str(tmp_path / "secret.txt"), None)),
    )
    assert text_of(image, "/length") == f"{len(value)}\n"
    assert "key" not in paths_of(image)
    assert value not in repr(yard.events) + repr(image) and from_file not in repr(yard.events)
    for home in ("layers", "build"):
        for folder, folders, files in os.walk(cache_home() / home):
            assert not any(value in name for name in (*folders, *files))
            if home == "build" or yard.nonce in folder:
                continue
    for layer in own_layers(image):
        for folder, _, files in os.walk(layer):
            assert not any(value.encode() in Path(folder, name).read_bytes() for name in files)
    text = 'RUN --mount=type=secret,id=token,env=TOKEN test -n "$TOKEN"\n'
    again = yard.build(text, secrets=(("token", None, "one"),))
    assert yard.build(text, secrets=(("token", None, "two"),)) == again and yard.made() == []


def test_a_required_secret_that_is_missing_is_named(yard: Yard) -> None:
    with pytest.raises(CaisError, match="the secret token is required"):
        yard.build("RUN --mount=type=secret,id=token,required true\n")


def test_nothing_of_this_machine_stays_in_a_layer(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = tmp_path / "company.pem"
    authority.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:index-password@pypi.example/simple")
    image = yard.build(
        """
        RUN grep -q bm90IGEgcmVhbCBvbmUs /etc/ssl/certs/ca-certificates.crt && cat /etc/xdg/pip/pip.conf > /dev/null
        RUN update-ca-certificates --fresh && grep -q bm90IGEgcmVhbCBvbmUs /etc/ssl/certs/ca-certificates.crt
        RUN touch /only-this
        """
    )
    assert "only-this" in paths_of(image)
    foreign = {p for p in paths_of(image) if p.startswith(("dev", "proc", "sys", "etc/xdg", "etc/uv", "etc/hosts"))}
    assert foreign == set()
    assert not any("cais" in p for p in paths_of(image))
    for layer in own_layers(image):
        for folder, _, files in os.walk(layer):
            for name in files:
                path = Path(folder, name)
                if not path.is_symlink():
                    assert (
                        b"bm90IGEgcmVhbCBvbmUs" not in path.read_bytes() and b"index-password" not in path.read_bytes()
                    )


def test_a_failing_run_says_line_command_code_and_last_output(yard: Yard) -> None:
    with pytest.raises(CaisError) as error:
        yard.build("WORKDIR /x\nRUN for i in $(seq 40); do echo line $i; done; exit 7\n")
    message = error.value.message
    assert message.startswith("cannot build api: RUN for i in") and "exit code 7" in message
    assert "line 21\n" in message and "line 40" in message and "line 20\n" not in message
    assert error.value.span is not None and error.value.span.line == 4


def test_a_command_that_is_not_there_says_so(yard: Yard) -> None:
    with pytest.raises(CaisError) as error:
        yard.build('RUN ["/no/such/program"]\n')
    assert "/no/such/program" in error.value.message


def test_another_python_than_a_package_wants_is_explained(yard: Yard) -> None:
    with zipfile.ZipFile(yard.context / "pkg-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            "pkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\nRequires-Python: >=3.99\n"
        )
        wheel.writestr("pkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("pkg-1.0.dist-info/RECORD", "")
    with pytest.raises(CaisError) as error:
        yard.build(
            "COPY pkg-1.0-py3-none-any.whl /tmp/\nRUN pip install --no-index /tmp/pkg-1.0-py3-none-any.whl\n",
            base="python:3.11-slim",
        )
    assert "wants Python >=3.99" in error.value.hint and "python:3.11-slim" in error.value.hint


def test_a_cache_mount_outlives_builds_and_stays_out_of_layers(yard: Yard) -> None:
    mount = f"--mount=type=cache,target=/var/cache/x,id={yard.nonce}"
    yard.build(f"RUN {mount} echo first > /var/cache/x/f\n")
    image = yard.build(f"RUN {mount} cat /var/cache/x/f\nRUN test ! -e /var/cache/x/f\n")
    assert yard.output() == "first" and "var/cache/x" not in paths_of(image)


def test_bind_mounts_show_context_and_stages_read_only(yard: Yard) -> None:
    yard.write("src/a", "from the context")
    yard.write(".dockerignore", "src/hidden\n")
    yard.write("src/hidden", "no")
    yard.build(
        """
        RUN --mount=type=bind,source=src,target=/m test "$(ls /m)" = a && ! touch /m/x 2>/dev/null
        RUN --mount=source=src,target=/m,rw touch /m/x
        RUN test ! -e /m
        """
    )
    assert not (yard.context / "src/x").exists()


def test_no_network_when_none_is_asked(yard: Yard) -> None:
    yard.build('RUN --network=none test "$(ls /sys/class/net)" = lo\nRUN ls /sys/class/net | grep -q eth0\n')


def test_add_takes_a_file_from_an_address_with_its_name_and_checks_it(yard: Yard) -> None:
    """From this machine's package registry: the one address that must answer here anyway."""
    settings = pypi.settings()
    page = f"{settings.indexes[0].rstrip('/')}/six/"
    links = re.findall(r'href="([^"#]+)#sha256=(\w+)"', http.get(page, what="six", cafile=settings.cafile).decode())
    address, sha256 = next((urljoin(page, link), found) for link, found in links if link.endswith("none-any.whl"))
    name = address.rpartition("/")[2]
    image = yard.build(
        f"FROM debian:bookworm-slim\nADD --checksum=sha256:{sha256} --chmod=644 {address} /opt/\n"
        f"ADD {page} /page.html\nRUN stat -c %a /opt/{name} /page.html && grep -q {name} /page.html\n"
    )
    assert {f"opt/{name}", "page.html"} <= paths_of(image)
    with pytest.raises(CaisError, match=f"has sha256:{sha256}, not sha256:{'0' * 64}"):
        yard.build(f"FROM debian:bookworm-slim\nADD --checksum=sha256:{'0' * 64} {address} /opt/\n")
    with pytest.raises(CaisError, match="there is no such file"):
        yard.build(f"FROM debian:bookworm-slim\nADD {address}.not-there /opt/\n")
    with pytest.raises(CaisError, match="has no file name"):
        yard.build(f"FROM debian:bookworm-slim\nADD {page} /opt/\n")


def test_a_changed_file_runs_only_what_follows(yard: Yard) -> None:
    yard.write("requirements.txt", f"one {uuid4()}")  # layers are kept by content: an earlier run may have had "one"
    yard.write("app.py", f"1 {uuid4()}")
    text = "COPY requirements.txt /\nRUN cat /requirements.txt\nCOPY app.py /\nRUN cat /app.py\n"
    yard.build(text)
    assert len(yard.made()) == 4
    yard.build(text)
    assert yard.made() == []
    yard.write("app.py", f"2 {uuid4()}")
    yard.build(text)
    assert yard.made() == ["COPY app.py /", "RUN cat /app.py"]


def test_stages_side_by_side(yard: Yard) -> None:
    image = yard.build(
        """
        RUN echo one > /one
        FROM debian:bookworm-slim AS other
        RUN echo two > /two
        FROM debian:bookworm-slim
        COPY --from=0 /one /
        COPY --from=other /two /
        RUN cat /one /two > /both
        """
    )
    assert text_of(image, "/both") == "one\ntwo\n"


def _in_another_process(yard: Yard, text: str) -> "subprocess.Popen[str]":
    code = f"""
from cais.build.api import BuildRequest
from cais.build.builder import build
from cais.build.machine import TRUST
from cais.engine.native.images import base_resolver
build({yard.request(text)!r}, base_resolver(lambda a, b: None), lambda e: print(e.kind, e.text, flush=True))
"""
    code = "from cais.source.api import Span\n" + code
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_builds_at_once_do_the_work_once(yard: Yard) -> None:
    text = "RUN sleep 1; echo worked\n"
    running = [_in_another_process(yard, text) for _ in range(2)]
    outputs = [p.communicate(timeout=60)[0] for p in running]
    assert [p.returncode for p in running] == [0, 0]
    assert sum("worked" in line for o in outputs for line in o.splitlines() if line.startswith("output")) == 1


def test_a_killed_build_leaves_no_process_and_what_it_left_on_disk_is_cleared(yard: Yard) -> None:
    running = _in_another_process(yard, f"RUN echo started; sleep 987654; echo {yard.nonce}\n")
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("output started"):
            break
    running.send_signal(signal.SIGKILL)
    running.wait(10)
    deadline = time.monotonic() + 10
    while _sleeping() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _sleeping()
    yard.build("RUN true\n")
    left = [p.name for p in (cache_home() / "layers").iterdir() if p.name.endswith(f"-{running.pid}")]
    assert left == []


def _sleeping() -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"987654" in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    return True
            except OSError:
                continue
    return False


def test_an_interrupted_build_ends_its_command(yard: Yard) -> None:
    timer = threading.Timer(2.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        yard.build("RUN echo started; sleep 987654\n")
    timer.cancel()
    assert not _sleeping()
