"""Stages, variables, configuration, keys: what a build gives and when it is done again."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cais.build.api import BuildRequest
from cais.build.builder import build_all, check, is_ready
from cais.diag.api import CaisError, Faults
from cais.model.image import Healthcheck, Image, ImageConfig
from cais.source.api import Span

from .conftest import Kitchen

Tree = Callable[[Image], dict[str, str]]


def test_what_an_image_carries(kitchen: Kitchen) -> None:
    image = kitchen.build(
        'FROM base\nARG PORT=8000\nENV A=1 B="x $BASE"\nENV C=$A$PORT\nLABEL l=$A\nEXPOSE $PORT 53/udp 7000-7001\n'
        "WORKDIR /srv\nWORKDIR app\nUSER app:staff\nVOLUME /data /logs\nSTOPSIGNAL int\n"
        "HEALTHCHECK --interval=1m30s --retries=5 CMD curl $A\n"
        'SHELL ["/bin/bash", "-c"]\nENTRYPOINT ["serve"]\nCMD run it\n'
    )
    config = image.config
    assert dict(config.env) == {"PATH": "/bin", "BASE": "yes", "A": "1", "B": "x yes", "C": "18000"}
    assert config.labels == (("l", "1"),)
    assert config.exposed_ports == ("8000/tcp", "53/udp", "7000/tcp", "7001/tcp")
    assert (config.working_dir, config.user, config.stop_signal) == ("/srv/app", "app:staff", "SIGINT")
    assert config.volumes == ("/data", "/logs")
    assert config.healthcheck == Healthcheck(("CMD-SHELL", "curl $A"), interval=90.0, retries=5)
    assert config.entrypoint == ("serve",) and config.cmd == ("/bin/bash", "-c", "run it")


def test_an_entrypoint_takes_away_the_bases_command(kitchen: Kitchen) -> None:
    assert kitchen.build('FROM base\nENTRYPOINT ["x"]').config.cmd == ()
    assert kitchen.build('FROM base\nCMD ["mine"]\nENTRYPOINT ["x"]').config.cmd == ("mine",)
    assert kitchen.build("FROM base").config.cmd == ("base-cmd",)


def test_healthcheck_none(kitchen: Kitchen) -> None:
    assert kitchen.build("FROM base\nHEALTHCHECK NONE").config.healthcheck == Healthcheck(("NONE",))


def test_args_before_from_and_in_stages(kitchen: Kitchen) -> None:
    image = kitchen.build(
        "ARG TAG=1\nARG IMAGE=base:${TAG}\nFROM ${IMAGE}\nENV outer=$TAG\nARG TAG\nARG TARGETARCH\n"
        "ENV inner=$TAG given=x\nARG given=arg\nENV both=$given arch=${TARGETARCH:+known}\n",
        args=(("TAG", "2"), ("given", "argument")),
    )
    env = dict(image.config.env)
    assert kitchen.asked == ["base:2"]
    assert (env["outer"], env["inner"], env["both"], env["arch"]) == ("", "2", "x", "known")


def test_a_variable_of_one_line_sees_the_values_before_it(kitchen: Kitchen) -> None:
    env = dict(kitchen.build("FROM base\nENV a=old\nENV a=new b=$a\n").config.env)
    assert (env["a"], env["b"]) == ("new", "old")


def test_only_needed_stages_are_built(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    text = "FROM base AS a\nCOPY f /a\nFROM unwanted AS b\nCOPY missing /b\nFROM a AS c\nCOPY f /c\n"
    kitchen.build(text, target="C")
    assert kitchen.asked == ["base"] and kitchen.made() == ["COPY f /a", "COPY f /c"]
    with pytest.raises(Faults) as error:
        kitchen.build(text, target="d")
    assert "no stage 'd'" in error.value.found[0].message


def test_from_scratch_has_only_what_is_copied(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    image = kitchen.build("FROM scratch\nCOPY f /f\n")
    assert len(image.layers) == 1 and os.listdir(image.layers[0]) == ["f"]


def test_a_second_build_makes_nothing(kitchen: Kitchen) -> None:
    kitchen.write("requirements.txt", "flask")
    kitchen.write("app.py", "1")
    text = "FROM base\nWORKDIR /app\nCOPY requirements.txt .\nCOPY . .\n"
    first = kitchen.build(text)
    assert len(kitchen.made()) == 3
    assert kitchen.build(text) == first and kitchen.made() == []


def test_a_changed_file_rebuilds_only_what_follows(kitchen: Kitchen) -> None:
    kitchen.write("requirements.txt", "flask")
    kitchen.write("app.py", "1")
    text = "FROM base\nCOPY requirements.txt /app/\nCOPY app.py /app/\nWORKDIR /x\n"
    first = kitchen.build(text)
    kitchen.write("app.py", "2")
    second = kitchen.build(text)
    assert kitchen.made() == ["COPY app.py /app/", "WORKDIR /x"]
    assert first.layers[-2] == second.layers[-2] and first.digest != second.digest


def test_content_counts_and_time_does_not(kitchen: Kitchen) -> None:
    file = kitchen.write("f", "x")
    kitchen.build("FROM base\nCOPY f /f\n")
    os.utime(file, (1, 1))
    kitchen.build("FROM base\nCOPY f /f\n")
    assert kitchen.made() == []
    file.chmod(0o755)
    kitchen.build("FROM base\nCOPY f /f\n")
    assert kitchen.made() == ["COPY f /f"]


def test_a_file_rewritten_with_the_same_size_is_seen(kitchen: Kitchen) -> None:
    for text in ("aaaa", "bbbb", "cccc"):
        kitchen.write("f", text)
        image = kitchen.build("FROM base\nCOPY f /f\n")
        assert Path(image.layers[0], "f").read_text() == text


def test_equal_steps_of_two_projects_are_one_layer(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.write("f", "x")
    first = kitchen.build("FROM base\nCOPY f /f\n")
    kitchen.context = tmp_path / "elsewhere"
    kitchen.context.mkdir()
    kitchen.write("f", "x")
    kitchen.write("unused", "y")
    assert kitchen.build("FROM base\nCOPY f /f\n").layers == first.layers and kitchen.made() == []


def test_a_stage_that_gives_the_same_files_does_not_rebuild_what_copies_them(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    kitchen.write("g", "1")
    text = "FROM base AS b\nCOPY g /other\nCOPY f /out\nFROM base\nCOPY --from=b /out /out\n"
    kitchen.build(text)
    kitchen.write("g", "2")
    kitchen.build(text)
    assert kitchen.made() == ["COPY g /other", "COPY f /out"]


def test_no_cache_makes_it_again(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    kitchen.build("FROM base\nCOPY f /f\n")
    kitchen.build("FROM base\nCOPY f /f\n", no_cache=True)
    assert kitchen.made() == ["COPY f /f"]


def test_a_build_that_fails_leaves_no_layer_and_what_a_killed_one_left_is_cleared(
    kitchen: Kitchen, tmp_path: Path
) -> None:
    layers = tmp_path / "cache" / "layers"
    (layers / ".new-dead-99999999" / "fs").mkdir(parents=True)
    kitchen.write("d/passwd/x", "x")
    with pytest.raises(CaisError):
        kitchen.build("FROM base\nCOPY d /etc\n")
    assert [p.name for p in layers.iterdir() if p.name != ".locks"] == []


def test_all_faults_of_all_dockerfiles_are_raised_at_once(kitchen: Kitchen) -> None:
    good, bad = "FROM base\n", "FORM base\nCOPY --from=b a b\n"
    requests = [
        BuildRequest(context=str(kitchen.context), inline=text, name=name)
        for name, text in (("one", bad), ("two", good), ("three", "FROM x\nRUNN y\n"))
    ]
    with pytest.raises(Faults) as error:
        build_all(requests, kitchen.resolve)
    assert [d.message for d in error.value.found] == [
        "'FORM' is not a Dockerfile instruction",
        "COPY stands before the first FROM",
        "'RUNN' is not a Dockerfile instruction",
    ]
    assert kitchen.asked == []  # before anything is fetched
    assert len(check(requests)) == 3


def test_what_cannot_be_read_and_images_nobody_has_are_told_with_the_rest(kitchen: Kitchen) -> None:
    def find(text: str, span: Span | None) -> None:
        if text != "base":
            raise CaisError(f"no card knows {text}", span=span)

    context = str(kitchen.context)
    requests = [
        BuildRequest(context=context, dockerfile="Nope", name="one"),
        BuildRequest(context=context, inline="FROM base\nCOPY nope /\n", name="two"),
        BuildRequest(context=context, inline="FROM nobodys\n", name="three"),
        BuildRequest(context=f"{context}/none", name="four"),
    ]
    with pytest.raises(Faults) as error:
        build_all(requests, kitchen.resolve, find=find)
    assert [d.message.replace(context, ".") for d in error.value.found] == [
        "cannot build one: cannot read ./Nope: no such file or directory",
        "nope is not in the build context .",
        "no card knows nobodys",
        "cannot build four: there is no directory ./none",
    ]
    assert kitchen.asked == []


def test_is_ready_builds_nothing(kitchen: Kitchen) -> None:
    kitchen.write("f", "x")
    request = BuildRequest(context=str(kitchen.context), inline="FROM base\nCOPY f /f\n", name="api")
    assert is_ready(request, kitchen.resolve) is None
    (image,) = build_all([request], kitchen.resolve)
    assert is_ready(request, kitchen.resolve) == image


def test_the_dockerfiles_own_ignore_file_wins(kitchen: Kitchen, tree_of: Tree) -> None:
    kitchen.write(".dockerignore", "a\n")
    kitchen.write("docker/Dockerfile", "FROM base\nCOPY . /x\n")
    kitchen.write("docker/Dockerfile.dockerignore", "b\ndocker\n.dockerignore\n")
    kitchen.write("a", "A")
    kitchen.write("b", "B")
    request = BuildRequest(context=str(kitchen.context), dockerfile="docker/Dockerfile", name="api")
    (image,) = build_all([request], kitchen.resolve)
    assert tree_of(image) == {"x": "/", "x/a": "A"}


def test_a_missing_dockerfile_is_named(kitchen: Kitchen) -> None:
    kitchen.write("dockerfile", "FROM base")
    with pytest.raises(Faults) as error:
        build_all([BuildRequest(context=str(kitchen.context), name="api")], kitchen.resolve)
    (found,) = error.value.found
    assert found.message == f"cannot build api: cannot read {kitchen.context}/Dockerfile: no such file or directory"
    assert found.hint == "did you mean dockerfile?"


def test_onbuild_of_our_own_base_is_carried_out_once(kitchen: Kitchen, tree_of: Tree) -> None:
    kitchen.write("f", "x")
    base = kitchen.build("FROM base\nONBUILD COPY f /triggered\nONBUILD ENV T=1\n")
    assert base.config.on_build == ("COPY f /triggered", "ENV T=1")
    kitchen.config = base.config
    image = kitchen.build("FROM base\n")
    assert tree_of(image)["triggered"] == "x" and dict(image.config.env)["T"] == "1"
    assert image.config.on_build == ()


def test_a_context_that_is_a_service_is_built_first(kitchen: Kitchen, tree_of: Tree) -> None:
    kitchen.write("f", "x")
    other = BuildRequest(context=str(kitchen.context), inline="FROM base\nCOPY f /common\n", name="common")
    image = kitchen.build(
        "FROM shared\nCOPY f /mine\n", contexts=(("shared", "service:common"),), services=(("common", other),)
    )
    assert set(tree_of(image)) == {"common", "mine"}


def test_unused_build_arguments_are_a_warning(kitchen: Kitchen) -> None:
    kitchen.build("FROM base\nWORKDIR /new\n", args=(("NOBODY", "1"), ("HTTP_PROXY", "x")))
    assert [e.text for e in kitchen.events if e.kind == "warning"] == ["no ARG takes the build arguments NOBODY"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("RUN --mount=type=ssh true", "ssh agent"),
        ("RUN --security=insecure true", "insecure"),
        ("RUN --network=host true", "open this machine's network"),
        ("RUN --mount=type=cash,target=/x true", "no mount type 'cash'"),
        ("RUN --mount=type=cache true", "needs a target"),
        ("EXPOSE http", "is not a port"),
        ("STOPSIGNAL SIGNOPE", "no signal"),
        ("HEALTHCHECK --interval=5 CMD x", "not a duration"),
        ("ENV a=${b", "not closed"),
        ("FROM base AS 0x!", "no name for a stage"),
    ],
)
def test_what_cannot_be_honoured_names_its_line(kitchen: Kitchen, line: str, words: str) -> None:
    with pytest.raises(Faults) as error:
        kitchen.build(f"FROM base\n{line}\n")
    (found,) = error.value.found
    assert words in found.message and found.span is not None and found.span.line == 2


def test_faults_that_need_no_base_are_told_together_before_anything_is_fetched(kitchen: Kitchen) -> None:
    with pytest.raises(Faults) as error:
        kitchen.build(
            "FROM base\nCOPY nowhere /\nRUN --mount=type=ssh true\nEXPOSE x\nFROM base AS unneeded\nEXPOSE y\n",
            target="0",
        )
    assert [d.span.line for d in error.value.found if d.span] == [2, 3, 4]
    assert kitchen.asked == []


def test_a_fully_cached_build_imports_no_event_loop_and_no_sandbox(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.write("f", "x")
    kitchen.build("FROM base\nWORKDIR /a\nCOPY f /f\n")
    code = f"""
