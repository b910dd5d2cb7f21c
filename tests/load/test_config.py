"""`cais config`: what its options print."""

import json
from pathlib import Path

import pytest
import yaml

from cais.cli import config
from cais.cli.project import GlobalOptions

TEXT = """\
name: shop
services:
  web:
    image: nginx:${TAG:-1}
    ports: ["8080:80"]
    x-note: kept
    profiles: [front]
  job:
    build: .
    command: echo $$HOME
volumes: {unused: {}}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAG", raising=False)
    (tmp_path / "compose.yaml").write_text(TEXT)

    def call(*words: str, **options: object) -> str:
        assert config.run(GlobalOptions(profiles=("front",), **options), list(words)) == 0  # type: ignore[arg-type]
        return capsys.readouterr().out

    return call


def test_yaml_keeps_extensions_and_doubles_dollars(run) -> None:  # type: ignore[no-untyped-def]
    text = run()
    assert text.startswith("name: shop\nservices:\n")
    assert "      - $$HOME\n" in text and "    x-note: kept\n" in text and "unused" not in text


def test_json_is_docker_composes(run) -> None:  # type: ignore[no-untyped-def]
    web = json.loads(run("--format", "json"))["services"]["web"]
    assert web["command"] is None and "x-note" not in web
    assert web["ports"] == [{"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"}]


def test_lists(run) -> None:  # type: ignore[no-untyped-def]
    assert run("--services") == "job\nweb\n"
    assert run("--images") == "shop-job\nnginx:1\n"
    assert run("--profiles") == "front\n"
    assert run("--hash", "web").startswith("web ")
    assert run("--quiet") == ""


def test_variables_and_the_text_without_them(run) -> None:  # type: ignore[no-untyped-def]
    assert run("--variables").splitlines()[1].split() == ["TAG", "false", "1"]
    assert "image: nginx:${TAG:-1}\n" in run("--no-interpolate")


def test_origin_names_the_place_of_each_value(run) -> None:  # type: ignore[no-untyped-def]
    lines = dict(line.split("# ", 1) for line in run("--origin").splitlines() if "# " in line)
    origin = {key.strip(): note for key, note in lines.items()}
    assert origin["image: nginx:1"] == "compose.yaml:4:12, TAG not set"
    assert origin["name: shop"] == "compose.yaml:1:7"


def test_origin_is_yaml_also_with_keys_of_several_lines(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    deep = {"m\nn": [1, {"i\nj": "l\nm", "k": 2}], "k" * 140: {"a": {"b\n": {}}}, "e\nf": {}}
    service = {"image": "x", "labels": {"one\ntwo\n": "v"}, "x-o": deep}
    (tmp_path / "compose.yaml").write_text(json.dumps({"name": "shop", "services": {"a": service}}))
    shown = yaml.safe_load(run("--origin"))["services"]["a"]
    assert {key: shown[key] for key in service} == service


def test_faults_as_values(tmp_path: Path, run, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "compose.yaml").write_text("services: {a: {imag: x}}\n")
    assert config.run(GlobalOptions(), ["--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    assert found[0]["code"] == "unknown-key" and found[0]["span"]["column"] == 16


HASHED = """\
services:
  a:
    image: "x<y>&z"
    command: [echo, "$$HOME é"]
    environment: {B: 1, A: two}
    ports: ["127.0.0.1:80:80"]
    volumes: ["v:/d:ro"]
    networks: {n: {priority: 1, aliases: [b]}}
    deploy: {replicas: 2, resources: {limits: {memory: 1g, cpus: 0.5}}}
    healthcheck: {test: "true", interval: 5s, retries: 3}
    ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}
    blkio_config: {weight_device: [{weight: 3, path: /dev/sda}]}
    x-own: 1
    depends_on: [b]
  b: {image: x}
