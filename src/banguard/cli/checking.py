"""Check the configuration: `banguard-client check`."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from banguard.cli import configuration
from banguard.cli.configuration import COUNTED, Voice, as_object, has_failed, lines_of, show, voice
from banguard.clock import SystemClock
from banguard.config import load, load_jail
from banguard.config.schema import Config, JailConfig, Problem, Severity
from banguard.control.protocol import REFUSED, USAGE
from banguard.errors import ConfigError, ControlError

USAGE_TEXT = "check [--strict] [--log FILE] [--jail JAIL] [--lang LANGUAGE] [--json]"

LINES = "{path}: {count} lines"
HEADS = ("jail", "rule", "hits", "regex")
HOSTS = "[{jail}] {hosts} hosts, {banned} of them would be banned, {ignored} lines ignored"

REGEX_WIDTH = 100
"""Characters of a regex that are shown."""

MESSAGES = (LINES, *HEADS, HOSTS)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    strict: bool = False
    log: str = ""
    jail: str = ""
    language: str | None = None


def run(
    words: Sequence[str],
    directory: str,
    overrides: Mapping[str, str],
    environment: Mapping[str, str],
    *,
    as_json: bool = False,
    quiet: bool = False,
) -> int:
    """
    Carry out `check` with *words*; return 1 when something is wrong (with `--strict`: also for warnings), else 0.

    Raise ControlError for bad usage, ConfigError for a directory or jail that is not there, SourceError for a log that
    cannot be read.
    """
    wish = parse(words)
    say = voice(wish.language, environment)
    config = load(directory, overrides=overrides)
    problems = list(configuration.find(_only(config, wish.jail)))
    if wish.jail:
        problems = [each for each in problems if each.jail in {"", wish.jail}]
    table: dict[str, object] = {}
    text: list[str] = []
    if wish.log:
        hits, table, text = _try(wish, config, say)
        problems += hits
    failed = has_failed(problems, strict=wish.strict)
    counts = {each: sum(problem.severity is each for problem in problems) for each in Severity}
    if as_json:
        numbers = {f"{each.value}s": count for each, count in counts.items()}
        print(json.dumps({**as_object(problems, say, failed=failed), **numbers, **table}, ensure_ascii=False))
        return REFUSED if failed else 0
    for line in text:
        show(line)
    for problem in problems:
        if not quiet or problem.severity is Severity.ERROR:
            for line in lines_of(problem, say):
                show(line)
    names = {"errors": Severity.ERROR, "warnings": Severity.WARNING, "notes": Severity.NOTE}
    show(say.words(COUNTED, **{name: counts[each] for name, each in names.items()}))
    return REFUSED if failed else 0


def parse(words: Sequence[str]) -> Wish:
    """Return what *words* ask for; raise ControlError for what is no option."""
    given: dict[str, str] = {}
    strict = False
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--strict":
            strict = True
        elif name in {"--log", "--jail", "--lang"}:
            text = value if equals else next(rest, None)
            if not text:
                raise ControlError(f"{name} takes a value; usage: {USAGE_TEXT}", status=USAGE)
            given[name] = text
        else:
            raise ControlError(f"check does not take {word!r}; usage: {USAGE_TEXT}", status=USAGE)
    return Wish(strict, given.get("--log", ""), given.get("--jail", ""), given.get("--lang"))


def _only(config: Config, jail: str) -> Config:
    """Return *config* with the one *jail* asked for, even if it is not enabled; with all when none was."""
    if not jail:
        return config
    if jail in config.jails:
        return replace(config, jails={jail: config.jails[jail]})
    if any(problem.jail == jail for problem in config.errors):
        return replace(config, jails={})
    return replace(config, jails={jail: load_jail(config.directory, jail)})


def _try(wish: Wish, config: Config, say: Voice) -> tuple[list[Problem], dict[str, object], list[str]]:
    """Try the rules on the log; return what is to be said of that, and the table as JSON and as text."""
    from banguard.cli.hits import remarks, try_log  # noqa: PLC0415  only with a log

    names = [wish.jail] if wish.jail else list(config.jails)
    jails: list[JailConfig] = []
    for name in names:
        try:
            # As for a file, whatever the jail reads: the journal's lines have another beginning.
            jails.append(load_jail(config.directory, name, backend="polling"))
        except ConfigError:
            if wish.jail and not any(problem.jail == name for problem in config.errors):
                raise
    hits = try_log(
        wish.log, [jail for jail in jails if jail.filter.failregex or jail.filter.fields], SystemClock().now()
    )
    rows = [
        (each.jail.name, number, count, regex)
        for each in hits.jails
        for number, (count, regex) in enumerate(zip(each.rules, each.texts, strict=True), 1)
    ]
    table: dict[str, object] = {
        "lines": hits.lines,
        "hits": [dict(zip(HEADS, row, strict=True)) for row in rows],
        "jails": {
            each.jail.name: {"hosts": len(each.hosts), "banned": sorted(each.banned), "ignored": each.ignored}
            for each in hits.jails
        },
    }
    text = [say.words(LINES, path=wish.log, count=hits.lines), *_aligned([tuple(map(say.words, HEADS)), *rows])]
    text += [
        say.words(HOSTS, jail=each.jail.name, hosts=len(each.hosts), banned=len(each.banned), ignored=each.ignored)
        for each in hits.jails
    ]
    return remarks(hits), table, text


def _aligned(rows: Sequence[Sequence[object]]) -> list[str]:
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(_width(row[column]) for row in texts) for column in range(3)]
    lines = []
    for name, number, count, regex in texts:
        cells = (
            name + " " * (widths[0] - _width(name)),
            " " * (widths[1] - _width(number)) + number,
            " " * (widths[2] - _width(count)) + count,
        )
        lines.append("  ".join((*cells, regex[:REGEX_WIDTH])))
    return lines


def _width(text: str) -> int:
    """Return the columns that *text* takes: two for each wide character (Unicode Standard Annex 11)."""
    return sum(2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1 for char in text)
