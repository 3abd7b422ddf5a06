"""Firewalls that hold a plain list of addresses: what they have in common, whatever the program."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from banguard import netaddr
from banguard.actions.base import Step
from banguard.actions.xtables import checked, is_ahead
from banguard.model import Ban

S_contra = TypeVar("S_contra", contravariant=True)
T = TypeVar("T")


class Lists(Protocol[S_contra]):
    """
    The program of one firewall, or its file. A list belongs to a *spec* (a hashable value made of the properties).

    Every method raises ActionError when the firewall refuses; addresses are canonical.
    """

    def begin(self, spec: S_contra) -> Collection[str]:
        """Make the list, where it is not there, and what lets it block; return what an earlier run left in it."""
        ...

    def end(self, spec: S_contra) -> None:
        """Remove the list and what belongs to it."""
        ...

    def add(self, spec: S_contra, bans: Mapping[str, float | None], now: float) -> None:
        """Put addresses in, each with its end (epoch seconds, None: never)."""
        ...

    def remove(self, spec: S_contra, addresses: Sequence[str]) -> None:
        """Take addresses out; those that are not in it do no harm."""
        ...

    def held(self, spec: S_contra) -> Collection[str] | None:
        """Return what the list holds, None when the list itself is gone."""
        ...

    def changed(self) -> bool:
        """Tell whether somebody else may have changed anything; costs little."""
        ...


class PlainFirewall(Generic[T]):
    """
    The bans of all jails in lists; jails with the same *spec* share one, and an address leaves it with its last ban.

    *families* are those that the firewall knows; addresses of others are left out.
    """

    chunk = 500

    def __init__(self, lists: Lists[T], spec_of: Callable[[Mapping[str, str]], T], families: Collection[int]) -> None:
        self._lists = lists
        self._spec_of = spec_of
        self._families = families
        self._specs: dict[str, T] = {}
        self._bans: dict[str, dict[str, float | None]] = {}
        self._stale: dict[T, set[str]] = {}  # what an earlier run left, until all jails have said what they want

    def join(self, member: str, properties: Mapping[str, str], bans: Sequence[Ban], now: float) -> None:
        """Add the member, or replace it."""
        spec = self._spec_of(properties)
        if member in self._specs and self._specs[member] != spec:
            self.leave(member)
        fresh = spec not in self._specs.values()
        before = self._union(spec)
        self._specs[member] = spec
        self._bans[member] = self._wanted(bans, now)
        if fresh:
            self._stale[spec] = set(self._lists.begin(spec))
        self._make(spec, before if not fresh else {}, now)

    def sweep(self) -> None:
        """Remove addresses that an earlier run left and no jail wants."""
        for spec, left in list(self._stale.items()):
            gone = left.difference(self._union(spec))
            if gone and spec in self._specs.values():
                self._lists.remove(spec, sorted(gone))
            del self._stale[spec]

    def leave(self, member: str) -> None:
        """Remove the member, and its list when it was the last one there."""
        spec = self._specs.pop(member, None)
        bans = self._bans.pop(member, {})
        if spec is None:
            return
        left = self._union(spec)
        gone = [address for address in bans if address not in left]
        if spec in self._specs.values():
            if gone:
                self._lists.remove(spec, gone)
        else:
            self._lists.end(spec)

    def forget(self, member: str) -> None:
        """Drop the member from memory only."""
        self._specs.pop(member, None)
        self._bans.pop(member, None)

    def apply(self, steps: Sequence[Step], now: float) -> None:
        """Add and remove addresses."""
        concerned: dict[T, dict[str, float | None]] = {}
        old = {step.member: dict(self._bans[step.member]) for step in steps}
        for step in steps:
            spec = self._specs[step.member]
            concerned.setdefault(spec, self._union(spec))
        try:
            for step in steps:
                address = checked(step.key)
                bans = self._bans[step.member]
                if netaddr.family(address) not in self._families:
                    continue
                if step.new is not None and is_ahead(step.new, now):
                    bans[address] = step.new.until
                else:
                    bans.pop(address, None)
            for spec, before in concerned.items():
                self._make(spec, before, now)
        except Exception:
            self._bans.update(old)
            raise

    def rebuild(self, bans: Mapping[str, Sequence[Ban]], now: float) -> None:
        """Make all lists anew."""
        for member in self._specs:
            self._bans[member] = self._wanted(bans.get(member, ()), now)
        for spec in dict.fromkeys(self._specs.values()):
            gone = set(self._lists.begin(spec)).difference(self._union(spec))
            if gone:
                self._lists.remove(spec, sorted(gone))
            self._make(spec, {}, now)

    def held(self, member: str, key: str) -> bool:
        """Look for *key* in what the list holds."""
        spec = self._specs.get(member)
        held = None if spec is None else self._lists.held(spec)
        return held is not None and checked(key) in held

    def changed(self) -> bool:
        """Tell whether somebody else may have changed anything."""
        return self._lists.changed()

    def check(self) -> bool:
        """Tell whether every list is there and holds what it should."""
        for spec in dict.fromkeys(self._specs.values()):
            held = self._lists.held(spec)
            if held is None or not self._union(spec).keys() <= set(held):
                return False
        return True

    def _wanted(self, bans: Iterable[Ban], now: float) -> dict[str, float | None]:
        return {
            checked(ban.address): ban.until
            for ban in bans
            if is_ahead(ban, now) and netaddr.family(ban.address) in self._families
        }

    def _union(self, spec: T) -> dict[str, float | None]:
        """Return what the list of *spec* should hold: of several bans of an address, the one that lasts longest."""
        found: dict[str, float | None] = {}
        for member, own in self._specs.items():
            if own != spec:
                continue
            for address, until in self._bans.get(member, {}).items():
                known = found.get(address, 0.0)
                found[address] = None if until is None or known is None else max(until, known)
        return found

    def _make(self, spec: T, before: Mapping[str, float | None], now: float) -> None:
        """Turn the list from *before* into what it should hold."""
        after = self._union(spec)
        gone = [address for address in before if address not in after]
        new = {address: until for address, until in after.items() if before.get(address, 0.0) != until}
        if gone:
            self._lists.remove(spec, gone)
        if new:
            self._lists.add(spec, new, now)
