"""`USER` and capabilities, as Docker reads them."""

from pathlib import Path

import pytest

from cais.sandbox import users
from cais.sandbox.api import Process, Refused
from cais.sandbox.kernel import CAPABILITIES


@pytest.fixture
def etc(tmp_path: Path) -> str:
    (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\n# note\nbroken\npg:x:999:998::/var/lib/pg:/bin/sh\n")
    (tmp_path / "group").write_text("root:x:0:\npg:x:998:\nssl:x:101:other,pg\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0, (0,), "/root")),
        ("pg", (999, 998, (998, 101), "/var/lib/pg")),
        ("999", (999, 998, (998, 101), "/var/lib/pg")),
        ("pg:ssl", (999, 101, (101,), "/var/lib/pg")),
        ("1000:2000", (1000, 2000, (2000,), "/")),
        (":ssl", (0, 101, (101,), "/root")),
    ],
)
def test_users_are_looked_up_as_docker_does(etc: str, user: str, expected: tuple[object, ...]) -> None:
    assert users.look_up(user, (), etc) == expected


@pytest.mark.parametrize("user", ["ghost", "pg:ghosts", "4294967295"])
def test_unknown_names_are_refused(etc: str, user: str) -> None:
    with pytest.raises(Refused):
        users.look_up(user, (), etc)


def test_numbers_work_without_any_passwd(tmp_path: Path) -> None:
    assert users.look_up("7:8", (), str(tmp_path)) == (7, 8, (8,), "/")


def named(**fields: object) -> set[str]:
    return {CAPABILITIES[at] for at in users.capabilities(Process(argv=(), **fields), (1 << 41) - 1)}  # type: ignore[arg-type]


def test_capabilities_are_dockers_then_added_and_dropped() -> None:
    assert named() == set(users.DEFAULT_CAPABILITIES) and len(named()) == 14
    assert named(cap_drop=("ALL",)) == set()
    assert named(cap_drop=("ALL",), cap_add=("CAP_NET_ADMIN",)) == {"NET_ADMIN"}
    assert named(cap_add=("all",), cap_drop=("sys_admin",)) == set(CAPABILITIES) - {"SYS_ADMIN"}
    assert named(cap_drop=("MKNOD",)) == set(users.DEFAULT_CAPABILITIES) - {"MKNOD"}
    assert named(privileged=True, cap_drop=("ALL",)) == set(CAPABILITIES)


def test_what_not_even_root_has_is_not_given_and_not_promised() -> None:
    without = ((1 << 41) - 1) & ~(1 << CAPABILITIES.index("SYS_RESOURCE"))
    all_but = users.capabilities(Process(argv=(), privileged=True), without)
    assert {CAPABILITIES[at] for at in all_but} == set(CAPABILITIES) - {"SYS_RESOURCE"}
    with pytest.raises(Refused, match="SYS_RESOURCE"):
        users.capabilities(Process(argv=(), cap_add=("sys_resource",)), without)
