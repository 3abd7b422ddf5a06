"""
Parse and normalise host addresses and networks; fast membership; own addresses.

A host travels through banguard as its canonical text: lower-case compressed IPv6, dotted IPv4, `::ffff:a.b.c.d` as
IPv4, a network as `address/prefix` with its host bits cleared. Text is hashed once by Python, compares fast, and goes
into commands, stores and messages as it is.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterable, Iterator

_V4_MAPPED = b"\x00" * 10 + b"\xff\xff"
_V4_STRICT = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}\Z", re.ASCII)


def _packed(text: str) -> bytes | None:
    """Return the 4 or 16 bytes of an address without prefix, or None."""
    try:
        if ":" in text:
            packed = socket.inet_pton(socket.AF_INET6, text)
            return packed[12:] if packed.startswith(_V4_MAPPED) else packed
        if _V4_STRICT.match(text) is None:
            return None
        # Leading zeros: `192.030.0.6` stands in real logs and means decimal there; inet_pton refuses it.
        return bytes(int(part) for part in text.split("."))
    except (OSError, ValueError):
        return None


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _mask(packed: bytes, prefix: int) -> bytes:
    bits = len(packed) * 8
    number = int.from_bytes(packed, "big") >> (bits - prefix) << (bits - prefix)
    return number.to_bytes(len(packed), "big")


def _prefix_length(text: str, bits: int) -> int | None:
    """Read `24` or `255.255.255.0`; None when it is neither or out of range."""
    if text.isascii() and text.isdecimal():
        prefix = int(text)
        return prefix if prefix <= bits else None
    mask = _packed(text)
    if mask is None or len(mask) * 8 != bits:
        return None
    number = int.from_bytes(mask, "big")
    prefix = number.bit_count()
    return prefix if number == ((1 << prefix) - 1) << (bits - prefix) else None


def canonical(text: str) -> str | None:
    """
    Return the canonical text of an address or network, or None when *text* is neither.

    Brackets around are removed, `/255.255.255.0` becomes `/24`, a prefix of the whole length is dropped. A zone id
    (`%eth0`) makes it no address that could be banned: None.
    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    address, slash, length = text.partition("/")
    if not slash and ":" not in address:
        try:
            # Four numbers, written as they should be; all else takes longer.
            return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, address))
        except (OSError, ValueError):
            pass
    packed = _packed(address)
    if packed is None:
        return None
    if not slash:
        return _text(packed)
    mapped = len(packed) == 4 and ":" in address
    prefix = _prefix_length(length, 128 if mapped else len(packed) * 8)
    if prefix is None:
        return None
    if mapped:
        prefix -= 96
        if prefix < 0:
            return None
    if prefix == len(packed) * 8:
        return _text(packed)
    return f"{_text(_mask(packed, prefix))}/{prefix}"


def family(host: str) -> int | None:
    """Return 4 or 6 for the canonical text of an address or network, None for any other id."""
    address = host.partition("/")[0]
    if ":" in address:
        with contextlib.suppress(OSError):
            socket.inet_pton(socket.AF_INET6, address)
            return 6
        return None
    return 4 if _V4_STRICT.match(address) is not None and _packed(address) is not None else None


def is_network(host: str) -> bool:
    """Tell whether the canonical text *host* is a network rather than one address."""
    return "/" in host and family(host) is not None


def reverse(host: str) -> str:
    """Return the octets or nibbles in reverse, each followed by a dot, as DNS wants them; empty for other ids."""
    packed = _packed(host.partition("/")[0])
    if packed is None:
        return ""
    if len(packed) == 4:
        return "".join(f"{byte}." for byte in reversed(packed))
    return "".join(f"{digit}." for digit in reversed(packed.hex()))


def network_of(host: str, prefix: int) -> str:
    """Return the network of *prefix* bits around *host*; the address itself when that is its whole length."""
    packed = _packed(host.partition("/")[0])
    if packed is None or prefix >= len(packed) * 8:
        return host
    return f"{_text(_mask(packed, prefix))}/{prefix}"


class AddressSet:
    """
    Addresses and networks with fast membership: one look-up per distinct prefix length.

    >>> "10.1.2.3" in AddressSet(["10.0.0.0/8"])
    True
    """

    def __init__(self, members: Iterable[str] = ()) -> None:
        self._single: set[str] = set()
        self._networks: dict[tuple[int, int], set[bytes]] = {}
        for member in members:
            self.add(member)

    def add(self, member: str) -> None:
        """Add an address or network; ValueError when it is neither."""
        text = canonical(member)
        if text is None:
            raise ValueError(f"not an address or network: {member!r}")
        address, slash, length = text.partition("/")
        if not slash:
            self._single.add(text)
            return
        packed = _packed(address)
        assert packed is not None  # noqa: S101  canonical text always packs
        self._networks.setdefault((len(packed), int(length)), set()).add(packed)

    def __contains__(self, host: str) -> bool:
        """Tell whether canonical *host* (address, or network as a whole) lies in a member."""
        if host in self._single:
            return True
        if not self._networks:
            return False
        address, slash, length = host.partition("/")
        packed = _packed(address)
        if packed is None:
            return False
        own = int(length) if slash else len(packed) * 8
        return any(
            size == len(packed) and prefix <= own and _mask(packed, prefix) in networks
            for (size, prefix), networks in self._networks.items()
        )

    def touches(self, network: str) -> bool:
        """Tell whether canonical *network* (or address) has any address in common with a member."""
        if network in self:
            return True
        around = AddressSet((network,))
        return any(member in around for member in self)

    def __len__(self) -> int:
        return len(self._single) + sum(len(networks) for networks in self._networks.values())

    def __iter__(self) -> Iterator[str]:
        yield from sorted(self._single)
        for (_, prefix), networks in sorted(self._networks.items()):
            yield from (f"{_text(packed)}/{prefix}" for packed in sorted(networks))


def interface_addresses() -> frozenset[str]:
    """Return the addresses of this host's interfaces where the system tells, and those of loopback; asks no DNS."""
    found: set[str] = {"127.0.0.1", "::1"}
    with contextlib.suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as table:
        for line in table:
            found.add(_text(bytes.fromhex(line.split()[0])))
    with contextlib.suppress(OSError), open("/proc/net/fib_trie", encoding="ascii") as table:
        # Leaves of the local table: an address line followed by "/32 host LOCAL".
        last = ""
        for line in table:
            if "|--" in line:
                last = line.split()[-1]
            elif "/32 host LOCAL" in line and last:
                found.add(last)
    return frozenset(found)


def own_addresses() -> frozenset[str]:
    """Return the addresses of this host: those of its interfaces, and those of its own name (asks DNS, may block)."""
    found = set(interface_addresses())
    for name in {"localhost", socket.gethostname(), socket.getfqdn()}:
        with contextlib.suppress(OSError, UnicodeError):
            for info in socket.getaddrinfo(name, None):
                address = canonical(str(info[4][0]).partition("%")[0])
                if address is not None:
                    found.add(address)
    return frozenset(found)
