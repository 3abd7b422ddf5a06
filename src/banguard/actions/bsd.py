"""
Bans in tables of the firewalls of BSD systems: ipfw and pf.

`ipfw`: addresses go into a numbered or named table, which a rule of yours, or one that is added here, asks
(ipfw(8)). `pf`: into a table of an anchor of our own, `banguard/NAME`; the main rule set has to say
`anchor "banguard/*"` once (pfctl(8)).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from banguard import netaddr, run
from banguard.actions.base import UnavailableError
from banguard.actions.plain import PlainFirewall
from banguard.actions.xtables import Runner, error_of, identifier
from banguard.errors import ActionError
from banguard.message import tell

TIMEOUT = 30.0
LISTING = 64 * 1024 * 1024

FEW = 20
"""So many addresses are named on command lines; more are read by the program from its input."""

S = TypeVar("S")

_TABLE = re.compile(r"[A-Za-z0-9_-]{1,31}\Z", re.ASCII)
_NUMBER = re.compile(r"\d{1,5}\Z", re.ASCII)
_WORDS = re.compile(r"[A-Za-z0-9_-]+(?: [A-Za-z0-9_-]+)*\Z", re.ASCII)
_PORTS = re.compile(r"[A-Za-z0-9_-]+(?:[:-][0-9]+)?\Z", re.ASCII)
_EVERY_PORT = frozenset({"", "all", "any", "0:65535", "1:65535", "0-65535", "1-65535"})


def _word(properties: Mapping[str, str], option: str, default: str, pattern: re.Pattern[str], expected: str) -> str:
    text = " ".join(properties.get(option, "").split()) or default
    if pattern.match(text) is None:
        raise ActionError(
            tell("{option}: expected {expected}, not {text!r}", option=option, expected=expected, text=text)
        )
    return text


def _ports(properties: Mapping[str, str]) -> tuple[str, ...]:
    if properties.get("type", "").strip() == "allports":
        return ()
    words = tuple(word for word in re.split(r"[\s,]+", properties.get("port", "")) if word)
    if not words or any(word.lower() in _EVERY_PORT for word in words):
        return ()
    for word in words:
        if _PORTS.match(word) is None:
            raise ActionError(tell("port: {word!r} is no port", word=word))
    return words


def _protocols(properties: Mapping[str, str]) -> tuple[str, ...]:
    words = tuple(word for word in re.split(r"[\s,]+", properties.get("protocol", "").lower()) if word)
    for word in words:
        if _WORDS.match(word) is None:
            raise ActionError(tell("protocol: {word!r} is no protocol", word=word))
    return () if not words or {"all", "any", "ip"} & set(words) else words


class _Tables(Generic[S]):
    """
    What the tables of both have in common: knowing what is in them.

    After the first addition the program's own listing is asked; where that does not show what was put in, it is not
    believed afterwards, and what we put in counts.
    """

    def __init__(self, runner: Runner = run.run) -> None:
        self._run = runner
        self._known: dict[S, set[str]] = {}
        self._shows: bool | None = None

    def add(self, spec: S, bans: Mapping[str, float | None], now: float) -> None:
        """Add addresses; those that are there stay."""
        del now
        known = self._known.setdefault(spec, set())
        new = [address for address in bans if address not in known]
        if not new:
            return
        self._put(spec, new)
        known.update(new)
        if self._shows is None:
            listed = self._listing(spec)
            self._shows = listed is not None and listed >= set(new)

    def remove(self, spec: S, addresses: Sequence[str]) -> None:
        """Delete addresses."""
        known = self._known.setdefault(spec, set())
        gone = [address for address in addresses if address in known]
        if gone:
            self._take(spec, gone)
            known.difference_update(gone)

    def held(self, spec: S) -> Collection[str] | None:
        """Return the addresses in the table, None when it or its rule is gone."""
        return self._listing(spec) if self._shows else set(self._known.get(spec, ()))

    def changed(self) -> bool:
        """Tell that a look is worth it, where there is anything to be seen."""
        return bool(self._shows)

    def _left_in(self, spec: S) -> set[str]:
        """Return what an earlier run left in a table, as far as the program's listing shows it."""
        left = self._listing(spec) or set()
        if left:
            self._shows = True
        self._known[spec] = set(left)
        return left

    def _put(self, spec: S, addresses: Sequence[str]) -> None:
        raise NotImplementedError

    def _take(self, spec: S, addresses: Sequence[str]) -> None:
        raise NotImplementedError

    def _listing(self, spec: S) -> set[str] | None:
        raise NotImplementedError


