"""Debian packages as files: an ar archive of control.tar and data.tar (deb(5)), unpacked without dpkg."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

from cais.fetch import tar


class Control(NamedTuple):
    """control.tar: the fields of `control` and the other files beside it (md5sums, postinst, triggers…)."""

    fields: dict[str, str]
    files: dict[str, bytes]
    text: str


def parts(data: bytes) -> tuple[BinaryIO, BinaryIO]:
    """The two tar streams of a package: control and data."""
    found: dict[str, BinaryIO] = {}
    for name, content in _ar(data):
        stem, _, suffix = name.partition(".tar")
        if stem in ("control", "data"):
            found[stem] = _decompressed(suffix, content)
    if "control" not in found or "data" not in found:
        raise tar.BadArchive("it is no Debian package: control.tar or data.tar is not there")
    return found["control"], found["data"]


def _ar(data: bytes) -> Iterator[tuple[str, memoryview]]:
    if data[:8] != b"!<arch>\n":
        raise tar.BadArchive("it is no Debian package")
    at, view = 8, memoryview(data)
    while at + 60 <= len(data):
        name = data[at : at + 16].decode().rstrip().rstrip("/")
        size = int(data[at + 48 : at + 58])
        yield name, view[at + 60 : at + 60 + size]
        at += 60 + size + (size & 1)


def _decompressed(suffix: str, content: memoryview) -> BinaryIO:
    raw = io.BytesIO(content)
    match suffix:
        case "":
            return raw
        case ".xz":
            return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, lzma.open(raw)), 1 << 18))
        case ".gz":
            return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, gzip.open(raw)), 1 << 18))
        case ".bz2":
            return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, bz2.open(raw)), 1 << 18))
    raise tar.BadArchive(f"it is compressed in a way that is not read here ({suffix})")


def control(stream: BinaryIO) -> Control:
    files = {}
    for member, content in tar.members(stream):
        if member.kind == tar.FILE:
            files[member.path] = content.read()
    text = files.pop("control").decode()
    return Control(fields(text), files, text)


def fields(stanza: str) -> dict[str, str]:
    """The fields of one stanza; a folded value keeps its line ends."""
    found: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t"):
            found[name] += "\n" + line
        elif line:
            name, _, value = line.partition(":")
            found[name] = value.strip()
    return found


def unpack(stream: BinaryIO, writer: tar.Writer, keep: Callable[[tar.Member], bool]) -> list[str]:
    """Write what `keep` lets through; returns every path of the package, kept or not, as dpkg -L lists them."""
    paths = []
    for member, content in tar.members(stream):
        paths.append("/" + member.path if member.path else "/.")
        if keep(member):
            writer.write(member, content)
    return paths
