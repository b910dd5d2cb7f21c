"""A signal that comes while a command is being started reaches it as soon as it is there."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

from cais.cli.attach import Signals
from cais.sandbox.api import Process
from cais.supervise.client import Client
from cais.supervise.messages import Began, Done, Exec, Forward, Frames, Hello, Request, decode_request, send


def _requests(sock: socket.socket, frames: Frames) -> Request:
    while (frame := frames.next()) is None:
        assert frames.receive(sock)
    return decode_request(frame[0])


def test_an_interrupt_before_the_command_has_begun_reaches_it_then(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    got: list[Request] = []

    def supervisor() -> None:
        frames = Frames()
        got.append(_requests(theirs, frames))
        os.kill(os.getpid(), signal.SIGINT)
        while not seen:  # the interpreter takes it in its main thread
            time.sleep(0.01)
        send(theirs, Began(id="t-a-1", pid=1))
        got.append(_requests(theirs, frames))
        send(theirs, Done(exit_code=130))

    with ours, theirs:
        client = Client(ours, tmp_path, Hello(pid=1, version=""), Frames())
        thread = threading.Thread(target=supervisor)
        with Signals(client) as signals:
            seen = signals.early
            thread.start()
            assert client.exec("t-a-1", Process(argv=("true",))) is not None
            signals.begun()
            assert client.ended() == 130
        thread.join()
    assert [type(request) for request in got] == [Exec, Forward]
    assert isinstance(got[1], Forward)
    assert got[1].signum == signal.SIGINT
