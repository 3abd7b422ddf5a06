"""What banguard-regex prints: the text report, results by a template, JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banguard import netaddr

if TYPE_CHECKING:
    from banguard.matching import FilterRules, LineResult, Match
    from banguard.matching.patterns import Pattern

# Longer lists of lines are printed on request only.
SHOWN_LINES = 20

_TAG = re.compile(r"<(?:F-(?P<group>[A-Z0-9_-]+)|(?P<name>[a-z0-9_-]+))>")
_GROUPS = {"id": "fid", "port": "fport"}
_json = json.JSONEncoder().encode
_json_text = json.encoder.encode_basestring_ascii


def clean(text: str) -> str:
    """Return *text* with every control and formatting character but tab escaped: fit for a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char == "\t" or char.isprintable() else ascii(char)[1:-1] for char in text)


def as_it_is(text: str) -> str:
    """Return *text*: for output that no terminal shows."""
    return text


@dataclass(slots=True)
class Lines:
    """The lines of one outcome: how many, and those that will be printed. *limit* None keeps them all."""

    name: str
    limit: int | None = SHOWN_LINES
    count: int = 0
    kept: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Count a line, and keep it unless there are too many to print."""
        self.count += 1
        if self.limit is None or len(self.kept) < self.limit:
            self.kept.append(line)


@dataclass(slots=True)
class Tally:
    """What came of all lines together."""

    matched: Lines = field(default_factory=lambda: Lines("Matched", 0))
    ignored: Lines = field(default_factory=lambda: Lines("Ignored"))
    missed: Lines = field(default_factory=lambda: Lines("Missed"))
    seconds: float = 0.0
    # Per failregex (by its number): id, time and whether other regexes matched as well, for -v.
    found: dict[int, list[tuple[str, float | None, bool]]] = field(default_factory=dict)
    # What the prefregex captured, for -v.
    prefixes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The number of lines."""
        return self.matched.count + self.ignored.count + self.missed.count


# ---- JSON


def summary(tally: Tally, rules: FilterRules) -> dict[str, object]:
    """Return the object of --json."""
    return {
        "lines": {
            "total": tally.total,
            "matched": tally.matched.count,
            "ignored": tally.ignored.count,
            "missed": tally.missed.count,
        },
        "failregex": _hits(rules.failures),
        "ignoreregex": _hits(rules.ignores),
        "dates": [{"template": date.name, "hits": date.hits} for date in rules.detector.templates if date.hits],
        "seconds": round(tally.seconds, 6),
    }


def _hits(patterns: Sequence[Pattern]) -> list[dict[str, object]]:
    return [{"pattern": pattern.text, "hits": pattern.hits} for pattern in patterns]


def json_line(number: int, text: str, result: LineResult) -> str:
    """Return one line of --jsonl, with its newline."""
    head = f'{{"line": {number}, "text": {_json_text(text)}, "status": "{result.status}"'
    if not result.matches:
        return f'{head}, "regex": {result.rule}}}\n' if result.rule else f"{head}}}\n"
    match = result.matches[0]
    rest: dict[str, object] = {
        "id": match.id,
        "host": match.host,
        "time": match.time,
        "user": match.user,
        "regex": result.rule,
        "groups": {name: value for name, value in match.groups.items() if value is not None},
    }
    if len(result.matches) > 1:
        rest["ids"] = [one.id for one in result.matches]
    if len(match.lines) > 1:
        rest["lines"] = match.lines
    return f"{head}, {_json(rest)[1:]}\n"


# ---- -o


def template(wanted: str) -> Callable[[Match, float], str]:
    """
    Return what prints one match (and now, for matches without a time) as the token *wanted* of -o asks.

    A token is `row`, `id`, `ip`, `msg`, `time`, `host`, `matches`, the name of a group, or a text with tags.
    """
    if wanted == "row":
        return _row
    if "<" in wanted:
        return lambda match, now: _TAG.sub(lambda tag: _fill(tag, match, now), wanted)
    return lambda match, now: str(_value(wanted, match, now))


