"""Who watches hears of everything, whatever becomes of others who watch."""

import asyncio
import socket
from pathlib import Path

from cais.sandbox.api import Net, Process, Root
from cais.supervise.api import InstanceSpec
from cais.supervise.instance import Instance
from cais.supervise.messages import Frames, Told, Watch, decode_reply, send
from cais.supervise.supervisor import Supervisor


async def _no_sandbox(*_: object) -> object:
    raise AssertionError("nothing is started here")


def _kinds(sock: socket.socket) -> list[str]:
    sock.setblocking(False)
    frames, kinds = Frames(), []
    try:
        while frames.receive(sock):
            while frame := frames.next():
                message = decode_reply(frame[0])
                if isinstance(message, Told):
                    kinds.append(message.event.kind)
    except BlockingIOError:
        pass
    return kinds


def test_an_event_reaches_all_who_watch_also_when_one_of_them_has_just_gone(tmp_path: Path) -> None:
    async def run() -> list[list[str]]:
        supervisor = Supervisor(tmp_path, "t", _no_sandbox)  # type: ignore[arg-type]
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        clients = []
        for _ in range(6):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(str(tmp_path / "s"))
            supervisor._accept(listener)
            send(client, Watch())
            clients.append(client)
        while len(supervisor._watchers) < len(clients):
            await asyncio.sleep(0)
        for client in clients[:3]:
            client.close()
        # Before the loop has seen that they are gone:
        root, process = Root(layers=(), upper="/u"), Process(argv=("true",))
        spec = InstanceSpec(
            id="t-a-1", service="a", number=1, config_hash="", root=root, process=process, net=Net(mode="none")
        )
        supervisor.tell(Instance(supervisor, spec), "exited", "0")
        await asyncio.sleep(0)
        listener.close()
        return [_kinds(client) for client in clients[3:]]

    assert asyncio.run(run()) == [["exited"]] * 3
