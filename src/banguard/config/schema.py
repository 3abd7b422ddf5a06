"""
Frozen dataclasses: Config, ServerConfig, JailConfig, FilterConfig, ActionConfig.

They hold typed values after all files were merged and expanded. The defaults here are those of an option that no file
names. Durations are seconds; -1 as a ban time means for ever.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: file and line (from 1)."""

    path: str
    line: int


class Severity(enum.Enum):
    """How bad a problem is: an error makes its jail (or the server) unusable; a note may well be on purpose."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Something wrong in the configuration; *jail* is empty when it concerns the server as a whole.

    *message* is English; as a `Message` it can be said in other languages, and so can *proposal*, what to do about it.
    """

    severity: Severity
    message: str
    jail: str = ""
    place: Place | None = None
    proposal: str = ""

    def __str__(self) -> str:
        where = f"{self.place.path}:{self.place.line}: " if self.place else ""
        jail = f"[{self.jail}] " if self.jail else ""
        return f"{where}{self.severity.value}: {jail}{self.message}"


@dataclass(frozen=True, slots=True)
class FilterConfig:
    """
    A filter as one jail uses it (options of the jail already put over those of the filter).

    Regexes still hold their tags (`<HOST>`, `<F-USER>`); `matching` expands and compiles them. *places* gives file and
    line of `failregex[0]`, `ignoreregex[0]`, `prefregex`, `datepattern`, … for error messages. With *logformat* `json`
    *fields* are the conditions on fields: names of options such as `field.status` and `ignorefield2.user`, and the
    regexes of each.
    """

    name: str = ""
    prefregex: str = ""
    failregex: tuple[str, ...] = ()
    ignoreregex: tuple[str, ...] = ()
    successregex: tuple[str, ...] = ()
    maxlines: int = 1
    datepattern: str | None = None
    journalmatch: tuple[tuple[str, ...], ...] = ()
    logtype: str = "file"
    logformat: str = ""
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()
    datefield: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    path: str = ""
    places: Mapping[str, Place] = field(default_factory=lambda: MappingProxyType({}), compare=False)


class ActionKind(enum.Enum):
    """What carries an action out: shell text, a Python file of the user, or a class of ours."""

    COMMAND = "command"
    PYTHON = "python"
    NATIVE = "native"


@dataclass(frozen=True, slots=True)
class ActionConfig:
    """
    One action of one jail.

    *name* is unique within the jail (`actname`), *file* is the name in action.d. *commands* maps `actionstart`,
    `actionban`, … (also `actionban?family=inet6`) to shell text with its run-time tags; *properties* are the tags
    ([Init] and bracket options, also `blocktype?family=inet6`), `name` among them. For a Python action *properties*
    are its keyword arguments. For a native one *native* names the class in the table of `banguard.actions.base` and
    *properties* are its parameters. *start_on_demand* None means: by whether any option is conditional.
    """

    name: str
    file: str
    kind: ActionKind = ActionKind.COMMAND
    commands: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    properties: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    native: str = ""
    path: str = ""
    norestored: bool = False
    start_on_demand: bool | None = None
    repair_on_unban: bool = False


@dataclass(frozen=True, slots=True)
class LogPath:
    """One entry of `logpath`: a path or shell glob, and whether to begin at the end of what is there."""

    pattern: str
    tail: bool = False


@dataclass(frozen=True, slots=True)
class BantimeIncrement:
    """How ban times grow for hosts that come back (`bantime.…`)."""

    enabled: bool = False
    factor: float = 1.0
    formula: str = ""
    multipliers: tuple[int, ...] = ()
    maxtime: float | None = None
    rndtime: float | None = None
    overalljails: bool = False
    rearm: bool = False
    decay: float | None = None
    quiet: float | None = None

    @property
    def listen_every(self) -> int:
        """Seconds between two readings of who still sends, for `quiet`."""
        return min(60, max(1, int((self.quiet or 0.0) / 20)))

    @property
    def hold(self) -> float:
        """Seconds that a ban lasts at least after a packet: those of `quiet`, and until a reading can have told."""
        return self.quiet + 2 * self.listen_every if self.quiet else 0.0

    def decayed(self, count: int, away: float) -> int:
        """Return how many of *count* earlier bans still count for a host that stayed away for *away* seconds."""
        return count if not self.decay or away < self.decay else max(0, count - int(away // self.decay))


@dataclass(frozen=True, slots=True)
class BanPrefix:
    """
    Networks that count and are banned in the place of single addresses (`banprefix.…`), by their length in bits.

    Once *offenders* hosts of one wider network were banned within findtime, the wider network is; 0 means never.
    """

    ipv4: int = 32
    ipv6: int = 128
    wider_ipv4: int = 24
    wider_ipv6: int = 48
    offenders: int = 0

    @property
    def is_single(self) -> bool:
        """Whether no network counts in the place of its addresses."""
        return self.ipv4 >= 32 and self.ipv6 >= 128


@dataclass(frozen=True, slots=True)
class IgnoreCache:
    """`ignorecache`: remember the verdict of the ignore rules under a key."""

    key: str
    max_count: int = 100
    max_time: float = 300.0


@dataclass(frozen=True, slots=True)
class JailConfig:
    """Everything about one enabled jail; *texts* holds the options that files name, expanded but not yet typed."""

    name: str
    filter: FilterConfig = field(default_factory=FilterConfig)
    backend: str = "auto"
    backend_options: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    logpath: tuple[LogPath, ...] = ()
    skip_if_nologs: bool = False
    systemd_if_nologs: bool = True
    logencoding: str = "auto"
    logtimezone: str | None = None
    maxretry: int = 3
    success_forgets: bool = False
    maxmatches: int = 5
    findtime: float = 600.0
    bantime: int = 600
    increment: BantimeIncrement = field(default_factory=BantimeIncrement)
    prefix: BanPrefix = field(default_factory=BanPrefix)
    kill_connections: bool = False
    observe: bool = False
    ignoreself: bool = True
    ignoreip: tuple[str, ...] = ()
    ignorecommand: str = ""
    ignorecache: IgnoreCache | None = None
    usedns: str = "warn"
    actions: tuple[ActionConfig, ...] = ()
    texts: Mapping[str, str] = field(default_factory=lambda: _EMPTY, compare=False)
    places: Mapping[str, Place] = field(default_factory=lambda: MappingProxyType({}), compare=False)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """
    `banguard.conf` (or `fail2ban.conf` where there is none) and the command line over it.

    *stands_for* is the log file of fail2ban whose configuration is run: jails that read it get ours instead.
    """

    loglevel: str = "INFO"
    logtarget: str = "STDERR"
    syslogsocket: str = "auto"
    socket: str = "/run/banguard/banguard.sock"
    pidfile: str = "/run/banguard/banguard.pid"
    allowipv6: str = "auto"
    dbfile: str = "/var/lib/banguard/banguard.sqlite3"
    dbmaxmatches: int = 10
    dbpurgeage: float = 86400.0
    stacksize: int = 0
    protect: tuple[str, ...] = ()
    keep_rules: bool = False
    stands_for: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration: the server, the jails that can run, and everything that is wrong."""

    directory: str
    server: ServerConfig = field(default_factory=ServerConfig)
    jails: Mapping[str, JailConfig] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make a jail, or the server, unusable."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)
