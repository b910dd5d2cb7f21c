"""The name server at 127.0.0.11 that every service has, answered by the supervisor.

Inside names first, as Docker: an instance sees those of the networks it is on, all addresses of a name in changing
order. Everything else is forwarded byte for byte to the host's name servers (or the service's `dns`), and looked up
by getaddrinfo(3) where none answers: a machine may know names from /etc/hosts alone. RFC 1035 for the format.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import NamedTuple

from cais.sandbox.api import Attachment

A, PTR, AAAA, ANY, IN = 1, 12, 28, 255, 1
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
_TTL = 600  # what Docker's server gives
_TIMEOUT = 2.0
_CLIENTS = 64  # connections of one instance at a time; each is a descriptor of the supervisor
_DEAD_FOR = 20.0  # seconds that a silent server is asked last

# A whole query to a whole answer, None when there is none: what `StackSandbox.boot(resolver=)` takes.
Resolver = Callable[[bytes], Awaitable[bytes | None]]


class Question(NamedTuple):
    number: int
    name: str  # lower case, no final dot
    kind: int
    end: int  # where the question section ends


def parse(query: bytes) -> Question | None:
    """The question of a query; None for what is none (an answer, several questions, a cut packet)."""
    if len(query) < 12:
        return None
    number, flags, questions = struct.unpack_from(">HHH", query)
    if flags & 0x8000 or flags & 0x7800 or questions != 1:  # QR, OPCODE
        return None
    labels, at = [], 12
    while at < len(query) and query[at]:
        size = query[at]
        if size > 63 or at + 1 + size > len(query):
            return None
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
    if at + 5 > len(query):
        return None
    kind, family = struct.unpack_from(">HH", query, at + 1)
    return Question(number, ".".join(labels).lower(), kind, at + 5) if family == IN else None


def answer(query: bytes, question: Question, code: int, records: Sequence[tuple[int, bytes]] = ()) -> bytes:
    recursion = query[2] & 1
    flags = 0x8080 | (recursion << 8) | code  # an answer, recursion available
    head = struct.pack(">HHHHHH", question.number, flags, 1, len(records), 0, 0)
    body = b"".join(struct.pack(">HHHIH", 0xC00C, kind, IN, _TTL, len(data)) + data for kind, data in records)
    return head + query[12 : question.end] + body


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".")) + b"\0"


class Names:
    """Which instance has which names on which network, from spawn to exit."""

    def __init__(self) -> None:
        self.by_network: dict[str, dict[str, dict[str, str]]] = {}  # network -> name -> instance -> address
        self.pointers: dict[str, dict[str, str]] = {}  # network -> address -> name
        self.turn = 0

    def add(self, id: str, attachments: Sequence[Attachment], addresses: dict[str, str]) -> None:
        for attachment in attachments:
            network, address = attachment.network, addresses[attachment.network]
            names = self.by_network.setdefault(network, {})
            for name in dict.fromkeys((id, *attachment.names)):
                names.setdefault(name.lower(), {})[id] = address
                names.setdefault(f"{name}.{network}".lower(), {})[id] = address
            self.pointers.setdefault(network, {})[address] = f"{id}.{network}"

    def remove(self, id: str) -> None:
        for network, names in self.by_network.items():
            for name in [name for name, holders in names.items() if id in holders]:
                address = names[name].pop(id)
                self.pointers[network].pop(address, None)
                if not names[name]:
                    del names[name]

    def addresses(self, name: str, networks: Sequence[str]) -> list[str]:
        for network in networks:
            found = list(self.by_network.get(network, {}).get(name, {}).values())
            if found:
                self.turn += 1
                at = self.turn % len(found)
                return found[at:] + found[:at]
        return []

    def pointer(self, name: str, networks: Sequence[str]) -> str | None:
        """`4.3.2.1.in-addr.arpa` to the name of 1.2.3.4."""
        parts = name.removesuffix(".in-addr.arpa").split(".")
        address = ".".join(reversed(parts))
        for network in networks:
            found = self.pointers.get(network, {}).get(address)
            if found:
                return found
        return None


class Upstream:
    """The world's names: the host's name servers, then the host's own resolver."""

    def __init__(self, servers: Sequence[str] = (), *, path: str = "/etc/resolv.conf") -> None:
        self.given, self.path = tuple(servers), path
        self.read_at = (0, 0)
        self.found: tuple[str, ...] = ()
        self.dead: dict[str, float] = {}

    def servers(self) -> tuple[str, ...]:
        if self.given:
            return self.given
        with suppress(OSError):
            about = os.stat(self.path)
            if (about.st_mtime_ns, about.st_ino) != self.read_at:
                self.read_at = (about.st_mtime_ns, about.st_ino)
                with open(self.path) as file:
                    rows = [line.split() for line in file]
                self.found = tuple(row[1] for row in rows if len(row) > 1 and row[0] == "nameserver")[:3]
        return self.found

    async def ask(self, query: bytes, question: Question, *, tcp: bool) -> bytes:
        """Always an answer: theirs, or the host's own, or NXDOMAIN for one label and SERVFAIL for others."""
        loop = asyncio.get_running_loop()
        known = self.servers()
        alive = [server for server in known if self.dead.get(server, 0.0) < loop.time()]
        refused = None
        for server in alive or known[:1]:
            try:
                got = await asyncio.wait_for(_over_tcp(server, query) if tcp else _over_udp(server, query), _TIMEOUT)
            except (OSError, TimeoutError, EOFError):
                self.dead[server] = loop.time() + _DEAD_FOR
                continue
            self.dead.pop(server, None)
            if got[3] & 15 in (SERVFAIL, REFUSED):
                refused = got  # another may know more
                continue
            if got[3] & 15 == NXDOMAIN and (own := await self._own(query, question)):
                return own
            return got
        if own := await self._own(query, question):
            return own
        return refused or answer(query, question, NXDOMAIN if "." not in question.name else SERVFAIL)

    async def _own(self, query: bytes, question: Question) -> bytes | None:
        """What getaddrinfo says, in a thread; only what /etc/hosts and the like can know: A and AAAA."""
        family = {A: socket.AF_INET, AAAA: socket.AF_INET6}.get(question.kind)
        if family is None or self.given or not _in_hosts(question.name):
            return None
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(question.name, None, family=family, type=socket.SOCK_STREAM)
        except OSError:
            return None
        raw = [socket.inet_pton(family, str(row[4][0])) for row in found]
        outside = [
            one for one in dict.fromkeys(raw) if not (family == socket.AF_INET and one[0] == 127) and one != _V6_LO
        ]
        return answer(query, question, NOERROR, [(question.kind, one) for one in outside]) if outside else None


