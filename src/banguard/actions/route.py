"""Bans as routes that lead nowhere: `ip route add blackhole ADDRESS`. See ip-route(8)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from banguard import netaddr, run
from banguard.actions.plain import PlainFirewall
from banguard.actions.xtables import Runner, error_of
from banguard.errors import ActionError
from banguard.message import tell

TYPES = ("blackhole", "unreachable", "prohibit", "throw")
LISTING = 64 * 1024 * 1024
TIMEOUT = 30.0
PROTOCOL = "186"
"""The mark of our routes (rtm_protocol): a number that nobody else uses, so that a listing tells them from others'."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What kind of route, in which table."""

    kind: str
    table: str

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Spec:
        """Read *properties*; raise ActionError naming the option."""
        kind = properties.get("blocktype", "").strip() or "unreachable"
        if kind not in TYPES:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}",
                    option="blocktype",
                    known=", ".join(TYPES),
                    text=kind,
                )
            )
        table = properties.get("table", "").strip() or "main"
        if not (table.isascii() and table.replace("_", "").isalnum() and len(table) <= 32):
            raise ActionError(
                tell(
                    "{option}: expected {expected}, not {text!r}",
                    option="table",
                    expected=tell("a number or name"),
                    text=table,
                )
            )
        return cls(kind, table)


class Routes:
    """The routing tables of the kernel."""

    def __init__(self, runner: Runner = run.run) -> None:
        self._run = runner

    def begin(self, spec: Spec) -> Collection[str]:
        """Return what an earlier run left behind; routes need nothing else."""
        return self.held(spec)

    def end(self, spec: Spec) -> None:
        """Take all of our routes out."""
        self._batch([f"route del {spec.kind} {address} table {spec.table}" for address in self.held(spec)])

    def add(self, spec: Spec, bans: Mapping[str, float | None], now: float) -> None:
        """Add routes, or leave them as they are: they have no end of their own."""
        del now
        self._batch([f"route replace {spec.kind} {one} table {spec.table} proto {PROTOCOL}" for one in bans])

    def remove(self, spec: Spec, addresses: Sequence[str]) -> None:
        """Delete routes."""
        held = self.held(spec)
        self._batch([f"route del {spec.kind} {one} table {spec.table}" for one in addresses if one in held])

    def held(self, spec: Spec) -> Collection[str]:
        """Return the addresses to which a route of ours leads nowhere."""
        found: set[str] = set()
        for family in ("-4", "-6"):
            result = self._run(
                ["ip", family, "-json", "route", "show", "table", spec.table, "proto", PROTOCOL],
                timeout=TIMEOUT,
                keep=LISTING,
            )
            if not result.succeeded:
                if b"does not exist" in result.stderr:  # a table without any route yet
                    continue
                raise error_of(result)
            for row in json.loads(result.stdout or b"[]"):
                everything = "0.0.0.0/0" if family == "-4" else "::/0"
                address = netaddr.canonical(everything if row["dst"] == "default" else row["dst"])
                if address is not None:
                    found.add(address)
        return found

    def changed(self) -> bool:
        """Tell that a look is worth it: routes change without a word."""
        return True

    def _batch(self, lines: Sequence[str]) -> None:
        for family, flag in ((4, "-4"), (6, "-6")):
            some = [line for line in lines if netaddr.family(line.split()[3]) == family]
            if some:
                text = "\n".join((*some, "")).encode("ascii")
                result = self._run(["ip", flag, "-force", "-batch", "-"], stdin=text, timeout=TIMEOUT)
                if not result.succeeded:
                    raise error_of(result)


class RouteAction(PlainFirewall[Spec]):
    """Routes for all jails."""

    look_every = 1.5

    def __init__(self, properties: Mapping[str, str], *, runner: Runner = run.run) -> None:
        del properties
        super().__init__(Routes(runner), Spec.of, (4, 6))

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share the routes."""
        del properties
        return "route"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        Spec.of(properties)
