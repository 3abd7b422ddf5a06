"""Decide when single offenders are reason enough to ban the network around them."""

from __future__ import annotations

from banguard import netaddr
from banguard.config.schema import BanPrefix

MOST_NETWORKS = 10_000
"""Networks that are watched at a time; the one that was quiet for longest is dropped first."""

MOST_MEMBERS = 1024
"""Offenders remembered of one network."""


class Neighbours:
    """
    The offenders of one jail by the wider network they are in, as far as they were banned within *findtime* seconds.

    Not thread-safe: owned by the registry.
    """

    def __init__(self, prefix: BanPrefix, findtime: float) -> None:
        self._prefix = prefix
        self._findtime = findtime
        self._networks: dict[str, dict[str, float]] = {}

    def add(self, host: str, at: float) -> str | None:
        """Record that *host* was banned *at* (epoch seconds); return the network around it once that has had enough."""
        network = self._around(host)
        if network is None:
            return None
        members = self._networks.pop(network, {})
        self._networks[network] = members  # now the one that was heard of last
        members.pop(host, None)
        members[host] = at
        for old in [old for old, since in members.items() if since <= at - self._findtime]:
            del members[old]
        if len(members) > MOST_MEMBERS:
            del members[next(iter(members))]
        while len(self._networks) > MOST_NETWORKS:
            del self._networks[next(iter(self._networks))]
        return network if len(members) >= self._prefix.offenders else None

    def members(self, network: str) -> tuple[str, ...]:
        """Return the offenders that are known in *network*, the newest last."""
        return tuple(self._networks.get(network, ()))

    def forget(self, host: str) -> None:
        """Forget that *host* was banned; of a network, all in it."""
        if host in self._networks:
            del self._networks[host]
        network = self._around(host)
        if network is not None and host in self._networks.get(network, {}):
            del self._networks[network][host]

    def _around(self, host: str) -> str | None:
        """Return the wider network of an address or a smaller network, None where there is none to ban."""
        family = netaddr.family(host) if self._prefix.offenders > 0 else None
        if family is None:
            return None
        bits = self._prefix.wider_ipv4 if family == 4 else self._prefix.wider_ipv6
        own = int(host.partition("/")[2] or (32 if family == 4 else 128))
        return netaddr.network_of(host, bits) if bits < own else None
