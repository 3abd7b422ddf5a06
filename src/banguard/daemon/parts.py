"""Build parts of the server from their configuration."""

from __future__ import annotations

import codecs
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from banguard.actions import Dispatcher
from banguard.actions.base import NATIVE_ACTIONS, native_action, tells_senders
from banguard.actions.tags import fill
from banguard.bans.registry import Registry
from banguard.bans.store import BanStore, MemoryStore
from banguard.clock import Clock
from banguard.config.schema import ActionConfig, Config, JailConfig, ServerConfig
from banguard.errors import ActionError, ConfigError, PatternError, StoreError
from banguard.jails.ignore import IgnoreRules, RunCheck
from banguard.jails.jail import Offender
from banguard.jails.resolver import Resolver
from banguard.matching import FilterRules
from banguard.matching import make_rules as compile_rules
from banguard.message import tell
from banguard.model import Fact
from banguard.run import shell

logger = logging.getLogger("banguard.server")
filter_logger = logging.getLogger("banguard.filter")
database_logger = logging.getLogger("banguard.database")

IGNORECOMMAND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Services:
    """What all jails share."""

    clock: Clock
    publish: Callable[[Fact], None]
    resolver: Resolver
    registry: Registry
    dispatcher: Dispatcher
    run_check: Callable[[str, Mapping[str, str]], int | None]
    offender: Callable[[str, JailConfig], Offender | None]
    protected: Callable[[str], bool]


def make_rules(config: JailConfig, *, journal: bool) -> FilterRules:
    """Compile the rules of a jail; ConfigError with file and line of the one that cannot be used."""
    rules = config.filter
    try:
        return compile_rules(
            rules,
            usedns=config.usedns,
            timezone=config.logtimezone,
            journal=journal,
            successes=config.success_forgets,
        )
    except PatternError as error:
        place = _place_of(config, error.pattern)
        path, line = place if place is not None else (rules.path or None, None)
        message = error.message
        if error.pattern not in message:
            message = tell("{reason}: {text!r}", reason=error.message, text=error.pattern)
        raise ConfigError(message, path=path, line=line) from None


def make_ignore(config: JailConfig, services: Services) -> IgnoreRules:
    """Build the ignore rules of a jail of the server."""
    return ignore_rules(config, clock=services.clock, resolver=services.resolver, run_check=services.run_check)


def ignore_rules(config: JailConfig, *, clock: Clock, resolver: Resolver, run_check: RunCheck) -> IgnoreRules:
    """Build the ignore rules of a jail."""
    return IgnoreRules(
        config.name,
        clock=clock,
        resolver=resolver,
        ignoreip=config.ignoreip,
        ignoreself=config.ignoreself,
        command=config.ignorecommand,
        cache=config.ignorecache,
        run_check=run_check,
    )


def check_encoding(config: JailConfig) -> None:
    """Raise ConfigError when `logencoding` names no codec."""
    if config.logencoding.lower() == "auto":
        return
    try:
        codecs.lookup(config.logencoding)
    except LookupError:
        place = config.places.get("logencoding")
        raise ConfigError(
            tell("unknown logencoding {logencoding!r}; try UTF-8 or latin-1", logencoding=config.logencoding),
            path=place.path if place else None,
            line=place.line if place else None,
        ) from None


def counts_senders(action: ActionConfig) -> bool:
    """Tell whether *action* can say which banned hosts still send."""
    try:
        return tells_senders(action)
    except ActionError:
        return False  # it cannot be used at all, which is told elsewhere


def deaf(config: JailConfig) -> str:
    """Return why `bantime.quiet` has no effect in a jail; empty when it has, or is not asked for."""
    if not config.increment.quiet or any(map(counts_senders, config.actions)):
        return ""
    can = ", ".join(name for name in NATIVE_ACTIONS if hasattr(native_action(name), "senders"))
    return tell(
        "bantime.quiet has no effect: no action of this jail can tell who still sends; these can: {can}",
        code="quiet-deaf",
        can=can,
    )


def _place_of(config: JailConfig, pattern: str) -> tuple[str, int] | None:
    rules = config.filter
    candidates: list[tuple[str, str]] = [
        *((f"failregex[{number}]", text) for number, text in enumerate(rules.failregex)),
        *((f"ignoreregex[{number}]", text) for number, text in enumerate(rules.ignoreregex)),
        *((f"successregex[{number}]", text) for number, text in enumerate(rules.successregex)),
        *((f"{option}[{number}]", text) for option, texts in rules.fields for number, text in enumerate(texts)),
        *((option, option.partition(".")[2]) for option, _ in rules.fields),
        ("prefregex", rules.prefregex),
        ("datepattern", rules.datepattern or ""),
        ("logtimezone", config.logtimezone or ""),
    ]
    for name, text in candidates:
        if text and (text == pattern or (name == "datepattern" and pattern in text)):
            place = rules.places.get(name) or config.places.get(name)
            if place is not None:
                return place.path, place.line
    return None


def run_check(command: str, tags: Mapping[str, str]) -> int | None:
    """
    Run `ignorecommand` with its *tags* and return its exit status; None when it could not be run or took too long.

    Values that a shell could misread are handed over in the environment, as for actions.
    """
    script, environment = fill(command, tags)
    finished = shell(script, environment=environment, timeout=IGNORECOMMAND_SECONDS)
    if finished.timed_out or finished.returncode not in {0, 1}:
        filter_logger.error("ignorecommand %r: %s", command, finished.describe())
        return None
    return finished.returncode


def with_own_log(config: Config) -> Config:
    """Let jails that read the log of fail2ban, whose configuration this is, read ours: bans are told of there now."""
    theirs, own = config.server.stands_for, config.server.logtarget.partition("[")[0]
    if not theirs or not own.startswith("/"):
        return config
    jails = {
        name: replace(
            jail, logpath=tuple(replace(path, pattern=own) if path.pattern == theirs else path for path in jail.logpath)
        )
        for name, jail in config.jails.items()
    }
    return replace(config, jails=jails)


def open_store(config: ServerConfig) -> BanStore:
    """
    Make the ban store that `dbfile` names: a file, `:memory:` or `None`.

    A file that cannot be opened now is reported; the registry goes on without it and tries again.
    """
    if config.dbfile.lower() in {"none", "", ":memory:"}:
        return MemoryStore(max_matches=config.dbmaxmatches, purge_age=config.dbpurgeage)
    from banguard.bans.store_sqlite import SqliteStore  # noqa: PLC0415  slow to import, and not always wanted

    store = SqliteStore(config.dbfile, max_matches=config.dbmaxmatches, purge_age=config.dbpurgeage)
    try:
        store.reopen()
        database_logger.info("Connected to banguard persistent database '%s'", config.dbfile)
    except StoreError as error:
        database_logger.error("%s; bans are kept in memory until the database can be used", error)
    return store


def allow_ipv6(setting: str) -> bool:
    """Tell whether actions handle IPv6: as `allowipv6` says, with `auto` when this machine has it."""
    word = setting.strip().lower()
    if word in {"1", "on", "true", "yes"}:
        return True
    if word != "auto":
        return False
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", encoding="ascii") as file:
            return file.read().strip() == "0"
    except OSError:
        pass
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
