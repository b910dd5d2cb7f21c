"""What a RUN gets of this machine: its mirrors, its certificate authorities, a package cache. Nothing of its shell.

A company's index, proxy or own certificate authority is configuration that pip, uv, npm and apt need to reach a
registry at all. It is given by read-only files mounted for one RUN, at the place each client reads last, so that a
file of the image's own still wins; none of it is in a layer or in a key. Credentials inside an index address go
into that mount, because the client needs them, and nowhere else.

Some clients (poetry's requests, Node's fetch in corepack and pnpm, OpenSSL's own default) read no such file: a RUN
gets three variables that name the bundle of authorities the image has anyway, where the Dockerfile does not set them.

One file cannot be a mount: the bundle of authorities, which `update-ca-certificates` replaces by rename(2) (EBUSY on
a mount point). It is laid into the upper directory before the RUN, and what came from the machine is taken out after.
"""

import configparser
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cais.build.view import View, is_plain_folder
from cais.paths import cache_folder, private_dir
from cais.sandbox.api import Mount

TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
HOME = "/dev/cais"  # on the sandbox's own /dev: nothing of it can be in a layer
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
EXTRA = "/usr/local/share/ca-certificates/cais-machine.crt"
_BUNDLES = (BUNDLE, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----\n?", re.S)
_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "timeout", "retries", "proxy")
_NPM_KEYS = ("registry", "proxy", "https-proxy", "noproxy", "strict-ssl")


class Machine(NamedTuple):
    """Read once for a build."""

    certificates: tuple[str, ...]  # PEM blocks this machine trusts
    pip: tuple[tuple[str, str], ...]
    npm: tuple[tuple[str, str], ...]
    proxies: tuple[tuple[str, str], ...]
    apt_auth: str = ""  # apt_auth.conf(5)


