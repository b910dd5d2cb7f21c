"""What a service must not see, and what it may not do. The same as root and as an ordinary user."""

import os
import socket
import stat
import subprocess
from pathlib import Path

PLANTED = "planted-7c1e5d"

IDLE = """
    services:
      box:
        image: debian:bookworm-slim
        command: [sleep, "1000"]
        init: true
        environment: {GIVEN: from-the-file}
"""

# moby oci/caps/defaults.go: CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
# NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
DOCKER_DEFAULT = sum(1 << n for n in (0, 1, 4, 3, 27, 13, 6, 7, 31, 8, 10, 18, 5, 29))


def test_nothing_of_the_callers_environment_reaches_a_service_a_log_or_a_state_file(project):
    project.env["CALLERS_SECRET"] = PLANTED
    project.write(
        "app/Dockerfile", 'FROM debian:bookworm-slim\nRUN env > /build-env\nCMD ["sh", "-c", "env; sleep 1000"]\n'
    )
    project.compose(
        IDLE
        + """
      built:
        build: ./app
        init: true
    """
    )
    project.up()
    for service in ("box", "built"):
        seen = project.exec(service, "env").stdout
        assert PLANTED not in seen
        assert PLANTED not in project.exec(service, "cat", "/proc/1/environ", check=False).stdout
    assert "GIVEN=from-the-file" in project.exec("box", "env").stdout
    assert PLANTED not in project.exec("built", "cat", "/build-env").stdout
    assert PLANTED not in project.run("logs").stdout
    state = Path(project.env["CAIS_STATE"])
    for file in state.rglob("*"):
        if file.is_file() and not file.is_symlink() and os.access(file, os.R_OK):
            assert PLANTED.encode() not in file.read_bytes(), file


def test_the_supervisor_keeps_neither_the_environment_nor_the_arguments_of_the_command_that_made_it(project):
    project.env["CALLERS_SECRET"] = PLANTED
    project.compose(IDLE)
    project.run("run", "-d", "-e", f"GIVEN={PLANTED}", "box")
    supervisor = Path(f"/proc/{project.supervisor()}")
    assert (supervisor / "comm").read_text() == "cais-supervisor\n"
    for name in ("cmdline", "environ"):
        assert PLANTED.encode() not in (supervisor / name).read_bytes()


def test_state_is_private_and_files_with_values_are_0600(project):
    project.compose(IDLE)
    project.up()
    home = Path(project.env["CAIS_STATE"]) / "projects" / project.folder.name
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    files = [p for p in home.iterdir() if p.is_file()]
    assert files
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_service_has_dockers_capabilities_and_no_more(project):
    project.compose(IDLE)
    project.up()
    status = project.exec("box", "cat", "/proc/self/status").stdout
    sets = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(sets[name], 16) & ~DOCKER_DEFAULT == 0, f"{name} {sets[name]}"
    assert int(sets["CapAmb"], 16) == 0


def test_mounts_are_nodev_and_dangerous_paths_are_masked_or_read_only(project):
    project.compose(IDLE)
    project.up()
    mounts = [line.split() for line in project.exec("box", "cat", "/proc/self/mounts").stdout.splitlines()]
    for _, target, _, options, *_ in mounts:
        if target != "/" and not target.startswith("/dev"):
            assert "nodev" in options.split(","), f"{target} is not nodev: {options}"
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list"):
        done = project.exec("box", "sh", "-c", f"[ ! -e {path} ] || head -c 1 {path}", check=False)
        assert done.stdout == "", path
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"):
        done = project.exec("box", "sh", "-c", f"[ -e {path} ] && echo x > {path}", check=False)
        assert done.returncode != 0, path
    assert project.exec("box", "sh", "-c", "mount -o remount,rw /proc/sys", check=False).returncode != 0


def test_a_service_sees_no_home_no_other_process_and_no_block_device(project):
    project.compose(IDLE)
    project.up()
    home = project.exec("box", "sh", "-c", "ls -A /home /root").stdout
    assert "cais" not in home
    pids = [int(name) for name in project.exec("box", "ls", "/proc").stdout.split() if name.isdigit()]
    assert max(pids) < 200, "the service sees processes that are not its own"
    for device in Path("/sys/block").iterdir():
        done = project.exec(
            "box",
            "sh",
            "-c",
            f"mknod /tmp/d b $(tr : ' ' </sys/block/{device.name}/dev) && head -c 1 /tmp/d",
            check=False,
        )
        assert done.returncode != 0
        assert done.stdout == ""


def test_a_service_sees_neither_the_supervisors_socket_nor_an_abstract_one_of_the_host(project):
    project.compose(IDLE)
    with socket.socket(socket.AF_UNIX) as abstract:
        name = f"cais-{os.getpid()}-{PLANTED}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        assert f"@{name}" in Path("/proc/net/unix").read_text()
        project.up()
        control = Path(project.env["CAIS_STATE"]) / "projects" / project.folder.name / "control.sock"
        assert control.is_socket()
        assert project.exec("box", "test", "-e", str(control), check=False).returncode == 1
        seen = project.exec("box", "cat", "/proc/net/unix").stdout
        assert seen.startswith("Num")
        assert name not in seen and "control.sock" not in seen
    names = project.exec("box", "sh", "-c", "cat /proc/[0-9]*/comm").stdout.split()
    assert "sleep" in names
    assert "cais-supervisor" not in names


def test_no_secret_stands_in_a_process_title(project):
    project.write("password.txt", PLANTED)
    project.compose(
        """
    services:
      box:
        image: debian:bookworm-slim
        command: [sh, -c, "cat /run/secrets/password && sleep 1000"]
        init: true
        secrets: [password]
        environment: {TOKEN: planted-7c1e5d}
    secrets:
      password: {file: ./password.txt}
    """
    )
    project.up()
    assert project.exec("box", "cat", "/run/secrets/password").stdout == PLANTED
    titles = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert PLANTED not in titles
