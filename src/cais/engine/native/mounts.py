"""What a service sees over its root: volumes, binds, tmpfs, configs, secrets. Pure: places are names, not looked at."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from cais.diag.api import CaisError
from cais.engine.native.names import volume_folder
from cais.model.api import FileObject, Grant, NamedVolume, Service, Stack, Volume
from cais.model.image import Image
from cais.sandbox.api import Mount
from cais.source.api import Span


class Places(NamedTuple):
    """`home` is the project's state; `volumes` holds the named volumes of all projects, as Docker has them."""

    home: Path
    volumes: Path


def mounts_of(
    stack: Stack, service: Service, image: Image, places: Places, id: str
) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
    """(mounts by depth of target, directories of the anonymous volumes among them)."""
    found: dict[str, Mount] = {}
    anonymous: list[str] = []

    def nameless(target: str) -> Mount:
        key = hashlib.sha256(target.encode()).hexdigest()[:16]
        source = str(places.home / "anonymous" / id / key)
        anonymous.append(source)
        return Mount(kind="volume", target=target, source=source, populate=True)

    for text in service.volumes_from:
        for mount in _of_others(stack, text, places):
            found[mount.target] = mount
    for volume in service.volumes:
        target = _clean(volume.target)
        if volume.type == "volume" and not volume.source:
            found[target] = nameless(target)
        else:
            found[target] = _mount(stack, volume, target, places)
    for number, text in enumerate(service.tmpfs):
        mount = tmpfs(text, stack.span("services", service.name, "tmpfs", number))
        found[mount.target] = mount
    for grant in service.configs:
        mount = _granted(grant, stack.configs[grant.source], f"/{grant.source}", "/")
        found[mount.target] = mount
    for grant in service.secrets:
        mount = _granted(grant, stack.secrets[grant.source], f"/run/secrets/{grant.source}", "/run/secrets/")
        found[mount.target] = mount
    for path in image.config.volumes:
        if _clean(path) not in found:
            found[_clean(path)] = nameless(_clean(path))
    mounts = sorted(found.values(), key=lambda m: (m.target.count("/"), m.target))
    return tuple(mounts), tuple(anonymous)


def _clean(target: str) -> str:
    """As Docker does it, by the text alone: no link is asked."""
    return "/" + os.path.normpath("/" + target).lstrip("/")


def _mount(stack: Stack, volume: Volume, target: str, places: Places) -> Mount:
    match volume.type:
        case "bind":
            return Mount(
                kind="bind",
                target=target,
                source=volume.source,
                read_only=volume.read_only,
            )
        case "tmpfs":
            mode = 0o1777 if volume.tmpfs_mode is None else volume.tmpfs_mode
            return Mount(kind="tmpfs", target=target, size=volume.tmpfs_size, mode=mode, read_only=volume.read_only)
        case "volume":
            return _named(stack.volumes[volume.source], volume, target, places)
        case other:
            raise CaisError(
                f"cannot mount {target}: volumes of type {other!r} are not supported",
                hint="use a volume, a bind or a tmpfs",
                span=volume.span,
            )


def _named(named: NamedVolume, volume: Volume, target: str, places: Places) -> Mount:
    """A named volume; `driver_opts` of the local driver are those of mount(8): a bind or a tmpfs in disguise."""
    options = dict(named.driver_opts)
    words = options.get("o", "").split(",")
    if options.get("type") == "tmpfs":
        return tmpfs(f"{target}:{options.get('o', '')}", named.span)
    if "bind" in words or "rbind" in words:
        return Mount(
            kind="bind",
            target=target,
            source=options.get("device", ""),
            read_only=volume.read_only or "ro" in words,
            subpath=volume.subpath,
        )
    if named.driver not in ("", "local") or options.get("device"):
        raise CaisError(
            f"cannot make volume {named.key}: driver {named.driver or 'local'!r} with device "
            f"{options.get('device', '')!r} needs a mount that only an administrator may make",
            hint="mount it on the host and bind it: driver_opts {type: none, o: bind, device: /path}",
            span=named.span,
        )
    return Mount(
        kind="volume",
        target=target,
        source=str(volume_folder(places.volumes, named.name, named.span)),
        read_only=volume.read_only,
        populate=not volume.nocopy,
        subpath=volume.subpath,
    )


def tmpfs(text: str, span: Span | None = None) -> Mount:
    """`/run:size=64m,mode=1777,uid=1000,ro`, the options of mount(8) that tmpfs(5) knows."""
    target, _, options = text.partition(":")
    size, mode, uid, gid, read_only = 0, 0o1777, 0, 0, False
    for option in options.split(","):
        name, _, value = option.partition("=")
        try:
            match name:
                case "size" if value != "50%":  # the kernel's own default
                    unit = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}.get(value[-1:].lower(), 1)
                    size = int(value.rstrip("kKmMgG")) * unit
                case "mode":
                    mode = int(value, 8)
                case "uid":
                    uid = int(value)
                case "gid":
                    gid = int(value)
                case "ro":
                    read_only = True
        except ValueError:
            raise CaisError(
                f"cannot mount {target}: the tmpfs option {option!r} is no number that is read here",
                hint="size=64m, mode=1777 (octal), uid=1000, gid=1000",
                span=span,
            ) from None
    return Mount(kind="tmpfs", target=_clean(target), size=size, mode=mode, uid=uid, gid=gid, read_only=read_only)


def _granted(grant: Grant, thing: FileObject, default: str, folder: str) -> Mount:
    """A config or secret. From a file it is that file, read-only, as Compose binds it (uid, gid and mode say nothing
    then, in Compose too); from `content` or `environment` it is made, by default readable by everybody (0444)."""
    target = grant.target or default
    if not target.startswith("/"):
        target = folder + target
    if thing.external:
        raise CaisError(
            f"cannot give {grant.source} to a service: it is external, and nobody keeps it here",
            hint="give it a file, an environment variable or, for a config, content",
            span=grant.span or thing.span,
        )
    if thing.file:
        return Mount(kind="bind", target=_clean(target), source=thing.file, read_only=True)
    text = thing.content if thing.content is not None else thing.value
    if text is None:
        raise CaisError(
            f"cannot give {grant.source} to a service: the environment variable {thing.environment} is not set",
            hint=f"export {thing.environment}, or write it into .env",
            span=thing.span or grant.span,
        )
    return Mount(
        kind="file",
        target=_clean(target),
        content=text.encode(),
        uid=_number(grant.uid),
        gid=_number(grant.gid),
        mode=0o444 if grant.mode is None else grant.mode,
        read_only=True,
    )


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _of_others(stack: Stack, text: str, places: Places) -> list[Mount]:
    """`volumes_from: [db:ro]`: what that service's first instance has mounted, at the same places."""
    from msgspec.structs import replace

    name, _, mode = text.partition(":")
    if name == "container":
        raise CaisError(f"cannot take volumes from {text!r}: only a service's can be taken", hint="name the service")
    other = stack.services[name]
    kept = [v for v in other.volumes if v.type != "volume" or v.source]
    mounts = [_mount(stack, v, _clean(v.target), places) for v in kept]
    return [replace(m, read_only=True) for m in mounts] if mode == "ro" else mounts
