"""Bridges, veth pairs, addresses and routes: rtnetlink(7) messages written by hand (no `ip`, no library to import).

A netlink socket keeps the network namespace it was made in. Stack init, which stays in the host's network
namespace, so works in the stack's through a socket that a child made there.
"""

import errno
import ipaddress
import os
import socket
import struct
from contextlib import suppress

from cais.sandbox.messages import Link
from cais.sandbox.roots import step

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLMSG_ERROR = 2
NLA_F_NESTED = 0x8000
# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 20, 24
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_PID = 1, 3, 4, 10, 18, 19
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_GATEWAY, RTA_OIF = 5, 4
RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 3, 0, 1
IFF_UP = 0x1


def attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("HH", size, kind) + value + b"\0" * (-size % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def message(kind: int, flags: int, body: bytes, number: int = 0) -> bytes:
    return struct.pack("IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, number, 0) + body


def request(channel: socket.socket, messages: bytes) -> None:
    """Send all messages at once; the first error is raised as OSError. One of them at least must ask for an answer
    (NLM_F_ACK); an error is told in any case.

    The kernel works through them inside sendmsg(2), so every answer is there when it returns and none is left over.
    """
    channel.send(messages)
    failed = answers = 0
    while True:
        try:
            data = channel.recv(16384, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
        at = 0
        while at + 20 <= len(data):
            size, kind = struct.unpack_from("IH", data, at)
            if kind == NLMSG_ERROR:
                failed = failed or -struct.unpack_from("i", data, at + 16)[0]
                answers += 1
            at += (size + 3) & ~3
    if failed or not answers:
        raise OSError(failed or errno.EPROTO, os.strerror(failed or errno.EPROTO))


class Links:
    """The links of one network namespace, through a socket made in it."""

    def __init__(self, channel: socket.socket | None = None) -> None:
        self.channel = channel or open_channel()

    def _do(self, *messages: tuple[int, int, bytes]) -> None:
        # One send per message: nothing is done after one that failed.
        for kind, flags, body in messages:
            request(self.channel, message(kind, flags | NLM_F_ACK, body))

    def add_bridge(self, name: str, index: int, mac: bytes, mtu: int, address: str, prefix: int) -> None:
        link = struct.pack("BxHiII", 0, 0, index, IFF_UP, IFF_UP)
        self._do(
            (
                RTM_NEWLINK,
                NLM_F_CREATE | NLM_F_EXCL,
                link
                + attribute(IFLA_IFNAME, name.encode() + b"\0")
                + attribute(IFLA_MTU, struct.pack("I", mtu))
                + attribute(IFLA_ADDRESS, mac)
                + nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge")),
            ),
            (RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address(index, address, prefix)),
        )

    def add_veth(
        self, name: str, index: int, master: int, mtu: int, peer: str, peer_index: int, peer_mac: bytes, pid: int
    ) -> None:
        """A veth on the bridge `master` whose peer appears in the network namespace of process `pid`.

        The peer is not created UP: that is ENOTCONN in another namespace. Whoever lives there raises it. Unasked,
        the kernel makes a queue for each processor, drops all but one (drivers/net/veth.c), and while it waits for
        RCU to do so nobody on the machine changes a network: one queue is asked for.
        """
        one = struct.pack("I", 1)
        both = attribute(IFLA_MTU, struct.pack("I", mtu))
        both += attribute(IFLA_NUM_TX_QUEUES, one) + attribute(IFLA_NUM_RX_QUEUES, one)
        other = (
            struct.pack("BxHiII", 0, 0, peer_index, 0, 0)
            + attribute(IFLA_IFNAME, peer.encode() + b"\0")
            + both
            + attribute(IFLA_ADDRESS, peer_mac)
            + attribute(IFLA_NET_NS_PID, struct.pack("I", pid))
        )
        body = (
            struct.pack("BxHiII", 0, 0, index, IFF_UP, IFF_UP)
            + attribute(IFLA_IFNAME, name.encode() + b"\0")
            + both
            + attribute(IFLA_MASTER, struct.pack("I", master))
            + nested(
                IFLA_LINKINFO,
                attribute(IFLA_INFO_KIND, b"veth"),
                nested(IFLA_INFO_DATA, nested(VETH_INFO_PEER, other)),
            )
        )
        self._do((RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body))

    def connect(self, link: Link, pid: int) -> None:
        """Give an instance one of its links; `pid` is a process in its network namespace."""
        with step(f"network: make {link.peer}"):
            if link.stale:
                with suppress(OSError):
                    self.delete(link.stale)
            mac = bytes.fromhex(link.mac.replace(":", ""))
            self.add_veth(link.name, link.index, link.bridge, link.mtu, link.peer, link.peer_index, mac, pid)

    def delete(self, name: str) -> None:
        self._do((RTM_DELLINK, 0, struct.pack("BxHiII", 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0")))


def open_channel() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)


def link_up(index: int) -> bytes:
    """The message that raises a link; the loopback is number 1 everywhere."""
    return message(RTM_NEWLINK, NLM_F_ACK, struct.pack("BxHiII", 0, 0, index, IFF_UP, IFF_UP))


def set_up(index: int, address: str, prefix: int, gateway: str) -> bytes:
    """The messages that give a link its address, raise it and, with `gateway`, make it the way out."""
    made = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address(index, address, prefix)) + link_up(index)
    if gateway:
        body = struct.pack(
            "BBBBBBBBI", socket.AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0
        )
        body += attribute(RTA_GATEWAY, socket.inet_aton(gateway)) + attribute(RTA_OIF, struct.pack("I", index))
        made += message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body)
    return made


def _address(index: int, address: str, prefix: int) -> bytes:
    raw = socket.inet_aton(address)
    broadcast = ipaddress.IPv4Network((address, prefix), strict=False).broadcast_address.packed
    head = struct.pack("BBBBI", socket.AF_INET, prefix, 0, 0, index)
    return head + attribute(IFA_LOCAL, raw) + attribute(IFA_ADDRESS, raw) + attribute(IFA_BROADCAST, broadcast)
