"""Bytes between two sockets, in both directions, in an asyncio loop: used at the border and for the way out.

All links share one buffer, and what a slow receiver has not taken yet is kept apart; while something is kept its
sender is not read, so a link holds at most one buffer and a slow reader slows its writer down.
"""

import asyncio
import errno
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

_BUFFER = bytearray(256 * 1024)
_VIEW = memoryview(_BUFFER)
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close(2) sends RST

# Who to connect for an accepted socket: an address, or None to reset it.
Target = Callable[[socket.socket], tuple[str, int] | None]


class Relay:
    """The links of one loop. `accept` serves a listening socket for ever; `close` ends its links' listener."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.dials: set[asyncio.Future[None]] = set()

    def accept(self, listener: socket.socket, target: Target) -> None:
        listener.setblocking(False)
        self.loop.add_reader(listener.fileno(), self._accepted, listener, target)

    def stop(self, listener: socket.socket) -> None:
        self.loop.remove_reader(listener.fileno())
        listener.close()

    def _accepted(self, listener: socket.socket, target: Target) -> None:
        for _ in range(64):
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # Out of descriptors: let links end before asking again, else this loop spins.
                    self.loop.remove_reader(listener.fileno())
                    self.loop.call_later(0.1, self._again, listener, target)
                    return
                continue  # accept(2): errors of the new connection itself
            client.setblocking(False)
            address = target(client)
            if address is None:
                abort(client)
                continue
            dial = asyncio.ensure_future(self._dial(client, address))
            self.dials.add(dial)
            dial.add_done_callback(self.dials.discard)

    def _again(self, listener: socket.socket, target: Target) -> None:
        if listener.fileno() >= 0:
            self.accept(listener, target)

    async def _dial(self, client: socket.socket, address: tuple[str, int]) -> None:
        try:
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            abort(client)
            return
        server.setblocking(False)
        try:
            dialled: Awaitable[None] = self.loop.sock_connect(server, address)
            await asyncio.wait_for(dialled, 130)  # what Linux itself takes by default: tcp_syn_retries 6
        except (OSError, TimeoutError):
            server.close()
            abort(client)
            return
        except asyncio.CancelledError:
            server.close()
            client.close()
            raise
        join(self.loop, client, server)


def abort(client: socket.socket) -> None:
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    client.close()


def join(loop: asyncio.AbstractEventLoop, one: socket.socket, other: socket.socket) -> None:
    for end in (one, other):
        with suppress(OSError):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    there, back = _Way(loop, one, other), _Way(loop, other, one)
    there.back, back.back = back, there
    there.start()
    back.start()


class _Way:
    """One direction of a link: `source` is read, `sink` is written."""

    back: "_Way"

    def __init__(self, loop: asyncio.AbstractEventLoop, source: socket.socket, sink: socket.socket) -> None:
        self.loop, self.source, self.sink = loop, source, sink
        self.kept = b""
        self.over = False

    def start(self) -> None:
        if not self.over:
            self.loop.add_reader(self.source.fileno(), self.readable)

    def readable(self) -> None:
        try:
            size = self.source.recv_into(_BUFFER)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.broken()
            return
        if not size:
            self.finished()
            return
        try:
            sent = self.sink.send(_VIEW[:size])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.broken()
            return
        if sent < size:
            self.kept = bytes(_VIEW[sent:size])
            self.loop.remove_reader(self.source.fileno())
            self.loop.add_writer(self.sink.fileno(), self.writable)

    def writable(self) -> None:
        try:
            sent = self.sink.send(self.kept)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.broken()
            return
        self.kept = self.kept[sent:]
        if not self.kept:
            self.loop.remove_writer(self.sink.fileno())
            self.start()

    def finished(self) -> None:
        """The source has said all: half-close, the other direction may go on."""
        self.over = True
        self.loop.remove_reader(self.source.fileno())
        if self.back.over:
            self.source.close()
            self.sink.close()
            return
        with suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)

    def broken(self) -> None:
        if self.source.fileno() < 0:
            return
        for way in (self, self.back):
            way.over = True
            way.kept = b""
            self.loop.remove_reader(way.source.fileno())
            self.loop.remove_writer(way.source.fileno())
        abort(self.source)
        abort(self.sink)


def raise_open_files() -> None:
    """A link is two descriptors: take what the hard limit gives."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def original_destination(client: socket.socket) -> tuple[str, int] | None:
    """Where a redirected connection was meant to go: SO_ORIGINAL_DST of linux/netfilter_ipv4.h."""
    try:
        raw = client.getsockopt(socket.SOL_IP, 80, 16)
    except OSError:
        return None
    port, address = struct.unpack_from(">2xH4s", raw)
    return socket.inet_ntoa(address), port
