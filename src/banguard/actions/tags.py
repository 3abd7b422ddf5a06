"""
Replace the tags of action commands: `<name>`, `<ip>`, `<matches>`, `<F-USER>`.

Two kinds. **Static** tags come from the configuration (properties of the action, other commands of it); they are
replaced recursively, a value for the family (`blocktype?family=inet6`) before the general one. **Dynamic** tags come
from the ban and so, in the end, from whoever wrote into the log; they are replaced in one pass over the text, never
again in what was put in. A harmless value is pasted, any other one is passed in an environment variable and the tag
becomes a reference to it, so that no shell ever reads it as text.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from banguard import netaddr
from banguard.actions.base import History, JailNumbers, ReverseLookup
from banguard.errors import ActionError, StoreError
from banguard.message import tell
from banguard.model import Ban

TAG = re.compile(r"<([^\s<>]+)>")
_CAPTURE = re.compile(r"F-[A-Z0-9_-]+\Z", re.ASCII)
_REFERENCE = re.compile(r"\b(?:BANGUARD|f2bV)_(\w+)", re.ASCII)

MOST_ROUNDS = 25
"""How often tags may be put together out of the values of others in one text."""

LONGEST_PASTED = 2048
"""Characters a harmless value may have and still be pasted; longer ones become a variable."""

LONGEST_VALUE = 98_304
"""Bytes of one value in the environment; the kernel takes 128 KiB (MAX_ARG_STRLEN, execve(2))."""

LONGEST_CAPTURE = 8_192
"""Bytes of one captured group (`<F-…>`)."""

# What a shell could take for anything but plain text. Control characters are not in the list that actions rely on, but
# no useful value has them.
_UNSAFE = re.compile(r"""[\\#&;`|*?~<>^()\[\]{}$'"\x00-\x1f\x7f]""")

_FAMILIES = {4: "inet4", 6: "inet6"}


def _full_host_name() -> str:
    """Return the name with its domain; where that is only `localhost`, the plain name says more."""
    name = socket.getfqdn()
    return socket.gethostname() if name.partition(".")[0] == "localhost" else name


_BUILT_IN: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "br": lambda: "\n",
        "sp": lambda: " ",
        "fq-hostname": _full_host_name,
        "sh-hostname": lambda: socket.gethostname().partition(".")[0],
    }
)

DYNAMIC = frozenset({
    "ip", "fid", "family", "ip-rev", "ip-host", "failures", "time", "bantime", "bancount", "matches", "ipmatches",
    "ipfailures", "ipjailmatches", "ipjailfailures", "restored", "raw-ticket", "jail.name", "jail.banned",
    "jail.banned_total", "jail.found", "jail.found_total",
})  # fmt: skip
"""The tags a ban gives, captured groups aside."""

_COSTLY = frozenset({
    "ip-host", "ipmatches", "ipfailures", "ipjailmatches", "ipjailfailures", "jail.banned", "jail.banned_total",
    "jail.found", "jail.found_total", "raw-ticket",
})  # fmt: skip
_FREE_TEXT = frozenset({"fid", "ip-host", "matches", "ipmatches", "ipjailmatches", "raw-ticket"})


def family_of(ban: Ban) -> str:
    """Return `inet4` or `inet6`, empty when the ban is of no address."""
    return _FAMILIES.get(netaddr.family(ban.address) or 0, "")


def is_conditional(names: Iterable[str]) -> bool:
    """Tell whether any of *names* is for one family only (`blocktype?family=inet6`)."""
    return any("?family=" in name for name in names)


def expand_static(text: str, values: Mapping[str, str], family: str = "") -> str:
    """
    Replace all static tags of *text*, also those that replacements bring in or put together, until nothing changes.

    Unknown tags stay. Raise ActionError when a tag refers to itself.
    """
    return _expand(text, values, family, ())


def _expand(text: str, values: Mapping[str, str], family: str, inside: tuple[str, ...]) -> str:
    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        value = values.get(f"{name}?family={family}") if family else None
        if value is None:
            value = values.get(name)
        if value is None:
            return _BUILT_IN[name]() if name in _BUILT_IN else match[0]
        if name in inside:
            raise ActionError(tell("{name} refers to itself", name=match[0]))
        return _expand(value, values, family, (*inside, name))

    for _ in range(MOST_ROUNDS):
        expanded = TAG.sub(value_of, text)
        if expanded == text:
            return text
        text = expanded  # `<a-<b>>`: replacing the inner tag made a new one
    raise ActionError(tell("{name} leads on without end", name=repr(text[:60])))


