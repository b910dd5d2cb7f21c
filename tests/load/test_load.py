"""Loading a project: Docker Compose's result, every fault at once, and a place for everything."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cais.diag.api import ERROR, CaisError, Faults
from cais.diag.text import render
from cais.load.api import load, load_with
from cais.load.job import Options
from cais.model.stack import Stack

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def files(text: str = "", **others: str) -> Path:
        (tmp_path / "compose.yaml").write_text(text)
        for name, content in others.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return files


def stack(folder: Path, *more: str, **options: Any) -> Stack:
    options.setdefault("env", {"HOME": "/home/me"})
    return load([str(folder / name) for name in ("compose.yaml", *more)], **options)


def faults(folder: Path, *more: str, **options: Any) -> list[tuple[str, int, int]]:
    with pytest.raises(Faults) as caught:
        stack(folder, *more, **options)
    return [
        (one.code, one.span.line if one.span else 0, one.span.column if one.span else 0)
        for one in caught.value.found
        if one.severity == ERROR
    ]


def test_short_forms_become_long(write: Write) -> None:
    folder = write(
        "name: shop\n"
        "services:\n"
        "  api:\n"
        "    build: ./api\n"
        "    ports: ['8080:80', '127.0.0.1:53:53/udp']\n"
        "    volumes: ['data:/var/lib/data:ro', './conf:/etc/conf']\n"
        "    environment: [A=1, HOME, NOPE]\n"
        "    depends_on: [db]\n"
        "    command: serve --port 80\n"
        "    healthcheck: {test: curl localhost, interval: 1m30s}\n"
        "  db: {image: 'postgres:16', mem_limit: 1g}\n"
        "volumes: {data: {}}\n"
    )
    api = stack(folder).services["api"]
    assert api.build and api.build.context == str(folder / "api")
    assert [(p.host_ip, p.published, p.target, p.protocol) for p in api.ports] == [
        ("", "8080", 80, "tcp"),
        ("127.0.0.1", "53", 53, "udp"),
    ]
    assert [(v.type, v.source, v.target, v.read_only) for v in api.volumes] == [
        ("volume", "data", "/var/lib/data", True),
        ("bind", str(folder / "conf"), "/etc/conf", False),
    ]
    assert api.environment == (("A", "1"), ("HOME", "/home/me"), ("NOPE", None))
    assert api.command == ("serve", "--port", "80")
    assert api.healthcheck and api.healthcheck.interval == 90.0
    assert api.depends_on[0].condition == "service_started"
    assert stack(folder).services["db"].mem_limit == 1 << 30
    assert stack(folder).volumes["data"].name == "shop_data"


def test_a_later_file_counts_more_and_names_the_place(write: Write) -> None:
    folder = write(
        "services: {a: {image: x, environment: {A: 1, B: 2}, ports: ['80:80']}}\n",
        over_dot_yaml="services:\n  a:\n    image: y\n    environment: [B=3]\n    ports: !override ['90:90']\n",
    )
    both = stack(folder, "over.yaml")
    a = both.services["a"]
    assert (a.image, a.environment) == ("y", (("A", "1"), ("B", "3")))
    assert [port.published for port in a.ports] == ["90"]
    span = both.span("services", "a", "image")
    assert span and (span.file, span.line, span.column) == (str(folder / "over.yaml"), 3, 12)
    span = both.span("services", "a", "environment", "A")
    assert span and span.file.endswith("compose.yaml")


def test_extends_takes_paths_from_the_other_files_folder(write: Write) -> None:
    folder = write(
        "services: {a: {extends: {file: sub/base.yaml, service: base}, command: [b]}}\n",
        sub__base_dot_yaml="services: {base: {image: x, command: [a], volumes: ['./d:/d'], environment: {A: 1}}}\n",
    )
    a = stack(folder).services["a"]
    assert (a.image, a.command, a.volumes[0].source) == ("x", ("b",), str(folder / "sub/d"))


def test_an_include_has_its_own_folder_and_variables(write: Write) -> None:
    folder = write(
        "include: [part/compose.yaml]\nservices: {a: {image: x, depends_on: [b]}}\n",
        part__compose_dot_yaml="services: {b: {image: '${TAG:-none}', volumes: ['./d:/d']}}\n",
        part___dot_env="TAG=inner\n",
    )
    b = stack(folder).services["b"]
    assert (b.image, b.volumes[0].source) == ("inner", str(folder / "part/d"))


def test_paths_stay_relative_to_the_project_where_nobody_resolves_them(write: Write, tmp_path: Path) -> None:
    service = "image: x, volumes: ['./d:/d', '.:/dot'], build: ../b"
    folder = write(
        "include: [part/compose.yaml, {path: part/more.yaml, project_directory: part/own}]\n"
        "services: {a: {extends: {file: part/base.yaml, service: base}, volumes: ['./mine:/m']}}\n",
        part__compose_dot_yaml=f"services: {{b: {{{service}}}}}\n",
        part__more_dot_yaml=f"services: {{c: {{extends: {{file: ../deep/base.yaml, service: base}}, {service}}}}}\n",
        part__deep__base_dot_yaml="services: {base: {image: x, volumes: ['./deep:/deep']}}\n",
        part__base_dot_yaml="services: {base: {image: x, build: ., volumes: ['./d:/d', '~/h:/h', '/abs:/abs']}}\n",
    )
    services = load_with(Options(paths=[str(folder / "compose.yaml")], resolve_paths=False), {}).canonical["services"]
    found = {
        name: (service["build"]["context"], *(volume["source"] for volume in service["volumes"]))
        for name, service in services.items()
    }
    home = os.path.expanduser("~")
    assert found == {
        "a": ("part", "part/d", f"{home}/h", "/abs", "./mine"),
        "b": ("b", "part/d", "part"),
        "c": ("part/b", "part/deep/deep", "part/own/d", "part/own"),
    }


def test_variables_come_from_the_environment_over_dot_env(write: Write) -> None:
    folder = write("services: {a: {image: '${A}-${B}-${C:-c}-$$D'}}\n", _dot_env="A=file\nB=file\n")
    assert stack(folder, env={"A": "shell"}).services["a"].image == "shell-file-c-$D"


def test_profiles_hide_services_until_named(write: Write) -> None:
    folder = write("services: {a: {image: x}, b: {image: y, profiles: [debug]}}\n")
    assert list(stack(folder).services) == ["a"]
    assert list(stack(folder, profiles=["debug"]).services) == ["a", "b"]
    assert list(stack(folder, services=["b"]).services) == ["b"]


def test_every_fault_is_reported_at_once_with_its_place(write: Write) -> None:
    folder = write(
        "services:\n"
        "  web:\n"
        "    image: ${TAG:?say which}\n"
        "    prots: ['80:80']\n"
        "    ports: ['80:eighty']\n"
        "    volumes: ['data:/data']\n"
        "    depends_on: [bd]\n"
        "    tty: perhaps\n"
        "  db: {}\n"
    )
    assert faults(folder) == [
        ("required-variable", 3, 12),
        ("unknown-key", 4, 5),
        ("port", 5, 13),
        ("undefined-volume", 6, 15),
        ("undefined-service", 7, 18),
        ("cast", 8, 10),
        ("no-image", 9, 3),
    ]


def test_a_message_underlines_what_was_found_and_guesses_what_was_meant(write: Write) -> None:
    folder = write("services:\n  web:\n    image: x\n    prots: []\n")
    with pytest.raises(Faults) as caught:
        stack(folder)
    text = render(caught.value.found, folder=str(folder))
    assert text == (
        'compose.yaml:4:5: error: unknown key "prots" in services.web\n'
        "  4 |     prots: []\n"
        "    |     ^^^^^\n"
        '  = did you mean "ports"?'
    )


def test_the_chain_of_includes_is_told(write: Write) -> None:
    folder = write("include: [one.yaml]\n", one_dot_yaml="services: {a: {imag: x}}\n")
    with pytest.raises(Faults) as caught:
        stack(folder)
    text = render(caught.value.found, folder=str(folder))
    assert text.splitlines()[-2:] == ["  - included from compose.yaml:1:11", '  = did you mean "image"?']


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("services: {a: {extends: b}, b: {extends: a}}", "extends-cycle"),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", "dependency-cycle"),
        ("include: [compose.yaml]", "include-cycle"),
        ("include: ['oci://registry/x']", "remote"),
        ("include: ['https://github.com/a/b.git']", "remote"),
        ("services: {a: {image: x, container_name: same}, b: {image: x, container_name: same}}", "conflict"),
        (
            "services: {a: {image: x, ports: ['1-65535:1-65535']}, b: {image: x, ports: ['1-65535', '80:90-91']}}",
            "port",
        ),
        ("services:\n" + "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(2000)), "extends-cycle"),
        ("services: {a: {image: '" + "${A:-" * 5000 + "}" * 5000 + "'}}", "template"),
        ("", "empty"),
        ("a", "not-a-mapping"),
        ("services: {a: {image: x}}\n---\n", "not-a-mapping"),
    ],
)
def test_circles_and_bounds_end_in_one_fault(write: Write, text: str, code: str) -> None:
    assert code in {found[0] for found in faults(write(text))}


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "latin.yaml").write_bytes("services: {a: {image: é}}".encode("latin-1"))
    (tmp_path / "big.yaml").write_bytes(b"#" * (9 << 20))
    for name in ("folder.yaml", "pipe.yaml", "loop.yaml", "latin.yaml", "big.yaml", "absent.yaml"):
        with pytest.raises(Faults) as caught:
            load([str(tmp_path / name)], env={})
        assert caught.value.found[0].span, name


def test_no_file_anywhere_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CaisError, match=r"compose\.yaml"):
        load(env={})


def test_files_are_found_upwards_with_their_override(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("services: {a: {image: x}}\n", compose_dot_override_dot_yaml="services: {a: {image: y}}\n")
    (tmp_path / "deep/down").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/down")
    found = load(env={})
    assert [os.path.basename(path) for path in found.files] == ["compose.yaml", "compose.override.yaml"]
    assert found.services["a"].image == "y"


def test_equal_inputs_give_equal_stacks(write: Write) -> None:
    folder = write("services: {a: {image: x, labels: {b: 1}}}\n")
    assert stack(folder) == stack(folder)


def test_what_config_prints_loads_to_the_same(write: Write, tmp_path: Path) -> None:
    from cais.cli.config import as_yaml

    folder = write(
        "name: n\n"
        "services: {a: {image: x, command: 'echo $$HOME \"a b\"', ports: ['80-82'], labels: {'a.b': 'x: y'}}}\n"
    )
    first = stack(folder)
    (tmp_path / "again.yaml").write_text(as_yaml(first))
    again = load([str(tmp_path / "again.yaml")], env={})
    assert json.dumps(again.canonical, sort_keys=True) == json.dumps(first.canonical, sort_keys=True)


keys = st.sampled_from(
    ["image", "build", "ports", "volumes", "environment", "depends_on", "networks", "command", "deploy", "healthcheck",
     "extends", "configs", "secrets", "labels", "ulimits", "x-y", "profiles", "env_file", "develop", "gpus", "name"]
)  # fmt: skip
words = st.sampled_from(
    ["", "a", "b", "80:80", "./x:/y", "v:/z", "$A", "${A:-b}", "${", "CMD", "1m", "1g", "true", "*"]
)
values = st.recursive(
    words | st.none() | st.booleans() | st.integers(-5, 70000) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | words, inner, max_size=4),
    max_leaves=10,
)
services = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.dictionaries(keys, values, max_size=5) | values, max_size=3
)
sections = st.fixed_dictionaries(
    {"services": services | values},
    optional={
        "volumes": values,
        "networks": values,
        "secrets": values,
        "configs": values,
        "name": values,
        "include": values,
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sections)
@example({"services": {"": {"image": "x", "ports": "1g"}}})
@example({"services": {"b c": {"image": "x", "gpus": 0.3}}})
@example({"services": {"b c": {"ports": 4665, "prots": 1}}})
@example({"services": {"a": {"image": "x", "ulimits": {"A": [1]}}}})
def test_any_structure_gives_a_stack_or_faults(tmp_path: Path, tree: dict[str, object]) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(json.dumps(tree))
    try:
        list(load([str(path)], env={"A": "x"}).services)
    except CaisError as error:
        assert error.diagnostics()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60), st.sampled_from([b"", b"services: {a: {image: x", b"services:\n  a:\n    ", b"\xff\xfe"])
)
def test_any_bytes_give_a_stack_or_faults(tmp_path: Path, data: bytes, start: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(start + data)
    try:
        load([str(path)], env={})
    except CaisError as error:
        assert all(one.message for one in error.diagnostics())


def test_what_is_wrong_with_variables_in_env_files_is_told_once_at_its_place(write: Write) -> None:
    """`change$me` in a file: at the variable, with the two ways that Docker Compose has to keep a dollar sign."""
    folder = write(
        "services: {a: {image: x, env_file: dev.env}}",
        **{"dev.env": "A=1\r\nKEY=change$me\r\nB=keeps$$me\r\nC='keeps$me'\r\n"},
        _dot_env="X=1\nY=2 ${outer} 3\n",
    )
    loaded = stack(folder)
    assert [
        (os.path.basename(one.span.file), one.span.line, one.span.column) for one in loaded.warnings if one.span
    ] == [(".env", 2, 5), ("dev.env", 2, 11)]
    assert all("single quotes or write $$" in one.hint for one in loaded.warnings)
    environment = loaded.canonical["services"]["a"]["environment"]
    assert (environment["B"], environment["C"]) == ("keeps$me", "keeps$me")
    (folder / ".env").write_text("X=1\nY=${no-end\n")
    assert faults(folder) == [("env-file", 2, 3)]
