"""Look which services run or have logs here, and propose their jails: `banguard-client detect`."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from banguard.cli.render import clean
from banguard.config import load
from banguard.config.options import is_true
from banguard.config.schema import JailConfig
from banguard.control.protocol import REFUSED, USAGE
from banguard.errors import BanguardError, ConfigError, ControlError
from banguard.matching import make_rules

USAGE_TEXT = "detect [--apply] [--root DIR] [--json]"

TAIL = 512 * 1024
"""Bytes at the end of a log that are tried."""
_MOST_LINES = 5000
# A log that more jails read than this says nothing about a single service.
_SHARED = 2
_UNITS = ("etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system")
# Processes that are called otherwise than the filter of their service.
_CALLED = {
    "apache": ("apache2", "httpd"),
    "exim": ("exim4",),
    "mysqld": ("mysqld", "mariadbd"),
    "mariadb": ("mysqld", "mariadbd"),
    "mongodb": ("mongod",),
    "named": ("named",),
    "postfix": ("master",),
    "postgresql": ("postgres",),
    "redis": ("redis-server", "valkey-server"),
    "freeswitch": ("freeswitch",),
    "ejabberd": ("ejabberd",),
    "squid": ("squid",),
    "znc": ("znc",),
    "pure": ("pure-ftpd",),
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """
    A jail for a service that is here.

    *why* tells by what it was found, *log* is the newest log (empty: the journal). *lines* were tried, of which
    *failures* count. *state* is `new`, or `enabled` when the configuration has it already.
    """

    jail: str
    why: str
    log: str
    lines: int
    failures: int
    state: str = "new"


def run(words: Sequence[str], directory: str, *, as_json: bool = False) -> int:
    """
    Carry out `detect` with *words*; the jails are those of *directory*.

    Return 0, also when nothing was found. Raise ControlError for bad usage, ConfigError when the configuration cannot
    be read or a file cannot be written.
    """
    apply, root = _arguments(words)
    found = list(proposals(directory, root))
    written, kept = write(directory, [each.jail for each in found if each.state == "new"], found) if apply else ([], [])
    if as_json:
        print(json.dumps({"jails": [asdict(each) for each in found], "written": written, "kept": kept}))
        return 0
    for line in report(found):
        print(clean(line))
    for line in _told(found, written, kept, directory, apply=apply):
        print(clean(line))
    return 0


def _arguments(words: Sequence[str]) -> tuple[bool, str]:
    apply, root = False, "/"
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--apply":
            apply = True
        elif word == "--root" and rest:
            root = rest.pop(0)
        elif word.startswith("--root="):
            root = word.partition("=")[2]
        else:
            raise ControlError(f"usage: banguard-client {USAGE_TEXT}", status=USAGE)
    if not os.path.isdir(root):
        raise ControlError(f"there is no directory {root}", status=REFUSED)
    return apply, root


def proposals(directory: str, root: str = "/") -> Iterator[Proposal]:
    """Yield the jails of the services that run below *root*, or have logs there, in the order of their names."""
    config = load(directory, disabled=True)
    running = processes(root)
    readers = Counter(path for jail in config.jails.values() for path in {each.pattern for each in jail.logpath})
    for name in sorted(config.jails):
        found = _look(config.jails[name], root, running, readers)
        if found is not None:
            yield found


def processes(root: str) -> frozenset[str]:
    """Return the names of the processes below *root*, as /proc/PID/comm tells them (proc(5): at most 15 bytes)."""
    names = set()
    for path in glob.glob(os.path.join(glob.escape(root), "proc/[0-9]*/comm")):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                names.add(file.read().rstrip("\n"))
        except OSError:
            continue
    return frozenset(names)


def _look(jail: JailConfig, root: str, running: frozenset[str], readers: Counter[str]) -> Proposal | None:
    if jail.backend == "history":
        return None
    own, logs = False, []
    for entry in jail.logpath:
        there = [path for path in glob.glob(glob.escape(root.rstrip("/")) + entry.pattern) if os.path.isfile(path)]
        own = own or (readers[entry.pattern] <= _SHARED and any(os.path.getsize(path) for path in there))
        logs += there
    process = next((name for name in sorted(running) if _is_of(jail, name)), "")
    unit = next(
        (unit for unit in _units(jail) if any(os.path.exists(os.path.join(root, at, unit)) for at in _UNITS)), ""
    )
    lines = failures = 0
    log = max(logs, key=_time, default="")
    for path in sorted(logs, key=_time)[-3:]:
        tried, counted = _try(jail, path)
        lines, failures = lines + tried, failures + counted
        log = path if counted else log
    why = [
        *([f"{failures} failures in its log"] if failures else []),
        *([f"process {process}"] if process else []),
        *([f"unit {unit}"] if unit else []),
        *(["its log is there"] if own else []),
    ]
    if not why or not (logs or (jail.filter.journalmatch and (process or unit))):
        return None
    state = "enabled" if is_true(jail.texts.get("enabled", "")) else "new"
    return Proposal(jail.name, ", ".join(why), _without(root, log), lines, failures, state)


def _time(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _without(root: str, path: str) -> str:
    return "/" + path[len(root.rstrip("/")) :].lstrip("/") if path else ""


def _is_of(jail: JailConfig, process: str) -> bool:
    """Tell whether *process* belongs to the service of *jail*, by its journalmatch or by the name of its filter."""
    name = jail.filter.name
    service = name.partition("-")[0]
    called = {
        term.partition("=")[2] for match in jail.filter.journalmatch for term in match if term.startswith("_COMM=")
    }
    called.update((name, service, service + "d", *_CALLED.get(service, ())))
    return process in called


def _units(jail: JailConfig) -> list[str]:
    terms = [term for match in jail.filter.journalmatch for term in match]
    return [term.partition("=")[2] for term in terms if term.startswith("_SYSTEMD_UNIT=")]


def _try(jail: JailConfig, path: str) -> tuple[int, int]:
    """Return how many of the last lines of a log were tried, and how many of them count as failures."""
    try:
        rules = make_rules(jail.filter, usedns="no", timezone=jail.logtimezone)
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            data = file.read(TAIL)
            now = os.fstat(file.fileno()).st_mtime
    except (OSError, BanguardError):
        return 0, 0
    lines = data.decode("utf-8", "replace").split("\n")[-_MOST_LINES - 1 :]
    lines = [line for line in (lines[1:] if len(data) == TAIL else lines) if line]
    failures = 0
    for line in lines:
        dated = rules.date(line, now)
        failures += bool(rules.match(dated, dated.time or now).matches)
    return len(lines), failures


# ---- what is written and told


def write(directory: str, names: Sequence[str], found: Sequence[Proposal]) -> tuple[list[str], list[str]]:
    """
    Write jail.d/local-NAME.local for each of *names* below *directory*; return the paths written, and those left alone.

    A file that is there is never overwritten. Raise ConfigError when one cannot be written.
    """
    written, kept = [], []
    journal = {each.jail for each in found if not each.log}
    for name in names:
        path = os.path.join(directory, "jail.d", f"local-{name}.local")
        text = (
            f"# Made by banguard-client detect. Remove this file and reload to undo it.\n\n[{name}]\nenabled = true\n"
        )
        if name in journal:
            text += "backend = systemd\n"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                file.write(text)
            written.append(path)
        except FileExistsError:
            kept.append(path)
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", path=path) from None
    return written, kept


def report(found: Sequence[Proposal]) -> Iterator[str]:
    """Yield the lines of the table."""
    if not found:
        yield "No service was found for which there is a jail."
        return
    rows = [("jail", "", "failures", "lines", "log", "why")]
    rows += [
        (
            each.jail,
            "on" if each.state == "enabled" else "new",
            str(each.failures),
            str(each.lines),
            each.log or "journal",
            each.why,
        )
        for each in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [
            text.rjust(width) if column in {2, 3} else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield "  ".join((*cells, row[5])).rstrip()


def _told(
    found: Sequence[Proposal], written: Sequence[str], kept: Sequence[str], directory: str, *, apply: bool
) -> Iterator[str]:
    new = [each for each in found if each.state == "new"]
    if not new:
        return
    yield ""
    if not apply:
        yield f"{len(new)} jails are new. `banguard-client detect --apply` enables them, in {directory}/jail.d."
        return
    yield from (f"written: {path}" for path in written)
    yield from (f"left alone, it is there already: {path}" for path in kept)
    if written:
        yield f"To undo: rm {directory}/jail.d/local-NAME.local. To put them in force: banguard-client reload"
