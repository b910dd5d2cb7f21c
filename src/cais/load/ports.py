"""`ports` in the short form: `[[host address:]published:]target[/protocol]`, each part maybe a range."""

from __future__ import annotations

import re
from typing import Any

_PORT = re.compile(r"\+?[0-9]+")


class NoTarget(ValueError):
    """What is a port by its form, but none that can be reached."""


def parse(text: str) -> list[dict[str, Any]]:
    """One mapping for each port of `text`; ValueError says what is wrong."""
    host, published, target, protocol = split(text)
    if not target:
        raise ValueError(f'"{text}" names no container port')
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f'"{protocol}" is not a protocol: tcp, udp or sctp')
    first, last = _range(target, "container port")
    if first == 0:
        raise NoTarget(f'"{text}" names no container port: it cannot be 0')
    if published:
        begin, end = _range(published, "published port")
        if end - begin != last - first and last != first:
            raise ValueError(f'"{text}" maps a range of {end - begin + 1} ports to one of {last - first + 1}')
    ports: list[dict[str, Any]] = []
    for offset in range(last - first + 1):
        port: dict[str, Any] = {"mode": "ingress"}
        if host:
            port["host_ip"] = host
        port["target"] = first + offset
        if published:
            port["published"] = f"{begin}-{end}" if last == first and end > begin else str(begin + offset)
        port["protocol"] = protocol
        ports.append(port)
    return ports


def split(text: str) -> tuple[str, str, str, str]:
    spec, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    host, published = "", ""
    parts = spec.split(":")
    target = parts[-1]
    if len(parts) == 2:
        published = parts[0]
    elif len(parts) > 2:
        published = parts[-2]
        host = ":".join(parts[:-2])
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        _check_address(bare, text)
        host = bare
    return host, published, target, protocol


def _check_address(host: str, text: str) -> None:
    if host and not is_address(host.partition("%")[0]):
        raise ValueError(f'"{host}" in "{text}" is not an IP address')


def is_address(text: str) -> bool:
    import socket

    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _range(text: str, what: str) -> tuple[int, int]:
    begin, dash, end = text.partition("-")
    first, last = _port(begin, what), _port(end, what) if dash else 0
    if not dash:
        return first, first
    if last < first:
        raise ValueError(f'the range "{text}" of the {what} runs backwards')
    return first, last


def _port(text: str, what: str) -> int:
    if not _PORT.fullmatch(text) or len(text) > 20 or int(text) > 65535:
        raise ValueError(f'"{text}" is not a {what}')
    return int(text)
