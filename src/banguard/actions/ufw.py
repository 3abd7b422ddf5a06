"""
Bans as rules of ufw, in front of its others: `ufw prepend reject from ADDRESS to any comment banguard`.

ufw takes a rule at a time, a fifth of a second each: with many bans prefer nftables, which works beside it. A reload of
ufw keeps them, since ufw writes them down itself. See ufw(8).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from banguard import netaddr, run
from banguard.actions.generation import generation
from banguard.actions.plain import PlainFirewall
from banguard.actions.xtables import Runner, error_of, identifier
from banguard.errors import ActionError
from banguard.message import tell

TIMEOUT = 30.0
BLOCKS = ("deny", "reject")
USER_RULES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules")

_TUPLE = re.compile(r"^### tuple ### (?P<block>\w+) \S+ \S+ \S+ \S+ (?P<source>\S+) in comment=(?P<comment>[0-9a-f]*)")
_APPLICATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Spec:
    """What happens, to which traffic, and the mark by which our rules are told."""

    block: str
    target: tuple[str, ...]
    mark: str

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Spec:
        """Read *properties*; raise ActionError naming the option."""
        block = properties.get("blocktype", "").strip() or "reject"
        if block not in BLOCKS:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}",
                    option="blocktype",
                    known=", ".join(BLOCKS),
                    text=block,
                )
            )
        application = properties.get("application", "").strip()
        if application and _APPLICATION.match(application) is None:
            raise ActionError(
                tell("{option}: {text!r} is no name that can be used", option="application", text=application)
            )
        mark = f"banguard {identifier(properties.get('name', '') or 'default')}"
        return cls(block, ("app", application) if application else (), mark)

    def words(self, address: str) -> list[str]:
        """Return the words of a rule."""
        return [self.block, "from", address, "to", "any", *self.target]


class Ufw:
    """The rules of ufw."""

    def __init__(self, runner: Runner = run.run, *, files: Sequence[str] = USER_RULES) -> None:
        self._run = runner
        self._files = files
        self._left: tuple[object, ...] | None = None

    def begin(self, spec: Spec) -> Collection[str]:
        """Return what an earlier run left behind; rules need nothing else."""
        return self._written(spec)

    def end(self, spec: Spec) -> None:
        """Take all of our rules out."""
        self.remove(spec, list(self._written(spec)))

    def add(self, spec: Spec, bans: Mapping[str, float | None], now: float) -> None:
        """Add rules in front of the others; a rule has no end of its own."""
        del now
        held = self._written(spec)
        for address in bans:
            if address not in held:
                self._call("prepend", *spec.words(address), "comment", spec.mark)
        self._left = self._state()

    def remove(self, spec: Spec, addresses: Sequence[str]) -> None:
        """Delete rules."""
        held = self._written(spec)
        for address in addresses:
            if address in held:
                self._call("delete", *spec.words(address))
        self._left = self._state()

    def held(self, spec: Spec) -> Collection[str] | None:
        """Return the addresses of our rules, None when the kernel has none of what ufw has written down."""
        if not self._run(["iptables", "-w", "5", "-n", "-L", "ufw-user-input", "1"], timeout=TIMEOUT).succeeded:
            return None
        if not self._run(["iptables", "-w", "5", "-C", "INPUT", "-j", "ufw-before-input"], timeout=TIMEOUT).succeeded:
            raise ActionError(
                "INPUT does not lead to the chains of ufw any more (iptables -F?), which ufw itself does not mend; "
                "iptables -F && iptables -X && ufw reload does"
            )
        self._left = self._state()
        return self._written(spec)

    def changed(self) -> bool:
        """Tell whether ufw's files or the rules of the kernel were touched since."""
        return self._left is None or self._state() != self._left

    def reload(self) -> None:
        """Let ufw put into the kernel what it has written down."""
        self._call("reload")

    def _written(self, spec: Spec) -> set[str]:
        found = set()
        for path in self._files:
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            for line in lines:
                rule = _TUPLE.match(line)
                if rule and bytes.fromhex(rule["comment"]).decode("utf-8", "replace") == spec.mark:
                    address = netaddr.canonical(rule["source"])
                    if address is not None:
                        found.add(address)
        return found

    def _state(self) -> tuple[object, ...]:
        states: list[object] = [generation()]
        for path in self._files:
            try:
                status = os.stat(path)
            except OSError:
                states.append(None)
            else:
                states.append((status.st_ino, status.st_mtime_ns))
        return tuple(states)

    def _call(self, *words: str) -> None:
        result = self._run(["ufw", *words], stdin=b"", timeout=TIMEOUT)
        if not result.succeeded:
            raise error_of(result)


class UfwAction(PlainFirewall[Spec]):
    """Rules of ufw for all jails."""

    chunk = 20
    look_every = 1.0

    def __init__(self, properties: Mapping[str, str], *, runner: Runner = run.run) -> None:
        del properties
        self._ufw = Ufw(runner)
        super().__init__(self._ufw, Spec.of, (4, 6))

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all jails share ufw."""
        del properties
        return "ufw"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        Spec.of(properties)

    def check(self) -> bool:
        """Tell whether all is in force; what only the kernel lost, ufw itself puts back."""
        if super().check():
            return True
        self._ufw.reload()
        return super().check()
