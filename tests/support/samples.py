"""Read the samples of the shipped filters: tests/filters/NAME.log (see the README there)."""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
from dataclasses import dataclass

from banguard.matching.attack import ESCAPES

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = os.path.join(CHECKOUT, "config")
SAMPLES = os.path.join(CHECKOUT, "tests", "filters")


def epoch(text: str) -> float:
    """Read `2026-11-20T22:27:27` as UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


NOW = epoch("2026-11-21T12:00:00")


@dataclass(frozen=True)
class Sample:
    """One line and what is expected of it with some options of the filter."""

    filter: str
    number: int
    line: str
    matches: bool
    expected: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """Short name for pytest."""
        options = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.filter}:{self.number}" + (f"[{options}]" if options else "")


def parse(name: str, text: str) -> list[Sample]:
    """Read the text of one sample file; raise ValueError naming the line that is not understood."""
    samples: list[Sample] = []
    expectations: list[tuple[bool, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith(("##", "# free: ")):
            continue
        if line.startswith("# "):
            expectations.append(_expectation(line[2:], f"{name}.log:{number}"))
            continue
        if not expectations:
            raise ValueError(f"{name}.log:{number}: nothing is expected of this line")
        samples += [Sample(name, number, line, *expectation) for expectation in expectations]
        expectations = []
    if expectations:
        raise ValueError(f"{name}.log: an expectation stands at the end without a line")
    return samples


def _expectation(text: str, where: str) -> tuple[bool, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    words = shlex.split(text)
    matches = words[:1] == ["match"]
    if not matches and words[:2] != ["no", "match"]:
        raise ValueError(f"{where}: an expectation begins with `match` or `no match`")
    words = words[1:] if matches else words[2:]
    given = words.index("with") if "with" in words else len(words)
    pairs = [tuple(word.partition("=")[::2]) for word in words[:given] + words[given + 1 :]]
    if any(
        not key or "=" not in word for (key, _), word in zip(pairs, words[:given] + words[given + 1 :], strict=True)
    ):
        raise ValueError(f"{where}: expected KEY=VALUE")
    return matches, tuple(pairs[:given]), tuple(pairs[given:])


def names() -> list[str]:
    """Return the names of the shipped filters; files that others include (`*common.conf`) are none."""
    entries = os.listdir(os.path.join(CONFIG, "filter.d"))
    found = (entry.removesuffix(".conf") for entry in entries if entry.endswith(".conf"))
    return sorted(name for name in found if not name.endswith("common"))


def load(name: str) -> list[Sample]:
    """Read the samples of one filter."""
    with open(os.path.join(SAMPLES, f"{name}.log"), encoding="utf-8", newline="\n") as file:
        return parse(name, file.read())


_FREE = re.compile(r"# free: (?P<kinds>[a-z,]+) escape=(?P<how>[a-z]+)")


def escapes(name: str) -> dict[str, str]:
    """Return by kind of field how the service writes text that others choose: the `# free:` lines of a sample file."""
    found: dict[str, str] = {}
    with open(os.path.join(SAMPLES, f"{name}.log"), encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("# free: "):
                free = _FREE.fullmatch(line.strip())
                if free is None or free["how"] not in ESCAPES:
                    raise ValueError(f"{name}.log:{number}: expected `# free: KIND escape=HOW`")
                found.update(dict.fromkeys(free["kinds"].split(","), free["how"]))
    return found
