"""
Cut the open connections of banned addresses (`kill_connections`).

A firewall rule keeps packets out; a connection that is open stays so for those who wait on it, and where rules look at
new connections only, it even goes on. `ss -K` ends the sockets of this machine (ss(8); needs a kernel with
CONFIG_INET_DIAG_DESTROY), `conntrack -D` makes the kernel forget what passes through it to containers and other
machines (conntrack(8)), where that program is installed. All of it happens in a thread of its own, after the ban is in
force, many addresses at once.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from banguard import netaddr, run
from banguard.actions.worker import StartThread, Worker, start_thread
from banguard.clock import Clock
from banguard.model import Ban, Fact

logger = logging.getLogger("banguard.actions")

TIMEOUT = 30.0
"""Seconds one program may take."""

CHUNK = 500
"""Addresses in one call of `ss`."""

FEW = 20
"""For more addresses than that, `conntrack` is asked first which of them have a connection at all."""

LISTING = 64 * 1024 * 1024
"""Bytes that a listing of connections may have."""

_PEER = re.compile(rb"\[?([0-9A-Fa-f.:]+)\]?(?:%\S+)?:\S+\s*\Z")
_SOURCE = re.compile(rb"\bsrc=([0-9A-Fa-f.:]+)")

Runner = Callable[..., run.Finished]


class Connections(Worker):
    """The thread that cuts; it ends when there is nothing to do."""

    def __init__(
        self,
        *,
        clock: Clock,
        publish: Callable[[Fact], None],
        start_thread: StartThread = start_thread,
        runner: Runner = run.run,
    ) -> None:
        super().__init__("connections", clock=clock, publish=publish, start_thread=start_thread)
        self._run = runner
        self._addresses: dict[str, None] = {}
        self._said: set[str] = set()

    def cut(self, bans: Iterable[Ban]) -> None:
        """Cut the connections of *bans* soon; never blocks."""
        with self._lock:
            for ban in bans:
                if netaddr.canonical(ban.address) == ban.address:
                    self._addresses[ban.address] = None
            if self._addresses:
                self._wake()

    # ---- in the thread

    def _waiting(self) -> int:
        return len(self._addresses)

    def _delay(self) -> float | None:
        return 0.0 if self._addresses else None

    def _work(self) -> None:
        with self._lock:
            addresses, self._addresses = list(self._addresses), {}
        for start in range(0, len(addresses), CHUNK):
            if not self._abandoned:
                self._end_sockets(addresses[start : start + CHUNK])
        self._forget_flows(addresses)

    def _end_sockets(self, addresses: Sequence[str]) -> None:
        """End the sockets of this machine whose other end is one of *addresses*."""
        wanted = " or ".join(f"dst [{each}]" if ":" in each else f"dst {each}" for each in addresses)
        # Only connected ones: a network could hold the unset other end of a socket that listens.
        argv = ["ss", "-K", "-H", "-n", "-t", "-u", "state", "connected", f"( {wanted} )"]
        done = self._run(argv, timeout=TIMEOUT, keep=LISTING)
        if not done.succeeded:
            self._say_once(f"Open connections cannot be cut: ss: {done.describe()}")
        for peer, number in _count(_PEER, done.stdout).items():
            logger.info("Cut %d open %s of %s", number, "connection" if number == 1 else "connections", peer)

    def _forget_flows(self, addresses: Sequence[str]) -> None:
        """Make the kernel forget the connections that *addresses* began and that it only forwards or translates."""
        if len(addresses) > FEW:
            addresses = self._with_flows(addresses)
        for address in addresses:
            if self._abandoned:
                return
            done = self._run(["conntrack", "-D", "-s", address], timeout=TIMEOUT, keep=LISTING)
            if done.returncode == 127:  # it is not installed, which is all right
                return
            if not done.succeeded and b"flow entries" not in done.stderr:  # 1 also means that there was none
                self._say_once(f"Tracked connections cannot be cut: conntrack: {done.describe()}")
            for source, number in _count(_SOURCE, done.stdout).items():
                logger.debug("Forgot %d tracked connections of %s", number, source)

    def _with_flows(self, addresses: Sequence[str]) -> list[str]:
        """Return who has tracked connections: those of *addresses*, and single ones in networks among them."""
        wanted = netaddr.AddressSet(addresses)
        found: dict[str, None] = {}
        for family in ("ipv4", "ipv6"):
            done = self._run(["conntrack", "-L", "-f", family], timeout=TIMEOUT, keep=LISTING)
            found.update(dict.fromkeys(_count(_SOURCE, done.stdout)))
        return [address for address in found if address in wanted]

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            logger.warning("%s", message)


def _count(pattern: re.Pattern[bytes], output: bytes) -> Counter[str]:
    """Return how many lines of *output* tell of each address."""
    found: Counter[str] = Counter()
    for line in output.splitlines():
        match = pattern.search(line)
        address = netaddr.canonical(match[1].decode("ascii")) if match is not None else None
        if address is not None:
            found[address] += 1
    return found
