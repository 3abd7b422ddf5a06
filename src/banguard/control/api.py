"""
What the commands need of a running server.

`ServerApi` is kept by `daemon/app.py` and, for tests, by an in-memory double. All values are frozen and plain; no
method hands out a live object. Methods are called from several control threads at once.

Blocking: the methods that only look (`server_config`, `jail_names`, `jail`, `rules`, `action_…` without a change) read
snapshots and return at once. The others post one message into the owner's inbox and wait for its reply. No method waits
for a firewall or for any other program of an action, with one exception: `call_action`, which *is* the wish to run it.
A reply that does not come within the server's patience (some seconds; a reload may take longer) raises `ControlError`
saying so; the change may still be carried out later.

Errors: `ControlError` alone, its text made for the operator. Those that other tools know by heart have functions here:
`unknown_jail`, `duplicate_jail`, `unknown_action`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from banguard.config.schema import ActionConfig, JailConfig, ServerConfig
from banguard.errors import ControlError
from banguard.model import Ban, Fact, JailStats

if TYPE_CHECKING:
    from banguard.actions import ActionStats
    from banguard.sources import LogStats

if TYPE_CHECKING:
    from banguard.bans.store import PastBan
    from banguard.jails.explain import Explanation

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
"""What can travel in a reply."""


def unknown_jail(name: str) -> ControlError:
    """Return the error for a jail that does not exist."""
    return ControlError(f"Sorry but the jail '{name}' does not exist")


def duplicate_jail(name: str) -> ControlError:
    """Return the error for a jail that exists already."""
    return ControlError(f"The jail '{name}' already exists")


def unknown_action(jail: str, name: str) -> ControlError:
    """Return the error for an action that the jail does not have."""
    return ControlError(f"The jail '{jail}' has no action '{name}'")


@dataclass(frozen=True, slots=True)
class ActiveBan:
    """A ban and whether it is *enforced*: every firewall action of the jail holds it at present."""

    ban: Ban
    enforced: bool


@dataclass(frozen=True, slots=True)
class JailView:
    """
    One jail at one moment.

    *config* is the configuration in force, changes by `set` included. *backend* is what reads the lines in fact:
    `polling`, `pyinotify`, `systemd`, or empty while nothing is read. *files* are the logs being read, globs expanded,
    sorted; empty for the journal. *bans* are ordered by their end, those for ever last, equal ends by host.
    *total_banned* counts the bans since the jail started, restored ones included. *observed* are the bans that there
    would be in a jail that only observes. *problem* says in one line what is wrong with the jail, empty if nothing is.
    """

    config: JailConfig
    backend: str
    stats: JailStats
    files: tuple[str, ...] = ()
    bans: tuple[ActiveBan, ...] = ()
    total_banned: int = 0
    started: bool = True
    idle: bool = False
    problem: str = ""
    observed: tuple[Ban, ...] = ()

    @property
    def is_journal(self) -> bool:
        """Whether the lines come from the journal, so that matches are shown in place of files."""
        return self.backend == "systemd" or self.config.backend.lower() == "systemd"


@dataclass(frozen=True, slots=True)
class RulesView:
    """
    The regexes of a jail as they are compiled, tags replaced.

    *date* describes the date pattern: `(pattern, name)`; None stands for the default detectors.
    """

    prefregex: str = ""
    failregex: tuple[str, ...] = ()
    ignoreregex: tuple[str, ...] = ()
    date: tuple[str, str] | None = None
    successregex: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """
    What `reload` and `restart JAIL` ask for.

    *jail* None means all. *directory* None means the configuration directory the server was started with. *restart*
    stops and starts the jails concerned even when their configuration did not change. *unban* first ends the bans of
    the jails concerned and forgets them in the store. *if_exists*: a jail that neither runs nor is configured is no
    error.
    """

    jail: str | None = None
    directory: str | None = None
    restart: bool = False
    unban: bool = False
    if_exists: bool = False


class ServerApi(Protocol):
    """The running server, as commands see it."""

    # ---- the server as a whole

    def is_ready(self) -> bool:
        """Tell whether all jails that can start are started."""
        ...

    def server_config(self) -> ServerConfig:
        """Return the server's options in force, changes by `set` included. *dbfile* empty or `None`: no database."""
        ...

    def change_server(self, edit: Callable[[ServerConfig], ServerConfig]) -> ServerConfig:
        """
        Put `edit(current)` in force, one such change at a time, and return it.

        Only fields that differ are applied: `loglevel`, `logtarget`, `syslogsocket` (the log), `dbfile`,
        `dbmaxmatches`, `dbpurgeage` (the store), `allowipv6`, `stacksize` (threads started from now on).
        Raises ControlError, changing nothing, for a log that cannot be opened, an unknown level, a database that cannot
        be opened or may not be exchanged now. What *edit* raises passes through. Blocks briefly.
        """
        ...

    def flush_logs(self) -> str:
        """Reopen the log when it is a file (returns `rolled over`), else flush it (returns `flushed`)."""
        ...

    def reload(self, request: ReloadRequest) -> tuple[str, ...]:
        """
        Read the configuration and put the differences in force; return the warnings and errors that were survived.

        Nothing changes when the new configuration is unusable as a whole: ControlError with every error, a line each,
        with file and line. Errors of single jails are returned, these jails keep running as they are.
        Raises `unknown_jail` for a jail that is not configured (unless *if_exists*). Blocks until done.
        """
        ...

    def stop(self) -> None:
        """Ask the server to stop in order; returns at once, the process ends soon after."""
        ...

    # ---- looking on

    def now(self) -> float:
        """Return the server's own time, in epoch seconds."""
        ...

    def started_at(self) -> float:
        """Return when the server was started, in epoch seconds."""
        ...

    def logs(self) -> tuple[LogStats, ...]:
        """Return the numbers of every log that is read."""
        ...

    def action_stats(self, jail: str) -> Mapping[str, ActionStats]:
        """Return the numbers of the jail's actions by name; none for a jail that does not exist."""
        ...

    def subscribe(self, observer: Callable[[Fact], None]) -> None:
        """Tell *observer* of every fact from now on, where it happens; it must neither block nor raise."""
        ...

    def unsubscribe(self, observer: Callable[[Fact], None]) -> None:
        """Tell *observer* of nothing more."""
        ...

    # ---- jails

    def jail_names(self) -> tuple[str, ...]:
        """Return the names of all jails, sorted."""
        ...

    def jail(self, name: str) -> JailView:
        """Return the jail as it is now; raises `unknown_jail`."""
        ...

    def rules(self, name: str) -> RulesView:
        """Return the compiled regexes; raises `unknown_jail`."""
        ...

    def explain(self, line: str, jail: str | None) -> tuple[Explanation, ...]:
        """
        Return how *jail* (None: each one) would treat *line* if it were written now; nothing is counted.

        Blocks until the jails have answered; `ignorecommand` is run, and names may be looked up. Raises `unknown_jail`.
        """
        ...

    def why(self, host: str, watch: float) -> Mapping[str, JsonValue]:
        """
        Return why *host* is banned or not, and whether the ban keeps it out.

        Blocks: the firewall is asked, and packets of a banned host are watched for *watch* seconds.
        """
        ...

    def self_test(self, jail: str, *, line: str, write_log: bool) -> Mapping[str, JsonValue]:
        """
        Test the whole chain of *jail* with failures of 192.0.2.1, and leave nothing behind.

        *line* empty: one is made from the regexes. With *write_log* the lines go into the jail's own log. Blocks until
        done, some seconds at most. Raises `unknown_jail`.
        """
        ...

    def past(self, host: str) -> Sequence[PastBan]:
        """Return the bans of *host*, and of networks that it is in, as far as they are remembered; newest first."""
        ...

    def add_jail(self, config: JailConfig) -> None:
        """Create a jail that is not started yet; raises `duplicate_jail`, or ControlError for an unusable one."""
        ...

    def start_jail(self, name: str) -> None:
        """Start a jail made by `add_jail`; one that runs already stays as it is. Raises `unknown_jail`. Blocks."""
        ...

    def stop_jail(self, name: str) -> None:
        """Stop and remove a jail; its bans are taken out of the firewall and kept in the store. Blocks."""
        ...

    def set_idle(self, name: str, idle: bool) -> None:
        """Suspend or resume reading and banning of a jail; raises `unknown_jail`."""
        ...

    def change_jail(self, name: str, edit: Callable[[JailConfig], JailConfig]) -> JailConfig:
        """
        Put `edit(current)` in force, one such change at a time, and return it.

        *edit* is a pure function that uses `dataclasses.replace`; it is called exactly once. Fields it may change:
        `filter` (`failregex`, `ignoreregex`, `prefregex`, `maxlines`, `datepattern`, `journalmatch`), `logpath`,
        `logencoding`, `logtimezone`, `maxretry`, `maxmatches`, `findtime`, `bantime`, `increment`, `ignoreself`,
        `ignoreip`, `ignorecommand`, `ignorecache`, `usedns`; never `name`, `backend` or `actions`. Failure counts and
        bans stay. Raises `unknown_jail`, and ControlError, changing nothing, when a regex, date pattern, encoding or
        journal match cannot be used. What *edit* raises passes through. Blocks until the jail works with it.
        """
        ...

    # ---- bans

    def ban(self, jail: str, hosts: Sequence[str]) -> int:
        """
        Ban *hosts* (canonical addresses, networks, or other ids) now and return how many were not banned before.

        No ignore rule is asked. Returns once the bans are recorded, before the firewall has them.
        Raises `unknown_jail`.
        """
        ...

    def import_bans(self, jail: str, bans: Sequence[Ban]) -> int:
        """
        Take over *bans* that another program had, and return how many of them are in force now.

        Of bans that are over only the count is remembered. Hosts that are banned keep their ban, ignored ones are
        spared. Raises `unknown_jail`.
        """
        ...

    def unban(self, jail: str | None, hosts: Sequence[str]) -> Mapping[str, int]:
        """
        End the bans of exactly these *hosts* in *jail* (None: in all jails).

        The store forgets them too, banned at present or not. Returns for each
        host that was banned the number of jails it was banned in; hosts that were not are left out.
        Raises `unknown_jail`.
        """
        ...

    def unban_all(self, jail: str | None) -> int:
        """End all bans of *jail* (None: of all jails), forget them in the store, return how many there were."""
        ...

    def attempt(self, jail: str, host: str, lines: Sequence[str]) -> int:
        """
        Count failures of *host*: one per line, at least one.

        Returns 1, or 0 when the ignore rules spare the host. Raises `unknown_jail`. Blocks until the jail has counted.
        """
        ...

    # ---- actions of a jail; all raise `unknown_jail` and `unknown_action`

    def add_action(self, jail: str, action: ActionConfig) -> None:
        """Add an action, start it, give it the current bans; ControlError when the name is taken or it is unusable."""
        ...

    def delete_action(self, jail: str, name: str) -> None:
        """Take the bans out of an action, stop and remove it."""
        ...

    def action_properties(self, jail: str, name: str) -> Mapping[str, JsonValue]:
        """Return what `get J action A PROP` can ask for, with its value: commands and tags, or attributes."""
        ...

    def action_methods(self, jail: str, name: str) -> tuple[str, ...]:
        """Return the names of what `call_action` can call, sorted."""
        ...

    def set_action_property(self, jail: str, name: str, key: str, value: str) -> JsonValue:
        """Set a command, tag or attribute of an action and return the value it has now."""
        ...

    def call_action(self, jail: str, name: str, method: str, arguments: Mapping[str, JsonValue]) -> JsonValue:
        """Call a method of an action with keyword arguments and return its result; blocks until it is done."""
        ...
