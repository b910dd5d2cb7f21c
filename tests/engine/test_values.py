"""What Docker's engine refuses is refused here too, at the value's line, before anything is fetched or started."""

import resource
from pathlib import Path

import pytest

from cais.engine.native.networks import network_warnings
from cais.engine.native.preflight import early, warnings
from cais.engine.native.restarts import restart_of
from cais.engine.native.specs import networks_of
from cais.load.api import load
from cais.model.api import Stack
from cais.sandbox.ulimits import ULIMITS
from cais.supervise.api import Restart


def stack_of(folder: Path, text: str) -> Stack:
    (folder / "compose.yaml").write_text(text)
    return load([str(folder / "compose.yaml")], env={}, project_name="p")


def found(folder: Path, attributes: str) -> list[str]:
    """`attributes` of a service begin on line 4, column 5."""
    stack = stack_of(folder, f"services:\n  web:\n    image: any\n{attributes}")
    faults = early(stack, list(stack.services.values()), ())
    return [f"{d.span.line}:{d.span.column}: {d.message} ({d.hint})" for d in faults if d.span]


CASES = [
    ("restart: allways", "4:14: cannot start web: allways is no restart policy", 'did you mean "always"?'),
    ("restart: sometimes", "4:14: cannot start web: sometimes is no restart policy", "write one of no, always,"),
    ("restart: on_failure", "4:14: cannot start web: on_failure is no", 'did you mean "on-failure"?'),
    ("restart: 'always:3'", "4:14: cannot start web: a count of restarts (3) can only be used with on-failure", ""),
    ("restart: 'on-failure:-1'", "4:14: cannot start web: a count of restarts (-1) cannot be negative", ""),
    (
        "deploy: {restart_policy: {condition: on_failure}}",
        "4:42: cannot start web: on_failure is no restart policy",
        'did you mean "on-failure"?',
    ),
    (
        "deploy: {restart_policy: {condition: any, max_attempts: 3}}",
        "4:61: cannot start web: a count of restarts (3) can only be used with on-failure",
        "say condition: on-failure",
    ),
    ("ulimits: {nofile: {soft: 10, hard: 5}}", "the soft limit of ulimit nofile (10) is above its hard one (5)", ""),
    ("ulimits: {nofile: {soft: -1, hard: 5}}", "the soft limit of ulimit nofile (-1) is above its hard one (5)", ""),
    ("ulimits: {nofiles: 10}", "nofiles is no ulimit", 'did you mean "nofile"?'),
    ("cap_add: [NET_ADMIN, NET_ADMN]", "4:26: cannot start web: cap_add: NET_ADMN is no cap", 'mean "NET_ADMIN"?'),
    ("cap_drop: [CAP_FLY]", "4:16: cannot start web: cap_drop: CAP_FLY is no capability", "capabilities(7)"),
    ("working_dir: app", "4:18: cannot start web: the working directory app is not absolute", "leading /"),
    ("tmpfs: relative", "4:12: cannot start web: the path of the tmpfs relative is not absolute", "leading /"),
    ("tmpfs: [/run, '/tmp:size=lots']", "4:19: cannot mount /tmp: the tmpfs option", "size=64m"),
    ("tmpfs: /", "4:12: cannot start web: nothing can be mounted over /", ""),
    ("volumes: ['/srv:/']", "4:15: cannot start web: nothing can be mounted over /", ""),
    ("mem_limit: 1k", "4:16: cannot start web: its memory limit is 1024 bytes, and the least is 6 MB", ""),
    ("deploy: {resources: {limits: {memory: 5m}}}", "4:43: cannot start web: its memory limit is 5242880", ""),
    ("cpus: -1", "4:11: cannot start web: it cannot have -1 CPUs", ""),
    (f"hostname: {'a' * 65}", "4:15: cannot start web: its hostname is longer than 64 bytes", ""),
    ("sysctls: {kernel.panic: 1}", "4:29: cannot start web: sysctl kernel.panic: it is not of a namespace", ""),
    ("volumes: [{type: image, source: x, target: /x}]", "4:15: cannot mount /x: volumes of type 'image'", "bind"),
    ("ports: ['127.0.0.3:64321:80']\n    scale: 2", "4:13: cannot run 2 of web: each would publish", "or run one"),
    ("ports: ['80/sctp']", "4:13: cannot publish port 80/sctp of web: only tcp and udp", ""),
    ("stop_signal: SIGSTOPP", "4:18: cannot start web: 'SIGSTOPP' is no signal", "SIGTERM"),
]


@pytest.mark.parametrize(("attribute", "said", "hint"), CASES, ids=[case[0][:50] for case in CASES])
def test_is_refused_at_its_line(tmp_path: Path, attribute: str, said: str, hint: str) -> None:
    (one,) = found(tmp_path, f"    {attribute}\n")
    assert one.startswith("4:") and said in one and hint in one


def test_all_at_once(tmp_path: Path) -> None:
    several = "    restart: allways\n    cap_add: [FLY]\n    working_dir: app\n    networks: [n]\n"
    lines = found(tmp_path, several + "networks:\n  n: {ipam: {config: [{subnet: nonsense}]}}\n")
    assert sorted(line.partition(":")[0] for line in lines) == ["4", "5", "6", "9"]


