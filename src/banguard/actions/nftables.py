"""
Bans as elements of nftables sets.

One table holds everything; each member (an action of a jail) has in it

- sets `addr4-NAME` and `addr6-NAME` of single addresses: hash sets whose elements the kernel drops when their time is
  over, so that bans end even if banguard dies;
- sets `net4-NAME` and `net6-NAME` of networks: interval sets, kept apart because a filled one slows down every later
  change (nft 1.0.6), and holding only networks that none other covers, because nft refuses an overlap;
- where it is to be known who still sends (`bantime.quiet`), sets `seen4-NAME` and `seen6-NAME`, which packets of banned
  hosts put their source into and keep it there for a while;
- a chain `ban-NAME` with the verdicts, and for each hook a base chain `HOOK-NAME` that sends the traffic of its
  ports there.

Every change is one `nft -f -`, that is one transaction of the kernel. All text given to nft consists of words checked
here: canonical addresses, numbers, and names and verdicts that match strict patterns. See nft(8).
"""

from __future__ import annotations

import math
import re
import socket
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from banguard import netaddr, run
from banguard.actions.base import FullError, Step, TooLargeError, UnavailableError
from banguard.actions.generation import generation
from banguard.actions.senders import watch_of, with_networks
from banguard.errors import ActionError
from banguard.message import tell
from banguard.model import Ban

TIMEOUT = 30.0
"""Seconds one transaction may take."""

LISTING = 64 * 1024 * 1024
"""Bytes that a listing of senders may have."""

CHUNK = 2000

SEEN = 262_144
"""Hosts that a set of senders holds at most; more are blocked all the same, but not known to send."""

