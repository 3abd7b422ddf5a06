"""
Bans as rules of iptables and ip6tables, a chain for each action of a jail.

Each change is one `iptables-restore --noflush`, so one transaction for each family, however many bans it holds. The
kernel tries rules one by one: with thousands of bans prefer `iptables-ipset` or `nftables`. Rules have no end of their
own: those that a killed server leaves are replaced at its next start. See iptables-restore(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from banguard import netaddr, run
from banguard.actions.base import Step
from banguard.actions.senders import Counters, watch_of
from banguard.actions.xtables import Chains, Runner, Spec, Tables, checked, is_ahead
from banguard.model import Ban

CHUNK = 2000

_BAN = re.compile(r"-s [0-9a-f.:/]+ -j ", re.ASCII)
_COUNTED = re.compile(r"^-A \S+ -s (\S+) -c (\d+) ", re.ASCII | re.MULTILINE)


class IptablesAction:
    """The filter tables of iptables and ip6tables for all jails."""

    chunk = CHUNK
    look_every = 1.2

    def __init__(self, properties: Mapping[str, str], *, runner: Runner = run.run) -> None:
        del properties
        self._chains = Chains(Tables(runner), self._rules, lambda _, rule: _BAN.match(rule) is not None)
        self._bans: dict[str, dict[str, None]] = {}
        self._counters = Counters()
        self._swept = False

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share the filter tables."""
        del properties
        return "iptables"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        Spec.of(properties)
        watch_of(properties)

    def join(self, member: str, properties: Mapping[str, str], bans: Sequence[Ban], now: float) -> None:
        """Add the member, or replace it."""
        spec = self._chains.distinct(member, Spec.of(properties))
        before = self._chains.specs.pop(member, None)
        if before is not None and before.chain != spec.chain:
            self._chains.remove(before)
        self._bans[member] = _addresses(bans, now)
        self._counters.restart(member)
        self._chains.specs[member] = spec  # should it fail, the next rebuild knows it
        self._chains.add(member, spec)

    def sweep(self) -> None:
        """Remove chains that an earlier run left and no member took over."""
        if not self._swept:
            self._swept = True
            self._chains.sweep()

    def leave(self, member: str) -> None:
        """Remove the member's chain."""
        spec = self._chains.specs.pop(member, None)
        self._bans.pop(member, None)
        if spec is not None:
            self._chains.remove(spec)

    def forget(self, member: str) -> None:
        """Drop the member from memory only."""
        self._chains.specs.pop(member, None)
        self._bans.pop(member, None)

    def apply(self, steps: Sequence[Step], now: float) -> None:
        """Insert and delete rules; a ban that only ends later needs none."""
        lines: dict[int, list[str]] = {4: [], 6: []}
        known: dict[str, dict[str, None]] = {}
        for step in steps:
            address = checked(step.key)
            family = netaddr.family(address) or 4
            spec = self._chains.specs[step.member]
            held = known.setdefault(step.member, dict(self._bans[step.member]))
            ahead = step.new is not None and is_ahead(step.new, now)
            rule = f"{spec.chain} {_rule(address, spec, family)}"
            if ahead and address not in held:
                lines[family].append("-I " + rule.replace(" ", " 1 ", 1))
                held[address] = None
                self._counters.restart(step.member, (address,))
            elif not ahead and address in held:
                lines[family].append(f"-D {rule}")
                del held[address]
        for family in self._chains.tables.families:
            if lines[family]:
                self._chains.tables.restore(family, lines[family])
        self._bans.update(known)

    def rebuild(self, bans: Mapping[str, Sequence[Ban]], now: float) -> None:
        """Build the chains of all members anew."""
        for member, spec in list(self._chains.specs.items()):
            self._bans[member] = _addresses(bans.get(member, ()), now)
            self._counters.restart(member)
            self._chains.add(member, spec)

    def senders(self, member: str, now: float) -> Mapping[str, float]:
        """Return whose packet counter moved since the last reading."""
        counts: dict[str, int] = {}
        for family in self._chains.tables.families:
            for source, packets in _COUNTED.findall(self._chains.tables.counted(family, self._chains.specs[member])):
                counts[netaddr.canonical(source) or source] = int(packets)
        return dict.fromkeys(self._counters.moved(member, counts), now)

    def held(self, member: str, key: str) -> bool:
        """Ask the kernel for the rule, and for the way there."""
        spec = self._chains.specs.get(member)
        family = netaddr.family(checked(key)) or 4
        if spec is None or family not in self._chains.tables.families:
            return False
        return self._chains.tables.has_rule(family, f"{spec.chain} {_rule(key, spec, family)}") and self._chains.stand()

    def changed(self) -> bool:
        """Tell whether somebody else may have changed the tables."""
        return self._chains.tables.changed()

    def check(self) -> bool:
        """Tell whether the chains of all members are there and are led to."""
        return self._chains.stand()

    def _rules(self, member: str, spec: Spec, family: int) -> Iterable[str]:
        for address in self._bans.get(member, ()):
            if netaddr.family(address) == family:
                yield _rule(address, spec, family)


def _rule(address: str, spec: Spec, family: int) -> str:
    return f"-s {address} -j {spec.verdicts[family]}"


def _addresses(bans: Sequence[Ban], now: float) -> dict[str, None]:
    return {checked(ban.address): None for ban in bans if is_ahead(ban, now)}