volumes: {v: {}}
networks: {n: {}}
"""


def test_a_services_hash_is_docker_composes_own(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The two values were printed by `docker-compose config --hash` 5.6.1."""
    (tmp_path / "compose.yaml").write_text(HASHED)
    assert run("--hash", "*").split() == [
        "a",
        "c6d6416e6adfbb8cfeb1461ba44c4e6ab4dd2d6481fb69383997a57068aed490",
        "b",
        "d5457d0b2799957b606d2ac4ed52d85a1e75799490e56229948300b9a59e8953",
    ]


def test_yaml_reads_as_docker_composes(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Members in Docker Compose's order, names in Go's, and its quotes; printed by `docker-compose config` 5.6.1."""
    (tmp_path / "compose.yaml").write_text(
        "name: shop\n"
        "services:\n"
        "  a:\n"
        "    ports: ['80:80']\n"
        "    image: 'y'\n"
        "    labels: {r: 'Host(`a.b`)', n: 'no', t: '12:30', d: '2024-01-01', u: 'http://x#main', q: \"it's\"}\n"
        "    environment: {A1: '1', A10: x, A9: ':9', A_B: '\\n b', AB: é}\n"
        "    ulimits: {core: {hard: 0, soft: 0}}\n"
        "    scale: 1\n"
    )
    assert run() == (
        "name: shop\n"
        "services:\n"
        "  a:\n"
        "    scale: 1\n"
        "    environment:\n"
        "      A_B: \\n b\n"
        '      A1: "1"\n'
        "      A9: :9\n"
        "      A10: x\n"
        "      AB: é\n"
        "    image: 'y'\n"
        "    labels:\n"
        '      d: "2024-01-01"\n'
        "      'n': 'no'\n"
        "      q: it's\n"
        "      r: Host(`a.b`)\n"
        "      t: '12:30'\n"
        "      u: http://x#main\n"
        "    networks:\n"
        "      default: null\n"
        "    ulimits:\n"
        "      core:\n"
        "        soft: 0\n"
        "        hard: 0\n"
        "    ports:\n"
        "      - mode: ingress\n"
        "        target: 80\n"
        '        published: "80"\n'
        "        protocol: tcp\n"
        "networks:\n"
        "  default:\n"
        "    name: shop_default\n"
    )


def test_names_are_sorted_as_gos_writer_sorts_them() -> None:
    from cais.source.emit import dump

    names = ["-", "_a", "€", "1", "01", "a", "a-b", "a1b", "a1-", "a2", "a10", "é"]
    assert [line.split(":")[0].strip("'\"") for line in dump(dict.fromkeys(reversed(names), 1)).splitlines()] == names


def test_texts_are_written_as_docker_compose_writes_them() -> None:
    from cais.source.emit import dump

    assert dump(
        {"a": "\U0001f600 \x07", "b": " in\nout", "c": "tab\t\nend\n", "d": 1000.0, "e": 1e-7, "f": "x \ny"}
    ) == ('a: "\\U0001F600 \\a"\nb: |2-\n   in\n  out\nc: |\n  tab\t\n  end\nd: 1000\ne: 1e-07\nf: "x \\ny"\n')
    assert dump({"one\ntwo": {"x" * 129: ["v"]}}) == f"? |-\n  one\n  two\n: ? {'x' * 129}\n  : - v\n"


def test_long_lines_are_broken_where_docker_compose_breaks_them() -> None:
    from cais.source.emit import dump

    plain, quoted = "word " * 17 + "end  of it", "it's: " + "$x " * 26 + " \ty"
    assert dump({"plain": [plain], "quoted": quoted}, dollars=True, fold=True) == (
        f"plain:\n  - {'word ' * 15}word\n    word end  of it\n"
        f'quoted: "it\'s: {("$$x " * 22)}$$x\n  $$x $$x $$x  \\ty"\n'
    )


def test_a_message_names_no_variables_of_the_project() -> None:
    from cais.load.variables import Variable, find

    found: dict[str, Variable] = {}
    find("${A:?${B} is missing} ${C:-${D:?$E}}", found)
    assert found == {
        "A": Variable("A", required=True),
        "C": Variable("C", default="${D:?$E}"),
        "D": Variable("D", required=True),
    }