LONGEST_TIMEOUT = 36_500 * 86_400
"""Seconds from which on a ban is put in without an end; the unban takes it out."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,48}\Z", re.ASCII)
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\Z", re.ASCII)
_PORT = re.compile(r"([A-Za-z0-9_./+-]+?)(?:[:-](\d{1,5}))?\Z", re.ASCII)
_VERDICT = re.compile(
    r"(?:accept|drop|return"
    r"|reject(?: with (?:tcp reset|(?:icmpx?|icmpv6)(?: type)? [a-z]{2,8}(?:-[a-z]{2,12}){0,3}))?)\Z",
    re.ASCII,
)
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{1,15}\Z", re.ASCII)
_SENDER = re.compile(r"([0-9a-fA-F.:]+)(?: timeout \w+)? expires (\w+)", re.ASCII)
_SPAN = re.compile(r"(\d+)(ms|[dhms])", re.ASCII)
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PRESENT = re.compile(r"^\t(chain|set) ([A-Za-z0-9_.-]+) \{$", re.ASCII | re.MULTILINE)
_PRIORITY = re.compile(r"-?\d{1,9}\Z", re.ASCII)
_HOOKS = ("prerouting", "input", "forward")
_WITH_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite")
_EVERY_PORT = frozenset({"", "all", "any", "0:65535", "0-65535", "1:65535", "1-65535"})

Runner = Callable[..., run.Finished]


@dataclass(frozen=True, slots=True)
class _Spec:
    """The properties of a member, checked."""

    name: str
    table: str
    hooks: tuple[str, ...]
    priority: str
    ports: tuple[str, ...]  # none: all
    protocols: tuple[str, ...]  # none: all
    verdict: str
    size: str  # empty: no limit
    watch: int = 0  # seconds between two readings of who sends; 0: nobody asks

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> _Spec:
        """Read *properties*; raise ActionError naming the option."""
        protocols = _protocols(properties.get("protocol", "tcp"))
        ports = (
            () if properties.get("type", "").strip() == "allports" else _ports(properties.get("port", ""), protocols)
        )
        if ports and not set(protocols) <= set(_WITH_PORTS):
            raise ActionError(tell("protocol: {text} has no ports; use type=allports", text=", ".join(protocols)))
        return cls(
            name=_identifier(properties.get("name", "") or "default"),
            table=table_of(properties),
            hooks=_hooks(properties),
            priority=_word("priority", properties.get("priority", "-1"), _PRIORITY, tell("a whole number")),
            ports=ports,
            protocols=protocols,
            verdict=_word("blocktype", properties.get("blocktype", "reject"), _VERDICT, "drop, reject, reject with …"),
            size=_size(properties.get("size", "")),
            watch=watch_of(properties),
        )

    def chains(self) -> list[str]:
        """Return the names of its base chains."""
        return [f"{hook}-{self.name}" for hook in self.hooks]

    def sets(self) -> list[tuple[str, str]]:
        """Return name and definition of its sets."""
        size = f" size {self.size};" if self.size else ""
        return [
            (f"addr4-{self.name}", f"{{ type ipv4_addr; flags timeout;{size} }}"),
            (f"addr6-{self.name}", f"{{ type ipv6_addr; flags timeout;{size} }}"),
            (f"net4-{self.name}", "{ type ipv4_addr; flags interval, timeout; }"),
            (f"net6-{self.name}", "{ type ipv6_addr; flags interval, timeout; }"),
            *(
                (f"seen{digit}-{self.name}", f"{{ type ipv{digit}_addr; flags dynamic, timeout; {limits}; }}")
                for limits in ([f"timeout {self.memory}s; size {SEEN}"] if self.watch else [])
                for digit in "46"
            ),
        ]

    @property
    def memory(self) -> int:
        """Seconds for which a sender is remembered: a reading may come late."""
        return 2 * self.watch + 5

    def rules(self) -> list[str]:
        """Return the rules of its chain of verdicts."""
        known = [
            (digit, family, f"{family} saddr @{kind}{digit}-{self.name}")
            for digit, family in (("4", "ip"), ("6", "ip6"))
            if self.verdicts(family)
            for kind in ("addr", "net")
        ]
        # Apart from the verdicts, because a rule ends where a full set takes nothing more.
        seen = [f"{match} update @seen{digit}-{self.name} {{ {family} saddr }}" for digit, family, match in known]
        return [*(seen if self.watch else ()), *(f"{match} {self.verdict}" for _, _, match in known)]

    def names(self) -> list[str]:
        """Return the names of all chains and sets that it may ever have had, with other properties too."""
        kinds = [f"{kind}{digit}" for kind in ("addr", "net", "seen") for digit in "46"]
        return [f"{kind}-{self.name}" for kind in (*_HOOKS, "ban", *kinds)]

    def match(self) -> str:
        """Return what selects the traffic, empty for all of it."""
        protocols = self.protocols or (_WITH_PORTS if self.ports else ())
        words = []
        if protocols:
            words.append(f"meta l4proto {{ {', '.join(protocols)} }} ")
        if self.ports:
            words.append(f"th dport {{ {', '.join(self.ports)} }} ")
        return "".join(words)

    def verdicts(self, family: str) -> bool:
        """Tell whether the verdict exists for *family* (`ip`, `ip6`): an ICMP reject is for one of them."""
        wrong = {"ip": "reject with icmpv6", "ip6": "reject with icmp "}[family]
        return not self.verdict.startswith(wrong)


@dataclass(slots=True)
class _Member:
    spec: _Spec
    networks: dict[str, dict[str, float | None]] = field(default_factory=lambda: {"4": {}, "6": {}})


class NftablesAction:
    """One table of nftables for all jails; see the module."""

    chunk = CHUNK
    look_every = 1.0

    def __init__(
        self,
        properties: Mapping[str, str],
        *,
        runner: Runner = run.run,
        generation: Callable[[], int | None] = generation,
    ) -> None:
        self._generation = generation
        self._left: int | None = None  # the generation after our last change, None when others changed something, too
        self._table = f"inet {table_of(properties)}"
        self._run = runner
        self._members: dict[str, _Member] = {}
        self._stale: dict[str, str] = {}  # what an earlier run left and nobody took over yet: name → chain or set

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: the table."""
        return f"nftables {table_of(properties)}"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        _Spec.of(properties)

    # ---- transactions

    def join(self, member: str, properties: Mapping[str, str], bans: Sequence[Ban], now: float) -> None:
        """Add the member, or replace it, or what an earlier run left of it, in one transaction."""
        spec = self._distinct(member, _Spec.of(properties))
        before = self._members.get(member)
        script = []
        if before is not None:
            script = self._removal(before.spec)
        elif not self._members:
            self._left = self._generation()
            self._stale = self._present()
        script += self._discard([name for name in spec.names() if name in self._stale])
        entry = self._members[member] = _Member(spec)
        script += self._structure(spec) + self._contents(entry, bans, now)
        self._commit(script)

    def sweep(self) -> None:
        """Remove chains and sets that an earlier run left and no member took over."""
        stale = self._discard(list(self._stale))
        if stale:
            self._commit(stale)

    def leave(self, member: str) -> None:
        """Remove the member; the table with the last one."""
        entry = self._members.pop(member, None)
        if entry is None:
            return
        if self._members:
            self._commit(self._removal(entry.spec))
        else:
            self._commit([f"add table {self._table}", f"delete table {self._table}"])

    def forget(self, member: str) -> None:
        """Drop the member from memory only."""
        self._members.pop(member, None)

    def apply(self, steps: Sequence[Step], now: float) -> None:
        """Add, delete and re-time elements."""
        out: dict[str, list[str]] = {}  # set → elements to take out first
        add: dict[str, list[str]] = {}
        networks: dict[tuple[str, str], dict[str, float | None]] = {}
        for step in steps:
            entry = self._members[step.member]
            address = _checked(step.key)
            family = str(netaddr.family(address))
            ahead = step.new is not None and _is_ahead(step.new, now)
            if "/" in address:
                wanted = networks.setdefault((step.member, family), dict(entry.networks[family]))
                if ahead and step.new is not None:
                    wanted[address] = step.new.until
                else:
                    wanted.pop(address, None)
                continue
            name = f"addr{family}-{entry.spec.name}"
            if step.new is None or step.old is not None or step.again:
                out.setdefault(name, []).append(address)
            if ahead and step.new is not None:
                add.setdefault(name, []).append(address + _timeout(step.new.until, now))
        intervals: list[str] = []
        for (member, family), wanted in networks.items():
            intervals += self._intervals(f"net{family}-{self._members[member].spec.name}", wanted, now)
        additions = [self._elements("add", name, elements) for name, elements in add.items()]
        # The kernel may have dropped an element already, and deleting what is not there fails: add it before.
        guarded = [self._elements(verb, name, some) for name, some in out.items() for verb in ("add", "delete")]
        try:
            self._commit(guarded + intervals + additions)
        except FullError:
            if not out:
                raise
            plain = [self._elements("delete", name, some) for name, some in out.items()]
            self._commit(plain + intervals + additions)
        for (member, family), wanted in networks.items():
            self._members[member].networks[family] = wanted

    def rebuild(self, bans: Mapping[str, Sequence[Ban]], now: float) -> None:
        """Replace the whole table."""
        script = self._fresh_table()
        self._left = self._generation()
        self._stale = {}
        for member, entry in self._members.items():
            script += self._structure(entry.spec) + self._contents(entry, bans.get(member, ()), now)
        self._commit(script)

    def held(self, member: str, key: str) -> bool:
        """Ask the kernel for the element, and for the rules that look at its set."""
        entry = self._members.get(member)
        if entry is None:
            return False
        kind = "net" if "/" in key else "addr"
        name = f"{kind}{netaddr.family(_checked(key))}-{entry.spec.name}"
        first = f"{_halves(key)[0]}"
        result = self._run(["nft", "get", "element", *self._table.split(), name, f"{{ {first} }}"], timeout=TIMEOUT)
        if result.succeeded:
            return self.check()
        if b"No such file" in result.stderr or b"does not exist" in result.stderr:
            return False
        raise _error(result)

    def changed(self) -> bool:
        """Tell whether anybody changed the rules of the kernel since our own last change, as far as known."""
        return self._left is None or self._generation() != self._left

    def check(self) -> bool:
        """
        Tell whether all rules are there.

        Asks the kernel to try, without doing it, to add a rule behind the last one of each chain: that needs neither
        the elements nor a listing, and fails when a rule, chain or the table is gone.
        """
        script = []
        for entry in self._members.values():
            spec = entry.spec
            script.append(f"add rule {self._table} ban-{spec.name} index {len(spec.rules()) - 1} accept")
            script += [f"add rule {self._table} {chain} index 0 accept" for chain in spec.chains()]
        before = self._generation()
        result = self._nft(["-c", "-f", "-"], script)
        if result.succeeded:
            self._left = before
            return True
        if b"No such file or directory" in result.stderr:
            return False
        raise _error(result)

    def senders(self, member: str, now: float) -> Mapping[str, float]:
        """Return who sent lately, and when, to the second: what is left of an element's time tells."""
        entry = self._members[member]
        found: dict[str, float] = {}
        for family, networks in entry.networks.items():
            name = f"seen{family}-{entry.spec.name}"
            result = self._run(["nft", "list", "set", *self._table.split(), name], timeout=TIMEOUT, keep=LISTING)
            if not result.succeeded:
                raise _error(result)
            times = {
                host: min(now, now - entry.spec.memory + _seconds(left))
                for host, left in _SENDER.findall(result.stdout.decode("ascii", "replace"))
            }
            found.update(with_networks(times, networks))
        return found

    # ---- text

    def _fresh_table(self) -> list[str]:
        return [f"add table {self._table}", f"delete table {self._table}", f"add table {self._table}"]

    def _structure(self, spec: _Spec) -> list[str]:
        """Return the sets, chains and rules of a member."""
        ban_chain = f"{self._table} ban-{spec.name}"
        lines = [f"add table {self._table}"]
        lines += [f"add set {self._table} {name} {definition}" for name, definition in spec.sets()]
        lines.append(f"add chain {ban_chain}")
        lines += [f"add rule {ban_chain} {rule}" for rule in spec.rules()]
        for hook, chain in zip(spec.hooks, spec.chains(), strict=True):
            place = f"type filter hook {hook} priority {spec.priority}; policy accept;"
            lines.append(f"add chain {self._table} {chain} {{ {place} }}")
            lines.append(f"add rule {self._table} {chain} {spec.match()}jump ban-{spec.name}")
        return lines

    def _removal(self, spec: _Spec) -> list[str]:
        """Return what removes a member whether or not all of it is still there: add, then delete."""
        lines = [f"add table {self._table}"]
        for chain in [*spec.chains(), f"ban-{spec.name}"]:
            lines += [f"{verb} chain {self._table} {chain}" for verb in ("add", "flush", "delete")]
        for name, definition in spec.sets():
            lines += [f"add set {self._table} {name} {definition}", f"delete set {self._table} {name}"]
        return lines

    def _present(self) -> dict[str, str]:
        """Return the chains and sets of the table, if there is one."""
        result = self._run(["nft", "-t", "list", "table", *self._table.split()], timeout=TIMEOUT, keep=LISTING)
        if not result.succeeded:  # mostly that there is none; if it is worse, the transaction will tell
            return {}
        return {name: kind for kind, name in _PRESENT.findall(result.stdout.decode("ascii", "replace"))}

    def _discard(self, names: Sequence[str]) -> list[str]:
        """Return what removes stale chains and sets, which are forgotten: rules go before what they name."""
        kinds = {name: self._stale.pop(name) for name in names}
        chains = [name for name, kind in kinds.items() if kind == "chain"]
        return [
            *(f"flush chain {self._table} {name}" for name in chains),
            *(f"delete chain {self._table} {name}" for name in chains),
            *(f"delete set {self._table} {name}" for name, kind in kinds.items() if kind == "set"),
        ]

    def _contents(self, entry: _Member, bans: Sequence[Ban], now: float) -> list[str]:
        """Return the elements of an empty member."""
        single: dict[str, list[str]] = {"4": [], "6": []}
        entry.networks = {"4": {}, "6": {}}
        for ban in bans:
            address = _checked(ban.address)
            if not _is_ahead(ban, now):
                continue
            family = str(netaddr.family(address))
            if "/" in address:
                entry.networks[family][address] = ban.until
            else:
                single[family].append(address + _timeout(ban.until, now))
        name = entry.spec.name
        lines = [self._elements("add", f"addr{family}-{name}", some) for family, some in single.items() if some]
        for family, networks in entry.networks.items():
            if networks:
                lines += self._intervals(f"net{family}-{name}", networks, now)
        return lines

    def _elements(self, verb: str, name: str, elements: Iterable[str]) -> str:
        return f"{verb} element {self._table} {name} {{ {', '.join(elements)} }}"

    def _intervals(self, name: str, networks: Mapping[str, float | None], now: float) -> list[str]:
        """Return what fills an interval set anew: those networks that no other one covers."""
        lines = [f"flush set {self._table} {name}"]
        outer = netaddr.AddressSet()
        elements = []
        for network in sorted(networks, key=lambda text: int(text.rpartition("/")[2])):
            until = networks[network]
            if network in outer or (until is not None and until <= now):
                continue
            outer.add(network)
            elements += [half + _timeout(until, now) for half in _halves(network)]
        if elements:
            lines.append(self._elements("add", name, elements))
        return lines

    def _distinct(self, member: str, spec: _Spec) -> _Spec:
        """Give members that have the same name different ones in the table."""
        others = {entry.spec.name for known, entry in self._members.items() if known != member}
        if spec.name in others:
            return replace(spec, name=f"{spec.name}-{zlib.crc32(member.encode('utf-8', 'replace')):08x}")
        return spec

    # ---- running

    def _commit(self, script: Sequence[str]) -> None:
        before = self._generation()
        known = before == self._left
        result = self._nft(["-f", "-"], script)
        after = self._generation()
        # One transaction is one generation; more means that somebody else was at work meanwhile.
        alone = before is not None and after is not None and after - before <= 1
        self._left = after if known and alone else None
        if not result.succeeded:
            raise _error(result)

    def _nft(self, arguments: Sequence[str], script: Sequence[str]) -> run.Finished:
        text = "\n".join(script) + "\n"
        return self._run(["nft", *arguments], stdin=text.encode("ascii"), timeout=TIMEOUT)


