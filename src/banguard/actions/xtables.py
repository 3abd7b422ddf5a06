"""Rules of iptables and ip6tables: what members of a backend have in common, and the programs that are run."""

from __future__ import annotations

import re
import socket
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from banguard import netaddr, run
from banguard.actions.base import FullError, UnavailableError
from banguard.actions.generation import generation
from banguard.errors import ActionError
from banguard.message import tell
from banguard.model import Ban

TIMEOUT = 30.0
"""Seconds one program may take."""

LISTING = 256 * 1024 * 1024
"""Bytes that a listing of all rules may have."""

LOCK_SECONDS = "5"
"""How long a program waits for the lock of the tables (`-w`)."""

FAMILIES = {4: "iptables", 6: "ip6tables"}

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,20}\Z", re.ASCII)
_CHAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,27}\Z", re.ASCII)
_PORT = re.compile(r"([A-Za-z0-9_./+-]+?)(?:[:-](\d{1,5}))?\Z", re.ASCII)
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{1,15}\Z", re.ASCII)
_TARGET = re.compile(r"[A-Z][A-Za-z0-9_-]{0,27}(?: --[a-z][a-z-]+ [A-Za-z0-9:/_.-]+)*\Z", re.ASCII)
_EVERY_PORT = frozenset({"", "all", "any", "0:65535", "0-65535", "1:65535", "1-65535"})
_PORTS_AT_ONCE = 15
"""Ports in one rule; a range counts as two (iptables-extensions(8), multiport)."""

_REASONS = {
    "icmp-net-unreachable": "icmp6-no-route",
    "icmp-host-unreachable": "icmp6-addr-unreachable",
    "icmp-port-unreachable": "icmp6-port-unreachable",
    "icmp-proto-unreachable": "icmp6-port-unreachable",
    "icmp-net-prohibited": "icmp6-adm-prohibited",
    "icmp-host-prohibited": "icmp6-adm-prohibited",
    "icmp-admin-prohibited": "icmp6-adm-prohibited",
}

Runner = Callable[..., run.Finished]


@dataclass(frozen=True, slots=True)
class Spec:
    """The properties of a member, checked: its chain, the hooks that lead there, what is sent there, the verdict."""

    chain: str
    hooks: tuple[str, ...]
    matches: tuple[str, ...]
    verdicts: Mapping[int, str]
    back: str

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Spec:
        """Read *properties*; raise ActionError naming the option."""
        return cls(
            chain=f"bg-{identifier(properties.get('name', '') or 'default')}",
            hooks=_hooks(properties.get("chain", "")),
            matches=_matches(properties),
            verdicts=_verdicts(properties),
            back=_target("returntype", properties.get("returntype", "") or "RETURN"),
        )

    def jumps(self, hook: str) -> list[str]:
        """Return the rules, without verb, that send traffic of *hook* to the member's chain."""
        return [f"{hook} {match}-j {self.chain}" for match in self.matches]


def identifier(name: str) -> str:
    """Return *name* as part of the name of a chain or set; another one made from it when it has other characters."""
    if _NAME.match(name) is not None:
        return name
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "_", name, flags=re.ASCII)[:11]
    return f"{cleaned}-{zlib.crc32(name.encode('utf-8', 'replace')):08x}"


def _hooks(text: str) -> tuple[str, ...]:
    hooks = tuple(dict.fromkeys(re.split(r"[\s,]+", text.strip()))) if text.strip() else ("INPUT",)
    for hook in hooks:
        if _CHAIN.match(hook) is None:
            raise ActionError(tell("{option}: {text!r} is no name that can be used", option="chain", text=hook))
    # nftables and iptables name the same places differently; both names are understood.
    return tuple(hook.upper() if hook in {"input", "forward"} else hook for hook in hooks)


def _target(option: str, text: str) -> str:
    text = " ".join(text.split())
    if _TARGET.match(text) is None:
        raise ActionError(
            tell(
                "{option}: expected a target such as DROP or 'REJECT --reject-with …', not {text!r}",
                option=option,
                text=text,
            )
        )
    return text


