"""What is looked at before anything starts."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cais.engine.native import preflight
from cais.load.api import load
from cais.sandbox.api import PortSpec
from cais.supervise.api import InstanceState


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody holds at 127.0.0.2."""
    with socket.socket() as held:
        held.bind(("127.0.0.2", 0))
        held.listen()
        yield held.getsockname()[1]


def found(tmp_path: Path, attributes: str, states: tuple[InstanceState, ...] = ()) -> list[str]:
    (tmp_path / "compose.yaml").write_text(f"services:\n  web:\n    image: any\n{attributes}")
    stack = load([str(tmp_path / "compose.yaml")], env={}, project_name="p")
    return [d.code for d in preflight.early(stack, list(stack.services.values()), states)]


def holding(port: int, host_ip: str) -> InstanceState:
    ports = (PortSpec(target=80, host_ip=host_ip, host_port=port),)
    return InstanceState(id="p-web-1", service="web", number=1, phase="running", pid=1, ports=ports)


def test_a_port_we_hold_at_another_address_is_not_ours(tmp_path: Path, taken: int) -> None:
    wanted = f'    ports: ["127.0.0.2:{taken}:80"]\n'
    assert found(tmp_path, wanted) == ["port-taken"]
    assert found(tmp_path, wanted, (holding(taken, "127.0.0.1"),)) == ["port-taken"]
    assert found(tmp_path, wanted, (holding(taken, "127.0.0.2"),)) == []
    assert found(tmp_path, wanted, (holding(taken, ""),)) == []  # it goes before the new one comes


def test_dockers_socket_is_known_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, other = tmp_path / "run", tmp_path / "link"
    real.mkdir()
    (real / "docker.sock").touch()
    other.symlink_to(real)
    monkeypatch.setattr(preflight, "DOCKER_SOCKETS", (str(real / "docker.sock"),))
    assert found(tmp_path, f"    volumes: [{other}/docker.sock:/s]\n") == ["docker-socket"]
    assert found(tmp_path, f"    volumes: [{tmp_path}/compose.yaml:/s]\n") == []


def test_docker_s_socket_is_seen_behind_every_word_that_gives_a_file(tmp_path: Path) -> None:
    volume = (
        "    volumes: [keys:/s]\nvolumes: {keys: {driver_opts: {type: none, o: bind, device: /var/run/docker.sock}}}\n"
    )
    assert found(tmp_path, volume) == ["docker-socket"]
    config = "    configs: [c]\nconfigs: {c: {file: /run/docker.sock}}\n"
    assert found(tmp_path, config) == ["docker-socket"]


def folder_warnings(tmp_path: Path, attributes: str) -> list[str]:
    (tmp_path / "compose.yaml").write_text(f"services:\n  web:\n    image: any\n{attributes}")
    stack = load([str(tmp_path / "compose.yaml")], env={}, project_name="p")
    return [
        f"{d.span.line if d.span else 0}: {d.message}" for d in preflight.docker_folders(stack, stack.services["web"])
    ]


def test_the_folder_of_docker_s_socket_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, link = tmp_path / "r/run", tmp_path / "link"
    run.mkdir(parents=True)
    link.symlink_to(run)
    monkeypatch.setattr(preflight, "DOCKER_SOCKETS", (str(link / "docker.sock"), str(run / "docker.sock")))
    for folder in (link, run, run.parent, Path("/")):
        assert folder_warnings(tmp_path, f"    volumes: [{folder}:/host]\n") == [
            f"4: web gets {folder}, which Docker's socket would be in, and there is no Docker here to talk to"
        ]
    (run / "docker.sock").touch()
    assert folder_warnings(tmp_path, f"    volumes: [{run}:/host]\n") == [
        f"4: web gets {run}, and this machine's Docker socket with it: whoever may write to that is root here"
    ]
    (tmp_path / "r/runner").mkdir()
    assert folder_warnings(tmp_path, f"    volumes: [{tmp_path}/r/runner:/host, data:/d]\nvolumes: {{data: }}\n") == []


