"""The supervisor's end of one client's connection: frames in, frames out, nothing blocks."""

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from cais.supervise.messages import Frames, Reply, Request, decode_request, encode

# A client that does not read (a stopped terminal) must not make the supervisor grow.
MOST_UNREAD = 16 * 1024 * 1024


class Connection:
    def __init__(
        self,
        sock: socket.socket,
        on_request: Callable[["Connection", Request, list[int]], None],
        on_close: Callable[["Connection"], None],
    ) -> None:
        sock.setblocking(False)
        self.token = ""  # what `Forward` signals
        self._sock, self._frames = sock, Frames()
        self._on_request, self._on_close = on_request, on_close
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._unread = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def send(self, message: Reply, fds: list[int] | None = None) -> None:
        """Owns `fds` from now on."""
        if self.closed:
            self._drop(fds or [])
            return
        frame = encode(message, len(fds or ()))
        self._unread += len(frame)
        self._out.append((memoryview(frame), fds or []))
        if self._unread > MOST_UNREAD:
            self.close()
        elif len(self._out) == 1:
            self._writable()

    def _writable(self) -> None:
        try:
            while self._out:
                data, fds = self._out[0]
                control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
                sent = self._sock.sendmsg([data], control)
                self._drop(fds)
                self._unread -= sent
                if sent < len(data):
                    self._out[0] = data[sent:], []
                else:
                    self._out.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._writable)
            return
        except OSError:
            self.close()
            return
        self._loop.remove_writer(self._sock.fileno())

    def _readable(self) -> None:
        try:
            if not self._frames.receive(self._sock):
                self.close()
                return
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        while frame := self._frames.next():
            body, fds = frame
            try:
                request = decode_request(body)
            except msgspec.DecodeError:
                self._drop(fds)
                self.close()
                return
            self._on_request(self, request, fds)

    def close(self) -> None:
        if self.closed:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, fds in self._out:
            self._drop(fds)
        self._out.clear()
        self._on_close(self)

    @staticmethod
    def _drop(fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
