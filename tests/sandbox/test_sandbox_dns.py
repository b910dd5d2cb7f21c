"""The name server's decisions, on packets; the sockets are in tests/real/test_sandbox_network.py."""

import asyncio
import socket
import struct
import time
from pathlib import Path

from cais.sandbox import dns
from cais.sandbox.api import Attachment


def query(name: str, kind: int = dns.A, number: int = 7) -> bytes:
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + dns.encode_name(name) + struct.pack(">HH", kind, dns.IN)


def code_and_addresses(answer: bytes) -> tuple[int, list[str]]:
    question = dns.parse(query("x"))
    assert question is not None
    flags, _, count = struct.unpack_from(">HHH", answer, 2)
    body = answer[len(answer) - 16 * count :]
    return flags & 15, [socket.inet_ntoa(body[at + 12 : at + 16]) for at in range(0, len(body), 16)]


def server(names: dns.Names, networks: list[str], upstream: dns.Upstream | dns.Resolver | None = None) -> dns.Server:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.create_server(("127.0.0.1", 0))
    return dns.Server(names, networks, udp, tcp, upstream)


def known() -> dns.Names:
    names = dns.Names()
    names.add("shop-db-1", [Attachment(network="back", names=("db",))], {"back": "172.18.0.2"})
    names.add("shop-db-2", [Attachment(network="back", names=("db",))], {"back": "172.18.0.3"})
    return names


def test_a_known_name_without_the_kind_asked_is_an_empty_answer() -> None:
    async def run() -> bytes | None:
        one = server(known(), ["back"])
        try:
            return await one.answer(query("DB", dns.AAAA), tcp=False)
        finally:
            one.close()

    answer = asyncio.run(run())
    assert answer is not None and code_and_addresses(answer) == (dns.NOERROR, [])


def test_names_are_told_in_turn_and_forgotten_with_their_instance() -> None:
    names = known()
    first, second = names.addresses("db", ["back"]), names.addresses("db", ["back"])
    assert sorted(first) == ["172.18.0.2", "172.18.0.3"] and first == second[::-1]
    names.remove("shop-db-1")
    assert names.addresses("db", ["back"]) == ["172.18.0.3"]
    assert names.addresses("shop-db-1", ["back"]) == []
    assert names.pointer("2.0.18.172.in-addr.arpa", ["back"]) is None
    assert names.pointer("3.0.18.172.in-addr.arpa", ["back"]) == "shop-db-2.back"


def test_an_unknown_name_without_any_name_server_is_answered_at_once(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("search nowhere\n")

    async def run() -> tuple[list[int], float]:
        one = server(known(), ["front"], dns.Upstream(path=str(tmp_path / "resolv.conf")))
        start = time.monotonic()
        codes = []
        for name in ("nothere", "nothere.example"):
            answer = await one.answer(query(name), tcp=False)
            assert answer is not None
            codes.append(code_and_addresses(answer)[0])
        one.close()
        return codes, time.monotonic() - start

    codes, _ = asyncio.run(run())
    assert codes == [dns.NXDOMAIN, dns.SERVFAIL]


def test_what_is_asked_outside_is_passed_on_unchanged() -> None:
    seen: list[bytes] = []

    async def upstream(packet: bytes) -> bytes | None:
        seen.append(packet)
        return b"whole answer"

    async def run() -> bytes | None:
        one = server(known(), ["back"], upstream)
        try:
            return await one.answer(query("example.org", 65), tcp=True)
        finally:
            one.close()

    assert asyncio.run(run()) == b"whole answer" and seen == [query("example.org", 65)]


def test_hostile_packets_are_not_answered() -> None:
    whole = query("db")
    bad = [b"", whole[:11], whole[:-1], whole[:12] + b"\xc0\x0c" + whole[-4:], b"\x00\x07\x81\x80" + whole[4:]]
    assert [dns.parse(packet) for packet in bad] == [None] * len(bad)
    assert dns.parse(whole) is not None


def test_an_instance_has_so_many_connections_and_no_more_until_one_ends() -> None:
    async def run() -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        one = server(known(), ["back"])
        clients: list[socket.socket] = []

        async def connect() -> socket.socket:
            client = socket.socket()
            client.setblocking(False)
            clients.append(client)
            await loop.sock_connect(client, one.tcp.getsockname())
            return client

        async def ask(client: socket.socket) -> bytes:
            asked = query("db")
            await loop.sock_sendall(client, struct.pack(">H", len(asked)) + asked)
            return await asyncio.wait_for(loop.sock_recv(client, 512), 5)

        try:
            held = [await connect() for _ in range(dns._CLIENTS)]
            for client in held:
                assert await ask(client)
            refused = await connect()
            assert await asyncio.wait_for(loop.sock_recv(refused, 512), 5) == b""
            counted = one.clients
            held[0].close()
            while one.clients == counted:
                await asyncio.sleep(0)
            return counted, await ask(await connect())
        finally:
            one.close()
            for client in clients:
                client.close()

    counted, answer = asyncio.run(run())
    assert counted == dns._CLIENTS and answer