def _verdicts(properties: Mapping[str, str]) -> Mapping[int, str]:
    """Return the target for each family; a reason that only IPv4 has becomes that of IPv6."""
    four = _target("blocktype", _own_words(properties.get("blocktype", "")) or "REJECT")
    six = properties.get("blocktype?family=inet6", "")
    if not six:
        six = re.sub(r"(?<=--reject-with )\S+", lambda reason: _REASONS.get(reason[0], reason[0]), four)
    return {4: four, 6: _target("blocktype?family=inet6", six)}


def _own_words(text: str) -> str:
    """Return `drop` and `reject` as iptables writes them."""
    return text.strip().upper() if text.strip() in {"drop", "reject", "accept"} else text


def _matches(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return what selects the traffic, one text for each rule."""
    protocols = _protocols(properties.get("protocol", "") or "tcp")
    kind = properties.get("type", "").strip() or "multiport"
    if kind not in {"multiport", "oneport", "allports"}:
        raise ActionError(
            tell(
                "{option}: expected one of {known}, not {text!r}",
                option="type",
                known="multiport, oneport, allports",
                text=kind,
            )
        )
    state = "-m conntrack --ctstate NEW " if properties.get("state", "").strip() == "new" else ""
    ports = [] if kind == "allports" else _ports(properties.get("port", ""), protocols)
    if not ports:
        return tuple(f"-p {protocol} {state}" if protocol else state for protocol in protocols or ("",))
    if not protocols or not set(protocols) <= {"tcp", "udp", "sctp", "dccp", "udplite"}:
        raise ActionError(tell("protocol: {text} has no ports; use type=allports", text=properties.get("protocol", "")))
    return tuple(
        f"-p {protocol} {state}-m multiport --dports {','.join(some)} " for protocol in protocols for some in ports
    )


def _protocols(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word for word in re.split(r"[\s,]+", text.strip().lower()) if word))
    if {"all", "any"} & set(words):
        return ()
    for word in words:
        if _PROTOCOL.match(word) is None:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}",
                    option="protocol",
                    known="tcp, udp, …, all",
                    text=word,
                )
            )
        try:
            socket.getprotobyname(word)
        except OSError:
            raise ActionError(tell("protocol: {word!r} is unknown", word=word)) from None
    return words


def _ports(text: str, protocols: Sequence[str]) -> list[list[str]]:
    """Read `ssh`, `http,https`, `5060:5069`, in groups that one rule can hold; nothing for all ports."""
    words = [word for word in re.split(r"[\s,]+", text.strip()) if word]
    if not words or any(word.lower() in _EVERY_PORT for word in words):
        return []
    groups: list[list[str]] = [[]]
    room = _PORTS_AT_ONCE
    for word in words:
        match = _PORT.match(word)
        if match is None:
            raise ActionError(tell("port: {word!r} is no port", word=word))
        low = _port(match[1], protocols)
        high = low if match[2] is None else _port(match[2], protocols)
        if low > high:
            raise ActionError(tell("port: the range {word!r} ends before it begins", word=word))
        needed = 1 if low == high else 2
        if needed > room:
            groups.append([])
            room = _PORTS_AT_ONCE
        room -= needed
        groups[-1].append(str(low) if low == high else f"{low}:{high}")
    return groups


def _port(word: str, protocols: Sequence[str]) -> int:
    if word.isdecimal():
        if int(word) > 65_535:
            raise ActionError(tell("port: {word!r} is larger than 65535", word=word))
        return int(word)
    for protocol in protocols or ("tcp", "udp"):
        try:
            return socket.getservbyname(word, protocol)
        except OSError:
            continue
    try:
        return socket.getservbyname(word)
    except OSError:
        raise ActionError(tell("port: service {word!r} is unknown", word=word)) from None


def checked(address: str) -> str:
    """Return *address* if it is a canonical address or network, and nothing else."""
    if netaddr.canonical(address) != address:
        raise ActionError(tell("{address!r} is no address", address=address))
    return address


def is_ahead(ban: Ban, now: float) -> bool:
    """Tell whether *ban* ends after *now*."""
    return ban.until is None or ban.until > now


def error_of(result: run.Finished) -> ActionError:
    """Return what a failed program means for those who have to go on."""
    said = result.stderr
    message = result.describe()
    if result.timed_out or result.cancelled or result.returncode in {126, 127}:
        return UnavailableError(message)
    if b"is full" in said or b"No space left" in said:
        return FullError(f"the set is full: {message}")
    if b"Permission denied" in said or b"Operation not permitted" in said or b"must be root" in said:
        return UnavailableError(message)
    return ActionError(message)


class Tables:
    """
    The filter tables of both families: runs the programs, and knows whether anybody else changed them.

    Not thread-safe. Where there is no ip6tables, or no IPv6, only IPv4 is had.
    """

    def __init__(self, runner: Runner = run.run, *, generation: Callable[[], int | None] = generation) -> None:
        self._run = runner
        self._generation = generation
        self._families: tuple[int, ...] | None = None
        self._is_nft = False
        self._left: int | None = None

    @property
    def families(self) -> tuple[int, ...]:
        """The families that can be used: 4, and mostly 6. Raise UnavailableError when there is no iptables."""
        if self._families is None:
            said = self._call(["iptables", "-V"]).stdout
            self._is_nft = b"nf_tables" in said
            first = self._call(["iptables", "-w", LOCK_SECONDS, "-n", "-L", "INPUT", "1"])
            if not first.succeeded:
                raise UnavailableError(first.describe())
            six = self._call(["ip6tables", "-w", LOCK_SECONDS, "-n", "-L", "INPUT", "1"])
            self._families = (4, 6) if six.succeeded else (4,)
        return self._families

    def restore(self, family: int, lines: Sequence[str]) -> None:
        """Carry out *lines* in one transaction, without touching anything else."""
        text = "\n".join(("*filter", *lines, "COMMIT", ""))
        before = self._generation()
        known = before == self._left
        result = self._call([f"{FAMILIES[family]}-restore", "-w", LOCK_SECONDS, "--noflush"], text)
        after = self._generation()
        alone = before is not None and after is not None and after - before <= 1
        self._left = after if known and alone else None
        if not result.succeeded:
            raise error_of(result)

    def has_chain(self, family: int, chain: str) -> bool:
        """Tell whether *chain* exists."""
        return self._call([FAMILIES[family], "-w", LOCK_SECONDS, "-n", "-L", chain, "1"]).succeeded

    def has_rule(self, family: int, rule: str) -> bool:
        """Tell whether *rule* (chain and matches) exists."""
        return self._call([FAMILIES[family], "-w", LOCK_SECONDS, "-C", *rule.split()]).succeeded

    def listing(self, family: int) -> list[str]:
        """Return all chains and rules, a line each, as `-S` writes them."""
        result = self._call([FAMILIES[family], "-w", LOCK_SECONDS, "-S"])
        if not result.succeeded:
            raise error_of(result)
        return result.stdout.decode("ascii", "replace").splitlines()

    def jumps(self, family: int, chain: str) -> list[str]:
        """Return the rules, without verb, that lead to *chain*."""
        return [
            line.removeprefix("-A ")
            for line in self.listing(family)
            if line.startswith("-A ") and line.endswith(f" -j {chain}")
        ]

    def rules(self, family: int) -> Mapping[str, int]:
        """Return how often there is each kind of rule: its verb, chain and target, what it matches left out."""
        found: dict[str, int] = {}
        for line in self.listing(family):
            words = line.split()
            kind = " ".join(words[:2])
            if "-j" in words:
                kind += f" -j {words[words.index('-j') + 1]}"
            elif words[0] == "-A":
                continue
            found[kind] = found.get(kind, 0) + 1
        return found

    def counted(self, family: int, spec: Spec) -> str:
        """Return the rules of a member's own chain with their counters of packets and bytes."""
        result = self._call([FAMILIES[family], "-w", LOCK_SECONDS, "-v", "-S", spec.chain])
        if not result.succeeded:
            raise error_of(result)
        return result.stdout.decode("ascii", "replace")

    def changed(self) -> bool:
        """Tell whether somebody else may have changed the tables; those of the legacy kind do not tell."""
        return not self._is_nft or self._left is None or self._generation() != self._left

    @staticmethod
    def distinct(member: str, spec: Spec, others: Mapping[str, Spec]) -> Spec:
        """Return *spec* with a name of its own when another member has the same."""
        if spec.chain in {other.chain for known, other in others.items() if known != member}:
            return replace(spec, chain=f"{spec.chain[:15]}-{zlib.crc32(member.encode('utf-8', 'replace')):08x}")
        return spec

    def settled(self) -> None:
        """Note that all is as it should be at present."""
        self._left = self._generation()

    def _call(self, argv: Sequence[str], text: str = "") -> run.Finished:
        return self._run(list(argv), stdin=text.encode("ascii"), timeout=TIMEOUT, keep=LISTING)


class Chains:
    """
    The chains of all members: made, removed, checked; what stands in a member's own chain is its owner's.

    *rules* gives the rules of a member's chain for a family, without its last one, which leads back. *ours* tells of
    chain and rule, as listed, whether this kind of action wrote it: other kinds have chains of such names too.
    """

    def __init__(
        self,
        tables: Tables,
        rules: Callable[[str, Spec, int], Iterable[str]],
        ours: Callable[[str, str], bool] = lambda *_: False,
    ) -> None:
        self.tables = tables
        self.specs: dict[str, Spec] = {}
        self._rules = rules
        self._ours = ours

    def add(self, member: str, spec: Spec) -> None:
        """Build the chain of a member with all its rules, and what leads there."""
        for family in self.tables.families:
            lines = [f":{spec.chain} - [0:0]"]
            lines += [f"-A {spec.chain} {rule}" for rule in self._rules(member, spec, family)]
            lines.append(f"-A {spec.chain} -j {spec.back}")
            if self.tables.has_chain(family, spec.chain):  # ours of before, or of an earlier run, maybe for other ports
                lines += [f"-D {jump}" for jump in self.tables.jumps(family, spec.chain)]
            for hook in self._present(spec, family):
                lines += ["-I " + jump.replace(" ", " 1 ", 1) for jump in reversed(spec.jumps(hook))]
            self.tables.restore(family, lines)
        self.specs[member] = spec

    def remove(self, spec: Spec) -> None:
        """Remove a member's chain and what leads there, as far as it is there."""
        for family in self.tables.families:
            if self.tables.has_chain(family, spec.chain):
                self.tables.restore(family, [*_removal(spec.chain, self.tables.jumps(family, spec.chain))])

    def sweep(self) -> list[str]:
        """Remove chains of an earlier run that no member has; return their names."""
        known = {spec.chain for spec in self.specs.values()}
        gone: dict[str, None] = {}
        for family in self.tables.families:
            listed = self.tables.listing(family)
            lines: list[str] = []
            for chain in [line.removeprefix("-N ") for line in listed if line.startswith("-N bg-")]:
                rules = [line for line in listed if line.startswith(f"-A {chain} ")]
                body = [rule.removeprefix(f"-A {chain} ") for rule in rules[:-1]]  # the last leads back
                if chain in known or not rules or not all(self._ours(chain, rule) for rule in body):
                    continue
                jumps = [line.removeprefix("-A ") for line in listed if line.endswith(f" -j {chain}")]
                lines += _removal(chain, jumps)
                gone[chain] = None
            if lines:
                self.tables.restore(family, lines)
        return list(gone)

    def distinct(self, member: str, spec: Spec) -> Spec:
        """Give members that have the same name different chains."""
        return self.tables.distinct(member, spec, self.specs)

    def stand(self) -> bool:
        """Tell whether every member's chain is there and is led to; a hook that appeared since counts as missing."""
        for family in self.tables.families:
            rules = self.tables.rules(family)
            for spec in self.specs.values():
                if f"-A {spec.chain} -j {spec.back}" not in rules:
                    return False
                hooks = [hook for hook in spec.hooks if f"-N {hook}" in rules or f"-P {hook}" in rules]
                if any(rules.get(f"-A {hook} -j {spec.chain}", 0) < len(spec.matches) for hook in hooks):
                    return False
        self.tables.settled()
        return True

    def _present(self, spec: Spec, family: int) -> list[str]:
        """Return the hooks that exist: `DOCKER-USER` comes and goes with Docker."""
        return [hook for hook in spec.hooks if hook in {"INPUT", "FORWARD"} or self.tables.has_chain(family, hook)]


def _removal(chain: str, jumps: Iterable[str]) -> list[str]:
    """Return what removes *chain* and the rules that lead there."""
    return [*(f"-D {jump}" for jump in jumps), f"-F {chain}", f"-X {chain}"]
