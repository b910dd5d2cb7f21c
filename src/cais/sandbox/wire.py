"""Messages with descriptors between supervisor, stack init, services and border: SOCK_SEQPACKET, JSON, SCM_RIGHTS.

A message keeps its borders and its descriptors. What is larger than a packet travels in a memfd, as one more
descriptor: configs and secrets are part of a spawn request.
"""

import os
import socket
import struct
from collections.abc import Sequence

_PACKET = 64 * 1024  # well below SO_SNDBUF's default (208 KiB)
_MAX_FDS = 64
_INT = 4
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packet(body: bytes) -> bytes:
    """What `send` writes for a short message, for who has only write(2)."""
    return b"p" + body


def send(channel: socket.socket, body: bytes, fds: Sequence[int] = ()) -> None:
    """Raises OSError; BlockingIOError on a full non-blocking channel, with nothing sent."""
    if len(body) < _PACKET:
        socket.send_fds(channel, [packet(body)], list(fds))
        return
    held = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(held, view) :]
        socket.send_fds(channel, [b"m"], [*fds, held])
    finally:
        os.close(held)


def receive(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """The next message and its descriptors, all close-on-exec; None when the other end is gone."""
    told = receive_from(channel)
    return None if told is None else told[:2]


def receive_from(channel: socket.socket) -> tuple[bytes, list[int], int] | None:
    """The same, and the sender's pid as it is called here: 0 unless the channel has SO_PASSCRED (unix(7))."""
    try:
        read, ancillary = _packet(channel)
    except ConnectionResetError:
        # The other end closed with something unread. The kernel tells that once, before what it had sent (a report
        # of why it ended): ask again.
        try:
            read, ancillary = _packet(channel)
        except ConnectionError:
            return None
    except ConnectionError:
        return None
    fds: list[int] = []
    pid = 0
    for _, kind, data in ancillary:
        if kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(data) // _INT}i", data[: len(data) // _INT * _INT])
        elif kind == socket.SCM_CREDENTIALS:
            pid = _CREDENTIALS.unpack(data)[0]
    if not read:
        return None
    if read[:1] == b"p":
        return read[1:], fds, pid
    held = fds.pop()
    try:
        size = os.fstat(held).st_size
        body = b""
        while len(body) < size:
            body += os.pread(held, size - len(body), len(body))
        return body, fds, pid
    finally:
        os.close(held)


def _packet(channel: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    # Not socket.recv_fds: Python 3.11 ignores the flags it is given.
    space = socket.CMSG_SPACE(_MAX_FDS * _INT) + socket.CMSG_SPACE(_CREDENTIALS.size)
    read, ancillary, _, _ = channel.recvmsg(_PACKET + 1, space, socket.MSG_CMSG_CLOEXEC)
    return read, ancillary
