"""The dynamic linker's cache, `/etc/ld.so.cache`, as ldconfig writes it (glibc sysdeps/generic/dl-cache.h,
format "glibc-ld.so.cache1.1"). ldconfig itself would have to run inside the tree; reading some hundred ELF headers
here takes 10 ms, and `ctypes.util.find_library` and `ldconfig -p` need the result.
"""

from __future__ import annotations

import glob
import os
import re
import struct
from collections.abc import Sequence

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_FLAGS = {62: 0x0303, 183: 0x0A03}  # e_machine: FLAG_ELF_LIBC6 and the 64-bit ABI of x86-64, of AArch64
_NAME = re.compile(r"^(?:lib.*|ld-.*)\.so(?:\.|$)")


def build(layers: Sequence[str]) -> bytes:
    """The cache for a root made of these layers, the top one first."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    directories = _directories(layers)
    for directory, shown in directories.items():
        for layer in layers:
            try:
                names = os.listdir(layer + directory)
            except OSError:
                continue
            for name in names:
                if not _NAME.match(name):
                    continue
                here = f"{layer}{directory}/{name}"
                elf = _soname(here)
                if elf is None:
                    continue
                flags, soname = elf
                # As ldconfig: an entry under the soname; a name that is not the soname only when it has no soname.
                key = soname or name
                if name == key or not os.path.islink(here):
                    target = key if any(os.path.lexists(f"{at}{directory}/{key}") for at in layers) else name
                    found.setdefault((key, directory), (flags, f"{shown}/{target}"))
    order = {d: n for n, d in enumerate(directories)}
    libraries = sorted(found.items(), key=lambda item: -order[item[0][1]])  # reversed below
    libraries.sort(key=lambda item: _rank(item[0][0]), reverse=True)
    return _write([(key, path, flags) for (key, _), (flags, path) in libraries])


def _write(libraries: list[tuple[str, str, int]]) -> bytes:
    strings = bytearray()
    start = _HEADER.size + len(libraries) * _ENTRY.size
    entries = []
    for key, path, flags in libraries:
        value = start + len(strings)
        strings += path.encode() + b"\0"
        if path.endswith("/" + key):
            entries.append(_ENTRY.pack(flags, value + len(path) - len(key), value, 0, 0))
        else:
            entries.append(_ENTRY.pack(flags, start + len(strings), value, 0, 0))
            strings += key.encode() + b"\0"
    header = _HEADER.pack(_MAGIC, len(libraries), len(strings), 2, 0)  # 2: little endian
    return header + b"".join(entries) + bytes(strings)


def _rank(name: str) -> tuple[tuple[int, int], ...]:
    """The order of _dl_cache_libcmp: numbers as numbers, after all other characters; the end before everything."""
    pieces: list[tuple[int, int]] = []
    for text, digits in re.findall(r"(\D*)(\d*)", name):
        pieces += [(1, ord(c)) for c in text]
        if digits:
            pieces.append((2, int(digits)))
    return (*pieces, (0, 0))


def _directories(layers: Sequence[str]) -> dict[str, str]:
    """ld.so.conf and what it includes, then the linker's own directories."""
    configured: dict[str, str] = {}  # where it really is -> as ld.so.conf says it
    seen: set[str] = set()
    for layer in layers:
        for file in sorted(glob.glob(f"{glob.escape(layer)}/etc/ld.so.conf.d/*.conf")):
            if os.path.basename(file) in seen:
                continue
            seen.add(os.path.basename(file))
    for name in sorted(seen):
        for layer in layers:
            path = f"{layer}/etc/ld.so.conf.d/{name}"
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as lines:
                    for line in lines:
                        line = line.partition("#")[0].strip()
                        if line.startswith("/"):
                            configured.setdefault(_real(line.rstrip("/")), line.rstrip("/"))
                break
    configured.setdefault("/usr/lib", "/lib")
    return configured


def _real(directory: str) -> str:
    return "/usr" + directory if directory.startswith(("/lib/", "/lib64/")) else directory


def _soname(path: str) -> tuple[int, str] | None:
    """(flags, soname or "") of a 64-bit little-endian shared library, None for anything else."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
                return None
            kind, machine = struct.unpack_from("<HH", head, 16)
            flags = _FLAGS.get(machine)
            if kind != 3 or flags is None:
                return None
            (at,) = struct.unpack_from("<Q", head, 32)
            size, count = struct.unpack_from("<HH", head, 54)
            file.seek(at)
            table = file.read(size * count)
            loads, dynamic = [], None
            for n in range(count):
                what, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", table, n * size)
                if what == 1:
                    loads.append((address, offset, length))
                elif what == 2:
                    dynamic = (offset, length)
            if dynamic is None:
                return None
            file.seek(dynamic[0])
            entries = file.read(dynamic[1])
            name = strings = None
            for n in range(0, len(entries) - 15, 16):
                tag, value = struct.unpack_from("<QQ", entries, n)
                if tag == 0:
                    break
                if tag == 14:
                    name = value
                elif tag == 5:
                    strings = value
            if name is None or strings is None:
                return flags, ""
            for address, offset, length in loads:
                if address <= strings < address + length:
                    file.seek(strings - address + offset + name)
                    return flags, file.read(256).split(b"\0", 1)[0].decode()
            return flags, ""
    except (OSError, struct.error, UnicodeDecodeError):
        return None