import sys
import threading
from cais.build.api import BuildRequest
from cais.build.builder import build
from cais.model.image import Image, ImageConfig
config = ImageConfig({kitchen.config.env!r}, cmd=("base-cmd",))
base = lambda text, span: Image(({str(kitchen.base)!r},), config, f"digest of {{text}}")
build(BuildRequest({str(kitchen.context)!r}, inline="FROM base\\nWORKDIR /a\\nCOPY f /f\\n", name="api"), base)
print([m for m in ("asyncio", "msgspec", "cais.sandbox.stack", "tarfile", "subprocess", "ssl") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=True)
    assert done.stdout.strip() == "[]"


def test_the_callers_environment_is_in_no_key_and_no_image(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen.write("f", "x")
    first = kitchen.build("FROM base\nARG PLANTED\nENV P=$PLANTED\nCOPY f /f\n")
    monkeypatch.setenv("PLANTED", "secret-of-the-shell")
    assert kitchen.build("FROM base\nARG PLANTED\nENV P=$PLANTED\nCOPY f /f\n") == first
    assert "secret-of-the-shell" not in repr(first)


def test_image_config_of_scratch_has_dockers_path(kitchen: Kitchen) -> None:
    image = kitchen.build("FROM scratch\nENV A=1\n")
    assert dict(image.config.env)["PATH"].startswith("/usr/local/sbin:") and isinstance(image.config, ImageConfig)


def test_a_fault_of_an_inline_dockerfile_is_at_its_place_in_the_compose_file(kitchen: Kitchen) -> None:
    text = "services:\n  api:\n    build:\n      dockerfile_inline: |\n        FROM base\n        FOO bar\n"
    file = kitchen.write("compose.yaml", text)
    with pytest.raises(Faults) as caught:
        kitchen.build("FROM base\nFOO bar\n", span=Span(str(file), 4, 7))
    (found,) = caught.value.found
    assert found.message == "cannot build api: 'FOO' is not a Dockerfile instruction"
    assert found.span is not None and (found.span.line, found.span.column) == (6, 9)
    assert found.span.file.endswith("compose.yaml")
    assert "did you mean" not in found.hint


def test_a_fault_of_an_inline_dockerfile_without_lines_of_its_own_is_at_the_value(kitchen: Kitchen) -> None:
    file = kitchen.write("compose.yaml", 'services:\n  api: {build: {dockerfile_inline: "FROM base\\nFOO bar\\n"}}\n')
    value = Span(str(file), 2, 35)
    with pytest.raises(Faults) as caught:
        kitchen.build("FROM base\nFOO bar\n", span=Span(str(file), 2, 8), inline_span=value)
    (found,) = caught.value.found
    assert found.message == ("cannot build api: line 2 of its dockerfile_inline: 'FOO' is not a Dockerfile instruction")
    assert found.span == value
    with pytest.raises(CaisError) as later:  # a fault of the walk
        kitchen.build("FROM base\nARG A=nope\nCOPY $A /x\n", span=Span(str(file), 2, 8), inline_span=value)
    assert [d.span for d in later.value.diagnostics()] == [value]


def test_an_image_nobody_knows_may_be_meant_as_a_stage(kitchen: Kitchen) -> None:
    def find(text: str, span: Span | None) -> None:
        if text != "base":
            raise CaisError(f"no card knows {text}", hint="build it", span=span)

    text = (
        "FROM base AS build\nFROM base\nCOPY --from=buid /x /\nCOPY --from=y /x /\nCOPY --from=late /x /\n"
        "COPY --from=a/build /x /\nRUN --mount=type=bind,from=bild,target=/m true\n"
        "FROM other AS late\nCOPY --from=1 /x /\n"
    )
    with pytest.raises(Faults) as error:
        build_all([BuildRequest(context=str(kitchen.context), inline=text, name="a")], kitchen.resolve, find=find)
    assert [one.hint for one in error.value.found] == [
        "build it",
        "did you mean the stage build?",
        "no stage is called y: there are build, late",
        "the stage late comes after this: only stages before it can be named",
        "build it",
        "did you mean the stage build?",
    ]


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that gives nothing to anybody."""

    class Refuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_cannot_be_fetched_names_its_line(kitchen: Kitchen, refusing: str) -> None:
    with pytest.raises(CaisError, match="answers 403") as error:
        kitchen.build(f"FROM base\nENV A=1\nADD {refusing}/x /x\n")
    span = error.value.span
    assert span is not None and (span.line, span.column) == (3, 5)