def table_of(properties: Mapping[str, str]) -> str:
    """Return the name of the table; raise ActionError for one that nft would not take."""
    return _word("table", properties.get("table", "banguard"), _TABLE, tell("a name of letters, digits, _ . -"))


def _error(result: run.Finished) -> ActionError:
    """Return what a failed nft means for those who have to go on."""
    said = result.stderr
    message = f"nft: {result.describe()}"
    if result.timed_out or result.cancelled or result.returncode in {126, 127}:
        return UnavailableError(message)
    if b"Message too long" in said or b"No buffer space" in said:
        return TooLargeError(message)
    if b"Too many open files in system" in said or b"No space left" in said:
        return FullError(f"the set is full: {message}")
    if b"Operation not permitted" in said:
        return UnavailableError(message)
    return ActionError(message)


def _is_ahead(ban: Ban, now: float) -> bool:
    return ban.until is None or ban.until > now


def _timeout(until: float | None, now: float) -> str:
    """Return the words that let an element end at *until*; none for a ban without end."""
    if until is None or until - now > LONGEST_TIMEOUT:
        return ""
    seconds = max(1, math.ceil(until - now))
    # nft takes at most eight digits of a unit.
    return f" timeout {seconds}s" if seconds < 10**8 else f" timeout {math.ceil(seconds / 86_400)}d"


