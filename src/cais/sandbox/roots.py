"""What a process sees as `/`: overlay, mounts, /proc, /sys, /dev. Runs in the new mount namespace of an instance.

Order: whatever comes from the host is taken out of its tree as a mount of its own; pivot_root, and the host's tree is
let go; only then the image's names are followed. So no link and no `..` of an image or a volume leads to the host: not
even a descriptor that is still open does, as each is the top of its own mount.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fcntl import LOCK_EX, flock
from glob import glob

from cais.sandbox import kernel
from cais.sandbox.api import Mount, Refused, Root
from cais.sandbox.kernel import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT
from cais.sandbox.script import Calls

# moby oci/defaults.go
MASKED = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
MASKED_PATTERNS = ("/sys/devices/system/cpu/cpu*/thermal_throttle",)
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
DEVICES = ["null", "zero", "full", "random", "urandom", "tty"]
_FILLED = "filled"  # beside the upper directory of an instance: its volumes have what the image has there
_EMPTY = "/dev/.masked"
_LENT = "/dev/.proc"
_QUIET = MS_NOSUID | MS_NODEV | MS_NOEXEC  # as MOUNT_ATTR flags they have the same values
DEV_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
}


_READ_ONLY_ROOT = (None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV, None)


class step:
    """Name what is being done, for the message of the error that stops it.

    A class and no generator: every page a child touches after its clone is copied, and this is used thirty times.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise Refused(self.name, error.strerror or str(error)) from error


def masked_here() -> tuple[tuple[str, bool], ...]:
    """What of `MASKED` this kernel has, and whether it is a directory: asked once for all roots."""
    paths = [*MASKED, *(path for pattern in MASKED_PATTERNS for path in glob(pattern))]
    return tuple((path, os.path.isdir(path)) for path in paths if os.path.exists(path))


