"""What the native engine does not do is said, with its line; nothing the file asks for is passed over in silence."""

from pathlib import Path

import pytest

from cais.engine.native.preflight import early, warnings
from cais.engine.native.unheeded import UNHEEDED
from cais.load.api import load
from cais.load.schema import SERVICE
from cais.model import views

EXAMPLES = {
    "blkio_config": "{weight: 300}",
    "cgroup": "host",
    "cgroup_parent": "m",
    "cpu_count": "2",
    "cpu_percent": "50",
    "cpu_period": "10000",
    "cpu_quota": "5000",
    "cpu_rt_period": "10000",
    "cpu_rt_runtime": "5000",
    "cpu_shares": "12",
    "cpuset": "'0'",
    "credential_spec": "{file: x.json}",
    "device_cgroup_rules": "['c 1:3 mr']",
    "devices": "['/dev/fuse:/dev/fuse']",
    "external_links": "[other]",
    "gpus": "all",
    "ipc": "host",
    "mem_reservation": "20m",
    "mem_swappiness": "20",
    "memswap_limit": "20m",
    "models": "[m]",
    "oom_kill_disable": "true",
    "pid": "host",
    "post_start": "[{command: ['true']}]",
    "pre_start": "[{command: ['true'], image: x}]",
    "pre_stop": "[{command: ['true']}]",
    "runtime": "runsc",
    "storage_opt": "{size: 1G}",
    "use_api_socket": "true",
    "userns_mode": "host",
    "uts": "host",
}


def said(folder: Path, attributes: str) -> list[str]:
    file = folder / "compose.yaml"
    file.write_text(f"models: {{m: {{model: x}}}}\nservices:\n  web:\n    image: any\n{attributes}")
    stack = load([str(file)], env={}, project_name="p")
    found = warnings(stack, stack.services["web"])
    return [f"{one.span.line}: {one.message}" for one in found if one.span]


@pytest.mark.parametrize("key", sorted(UNHEEDED))
def test_each_is_said_at_its_line(tmp_path: Path, key: str) -> None:
    assert [one.partition(" is not")[0] for one in said(tmp_path, f"    {key}: {EXAMPLES[key]}\n")] == [
        f"5: web: {key}"
    ]


@pytest.mark.parametrize(
    ("attribute", "what"),
    [
        ("logging: {driver: syslog}", "logging driver syslog"),
        ("security_opt: ['label:disable']", "security_opt label:disable"),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}", "deploy devices"),
        ("volumes: ['/srv:/srv:ro,rslave']", "bind propagation rslave"),
        (
            "volumes: [{type: bind, source: /srv, target: /srv, bind: {propagation: rshared}}]",
            "bind propagation rshared",
        ),
        (
            "volumes: [{type: bind, source: /srv, target: /srv, bind: {recursive: disabled}}]",
            "bind recursive disabled",
        ),
    ],
)
def test_so_is_what_stands_deeper(tmp_path: Path, attribute: str, what: str) -> None:
    assert [one.partition(" is not")[0] for one in said(tmp_path, f"    {attribute}\n")] == [f"5: web: {what}"]


def test_what_is_honoured_or_changes_nothing_is_not_spoken_of(tmp_path: Path) -> None:
    quiet = (
        "ipc: private",
        "runtime: runc",
        "security_opt: ['no-new-privileges:true']",
        "logging: {driver: json-file}",
        "volumes: ['/a:/a:z,rprivate', {type: bind, source: /b, target: /b, bind: {recursive: enabled, selinux: Z}}]",
    )
    for attribute in (*quiet, "annotations: {a: b}", "isolation: default", "develop: {watch: []}", "mem_limit: 64m"):
        assert said(tmp_path, f"    {attribute}\n") == [], attribute


def test_every_attribute_is_read_by_the_views_or_said_or_known_to_change_nothing() -> None:
    text = Path(views.__file__).read_text()
    read = {key for key in SERVICE.fields or {} if f'"{key}"' in text}
    # Loaded into others (env_file, extends, label_file), or without a meaning natively.
    rest = {
        "annotations",
        "develop",
        "env_file",
        "extends",
        "isolation",
        "label_file",
        "provider",
        "pull_refresh_after",
    }
    assert set(SERVICE.fields or {}) - read - set(UNHEEDED) == rest


def test_a_provider_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  cloud:\n    provider: {type: awesomecloud}\n")
    stack = load([str(file)], env={}, project_name="p")
    (fault,) = early(stack, list(stack.services.values()), ())
    assert fault.span and fault.span.line == 3
    assert fault.message == "cannot start cloud: its provider awesomecloud is not run natively"
