"""The border: one process in the stack's network namespace that carries published ports inward.

Listening sockets come from the supervisor, made in the host's namespace: accept(2) on them gives connections from
the host, while what this process connects by itself goes to the services.
"""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from typing import NoReturn

import msgspec

from cais.sandbox import kernel, relay, wire
from cais.sandbox.messages import BorderRequest, Publish, Unpublish

_decoder: msgspec.json.Decoder[BorderRequest] = msgspec.json.Decoder(BorderRequest)
_UDP_IDLE = 60.0  # seconds without a datagram until a client's socket is closed
_UDP_CLIENTS = 1024


def main(channel: socket.socket) -> NoReturn:
    kernel.set_name("cais-border")
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    keep = channel.fileno()
    os.closerange(3, keep)
    kernel.close_from(keep + 1)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    relay.raise_open_files()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    Border(loop, channel)
    loop.run_forever()
    os._exit(0)


class Border:
    def __init__(self, loop: asyncio.AbstractEventLoop, channel: socket.socket) -> None:
        self.loop, self.channel = loop, channel
        self.relay = relay.Relay(loop)
        self.open: dict[str, list[tuple[socket.socket, _Datagrams | None]]] = {}
        channel.setblocking(False)
        loop.add_reader(channel.fileno(), self.request)

    def request(self) -> None:
        try:
            packet = wire.receive(self.channel)
        except BlockingIOError:
            return
        if packet is None:
            os._exit(0)
        body, fds = packet
        match _decoder.decode(body):
            case Publish(id=name, address=address, port=port):
                for fd in fds:
                    listener = socket.socket(fileno=fd)
                    datagrams = None
                    if port.protocol == "udp":
                        datagrams = _Datagrams(self.loop, listener, (address, port.target))
                    else:
                        self.relay.accept(listener, lambda _, to=(address, port.target): to)  # type: ignore[misc]
                    self.open.setdefault(name, []).append((listener, datagrams))
            case Unpublish(id=name):
                for listener, datagrams in self.open.pop(name, []):
                    if datagrams:
                        datagrams.close()
                    else:
                        self.relay.stop(listener)


class _Datagrams:
    """One published UDP port: a socket of its own towards the service for every client, as a router's NAT has."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outer: socket.socket, target: tuple[str, int]) -> None:
        self.loop, self.outer, self.target = loop, outer, target
        self.clients: dict[object, tuple[socket.socket, list[float]]] = {}
        outer.setblocking(False)
        loop.add_reader(outer.fileno(), self.inward)
        self.sweeper = loop.call_later(_UDP_IDLE, self.sweep)

    def inward(self) -> None:
        for _ in range(64):
            try:
                data, client = self.outer.recvfrom(65536)
            except OSError:
                return
            known = self.clients.get(client)
            if known is None:
                if len(self.clients) >= _UDP_CLIENTS:
                    self.sweep_oldest()
                inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                inner.setblocking(False)
                with suppress(OSError):
                    inner.connect(self.target)
                known = self.clients[client] = (inner, [0.0])
                self.loop.add_reader(inner.fileno(), self.outward, inner, client)
            known[1][0] = self.loop.time()
            with suppress(OSError):  # a datagram may be lost
                known[0].send(data)

    def outward(self, inner: socket.socket, client: tuple[str, int]) -> None:
        with suppress(OSError):
            data = inner.recv(65536)
            self.clients[client][1][0] = self.loop.time()
            self.outer.sendto(data, client)

    def drop(self, client: object) -> None:
        inner, _ = self.clients.pop(client)
        self.loop.remove_reader(inner.fileno())
        inner.close()

    def sweep(self) -> None:
        before = self.loop.time() - _UDP_IDLE
        for client in [client for client, (_, used) in self.clients.items() if used[0] < before]:
            self.drop(client)
        self.sweeper = self.loop.call_later(_UDP_IDLE, self.sweep)

    def sweep_oldest(self) -> None:
        self.drop(min(self.clients, key=lambda client: self.clients[client][1][0]))

    def close(self) -> None:
        self.sweeper.cancel()
        for client in list(self.clients):
            self.drop(client)
        self.loop.remove_reader(self.outer.fileno())
        self.outer.close()
