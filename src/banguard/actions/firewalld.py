"""
Bans in firewalld: as rich rules, or as members of ipset sets that direct rules ask.

Rich rules (`firewallcmd-rich-rules`) are added many at a time and end by themselves (`--timeout`). The sets
(`firewallcmd-ipset` and others) are those of `banguard.actions.ipset`; only the rules go through firewalld. What a
reload or a restart of firewalld drops is put back. See firewall-cmd(1), firewalld.richlanguage(5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from banguard import netaddr, run
from banguard.actions.base import UnavailableError
from banguard.actions.generation import generation
from banguard.actions.ipset import IpsetAction, sets_of
from banguard.actions.plain import PlainFirewall
from banguard.actions.xtables import Runner, Spec, Tables, error_of
from banguard.errors import ActionError
from banguard.message import tell

TIMEOUT = 60.0
LISTING = 64 * 1024 * 1024
LONGEST = 2_147_483_647
"""Seconds that firewalld takes as a timeout."""

_FAMILIES = {4: "ipv4", 6: "ipv6"}
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z", re.ASCII)
_PORT = re.compile(r"[A-Za-z0-9_-]+(?:[:-][0-9]+)?\Z", re.ASCII)
_BLOCK = re.compile(r"(?:drop|accept|reject(?: type='(?P<reason>[a-z0-9-]+)')?)\Z", re.ASCII)
_RULE = re.compile(r"source address=\"(?P<address>[^\"]+)\"")
_SET_RULE = re.compile(r" -m set --match-set (bg-[A-Za-z0-9_.-]+)-[an][46] src -j [^\"']+\Z", re.ASCII)
_EVERY_PORT = frozenset({"", "all", "any", "0:65535", "1:65535", "0-65535", "1-65535"})
_ICMP6 = {"icmp-port-unreachable": "icmp6-port-unreachable", "icmp-admin-prohibited": "icmp6-adm-prohibited",
          "icmp-host-unreachable": "icmp6-addr-unreachable"}  # fmt: skip


# ---- rich rules


@dataclass(frozen=True, slots=True)
class RichSpec:
    """The zone (empty: the default one), the traffic, what happens to it, and what is written to the log."""

    zone: str
    ports: tuple[tuple[str, str], ...]
    block: str
    prefix: str

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> RichSpec:
        """Read *properties*; raise ActionError naming the option."""
        zone = properties.get("zone", "").strip()
        if zone and _WORD.match(zone) is None:
            raise ActionError(tell("{option}: {text!r} is no name that can be used", option="zone", text=zone))
        words = [word for word in re.split(r"[\s,]+", properties.get("port", "")) if word]
        if properties.get("type", "").strip() == "allports" or any(word.lower() in _EVERY_PORT for word in words):
            words = []
        for word in words:
            if _PORT.match(word) is None:
                raise ActionError(tell("port: {word!r} is no port", word=word))
        protocols = [word for word in re.split(r"[\s,]+", properties.get("protocol", "tcp").lower()) if word] or ["tcp"]
        for protocol in protocols:
            if _WORD.match(protocol) is None:
                raise ActionError(tell("protocol: {word!r} is no protocol", word=protocol))
        block = " ".join(properties.get("blocktype", "").split()) or "reject type='icmp-port-unreachable'"
        if _BLOCK.match(block) is None:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}",
                    option="blocktype",
                    known="drop, reject, reject type='…'",
                    text=block,
                )
            )
        prefix = properties.get("logprefix", "").strip()
        if prefix and _WORD.match(prefix) is None:
            raise ActionError(tell("{option}: {text!r} is no name that can be used", option="logprefix", text=prefix))
        ports = tuple((word.replace(":", "-"), protocol) for word in words for protocol in protocols)
        return cls(zone, ports, block, prefix)

    def rules(self, address: str) -> list[str]:
        """Return the rich rules for *address*."""
        family = netaddr.family(address) or 4
        reason = _BLOCK.match(self.block)
        block = self.block
        if family == 6 and reason is not None and reason["reason"] is not None:
            block = f"reject type='{_ICMP6.get(reason['reason'], reason['reason'])}'"
        log = f" log prefix='{self.prefix}' level='info' limit value='1/m'" if self.prefix else ""
        start = f"rule family='{_FAMILIES[family]}' source address='{address}'"
        ports = [f" port port='{port}' protocol='{protocol}'" for port, protocol in self.ports] or [""]
        return [f"{start}{port}{log} {block}" for port in ports]


class RichRules:
    """The rich rules of firewalld."""

    def __init__(self, runner: Runner = run.run) -> None:
        self._run = runner
        self._ours: dict[RichSpec, set[str]] = {}
        self._left: int | None = None

    def begin(self, spec: RichSpec) -> Collection[str]:
        """Note that we have none: ours look like others', and those that an earlier run left end by themselves."""
        self._ours[spec] = set()
        return ()

    def end(self, spec: RichSpec) -> None:
        """Take all of our rules out."""
        self.remove(spec, sorted(self._ours.get(spec, ())))
        self._ours.pop(spec, None)

    def add(self, spec: RichSpec, bans: Mapping[str, float | None], now: float) -> None:
        """Add rules that end by themselves; what is there is replaced, so that its time is right."""
        ours = self._ours.setdefault(spec, set())
        self.remove(spec, [address for address in bans if address in ours])
        by_time: dict[int, list[str]] = {}
        for address, until in bans.items():
            seconds = 0 if until is None else min(LONGEST, max(1, math.ceil(until - now)))
            by_time.setdefault(seconds, []).append(address)
        for seconds, addresses in by_time.items():
            timed = [f"--timeout={seconds}"] if seconds else []
            words = [f"--add-rich-rule={rule}" for address in addresses for rule in spec.rules(address)]
            self._call(spec, *timed, *words)
            ours.update(addresses)
        self._left = generation()

    def remove(self, spec: RichSpec, addresses: Sequence[str]) -> None:
        """Remove rules; firewalld only warns of those that have ended already."""
        words = [f"--remove-rich-rule={rule}" for address in addresses for rule in spec.rules(address)]
        if words:
            self._call(spec, *words)
        self._ours.get(spec, set()).difference_update(addresses)
        self._left = generation()

    def held(self, spec: RichSpec) -> Collection[str] | None:
        """Return the addresses for which there is a rule."""
        before = generation()
        result = self._run(self._argv(spec, "--list-rich-rules"), timeout=TIMEOUT, keep=LISTING)
        if not result.succeeded:
            raise _error(result)
        self._left = before
        found = (
            netaddr.canonical(rule["address"]) for rule in _RULE.finditer(result.stdout.decode("utf-8", "replace"))
        )
        return {address for address in found if address is not None}

    def changed(self) -> bool:
        """Tell whether the rules of the kernel changed since; those of iptables-legacy do not tell."""
        now = generation()
        return now is None or self._left is None or now != self._left

    def _argv(self, spec: RichSpec, *words: str) -> list[str]:
        return ["firewall-cmd", *([f"--zone={spec.zone}"] if spec.zone else []), *words]

    def _call(self, spec: RichSpec, *words: str) -> None:
        result = self._run(self._argv(spec, *words), timeout=TIMEOUT)
        if not result.succeeded:
            raise _error(result)


