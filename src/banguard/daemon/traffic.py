"""
What this machine's network says of an address: open connections, packets that arrive, what is forwarded where.

Nothing is changed. The kernel's tables are those of the network namespace that the server is in: proc_net(5), nft(8),
iptables(8), conntrack(8), packet(7).
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from banguard import netaddr, run
from banguard.clock import Clock

TIMEOUT = 10.0
"""Seconds one program may take."""

LISTING = 8 * 1024 * 1024
"""Bytes of a listing that are looked at."""

MOST = 200
"""Connections, rules and kinds of packets that are told."""

_STATES = {
    1: "established",
    2: "syn-sent",
    3: "syn-received",
    4: "fin-wait",
    5: "fin-wait",
    6: "time-wait",
    8: "close-wait",
}
_LISTEN = 10
_PORT_RANGE = re.compile(r"([A-Za-z0-9_./+-]+?)(?:[:-](\d{1,5}))?\Z", re.ASCII)
_EVERY = frozenset({"", "all", "any", "0:65535", "0-65535", "1:65535", "1-65535"})
_DNAT = re.compile(r"\b(?:dnat|DNAT)\b")
_DPORT = re.compile(r"dports? (?:\{ )?(\d+(?:(?:, ?|:|-)\d+)*)")
_TO = re.compile(r"(?:dnat (?:ip6? )?to |--to-destination )(\S+)")

Runner = Callable[..., run.Finished]


@dataclass(frozen=True, slots=True)
class Connection:
    """A TCP connection of this machine with the address: the port on our side, and its *state*."""

    port: int
    state: str


@dataclass(frozen=True, slots=True)
class Packets:
    """Packets that arrived while we looked: how many *count*, to which *port* (0: no port) of which *target*."""

    protocol: str
    target: str
    port: int
    count: int


@dataclass(frozen=True, slots=True)
class Forward:
    """A rule that sends traffic for *ports* (empty: any) of this machine on to another; *rule* is its text."""

    ports: str
    target: str
    rule: str

    def concerns(self, ranges: Ranges) -> bool:
        """Tell whether it may take traffic of one of *ranges*."""
        own = port_ranges(self.ports)
        if own is None or ranges is None:
            return True
        return any(low <= high_ and low_ <= high for low, high in own for low_, high_ in ranges)


Ranges = Sequence[tuple[int, int]] | None
"""Ports as ranges, both ends included; None means all."""


def port_ranges(text: str) -> Ranges:
    """Return the ports of an option such as `ssh,2222,5060:5069`; words that name no port are left out."""
    words = [word for word in re.split(r"[\s,]+", text.strip()) if word]
    if not words or any(word.lower() in _EVERY for word in words):
        return None
    ranges = []
    for word in words:
        match = _PORT_RANGE.match(word)
        low = None if match is None else _port(match[1])
        if match is not None and low is not None:
            ranges.append((low, int(match[2]) if match[2] else low))
    return ranges


def _port(word: str) -> int | None:
    if word.isdecimal():
        return int(word)
    for protocol in ("tcp", "udp"):
        with contextlib.suppress(OSError):
            return socket.getservbyname(word, protocol)
    return None


def covers(ranges: Ranges, port: int) -> bool:
    """Tell whether *port* is among *ranges*."""
    return ranges is None or any(low <= port <= high for low, high in ranges)


class Network:
    """Asks the kernel; *proc* is where it tells of itself, *runner* starts programs."""

    def __init__(self, clock: Clock, *, proc: str = "/proc/thread-self/net", runner: Runner = run.run) -> None:
        self._clock = clock
        self._proc = proc
        self._run = runner

    def connections(self, host: str) -> tuple[Connection, ...]:
        """Return the TCP connections with *host* (an address or network), those that just ended among them."""
        hosts = netaddr.AddressSet((host,))
        found = {
            Connection(port, _STATES[state]): None
            for port, remote, state in self._sockets()
            if state in _STATES and remote in hosts
        }
        return tuple(found)[:MOST]

    def listening(self) -> frozenset[int]:
        """Return the TCP ports that something on this machine listens on."""
        return frozenset(port for port, _, state in self._sockets() if state == _LISTEN)

    def peers(self, ranges: Ranges) -> tuple[str, ...]:
        """Return who has an open connection to one of our ports in *ranges*."""
        found = {remote for port, remote, state in self._sockets() if state == 1 and covers(ranges, port)}
        return tuple(sorted(found))[:MOST]

    def _sockets(self) -> Iterator[tuple[int, str, int]]:
        """Yield our port, the other side's address, and the state of each TCP socket."""
        for name in ("tcp", "tcp6"):
            with contextlib.suppress(OSError), open(f"{self._proc}/{name}", encoding="ascii", errors="replace") as file:
                next(file, None)
                for line in file:
                    words = line.split()
                    with contextlib.suppress(ValueError, IndexError):
                        remote = _address(words[2].partition(":")[0])
                        yield int(words[1].rpartition(":")[2], 16), remote, int(words[3], 16)

    def forwards(self) -> tuple[Forward, ...]:
        """Return the rules that send traffic on to other machines or containers (DNAT)."""
        lines: list[str] = []
        # Terse: without the elements of sets, of which there may be very many.
        for argv in (["nft", "-t", "list", "ruleset"], ["iptables", "-w", "2", "-t", "nat", "-S"]):
            done = self._run(argv, timeout=TIMEOUT, keep=LISTING)
            if done.succeeded:
                lines += done.stdout.decode("utf-8", "replace").splitlines()
        found: dict[tuple[str, str], Forward] = {}
        for line in lines:
            target = _TO.search(line)
            if _DNAT.search(line) is None or target is None:
                continue
            ports = _DPORT.search(line)
            text = "" if ports is None else ports[1].strip()
            found.setdefault((text, target[1]), Forward(text, target[1], " ".join(line.split())))
        return tuple(found.values())[:MOST]

    def rules_before(self, host: str, ours: Sequence[str]) -> tuple[str, ...]:
        """Return rules of iptables that accept traffic before it comes to *ours* (names of chains), in INPUT."""
        program = "ip6tables" if netaddr.family(host) == 6 else "iptables"
        done = self._run([program, "-w", "2", "-S", "INPUT"], timeout=TIMEOUT, keep=LISTING)
        before: list[str] = []
        for line in done.stdout.decode("utf-8", "replace").splitlines() if done.succeeded else ():
            target = line.split(" -j ")[-1].split(" ")[0] if " -j " in line else ""
            if target in ours:
                return tuple(before)[:MOST]
            if target == "ACCEPT" and _may_concern(line, host):
                before.append(line)
        return ()

    def watch(self, host: str, seconds: float) -> tuple[Packets, ...] | None:
        """
        Return what packets came from *host* within *seconds*; None where we may not look (CAP_NET_RAW).

        They are seen before any firewall rule, so those that a ban drops are among them.
        """
        hosts = netaddr.AddressSet((host,))
        try:
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        except (OSError, AttributeError):
            return None
        counts: dict[tuple[str, str, int], int] = {}
        with tap:
            tap.setblocking(False)
            end = self._clock.monotonic() + seconds
            while (left := end - self._clock.monotonic()) > 0:
                if not select.select([tap], [], [], left)[0]:
                    break
                with contextlib.suppress(OSError):
                    data, info = tap.recvfrom(128)
                    seen = packet(data) if info[2] != socket.PACKET_OUTGOING else None
                    if seen is not None and seen[0] in hosts and (seen[1:] in counts or len(counts) < MOST):
                        counts[seen[1:]] = counts.get(seen[1:], 0) + 1
        return tuple(
            Packets(protocol, target, port, count)
            for (protocol, target, port), count in sorted(counts.items(), key=lambda item: -item[1])
        )


