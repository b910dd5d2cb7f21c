"""Networks of a stack: names, addresses, what is apart, the way out, published ports."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sandbox_stack import Stack, on

from cais.sandbox import ports
from cais.sandbox.api import Attachment, Net, NetworkSpec, PortSpec, Refused

pytestmark = pytest.mark.real

# A server that says who asks, for one connection after another: TCP, or UDP with "udp" as first argument.
SERVER = """
import socket, sys
udp = sys.argv[1] == "udp"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", int(sys.argv[2])))
if udp:
    while True:
        data, who = s.recvfrom(65536)
        s.sendto(b"udp:" + data, who)
s.listen(100)
while True:
    c, who = s.accept()
    data = b""
    while chunk := c.recv(65536):
        data += chunk
    c.sendall(sys.argv[3].encode() + b":" + (data if len(data) < 100 else str(len(data)).encode()))
    c.close()
"""
# Says what a server answers, or the name of the error.
CLIENT = """
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
    s.sendall(b"hello"); s.shutdown(socket.SHUT_WR)
    got = b""
    while chunk := s.recv(65536):
        got += chunk
    print(got.decode() or "nothing")
except OSError as error:
    print(type(error).__name__)
"""
LOOKUP = """
import socket, sys
for name in sys.argv[1:]:
    try:
        print(name, *sorted({a[4][0] for a in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)}))
    except OSError:
        print(name, "unknown")
"""


def call(host: str, port: int) -> str:
    return f"python3 -c '{CLIENT}' {host} {port}"


def look_up(*names: str) -> str:
    return f"python3 -c '{LOOKUP}' {' '.join(names)}"


async def serve(stack: Stack, name: str, net: Net, port: int = 8000, kind: str = "tcp") -> None:
    await stack.start(name, "python3", "-c", SERVER, kind, str(port), name, net=net)
    await stack.output(f"until grep -q ':{port:04X} ' /proc/net/tcp /proc/net/udp; do sleep 0.02; done", inside=name)


@contextmanager
def host_server(address: str) -> Iterator[int]:
    with socket.create_server((address, 0)) as server:

        def work() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    while client.recv(4096):
                        pass
                    client.sendall(b"host")

        threading.Thread(target=work, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def own_address() -> str:
    """An address of this machine that is not its loopback; connecting UDP sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


async def ask(port: int, host: str = "127.0.0.1", body: bytes = b"hello") -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(body)
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


def test_names_resolve_on_shared_networks_only_while_the_instance_lives(tmp_path: Path) -> None:
    async def run() -> tuple[str, str, str]:
        async with Stack(tmp_path) as stack:
            for name in ("front", "back"):
                await stack.box.add_network(NetworkSpec(name=name))
            net = Net(attachments=(Attachment(network="back", names=("db", "postgres", "DB.alias")),))
            one = await stack.start("shop-db-1", "sleep", "100", net=net)
            two = await stack.start("shop-db-2", "sleep", "100", net=net)
            names = ("db", "postgres", "shop-db-1", "db.back", "db.alias")
            inside = await stack.output(look_up(*names), net=on("back"))
            both = " ".join(sorted([one.addresses["back"], two.addresses["back"]]))
            expected = "".join(f"{n} {one.addresses['back'] if n == 'shop-db-1' else both}\n" for n in names)
            assert inside == expected
            outside = await stack.output(look_up("db"), net=on("front"))
            stack.box.signal("shop-db-1", 9)
            await stack.ended("shop-db-1")
            after = await stack.output(look_up("db", "shop-db-1"), net=on("front", "back"))
            return outside, after, two.addresses["back"]

    outside, after, left = asyncio.run(run())
    assert outside == "db unknown\n"
    assert after == f"db {left}\nshop-db-1 unknown\n"


