"""
Network, country and registry of addresses, asked of Team Cymru's DNS service.

This is the flavor `cymru` of `status`: it sends the banned addresses to somebody else's name server, hence only when
asked for by that name, and from the client. Service: https://www.team-cymru.com/ip-asn-mapping; DNS: RFC 1035.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from banguard import netaddr
from banguard.control.protocol import Reply

Lookup = Callable[[str], "list[str]"]

MOST = 256
"""How many addresses are looked up at most; the others count as unknown."""
_SECONDS = 2.0
_TXT, _INTERNET = 16, 1
_NXDOMAIN = 3


class Origin(NamedTuple):
    """Where an address belongs."""

    asn: str
    country: str
    rir: str


_UNKNOWN = Origin("unknown", "unknown", "unknown")


class UnknownName(Exception):  # noqa: N818  the answer of a name server, not a mistake
    """The name does not exist."""


def add_origins(reply: Reply, lookup: Lookup | None = None) -> None:
    """Add `cymru`, with the lists `asn`, `country` and `rir`, to the actions of a `status_jail_cymru` reply."""
    value = reply.value
    if isinstance(value, dict) and isinstance(actions := value.get("actions"), dict):
        hosts = [str(ban.get("id")) for ban in actions.get("banned", ()) if isinstance(ban, dict)]
        actions["cymru"] = origins(hosts, lookup or Resolver(nameservers()).texts)


def origins(hosts: Iterable[str], lookup: Lookup) -> Mapping[str, list[str]]:
    """
    Return the distinct networks (`asn`), countries and registries (`rir`) of *hosts*, in the order of their finding.

    A host that has none stands as `nxdomain`, one that cannot be asked about as `unknown`, a failed look-up as `error`.
    """
    found: dict[str, dict[str, None]] = {"asn": {}, "country": {}, "rir": {}}
    for position, host in enumerate(hosts):
        known = origin(host, lookup) if position < MOST else _UNKNOWN
        for kind, text in zip(found, known, strict=True):
            found[kind][text] = None
    return {kind: list(texts) for kind, texts in found.items()}


def origin(host: str, lookup: Lookup) -> Origin:
    """Return network, country and registry of *host* (of a network: of its first address), see `origins`."""
    host = host.partition("/")[0]
    family = netaddr.family(host)
    if family is None:
        return _UNKNOWN
    zone = "origin.asn.cymru.com" if family == 4 else "origin6.asn.cymru.com"
    try:
        fields = [field.strip() for field in (lookup(netaddr.reverse(host) + zone) or [""])[0].split("|")]
    except UnknownName:
        return Origin("nxdomain", "nxdomain", "nxdomain")
    except (OSError, ValueError):
        return Origin("error", "error", "error")
    if len(fields) < 4:
        return _UNKNOWN
    return Origin(fields[0] or "unknown", fields[2] or "unknown", fields[3] or "unknown")


def nameservers(path: str = "/etc/resolv.conf") -> list[str]:
    """Return the name servers of resolv.conf(5); that of this machine when there are none."""
    found: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver":
                    found.append(words[1])
    except OSError:
        pass
    return found or ["127.0.0.1"]


class Resolver:
    """Asks name servers, one after another, for TXT records over UDP."""

    def __init__(self, servers: Iterable[str], *, port: int = 53, seconds: float = _SECONDS) -> None:
        self._servers = list(servers)
        self._port = port
        self._seconds = seconds
        self._failures = 0

    def texts(self, name: str) -> list[str]:
        """
        Return the TXT records of *name*.

        Raises `UnknownName` when there is no such name, OSError when no server answers, ValueError for an answer that
        makes no sense. After three failures in a row nobody is asked any more.
        """
        if self._failures >= 3:
            raise OSError("The name servers do not answer")
        problem: Exception = OSError("There is no name server")
        for server in self._servers:
            try:
                answer = self._ask(server, name)
            except OSError as error:
                problem = error
                continue
            self._failures = 0
            return answer
        self._failures += 1
        raise problem

    def _ask(self, server: str, name: str) -> list[str]:
        number = int.from_bytes(os.urandom(2), "big")
        question = _name(name) + struct.pack(">HH", _TXT, _INTERNET)
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(self._seconds)
            sock.connect((server, self._port))
            sock.send(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + question)
            for _ in range(8):  # what is no answer to this question is passed over
                data = sock.recv(4096)
                if len(data) >= 12 + len(question) and data[:2] == number.to_bytes(2, "big"):
                    return _texts(data, question)
        raise TimeoutError("The name server answers something else")


def _name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"not a name: {name!r}")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def _texts(data: bytes, question: bytes) -> list[str]:
    _, flags, questions, answers = struct.unpack_from(">4H", data)
    if flags & 0xF == _NXDOMAIN:
        raise UnknownName
    if flags & 0xF or questions != 1 or data[12 : 12 + len(question)].lower() != question.lower():
        raise ValueError("the name server refuses, or answers another question")
    position = 12 + len(question)
    found = []
    try:
        for _ in range(answers):
            position = _skip_name(data, position)
            kind, _, _, length = struct.unpack_from(">HHIH", data, position)
            position += 10
            if position + length > len(data):
                raise ValueError("the answer breaks off")
            if kind == _TXT:
                found.append(_strings(data[position : position + length]))
            position += length
    except (struct.error, IndexError):
        raise ValueError("the answer breaks off") from None
    return found


def _skip_name(data: bytes, position: int) -> int:
    while True:
        length = data[position]
        if length >= 0xC0:
            return position + 2
        position += length + 1
        if length == 0:
            return position


def _strings(data: bytes) -> str:
    parts = []
    position = 0
    while position < len(data):
        length = data[position]
        parts.append(data[position + 1 : position + 1 + length])
        position += length + 1
    return b"".join(parts).decode("utf-8", "replace")