def _row(match: Match, _now: float) -> str:
    return f"[{match.id!r},\t{match.time!r},\t{dict(match.groups)!r}],"


def _value(name: str, match: Match, now: float) -> object:
    """Return the value of a token; None when there is none of that name."""
    if name in {"id", "fid"}:
        return match.id
    if name == "ip":
        return match.groups.get("ip") or match.id
    if name == "host":
        return match.host
    if name == "time":
        return now if match.time is None else match.time
    if name in {"msg", "matches"}:
        return "\n".join(match.lines)
    if name == "family":
        family = netaddr.family(match.groups.get("ip") or match.id)
        return f"inet{family}" if family else ""
    if name == "ip-rev":
        return netaddr.reverse(match.groups.get("ip") or match.id)
    return match.groups.get(name)


def _fill(tag: re.Match[str], match: Match, now: float) -> str:
    group, name = tag.groups()
    if group:
        group = group.lower()
        return match.groups.get(_GROUPS.get(group, group)) or ""
    value = _value(name, match, now)
    return tag[0] if value is None and name not in match.groups else str(value or "")


# ---- the text report


def report(tally: Tally, rules: FilterRules, *, verbose: int, verbose_date: bool) -> Iterator[str]:
    """Yield the lines of the report from `Results` on."""
    yield from ("", "", "Results", "=======", "")
    if rules.prefix is not None:
        yield f"Prefregex: {rules.prefix.hits} total"
        yield f"|  {rules.prefix.regex}"
        yield from (f"|      {data}" for data in tally.prefixes)
        yield from ("`-", "")
    yield from _regexes("Failregex", rules.failures, verbose=verbose, found=tally.found)
    yield from _regexes("Ignoreregex", rules.ignores, verbose=verbose, found={})
    yield "Date template hits:"
    dates = [date for date in rules.detector.templates if date.hits or verbose]
    if dates:
        yield "|- [# of hits] date format"
        for date in dates:
            yield f"|  [{date.hits}] {date.name}"
            if verbose_date:
                yield f"|      # regex:   {date.regex}"
        yield "`-"
    counts = ", ".join(f"{lines.count} {lines.name.lower()}" for lines in (tally.ignored, tally.matched, tally.missed))
    yield from ("", f"Lines: {tally.total} lines, {counts}", f"[processed in {tally.seconds:.2f} sec]", "")


def _regexes(
    name: str,
    patterns: Sequence[Pattern],
    *,
    verbose: int,
    found: Mapping[int, Sequence[tuple[str, float | None, bool]]],
) -> Iterator[str]:
    yield f"{name}: {sum(pattern.hits for pattern in patterns)} total"
    rows = [(number, pattern) for number, pattern in enumerate(patterns, 1) if pattern.hits or verbose]
    if rows:
        yield "|-  #) [# of hits] regular expression"
        for number, pattern in rows:
            yield f"|  {number:2d}) [{pattern.hits}] {pattern.text}"
            for host, at, several in found.get(number, ()):
                when = "no date" if at is None else time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(at))
                yield f"|      {host}  {when}{' (multiple regex matched)' if several else ''}"
        yield "`-"
    yield ""


def listing(lines: Lines, debuggex: Sequence[Pattern] = ()) -> Iterator[str]:
    """Yield the lines of one outcome, or that there are too many of them; with *debuggex* an URL for each regex."""
    from urllib.parse import urlencode  # noqa: PLC0415  a heavy import that only --debuggex needs

    if not lines.count:
        return
    title = f"{lines.name} line(s):"
    if lines.limit is not None and lines.count > lines.limit:
        word = f"--print-all-{lines.name.lower()}"
        yield f"{title} too many to print.  Use {word} to print all {lines.count} lines"
        return
    yield f"|- {title}"
    for line in lines.kept:
        if not debuggex:
            yield f"|  {line}"
        for pattern in debuggex:
            query = urlencode({"re": pattern.regex, "str": line, "flavor": "python"})
            yield f"|  {line} | {pattern.text} |  https://www.debuggex.com/?{query}"
    yield "`-"