def test_replicas_come_in_changing_order_and_pointers_have_names(tmp_path: Path) -> None:
    async def run() -> tuple[set[str], str]:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            for number in (1, 2, 3):
                spawned = await stack.start(f"api-{number}", "sleep", "100", net=on("default", names=("api",)))
            script = "import socket; print(*[socket.gethostbyname('api') for _ in range(9)]);"
            script += f"print(socket.gethostbyaddr('{spawned.addresses['default']}')[0])"
            seen = await stack.output(f'python3 -c "{script}"', net=on("default"))
            first, second = seen.splitlines()
            return set(first.split()), second

    addresses, pointer = asyncio.run(run())
    assert len(addresses) == 3 and pointer == "api-3.default"


def test_a_service_may_be_a_name_server_itself(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            await serve(stack, "coredns", on("default", names=("ns",)), 53, "udp")
            return await stack.output(look_up("ns"), inside="coredns")

    assert asyncio.run(run()).startswith("ns 1")


def test_two_services_on_one_port_and_networks_apart(tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with Stack(tmp_path) as stack:
            for name in ("front", "back"):
                await stack.box.add_network(NetworkSpec(name=name))
            await serve(stack, "one", on("front"))
            await serve(stack, "two", on("back"))
            address = stack.box.attached["two"].addresses["back"]
            return [
                await stack.output(call("one", 8000), net=on("front")),
                await stack.output(call("two", 8000), net=on("back")),
                await stack.output(call("two", 8000), net=on("front", "back")),
                await stack.output(call(str(address), 8000), net=on("front")),
            ]

    one, two, both, apart = [seen.strip() for seen in asyncio.run(run())]
    assert (one, two, both) == ("one:hello", "two:hello", "two:hello")
    assert apart == "TimeoutError", "nothing answers for another network, as in Docker"


def test_the_way_out_reaches_the_machine_but_never_its_loopback(tmp_path: Path) -> None:
    async def run(open_port: int, loop_port: int) -> dict[str, str]:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            await stack.box.add_network(NetworkSpec(name="inner", internal=True))
            gateway = str(stack.box.bridges["default"].subnet.gateway)
            asked = on("default", extra_hosts=(("host.docker.internal", "host-gateway"),))
            cases = {
                "out": (own_address(), open_port, on("default")),
                "internal": (own_address(), open_port, on("inner")),
                "both": (own_address(), open_port, on("inner", "default")),
                "gateway unasked": (gateway, loop_port, on("default")),
                "gateway asked": ("host.docker.internal", loop_port, asked),
                "zero": ("0.0.0.0", loop_port, on("default")),
                "loopback": ("127.0.0.1", loop_port, on("default")),
                "listener": (gateway, stack.box.egress, on("default")),
                "refused": (own_address(), 1, on("default")),
            }
            return {
                name: (await stack.output(call(host, port), net=net)).strip()
                for name, (host, port, net) in cases.items()
            }

    with host_server(own_address()) as open_port, host_server("127.0.0.1") as loop_port:
        seen = asyncio.run(run(open_port, loop_port))
    assert {name for name, answer in seen.items() if answer == "host"} == {"out", "both", "gateway asked"}, seen
    assert seen["refused"] in ("ConnectionResetError", "ConnectionRefusedError")
    assert seen["gateway unasked"] == "ConnectionRefusedError", "not even a handshake"
    assert all(answer == "host" or answer.endswith("Error") for answer in seen.values()), seen


def test_published_ports_carry_both_ways_on_v4_v6_and_udp(tmp_path: Path) -> None:
    body = os.urandom(1 << 20) * 8

    async def run() -> None:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            await serve(stack, "web", on("default"))
            await serve(stack, "echo", on("default"), kind="udp", port=9000)
            port = await stack.box.publish("web", PortSpec(target=8000))
            local = await stack.box.publish("web", PortSpec(target=8000, host_ip="127.0.0.1"))
            udp = await stack.box.publish("echo", PortSpec(target=9000, protocol="udp", host_ip="127.0.0.1"))
            assert port.host_port and local.host_port not in (0, port.host_port)
            assert await ask(port.host_port) == b"web:hello"
            assert await ask(port.host_port, "::1") == b"web:hello"
            assert await ask(local.host_port) == b"web:hello"
            assert await ask(port.host_port, body=body) == b"web:" + str(len(body)).encode()
            answers = await asyncio.gather(*(ask(port.host_port) for _ in range(50)))
            assert set(answers) == {b"web:hello"}
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.sendto(b"ping", ("127.0.0.1", udp.host_port))
                assert await asyncio.to_thread(client.recv, 100) == b"udp:ping"
            holder = ports.who_holds(port.host_port)
            assert holder.startswith(("cais-border", "a process of another user"))
            await stack.box.unpublish("web")
            for _ in range(100):
                if not ports.who_holds(port.host_port):
                    break
                await asyncio.sleep(0.02)
            with pytest.raises(OSError):
                await ask(port.host_port)

    asyncio.run(run())


def test_published_ports_survive_the_death_of_the_process_that_carries_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            await serve(stack, "web", on("default"))
            port = await stack.box.publish("web", PortSpec(target=8000))
            for _ in range(2):
                assert await ask(port.host_port) == b"web:hello"
                borders = _borders(stack.box.pid)
                assert len(borders) == 1, "one lives, and none is left unreaped"
                os.kill(borders[0], signal.SIGKILL)
                for _ in range(200):
                    await asyncio.sleep(0.02)
                    if _borders(stack.box.pid) != borders and ports.who_holds(port.host_port):
                        break
            assert await ask(port.host_port) == b"web:hello"

    asyncio.run(run())


def _borders(init: int) -> list[int]:
    children = map(int, Path(f"/proc/{init}/task/{init}/children").read_text().split())
    return [pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "cais-border\n"]


def test_a_taken_port_is_refused_with_its_holder(tmp_path: Path) -> None:
    async def run() -> str:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            await stack.start("web", "sleep", "100", net=on("default"))
            with socket.create_server(("0.0.0.0", 0)) as taken:
                port = PortSpec(target=80, host_port=taken.getsockname()[1])
                with pytest.raises(Refused) as early:
                    ports.check(port)
                with pytest.raises(Refused) as error:
                    await stack.box.publish("web", port)
                assert str(early.value) == str(error.value)
            return error.value.why

    assert asyncio.run(run()).endswith(f"(pid {os.getpid()})")


def test_a_restarted_instance_may_keep_its_fixed_address(tmp_path: Path) -> None:
    async def run() -> None:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default", subnet="10.55.0.0/24", gateway="10.55.0.254"))
            net = Net(attachments=(Attachment(network="default", ipv4="10.55.0.7", names=("web",)),))
            for _ in range(3):
                await serve(stack, "web", net)
                assert await stack.output(call("web", 8000), net=on("default")) == "web:hello\n"
                stack.box.signal("web", 9)
                await stack.ended("web")
                del stack.exits["web"]

    asyncio.run(run())


def test_hosts_file_and_hostname_are_dockers(tmp_path: Path) -> None:
    async def run() -> tuple[str, str]:
        async with Stack(tmp_path) as stack:
            await stack.box.add_network(NetworkSpec(name="default"))
            net = on(
                "default", hostname="box", domainname="lan", extra_hosts=(("mail", "192.0.2.7"),), dns_search=("corp",)
            )
            seen = await stack.output("hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf", net=net)
            return seen, str(stack.box.bridges["default"].subnet.network[2])

    seen, address = asyncio.run(run())
    assert seen.startswith("box\nbox\n127.0.0.1\tlocalhost\n")
    assert f"192.0.2.7\tmail\n{address}\tbox.lan box\n" in seen
    assert "nameserver 127.0.0.11\nsearch corp\noptions ndots:0\n" in seen


def test_nothing_of_the_stack_shows_in_the_hosts_network(tmp_path: Path) -> None:
    async def run() -> None:
        async with Stack(tmp_path) as stack:
            before = set(os.listdir("/sys/class/net"))
            await stack.box.add_network(NetworkSpec(name="default"))
            await stack.start("web", "sleep", "100", net=on("default"))
            assert set(os.listdir("/sys/class/net")) == before

    asyncio.run(run())