def test_what_docker_takes_is_taken(tmp_path: Path) -> None:
    for attribute in (
        "restart: 'no'",
        "restart: none",
        "restart: any",
        "restart: 'on-failure:3'",
        "restart: 'on-failure:abc'",
        "deploy: {restart_policy: {condition: unless-stopped}}",
        "deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}",
        "deploy: {restart_policy: {delay: 5s}}",
        "ulimits: {nofile: {soft: 10, hard: -1}, core: 0, rttime: 5, locks: 1}",
        "cap_add: [all, cap_net_admin, Chown]",
        "working_dir: /app",
        "tmpfs: ['/run:size=64m']",
        "mem_limit: 6m",
        "mem_limit: 0",
        "cpus: 0",
        "hostname: 'bad host!'",
        "stop_signal: SIGRTMIN+3",
        "sysctls: {net.core.somaxconn: 1024, kernel.shmmax: 1}",
    ):
        assert found(tmp_path, f"    {attribute}\n") == [], attribute


def policy(folder: Path, attributes: str) -> tuple[Restart, list[str]]:
    stack = stack_of(folder, f"services:\n  web:\n    image: any\n{attributes}")
    web = stack.services["web"]
    return restart_of(web), [f"{d.span.line}: {d.message}" for d in warnings(stack, web) if d.span]


def test_a_deploy_policy_without_a_condition_goes_before_restart_as_in_compose(tmp_path: Path) -> None:
    got, said = policy(tmp_path, "    restart: always\n    deploy: {restart_policy: {delay: 5s}}\n")
    assert got == Restart()
    assert len(said) == 1 and said[0].startswith("4: web: restart always is not honoured: deploy.restart_policy")
    assert policy(tmp_path, "    deploy: {restart_policy: {delay: 5s}}\n") == (Restart(), [])


def test_a_count_that_is_no_number_is_none_as_in_compose_and_said(tmp_path: Path) -> None:
    got, said = policy(tmp_path, "    restart: 'on-failure:abc'\n")
    assert got == Restart(policy="on-failure")
    assert said == ["4: web: 'abc' is no number of restarts: it is restarted without limit, as in Docker Compose"]
    assert policy(tmp_path, "    restart: any\n") == (Restart(policy="always"), [])


def test_names_of_ulimits_are_the_kernel_s() -> None:
    here = {name for name in ULIMITS if hasattr(resource, f"RLIMIT_{name.upper()}")}
    assert len(here) > 10
    assert {name: ULIMITS[name] for name in here} == {n: getattr(resource, f"RLIMIT_{n.upper()}") for n in here}


SIX = """services:
  web: {image: any, networks: {six: %s}}
networks:
  six:
    enable_ipv6: true
    ipam:
      config:
        - subnet: 2001:db8::/64
"""


def test_ipv6_beside_ipv4_is_warned_of_at_each_line(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, SIX % "{ipv6_address: '2001:db8::5'}" + "        - subnet: 172.29.9.0/24\n")
    services = list(stack.services.values())
    assert early(stack, services, ()) == []
    why = "is not honoured: a stack's networks are IPv4 here"
    assert [f"{d.span.line}: {d.message}" for d in network_warnings(stack, services) if d.span] == [
        f"5: network six: enable_ipv6 {why}",
        f"8: network six: subnet 2001:db8::/64 {why}",
        f"2: web: ipv6_address 2001:db8::5 {why}",
    ]
    (network,) = networks_of(stack, services)
    assert network.subnet == "172.29.9.0/24"


def test_a_network_of_ipv6_alone_is_refused_at_its_line(tmp_path: Path) -> None:
    stack = stack_of(tmp_path, SIX % "{}")
    (fault,) = early(stack, list(stack.services.values()), ())
    assert fault.span and (fault.span.line, fault.span.column) == (8, 19)
    assert "IPv6 subnet 2001:db8::/64 alone" in fault.message and "add a subnet of IPv4" in fault.hint


@pytest.mark.parametrize(
    ("pool", "address", "said"),
    [
        ("subnet: nonsense", "", "5:30: network n: nonsense is no IPv4 subnet"),
        ("subnet: 172.29.9.0/24, gateway: 10.0.0.1", "", "5:54: network n: the gateway 10.0.0.1 is not in its"),
        ("subnet: 172.29.9.0/24", "10.0.0.5", "2:50: cannot start web: its address 10.0.0.5 is not in 172.29.9.0/24"),
        ("subnet: 172.29.9.0/24", "ten", "2:50: cannot start web: ten is no IPv4 address"),
    ],
)
def test_addresses_that_cannot_be_are_told_before_anything_starts(
    tmp_path: Path, pool: str, address: str, said: str
) -> None:
    link = f"{{ipv4_address: {address}}}" if address else "{}"
    web = f"services:\n  web: {{image: any, networks: {{n: {link}}}}}\n"
    stack = stack_of(tmp_path, f"{web}networks:\n  n:\n    ipam: {{config: [{{{pool}}}]}}\n")
    (fault,) = early(stack, list(stack.services.values()), ())
    assert fault.span
    assert f"{fault.span.line}:{fault.span.column}: {fault.message}".startswith(said)


def test_a_missing_subpath_of_a_volume_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAIS_STATE", str(tmp_path / "state"))
    mount = "{type: volume, source: data, target: /d, volume: {subpath: inner}}"
    attributes, top = f"    volumes: [{mount}]\n", "volumes: {data: {}}\n"
    assert found(tmp_path, attributes + top) == []  # not there yet: it may come from the image
    volume = tmp_path / "state/volumes/p_data"
    volume.mkdir(parents=True)
    assert found(tmp_path, attributes + top) == []
    (volume / "other").mkdir()
    (one,) = found(tmp_path, attributes + top)
    assert one.startswith("4:74: cannot start web: volume data has no inner in it (make it: mkdir -p ")
    both = f"{attributes}  maker: {{image: any, volumes: ['data:/all']}}\n{top}"
    assert found(tmp_path, both) == []  # the other may make it first
    (volume / "inner").mkdir()
    assert found(tmp_path, attributes + top) == []
