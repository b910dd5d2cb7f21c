"""Which subnets, addresses and MACs a stack uses: decided by the supervisor, pure but for reading the host's routes."""

import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from cais.sandbox.api import NetworkSpec, Refused


def _pools() -> Iterator[IPv4Network]:
    """Docker's default-address-pools (moby libnetwork ipamutils): 172.17 to 172.31 /16, then 192.168.0.0/16 in /20."""
    for number in range(18, 32):
        yield IPv4Network((0xAC << 24 | number << 16, 16))
    yield from IPv4Network("192.168.0.0/16").subnets(4)
    # Many networks in one stack, or a host whose routes cover all of the above: the last of 10.0.0.0/8 first.
    for number in reversed(range(1 << 12)):
        yield IPv4Network((10 << 24 | number << 12, 20))


def host_routes() -> list[IPv4Network]:
    """Networks the host has routes to: a stack on the same addresses could not reach them."""
    found = []
    try:
        with open("/proc/net/route") as file:
            for line in file.read().splitlines()[1:]:
                fields = line.split()
                address, mask = int(fields[1], 16), int(fields[7], 16)
                if mask:
                    raw = [socket.inet_ntoa(struct.pack("=I", value)) for value in (address, mask)]
                    found.append(IPv4Network((raw[0], raw[1]), strict=False))
    except OSError:
        pass
    return found


def host_nameservers(path: str = "/etc/resolv.conf") -> list[IPv4Network]:
    found = []
    try:
        with open(path) as file:
            for line in file:
                match line.split():
                    case ["nameserver", address] if ":" not in address:
                        found.append(IPv4Network(address))
    except (OSError, ValueError):
        pass
    return found


class Subnet:
    """One network's addresses. Free ones are given in turn, so a restarted instance does not meet its own past."""

    def __init__(self, spec: NetworkSpec, network: IPv4Network) -> None:
        self.spec, self.network = spec, network
        self.gateway = IPv4Address(spec.gateway) if spec.gateway else network[1]
        if self.gateway not in network:
            raise Refused(f"network {spec.name}", f"the gateway {self.gateway} is not in {network}")
        self.used = {self.gateway, network.network_address, network.broadcast_address}
        self.turn = self._turn()

    def _turn(self) -> Iterator[IPv4Address]:
        while True:
            yield from self.network.hosts()

    def take(self, wanted: str = "") -> IPv4Address:
        if wanted:
            try:
                address = IPv4Address(wanted)
            except ValueError:
                raise Refused(f"network {self.spec.name}", f"{wanted} is no IPv4 address") from None
            if address not in self.network:
                raise Refused(f"network {self.spec.name}", f"the address {wanted} is not in its subnet {self.network}")
            if address in self.used:
                raise Refused(f"network {self.spec.name}", f"the address {wanted} is in use")
            self.used.add(address)
            return address
        for _ in range(self.network.num_addresses + 1):
            address = next(self.turn)
            if address not in self.used:
                self.used.add(address)
                return address
        raise Refused(f"network {self.spec.name}", f"its subnet {self.network} has no free address")

    def release(self, address: IPv4Address) -> None:
        self.used.discard(address)


def choose(spec: NetworkSpec, taken: Iterable[IPv4Network]) -> IPv4Network:
    """The subnet asked for, or the first of the pools that touches nothing in `taken`."""
    if spec.subnet:
        try:
            return IPv4Network(spec.subnet, strict=False)
        except ValueError:
            raise Refused(f"network {spec.name}", f"{spec.subnet} is no IPv4 subnet") from None
    busy = list(taken)
    for pool in _pools():
        if not any(pool.overlaps(other) for other in busy):
            return pool
    raise Refused(f"network {spec.name}", "no private subnet is free of the host's routes: give it one (ipam)")


def mac_of(address: IPv4Address) -> str:
    """Docker's: 02:42 and the four bytes of the address."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + address.packed)