def read(env: Mapping[str, str] | None = None) -> Machine:
    env = os.environ if env is None else env
    pip, npm = _pip(env), _npm(env)
    named = [env.get(n, "") for n in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")]
    files = [*named, pip.pop("cert", ""), npm.pop("cafile", ""), *_BUNDLES]
    blocks: dict[str, None] = {}
    for file in dict.fromkeys(f for f in files if f):
        blocks.update(dict.fromkeys(b.strip() + "\n" for b in _PEM.findall(_text(file))))
    proxies = {}
    for name in ("http", "https", "no"):
        value = env.get(f"{name}_proxy") or env.get(f"{name}_proxy".upper())
        if value:
            proxies[name] = value
    if proxies.get("https") or proxies.get("http"):
        pip.setdefault("proxy", proxies.get("https") or proxies.get("http") or "")
        npm.setdefault("https-proxy", pip["proxy"])
    return Machine(tuple(blocks), tuple(pip.items()), tuple(npm.items()), tuple(proxies.items()), _apt_auth())


def _apt_auth(root: Path | None = None) -> str:
    """The users and passwords that stand in the addresses of this machine's mirrors; the userland has bare ones."""
    from urllib.parse import unquote, urlsplit

    from cais.fetch.debian import sources
    from cais.fetch.http import bare

    apt = sources.read(root) if root else sources.read()
    lines = []
    for address in dict.fromkeys((apt.archive, apt.security)):
        parts = urlsplit(address)
        if parts.username:
            # With its scheme: without one apt uses an entry for https only.
            user, password = unquote(parts.username), unquote(parts.password or "")
            lines.append(f"machine {bare(address)} login {user} password {password}\n")
    return "".join(lines)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _pip(env: Mapping[str, str]) -> dict[str, str]:
    """pip's own order: global, user, PIP_CONFIG_FILE, then the environment (pip docs, "Configuration Files")."""
    home = env.get("HOME", os.path.expanduser("~"))
    config_home = env.get("XDG_CONFIG_HOME", f"{home}/.config")
    files = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", f"{home}/.pip/pip.conf", f"{config_home}/pip/pip.conf"]
    if "PIP_CONFIG_FILE" in env:
        files.append(env["PIP_CONFIG_FILE"])
    keys = (*_PIP_KEYS, "cert")
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(_text(file))
        except configparser.Error:
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                for key, value in parser.items(section):
                    key = key.replace("_", "-").removeprefix("default-")
                    if key in keys:
                        found[key] = value
    for key in keys:
        variable = "PIP_" + key.upper().replace("-", "_")
        given = env.get(variable) or (env.get("PIP_DEFAULT_TIMEOUT") if key == "timeout" else None)
        if given:
            found[key] = given
    return found


def _npm(env: Mapping[str, str]) -> dict[str, str]:
    home = env.get("HOME", os.path.expanduser("~"))
    found: dict[str, str] = {}
    for file in ("/etc/npmrc", "/usr/local/etc/npmrc", f"{home}/.npmrc"):
        for line in _text(file).splitlines():
            key, equals, value = (part.strip() for part in line.partition("="))
            if not equals or key.startswith(("#", ";")):
                continue
            wanted = key in _NPM_KEYS or key == "cafile" or key.endswith(":registry") or key.startswith("//")
            if wanted:
                found[key] = re.sub(r"\$\{(\w+)\}", lambda m: env.get(m[1], ""), value)
    for key in (*_NPM_KEYS, "cafile"):
        name = "npm_config_" + key.replace("-", "_")
        given = env.get(name) or env.get(name.upper())
        if given:
            found[key] = given
    return found


def mounts(machine: Machine, view: View, uid: int) -> tuple[Mount, ...]:
    """The files for one RUN of user `uid`, over the layers of `view`."""
    trusted = certificates(machine, view)
    made: list[Mount] = []
    bundle = view.read_text(BUNDLE) + "".join(trusted)
    if trusted:
        made.append(_file(f"{HOME}/ca.crt", bundle))
        if view.find("/usr") is not None:  # what `update-ca-certificates` adds, also when this RUN installs it
            made.append(_file(EXTRA, "".join(trusted)))
    certificate = f"{HOME}/ca.crt" if trusted else ""
    made += _pip_mounts(machine, uid, certificate)
    if any(view.find(f"/usr/{place}/node") for place in ("local/bin", "bin")):
        made += _npm_mounts(machine, view, uid, certificate)
    proxies = dict(machine.proxies)
    apt = "".join(f'Acquire::{s}::Proxy "{proxies[s]}";\n' for s in ("http", "https") if s in proxies)
    if apt and view.find("/etc/apt/apt.conf.d") is not None:
        made.append(_file("/etc/apt/apt.conf.d/95cais-machine", apt))
    if machine.apt_auth and view.find("/etc/apt/auth.conf.d") is not None:
        made.append(_file("/etc/apt/auth.conf.d/95cais-machine.conf", machine.apt_auth))
    return tuple(made)


def variables(machine: Machine, view: View) -> dict[str, str]:
    """Their values are the same on every machine, and right at run time too, should a RUN write them down."""
    if not certificates(machine, view):
        return {}
    return dict.fromkeys(TRUST, BUNDLE if view.find(BUNDLE) else f"{HOME}/ca.crt")


def _pip_mounts(machine: Machine, uid: int, certificate: str) -> list[Mount]:
    """/etc/xdg/pip/pip.conf is what pip reads first, so the image's own /etc/pip.conf and PIP_* win."""
    made = []
    lines = []
    uv = []
    for key, value in machine.pip:
        if key == "find-links":
            places: list[str] = []
            for place in value.split():
                if os.path.isdir(place.removeprefix("file://")):
                    inside = f"{HOME}/find-links/{len(places)}"
                    made.append(Mount(kind="bind", source=place.removeprefix("file://"), target=inside, read_only=True))
                    place = inside
                places.append(place)
            value = "\n    ".join(places)
            uv.append(f"find-links = {_toml(places)}")
        elif key == "index-url":
            uv.append(f"index-url = {_toml(value)}")
        elif key == "extra-index-url":
            uv.append(f"extra-index-url = {_toml(value.split())}")
        lines.append(f"{key} = {value}")
    if certificate:
        lines.append(f"cert = {certificate}")
        uv.append("native-tls = true")  # uv < 0.12 knows no other name for it
    cache = package_cache("pip", uid)
    made.append(Mount(kind="cache", source=str(cache), target=f"{HOME}/pip"))
    lines.append(f"cache-dir = {HOME}/pip")
    made.append(_file("/etc/xdg/pip/pip.conf", "[global]\n" + "\n".join(lines) + "\n"))
    if uv:
        made.append(_file("/etc/uv/uv.toml", "\n".join(uv) + "\n"))
    return made


def _npm_mounts(machine: Machine, view: View, uid: int, certificate: str) -> list[Mount]:
    """npm's global file; what the image has there comes after ours, and in an ini file the last one counts."""
    lines = [f"{key}={value}" for key, value in machine.npm]
    if certificate:
        lines.append(f"cafile={certificate}")
    lines.append(f"cache={HOME}/npm")
    cache = package_cache("npm", uid)
    made = [Mount(kind="cache", source=str(cache), target=f"{HOME}/npm")]
    for place in ("/usr/local/etc/npmrc", "/usr/etc/npmrc", "/etc/npmrc"):
        if place == "/usr/etc/npmrc" and view.find("/usr/etc") is None:
            continue
        made.append(_file(place, "\n".join([*lines, view.read_text(place)])))
    return made


def _toml(value: object) -> str:
    import json

    return json.dumps(value)


def package_cache(name: str, uid: int) -> Path:
    """A download cache of builds, per user inside: pip refuses one that another owns. Only root can make others'."""
    owner = uid if os.geteuid() == 0 else 0
    path = private_dir(cache_folder("build")) / f"{name}-{owner}"
    path.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0 and path.stat().st_uid != owner:
        os.chown(path, owner, owner)
    return path


def _file(target: str, content: str) -> Mount:
    return Mount(kind="file", target=target, content=content.encode(), mode=0o644, read_only=True)


def certificates(machine: Machine, view: View) -> tuple[str, ...]:
    """What the machine trusts and the image does not."""
    if view.find("/etc/ssl") is None:
        return ()
    own = {"".join(block.split()) for block in _PEM.findall(view.read_text(BUNDLE))}
    return tuple(block for block in machine.certificates if "".join(block.split()) not in own)


def lay_certificates(upper: str, machine: Machine, view: View) -> None:
    """Before a RUN: the bundle with the machine's authorities, as a file of the upper directory."""
    trusted = certificates(machine, view)
    there = view.find(BUNDLE)
    if not trusted or there is None:
        return
    from cais.build.copy import Writer

    writer = Writer(upper, view.layers)
    folder = writer.directory("/" + "/".join(there.parts[:-1]))
    host = writer.host((*folder, there.parts[-1]))
    with open(host, "w", encoding="utf-8") as file:
        file.write(view.read_text(BUNDLE) + "".join(trusted))
    writer.finish(host, stat.S_IMODE(there.about.st_mode), (there.about.st_uid, there.about.st_gid))
    writer.settle()


def take_certificates(upper: str, machine: Machine, view: View) -> None:
    """After it: the layer holds no authority of this machine, whether the RUN made the bundle anew or not."""
    folder = f"{upper}/etc/ssl/certs"
    if not is_plain_folder(upper, ("etc", "ssl", "certs")):
        return
    try:
        names = os.listdir(folder)
    except OSError:
        return
    links = {n: os.readlink(f"{folder}/{n}") for n in names if os.path.islink(f"{folder}/{n}")}
    own = {n for n, target in links.items() if target == EXTRA}
    for name, target in links.items():
        if name in own or target in own:
            os.unlink(f"{folder}/{name}")
    bundle = f"{folder}/{os.path.basename(BUNDLE)}"
    if not os.path.isfile(bundle) or os.path.islink(bundle):
        return
    before = _text(bundle)
    trusted = {"".join(block.split()) for block in certificates(machine, view)}
    after = _PEM.sub(lambda m: "" if "".join(m[0].split()) in trusted else m[0], before)
    if after.rstrip("\n") == view.read_text(BUNDLE).rstrip("\n"):
        os.unlink(bundle)
    elif after != before:
        about = os.stat(bundle)
        with open(bundle, "w", encoding="utf-8") as file:
            file.write(after)
        os.utime(bundle, ns=(about.st_mtime_ns, about.st_mtime_ns))
