"""What a process sees as its root: layers, mounts, /proc, /sys, /dev."""

import asyncio
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest
from sandbox_root import base_layer
from sandbox_stack import Stack

from cais.sandbox.api import Mount, Refused, Root

pytestmark = pytest.mark.real


def test_the_first_layer_is_on_top_and_writes_go_to_the_upper(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    for layer, text in ((low, "low"), (high, "high")):
        (layer / "app").mkdir(parents=True)
        (layer / "app/name").write_text(text)
    (low / "app/only").write_text("only")

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web")
            root = Root(layers=(str(high), str(low), *plain.layers), upper=plain.upper, mounts=plain.mounts)
            first = await stack.output("cat /app/name /app/only; echo new > /app/name", root=root)
            return first + await stack.output("cat /app/name", root=root)

    assert asyncio.run(run()) == "highonlynew\n"
    assert (high / "app/name").read_text() == "high"


def test_a_hundred_layers(tmp_path: Path) -> None:
    layers = []
    for number in range(100):
        layer = tmp_path / f"a layer, number:{number}"
        layer.mkdir()
        (layer / f"file{number}").write_text("")
        layers.append(str(layer))

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web")
            root = Root(layers=(*layers, *plain.layers), upper=plain.upper, mounts=plain.mounts)
            return await stack.output("ls /file* | wc -l", root=root)

    assert asyncio.run(run()).strip() == "100"


def test_no_mount_but_devices_lets_devices_open_and_no_path_of_the_host_shows(tmp_path: Path) -> None:
    folder = tmp_path / "vault"
    folder.mkdir()

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            root = stack.root("web", Mount(kind="bind", source=str(folder), target="/vault"))
            return await stack.output("cat /proc/self/mountinfo", root=root)

    for line in asyncio.run(run()).splitlines():
        left, _, right = line.partition(" - ")
        point, options = left.split()[4:6]
        if not point.startswith("/dev/pts") and right.split()[0] != "devtmpfs":
            assert "nodev" in options.split(","), line
        if right.split()[0] == "overlay":
            assert str(tmp_path) not in right
    # nothing of the host's tree is left behind
    assert "/home" not in asyncio.run(run())


def test_proc_and_sys_are_masked_and_read_only(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            script = """
            for f in /proc/kcore /proc/keys /proc/timer_list; do test ! -e $f || wc -c < $f; done
            ls /sys/firmware | wc -l
            for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/ksm/run /proc/irq/default_smp_affinity
            do if test -e $f && (echo x > $f) 2>/dev/null; then echo wrote $f; fi; done
            """
            return await stack.output(script)

    assert set(asyncio.run(run()).split()) == {"0"}


def test_a_device_made_by_a_service_does_not_open(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            return await stack.output(
                "for d in / /dev /tmp /dev/shm; do mknod $d/zero2 c 1 5 2>/dev/null; head -c1 $d/zero2; done 2>&1"
                " | grep -vc -E 'Permission|No such'"
            )

    assert asyncio.run(run()).strip() == "0"


def test_the_hosts_homes_and_processes_are_not_there(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            return await stack.output("ls -A /root; test ! -e /home; ls -d /proc/[0-9]* | wc -l")

    assert int(asyncio.run(run())) <= 4


def test_binds_of_files_and_directories_make_their_targets(tmp_path: Path) -> None:
    folder, file = tmp_path / "a,dir:x", tmp_path / "conf"
    folder.mkdir()
    (folder / "note").write_text("note")
    file.write_text("conf")

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            root = stack.root(
                "web",
                Mount(kind="bind", source=str(folder), target="/deep/er/vault"),
                Mount(kind="bind", source=str(file), target="/etc/app/app.conf", read_only=True),
                Mount(kind="bind", source=str(folder), target="/locked", read_only=True),
            )
            return await stack.output(
                "cat /deep/er/vault/note /etc/app/app.conf; echo hello > /deep/er/vault/new;"
                " echo x > /etc/app/app.conf; echo x > /locked/new2; true",
                root=root,
            )

    seen = asyncio.run(run())
    assert seen.startswith("noteconf") and seen.count("Read-only file system") == 2
    assert (folder / "new").read_text() == "hello\n" and not (folder / "new2").exists()


def test_links_of_the_image_stay_inside_it(tmp_path: Path) -> None:
    folder, trap = tmp_path / "data", tmp_path / "trap"
    folder.mkdir()
    (trap / "srv").mkdir(parents=True)
    (trap / "srv/link").symlink_to("/outside/there")

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web", Mount(kind="bind", source=str(folder), target="/srv/link/x"))
            root = Root(layers=(str(trap), *plain.layers), upper=plain.upper, mounts=plain.mounts)
            return await stack.output("touch /outside/there/x/made; ls /outside/there/x", root=root)

    assert asyncio.run(run()).strip() == "made"
    assert (folder / "made").exists()


def test_a_new_volume_gets_what_the_image_has_there_once(tmp_path: Path) -> None:
    volume, image = tmp_path / "volume", tmp_path / "image"
    volume.mkdir(mode=0o700)
    (image / "data/sub").mkdir(parents=True)
    (image / "data/sub/file").write_text("first")
    (image / "data/link").symlink_to("sub/file")
    (image / "data").chmod(0o1770)
    if not os.geteuid():
        os.chown(image / "data", 999, 101)
        os.chown(image / "data/sub/file", 999, 7)

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web", Mount(kind="volume", source=str(volume), target="/data", populate=True))
            root = Root(layers=(str(image), *plain.layers), upper=plain.upper, mounts=plain.mounts)
            first = await stack.output("cat /data/link; rm /data/link", root=root)
            return first + await stack.output("ls -A /data", root=root)

    assert asyncio.run(run()) == "firstsub\n"
    assert stat.S_IMODE(volume.stat().st_mode) == 0o1770
    assert (volume / "sub/file").read_text() == "first"
    if not os.geteuid():
        assert (volume.stat().st_uid, volume.stat().st_gid) == (999, 101)
        assert (volume / "sub/file").stat().st_gid == 7


@pytest.mark.parametrize("fd", range(3, 10))
def test_a_volume_is_not_filled_through_a_link_to_what_the_sandbox_has_open(tmp_path: Path, fd: int) -> None:
    host, volume, image = tmp_path / "host", tmp_path / "volume", tmp_path / "image"
    for folder in (host, volume, image):
        folder.mkdir()
    (host / "key").write_text("the host's")
    (image / "data").symlink_to(f"/proc/self/fd/{fd}/../host")

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web", Mount(kind="volume", source=str(volume), target="/data", populate=True))
            root = Root(layers=(str(image), *plain.layers), upper=plain.upper, mounts=plain.mounts)
            with suppress(Refused):  # or it is mounted at a folder of the root's own
                await stack.output("true", root=root)

    asyncio.run(run())
    assert os.listdir(volume) == [] and os.listdir(host) == ["key"]


def test_a_volume_takes_nothing_from_a_folder_that_is_only_mounted_on(tmp_path: Path) -> None:
    volume, image = tmp_path / "volume", tmp_path / "image"
    for folder in (volume, image / "other"):
        folder.mkdir(parents=True)
    volume.chmod(0o2770)
    (image / "other/file").write_text("the image's")

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web", Mount(kind="volume", source=str(volume), target="/data", populate=True))
            for _ in range(2):  # the second time the folder is there, from the first
                await stack.output("true", root=plain)
                assert stat.S_IMODE(volume.stat().st_mode) == 0o2770
            filled = stack.root("db", Mount(kind="volume", source=str(volume), target="/other", populate=True))
            root = Root(layers=(str(image), *filled.layers), upper=filled.upper, mounts=filled.mounts)
            assert await stack.output("cat /other/file; rm /other/file", root=root) == "the image's"
            assert await stack.output("ls /other", root=root) == "", "what it has emptied stays empty"

    asyncio.run(run())


def up_to(path: Path) -> str:
    """A link's text that leads to a path of the host where `..` leads out of the root."""
    return "../../../../../.." + str(path)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "key").write_text("the host's")
    (folder / "passwd").write_text("ghost:x:0:0::/:/bin/sh\n")
    return folder


@pytest.mark.parametrize("init", [False, True], ids=["starter", "stack init"])
def test_no_dots_of_an_image_lead_to_the_host(tmp_path: Path, host: Path, init: bool) -> None:
    bound, image, passwd = tmp_path / "bound", tmp_path / "image", tmp_path / "passwd image"
    for folder in (
        bound,
        image / "etc",
        image / "srv/inside",
        image / "opt/app",
        image / "usr2/local/bin",
        passwd / "etc",
    ):
        folder.mkdir(parents=True)
    (bound / "file").write_text("bound")
    (image / "made").symlink_to(up_to(host))
    (image / "target").symlink_to("../srv")
    (image / "opt/app/run").write_text("#!/bin/sh\necho ran\n")
    (image / "opt/app/run").chmod(0o755)
    (image / "usr2/local/bin/run").symlink_to("../../../../opt/app/run")
    (passwd / "etc/passwd").symlink_to(up_to(host / "passwd"))

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web", Mount(kind="bind", source=str(bound), target="/target/inside"))
            root = Root(layers=(str(image), *plain.layers), upper=plain.upper, mounts=plain.mounts)
            seen = await stack.output("pwd; cat /srv/inside/file", root=root, cwd="/made/by us", init=init)
            assert seen == f"{host}/by us\nbound"
            env = {"PATH": "/usr2/local/bin:/usr/bin:/bin"}
            assert await stack.output("run", root=root, env=env, init=init) == "ran\n"
            await stack.start("app", "run", root=root, env=env, init=init)
            assert await stack.ended("app") == 0
            other = Root(layers=(str(passwd), *plain.layers), upper=plain.upper, mounts=plain.mounts[:1])
            with pytest.raises(Refused, match="no matching entries"):
                await stack.output("true", root=other, user="ghost", init=init)

    asyncio.run(run())
    assert sorted(os.listdir(host)) == ["key", "passwd"]


def test_no_volume_is_filled_with_what_is_the_hosts(tmp_path: Path, host: Path) -> None:
    volume, outer, inner, image = (tmp_path / name for name in ("volume", "outer", "inner", "image"))
    for folder in (volume, outer, inner, image):
        folder.mkdir()
    (image / "data").symlink_to(up_to(host))
    (outer / "cache").symlink_to(up_to(host))  # as a service that was broken into leaves it in its volume

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web", Mount(kind="volume", source=str(volume), target="/data", populate=True))
            root = Root(layers=(str(image), *plain.layers), upper=plain.upper, mounts=plain.mounts)
            await stack.output("echo own > /data/file", root=root)
            nested = stack.root(
                "nested",
                Mount(kind="volume", source=str(outer), target="/data"),
                Mount(kind="volume", source=str(inner), target="/data/cache", populate=True),
            )
            await stack.output("echo own > /data/cache/file", root=nested)

    asyncio.run(run())
    assert os.listdir(volume) == ["file"] and os.listdir(inner) == ["file"]


def test_a_copy_into_a_volume_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    volume, image = tmp_path / "volume", tmp_path / "image"
    volume.mkdir()
    (volume / ".cais-unfinished-copy").write_text("")
    (volume / "half").write_text("half")
    (image / "data").mkdir(parents=True)
    (image / "data/whole").write_text("whole")

    async def run() -> str:
        async with Stack(tmp_path) as stack:
            plain = stack.root("web", Mount(kind="volume", source=str(volume), target="/data", populate=True))
            root = Root(layers=(str(image), *plain.layers), upper=plain.upper, mounts=plain.mounts)
            return await stack.output("ls -A /data", root=root)

    assert asyncio.run(run()) == "whole\n"


def test_subpath_of_a_volume_does_not_lead_out(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "inner").mkdir(parents=True)
    (volume / "inner/file").write_text("inner")
    (volume / "out").symlink_to("/etc")

    async def run() -> tuple[str, str]:
        async with Stack(tmp_path) as stack:
            good = stack.root("web", Mount(kind="volume", source=str(volume), subpath="inner", target="/data"))
            bad = stack.root("evil", Mount(kind="volume", source=str(volume), subpath="out", target="/data"))
            seen = await stack.output("cat /data/file", root=good)
            with pytest.raises(Refused) as error:
                await stack.output("true", root=bad)
            return seen, error.value.step

    seen, step = asyncio.run(run())
    assert seen == "inner" and step.startswith("mount /data")


def test_files_tmpfs_and_shm(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            root = stack.root(
                "web",
                Mount(kind="file", target="/run/secrets/key", content=b"k" * 300_000, mode=0o440, read_only=True),
                Mount(kind="tmpfs", target="/cache", size=1 << 20, mode=0o1777),
                shm_size=1 << 21,
            )
            return await stack.output(
                "wc -c < /run/secrets/key; stat -c %a /run/secrets/key /cache;"
                " df -k --output=size /cache /dev/shm | grep -v K",
                root=root,
            )

    assert asyncio.run(run()).split() == ["300000", "440", "1777", "1024", "2048"]


def test_read_only_root_keeps_its_mounts_writable(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            root = stack.root("web", Mount(kind="tmpfs", target="/scratch"), read_only=True)
            return await stack.output("touch /scratch/a /dev/shm/b && touch /c; ls /scratch", root=root)

    seen = asyncio.run(run())
    assert "Read-only file system" in seen and seen.endswith("a\n")


def test_a_missing_working_directory_is_made_also_under_a_read_only_root_but_not_for_an_exec(tmp_path: Path) -> None:
    async def run() -> tuple[str, str]:
        async with Stack(tmp_path) as stack:
            root = stack.root("web", read_only=True)
            seen = await stack.output("pwd", root=root, cwd="/srv/a b")
            await stack.start("box", "sleep", "100")
            try:
                return seen, await stack.output("pwd", inside="box", cwd="/srv/missing")
            except Refused as refused:
                return seen, refused.why

    seen, refusal = asyncio.run(run())
    assert seen == "/srv/a b\n"
    assert "/srv/missing: No such file" in refusal


def test_chown_succeeds_for_root_whoever_started_it(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            return await stack.output("touch /tmp/f && chown 999:101 /tmp/f && chgrp -h 7 /tmp/f && echo done")

    assert asyncio.run(run()) == "done\n"


def test_two_live_instances_never_share_an_upper(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            root = stack.root("web")
            await stack.start("one", "sleep", "100", root=root)
            with pytest.raises(Refused) as error:
                await stack.start("two", "sleep", "100", root=root)
            return error.value.why

    assert asyncio.run(run()).startswith("one is running on the same root")


def test_stdout_opens_for_another_user(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            return await stack.output("echo by-path > /dev/stdout", user="postgres")

    assert asyncio.run(run()) == "by-path\n"


def test_the_base_of_these_tests_has_odd_characters(tmp_path: Path) -> None:
    assert {":", ",", " "} <= set(base_layer(tmp_path)[len(str(tmp_path)) :])
    assert os.path.isdir(base_layer(tmp_path))
