"""Networks as they are written, looked at before anything starts: a stack's networks here are IPv4."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Any

from cais.diag.api import ERROR, WARNING, Diagnostic
from cais.model.api import Network, Service, Stack

_IPV4_ALONE = "a stack's networks are IPv4 here"


def used_networks(stack: Stack, services: Iterable[Service]) -> dict[str, Network]:
    """By key; those that somebody is on."""
    used = {link.name for service in services if not service.network_mode for link in service.networks}
    return {key: network for key, network in stack.networks.items() if key in used}


def ipv4_of(network: Network) -> tuple[str, str]:
    """(subnet, gateway), each "" where it is not said: the first of IPv4."""
    return next(((subnet, gateway) for subnet, gateway in network.subnets if ":" not in subnet + gateway), ("", ""))


def _pools(network: Network) -> Iterator[tuple[int, dict[str, Any]]]:
    yield from enumerate((network.raw.get("ipam") or {}).get("config") or ())


def network_faults(stack: Stack, services: Iterable[Service]) -> list[Diagnostic]:
    services = list(services)
    found = []
    for key, network in used_networks(stack, services).items():
        if network.external:
            continue
        for number, pool in _pools(network):
            at = ("networks", key, "ipam", "config", number)
            for name, why, hint in _pool_faults(pool):
                found.append(Diagnostic(ERROR, "subnet", f"network {key}: {why}", stack.span(*at, name), hint))
        subnets = [subnet for subnet, _ in network.subnets if subnet]
        if subnets and all(":" in subnet for subnet in subnets):
            span = stack.span("networks", key, "ipam", "config", 0, "subnet")
            why = f"network {key} has the IPv6 subnet {subnets[0]} alone, and {_IPV4_ALONE}"
            hint = "add a subnet of IPv4 beside it, or take the ipam out and let one be chosen"
            found.append(Diagnostic(ERROR, "ipv6", why, span, hint))
        elif network.raw.get("enable_ipv4") is False:
            span = stack.span("networks", key, "enable_ipv4")
            why = f"network {key} has no IPv4 (enable_ipv4: false), and {_IPV4_ALONE}"
            found.append(Diagnostic(ERROR, "ipv6", why, span, "take enable_ipv4 out"))
    return found + [one for service in services for one in _address_faults(stack, service)]


def _pool_faults(pool: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    subnet, gateway = pool.get("subnet") or "", pool.get("gateway") or ""
    if not subnet or ":" in subnet:
        return
    network = _subnet(subnet)
    if network is None:
        yield "subnet", f"{subnet} is no IPv4 subnet", "write it as 172.28.0.0/16"
    elif gateway and ":" not in gateway and not _within(gateway, network):
        yield "gateway", f"the gateway {gateway} is not in its subnet {subnet}", f"for example {network[1]}"


def _subnet(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _within(address: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return IPv4Address(address) in network
    except ValueError:
        return False


def _address_faults(stack: Stack, service: Service) -> Iterator[Diagnostic]:
    for link in service.networks if not service.network_mode else ():
        network = stack.networks.get(link.name)
        if not link.ipv4 or network is None or network.external:
            continue
        text = ipv4_of(network)[0]
        subnet = _subnet(text) if text else None
        span = stack.span("services", service.name, "networks", link.name, "ipv4_address")
        if not _is_ipv4(link.ipv4):
            message = f"cannot start {service.name}: {link.ipv4} is no IPv4 address"
            yield Diagnostic(ERROR, "address", message, span, "write it as 172.28.0.10")
        elif subnet is not None and not _within(link.ipv4, subnet):
            message = f"cannot start {service.name}: its address {link.ipv4} is not in {text}, network {link.name}'s"
            yield Diagnostic(ERROR, "address", message, span, "give it one of that subnet, or leave it out")


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def network_warnings(stack: Stack, services: Iterable[Service]) -> list[Diagnostic]:
    """What of IPv6 is asked for and is not there: each at its line."""
    services = list(services)
    found = []

    def say(what: str, *path: str | int) -> None:
        found.append(Diagnostic(WARNING, "not-honoured", f"{what} is not honoured: {_IPV4_ALONE}", stack.span(*path)))

    for key, network in used_networks(stack, services).items():
        if network.external:
            continue
        if network.raw.get("enable_ipv6"):
            say(f"network {key}: enable_ipv6", "networks", key, "enable_ipv6")
        for number, pool in _pools(network):
            if ":" in (pool.get("subnet") or ""):
                say(f"network {key}: subnet {pool['subnet']}", "networks", key, "ipam", "config", number, "subnet")
    for service in services:
        for link in service.networks if not service.network_mode else ():
            if link.ipv6:
                what = f"{service.name}: ipv6_address {link.ipv6}"
                say(what, "services", service.name, "networks", link.name, "ipv6_address")
    return found