_V6_LO = socket.inet_pton(socket.AF_INET6, "::1")


def _in_hosts(name: str) -> bool:
    with suppress(OSError), open("/etc/hosts") as file:
        return any(name in line.partition("#")[0].lower().split()[1:] for line in file)
    return False


async def _over_udp(server: str, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        await loop.sock_connect(channel, (server, 53))  # connected: only the server's own datagrams arrive
        await loop.sock_sendall(channel, query)
        while True:
            got = await loop.sock_recv(channel, 65535)
            if len(got) >= 12 and got[:2] == query[:2]:
                return got


async def _over_tcp(server: str, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        writer.write(struct.pack(">H", len(query)) + query)
        return await reader.readexactly(struct.unpack(">H", await reader.readexactly(2))[0])
    finally:
        writer.close()


class Server:
    """The two sockets of one instance. `networks` are those it is on; without a way out nothing is forwarded."""

    def __init__(
        self,
        names: Names,
        networks: Sequence[str],
        udp: socket.socket,
        tcp: socket.socket,
        upstream: Upstream | Resolver | None,
    ) -> None:
        self.names, self.networks, self.udp, self.tcp, self.upstream = names, networks, udp, tcp, upstream
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.clients = 0
        for one in (udp, tcp):
            one.setblocking(False)
        self.loop.add_reader(udp.fileno(), self._datagram)
        self.loop.add_reader(tcp.fileno(), self._connection)

    def close(self) -> None:
        for one in (self.udp, self.tcp):
            self.loop.remove_reader(one.fileno())
            one.close()
        for task in list(self.tasks):
            task.cancel()

    async def answer(self, query: bytes, *, tcp: bool) -> bytes | None:
        question = parse(query)
        if question is None:
            return None
        if (own := self.inside(query, question)) is not None:
            return own
        if self.upstream is None:
            return answer(query, question, NXDOMAIN if "." not in question.name else SERVFAIL)
        if isinstance(self.upstream, Upstream):
            return await self.upstream.ask(query, question, tcp=tcp)
        return await self.upstream(query) or answer(query, question, NXDOMAIN)

    def inside(self, query: bytes, question: Question) -> bytes | None:
        """The answer this stack knows, or None: ask the world."""
        if question.kind == PTR:
            name = self.names.pointer(question.name, self.networks)
            return answer(query, question, NOERROR, [(PTR, encode_name(name))]) if name else None
        found = self.names.addresses(question.name, self.networks)
        if not found:
            return None
        if question.kind not in (A, ANY):
            return answer(query, question, NOERROR)  # the name is here, and has nothing of the kind (AAAA)
        room = found[: (512 - question.end) // 16]  # without EDNS a datagram has 512 bytes
        return answer(query, question, NOERROR, [(A, socket.inet_aton(address)) for address in room])

    def _spawn(self, job: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _datagram(self) -> None:
        for _ in range(32):
            try:
                query, client = self.udp.recvfrom(4096)
            except OSError:
                return
            question = parse(query)
            if question and (own := self.inside(query, question)) is not None:
                self._send(own, client)
            elif len(self.tasks) < 512:
                self._spawn(self._later(query, client))

    async def _later(self, query: bytes, client: tuple[str, int]) -> None:
        got = await self.answer(query, tcp=False)
        if got:
            self._send(got, client)

    def _send(self, got: bytes, client: tuple[str, int]) -> None:
        with suppress(OSError):
            self.udp.sendto(got, client)

    def _connection(self) -> None:
        with suppress(OSError):
            client, _ = self.tcp.accept()
            if self.clients >= _CLIENTS:
                client.close()
                return
            client.setblocking(False)
            self.clients += 1
            self._spawn(self._talk(client))

    async def _talk(self, client: socket.socket) -> None:
        try:
            await self._converse(client)
        finally:
            self.clients -= 1

    async def _converse(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError, TimeoutError):
            reader, writer = await asyncio.open_connection(sock=client)
            try:
                while True:
                    size = struct.unpack(">H", await asyncio.wait_for(reader.readexactly(2), 10))[0]
                    got = await self.answer(await asyncio.wait_for(reader.readexactly(size), 10), tcp=True)
                    if got is None:
                        return
                    writer.write(struct.pack(">H", len(got)) + got)
                    await writer.drain()
            finally:
                writer.close()