class Builder:
    """Makes one root. `own` is an empty directory of the host used as mount point; `single` is the one-uid map;
    `masked` is what `masked_here` found."""

    def __init__(
        self,
        root: Root,
        own: str,
        masked: Sequence[tuple[str, bool]],
        *,
        single: bool,
        privileged: bool,
        host_net: bool,
    ) -> None:
        self.root, self.own, self.masked = root, own, masked
        self.single, self.privileged, self.host_net = single, privileged, host_net
        self.trees: dict[int, int] = {}  # the number of a mount -> what belongs there
        self.devices: dict[str, int] = {}
        self.sys = self.proc = -1
        self.home = -1  # where the instance keeps its root, while there are volumes to fill

    def build(self, files: Sequence[Mount]) -> None:
        """Everything; afterwards `/` is the new root. `files` are what the sandbox adds (/etc/hosts, …)."""
        mounts = [*self.root.mounts, *files]
        self._take(mounts)
        with step("mount /proc"):
            self.proc = kernel.make_mount("proc", _QUIET)
        self._enter()
        with step("mount /proc"):
            _make_directory("/proc")
            kernel.attach(self.proc, "/proc")
        self._fill(mounts)

    def build_around(self, files: Sequence[Mount]) -> None:
        """The same without /proc, which belongs to a PID namespace nobody is in yet: `finish` says what a child there
        must do. For who stays and builds another root afterwards."""
        mounts = [*self.root.mounts, *files]
        self._take(mounts)
        if self.single:  # the kernel mounts a /proc in a user namespace only where one is seen (mount_too_revealing)
            with step("mount /proc"):
                self.proc = kernel.clone_mount("/proc", recursive=False)
        self._enter()
        with step("mount /proc"):
            _make_directory("/proc")
        self._fill(mounts)
        with step("mount /proc"):
            if self.single:
                os.mkdir(_LENT)

    def finish(self, calls: Calls) -> None:
        """What is left for the first process of the PID namespace."""
        at = "mount /proc"
        if self.single:
            calls.add(at, "move_mount", self.proc, "", kernel.AT_FDCWD, _LENT, kernel.MOVE_MOUNT_F_EMPTY_PATH)
        calls.add(at, "mount", "proc", "/proc", "proc", _QUIET, None)
        if self.single:
            calls.add(at, "umount2", _LENT, kernel.MNT_DETACH)
            calls.add(at, "rmdir", _LENT)
        if not self.privileged:
            at = "mask /proc and /sys"
            for call in self._masks():
                calls.add(at, "mount", *call, forgive=errno.ENOENT)
            calls.add(at, "unlink", _EMPTY)
        if self.root.read_only:
            calls.add("mount / read-only", "mount", *_READ_ONLY_ROOT)

    def seal(self) -> None:
        """Last, after sysctls are written: masked and read-only paths, and the root itself when it is read-only."""
        if not self.privileged:
            with step("mask /proc and /sys"):
                for call in self._masks():
                    with suppress(FileNotFoundError):
                        kernel.mount(*call)
                os.unlink(_EMPTY)
        if self.root.read_only:
            with step("mount / read-only"):
                kernel.mount(*_READ_ONLY_ROOT)

    # what the host gives

    def _take(self, mounts: Sequence[Mount]) -> None:
        kernel.mount(None, "/", None, MS_REC | MS_PRIVATE)
        # The contents of `file` mounts lie on a file system of this instance alone, in memory.
        if any(mount.kind == "file" for mount in mounts):
            with step("mount files"):
                kernel.mount("tmpfs", self.own, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700")
        for number, mount in enumerate(mounts):
            source = "/".join(filter(None, (mount.source, mount.subpath)))
            with step(f"mount {mount.target}: open {source}" if source else f"mount {mount.target}"):
                if mount.kind == "file":
                    self.trees[number] = self._file(f"{self.own}/{number}", mount)
                elif mount.kind != "tmpfs":
                    self.trees[number] = _source(mount)
        with step("mount /dev"):
            for name in DEVICES:
                self.devices[name] = kernel.clone_mount(f"/dev/{name}", recursive=False)
        with step("mount /sys"):
            # sysfs belongs to a network namespace, and the host's is not the user's: then it comes with what is
            # mounted on it. Root's own has no debugfs or tracefs in it, which root could read.
            if self.host_net and self.single:
                self.sys = kernel.clone_mount("/sys", recursive=True)
            else:
                self.sys = kernel.make_mount("sysfs", _QUIET if self.privileged else _QUIET | MS_RDONLY)

    def _file(self, path: str, mount: Mount) -> int:
        fd = os.open(path, _NEW_FILE, 0o600)
        left = memoryview(mount.content)
        while left:
            left = left[os.write(fd, left) :]
        if mount.uid or mount.gid:
            with suppress(OSError):  # the one-uid map has no other owner to give it
                os.fchown(fd, mount.uid, mount.gid)
        os.fchmod(fd, mount.mode)
        os.close(fd)
        return kernel.clone_mount(path, recursive=False)

    # /

    def _enter(self) -> None:
        self._overlay()
        with step("pivot_root"):
            os.chdir(self.own)
            kernel.pivot_root(".", ".")  # the old root now lies over the new one; "/" is the new one
        with step("umount the host's tree"):
            kernel.umount(".")
            os.chdir("/")

    def _overlay(self) -> None:
        root = self.root
        with step(f"make {root.upper}"):
            opened = []
            for name in ("fs", "work"):
                path = f"{root.upper}/{name}"
                os.makedirs(path, mode=0o755, exist_ok=True)
                opened.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
            upper, work = opened
            if any(mount.populate for mount in root.mounts) and not os.path.exists(f"{root.upper}/{_FILLED}"):
                self.home = kernel.clone_mount(root.upper, recursive=False)  # out of its tree, as all that stays open
            if stat.S_IMODE(os.stat(upper).st_mode) != 0o755:
                os.chmod(f"{root.upper}/fs", 0o755)  # it is the mode of "/" that services see
        lowers = []
        for layer in root.layers:
            with step(f"layer {layer}"):
                lowers.append(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        # Names of descriptors instead of paths: no `:` or `,` of a path is taken for overlayfs's own, a hundred
        # layers fit in the one page mount(2) takes, and /proc/self/mountinfo tells a service no path of the host.
        os.chdir("/proc/self/fd")
        data = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={work}"
        if self.single:
            data += ",userxattr"
        try:
            kernel.mount("overlay", self.own, "overlay", MS_NODEV, data)
        except OSError as error:
            raise Refused("mount /", self._why_no_overlay(error)) from error
        for fd in (upper, work, *lowers):
            os.close(fd)

    def _why_no_overlay(self, error: OSError) -> str:
        why = error.strerror or str(error)
        if error.errno == errno.EINVAL and _on_overlayfs(self.root.upper):
            return f"{why}: {self.root.upper} is on overlayfs itself; put the state on a volume or a tmpfs (CAIS_STATE)"
        return f"{why} (overlay of {len(self.root.layers)} layers, written to {self.root.upper})"

    # mounts

    def _fill(self, mounts: Sequence[Mount]) -> None:
        """Every path from here on is the new root's own, with its links."""
        for number, mount in enumerate(mounts):
            if not mount.target.startswith("/dev/"):  # those come after /dev itself
                with step(f"mount {mount.target}"):
                    self._mount(number, mount)
        with step("mount /sys"):
            _make_directory("/sys")
            bound = self.host_net and self.single
            kernel.attach(self.sys, "/sys", MS_RDONLY | MS_NOSUID | MS_NODEV if bound else 0, recursive=bound)
        self._dev()
        for number, mount in enumerate(mounts):
            if mount.target.startswith("/dev/"):
                with step(f"mount {mount.target}"):
                    self._mount(number, mount)
        if not self.privileged:
            with step("mask /proc and /sys"):
                os.close(os.open(_EMPTY, _NEW_FILE, 0o444))
        if self.home >= 0:
            os.close(os.open(_FILLED, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self.home))
            os.close(self.home)
        for fd in (*self.trees.values(), *self.devices.values(), self.sys):
            os.close(fd)

    def _mount(self, number: int, mount: Mount) -> None:
        read_only = MS_RDONLY if mount.read_only else 0
        match mount.kind:
            case "tmpfs":
                _make_directory(mount.target)
                data = f"mode={mount.mode:o}" + (f",size={mount.size}" if mount.size else "")
                if not self.single:
                    data += f",uid={mount.uid},gid={mount.gid}"
                kernel.mount("tmpfs", mount.target, "tmpfs", MS_NOSUID | MS_NODEV | read_only, data)
            case "file":
                _make_file(mount.target)
                kernel.attach(self.trees[number], mount.target, _QUIET | read_only)
            case _:
                tree = self.trees[number]
                if stat.S_ISDIR(os.stat(tree).st_mode):
                    # Docker fills a volume from the image when it makes the container: not from a folder that is there
                    # only to be mounted on, which was made here or by an earlier start of this instance.
                    fill = mount.populate and self.home >= 0 and os.path.isdir(mount.target)
                    _make_directory(mount.target)
                    if fill:
                        populate(mount.source, tree, mount.target)
                else:
                    _make_file(mount.target)
                kernel.attach(tree, mount.target, MS_NODEV | read_only, recursive=True)

    # the kernel's file systems

    def _dev(self) -> None:
        """As Docker's, but nodev: the devices are binds, so one a service makes itself (CAP_MKNOD) does not open."""
        with step("mount /dev"):
            _make_directory("/dev")
            kernel.mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=65536k")
            for name, tree in self.devices.items():
                os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_CLOEXEC, 0o666))
                kernel.attach(tree, f"/dev/{name}")
            for name, target in DEV_LINKS.items():
                os.symlink(target, f"/dev/{name}")
            for name in ("pts", "shm", "mqueue"):
                os.mkdir(f"/dev/{name}")
            group = "" if self.single else ",gid=5"
            flags = MS_NOSUID | MS_NOEXEC
            kernel.mount("devpts", "/dev/pts", "devpts", flags, f"newinstance,ptmxmode=0666,mode=0620{group}")
            kernel.mount("shm", "/dev/shm", "tmpfs", flags | MS_NODEV, f"mode=1777,size={self.root.shm_size}")
            kernel.mount("mqueue", "/dev/mqueue", "mqueue", flags | MS_NODEV)

    def _masks(self) -> Iterator[tuple[str | None, str, str | None, int, str | None]]:
        """Calls of mount(2); a path that is not there does not matter.

        Docker hides files behind /dev/null; a device on a mount that is not nodev. An empty file hides as well.
        """
        for path, is_directory in self.masked:
            if is_directory:
                yield "tmpfs", path, "tmpfs", MS_RDONLY | _QUIET, "size=0k"
            else:
                yield _EMPTY, path, None, MS_BIND, None
                yield None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | _QUIET, None
        for path in READ_ONLY:
            yield path, path, None, MS_BIND | MS_REC, None
            yield None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | _QUIET, None


