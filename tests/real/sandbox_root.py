"""A root for tests of the sandbox: the machine's own programs over a made-up /etc, no userland needed."""

import os
from pathlib import Path

from cais.sandbox.api import Mount, Root

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
)
GROUP = "root:x:0:\npostgres:x:999:\nssl-cert:x:101:postgres\n"


def base_layer(folder: Path) -> str:
    layer = folder / "base layer:1,2"  # the characters overlayfs gives a meaning
    for name in ("etc", "root", "tmp", "usr", "var/lib/postgresql", "run"):
        (layer / name).mkdir(parents=True, exist_ok=True)
    (layer / "tmp").chmod(0o1777)
    (layer / "etc/passwd").write_text(PASSWD)
    (layer / "etc/group").write_text(GROUP)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}") and not (layer / name).is_symlink():
            (layer / name).symlink_to(os.readlink(f"/{name}"))
    return str(layer)


def make_root(folder: Path, name: str, *mounts: Mount, **fields: object) -> Root:
    usr = Mount(kind="bind", source="/usr", target="/usr", read_only=True)
    return Root(layers=(base_layer(folder),), upper=str(folder / f"upper {name}"), mounts=(usr, *mounts), **fields)  # type: ignore[arg-type]
