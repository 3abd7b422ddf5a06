"""Who still sends: from what a firewall counts to the bans that packets come from (`bantime.quiet`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from banguard import netaddr
from banguard.errors import ActionError

WATCH = "quiet_watch"
"""Property of a member whose senders are asked for: the seconds between two readings. Without it nothing is counted."""


def watch_of(properties: Mapping[str, str]) -> int:
    """Return the whole seconds of `WATCH`, 0 when nothing is to be counted; raise ActionError for what is no number."""
    text = properties.get(WATCH, "").strip() or "0"
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise ActionError(f"{WATCH}: expected a whole number of seconds, not {text!r}")
    return int(text)


class Counters:
    """Packet counters as they stood at the last reading, for each member."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}

    def moved(self, member: str, counts: Mapping[str, int]) -> list[str]:
        """Return which of *counts* (address → packets) say that packets came since the last reading."""
        before = self._counts.get(member, {})
        self._counts[member] = {address: count for address, count in counts.items() if count}
        return [address for address, count in counts.items() if count and count != before.get(address)]

    def restart(self, member: str, addresses: Iterable[str] | None = None) -> None:
        """Note that the counters of *addresses* (None: of all) begin at 0 again."""
        if addresses is None:
            self._counts.pop(member, None)
        else:
            counts = self._counts.get(member, {})
            for address in addresses:
                counts.pop(address, None)


def with_networks(times: Mapping[str, float], networks: Collection[str]) -> dict[str, float]:
    """Return *times* (address → when it last sent), and the same for each of *networks* that an address is in."""
    found = dict(times)
    lengths = sorted({(netaddr.family(network), int(network.rpartition("/")[2])) for network in networks})
    for address, at in times.items():
        for family, length in lengths:
            network = netaddr.network_of(address, length) if netaddr.family(address) == family else ""
            if network in networks:
                found[network] = max(at, found.get(network, at))
    return found