# ---- ipfw


@dataclass(frozen=True, slots=True)
class IpfwSpec:
    """The table; where a rule for it is added (0: there is one already), what it does, and with which traffic."""

    table: str
    rule: int
    blocktype: str
    protocols: tuple[str, ...]
    ports: tuple[str, ...]

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> IpfwSpec:
        """Read *properties*; raise ActionError naming the option."""
        return cls(
            table=_word(properties, "table", _own_table(properties), _TABLE, tell("a number or name")),
            rule=int(_word(properties, "rulenum", "100", _NUMBER, tell("a whole number"))),
            blocktype=_word(properties, "blocktype", "deny", _WORDS, "deny, reset, unreach port, …"),
            protocols=_protocols(properties),
            ports=_ports(properties),
        )

    def rules(self, number: int) -> list[str]:
        """Return the commands that add its rules under *number*; the comment tells them from others'."""
        ports = f" {','.join(self.ports).replace(':', '-')}" if self.ports else ""
        protocols = self.protocols or (("tcp", "udp") if self.ports else ("ip",))
        return [
            f"add {number} {self.blocktype} {protocol} from table({self.table}) to me{ports} // {self.table}"
            for protocol in protocols
        ]


def _own_table(properties: Mapping[str, str]) -> str:
    return f"bg_{identifier(properties.get('name', '') or 'default').replace('.', '_')}"


class Ipfw(_Tables[IpfwSpec]):
    """The tables and rules of ipfw."""

    def begin(self, spec: IpfwSpec) -> Collection[str]:
        """Make the table, if it is not there, and add the rule; return what is in the table."""
        self._call("table", spec.table, "create", "type", "addr", may_fail=True)
        left = self._left_in(spec)
        if not left:
            self._call("table", spec.table, "flush")
        if spec.rule:
            self._delete_rules(spec)
            used = {number for number, _ in self._rules()}
            number = next(free for free in range(spec.rule, 65535) if free not in used)
            for rule in spec.rules(number):
                self._call(*rule.split())
        return left

    def end(self, spec: IpfwSpec) -> None:
        """Empty the table; remove the rule, and the table that it was made for."""
        self._known.pop(spec, None)
        self._call("table", spec.table, "flush", may_fail=True)
        if spec.rule:
            self._delete_rules(spec)
            self._call("table", spec.table, "destroy", may_fail=True)

    def _put(self, spec: IpfwSpec, addresses: Sequence[str]) -> None:
        self._each(spec, "add", addresses)

    def _take(self, spec: IpfwSpec, addresses: Sequence[str]) -> None:
        self._each(spec, "delete", addresses)

    def _each(self, spec: IpfwSpec, verb: str, addresses: Sequence[str]) -> None:
        """Change single addresses by themselves, many in one call."""
        if len(addresses) <= FEW:
            for address in addresses:
                self._call("table", spec.table, verb, address)
        else:
            self._script([f"table {spec.table} {verb} {address}" for address in addresses])

    def _listing(self, spec: IpfwSpec) -> set[str] | None:
        if spec.rule and not any(comment == spec.table for _, comment in self._rules()):
            return None
        result = self._run(["ipfw", "table", spec.table, "list"], timeout=TIMEOUT, keep=LISTING)
        if result.returncode in {126, 127}:
            raise UnavailableError(result.describe())
        return _addresses(result.stdout) if result.succeeded else None

    def _rules(self) -> list[tuple[int, str]]:
        """Return number and comment of every rule."""
        result = self._run(["ipfw", "list"], timeout=TIMEOUT, keep=LISTING)
        if not result.succeeded:
            raise error_of(result)
        found = []
        for line in result.stdout.decode("utf-8", "replace").splitlines():
            number, _, rest = line.strip().partition(" ")
            if number.isdecimal():
                found.append((int(number), rest.rpartition(" // ")[2] if " // " in rest else ""))
        return found

    def _delete_rules(self, spec: IpfwSpec) -> None:
        for number in sorted({number for number, comment in self._rules() if comment == spec.table}):
            self._call("delete", str(number), may_fail=True)

    def _call(self, *words: str, may_fail: bool = False) -> None:
        result = self._run(["ipfw", "-q", *words], timeout=TIMEOUT)
        if not result.succeeded and (not may_fail or result.returncode in {126, 127}):
            raise error_of(result)

    def _script(self, lines: Sequence[str]) -> None:
        if lines:
            text = "\n".join((*lines, "")).encode("ascii")
            result = self._run(["ipfw", "-q", "/dev/stdin"], stdin=text, timeout=TIMEOUT)
            if not result.succeeded:
                raise error_of(result)


