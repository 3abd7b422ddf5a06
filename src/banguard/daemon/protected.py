"""Hosts that are never banned, whoever asks: the default gateway, and those from which somebody is logged in."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

from banguard import netaddr
from banguard.clock import Clock

AGAIN = 5.0
"""Seconds for which what was found is believed."""

_UTMP = struct.Struct("<hxxi32s4s32s256shhiii4I20x")
"""One record of utmp(5), as on Linux with 32-bit times (384 bytes)."""
_USER_PROCESS = 7
_RTF_GATEWAY = 2


class Protected:
    """
    Answers whether a host, or anybody in a network, is protected by the *words* of the option `protect`.

    `gateway` stands for the routers that the routing tables name, `sessions` for the hosts from which a user is logged
    in (utmp and logind know only those who have logged in, not those who try). Asked by the registry's thread.
    """

    def __init__(self, words: tuple[str, ...], clock: Clock, *, proc: str = "/proc", run: str = "/run") -> None:
        self._words = words
        self._clock = clock
        self._proc = proc
        self._run = run
        self._known = netaddr.AddressSet()
        self._until = float("-inf")

    def __call__(self, host: str) -> bool:
        """Tell whether *host* must not be banned."""
        if not self._words or netaddr.family(host) is None:
            return False
        now = self._clock.monotonic()
        if now >= self._until:
            self._until = now + AGAIN
            self._known = netaddr.AddressSet(self.addresses())
        return self._known.touches(host)

    def addresses(self) -> Iterator[str]:
        """Yield the protected addresses as of now."""
        if "gateway" in self._words:
            yield from self._gateways()
        if "sessions" in self._words:
            yield from self._utmp()
            yield from self._logind()

    def _gateways(self) -> Iterator[str]:
        """Yield the routers in the tables of the kernel (proc_net(5))."""
        with contextlib.suppress(OSError), open(f"{self._proc}/net/route", encoding="ascii") as table:
            for line in table.read().splitlines()[1:]:
                fields = line.split()
                if len(fields) > 3 and int(fields[3], 16) & _RTF_GATEWAY:
                    yield socket.inet_ntoa(struct.pack("=I", int(fields[2], 16)))
        with contextlib.suppress(OSError), open(f"{self._proc}/net/ipv6_route", encoding="ascii") as table:
            for line in table:
                fields = line.split()
                if len(fields) > 8 and int(fields[8], 16) & _RTF_GATEWAY:
                    yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[4]))

    def _utmp(self) -> Iterator[str]:
        with contextlib.suppress(OSError), open(f"{self._run}/utmp", "rb") as file:
            while len(record := file.read(_UTMP.size)) == _UTMP.size:
                fields = _UTMP.unpack(record)
                host = netaddr.canonical(fields[5].partition(b"\0")[0].decode("ascii", "replace"))
                if fields[0] == _USER_PROCESS and host is not None:
                    yield host

    def _logind(self) -> Iterator[str]:
        """Yield the remote hosts of the sessions that systemd-logind keeps in files of `NAME=value` lines."""
        folder = f"{self._run}/systemd/sessions"
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError), open(f"{folder}/{name}", encoding="utf-8") as file:
                    for line in file:
                        key, _, value = line.strip().partition("=")
                        host = netaddr.canonical(value) if key == "REMOTE_HOST" else None
                        if host is not None:
                            yield host