def test_a_missing_file_of_a_secret_or_config_is_told_and_nothing_is_made_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n  a: {image: any, secrets: [s], configs: [c, d]}\n"
        "secrets:\n  s: {file: ./nope.txt}\nconfigs:\n  c: {file: ./nope.conf}\n  d: {file: ./there}\n"
    )
    (tmp_path / "there").touch()
    stack = load([str(tmp_path / "compose.yaml")], env={}, project_name="p")
    faults = preflight.early(stack, list(stack.services.values()), ())
    assert [(f.code, f.span.line if f.span else 0) for f in faults] == [("missing-config", 6), ("missing-secret", 4)]
    assert str(tmp_path / "nope.txt") in faults[1].message


def test_a_mount_target_that_is_not_absolute_is_told(tmp_path: Path) -> None:
    more = "    volumes: ['v:/d', 'vv:rel/p', 'vv:/good']\nvolumes: {vv: {}}\n"
    (tmp_path / "compose.yaml").write_text(f"services:\n  web:\n    image: any\n{more}")
    stack = load([str(tmp_path / "compose.yaml")], env={}, project_name="p")
    faults = preflight.early(stack, list(stack.services.values()), ())
    assert [f.message for f in faults] == [
        "cannot start web: the mount target v:/d is not absolute",
        "cannot start web: the mount target rel/p is not absolute",
    ]
    assert "a single letter before a colon" in faults[0].hint


def overlapping(tmp_path: Path, a: str, b: str) -> list[str]:
    file = tmp_path / "compose.yaml"
    file.write_text(
        f"services:\n  a:\n    image: any\n    ports:\n      - {a}\n  b:\n    image: any\n    ports:\n      - {b}\n"
    )
    stack = load([str(file)], env={}, project_name="p")
    found = preflight.early(stack, list(stack.services.values()), ())
    return [f"{d.span and d.span.line}: {d.message} / {n.span and n.span.line}" for d in found for n in d.notes]


@pytest.mark.parametrize(
    ("a", "b", "meet"),
    [
        ("0.0.0.0:{p}:80", "127.0.0.1:{p}:80", True),
        ("{p}:80", "127.0.0.1:{p}:81", True),
        ("{p}:80", "'[::1]:{p}:80'", True),
        ("'[::]:{p}:80'", "'[::1]:{p}:80'", True),
        ("127.0.0.1:{p}:80", "127.0.0.1:{p}:80", True),
        ("127.0.0.1:{p}:80/tcp", "127.0.0.1:{p}:80/udp", False),
        ("127.0.0.1:{p}:80", "127.0.0.2:{p}:80", False),
        ("127.0.0.1:{p}:80", "'[::]:{p}:80'", False),
    ],
)
def test_two_of_our_own_that_overlap_are_told_before_anything_starts(
    tmp_path: Path, a: str, b: str, meet: bool
) -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    found = overlapping(tmp_path, a.format(p=port), b.format(p=port))
    if not meet:
        assert found == []
        return
    (one,) = found
    assert one.startswith("9: cannot start b: port ") and ": a publishes " in one and one.endswith(" / 5")


def test_nobody_is_asked_to_end_what_holds_a_port_that_nobody_holds(tmp_path: Path, taken: int) -> None:
    def hint(published: str) -> tuple[str, str]:
        file = tmp_path / "compose.yaml"
        file.write_text(f"services:\n  a:\n    image: any\n    ports: ['{published}:80']\n")
        stack = load([str(file)], env={}, project_name="p")
        (fault,) = preflight.early(stack, list(stack.services.values()), ())
        return fault.message, fault.hint

    assert hint(f"127.0.0.2:{taken}")[1] == "end what holds it, or publish another port"
    message, way_out = hint(f"203.0.113.77:{taken}")  # RFC 5737: nobody's address
    assert "has no address 203.0.113.77; leave it out, or publish at one it has" in message
    assert way_out == ""