class IpfwAction(PlainFirewall[IpfwSpec]):
    """Tables of ipfw for all jails."""

    look_every = 1.5

    def __init__(self, properties: Mapping[str, str], *, runner: Runner = run.run) -> None:
        del properties
        super().__init__(Ipfw(runner), IpfwSpec.of, (4, 6))

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share ipfw."""
        del properties
        return "ipfw"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        IpfwSpec.of(properties)


# ---- pf


@dataclass(frozen=True, slots=True)
class PfSpec:
    """The table, the anchor it is in, what its rule does, and with which traffic."""

    name: str
    block: str
    protocols: tuple[str, ...]
    ports: tuple[str, ...]

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> PfSpec:
        """Read *properties*; raise ActionError naming the option."""
        return cls(
            name=identifier(properties.get("name", "") or "default"),
            block=_word(properties, "block", "block drop quick", _WORDS, "block drop quick, …"),
            protocols=_protocols(properties),
            ports=_ports(properties),
        )

    @property
    def anchor(self) -> str:
        """The anchor of our own."""
        return f"banguard/{self.name}"

    @property
    def table(self) -> str:
        """The table in it; pf takes at most 31 characters."""
        return f"banguard-{self.name}"

    def rules(self) -> str:
        """Return the text of its rules."""
        lines = [f"table <{self.table}> persist counters"]
        ports = f" port {{ {', '.join(self.ports)} }}" if self.ports else ""
        protocols = self.protocols or (("tcp", "udp") if self.ports else ("",))
        for protocol in protocols:
            word = f" proto {protocol}" if protocol else ""
            lines.append(f"{self.block}{word} from <{self.table}> to any{ports}")
        return "\n".join((*lines, ""))


class Pf(_Tables[PfSpec]):
    """The anchors and tables of pf."""

    def begin(self, spec: PfSpec) -> Collection[str]:
        """Load the anchor; return what is in its table."""
        self._call(spec, "-f", "-", text=spec.rules())
        left = self._left_in(spec)
        if not left:
            self._call(spec, "-t", spec.table, "-T", "flush")
        return left

    def end(self, spec: PfSpec) -> None:
        """Empty the anchor."""
        self._known.pop(spec, None)
        self._call(spec, "-F", "all")

    def _put(self, spec: PfSpec, addresses: Sequence[str]) -> None:
        self._each(spec, "add", addresses)

    def _take(self, spec: PfSpec, addresses: Sequence[str]) -> None:
        self._each(spec, "delete", addresses)

    def _each(self, spec: PfSpec, verb: str, addresses: Sequence[str]) -> None:
        if len(addresses) <= FEW:
            self._call(spec, "-t", spec.table, "-T", verb, *addresses)
        else:
            self._call(spec, "-t", spec.table, "-T", verb, "-f", "-", text="".join(f"{one}\n" for one in addresses))

    def _listing(self, spec: PfSpec) -> set[str] | None:
        argv = ["pfctl", "-q", "-a", spec.anchor, "-t", spec.table, "-T", "show"]
        result = self._run(argv, timeout=TIMEOUT, keep=LISTING)
        if result.returncode in {126, 127}:
            raise UnavailableError(result.describe())
        if not result.succeeded:
            return None
        rules = self._run(["pfctl", "-q", "-a", spec.anchor, "-sr"], timeout=TIMEOUT)
        return _addresses(result.stdout) if rules.succeeded and spec.table.encode() in rules.stdout else None

    def _call(self, spec: PfSpec, *words: str, text: str = "") -> None:
        result = self._run(["pfctl", "-q", "-a", spec.anchor, *words], stdin=text.encode("ascii"), timeout=TIMEOUT)
        if not result.succeeded:
            raise error_of(result)


class PfAction(PlainFirewall[PfSpec]):
    """Tables of pf for all jails."""

    look_every = 1.5

    def __init__(self, properties: Mapping[str, str], *, runner: Runner = run.run) -> None:
        del properties
        super().__init__(Pf(runner), PfSpec.of, (4, 6))

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share pf."""
        del properties
        return "pf"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        PfSpec.of(properties)


def _addresses(listing: bytes) -> set[str]:
    """Return the addresses at the beginning of the lines of a listing."""
    found = set()
    for line in listing.decode("ascii", "replace").splitlines():
        address = netaddr.canonical(line.split()[0]) if line.split() else None
        if address is not None:
            found.add(address)
    return found
