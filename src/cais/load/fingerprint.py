"""Docker Compose's hash of a service: what `config --hash` prints and what its containers carry as a label.

SHA-256 over the service's JSON as Go writes it: members of a structure in the order Compose declares them, those of a
mapping sorted, no spaces, and `<`, `>`, `&` escaped (encoding/json). What does not make a container another one is left
out: how it is built or pulled, how many there are, what it waits for.
"""

from __future__ import annotations

from typing import Any

from cais.load.members import HASHED, Shape

_LEFT_OUT = ("build", "depends_on", "profiles", "pull_policy", "scale")


def fingerprint(service: dict[str, Any]) -> str:
    """The hash of one service, given as `config --format json` shows it with `$` written once."""
    import json
    from hashlib import sha256

    kept = {key: value for key, value in service.items() if key not in _LEFT_OUT}
    if isinstance(kept.get("deploy"), dict):
        kept["deploy"] = {key: value for key, value in kept["deploy"].items() if key != "replicas"}
    text = json.dumps(_ordered(kept, HASHED), separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _ordered(value: Any, shape: Shape | None) -> Any:
    """`value` with the members of its mappings in Go's order."""
    if isinstance(value, list):
        return [_ordered(item, shape) for item in value]
    if not isinstance(value, dict):
        return value
    shape = shape or {}
    every = shape.get("*")
    names = [name for name in shape if name in value] + sorted(name for name in value if name not in shape)
    return {name: _ordered(value[name], every or shape.get(name)) for name in names}
