"""Answers of Docker Compose that are easily missed; each was read off Docker Compose 5.6.1."""

import json
from pathlib import Path
from typing import Any

import pytest

import cais
from cais.cli import config
from cais.cli.project import GlobalOptions
from cais.load.api import load_with
from cais.load.job import Options
from cais.load.lookup import normal_name


def load(tmp_path: Path, text: str, **env: str) -> cais.Stack:
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    return cais.load([str(path)], env=env)


def service(tmp_path: Path, body: str) -> dict[str, object]:
    return load(tmp_path, f"services: {{api: {{image: x, {body}}}}}").canonical["services"]["api"]


def refused(tmp_path: Path, body: str) -> str:
    with pytest.raises(cais.Faults) as caught:
        service(tmp_path, body)
    return caught.value.found[0].message


def test_numbers_read_as_go_prints_them(tmp_path: Path) -> None:
    found = service(tmp_path, "environment: {A: 1234567.89, B: 1e6, C: 999999.5, D: 100000000000000000000, E: 0.00001}")
    assert found["environment"] == {"A": "1.23456789e+06", "B": "1e+06", "C": "999999.5", "D": "1e+20", "E": "1e-05"}


def test_a_bare_name_stands_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / "one.env").write_text("B=1\n")
    assert service(tmp_path, "env_file: one.env, environment: [B]")["environment"] == {"B": None}


def test_the_env_file_can_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n")
    text = "services: {api: {image: 'x:${A:-none}'}}"
    assert load(tmp_path, text).services["api"].image == "x:1"
    assert load(tmp_path, text, COMPOSE_DISABLE_ENV_FILE="1").services["api"].image == "x:none"
    with pytest.raises(cais.CaisError):
        load(tmp_path, text, COMPOSE_DISABLE_ENV_FILE="perhaps")


def test_an_empty_override_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {api: {image: x}}")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    paths = [str(tmp_path / "compose.yaml"), str(tmp_path / "empty.yaml")]
    assert list(cais.load(paths, env={}).services) == ["api"]
    with pytest.raises(cais.Faults) as caught:
        cais.load(paths[1:], env={})
    assert caught.value.found[0].span is not None


def test_what_is_not_there_is_not_excused(tmp_path: Path) -> None:
    assert "not defined" in refused(tmp_path, "depends_on: {db: {condition: service_started, required: false}}")
    assert "not defined" in refused(tmp_path, "build: {context: ., additional_contexts: {base: 'service:bas'}}")
    assert "292 years" in refused(tmp_path, "stop_grace_period: 9999999999999h")


def test_ports_stay_as_written_without_interpolation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text('services: {api: {image: x, ports: ["$P:80", "81"]}}')
    assert config.run(GlobalOptions(), ["--no-interpolate"]) == 0
    assert '- $P:80\n      - "81"\n' in capsys.readouterr().out


def project(tmp_path: Path, main: str, **files: str) -> dict[str, Any]:
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return load(tmp_path, main).canonical["services"]


def test_a_file_that_is_extended_from_may_have_several_documents(tmp_path: Path) -> None:
    other = "services: {b: {image: x, command: q}, c: {user: u}}\n---\nservices: {b: {image: y}, d: {extends: b}}\n"
    extends = "extends: {file: other.yaml, service"
    text = f"services: {{a: {{{extends}: d}}}}, e: {{{extends}: c}}, image: z}}}}"
    found = project(tmp_path, text, other_yaml=other)
    assert found["a"]["image"] == "y" and found["a"]["command"] == ["q"] and found["e"]["user"] == "u"


