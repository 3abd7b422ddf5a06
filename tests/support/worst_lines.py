"""
Lines of 64 KiB that are made to keep a filter busy, and what each costs.

`for label, line in worst_lines(samples)` makes them from sample lines; `cost(rules, line)` gives seconds of processor
time, `dearest(rules, samples)` the line that costs most. As a program: `python tests/support/worst_lines.py [NAME…]`
prints the dearest line of shipped filters.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from banguard.config import load_filter
from banguard.errors import BanguardError
from banguard.matching import FilterRules, make_rules
from support import samples as shipped

CAP = 64 * 1024
# Repeated to fill a line: what regexes loop over, and what they look for between.
FILLINGS = (
    "a",
    " ",
    "1",
    ".",
    ":",
    "a ",
    "1.",
    "a:",
    "(",
    "[",
    '"',
    "\\",
    "/",
    "=",
    "from ",
    "user ",
    "192.0.2.1 ",
    "::",
    "a b@c ",
)


def worst_lines(
    samples: Iterable[str], *, fillings: Iterable[str] = FILLINGS, places: int = 6
) -> Iterator[tuple[str, str]]:
    """Yield label and line: each sample with each filling at its words' borders, and repeated as a whole."""
    for number, sample in enumerate(samples):
        yield f"sample {number} again and again", (sample * (CAP // max(1, len(sample)) + 1))[:CAP]
        borders = [match.start() for match in re.finditer(r"(?<=[\s\[(=:\"'])(?=\S)|$", sample)]
        step = max(1, len(borders) // places)
        for filling in fillings:
            for at in borders[::step]:
                room = CAP - len(sample)
                filled = (filling * (room // len(filling) + 1))[:room]
                yield f"sample {number} with {filling!r} at {at}", sample[:at] + filled + sample[at:]


def cost(rules: FilterRules, line: str) -> float:
    """Return the seconds of processor time that *rules* need for a line."""
    began = time.thread_time()
    dated = rules.date(line, shipped.NOW)
    rules.match(dated, shipped.NOW)
    return time.thread_time() - began


def dearest(rules: FilterRules, samples: Iterable[str], **how: object) -> tuple[float, str]:
    """Return seconds and label of the line that costs *rules* most; what costs much is tried twice."""
    worst = (0.0, "")
    for label, line in worst_lines(samples, **how):  # type: ignore[arg-type]
        seconds = cost(rules, line)
        if seconds > worst[0]:
            seconds = min(seconds, cost(rules, line))
        worst = max(worst, (seconds, label))
    return worst


def of_shipped(name: str) -> tuple[FilterRules, list[str]]:
    """Return the rules of a shipped filter, and some of its sample lines: no two of the same length."""
    chosen = load_filter(shipped.CONFIG, name, {})
    rules = make_rules(chosen, timezone="UTC")
    with open(os.path.join(shipped.SAMPLES, f"{name}.log"), encoding="utf-8") as file:
        lines = [case.line for case in shipped.parse(name, file.read()) if case.matches and not case.options]
    return rules, list({len(line): line for line in lines}.values())[:4]


def main(names: list[str]) -> None:
    """Print the dearest line of each filter."""
    for name in names or shipped.names():
        try:
            rules, lines = of_shipped(name)
        except (BanguardError, FileNotFoundError) as error:
            print(f"{name}: {error}")
            continue
        seconds, label = dearest(rules, lines)
        print(f"{name:<24} {seconds * 1000:8.2f} ms  {label}  given up: {rules.given_up}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
