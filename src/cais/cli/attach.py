"""A person's terminal, or a shell's pipes, joined to a process in an instance: what `exec` and `run` do meanwhile.

Without a terminal the process has our own descriptors, so bytes never pass through here; signals are sent on.
With one, the process has a pty whose master is here: our terminal goes raw, so that ^C and ^Z are bytes for the
pty's line discipline, and a changed window is told to it (SIGWINCH, TIOCSWINSZ, ioctl_tty(2)). When our terminal is
closed, or this command is asked to end, the master goes with us and the kernel hangs the process up (pty(7)).
"""

import contextlib
import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Self

from cais.supervise.client import Client
from cais.supervise.messages import Done

CHUNK = 65536
SENT_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
FATAL = 128  # what a shell adds to the number of the signal that ended a command
PATIENCE = 3  # the third ^C leaves, whatever the process does with the first two; as the docker command has it


def wants_terminal() -> bool:
    """Docker's rule: a pty when both ends are terminals."""
    return os.isatty(0) and os.isatty(1)


class Signals:
    """Sends ours on to the process, from before it begins: one that came while it was being made would end this
    command alone, and leave the process to itself. What comes early is kept until `begun`; with `give_up`, where the
    process may have to wait for others, it is a KeyboardInterrupt."""

    def __init__(self, client: Client, *, give_up: bool = False) -> None:
        self.client, self.give_up = client, give_up
        self.early: list[int] = []
        self._begun = False
        self._interrupts = 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in SENT_ON}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begun(self) -> None:
        self._begun = True
        for number in self.early:
            self.client.forward(number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts >= PATIENCE or (self.give_up and not self._begun):
            raise KeyboardInterrupt
        if self._begun:
            self.client.forward(number)
        else:
            self.early.append(number)


def attend(client: Client, sent_on: Sequence[int] = (signal.SIGTERM, signal.SIGHUP)) -> int:
    """Wait for the process that `client` has begun; its exit code. Of a terminal's process: `sent_on` are the signals
    that go to it, the others end this command alone (`docker compose exec` sends none on, `run` all)."""
    if client.terminal < 0:
        with Signals(client) as signals:
            signals.begun()
            return client.ended()
    try:
        return _relay(client, client.terminal, sent_on)
    finally:
        os.close(client.terminal)
        client.terminal = -1


def _relay(client: Client, master: int, sent_on: Sequence[int]) -> int:
    """Carry bytes both ways until the process has ended and all it said has been read."""
    import select
    import termios
    import tty

    def resize(number: int = 0, frame: FrameType | None = None) -> None:
        try:
            size = os.get_terminal_size(1)
            termios.tcsetwinsize(master, (size.lines, size.columns))
        except (OSError, termios.error):
            pass

    asked: list[int] = []

    def leave(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    def send_on(number: int, frame: FrameType | None) -> None:
        client.forward(number)

    try:
        mode = termios.tcgetattr(0)
    except termios.error:
        return FATAL + signal.SIGHUP
    # A signal must wake select(): its number arrives in a pipe (signal.set_wakeup_fd).
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    waker = signal.set_wakeup_fd(woken)
    before = {signal.SIGWINCH: signal.signal(signal.SIGWINCH, resize)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, send_on if number in sent_on else leave)
    readers = [0, master, client.fileno(), wake]
    code: int | None = None
    try:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead stays
        resize()
        while code is None:
            if asked:
                return FATAL + asked[0]
            ready, _, _ = select.select(readers, [], [], 0 if client.buffered() else None)
            if wake in ready:
                os.read(wake, 64)
            if master in ready and not _copy(master, 1):
                readers.remove(master)
            if 0 in ready:
                data = _typed()
                if not data:
                    return FATAL + signal.SIGHUP
                _write(master, data)
            if client.fileno() in ready or client.buffered():
                code = _told(client)
        while master in readers and select.select([master], [], [], 0)[0]:
            if not _copy(master, 1):
                break
        return code
    except termios.error:  # its modes cannot be set: closed before we had begun
        return FATAL + signal.SIGHUP
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, mode)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(waker)
        os.close(wake)
        os.close(woken)


def _typed() -> bytes:
    """Nothing: the terminal has been closed. A raw one has no other end; then it answers EOF or EIO (tty_io.c)."""
    try:
        return os.read(0, CHUNK)
    except OSError:
        return b""


def _told(client: Client) -> int | None:
    try:
        for message, _ in client.pending():
            if isinstance(message, Done):
                return message.exit_code
    except (EOFError, ConnectionError):
        client.done = Done(exit_code=1, error="the supervisor is gone")
        return 1
    return None


def _copy(source: int, target: int) -> bool:
    """False at the end: a pty's master answers EIO when nobody holds the other side (pty(7))."""
    try:
        data = os.read(source, CHUNK)
    except OSError:
        return False
    _write(target, data)
    return bool(data)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(target, view) :]
    except OSError:
        if target == 1:
            raise BrokenPipeError from None