def test_the_paths_of_a_build_in_another_file_count_from_there(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.yaml").write_text("services: {b: {build: {args: [A=1], dockerfile: D}}}")
    found = load(tmp_path, "include: [sub/b.yaml]\nservices: {a: {extends: {file: sub/b.yaml, service: b}}}").canonical
    assert found["services"]["b"]["build"]["context"] == str(tmp_path / "sub")
    assert found["services"]["a"]["build"]["args"] == {"A": "1"}


def test_an_anchor_lasts_as_long_as_its_file(tmp_path: Path) -> None:
    found = load(tmp_path, "services: {a: &a {image: x}}\n---\nservices: {b: *a}\n")
    assert found.services["b"].image == "x"


def test_a_limit_beside_limits_without_it_is_a_conflict(tmp_path: Path) -> None:
    limits = "deploy: {resources: {limits: {cpus: '1'}}}"
    assert "mem_limit" in refused(tmp_path, f"mem_limit: 1g, {limits}")
    assert "pids_limit" in refused(tmp_path, f"pids_limit: 5, {limits}")
    assert service(tmp_path, f"cpus: 1, {limits}")["cpus"] == 1
    assert service(tmp_path, "scale: 2, deploy: {mode: replicated}")["deploy"]["replicas"] == 2  # type: ignore[index]


def test_nothing_is_mounted_twice(tmp_path: Path) -> None:
    assert "mounted" in refused(tmp_path, "tmpfs: [/a], volumes: ['/x:/a']")
    assert "mounted" in refused(tmp_path, "volumes: ['/x:/a', {type: bind, source: /y, target: /a/}]")


def test_go_reads_more_numbers_than_python_and_fewer(tmp_path: Path) -> None:
    for text, amount in (("1_000", 1000), ("1e3b", 1000), ("+5g", 5 << 30), ("0x1p2m", 4 << 20), ("5 ", 5)):
        assert service(tmp_path, f'mem_limit: "{text}"')["mem_limit"] == str(amount)
    for text in ("1__0", "_1", "0x10m", "1  g", "-5g", "five"):
        assert "not a size" in refused(tmp_path, f'mem_limit: "{text}"')


@pytest.mark.parametrize(
    "body",
    [
        'blkio_config: {weight: "5"}',
        'volumes: [{type: tmpfs, target: /t, tmpfs: {mode: "755"}}]',
        'gpus: [{count: ""}]',
        "gpus: [{count: 1.0}]",
        "storage_opt: {a: true}",
        "group_add: [5.5]",
        "deploy: {restart_policy: {max_attempts: -1}}",
        "build: {context: ., ssh: [key]}",
        "build: {context: ., additional_contexts: [base]}",
        "env_file: [{path: compose.yaml, required: perhaps}]",
    ],
)
def test_types_that_go_cannot_hold_are_faults(tmp_path: Path, body: str) -> None:
    assert refused(tmp_path, body)


def test_what_go_prints_though_nobody_gave_it(tmp_path: Path) -> None:
    body = "blkio_config: {weight_device: [{path: /d}], device_read_bps: [{rate: 5}]}, secrets: [{source: s, mode: 0}]"
    text = f"services: {{api: {{image: x, {body}}}}}\nsecrets: {{s: {{file: ./s}}}}"
    found = load(tmp_path, text).canonical["services"]["api"]
    assert found["blkio_config"] == {
        "weight_device": [{"path": "/d", "weight": 0}],
        "device_read_bps": [{"path": "", "rate": "5"}],
    }
    assert found["secrets"][0]["mode"] == "00"


def test_a_profile_without_a_name_is_active_when_none_is_named(tmp_path: Path) -> None:
    text = 'services: {a: {image: x, profiles: [""]}, b: {image: y, profiles: [p]}}'
    assert list(load(tmp_path, text).services) == ["a"]
    assert list(load(tmp_path, text, COMPOSE_PROFILES="p").services) == ["b"]


def test_services_are_chosen_by_name_or_pattern_and_bring_what_they_need(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"

    def chosen(text: str, *names: str) -> dict[str, Any]:
        path.write_text(text)
        return cais.load([str(path)], env={}, services=names).canonical["services"]

    web = "services: {web1: {image: x}, web2: {image: y, depends_on: [db]}, db: {image: z}, other: {image: q}}"
    assert sorted(chosen(web, "web*")) == ["db", "web1", "web2"]
    optional = "{b: {condition: service_started, required: false}}"
    hidden = f"services: {{a: {{image: x, depends_on: {optional}}}, b: {{image: y, profiles: [p]}}}}"
    assert "depends_on" not in chosen(hidden, "a")["a"] and list(chosen(hidden, "b")) == ["b"]
    with pytest.raises(cais.Faults):  # "a" needs what no profile has activated, whoever was asked for
        chosen("services: {a: {image: x, depends_on: [b]}, b: {image: y, profiles: [p]}}", "b")


def test_hooks_run_as_their_service_does(tmp_path: Path) -> None:
    hooks = "pre_start: [{command: a}, {image: z, command: b, environment: [B=2]}]"
    found = service(tmp_path, f"{hooks}, user: u, environment: {{A: 1}}, volumes: ['/x:/y']")["pre_start"]
    assert [one["image"] for one in found] == ["x", "z"] and found[0]["user"] == "u"  # type: ignore[attr-defined, index]
    assert found[1]["environment"] == {"A": "1", "B": "2"} and "volumes" not in found[1]  # type: ignore[index]


def test_an_attribute_may_go_by_the_name_it_had_as_an_extension(tmp_path: Path) -> None:
    watch = "[{path: ./a, action: rebuild, x-initialSync: true}]"
    found = service(tmp_path, f"x-develop: {{watch: {watch}}}, develop: {{watch: [{{path: ./b, action: rebuild}}]}}")
    assert [one["path"] for one in found["develop"]["watch"]] == [str(tmp_path / "a"), str(tmp_path / "b")]  # type: ignore[index]
    assert found["develop"]["watch"][0]["initial_sync"] is True  # type: ignore[index]


def test_jobs_are_loaded_as_services_are(tmp_path: Path) -> None:
    text = "services: {a: {image: x}}\njobs: {j: {image: y, command: b c, triggers: {schedule: ['* * * * *']}}}"
    job = load(tmp_path, text).canonical["jobs"]["j"]
    assert job["command"] == ["b", "c"] and job["triggers"] == {"schedule": [{"cron": "* * * * *"}]}
    with pytest.raises(cais.Faults):
        load(tmp_path, text.replace("j: {", "a: {"))


MODEL = """\
services:
  a:
    image: x
    privileged: "false"
    environment: [B=$B, A]
    labels: [b=2, a=1]
    tmpfs: /run
    build: {args: [C=1, D]}
    volumes: [{type: bind, source: ./s, target: /t, bind: {}}]
"""


def test_without_interpolation_nothing_takes_its_final_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A", "outside")
    Path("compose.yaml").write_text(MODEL)
    assert config.run(GlobalOptions(project_name="p"), ["--no-interpolate", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["services"]["a"] == {
        "image": "x",
        "privileged": "false",
        "environment": ["B=$B", "A"],
        "labels": ["b=2", "a=1"],
        "tmpfs": "/run",
        "build": {"args": ["C=1"], "context": str(tmp_path), "dockerfile": "Dockerfile"},
        "networks": {"default": None},
        "volumes": [
            {"type": "bind", "source": str(tmp_path / "s"), "target": "/t", "bind": {"create_host_path": True}}
        ],
    }
    assert config.run(GlobalOptions(project_name="p"), ["--no-interpolate"]) == 0
    assert capsys.readouterr().out.startswith("name: p\nnetworks:\n")


def test_lists_of_the_whole_project_need_no_env_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text("services: {a: {image: x, env_file: missing.env}, b: {image: y}}")
    assert config.run(GlobalOptions(), ["--services", "b"]) == 0
    assert capsys.readouterr().out == "a\nb\n"
    with pytest.raises(cais.Faults):
        config.run(GlobalOptions(), ["--images"])


def test_variables_are_listed_of_files_that_the_schema_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text("services: {a: {image: x, pull_policy: '${POLICY:-always}', nonsense: $B}}")
    assert config.run(GlobalOptions(), ["--variables"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "B", "POLICY"]


def test_a_text_without_its_variable_is_one_fault_whatever_should_stand_there(tmp_path: Path) -> None:
    for body in ("labels: '${'", "ports: '${NONE:?no}'", "volumes: '${'", "deploy: '${NONE:?no}'"):
        with pytest.raises(cais.Faults) as caught:
            service(tmp_path, body)
        codes = [one.code for one in caught.value.found if one.severity == "error"]
        assert codes in (["template"], ["required-variable"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${U:-{}} x", "{} x"),
        ("${U:-{{.Node}}} {$A}", "{{.Node}} {a}"),
        ('${U:-{"k": {"n": 1}}}', '{"k": {"n": 1}}'),
        ("${A:-{}}", "a"),
        ("${A:-${B} $A", "a a"),
        ("${U:-${V:-${A}}}}", "a}"),
        ("{${A}}", "{a}"),
    ],
)
def test_braces_in_a_default_count_as_docker_compose_counts_them(tmp_path: Path, text: str, expected: str) -> None:
    found = load(tmp_path, json.dumps({"services": {"api": {"image": "x", "labels": {"l": text}}}}), A="a")
    assert found.canonical["services"]["api"]["labels"]["l"] == expected


def test_a_default_that_is_not_closed_is_a_fault(tmp_path: Path) -> None:
    for text in ("${U:-{", "${U:-${A}", "${U:-{}} ${A}", "${U:-a\\nb}"):
        assert "invalid interpolation" in refused(tmp_path, f'labels: {{l: "{text}"}}'), text


def test_a_project_may_list_a_thousand_ports_of_one_service(tmp_path: Path) -> None:
    ports = [f"{port}:{port}" for port in range(1, 1001)]
    assert len(service(tmp_path, f"ports: {json.dumps(ports)}")["ports"]) == 1000  # type: ignore[arg-type]


def test_what_no_variable_can_mend_is_refused_without_interpolation(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    for body in ("ports: ['0']", "ports: [-80]", "volumes: [':/a']", "volumes: ['data:${B}:${C}:${D}']"):
        path.write_text(f"services: {{api: {{image: x, {body}}}}}")
        with pytest.raises(cais.Faults):
            load_with(Options(paths=[str(path)], interpolate=False), {})


def test_the_projects_name_is_a_variable_whatever_gave_it(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services: {api: {image: 'x:${COMPOSE_PROJECT_NAME}', environment: [COMPOSE_PROJECT_NAME]}}")

    def image(name: str | None, interpolate: bool = True, **env: str) -> tuple[str, Any]:
        options = Options(paths=[str(path)], project_name=name, interpolate=interpolate)
        found = load_with(options, env).canonical["services"]["api"]
        return found["image"], found["environment"]

    assert image("given", COMPOSE_PROJECT_NAME="around") == ("x:given", {"COMPOSE_PROJECT_NAME": "given"})
    folder = normal_name(tmp_path.name)
    assert image(None, COMPOSE_PROJECT_NAME="")[0] == f"x:{folder}"
    assert image("given", interpolate=False)[1] == ["COMPOSE_PROJECT_NAME=given"]


def test_a_job_needs_a_trigger(tmp_path: Path) -> None:
    with pytest.raises(cais.Faults) as caught:
        load(tmp_path, "services: {api: {image: x}}\njobs: {j: {image: x, triggers: {}}}")
    assert "manual or schedule" in caught.value.found[0].message


def test_shares_read_as_go_prints_them(tmp_path: Path) -> None:
    assert [service(tmp_path, f"cpus: {n}")["cpus"] for n in ("0.333333333333", "1.1", "2")] == [0.33333334, 1.1, 2]
    assert "must be a text" in refused(tmp_path, "storage_opt: {size: [1]}")


def test_one_container_name_is_enough_for_what_takes_part(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services: {a: {image: x, container_name: one}, b: {image: x, container_name: one}}")
    with pytest.raises(cais.Faults):
        load_with(Options(paths=[str(path)]), {})
    assert list(load_with(Options(paths=[str(path)], services=["b"]), {}).services) == ["b"]
    assert list(load_with(Options(paths=[str(path)], unique_names=False), {}).services) == ["a", "b"]


def test_a_path_given_by_two_files_is_one(tmp_path: Path) -> None:
    (tmp_path / "l.env").write_text("A=1\n")
    other = "services: {b: {image: x, label_file: [./l.env], env_file: [l.env]}}"
    service = "extends: {file: other.yaml, service: b}, label_file: [l.env], env_file: [l.env]"
    found = project(tmp_path, f"services: {{a: {{{service}}}}}", other_yaml=other)["a"]
    assert found["label_file"] == [str(tmp_path / "l.env")] and found["labels"] == {"A": "1"}


def test_keys_for_a_build_are_files_of_the_project(tmp_path: Path) -> None:
    found = load(tmp_path, "services: {a: {build: {context: ., ssh: [default, k=./key, z=/abs]}}}").canonical
    assert found["services"]["a"]["build"]["ssh"] == ["default", f"k={tmp_path}/key", "z=/abs"]


def test_in_a_label_file_what_the_files_before_gave_counts_more(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("A=one\nB=$A\n")
    (tmp_path / "two").write_text("A=two\nB=$A\nC=$D\nD=d\n")
    assert service(tmp_path, "label_file: [one, two]")["labels"] == {"A": "two", "B": "one", "C": "", "D": "d"}