class BanTags(Mapping[str, object]):
    """
    The dynamic tags of one ban; those that cost something are made when they are asked for, once.

    Names are without brackets: `ip`, `matches`, `F-USER`. Captured groups that the ban lacks are empty text.
    """

    def __init__(
        self,
        ban: Ban,
        *,
        restored: bool = False,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
    ) -> None:
        self._ban = ban
        self._restored = restored
        self._history = history
        self._reverse_lookup = reverse_lookup
        self._jail_numbers = jail_numbers
        self._known: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        if name not in self._known:
            self._known[name] = self._make(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        yield from sorted(DYNAMIC)
        for name in self._ban.data:
            yield capture_tag(name)

    def __len__(self) -> int:
        return len(DYNAMIC) + len(self._ban.data)

    def _make(self, name: str) -> object:
        ban = self._ban
        match name:
            case "ip":
                return ban.address
            case "fid":
                return ban.host
            case "family":
                return family_of(ban) or "None"
            case "ip-rev":
                return netaddr.reverse(ban.address)
            case "ip-host":
                return self._host_name() or "None"
            case "failures":
                return ban.failures
            case "time":
                return int(ban.since)
            case "bantime":
                return ban.bantime
            case "bancount":
                return ban.count
            case "matches":
                return "\n".join(ban.matches)
            case "ipmatches" | "ipfailures":
                return self._past(None)[name == "ipfailures"]
            case "ipjailmatches" | "ipjailfailures":
                return self._past(ban.jail)[name == "ipjailfailures"]
            case "restored":
                return int(self._restored)
            case "raw-ticket":
                return repr(ban)
            case "jail.name":
                return ban.jail
        if name.startswith("jail.") and name in DYNAMIC:
            numbers = self._jail_numbers(ban.jail) if self._jail_numbers is not None else {}
            return numbers.get(name.removeprefix("jail."), 0)
        if _CAPTURE.match(name) is not None:
            key = name[2:].lower()
            return ban.data.get(key, "")
        raise KeyError(name)

    def _host_name(self) -> str | None:
        if self._reverse_lookup is None or not family_of(self._ban):
            return None
        try:
            return self._reverse_lookup(self._ban.address)
        except OSError:
            return None

    def _past(self, jail: str | None) -> tuple[str, int]:
        """Return the lines and the number of failures of the host up to now; its own where nothing more is known."""
        key = f" past {jail}"
        if key not in self._known:
            lines: Sequence[str] = ()
            failures = 0
            if self._history is not None:
                with contextlib.suppress(StoreError):
                    lines, failures = self._history(self._ban.host, jail)
            self._known[key] = (
                "\n".join(lines) if lines else "\n".join(self._ban.matches),
                failures or self._ban.failures,
            )
        past: tuple[str, int] = self._known[key]  # type: ignore[assignment]
        return past


class FixedTags(Mapping[str, object]):
    """The dynamic tags of commands that concern no ban (start, stop, check, flush): time and family."""

    def __init__(self, jail: str, now: float, family: str) -> None:
        self._values = {"time": int(now), "family": family, "jail.name": jail}

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def capture_tag(name: str) -> str:
    """Return the tag of captured group *name*: `user` → `F-USER`."""
    return f"F-{name.upper()}"


def variable_of(tag: str) -> str:
    """Return the name of the variable for *tag*, without prefix: `ip-host` → `ip_host`, `F-USER` → `F_user`."""
    if _CAPTURE.match(tag) is not None:
        tag = "F_" + tag[2:].lower()
    return re.sub(r"\W", "_", tag, flags=re.ASCII)


def fill(text: str, tags: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """
    Put the dynamic tags into *text* (static ones are replaced already) for `/bin/sh -c`.

    Return the script and what to add to the environment. Harmless values are in the script; for every other one the
    script refers to `$f2bV_<variable>`. The environment holds those, and all values as `BANGUARD_<variable>`; values
    that cost something only when the text names them (as a tag or as a variable).
    """
    variables: dict[str, str] = {}

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        try:
            value = tags[name]
        except KeyError:
            return match[0]
        plain = text_of(name, value)
        if len(plain) <= LONGEST_PASTED and _UNSAFE.search(plain) is None:
            return plain
        variable = "f2bV_" + variable_of(name)
        variables[variable] = plain
        return "$" + variable

    named = {match[1] for match in _REFERENCE.finditer(text)}
    script = TAG.sub(value_of, text)
    for name in tags:
        variable = variable_of(name)
        if name in _COSTLY and variable not in named and f"<{name}>" not in text:
            continue
        plain = text_of(name, tags[name])
        variables["BANGUARD_" + variable] = plain
        if variable in named:
            variables.setdefault("f2bV_" + variable, plain)
    return script, variables


def single_quoted(text: str) -> tuple[str, ...]:
    """
    Return the dynamic tags in single quotes of shell *text* whose value may be anything.

    There a shell would see the name of the variable in place of its value: `'<matches>'` says `$f2bV_matches`.
    """
    found: dict[str, None] = {}
    quote = ""
    place = 0
    while place < len(text):
        letter = text[place]
        if letter == "\\" and quote != "'":
            place += 2
            continue
        if letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        elif letter == "<" and quote == "'":
            match = TAG.match(text, place)
            if match is not None and (match[1] in _FREE_TEXT or _CAPTURE.match(match[1]) is not None):
                found[match[1]] = None
        place += 1
    return tuple(found)


def text_of(name: str, value: object) -> str:
    """
    Return *value* of tag *name* as text for the environment: without NUL, and not longer than a program can be given.

    Of too many lines the newest are kept.
    """
    text = str(value).replace("\0", "")
    limit = LONGEST_CAPTURE if _CAPTURE.match(name) is not None else LONGEST_VALUE
    if len(text) * 4 <= limit:
        return text
    data = text.encode("utf-8", "surrogateescape") if _encodes(text) else text.encode("utf-8", "replace")
    if len(data) <= limit:
        return text
    data = data[-limit:]
    newline = data.find(b"\n")
    if newline >= 0:
        data = data[newline + 1 :]
    return data.decode("utf-8", "ignore")


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
