"""A Debian userland: what `debian:<suite>-slim` has, and the libraries Python, Node and common wheels are built on.

mmdebstrap without mmdebstrap: packages are unpacked by this process as the user who runs it, and no maintainer
script runs; what those of the base packages would do is done here by hand, each step naming the script it stands for.
The result is marked as installed and configured, so `apt-get install` inside it works like in the official image.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from cais.fetch import http, names, store, tar
from cais.fetch.debian import download, dpkg, index, ldcache, resolve, sources
from cais.paths import cache_folder

Progress = Callable[[str, int, int], None]


def userland(suite: str, progress: Progress | None = None, *, refresh: bool = False) -> Path:
    """The layer of a suite ("bookworm", "trixie", "sid"), made when the cache has none yet.

    Taken from what Debian has at that moment; kept until it is removed or `refresh` asks for a newer one.
    """
    name = names.userland_name(suite)
    what = f"Debian {suite}"

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(what, done, total)

    def make(root: Path) -> None:
        for attempt in (False, True):
            try:
                _make(root, suite, name, attempt or refresh, tell)
                return
            except download.Gone:
                if attempt:
                    raise
                store.remove(root)  # the index was old: once more with a new one
                root.mkdir(mode=0o755)

    return store.tree("userlands", name, make, what=what)


def contents(suite: str, progress: Progress | None = None) -> dict[str, str]:
    """Package -> version of the userland of a suite: as it was made, else as it would be made now."""
    lock = cache_folder("userlands") / f"{names.userland_name(suite)}.lock.json"
    try:
        return msgspec.json.decode(lock.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {p.name: p.version for p in packages(index.load(suite, progress=progress))}


def packages(of: index.Index) -> list[index.Package]:
    """All packages of a userland."""
    base = of.every(lambda p: p.priority == "required" or p.essential, (b"Priority: required", b"Essential: yes"))
    return resolve.closure(of, [*names.SEEDS, *base, *names.COMMON, *names.LIBRARIES[of.suite]])


def _make(root: Path, suite: str, name: str, refresh: bool, progress: Callable[[int, int], None]) -> None:
    chosen = packages(index.load(suite, refresh=refresh))
    merge_usr(root)
    writer = tar.Writer(str(root), merged_usr=True)
    unpacked = download.unpack_all(chosen, writer, wanted, progress)
    configure(root, suite)
    dpkg.write(root, unpacked, architecture=sources.architecture())
    alternatives(root)
    (root / "etc/ld.so.cache").write_bytes(ldcache.build([str(root)]))
    taken = {u.package.name: u.package.version for u in sorted(unpacked, key=lambda u: u.package.name)}
    lock = cache_folder("userlands") / f"{name}.lock.json"
    store.write_text(lock, msgspec.json.format(msgspec.json.encode(taken), indent=1).decode() + "\n")


def merge_usr(root: Path) -> None:
    """/bin, /sbin and /lib* are links into /usr before anything is unpacked, as debootstrap lays them."""
    folders = ["bin", "sbin", "lib"]
    if sources.architecture() == "amd64":
        folders.append("lib64")
    for name in folders:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")


_LEFT_OUT = re.compile(r"^usr/share/(?:doc/.*(?<!/copyright)|(?:man|locale|info|lintian|linda|groff)/.*)$")


def wanted(member: tar.Member) -> bool:
    """What the slim images leave out: documentation but for licences, translations. Directories stay: maintainer
    scripts link manual pages with update-alternatives and fail where the directory is not there."""
    if member.kind == tar.DIRECTORY:
        return not member.path.startswith(("usr/share/doc/", "usr/share/locale/"))
    return not _LEFT_OUT.match(member.path)


def configure(root: Path, suite: str) -> None:
    """The results of the maintainer scripts that matter."""
    base, etc = root / "usr/share/base-files", root / "etc"
    for source, target in (  # base-files.postinst
        ("dot.profile", "root/.profile"),
        ("dot.bashrc", "root/.bashrc"),
        ("profile", "etc/profile"),
        ("motd", "etc/motd"),
    ):
        if (base / source).exists() and not (root / target).exists():
            (root / target).parent.mkdir(exist_ok=True)
            shutil.copy(base / source, root / target)
    shutil.copy(root / "usr/share/libc-bin/nsswitch.conf", etc / "nsswitch.conf")  # libc-bin.postinst
    for folder, mode in (("opt", 0o755), ("srv", 0o755), ("mnt", 0o755), ("media", 0o755), ("etc/opt", 0o755),
                         ("var/opt", 0o755), ("run/lock", 0o1777), ("var/mail", 0o2775), ("tmp", 0o1777),
                         ("var/tmp", 0o1777), ("root", 0o700), ("home", 0o755), ("proc", 0o755), ("sys", 0o755),
                         ("dev", 0o755)):  # fmt: skip
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).chmod(mode)
    for link, target in (("var/run", "/run"), ("var/lock", "/run/lock"), ("var/spool/mail", "../mail")):
        if not (root / link).is_symlink():
            shutil.rmtree(root / link, ignore_errors=True)
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(target)
    for folder in ("bin", "etc", "games", "include", "lib", "sbin", "share/man", "src"):
        (root / "usr/local" / folder).mkdir(parents=True, exist_ok=True)
    if not (root / "usr/local/man").is_symlink():
        (root / "usr/local/man").symlink_to("share/man")
    if not (etc / "dpkg/origins/default").is_symlink():
        (etc / "dpkg/origins/default").symlink_to("debian")
    _accounts(root)
    _pam(root)
    _certificates(root)
    (etc / "localtime").unlink(missing_ok=True)  # tzdata.postinst
    (etc / "localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    (etc / "timezone").write_text("Etc/UTC\n")
    if (shells := root / "usr/share/debianutils/shells").exists():  # debianutils.postinst
        (etc / "shells").write_text(shells.read_text() + "/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/rbash\n")
    for empty in ("environment", "machine-id", "subuid", "subgid", "fstab"):
        (etc / empty).touch()
    (etc / "hostname").write_text("localhost\n")
    (etc / "resolv.conf").touch()
    (etc / "hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    for log in ("wtmp", "btmp", "lastlog", "faillog"):
        (root / "var/log" / log).touch()
    if not (root / "usr/bin/sh").exists():
        (root / "usr/bin/sh").symlink_to("dash")
    _apt(root, suite)


def _accounts(root: Path) -> None:
    """base-passwd.preinst and postinst, shadowconfig on (passwd.postinst), _apt (apt.postinst)."""
    masters = root / "usr/share/base-passwd"
    passwd = (masters / "passwd.master").read_text().replace(":*:", ":x:")
    group = (masters / "group.master").read_text().replace(":*:", ":x:")
    if "\n_apt:" not in passwd:
        passwd = passwd.rstrip("\n") + "\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"
    etc = root / "etc"
    (etc / "passwd").write_text(passwd)
    (etc / "group").write_text(group)
    users = [line.partition(":")[0] for line in passwd.splitlines()]
    groups = [line.partition(":")[0] for line in group.splitlines()]
    (etc / "shadow").write_text("".join(f"{n}:*:19000:0:99999:7:::\n" for n in users))
    (etc / "gshadow").write_text("".join(f"{n}:*::\n" for n in groups))
    for secret in ("shadow", "gshadow"):
        (etc / secret).chmod(0o640)
        if os.geteuid() == 0:
            os.chown(etc / secret, 0, 42)


# The one profile of a minimal system, /usr/share/pam-configs/unix, as pam-auth-update lays it into the templates of
# libpam-runtime: (primary, additional) per file, and what it notes in /var/lib/pam. The text must be its own to the
# byte, else it takes the files for locally changed and asks.
_NULL = "Module: null\n[default=1]\t\t\tpam_permit.so\n"
_PAM: dict[str, tuple[str, str, str]] = {
    "auth": (
        "auth\t[success=1 default=ignore]\tpam_unix.so nullok\n",
        "",
        "Module: unix\n[success=end default=ignore]\tpam_unix.so nullok\n",
    ),
    "account": (
        "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so \n",
        "",
        "Module: unix\n[success=end new_authtok_reqd=done default=ignore]\tpam_unix.so \n",
    ),
    "password": (
        "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n",
        "",
        "Module: unix\n[success=end default=ignore]\tpam_unix.so obscure yescrypt\n",
    ),
    "session": (
        "session\t[default=1]\t\t\tpam_permit.so\n",
        "session\trequired\tpam_unix.so \n",
        _NULL + "Module: unix\nrequired\tpam_unix.so \n",
    ),
    "session-noninteractive": (
        "session\t[default=1]\t\t\tpam_permit.so\n",
        "session\trequired\tpam_unix.so \n",
        _NULL + "Module: unix\nrequired\tpam_unix.so \n",
    ),
}


def _pam(root: Path) -> None:
    """pam-auth-update --package (libpam-runtime.postinst)."""
    state = root / "var/lib/pam"
    state.mkdir(parents=True, exist_ok=True)
    for name, (primary, additional, note) in _PAM.items():
        text = (root / "usr/share/pam" / f"common-{name}").read_text()
        kind = name.partition("-")[0]
        text = re.sub(rf"\${kind}\w*_primary\n", primary, text)
        text = re.sub(rf"\${kind}\w*_additional\n", additional, text)
        (root / "etc/pam.d" / f"common-{name}").write_text(text)
        (state / name).write_text(note)
    (state / "seen").write_text("unix\n")


def _certificates(root: Path) -> None:
    """update-ca-certificates: one bundle, a link for each authority, and OpenSSL's default file.

    Debian fills /etc/ssl/certs with links named by hash for OpenSSL's directory look-up; its other default,
    /usr/lib/ssl/cert.pem -> /etc/ssl/cert.pem, does the same with one file.
    """
    home, etc = root / "usr/share/ca-certificates", root / "etc"
    found = sorted(str(p.relative_to(home)) for p in home.rglob("*.crt"))
    (etc / "ssl/certs").mkdir(parents=True, exist_ok=True)
    (etc / "ca-certificates.conf").write_text("".join(f"{n}\n" for n in found))
    bundle = []
    for name in found:
        text = (home / name).read_text()
        bundle.append(text if text.endswith("\n") else text + "\n")
        (etc / "ssl/certs" / (Path(name).stem + ".pem")).symlink_to(f"/usr/share/ca-certificates/{name}")
    (etc / "ssl/certs/ca-certificates.crt").write_text("".join(bundle))
    (etc / "ssl/cert.pem").symlink_to("certs/ca-certificates.crt")


# What the official images set for apt and dpkg (debuerreotype, scripts/.docker-image.sh), and why they do.
_APT_CONF = {
    # Where an ordinary user runs the stack only one user exists for the kernel: apt cannot become _apt.
    "00-one-user": 'APT::Sandbox::User "root";\n',
    "docker-clean": (
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb '
        '/var/cache/apt/*.bin || true"; };\n'
        'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
    ),
    "docker-gzip-indexes": 'Acquire::GzipIndexes "true";\n',
    "docker-no-languages": 'Acquire::Languages "none";\n',
    "docker-autoremove-suggests": 'Apt::AutoRemove::SuggestsImportant "false";\n',
}
_EXCLUDES = "".join(
    f"path-exclude /usr/share/{folder}/*\n" for folder in ("doc", "groff", "info", "linda", "lintian", "locale", "man")
)


def _apt(root: Path, suite: str) -> None:
    """Sources (this machine's mirror), settings; services are not started by packages in a build (policy-rc.d).

    Every service can read these files: a user and password in the mirror's address stay out of them (a RUN gets
    them in a file of its own, `build/machine.py`)."""
    apt = sources.read()
    (root / "etc/apt/apt.conf.d").mkdir(parents=True, exist_ok=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    if not (root / keyring[1:]).exists():
        keyring = keyring.removesuffix("gpg") + "pgp"
    stanzas = []
    for archive in sources.archives(suite, apt):
        stanzas.append(
            f"Types: deb\nURIs: {http.bare(archive.base)}\nSuites: {archive.suite}\nComponents: main\n"
            f"Signed-By: {keyring}\n"
        )
    (root / "etc/apt/sources.list.d").mkdir(exist_ok=True)
    (root / "etc/apt/sources.list.d/debian.sources").write_text("\n".join(stanzas))
    for name, text in _APT_CONF.items():
        (root / "etc/apt/apt.conf.d" / name).write_text(text)
    if not apt.check_dates:
        (root / "etc/apt/apt.conf.d/no-dates").write_text('Acquire::Check-Valid-Until "false";\n')
    for folder in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/apt/mirrors/partial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/apt/extended_states").touch()
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text(
        f"force-unsafe-io\n{_EXCLUDES}path-include /usr/share/doc/*/copyright\n"
    )
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\n# Packages start no services while an image is built.\nexit 101\n")
    policy.chmod(0o755)


def alternatives(root: Path) -> None:
    """mawk.postinst, util-linux.postinst, debianutils.postinst."""
    dpkg.alternative(root, "awk", "/usr/bin/awk", "/usr/bin/mawk", 5, [("nawk", "/usr/bin/nawk", "/usr/bin/mawk")])
    more = "/bin/more" if "/bin/more\n" in (root / "var/lib/dpkg/info/util-linux.list").read_text() else "/usr/bin/more"
    dpkg.alternative(root, "pager", "/usr/bin/pager", more, 50)
    if (root / "usr/bin/which.debianutils").exists():
        dpkg.alternative(root, "which", "/usr/bin/which", "/usr/bin/which.debianutils", 0)
