"""Read sample lines of a filter, with what is expected of each: `NAME.log` beside the filter."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from dataclasses import dataclass

from banguard.errors import ConfigError
from banguard.matching.attack import ESCAPES

Pairs = tuple[tuple[str, str], ...]


def epoch(text: str) -> float:
    """Read `2026-11-20T22:27:27` as UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


NOW = epoch("2026-11-21T12:00:00")
"""When the samples are read."""

_FREE = re.compile(r"# free: (?P<kinds>[a-z0-9_,]+) escape=(?P<how>[a-z]+)")


@dataclass(frozen=True)
class Sample:
    """One line and what is expected of it with some options of the filter."""

    filter: str
    number: int
    line: str
    matches: bool
    expected: Pairs
    options: Pairs

    @property
    def id(self) -> str:
        """File, line and options in short."""
        options = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.filter}:{self.number}" + (f"[{options}]" if options else "")

    @property
    def host(self) -> str:
        """The host that is expected; empty when none is."""
        expected = dict(self.expected)
        return expected.get("success", "") or expected.get("host", "")


def parse(name: str, text: str) -> list[Sample]:
    """Read the text of a file of samples; raise ConfigError naming the line of *name*.log that is not understood."""
    samples: list[Sample] = []
    expectations: list[tuple[bool, Pairs, Pairs]] = []
    path = f"{name}.log"
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith(("##", "# free: ")):
            continue
        if line.startswith("# "):
            expectations.append(_expectation(line[2:], path, number))
            continue
        if not expectations:
            raise ConfigError("nothing is expected of this line", path=path, line=number)
        samples += [Sample(name, number, line, *expectation) for expectation in expectations]
        expectations = []
    if expectations:
        raise ConfigError("an expectation stands at the end without a line", path=path)
    return samples


def _expectation(text: str, path: str, number: int) -> tuple[bool, Pairs, Pairs]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(str(error), path=path, line=number) from None
    matches = words[:1] == ["match"]
    if not matches and words[:2] != ["no", "match"]:
        raise ConfigError("an expectation begins with `match` or `no match`", path=path, line=number)
    words = words[1:] if matches else words[2:]
    given = words.index("with") if "with" in words else len(words)
    pairs = []
    for word in (*words[:given], *words[given + 1 :]):
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ConfigError("expected KEY=VALUE", path=path, line=number)
        pairs.append((key, value))
    return matches, tuple(pairs[:given]), tuple(pairs[given:])


def escapes(name: str, text: str) -> dict[str, str]:
    """
    Return by kind of field how the service writes text that others choose: the `# free:` lines.

    Raise ConfigError for one that is not understood.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("# free: "):
            free = _FREE.fullmatch(line.strip())
            if free is None or free["how"] not in ESCAPES:
                raise ConfigError("expected `# free: KIND escape=HOW`", path=f"{name}.log", line=number)
            found.update(dict.fromkeys(free["kinds"].split(","), free["how"]))
    return found
