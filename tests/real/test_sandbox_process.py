"""A process in the sandbox: what it is, what it sees, how it ends."""

import asyncio
import ctypes
import os
import re
import resource
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sandbox_stack import NONE, Stack, on

from cais.sandbox import kernel, limits
from cais.sandbox.api import Mount, Net, NetworkSpec, PortSpec, Process, Refused

pytestmark = pytest.mark.real
DEFAULT_CAPS = "00000000a80425fb"  # Docker's fourteen


def test_environment_is_exactly_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "s3cret")

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            return await stack.output("cat /proc/self/environ /proc/1/environ; /usr/bin/env", init=True, env={"A": "1"})

    seen = asyncio.run(run())
    assert "s3cret" not in seen
    assert "A=1" in seen and "HOME=/root" in seen


def test_a_stack_boots_while_other_threads_are_at_work(tmp_path: Path) -> None:
    """Each of them holds a lock of malloc's most of the time, which a copy of this process never gets back."""
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            socket.getaddrinfo("localhost", 80)

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            assert await stack.output("echo here") == "here\n"

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            asyncio.run(run())
    finally:
        done.set()
        for thread in threads:
            thread.join()


_READ_PID_ONE = """
found = tried = 0
for line in open("/proc/1/maps"):
    start, end = (int(number, 16) for number in line.split()[0].split("-"))
    try:
        with open("/proc/1/mem", "rb", 0) as memory:
            memory.seek(start)
            found += memory.read(end - start).count(b"planted-" + b"secret")
    except OSError:
        pass
print("found", found)
"""


@pytest.mark.parametrize("user", ["root", "postgres"])
def test_the_reaper_shows_its_program_nothing_of_stack_init(tmp_path: Path, user: str) -> None:
    (tmp_path / "read.py").write_text(_READ_PID_ONE)

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            await stack.start("other", "sleep", "100", env={"PATH": "/usr/bin", "TOKEN": "planted-secret"})
            file = Mount(kind="bind", source=str(tmp_path / "read.py"), target="/read.py")
            root = stack.root("web", file)
            return await stack.output("cat /proc/1/comm; python3 /read.py 2>&1", root=root, init=True, user=user)

    seen = asyncio.run(run())
    assert seen.startswith("docker-init") and "Permission denied" in seen and "found" not in seen


def test_stack_init_has_forgotten_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> bytes:
        async with Stack(tmp_path) as stack:
            return Path(f"/proc/{stack.box.pid}/environ").read_bytes()

    assert not asyncio.run(run()).strip(b"\0")


def test_root_has_dockers_capabilities_and_others_none(tmp_path: Path) -> None:
    async def run() -> tuple[str, str]:
        async with Stack(tmp_path) as stack:
            ask = "grep -E 'Cap(Inh|Eff|Bnd|Amb)' /proc/self/status; id -u"
            return await stack.output(ask), await stack.output(ask, user="postgres")

    root, other = asyncio.run(run())
    assert root.split() == [
        "CapInh:",
        "0" * 16,
        "CapEff:",
        DEFAULT_CAPS,
        "CapBnd:",
        DEFAULT_CAPS,
        "CapAmb:",
        "0" * 16,
        "0",
    ]
    assert other.split() == [
        "CapInh:",
        "0" * 16,
        "CapEff:",
        "0" * 16,
        "CapBnd:",
        DEFAULT_CAPS,
        "CapAmb:",
        "0" * 16,
        "999",
    ]