def _seconds(span: str) -> float:
    """Return the seconds of a time as nft writes it: `2m1s988ms`."""
    return sum(int(number) * _UNITS[unit] for number, unit in _SPAN.findall(span))


def _halves(network: str) -> tuple[str, ...]:
    """Return *network*, or its halves when it is everything: nft takes no `/0` in a set."""
    if network == "0.0.0.0/0":
        return ("0.0.0.0/1", "128.0.0.0/1")
    if network == "::/0":
        return ("::/1", "8000::/1")
    return (network,)


def _checked(address: str) -> str:
    """Return *address* if it is a canonical address or network, and nothing else."""
    if netaddr.canonical(address) != address:
        raise ActionError(tell("{address!r} is no address", address=address))
    return address


def _word(option: str, text: str, pattern: re.Pattern[str], expected: str) -> str:
    text = " ".join(text.split())
    if pattern.match(text) is None:
        raise ActionError(
            tell("{option}: expected {expected}, not {text!r}", option=option, expected=expected, text=text)
        )
    return text


def _identifier(name: str) -> str:
    """Return *name* as part of an nftables name; another one made from it when it has other characters."""
    if _NAME.match(name) is not None:
        return name
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "_", name, flags=re.ASCII)[:32]
    return f"{cleaned}-{zlib.crc32(name.encode('utf-8', 'replace')):08x}"


