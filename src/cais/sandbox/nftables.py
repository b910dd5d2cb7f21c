"""nftables rules written as nfnetlink messages: redirect what leaves a stack, and DNS inside a service.

Names of attributes are those of linux/netfilter/nf_tables.h; integers there are big-endian. `nft monitor` and
`nft list ruleset` in the namespace show the same rules in words.
"""

import socket
import struct
from collections.abc import Sequence

from cais.sandbox import netlink
from cais.sandbox.netlink import NLM_F_ACK, NLM_F_CREATE, attribute, nested

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFT_MSG_NEWTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE = 0, 3, 6
NFPROTO_IPV4 = 2
NLM_F_APPEND = 0x800

NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING = 0, 3, 4
NFT_REG_1 = 1
_TABLE = b"cais\0"


def open_channel() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, attribute(1, name.encode() + b"\0"), nested(2, *parts))


def _meta(key: int) -> bytes:
    return _expression("meta", _number(1, NFT_REG_1), _number(2, key))  # NFTA_META_DREG, NFTA_META_KEY


def _payload(base: int, offset: int, size: int) -> bytes:
    return _expression("payload", _number(1, NFT_REG_1), _number(2, base), _number(3, offset), _number(4, size))


def _compare(value: bytes) -> bytes:
    return _expression("cmp", _number(1, NFT_REG_1), _number(2, 0), nested(3, attribute(1, value)))  # NFT_CMP_EQ


def _mask(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        _number(1, NFT_REG_1),
        _number(2, NFT_REG_1),
        _number(3, len(mask)),
        nested(4, attribute(1, mask)),
        nested(5, attribute(1, b"\0" * len(mask))),
    )


def _load(value: bytes, register: int = NFT_REG_1) -> bytes:
    return _expression("immediate", _number(1, register), nested(2, attribute(1, value)))


def on_interface(name: str) -> bytes:
    return _meta(6) + _compare(name.encode().ljust(16, b"\0"))  # NFT_META_IIFNAME


def protocol(number: int) -> bytes:
    return _meta(16) + _compare(bytes([number]))  # NFT_META_L4PROTO


def to_address(address: str) -> bytes:
    return _payload(1, 16, 4) + _compare(socket.inet_aton(address))  # network header: destination of IPv4


def to_network(network: str, mask: str) -> bytes:
    return _payload(1, 16, 4) + _mask(socket.inet_aton(mask)) + _compare(socket.inet_aton(network))


def to_port(port: int) -> bytes:
    return _payload(2, 2, 2) + _compare(struct.pack(">H", port))  # transport header: destination of TCP and UDP


def redirect(port: int) -> bytes:
    return _load(struct.pack(">H", port)) + _expression("redir", _number(1, NFT_REG_1))  # NFTA_REDIR_REG_PROTO_MIN


def accept() -> bytes:
    """The chain is left: what matched goes on as it is."""
    verdict = nested(2, nested(2, _number(1, 1)))  # NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CODE NF_ACCEPT
    return _expression("immediate", _number(1, 0), verdict)  # NFT_REG_VERDICT


def dnat(address: str, port: int) -> bytes:
    """Destination becomes `address`:`port`."""
    return (
        _load(socket.inet_aton(address), 1)
        + _load(struct.pack(">H", port), 2)
        + _expression("nat", _number(1, 1), _number(2, NFPROTO_IPV4), _number(3, 1), _number(5, 2))
    )


def _generic(kind: int, flags: int, body: bytes, number: int) -> bytes:
    head = struct.pack(">BBH", NFPROTO_IPV4, 0, 0)
    return netlink.message((NFNL_SUBSYS_NFTABLES << 8) | kind, flags, head + body, number)


def table() -> tuple[int, int, bytes]:
    return NFT_MSG_NEWTABLE, NLM_F_CREATE, attribute(1, _TABLE) + _number(2, 0)


def nat_chain(name: str, hook: int) -> tuple[int, int, bytes]:
    body = attribute(1, _TABLE) + attribute(3, name.encode() + b"\0")
    body += nested(4, _number(1, hook), _number(2, -100)) + attribute(7, b"nat\0")  # NFTA_CHAIN_HOOK, NFTA_CHAIN_TYPE
    return NFT_MSG_NEWCHAIN, NLM_F_CREATE, body


def rule(chain: str, *expressions: bytes, first: bool = False) -> tuple[int, int, bytes]:
    """At the end of the chain, or as its `first`."""
    body = attribute(1, _TABLE) + attribute(2, chain.encode() + b"\0") + nested(4, *expressions)
    return NFT_MSG_NEWRULE, NLM_F_CREATE | (0 if first else NLM_F_APPEND), body


def transaction(parts: Sequence[tuple[int, int, bytes]]) -> bytes:
    """For `netlink.request`: all of it, or OSError and nothing."""
    batch = struct.pack(">BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
    messages = [netlink.message(NFNL_MSG_BATCH_BEGIN, 0, batch, 0)]
    for at, (kind, flags, body) in enumerate(parts, 1):
        answer = NLM_F_ACK if at == len(parts) else 0  # one that fails answers in any case
        messages.append(_generic(kind, flags | answer, body, at))
    messages.append(netlink.message(NFNL_MSG_BATCH_END, 0, batch, len(parts) + 1))
    return b"".join(messages)


def apply(channel: socket.socket, parts: Sequence[tuple[int, int, bytes]]) -> None:
    netlink.request(channel, transaction(parts))
