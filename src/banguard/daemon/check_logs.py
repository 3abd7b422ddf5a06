"""Check the logs of a jail: whether they can be read, are written, and have dates that mean what they say."""

from __future__ import annotations

import glob
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace

from banguard.config.schema import JailConfig, Place, Problem, Severity
from banguard.daemon.parts import make_rules
from banguard.matching import FilterRules
from banguard.matching.zones import EPOCH_WALL, parse_zone
from banguard.message import Message, tell
from banguard.sources.lines import line_form

_END = 64 * 1024
_LINES = 200
_FEW = 3
_LINE = 4096
_SHOWN = 60
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z")

QUARTER = 900.0
"""Seconds: zones differ by quarters of an hour."""

SLACK = 30.0
"""Seconds by which a log may be written later than its newest line says."""

WIDEST = 26 * 3600.0
"""Seconds between the clocks of the two zones that differ most."""

STILL = 30 * 86400.0
"""Seconds after which a log that is not written any more is told of."""

NEAR = 60.0
"""Seconds that a date may lie ahead."""


def check_logs(jail: JailConfig, rules: FilterRules | None, now: float) -> Iterator[Problem]:
    """Yield what is wrong with the files of `logpath` as of *now*; with *rules* also with their dates."""
    place = jail.places.get("logpath")
    files: list[str] = []
    for path in jail.logpath:
        if not os.path.isabs(path.pattern):
            message = tell(
                "{path} is no absolute path: it is looked for where the server was started", code="log-relative",
                path=path.pattern,
            )  # fmt: skip
            yield Problem(Severity.WARNING, message, jail.name, place)
        found = sorted(glob.glob(path.pattern))
        if not found:
            yield from _nothing(jail, path.pattern, place)
        for each in found:
            wrong = _unreadable(each)
            if wrong is None:
                files.append(each)
            else:
                yield Problem(Severity.WARNING, wrong[0], jail.name, place, wrong[1])
    newest = max(files, key=_written, default=None)
    if newest is None:
        return
    age = now - _written(newest)
    if age > STILL:
        message = tell(
            "{path} was last written {days} days ago: is it still the log?", code="log-still", path=newest,
            days=int(age // 86400),
        )  # fmt: skip
        yield Problem(Severity.NOTE, message, jail.name, place)
    if rules is not None:
        yield from _dates(jail, rules, newest, now)


def _nothing(jail: JailConfig, pattern: str, place: Place | None) -> Iterator[Problem]:
    """Yield why *pattern* stands for no file, when that is a right we lack, or when other patterns do."""
    directory = os.path.dirname(pattern)
    while directory and directory != "/" and not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    if directory and not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
        message = tell("the directory {path} may not be looked into", code="log-unreadable", path=directory)
        proposal = tell("run this as the user of the server, which is root as a rule")
        yield Problem(Severity.WARNING, message, jail.name, place, proposal)
    elif len(jail.logpath) > 1 and any(glob.glob(other.pattern) for other in jail.logpath):
        message = tell("nothing matches {path}", code="log-missing", path=pattern)
        yield Problem(Severity.NOTE, message, jail.name, place)


def _unreadable(path: str) -> tuple[Message, str] | None:
    """Return why the file *path* cannot be read, and what to do; None when it can."""
    if not os.path.exists(path):
        target = os.path.realpath(path)
        if os.path.islink(path):
            return tell(
                "{path} is a link to {target}, which is not there", code="log-dangling", path=path, target=target
            ), ""
        return tell("{path} is not there", code="log-missing", path=path), ""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            proposal = tell("name the files in it: {pattern}", pattern=os.path.join(path, "*.log"))
            return tell("{path} is a directory", code="log-directory", path=path), proposal
        if not stat.S_ISREG(mode):
            return tell("{path} is no regular file", code="log-special", path=path), ""
        with open(path, "rb"):
            return None
    except OSError as error:
        message = tell("{path} cannot be read: {reason}", code="log-unreadable", path=path, reason=error.strerror)
        return message, tell("run this as the user of the server, which is root as a rule")


def _written(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


# ---- dates


def last_lines(path: str, encoding: str) -> list[str]:
    """Return the last lines of the log *path*, as far as they are near its end; none when it cannot be read."""
    if path.endswith(_PACKED):
        return []
    form = line_form(encoding)
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            form = form.settle(file.read(4))
            begin = max(0, size - _END)
            begin -= begin % form.width
            file.seek(begin)
            data = file.read(_END)
    except OSError:
        return []
    data = data[form.first_end(data) if begin else 0 : form.last_end(data)]
    text = form.decode(data, "utf-8" if encoding.lower() == "auto" else encoding)
    return [line.rstrip("\r")[:_LINE] for line in text.split("\n") if line.strip()][-_LINES:]


def _dates(jail: JailConfig, rules: FilterRules, path: str, now: float) -> Iterator[Problem]:
    lines = last_lines(path, jail.logencoding)
    found = [rules.date(line, now) for line in lines]
    place = jail.filter.places.get("datepattern") or jail.places.get("datepattern") or jail.places.get("logpath")
    times = [each.time for each in found if each.time is not None]
    if not times:
        if len(lines) >= _FEW and not any(each.optional for each in found):
            yield _undated(jail, path, lines, now, place)
        return
    newest = max(times)
    skew = _written(path) - newest
    steps = round(skew / QUARTER)
    if steps and abs(skew - steps * QUARTER) <= SLACK and abs(skew) <= WIDEST:
        line = next(line for line, each in zip(lines, found, strict=True) if each.time == newest)
        yield _skewed(jail, path, line, newest, steps)
    elif newest > now + NEAR:
        message = tell(
            "{path}: the newest date lies {minutes} minutes ahead of the clock", code="date-ahead", path=path,
            minutes=int((newest - now) // 60),
        )  # fmt: skip
        yield Problem(Severity.WARNING, message, jail.name, place)


def _undated(jail: JailConfig, path: str, lines: list[str], now: float, place: Place | None) -> Problem:
    message = tell(
        "{path}: none of the last {count} lines has a date that can be read, such as {text!r}", code="date-unread",
        path=path, count=len(lines), text=lines[-1][:_SHOWN],
    )  # fmt: skip
    proposal = tell("write a datepattern for it, or datepattern = {{NONE}} when its lines have no date")
    if jail.filter.datepattern is not None:
        usual = make_rules(replace(jail, filter=replace(jail.filter, datepattern=None)), journal=False)
        if any(usual.date(line, now).time is not None for line in lines):
            proposal = tell("leave datepattern out: the usual forms are found without it")
    return Problem(Severity.WARNING, message, jail.name, place, proposal)


def _skewed(jail: JailConfig, path: str, line: str, newest: float, steps: int) -> Problem:
    hours = _hours(-steps * QUARTER)
    message = tell(
        "{path}: the dates are off by {hours}: its newest line was written at {written}, and says {said}",
        code="date-skew", path=path, hours=hours, written=_clock(newest + steps * QUARTER), said=_clock(newest),
    )  # fmt: skip
    place = jail.places.get("logtimezone") or jail.places.get("logpath")
    if _names_zone(jail, line, newest):
        proposal = tell("the dates name their zone, so the clock of the program that writes them is wrong")
    else:
        offset = _offset(jail.logtimezone, newest) - steps * QUARTER
        zone = "UTC" if not offset else f"UTC{_hours(offset)}"
        proposal = tell("{option} = {value}", option="logtimezone", value=zone)
    return Problem(Severity.WARNING, message, jail.name, place, proposal)


def _names_zone(jail: JailConfig, line: str, now: float) -> bool:
    """Tell whether the date of *line* says its own zone, by reading it in two zones."""
    times = {
        make_rules(replace(jail, logtimezone=zone), journal=False).date(line, now).time for zone in ("UTC", "UTC+0100")
    }
    return len(times) == 1


def _offset(timezone: str | None, at: float) -> float:
    """Return the seconds east of UTC in *timezone* at *at*."""
    zone = parse_zone(timezone)
    return float(zone.offset) if zone.offset is not None else round(zone.wall(at) - EPOCH_WALL - at)


def _hours(seconds: float) -> str:
    minutes = round(abs(seconds) / 60)
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