def _source(mount: Mount) -> int:
    """What is mounted, in no tree."""
    fd = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    try:
        if mount.subpath:
            outer, fd = fd, kernel.open_beneath(fd, mount.subpath, os.O_PATH)
            os.close(outer)
        return kernel.clone_mount("", recursive=True, at=fd)
    finally:
        os.close(fd)


def _on_overlayfs(path: str) -> bool:
    best, kind = "", ""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            point = left.split()[4].encode().decode("unicode_escape")
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, right.split()[0]
    return kind == "overlay"


def _make_directory(path: str) -> None:
    """Missing targets are made, as Docker does; links in the way are followed, also those that point at nothing."""
    if os.path.isdir(path):
        return
    try:
        os.makedirs(os.path.realpath(path), mode=0o755, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(errno.ENOTDIR, "there is a file here, and what is mounted is a directory") from None


def _make_file(path: str) -> None:
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "there is a directory here, and what is mounted is a file")
    if os.path.exists(path):
        return
    real = os.path.realpath(path)
    os.makedirs(os.path.dirname(real), mode=0o755, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(real, _NEW_FILE, 0o644))


def populate(name: str, volume: int, image: str) -> None:
    """Fill an empty volume with what the image has where it is mounted, owner and mode of the directory included.

    `volume` is a descriptor of it, `name` its path on the host. A mark in extended attributes would not
    survive every file system, so a copy that was cut off is known by a file inside, removed last.
    """
    unfinished = ".cais-unfinished-copy"
    slash = source = target = -1
    try:
        # Links into /proc lead to what this process has open, other volumes too: openat2 refuses those.
        slash = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        source = kernel.open_beneath(slash, image, os.O_RDONLY | os.O_DIRECTORY)
        target = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=volume)
        flock(target, LOCK_EX)  # two replicas that start at once share the volume
        content = os.listdir(target)
        if unfinished in content:
            for entry in content:
                _remove(entry, target)
        elif content:
            return
        os.close(os.open(unfinished, _NEW_FILE, 0o600, dir_fd=target))
        _copy_entries(source, target)
        _copy_metadata(target, os.stat(source))
        os.unlink(unfinished, dir_fd=target)
    except OSError as error:
        raise Refused(f"fill the volume {name} from {image}", error.strerror or str(error)) from error
    finally:
        for fd in (slash, source, target):
            if fd >= 0:
                os.close(fd)


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _remove(name: str, folder: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def _copy_entries(source: int, target: int) -> None:
    """Between open directories, name by name: a service that has the volume already may put links in our way."""
    with os.scandir(source) as entries:
        for entry in entries:
            name, about = entry.name, entry.stat(follow_symlinks=False)
            if entry.is_symlink():
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
                with suppress(OSError):
                    os.chown(name, about.st_uid, about.st_gid, dir_fd=target, follow_symlinks=False)
                os.utime(name, ns=(about.st_atime_ns, about.st_mtime_ns), dir_fd=target, follow_symlinks=False)
                continue
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(name, 0o700, dir_fd=target)
                here, there = os.open(name, _FOLDER, dir_fd=source), os.open(name, _FOLDER, dir_fd=target)
                _copy_entries(here, there)
            elif entry.is_file(follow_symlinks=False):
                here = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
                there = os.open(name, _NEW_FILE, 0o600, dir_fd=target)
                while os.sendfile(there, here, None, 1 << 24):
                    pass
            elif stat.S_ISFIFO(about.st_mode):
                os.mkfifo(name, 0o600, dir_fd=target)
                here = -1
                there = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
            else:
                continue  # devices and sockets mean nothing in a volume
            _copy_metadata(there, about)
            os.close(there)
            if here >= 0:
                os.close(here)


def _copy_metadata(target: int, about: os.stat_result) -> None:
    with suppress(OSError):  # the one-uid map: every owner is the one there is
        os.chown(target, about.st_uid, about.st_gid)
    os.chmod(target, stat.S_IMODE(about.st_mode))
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