def test_user_is_looked_up_in_the_root(tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with Stack(tmp_path) as stack:
            users = ("postgres", "999", "postgres:root", "1234:4321")
            return [await stack.output("echo $(id -u):$(id -g) $HOME", user=user) for user in users]

    assert [line.strip() for line in asyncio.run(run())] == [
        "999:999 /var/lib/postgresql",
        "999:999 /var/lib/postgresql",
        "999:0 /var/lib/postgresql",
        "1234:4321 /",
    ]


def test_supplementary_groups_come_from_etc_group(tmp_path: Path) -> None:
    if os.geteuid():
        return  # one gid is all an ordinary user's namespace has

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            return await stack.output("id -G", user="postgres", group_add=("7",))

    assert set(asyncio.run(run()).split()) == {"999", "101", "7"}


@pytest.mark.parametrize(
    ("fields", "step", "why"),
    [
        ({"argv": ("uvicorn",)}, "exec uvicorn", "not found in PATH"),
        ({"argv": ("/usr/bin/none",)}, "exec /usr/bin/none", "no such file"),
        ({"argv": ("/etc/passwd",)}, "exec /etc/passwd", "permission denied"),
        ({"argv": ("true",), "user": "nobodyhere"}, "user nobodyhere", "no matching entries"),
        ({"argv": ("true",), "cap_add": ("FLY",)}, "capabilities", "unknown: FLY"),
        ({"argv": ("true",), "sysctls": {"kernel.panic": "1"}}, "sysctl kernel.panic", "not of a namespace"),
    ],
)
def test_what_cannot_start_is_refused_by_step_and_reason(
    tmp_path: Path, fields: dict[str, object], step: str, why: str
) -> None:
    async def run() -> tuple[Refused, dict[str, int]]:
        async with Stack(tmp_path) as stack:
            process = Process(**{"env": {"PATH": "/usr/bin"}, **fields})  # type: ignore[arg-type]
            with pytest.raises(Refused) as error:
                await stack.box.spawn("web", stack.root("web"), process, NONE, (-1, -1, -1))
            # Nothing is left of it: the same name starts at once.
            await stack.start("web", "sleep", "100", root=stack.root("web"))
            return error.value, stack.exits

    refused, exits = asyncio.run(run())
    assert refused.step == step and why in refused.why
    assert not exits


def test_missing_bind_source_is_named(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            mount = Mount(kind="bind", source="/nowhere/at all", target="/vault")
            with pytest.raises(Refused) as error:
                await stack.start("web", "true", root=stack.root("web", mount))
            return str(error.value)

    assert asyncio.run(run()) == "mount /vault: open /nowhere/at all: No such file or directory"


def test_exit_is_told_as_a_shell_says_it(tmp_path: Path) -> None:
    async def run() -> list[int]:
        async with Stack(tmp_path) as stack:
            await stack.start("seven", "sh", "-c", "exit 7")
            await stack.start("killed", "sh", "-c", "sleep 100")
            assert stack.box.signal("killed", signal.SIGKILL)
            found = [await stack.ended("seven"), await stack.ended("killed")]
            assert not stack.box.signal("killed", signal.SIGKILL)
            return found

    assert asyncio.run(run()) == [7, 137]


def test_pid_one_without_handler_ignores_term_and_a_reaper_forwards_it(tmp_path: Path) -> None:
    async def run() -> tuple[bool, int]:
        async with Stack(tmp_path) as stack:
            await stack.start("bare", "sleep", "100")
            await stack.start("reaped", "sleep", "100", init=True)
            stack.box.signal("bare", signal.SIGTERM)
            stack.box.signal("reaped", signal.SIGTERM)
            status = await stack.ended("reaped")
            return "bare" in stack.exits, status

    assert asyncio.run(run()) == (False, 143)


def test_signals_and_mask_are_defaults(tmp_path: Path) -> None:
    """Also those that the C library keeps to itself, which a caller may have had ignored (some shells' parents do)."""
    ignore = struct.pack("QQQQ", signal.SIG_IGN, 0, 0, 0)
    before = {number: ctypes.create_string_buffer(32) for number in (32, 33)}

    def handle(number: int, new: bytes, old: "ctypes.Array[ctypes.c_char] | None" = None) -> None:
        kernel._syscall("rt_sigaction", ctypes.c_int(number), ctypes.c_char_p(new), old, ctypes.c_size_t(8))

    async def run() -> str:
        for number, old in before.items():
            handle(number, ignore, old)
        async with Stack(tmp_path) as stack:
            return await stack.output("grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status; umask; ls /proc/self/fd | wc -l")

    try:
        words = asyncio.run(run()).split()
    finally:
        for number, old in before.items():
            handle(number, old.raw)
    assert words[1] == "0" * 16 and words[3] == "0" * 16 and words[6] == "0022"
    assert words[7] == "4"  # 0, 1, 2 and the directory ls reads


def test_entered_process_shares_the_instance(tmp_path: Path) -> None:
    async def run() -> tuple[str, str, str, dict[str, int]]:
        async with Stack(tmp_path) as stack:
            await stack.start("db", "sh", "-c", "echo here > /tmp/mark; exec sleep 100", user="postgres")
            same = await stack.output(
                "id -u; cat /tmp/mark; hostname; grep CapBnd /proc/self/status", inside="db", user="postgres"
            )
            root = await stack.output("id -u; cat /proc/1/comm", inside="db")
            await stack.box.enter("db", Process(argv=("sleep", "100"), env={"PATH": "/bin"}), (-1, -1, -1), "exec-1")
            stack.box.signal("db", signal.SIGKILL)
            await stack.ended("db")
            await stack.ended("exec-1")
            try:
                await stack.output("true", inside="db")
            except Refused as error:
                return same, root, str(error), stack.exits
            return same, root, "", stack.exits

    same, root, refused, exits = asyncio.run(run())
    assert same.split() == ["999", "here", "db", "CapBnd:", DEFAULT_CAPS]
    assert root.split() == ["0", "sleep"]
    assert refused == "enter db: it is not running"
    assert exits["db"] == 137 and exits["exec-1"] == 137


def test_killing_an_entered_process_leaves_the_instance(tmp_path: Path) -> None:
    async def run() -> tuple[int, bool]:
        async with Stack(tmp_path) as stack:
            await stack.start("db", "sleep", "100")
            await stack.box.enter("db", Process(argv=("sleep", "100"), env={"PATH": "/bin"}), (-1, -1, -1), "exec-1")
            stack.box.signal("exec-1", signal.SIGTERM)
            return await stack.ended("exec-1"), stack.box.signal("db", 0)

    assert asyncio.run(run()) == (143, True)


def test_terminal_is_the_instances_own(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            process = Process(
                argv=("sh", "-c", "tty; stty size; ls -l /dev/pts | wc -l"), env={"PATH": "/bin"}, tty=True
            )
            spawned = await stack.box.spawn("shell", stack.root("shell"), process, NONE, (-1, -1, -1))
            seen = b""
            try:
                while chunk := await asyncio.to_thread(os.read, spawned.tty, 4096):
                    seen += chunk
            except OSError:  # EIO: the other side is closed
                pass
            os.close(spawned.tty)
            return seen.decode()

    assert asyncio.run(run()).startswith("/dev/pts/0\r\n0 0\r\n")


def test_ulimits_are_set_and_what_may_not_be_is_said(tmp_path: Path) -> None:
    async def run() -> tuple[str, tuple[str, ...]]:
        async with Stack(tmp_path) as stack:
            seen = await stack.output("ulimit -n; ulimit -c", ulimits={"nofile": (200, 300), "core": (0, 0)})
            spawned = await stack.start("db", "sleep", "9", ulimits={"rtprio": (90, 90)})
            return seen, spawned.notes

    seen, notes = asyncio.run(run())
    assert seen.split() == ["200", "0"]
    assert bool(notes) == (resource.getrlimit(resource.RLIMIT_RTPRIO)[1] < 90 and not _may_raise_limits())


def _may_raise_limits() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> 24 & 1)  # CAP_SYS_RESOURCE


def test_network_of_another_instance_and_of_the_host(tmp_path: Path) -> None:
    async def run() -> tuple[str, str]:
        async with Stack(tmp_path) as stack:
            await stack.start("db", "sleep", "100")
            first = await stack.output("readlink /proc/self/ns/net", inside="db")
            joined = await stack.output("readlink /proc/self/ns/net", net=Net(mode="instance:db"))
            host = await stack.output("readlink /proc/self/ns/net", net=Net(mode="host"))
            assert joined == first
            return host.strip(), os.readlink("/proc/self/ns/net")

    host, real = asyncio.run(run())
    assert host == real


def test_the_end_of_stack_init_is_told_once_and_later_requests_are_refused(tmp_path: Path) -> None:
    async def run() -> tuple[int, str]:
        async with Stack(tmp_path) as stack:
            await stack.start("db", "sleep", "100")
            os.kill(stack.box.pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                while not stack.lost:
                    await asyncio.sleep(0.01)
            with pytest.raises(Refused) as error:
                await stack.start("web", "sleep", "100")
            assert not stack.box.signal("db", 0)
            return stack.lost, str(error.value)

    assert asyncio.run(run()) == (1, "stack init: it is gone")


def test_a_cancelled_start_leaves_nothing_running(tmp_path: Path) -> None:
    async def run() -> bool:
        async with Stack(tmp_path) as stack:
            task = asyncio.create_task(stack.start("web", "sleep", "100"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(10):
                while True:  # the name is free again once the first one is dead
                    try:
                        await stack.start("web", "true", root=stack.root("web"))
                    except Refused:
                        await asyncio.sleep(0.01)
                        continue
                    return await stack.ended("web") == 0

    assert asyncio.run(run())


def test_limits_hold_where_cgroups_may_be_made_and_are_said_elsewhere(tmp_path: Path) -> None:
    own = ""

    async def run() -> tuple[tuple[str, ...], int, str]:
        nonlocal own
        async with Stack(tmp_path) as stack:
            own = f"cais-{stack.box.groups}"
            fill = "import os; b = bytearray(200 << 20); b[::4096] = b'x' * len(b[::4096])"
            spawned = await stack.start("big", "python3", "-c", fill, memory=50 << 20, cpus=1.5, pids=100)
            status = await stack.ended("big")
            await stack.start("small", "sleep", "100", pids=100)
            return spawned.notes, status, await stack.output("cat /proc/self/cgroup", inside="small")

    notes, status, groups = asyncio.run(run())
    if any("memory" in note for note in notes):
        assert status == 0
    else:
        assert status == 137
    assert (own in groups) == (not any("processes" in note for note in notes))
    for controller in ("memory", "cpu", "pids"):
        assert not os.path.exists(f"{limits.base(controller)}/{own}")


def test_a_service_on_the_hosts_network_changes_nothing_of_it(tmp_path: Path) -> None:
    async def run() -> tuple[str, str]:
        async with Stack(tmp_path) as stack:
            with pytest.raises(Refused) as error:
                await stack.start("host", "true", net=Net(mode="host"), sysctls={"net.ipv4.ip_forward": "1"})
            mounts = await stack.output("cat /proc/self/mountinfo; ls /sys/class/net", net=Net(mode="host"))
            return f"{error.value.step}: {error.value.why}", mounts

    refused, seen = asyncio.run(run())
    assert refused.startswith("sysctl net.ipv4.ip_forward: this service is on the host's network")
    below_sys = [line.split() for line in seen.splitlines() if " /sys" in line]
    assert below_sys and all("ro" in words[5].split(",") for words in below_sys)
    if not os.geteuid():
        assert not {words[words.index("-") + 1] for words in below_sys} & {"debugfs", "tracefs", "securityfs", "bpf"}
    assert set(os.listdir("/sys/class/net")) <= set(seen.split())


_ALL_OF_IT = """
cd /
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:|SigBlk|SigIgn|SigCgt|Umask|NSpid)' /proc/self/status
cut -d' ' -f5- /proc/self/mountinfo | sed 's/lowerdir=[0-9:]*,upperdir=[0-9]*,workdir=[0-9]*//'
cat /proc/self/limits /proc/self/cgroup /proc/1/comm /proc/sys/net/ipv4/ip_unprivileged_port_start
cut -d' ' -f1,2,4-8 /proc/1/stat; ls -l /proc/1/fd >/srv/made/fds; sed 's/.* //; s/:.*//' /srv/made/fds
ls -l /dev; stat -c '%A %u %g %n' / /proc /sys /srv/made
hostname; env
for f in /proc/keys /proc/interrupts; do head -c 1 $f | wc -c; done
cat /etc/hosts /etc/resolv.conf; ls /proc/acpi /sys/firmware
"""


@pytest.mark.parametrize("privileged", [False, True], ids=["plain", "privileged"])
def test_both_ways_to_start_an_instance_make_the_same_of_it(tmp_path: Path, privileged: bool) -> None:
    """A soft limit that is what it is anyway cannot be given without a full copy of stack init (starter.plain)."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run() -> tuple[str, str]:
        async with Stack(tmp_path) as stack:
            seen = []
            for ulimits in ({}, {"nofile": files}):
                fields = {"net": Net(mode="none", hostname="same"), "privileged": privileged, "ulimits": ulimits}
                seen.append(await stack.output(_ALL_OF_IT, cwd="/srv/made", umask=0o027, **fields))
            return seen[0], seen[1]

    one, other = asyncio.run(run())
    made = re.compile(r"\b[A-Z][a-z]{2} +\d+ +\d+:\d+\b")  # times in `ls -l`
    assert sorted(made.sub("", one).splitlines()) == sorted(made.sub("", other).splitlines())
    assert ("/proc/sys ro," in one) is not privileged and "same" in one


def test_a_start_that_fails_leaves_the_next_one_nothing(tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with Stack(tmp_path) as stack:
            told = []
            for argv in (["absent"], ["/etc/hostname"], ["sh", "-c", "exit 3"], ["/absent"], ["true"]):
                name = f"s{len(told)}"
                try:
                    await stack.start(name, *argv, net=Net(mode="none", hostname=name))
                except Refused as error:
                    told.append(f"{error.step}: {error.why}")
                else:
                    told.append(str(await stack.ended(name)))
            told.append(await stack.output("hostname; ls /proc/self/fd | wc -l", net=Net(mode="none", hostname="last")))
            return told

    assert asyncio.run(run()) == [
        "exec absent: not found in PATH",
        "exec /etc/hostname: permission denied",
        "3",
        "exec /absent: no such file",
        "0",
        "last\n4\n",
    ]


@contextmanager
def no_more_processes(pid: int) -> Iterator[None]:
    """As where a limit of processes is reached: fork(2) says EAGAIN. It does not hold for root, but a cgroup does."""
    if os.geteuid():
        before = resource.prlimit(pid, resource.RLIMIT_NPROC)
        resource.prlimit(pid, resource.RLIMIT_NPROC, (1, before[1]))
        yield
        resource.prlimit(pid, resource.RLIMIT_NPROC, before)
        return
    base = limits.base("pids")
    assert base is not None, "root may make no cgroup here"
    group = Path(f"{base}/cais-no-more-{os.getpid()}")
    group.mkdir()
    try:
        (group / "pids.max").write_text("1")
        (group / "cgroup.procs").write_text(str(pid))
        yield
        (Path(base) / "cgroup.procs").write_text(str(pid))
    finally:
        group.rmdir()


async def without_idle_starters(stack: Stack) -> None:
    async with asyncio.timeout(10):
        while starters(stack):
            await asyncio.sleep(0.1)


def starters(stack: Stack) -> list[int]:
    found = []
    for pid in Path(f"/proc/{stack.box.pid}/task/{stack.box.pid}/children").read_text().split():
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "cais-starter\n":
                found.append(int(pid))
    return found


def test_a_start_for_which_there_is_no_process_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            await stack.start("db", "sleep", "100", net=on("default"))
            await without_idle_starters(stack)
            with no_more_processes(stack.box.pid):
                with pytest.raises(Refused, match="temporarily unavailable"):
                    await stack.start("web", "sleep", "100")
                with pytest.raises(Refused, match="temporarily unavailable"):
                    await stack.box.publish("db", PortSpec(target=80))
            assert stack.lost == 0 and "db" in stack.box.running
            assert (await stack.box.publish("db", PortSpec(target=80))).host_port
            await stack.start("web", "true")
            assert await stack.ended("web") == 0

    asyncio.run(run())


def test_a_start_that_is_stuck_can_be_ended(tmp_path: Path) -> None:
    """A starter that waits for a dead network drive is one that does not go on."""

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            assert await stack.output("echo first") == "first\n"
            (stuck,) = starters(stack)
            os.kill(stuck, signal.SIGSTOP)
            for name in ("given to it", "queued"):
                start = asyncio.create_task(stack.start(name, "sleep", "100"))
                await asyncio.sleep(0.1)
                assert not start.done() or name == "queued"
                if not start.done():
                    assert not stack.box.signal(name, signal.SIGKILL)
                    async with asyncio.timeout(5):
                        with pytest.raises(Refused, match="stopped"):
                            await start
            await stack.start("given to it", "true")
            assert await stack.ended("given to it") == 0

    asyncio.run(run())


def test_many_starts_at_once_do_not_run_out_of_descriptors(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            started = [stack.start(f"i{n}", "sh", "-c", "exit $(ulimit -n | head -c2)") for n in range(60)]
            await asyncio.gather(*started)
            assert {await stack.ended(f"i{n}") for n in range(60)} == {25}, "and have the limit of the caller"

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        asyncio.run(run())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("program", ["true", "false"])
def test_a_reaper_hears_of_a_program_that_ends_at_once(tmp_path: Path, program: str) -> None:
    async def run() -> list[int]:
        async with Stack(tmp_path) as stack:
            names = [f"s{n}" for n in range(30)]
            await asyncio.gather(*(stack.start(name, program, init=True) for name in names))
            return [await stack.ended(name) for name in names]

    assert set(asyncio.run(run())) == {0 if program == "true" else 1}


def test_a_mount_that_fails_is_what_is_told(tmp_path: Path) -> None:
    """Also on a network, whose side of stack init fails then as well."""
    (tmp_path / "volume").mkdir()

    async def run() -> list[str]:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            told = []
            for init in (False, True):
                for mount in (
                    Mount(kind="bind", source=str(tmp_path / "absent"), target="/x"),
                    Mount(kind="volume", source=str(tmp_path / "volume"), subpath="absent", target="/x"),
                ):
                    with pytest.raises(Refused) as refused:
                        await stack.start("s", "true", net=on("default"), root=stack.root("s", mount), init=init)
                    told.append(str(refused.value))
            return told

    wanted = [f"mount /x: open {tmp_path}/{name}: No such file or directory" for name in ("absent", "volume/absent")]
    assert asyncio.run(run()) == wanted * 2
