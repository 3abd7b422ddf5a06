"""Examine a configuration on the machine it is for: all that is wrong, unused, or cannot work here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from banguard.clock import Clock
from banguard.config.ini import Tree
from banguard.config.paths import shipped_directory
from banguard.config.schema import Config, JailConfig, Problem, Severity
from banguard.config.server import is_fail2ban
from banguard.config.unread import unread
from banguard.daemon.check import check
from banguard.daemon.check_actions import Run, available, check_actions, read_services
from banguard.daemon.check_jails import Lookup, check_doubled, check_settings, installed_units
from banguard.daemon.check_logs import check_logs
from banguard.daemon.parts import make_rules, with_own_log
from banguard.daemon.pool import with_journal_where_no_log
from banguard.errors import ConfigError
from banguard.matching import FilterRules
from banguard.message import tell


def examine(config: Config, *, clock: Clock, lookup: Lookup, run: Run) -> tuple[Problem, ...]:
    """
    Return everything that is wrong: what `check` finds, what is not used, and what this machine says to it.

    *lookup* gives the addresses of a host name, *run* runs programs that only ask. Reads the ends of logs; writes
    nothing.
    """
    config = with_journal_where_no_log(with_own_log(config))
    found = list(check(config))
    vendor = None if is_fail2ban(config.directory) else shipped_directory()
    used = {
        "filter.d": frozenset(jail.filter.name for jail in config.jails.values()),
        "action.d": frozenset(action.file for jail in config.jails.values() for action in jail.actions),
    }
    found += unread(Tree(config.directory, vendor), used)
    units = lru_cache(maxsize=1)(installed_units)
    services = lru_cache(maxsize=1)(read_services)
    for jail in config.jails.values():
        found += check_settings(jail, lookup=lookup, units=units)
        rules = rules_of(jail)
        if rules is not None:
            found += loose_regexes(jail, rules)
        if reads_files(jail):
            found += check_logs(jail, rules, clock.now())
    found += check_actions(config, which=available, run=run, services=services)
    found += check_doubled(config)
    return tuple(dict.fromkeys(found))


def reads_files(jail: JailConfig) -> bool:
    """Tell whether what *jail* reads are files."""
    return jail.backend.lower() not in {"systemd", "journald", "history"}


def rules_of(jail: JailConfig) -> FilterRules | None:
    """Return the rules of *jail*, as for files; None when they cannot be used."""
    try:
        return make_rules(jail, journal=False)
    except ConfigError:
        return None


def loose_regexes(jail: JailConfig, rules: FilterRules) -> Iterator[Problem]:
    """Warn of each regex that is found anywhere in a line, also in text that others choose."""
    if rules.prefix is not None or rules.maxlines > 1:
        return
    for number, pattern in enumerate(rules.failures):
        if pattern.is_anchored:
            continue
        message = tell(
            "failregex {regex!r} is looked for anywhere in a line, also in names and texts that strangers choose: "
            "they could have others banned",
            code="regex-loose",
            regex=pattern.text,
        )
        place = jail.filter.places.get(f"failregex[{number}]") or jail.places.get("filter")
        proposal = tell("begin it with ^ and what stands at the beginning of the line behind the date")
        yield Problem(Severity.WARNING, message, jail.name, place, proposal)
