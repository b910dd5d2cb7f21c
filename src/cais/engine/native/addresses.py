"""Where a person finds what runs: `up` ends with it."""

from collections.abc import Sequence

from cais.supervise.api import InstanceSpec, InstanceState


def addresses(specs: Sequence[InstanceSpec], states: Sequence[InstanceState]) -> list[tuple[str, str]]:
    """(instance, address) of every published port of what runs; an http:// where a browser can open it."""
    by_id = {spec.id: spec for spec in specs}
    found: dict[tuple[str, str], None] = {}
    for state in states:
        spec = by_id.get(state.id)
        if spec is None:
            continue
        for port in state.ports:
            host = "localhost" if port.host_ip in ("", "0.0.0.0", "::", "127.0.0.1") else port.host_ip
            host = f"[{host}]" if ":" in host else host
            place = f"{host}:{port.host_port}"
            if port.protocol == "udp":
                place += "/udp"
            elif port.target in spec.web_ports:
                place = f"http://{place}"
            found[spec.service, place] = None
    return list(found)
