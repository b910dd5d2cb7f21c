"""The control socket's language: JSON values in frames, descriptors beside them.

A frame is a big-endian u32 length, one byte that says how many descriptors came with it, and the JSON. One request
per connection; the answers are any number of `Event`s and at most one `Began`, then one `Done`. Requests that need
three descriptors (`Exec`, `Run`) get stdin, stdout and stderr, unless they want a terminal: then `Began` brings the
pty's master.
"""

import array
import socket
import struct

import msgspec
from msgspec import Struct

from cais.sandbox.api import NetworkSpec, Process
from cais.supervise.api import Desired, Event, InstanceSpec, InstanceState

PROTOCOL = 1
HEAD = struct.Struct(">IB")


class Hello(Struct, frozen=True, kw_only=True, tag="hello"):
    """The supervisor's first frame. A client that never gets it met one that was ending, and tries again."""

    pid: int
    protocol: int = PROTOCOL
    version: str = ""


class Status(Struct, frozen=True, kw_only=True, tag="status"):
    """Answered by `Snapshot`. `specs` asks for what is wanted as well as what is."""

    specs: bool = True


class ApplyOptions(Struct, frozen=True, kw_only=True):
    """The flags of `up` that change what is done with a `Desired`."""

    recreate: str = "changed"  # changed | force | never
    no_deps: bool = False
    start: bool = True
    wait: bool = False
    wait_timeout: float | None = None
    stop_timeout: float | None = None
    renew_anonymous: bool = False
    remove_orphans: bool = False
    services: tuple[str, ...] = ()  # all of the project, to know an orphan; () = do not look for any
    attached: bool = False  # somebody will follow the logs from their beginning
    named: tuple[str, ...] = ()  # those the person named (their dependencies are not recreated by force)


class Apply(Struct, frozen=True, kw_only=True, tag="apply"):
    desired: Desired
    options: ApplyOptions = ApplyOptions()


class Command(Struct, frozen=True, kw_only=True, tag="command"):
    """`verb`: start, stop, restart, kill, remove, down. `services` and `ids` empty: all."""

    verb: str
    services: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    timeout: float | None = None
    signal: int = 9
    no_deps: bool = False
    volumes: bool = False  # anonymous ones with a removed instance; `down -v`: named ones too
    force: bool = False  # remove: stop it first
    wait: bool = False  # start: until healthy


class Exec(Struct, frozen=True, kw_only=True, tag="exec"):
    id: str
    process: Process


class Run(Struct, frozen=True, kw_only=True, tag="run"):
    """A one-off instance. `desired` brings the networks it needs (and instances it depends on, see `deps`)."""

    spec: InstanceSpec
    desired: Desired
    attached: bool = True  # False: `run -d`, its output goes to its log


class Wait(Struct, frozen=True, kw_only=True, tag="wait"):
    """`Done` comes when all have ended; its `exit_code` is the last one's. Each end is told as an `Event`."""

    ids: tuple[str, ...]


class Watch(Struct, frozen=True, kw_only=True, tag="watch"):
    """Events until the client goes."""


class Forward(Struct, frozen=True, kw_only=True, tag="forward"):
    """During `Exec` and `Run`: a signal for the process."""

    signum: int


class Snapshot(Struct, frozen=True, kw_only=True, tag="snapshot"):
    pid: int
    project: str
    since: float
    states: tuple[InstanceState, ...]
    specs: tuple[InstanceSpec, ...] = ()
    networks: tuple[NetworkSpec, ...] = ()
    config_files: tuple[str, ...] = ()
    working_dir: str = ""
    notes: tuple[str, ...] = ()  # what is wrong and goes on all the same: the disk is full
    gone: bool = False  # no supervisor, and the last one did not end in good order


class Began(Struct, frozen=True, kw_only=True, tag="began"):
    """The process of `Exec` or `Run` is there."""

    id: str
    pid: int
    terminal: bool = False


class Failure(Struct, frozen=True, kw_only=True):
    """Why one instance did not come up, and what it said last."""

    id: str
    service: str
    what: str  # "start db"
    why: str  # "it is unhealthy: 3 checks in a row failed"
    span: str = ""
    log: tuple[str, ...] = ()
    hint: str = ""


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    exit_code: int = 0
    error: str = ""
    hint: str = ""
    failures: tuple[Failure, ...] = ()
    actions: tuple[str, ...] = ()  # what was done, as `--dry-run` would have printed it


class Told(Struct, frozen=True, kw_only=True, tag="told"):
    event: Event


Request = Status | Apply | Command | Exec | Run | Wait | Watch | Forward
Reply = Hello | Told | Snapshot | Began | Done

_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def decode_request(data: bytes) -> Request:
    return _requests.decode(data)


def decode_reply(data: bytes) -> Reply:
    return _replies.decode(data)


def plain(text: str) -> str:
    """`text` as JSON can carry it: a path that is no UTF-8 comes from the system with surrogates (PEP 383)."""
    return text.encode("utf-8", "replace").decode()


def encode(message: Request | Reply, fds: int = 0) -> bytes:
    body = msgspec.json.encode(message)
    return HEAD.pack(len(body), fds) + body


class Frames:
    """Takes bytes and descriptors as they arrive, gives whole frames."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._fds: list[int] = []

    def receive(self, sock: socket.socket) -> bool:
        """One recvmsg; False at the end of the stream. Raises BlockingIOError as the socket does."""
        size = array.array("i").itemsize
        data, control, _, _ = sock.recvmsg(1 << 18, socket.CMSG_SPACE(8 * size), socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % size])
                self._fds += fds
        self._data += data
        return bool(data)

    def whole(self) -> bool:
        """Whether `next` has something."""
        if len(self._data) < HEAD.size:
            return False
        length, count = HEAD.unpack_from(self._data)
        return bool(len(self._data) >= HEAD.size + length and len(self._fds) >= count)

    def next(self) -> tuple[bytes, list[int]] | None:
        if not self.whole():
            return None
        length, count = HEAD.unpack_from(self._data)
        end = HEAD.size + length
        body = bytes(self._data[HEAD.size : end])
        del self._data[:end]
        fds, self._fds = self._fds[:count], self._fds[count:]
        return body, fds


def send(sock: socket.socket, message: Request | Reply, fds: list[int] | None = None) -> None:
    """For a blocking socket: the whole frame, its descriptors with the first byte."""
    frame = encode(message, len(fds or ()))
    sent = 0
    if fds:
        sent = sock.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    sock.sendall(memoryview(frame)[sent:])