def _size(text: str) -> str:
    text = text.strip()
    if text and (not text.isascii() or not text.isdecimal() or not 0 < int(text) < 2**32):
        raise ActionError(
            tell(
                "{option}: expected {expected}, not {text!r}",
                option="size",
                expected=tell("a whole number above 0"),
                text=text,
            )
        )
    return text


def _hooks(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Read `chain`, else `chain_hook`: `input`, `INPUT,FORWARD`."""
    option = "chain" if properties.get("chain", "").strip() else "chain_hook"
    text = properties.get(option, "") or "input"
    hooks = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    for hook in hooks:
        if hook not in _HOOKS:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}", option=option, known=", ".join(_HOOKS), text=hook
                )
            )
    return hooks


def _protocols(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    if "all" in words or "any" in words:
        return ()
    for word in words:
        _word("protocol", word, _PROTOCOL, "tcp, udp, … or all")
        if word not in _WITH_PORTS:
            try:
                socket.getprotobyname(word)
            except OSError:
                raise ActionError(tell("protocol: {word!r} is unknown", word=word)) from None
    return words


def _ports(text: str, protocols: tuple[str, ...]) -> tuple[str, ...]:
    """Read `ssh`, `http,https`, `5060:5069`; nothing for all ports."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or any(word.lower() in _EVERY_PORT for word in words):
        return ()
    spans: list[tuple[int, int]] = []
    for word in words:
        match = _PORT.match(word)
        if match is None:
            raise ActionError(tell("port: {word!r} is no port", word=word))
        low = _port(match[1], protocols)
        high = _port(match[2], protocols) if match[2] is not None else low
        if low > high:
            raise ActionError(tell("port: the range {word!r} ends before it begins", word=word))
        spans.append((low, high))
    joined: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(str(low) if low == high else f"{low}-{high}" for low, high in joined)


def _port(word: str, protocols: tuple[str, ...]) -> int:
    if word.isdecimal():
        number = int(word)
        if number > 65_535:
            raise ActionError(tell("port: {word!r} is larger than 65535", word=word))
        return number
    for protocol in protocols or ("tcp", "udp"):
        try:
            return socket.getservbyname(word, protocol)
        except OSError:
            continue
    try:
        return socket.getservbyname(word)
    except OSError:
        raise ActionError(tell("port: service {word!r} is unknown", word=word)) from None