class RichRulesAction(PlainFirewall[RichSpec]):
    """Rich rules for all jails."""

    chunk = 200
    look_every = 1.0

    def __init__(self, properties: Mapping[str, str], *, runner: Runner = run.run) -> None:
        del properties
        super().__init__(RichRules(runner), RichSpec.of, (4, 6))

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share firewalld."""
        del properties
        return "firewalld rich rules"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        RichSpec.of(properties)


# ---- sets


class DirectRules:
    """The direct rules of all members: what `xtables.Chains` is for plain iptables."""

    def __init__(self, runner: Runner) -> None:
        self._run = runner
        self.tables = Tables(runner)
        self.specs: dict[str, Spec] = {}

    def distinct(self, member: str, spec: Spec) -> Spec:
        """Give members that have the same name different sets."""
        return self.tables.distinct(member, spec, self.specs)

    def add(self, member: str, spec: Spec) -> None:
        """Add the rules of a member; those that are there stay, those it has no longer go."""
        wanted = self._rules(spec)
        for rule in wanted:
            self._call("--add-rule", *rule)
        self._remove({" ".join(rule) for rule in wanted}, lambda chain: chain == spec.chain)
        self.specs[member] = spec
        self.tables.settled()

    def remove(self, spec: Spec) -> None:
        """Remove the rules of a member."""
        for rule in self._rules(spec):
            self._call("--remove-rule", *rule)

    def sweep(self) -> list[str]:
        """Remove rules of an earlier run whose sets no member has; return what these are named after."""
        ours = {spec.chain for spec in self.specs.values()}
        return self._remove(set(), lambda chain: chain not in ours)

    def _remove(self, but: Collection[str], which: Callable[[str], bool]) -> list[str]:
        """Remove all rules that ask sets named after a chain that *which* tells of, *but* not those."""
        gone: dict[str, None] = {}
        for rule in self._present():
            found = _SET_RULE.search(rule)
            if found is not None and which(found[1]) and rule not in but:
                self._call("--remove-rule", *rule.split())
                gone[found[1]] = None
        return list(gone)

    def _present(self) -> set[str]:
        """Return all direct rules."""
        result = self._run(["firewall-cmd", "--direct", "--get-all-rules"], timeout=TIMEOUT, keep=LISTING)
        if not result.succeeded:
            raise _error(result)
        return set(result.stdout.decode("utf-8", "replace").splitlines())

    def stand(self) -> bool:
        """Tell whether all rules are there."""
        present = self._present()
        if all(" ".join(rule) in present for spec in self.specs.values() for rule in self._rules(spec)):
            self.tables.settled()
            return True
        return False

    def _rules(self, spec: Spec) -> list[list[str]]:
        hooks = [f"{hook}_direct" if hook in {"INPUT", "FORWARD"} else hook for hook in spec.hooks]
        return [
            [_FAMILIES[family], "filter", hook, "0", *f"{match}-m set --match-set {name} src -j {target}".split()]
            for family in self.tables.families
            for hook in hooks
            for match in spec.matches
            for name in sets_of(spec, family)
            for target in (spec.verdicts[family],)
        ]

    def _call(self, *words: str) -> None:
        result = self._run(["firewall-cmd", "--direct", *words], timeout=TIMEOUT)
        if not result.succeeded and b"ALREADY_ENABLED" not in result.stderr and b"NOT_ENABLED" not in result.stderr:
            raise _error(result)


class FirewalldAction(IpsetAction):
    """Sets of ipset, with direct rules of firewalld, for all jails."""

    def __init__(self, properties: Mapping[str, str], *, runner: Runner = run.run) -> None:
        super().__init__(properties, runner=runner, chains=DirectRules(runner))

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share it."""
        del properties
        return "firewalld"


def _error(result: run.Finished) -> ActionError:
    """Return what a failed firewall-cmd means: mostly that firewalld is not running (252), or its bus is gone."""
    if result.returncode == 252 or b"not running" in result.stderr or b"DBUS" in result.stderr.upper():
        return UnavailableError(f"firewalld: {result.describe()}")
    return error_of(result)
