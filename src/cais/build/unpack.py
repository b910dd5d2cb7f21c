"""ADD of a local tar archive: its members into a layer. Names and links in it never lead out of the destination.

The standard library's own extraction is not used: it writes through symbolic links of the real file system, while
these must hold in the stage's tree.
"""

import os
import posixpath
import shutil
import stat
import tarfile

from cais.build.copy import CannotCopy, Writer


def unpack(writer: Writer, target: tuple[str, ...], archive: str, owner: tuple[int, int] | None) -> None:
    """`owner` None keeps the archive's owners, as Docker does."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                _member(writer, target, tar, member, owner)
    except (tarfile.TarError, EOFError) as err:
        raise CannotCopy(f"cannot unpack {os.path.basename(archive)}: {err}") from err


def _member(
    writer: Writer,
    target: tuple[str, ...],
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    owner: tuple[int, int] | None,
) -> None:
    name = posixpath.normpath("/" + member.name).lstrip("/")
    who = owner or (member.uid, member.gid)
    if not name:
        return
    if member.isdir():
        parts = writer.directory("/".join((*target, name)), owner=who)
        writer.finish(writer.host(parts), member.mode & 0o7777, who)
        writer.times.append((writer.host(parts), int(member.mtime * 1_000_000_000)))
        return
    parts = (*writer.directory("/".join((*target, posixpath.dirname(name)))), posixpath.basename(name))
    there = writer.view.find("/".join(parts), follow=False)
    if there is not None and there.is_dir:
        raise CannotCopy(f"cannot unpack {member.name} over the directory {there.path}")
    host = writer.host(parts)
    if os.path.lexists(host):
        os.unlink(host)
    if member.issym():
        os.symlink(member.linkname, host)
        writer.finish(host, None, who)
    elif member.islnk():
        linked = posixpath.normpath("/" + member.linkname).lstrip("/")
        source = writer.view.find("/".join((*target, linked)), follow=False)
        if source is None or not stat.S_ISREG(source.about.st_mode):
            raise CannotCopy(f"cannot unpack {member.name}: it is a link to {member.linkname}, which is not there")
        if source.host.startswith(writer.fs + "/"):
            os.link(source.host, host, follow_symlinks=False)
        else:
            shutil.copyfile(source.host, host)
            writer.finish(host, stat.S_IMODE(source.about.st_mode), who)
        return
    elif member.isreg():
        data = tar.extractfile(member)
        assert data is not None
        with open(host, "wb") as file:
            shutil.copyfileobj(data, file)
        writer.finish(host, member.mode & 0o7777, who)
    else:
        return  # devices: a service has no use for them, and an ordinary user may not make one
    os.utime(host, (member.mtime, member.mtime), follow_symlinks=False)
