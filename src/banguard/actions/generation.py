"""
The generation of the kernel's nftables rules: a number that every change makes one higher.

Asking for it costs microseconds, so that a firewall can be watched closely: as long as the number is the one that our
own last change left, nobody else has changed anything. iptables of the `nf_tables` kind changes the same rules.
"""

from __future__ import annotations

import socket
import struct

_NETLINK_NETFILTER = 12
_GETGEN = 10 << 8 | 16
"""NFNL_SUBSYS_NFTABLES and NFT_MSG_GETGEN (linux/netfilter/nf_tables.h)."""
_NEWGEN = 10 << 8 | 15
_REQUEST = 1
_GEN_ID = 1
_HEADER = struct.Struct("=IHHII")
_SECONDS = 1.0


def generation() -> int | None:
    """Return the generation of this network namespace, None where the kernel does not tell."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as asking:
            asking.settimeout(_SECONDS)
            asking.send(_HEADER.pack(_HEADER.size + 4, _GETGEN, _REQUEST, 1, 0) + b"\0\0\0\0")
            return read(asking.recv(4096))
    except (OSError, AttributeError, struct.error):
        return None


def read(reply: bytes) -> int | None:
    """Return the number out of the kernel's reply: a header, then attributes of length, kind and value."""
    length, kind, *_ = _HEADER.unpack_from(reply)
    position = _HEADER.size + 4
    while kind == _NEWGEN and position + 8 <= min(length, len(reply)):
        size, attribute = struct.unpack_from("=HH", reply, position)
        if attribute == _GEN_ID:
            (number,) = struct.unpack_from("!I", reply, position + 4)
            return int(number)
        position += max(4, size + 3 & ~3)
    return None
