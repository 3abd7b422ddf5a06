"""The contract every source keeps, and the table of known sources."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from banguard.errors import SourceError
from banguard.message import tell

if TYPE_CHECKING:
    import threading

    from banguard.clock import Clock
    from banguard.config.schema import LogPath
    from banguard.matching.prefilter import Wanted
    from banguard.model import Candidates, Cursor, Fact

Spans = tuple[tuple[int, int], ...]
Publish = Callable[["Fact"], None]
DateOf = Callable[[str], "float | None"]

# What a prefilter says of one block: for each jail its candidate lines, None for every line.
Prefilter = Callable[[bytes], Mapping[str, "Spans | None"]]
# Builds the prefilter of one log for the jails that read it; None when every line goes to every jail.
PrefilterFor = Callable[[str, Sequence["Subscription"]], "Prefilter | None"]


WantedOf = Callable[[], "Wanted | None"]


class Sink(Protocol):
    """Where a source puts blocks: the inbox of a jail."""

    def offer(self, item: Candidates, limit: int | None = None) -> bool:
        """Add *item* without waiting; False when it holds *limit* items, is full, or closed."""
        ...

    @property
    def closed(self) -> bool:
        """Whether nobody will take anything any more."""
        ...


def no_date(_line: str) -> float | None:
    """Say that a line has no date: then no old line is passed over at the start."""
    return None


def every_line() -> Wanted | None:
    """Say that every line is wanted."""
    return None


@dataclass(frozen=True, slots=True)
class Subscription:
    """
    What one jail wants to read.

    *logpath* are paths or globs; *journalmatch* are the lines of that option, each split at blanks (a `+` stands
    alone). *encoding* is the codec of the logs (`auto`: that of the locale). *resume* maps a log to the position that
    the jail has processed. Without one, lines older than *findtime* seconds are passed over: *date_of* tells the date
    of a line (epoch seconds), and is called in the thread of the source. *inbox* takes the blocks. *wanted* tells what
    a line must hold to be worth handing out (None: nothing); it is asked for each block, in the thread of the source.
    """

    jail: str
    inbox: Sink
    logpath: tuple[LogPath, ...] = ()
    encoding: str = "auto"
    resume: Mapping[str, Cursor] = field(default_factory=lambda: MappingProxyType({}))
    findtime: float = 600.0
    date_of: DateOf = no_date
    journalmatch: tuple[tuple[str, ...], ...] = ()
    backend_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    wanted: WantedOf = every_line


@dataclass(frozen=True, slots=True)
class LogStats:
    """
    Numbers of one log, made by the thread that reads it.

    *behind* is how many bytes the file holds that were not handed out yet (unknown for a journal: 0), *wait_seconds*
    how long blocks stood because a jail's inbox was full, *trouble* why it cannot be read at present (empty: it can).
    *lines* are those read, of large blocks by an estimate from their beginning.
    """

    log: str
    jails: tuple[str, ...]
    offset: int = 0
    behind: int = 0
    blocks: int = 0
    bytes_read: int = 0
    rotations: int = 0
    truncations: int = 0
    cut_lines: int = 0
    wait_seconds: float = 0.0
    trouble: str = ""
    lines: int = 0


class Source(Protocol):
    """
    A way of waiting for lines; it serves any number of jails in one thread.

    `subscribe` and `unsubscribe` may be called from any thread, before and during `run`; the thread takes them up on
    its next round. To end `run`, set the event and call `wake`. When `run` raises, it may simply be called again: it
    goes on where it was.
    """

    name: str

    def subscribe(self, subscription: Subscription) -> None:
        """
        Begin to read for a jail.

        For a jail that is known and gives the same inbox this is an update: logs that it had before go on where they
        are, *resume* counts only for the others.
        """
        ...

    def unsubscribe(self, jail: str) -> None:
        """Hand out nothing more to *jail*."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Read until *stop* is set; this is the body of the thread."""
        ...

    def wake(self) -> None:
        """End the present wait."""
        ...

    def files(self, jail: str) -> tuple[str, ...]:
        """Return the logs that are read for *jail* (none for a journal)."""
        ...

    def snapshot(self) -> tuple[LogStats, ...]:
        """Return the numbers of every log."""
        ...


# name → where its class is; imported on use. The class takes (clock=, publish=, prefilter_for=).
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "polling": "banguard.sources.polling:PollingSource",
        "inotify": "banguard.sources.inotify:InotifySource",
        "journald": "banguard.sources.journald:JournalSource",
    }
)

_ALIASES = MappingProxyType({"pyinotify": "inotify", "systemd": "journald"})


def open_source(name: str, *, clock: Clock, publish: Publish, prefilter_for: PrefilterFor | None = None) -> Source:
    """Make the source *name* of the table; SourceError when it cannot work on this machine, saying what is missing."""
    module, _, attribute = SOURCES[name].partition(":")
    factory = cast("Callable[..., Source]", getattr(importlib.import_module(module), attribute))
    return factory(clock=clock, publish=publish, prefilter_for=prefilter_for)


def check_source(name: str) -> None:
    """Raise SourceError when source *name* cannot work here: a package is missing, or the kernel refuses."""
    module = importlib.import_module(SOURCES[name].partition(":")[0])
    cast("Callable[[], None]", module.check)()


def source_name(backend: str) -> str:
    """Return the name in the table for a `backend` option other than `auto`; SourceError for an unknown word."""
    word = backend.strip().lower()
    word = _ALIASES.get(word, word)
    if word not in SOURCES:
        known = ", ".join(["auto", *SOURCES, *_ALIASES])
        raise SourceError(tell("unknown backend {backend!r}; known are {known}", backend=backend, known=known))
    return word


def resolve(backend: str, *, has_files: bool = True, has_journalmatch: bool = False) -> str:
    """
    Return which source serves a jail: a name of the table.

    `auto` is the journal when no log file exists and there is a journalmatch, else inotify where that works, else
    polling. Raises SourceError for an unknown word, and for a backend that cannot work here; its message names the
    Debian package that is missing.
    """
    if backend.strip().lower() == "auto":
        if not has_files and has_journalmatch:
            check_source("journald")
            return "journald"
        try:
            check_source("inotify")
        except SourceError:
            return "polling"
        return "inotify"
    name = source_name(backend)
    check_source(name)
    return name
