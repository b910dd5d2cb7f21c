"""What this machine lets us do, each thing tried in a forked child and nothing believed from version numbers.

`cais doctor` prints the list; `rung()` is the highest way to isolate that works (DESIGN.md, "the ladder").
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from cais.sandbox import kernel, limits, nftables, wire
from cais.sandbox.api import Refused


class Finding(NamedTuple):
    """One ability. `follows` says what it means for the user; `cure` is the command that grants it, when one does."""

    name: str
    ok: bool
    detail: str
    follows: str
    cure: str = ""


class _Outcome(NamedTuple):
    ok: bool
    why: str


def _in_child(attempt: Callable[[], None], *, flags: int = 0, timeout: float = 10.0) -> _Outcome:
    """Run `attempt` in a child, in new namespaces when `flags` says so (root inside a new user namespace)."""
    ours, theirs = wire.pair()
    try:
        pid = kernel.clone(flags) if flags else os.fork()
    except OSError as error:
        ours.close()
        theirs.close()
        return _Outcome(False, error.strerror or str(error))
    if pid == 0:
        ours.close()
        said: list[object] = [False, ""]
        try:
            if wire.receive(theirs) is not None:
                attempt()
                said = [True, ""]
        except OSError as error:
            said = [False, error.strerror or str(error)]
        except BaseException as error:
            said = [False, f"{type(error).__name__}: {error}"]
        finally:
            with suppress(OSError):
                wire.send(theirs, json.dumps(said).encode())
            os._exit(0)
    theirs.close()
    ours.settimeout(timeout)
    outcome = _Outcome(False, "the child died")
    try:
        if flags & kernel.CLONE_NEWUSER:
            kernel.map_ids(pid, (0, 0), (os.geteuid(), os.getegid()))
        wire.send(ours, b"go")
        packet = wire.receive(ours)
        if packet is not None:
            ok, why = json.loads(packet[0])
            outcome = _Outcome(bool(ok), str(why))
    except TimeoutError:
        outcome = _Outcome(False, f"no answer in {timeout:.0f} s")
    except OSError as error:
        outcome = _Outcome(False, error.strerror or str(error))
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
        os.waitpid(pid, 0)
        ours.close()
    return outcome


def _base() -> int:
    return kernel.CLONE_NEWUSER if os.geteuid() else 0


def _nothing() -> None: ...


def _keep_capabilities() -> None:
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)


def _mount_proc() -> None:
    _keep_capabilities()
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def _overlay(folder: str) -> Callable[[], None]:
    def attempt() -> None:
        _keep_capabilities()
        for name in ("lower", "upper", "work", "all"):
            os.makedirs(f"{folder}/{name}", exist_ok=True)
        os.chdir(folder)
        data = "lowerdir=lower,upperdir=upper,workdir=work" + (",userxattr" if _base() else "")
        kernel.mount("overlay", "all", "overlay", kernel.MS_NODEV, data)
        with open("all/written", "w") as file:
            file.write("x")

    return attempt


def _redirect() -> None:
    with nftables.open_channel() as channel:
        redirect = nftables.rule("out", nftables.protocol(6), nftables.redirect(1))
        nftables.apply(channel, [nftables.table(), nftables.nat_chain("out", nftables.NF_INET_PRE_ROUTING), redirect])


def _bridge() -> None:
    from cais.sandbox.netlink import Links

    links = Links()
    links.add_bridge("br0", 1000, b"\x02\x42\x00\x00\x00\x01", 1500, "10.0.0.1", 24)
    links.add_veth("v0", 1001, 1000, 1500, "v1", 1002, b"\x02\x42\x00\x00\x00\x02", os.getpid())


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def findings(state: str = "") -> list[Finding]:
    """All of it, in about 40 ms. `state` is the folder whose file system is to carry the written layers."""
    user = _base()
    found: list[Finding] = []

    def add(name: str, outcome: _Outcome, good: str, bad: str, cure: str = "") -> bool:
        follows = good if outcome.ok else bad
        found.append(Finding(name, outcome.ok, outcome.why or "yes", follows, "" if outcome.ok else cure))
        return outcome.ok

    isolation = "services cannot be isolated (rung 1 is refused)"
    if user:
        userns = add(
            "user namespace",
            _in_child(_nothing, flags=user),
            "stacks run without root",
            isolation,
            _user_namespace_cure(),
        )
        add(
            "capabilities in a user namespace",
            _in_child(_keep_capabilities, flags=user | kernel.CLONE_NEWNS)
            if userns
            else _Outcome(False, "no user namespace"),
            "mounts and networks can be made in it",
            "AppArmor or another policy takes the capabilities away: " + isolation,
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    add(
        "mount namespace",
        _in_child(_keep_capabilities, flags=user | kernel.CLONE_NEWNS),
        "a service sees its own root",
        isolation,
    )
    add(
        "PID namespace",
        _in_child(_mount_proc, flags=user | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID),
        "a service sees its own processes, and none outlives it",
        "/proc cannot be mounted, as in a container that masks parts of it: " + isolation,
    )
    network = user | kernel.CLONE_NEWNET
    add("network namespace", _in_child(_bridge, flags=network), "networks of a stack are apart", isolation)
    add(
        "nf_tables redirect",
        _in_child(_redirect, flags=network),
        "services reach the world, and names by 127.0.0.11",
        "services cannot reach the world",
        "sudo modprobe nft_redir nft_nat",
    )
    found.append(_overlay_finding(state, user))
    add(
        "seccomp filter",
        _in_child(kernel.fake_chown, flags=user | kernel.CLONE_NEWNS),
        "chown succeeds in builds by an ordinary user",
        "apt-get and entrypoints that chown fail for an ordinary user",
    )
    add("pidfd", _in_child(_pidfd), "signals never reach a wrong process", isolation)
    found.append(_cgroups())
    found.append(_subids(user))
    return found


def _overlay_finding(state: str, user: int) -> Finding:
    parent = state or tempfile.gettempdir()
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    outcome = _Outcome(False, f"{parent} cannot be written")
    with suppress(OSError):
        folder = tempfile.mkdtemp(prefix=".cais-probe-", dir=parent)
        try:
            outcome = _in_child(_overlay(folder), flags=user | kernel.CLONE_NEWNS)
        finally:
            for path, names, _ in os.walk(folder):
                for name in names:
                    with suppress(OSError):
                        os.chmod(f"{path}/{name}", 0o700)  # overlayfs leaves work/work with mode 000
            shutil.rmtree(folder, ignore_errors=True)
    good = f"roots of services are written under {parent}"
    bad = f"roots of services cannot be written under {parent}: put the state elsewhere (CAIS_STATE), not on overlayfs"
    return Finding("overlayfs", outcome.ok, outcome.why or "yes", good if outcome.ok else bad)


def _user_namespace_cure() -> str:
    for path, bad, cure in (
        ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ):
        with suppress(OSError), open(path) as file:
            if file.read().strip() == bad:
                return cure
    return "in a container: docker run --security-opt seccomp=unconfined"


def _cgroups() -> Finding:
    version = 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1 if os.path.isdir("/sys/fs/cgroup") else 0
    writable = [name for name in ("memory", "cpu", "pids") if limits.base(name)]
    detail = f"version {version}, {', '.join(writable) or 'nothing'} delegated" if version else "none"
    follows = "limits of memory, CPU and processes are enforced"
    if len(writable) < 3:
        follows = "limits that are not delegated are not enforced, and said"
    return Finding("cgroups", len(writable) == 3, detail, follows)


def _subids(user: int) -> Finding:
    if not user:
        return Finding("newuidmap", True, "not needed by root", "every uid is there")
    import pwd

    has = shutil.which("newuidmap") is not None and shutil.which("newgidmap") is not None
    listed = False
    with suppress(OSError, KeyError), open("/etc/subuid") as file:
        names = {pwd.getpwuid(os.getuid()).pw_name, str(os.getuid())}
        listed = any(line.split(":")[0] in names for line in file)
    detail = "ranges of /etc/subuid" if has and listed else "no program" if not has else "no range in /etc/subuid"
    return Finding("newuidmap", has and listed, detail, "not needed: one uid serves, and chown is answered for it")


def rung(found: list[Finding] | None = None) -> int:
    """1: all isolation there is. 0: refused here."""
    by_name = {finding.name: finding for finding in found or findings()}
    needed = ("user namespace", "capabilities in a user namespace", *_NEEDED)
    return int(all(by_name[name].ok for name in needed if name in by_name))


_NEEDED = ("mount namespace", "PID namespace", "network namespace", "overlayfs", "pidfd")


def require(state: str = "") -> None:
    """Raise the Refused that says what rung 1 lacks and the one command that lifts it."""
    found = findings(state)
    if rung(found):
        return
    needed = {"user namespace", "capabilities in a user namespace", *_NEEDED}
    first = next(finding for finding in found if finding.name in needed and not finding.ok)
    cure = f"; allow it with: {first.cure}" if first.cure else ""
    raise Refused(first.name, f"{first.detail}: {first.follows}{cure}")
