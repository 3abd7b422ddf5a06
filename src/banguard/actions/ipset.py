"""
Bans as members of ipset sets, which rules of iptables and ip6tables ask.

Each action of a jail has four sets, addresses and networks of both families, and a chain with a rule for each. Members
have timeouts of their own, so bans end even if banguard dies; ipset knows none beyond 24.8 days, so longer ones stay
until banguard takes them out. A change is one `ipset restore`. See ipset(8).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from banguard import netaddr, run
from banguard.actions.base import Step
from banguard.actions.senders import Counters, watch_of
from banguard.actions.xtables import LISTING, TIMEOUT, Chains, Runner, Spec, Tables, checked, error_of, is_ahead
from banguard.errors import ActionError
from banguard.message import tell
from banguard.model import Ban

CHUNK = 4000

LONGEST = 2_147_483
"""Seconds that ipset takes at most as a timeout."""

MAXELEM = 65_536
"""Members of a set when nobody says otherwise, as in ipset itself."""

_KINDS = {4: "inet", 6: "inet6"}
_HALVES = ("0.0.0.0/1", "128.0.0.0/1")
"""What stands for all of IPv4, which ipset takes in no other way."""

_COUNTED = re.compile(r"^add \S+ (\S+) .*?packets (\d+)", re.ASCII | re.MULTILINE)


class RulesOfSets(Protocol):
    """What makes, removes and checks the rules that ask the sets of members."""

    tables: Tables
    specs: dict[str, Spec]

    def distinct(self, member: str, spec: Spec) -> Spec:
        """Give members that have the same name different sets."""
        ...

    def add(self, member: str, spec: Spec) -> None:
        """Make the rules of a member, whose sets are there."""
        ...

    def remove(self, spec: Spec) -> None:
        """Remove the rules of a member."""
        ...

    def stand(self) -> bool:
        """Tell whether the rules of all members are there."""
        ...

    def sweep(self) -> list[str]:
        """Remove rules that an earlier run left and no member has; return the names of their chains."""
        ...


class IpsetAction:
    """The sets and rules of all jails."""

    chunk = CHUNK
    look_every = 1.2

    def __init__(
        self, properties: Mapping[str, str], *, runner: Runner = run.run, chains: RulesOfSets | None = None
    ) -> None:
        """*chains* makes the rules that ask the sets: chains of iptables unless it is given."""
        del properties
        self._run = runner
        self._chains: RulesOfSets = Chains(Tables(runner), self._rules, _asks_ours) if chains is None else chains
        self._swept = False
        self._sizes: dict[str, int] = {}
        self._watched: set[str] = set()  # members whose sets count packets
        self._counters = Counters()

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share it."""
        del properties
        return "ipset"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        Spec.of(properties)
        _size(properties)
        watch_of(properties)

    def join(self, member: str, properties: Mapping[str, str], bans: Sequence[Ban], now: float) -> None:
        """Add the member, or replace it."""
        spec = self._chains.distinct(member, Spec.of(properties))
        size = _size(properties)
        before = self._chains.specs.pop(member, None)
        if before is not None and before.chain != spec.chain:
            self._remove(before)
        self._sizes[member] = size
        self._watched.discard(member)
        if watch_of(properties):
            self._watched.add(member)
        self._chains.specs[member] = spec  # should it fail, the next rebuild knows it
        self._build(member, spec, bans, now)

    def sweep(self) -> None:
        """Remove rules and sets that an earlier run left and no member took over."""
        if not self._swept:
            self._swept = True
            gone, present = self._chains.sweep(), self._present()
            self._restore([line for chain in gone for line in _destruction(chain, present)])

    def leave(self, member: str) -> None:
        """Remove the member's chain and sets."""
        spec = self._chains.specs.pop(member, None)
        if spec is not None:
            self._remove(spec)

    def forget(self, member: str) -> None:
        """Drop the member from memory only."""
        self._chains.specs.pop(member, None)

    def apply(self, steps: Sequence[Step], now: float) -> None:
        """Add, delete and re-time members of sets."""
        lines = []
        for step in steps:
            address = checked(step.key)
            name = _set_of(self._chains.specs[step.member], address)
            self._counters.restart(step.member, (address,))
            if step.new is not None and is_ahead(step.new, now):
                lines += _addition(name, address, step.new.until, now)
            else:
                lines.append(f"del {name} {address}")
        self._restore(lines)

    def rebuild(self, bans: Mapping[str, Sequence[Ban]], now: float) -> None:
        """Build the sets and chains of all members anew."""
        for member, spec in list(self._chains.specs.items()):
            self._build(member, spec, bans.get(member, ()), now)

    def senders(self, member: str, now: float) -> Mapping[str, float]:
        """Return whose packet counter moved since the last reading."""
        counts: dict[str, int] = {}
        for family in self._chains.tables.families:
            for name in sets_of(self._chains.specs[member], family):
                listed = self._call(["ipset", "list", name, "-o", "save"])
                if not listed.succeeded:
                    raise error_of(listed)
                for address, packets in _COUNTED.findall(listed.stdout.decode("ascii", "replace")):
                    counts["0.0.0.0/0" if address in _HALVES else address] = int(packets)
        return dict.fromkeys(self._counters.moved(member, counts), now)

    def held(self, member: str, key: str) -> bool:
        """Ask the kernel for the member of the set, and for the rules that ask it."""
        spec = self._chains.specs.get(member)
        if spec is None:
            return False
        first = "0.0.0.0/1" if key == "0.0.0.0/0" else key
        return self._call(["ipset", "test", _set_of(spec, checked(key)), first]).succeeded and self._chains.stand()

    def changed(self) -> bool:
        """Tell whether somebody else may have changed the rules, or destroyed a set."""
        return self._chains.tables.changed() or not self._sets_stand()

    def check(self) -> bool:
        """Tell whether sets and chains of all members are there."""
        return self._sets_stand() and self._chains.stand()

    def _sets_stand(self) -> bool:
        present = self._present()
        families = self._chains.tables.families
        specs = self._chains.specs.values()
        return all(name in present for spec in specs for family in families for name in sets_of(spec, family))

    def _present(self) -> set[str]:
        """Return the names of all sets of the kernel."""
        result = self._call(["ipset", "list", "-n"])
        if not result.succeeded:
            raise error_of(result)
        return set(result.stdout.decode("ascii", "replace").split())

    # ---- inside

    def _build(self, member: str, spec: Spec, bans: Sequence[Ban], now: float) -> None:
        self._counters.restart(member)
        present = self._present()
        options = f"timeout 0 maxelem {self._sizes[member]}{' counters' if member in self._watched else ''}"
        lines, swaps = [], []
        filling: dict[str, str] = {}
        for family in self._chains.tables.families:
            for name, kind in zip(sets_of(spec, family), ("hash:ip", "hash:net"), strict=True):
                filling[name] = name
                if name in present:  # filled beside, and put in its place in one step, so that nobody gets through
                    new = filling[name] = f"{name}-new"
                    swaps += [f"swap {new} {name}", f"destroy {new}"]
                    lines += [f"destroy {new}"] if new in present else []
                lines.append(f"create {filling[name]} {kind} family {_KINDS[family]} {options}")
        for ban in bans:
            address = checked(ban.address)
            if is_ahead(ban, now) and netaddr.family(address) in self._chains.tables.families:
                lines += _addition(filling[_set_of(spec, address)], address, ban.until, now)
        self._restore([*lines, *swaps])
        self._chains.add(member, spec)

    def _remove(self, spec: Spec) -> None:
        self._chains.remove(spec)
        present = self._present()
        self._restore(_destruction(spec.chain, present))

    def _rules(self, member: str, spec: Spec, family: int) -> Iterable[str]:
        del member
        for name in sets_of(spec, family):
            yield f"-m set --match-set {name} src -j {spec.verdicts[family]}"

    def _restore(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        result = self._call(["ipset", "-exist", "restore"], "\n".join((*lines, "")))
        if not result.succeeded:
            raise error_of(result)

    def _call(self, argv: Sequence[str], text: str = "") -> run.Finished:
        return self._run(list(argv), stdin=text.encode("ascii"), timeout=TIMEOUT, keep=LISTING)


def _addition(name: str, address: str, until: float | None, now: float) -> list[str]:
    """Return what puts *address* into a set; an address without end, or far from it, stays until it is deleted."""
    seconds = 0 if until is None else max(1, math.ceil(until - now))
    if seconds > LONGEST:
        seconds = 0
    halves = _HALVES if address == "0.0.0.0/0" else (address,)
    # A member that is there keeps its timeout unless it is taken out before.
    return [line for half in halves for line in (f"del {name} {half}", f"add {name} {half} timeout {seconds}")]


def _asks_ours(chain: str, rule: str) -> bool:
    return rule.startswith(f"-m set --match-set {chain}-")


def _destruction(chain: str, present: Collection[str]) -> list[str]:
    """Return what destroys the sets named after *chain*, those that were being filled too."""
    names = [f"{chain}-{kind}{family}{new}" for kind in "an" for family in (4, 6) for new in ("", "-new")]
    return [f"destroy {name}" for name in names if name in present]


def sets_of(spec: Spec, family: int) -> tuple[str, str]:
    """Return the names of the sets for addresses and for networks."""
    return f"{spec.chain}-a{family}", f"{spec.chain}-n{family}"


def _set_of(spec: Spec, address: str) -> str:
    family = netaddr.family(address) or 4
    return sets_of(spec, family)["/" in address]


def _size(properties: Mapping[str, str]) -> int:
    text = properties.get("maxelem", "").strip() or str(MAXELEM)
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**32:
        raise ActionError(
            tell(
                "{option}: expected {expected}, not {text!r}",
                option="maxelem",
                expected=tell("a whole number above 0"),
                text=text,
            )
        )
    return int(text)