def packet(data: bytes) -> tuple[str, str, str, int] | None:
    """Return source, protocol, destination and destination port of an IP packet; None for anything else."""
    try:
        if data[0] >> 4 == 4:
            length, protocol = (data[0] & 15) * 4, data[9]
            source, target = (
                socket.inet_ntop(socket.AF_INET, data[12:16]),
                socket.inet_ntop(socket.AF_INET, data[16:20]),
            )
        elif data[0] >> 4 == 6:
            length, protocol = 40, data[6]
            source, target = (socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24))
        else:
            return None
        name = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}.get(protocol, str(protocol))
        port = struct.unpack_from("!H", data, length + 2)[0] if name in {"tcp", "udp"} else 0
    except (IndexError, ValueError, struct.error):
        return None
    return netaddr.canonical(source) or source, name, netaddr.canonical(target) or target, port


def _address(digits: str) -> str:
    """Return the address that /proc/net/tcp writes in hexadecimal, in words of the machine's byte order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    text = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return netaddr.canonical(text) or text


def _may_concern(rule: str, host: str) -> bool:
    """Tell whether a rule of `iptables -S` may take traffic of *host*: not when it is for another source, or for lo."""
    source = re.search(r"(! )?-s (\S+)", rule)
    if " -i lo " in f"{rule} ":
        return False
    if source is None or source[1]:
        return True
    wanted = netaddr.canonical(source[2])
    return wanted is not None and host in netaddr.AddressSet((wanted,))


def hooks_of(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return the chains in which an action stops traffic, in lower case; `input` when it does not say."""
    text = properties.get("chain", "").strip() or properties.get("chain_hook", "").strip() or "input"
    return tuple(dict.fromkeys(word.lower() for word in re.split(r"[\s,]+", text) if word))
