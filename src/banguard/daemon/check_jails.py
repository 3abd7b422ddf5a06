"""Check the settings of jails: those that can never ban, that ban nobody, that are there twice."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from banguard import netaddr
from banguard.config.options import did_you_mean
from banguard.config.schema import Config, JailConfig, Problem, Severity
from banguard.jails.ignore import is_host_name
from banguard.message import Message, tell

Lookup = Callable[[str], Sequence[str]]

UNIT_DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
                    "/usr/lib/systemd/system", "/lib/systemd/system")  # fmt: skip
"""Where systemd looks for units: systemd.unit(5)."""


def check_settings(jail: JailConfig, *, lookup: Lookup, units: Callable[[], Collection[str]]) -> Iterator[Problem]:
    """
    Yield what keeps *jail* from banning, or from sparing whom it should.

    *lookup* gives the addresses of a host name, *units* the names of the units of systemd (none: there is no systemd).
    """
    for option, severity, message in (*_limits(jail), *_ignored(jail, lookup), *_units(jail, units)):
        place = jail.places.get(option) or jail.filter.places.get(option) or jail.places.get("filter")
        yield Problem(severity, message, jail.name, place)


def _limits(jail: JailConfig) -> Iterator[tuple[str, Severity, Message]]:
    if jail.bantime == 0:
        yield "bantime", Severity.WARNING, tell("bantime is 0: each ban ends as it begins", code="jail-never")
    if jail.maxretry < 1:
        message = tell("maxretry = {count} counts as 1", code="value-bad", count=jail.maxretry)
        yield "maxretry", Severity.WARNING, message
    elif jail.maxretry > 1 and jail.findtime < 1:
        message = tell(
            "findtime is {seconds:g} seconds: {count} failures never count together",
            code="jail-never",
            seconds=jail.findtime,
            count=jail.maxretry,
        )
        yield "findtime", Severity.WARNING, message


# ---- ignoreip


def _ignored(jail: JailConfig, lookup: Lookup) -> Iterator[tuple[str, Severity, Message]]:
    for entry in dict.fromkeys(jail.ignoreip):
        severity = Severity.WARNING
        message = _wrong_entry(entry, lookup)
        if message is not None:
            yield "ignoreip", severity, message


def _wrong_entry(entry: str, lookup: Lookup) -> Message | None:
    if entry.startswith("file:"):
        path = entry.removeprefix("file:").removeprefix("//")
        if os.path.isfile(path) and os.access(path, os.R_OK):
            return None
        return tell("ignoreip: the file {path} cannot be read", code="ignoreip-file", path=path)
    address = netaddr.canonical(entry)
    if address is not None:
        if not address.endswith("/0"):
            return None
        return tell("ignoreip: {entry} is everybody of that family: nobody is banned", code="jail-never", entry=entry)
    if not is_host_name(entry):
        return tell(
            "ignoreip: {entry!r} is neither an address nor a network nor a name", code="ignoreip-form", entry=entry
        )
    if not lookup(entry):
        return tell("ignoreip: the name {entry!r} does not resolve now", code="ignoreip-unresolved", entry=entry)
    return None


# ---- journal


def _units(jail: JailConfig, units: Callable[[], Collection[str]]) -> Iterator[tuple[str, Severity, Message]]:
    """Tell of match sets all of whose units are unknown, in a jail that reads the journal."""
    if jail.backend.lower() not in {"systemd", "journald"}:
        return
    named = [
        word.partition("=")[2]
        for line in jail.filter.journalmatch
        for word in line
        if word.startswith(("_SYSTEMD_UNIT=", "_SYSTEMD_USER_UNIT="))
    ]
    others = any(not any(word.startswith("_SYSTEMD") for word in line) for line in jail.filter.journalmatch)
    known = units() if named and not others else ()
    if known and not any(_is_known(unit, known) for unit in named):
        message = tell(
            "journalmatch: there is no unit {unit!r} on this machine{hint}",
            code="unit-unknown",
            unit=named[0],
            hint=_similar(named[0], known),
        )
        yield "journalmatch", Severity.WARNING, message


def _similar(unit: str, known: Collection[str]) -> str:
    """Return a hint; endings, which all units have, make no two alike."""
    stem, _, ending = unit.rpartition(".")
    return did_you_mean(stem, [each.removesuffix("." + ending) for each in known if each.endswith("." + ending)])


def _is_known(unit: str, known: Collection[str]) -> bool:
    if unit in known or not unit.endswith(".service"):
        return True
    template = re.sub(r"@.*(?=\.service$)", "@", unit)
    return template in known


def installed_units(directories: Iterable[str] = UNIT_DIRECTORIES) -> frozenset[str]:
    """Return the names of all unit files."""
    found: set[str] = set()
    for directory in directories:
        try:
            found.update(os.listdir(directory))
        except OSError:
            continue
    return frozenset(found)


# ---- several jails


def check_doubled(config: Config) -> Iterator[Problem]:
    """Yield jails that find the same failures in the same logs as one before them."""
    seen: dict[object, JailConfig] = {}
    for jail in config.jails.values():
        rules = jail.filter
        logs = frozenset(path.pattern for path in jail.logpath) if jail.backend != "systemd" else frozenset("journal")
        if not (rules.failregex or rules.fields) or not logs:
            continue
        key = (rules.prefregex, rules.failregex, rules.fields, rules.ignoreregex, rules.journalmatch, logs)
        other = seen.setdefault(key, jail)
        if other is jail:
            continue
        limits = [(each.maxretry, each.findtime, each.bantime) for each in (jail, other)]
        same = limits[0] == limits[1] and {each.file for each in jail.actions} == {each.file for each in other.actions}
        message = tell(
            "it finds what [{other}] finds: the same rules on the same log", code="jail-doubled", other=other.name
        )
        proposal = tell("leave one of the two out, or give them other limits or actions") if same else ""
        place = jail.places.get("filter") or jail.places.get("logpath")
        yield Problem(Severity.WARNING if same else Severity.NOTE, message, jail.name, place, proposal)
