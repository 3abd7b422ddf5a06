"""
Compare verdicts with an installed fail2ban on mutated log lines, for all its filters.

Lines of the verdict corpus are cut, spliced, given other dates, zones, addresses, letters and blanks, and put through
the same filter here and there, in the same order. As a program: `python tests/conformance/fuzz_verdicts.py
--lines 100000`; `--write docs/compatibility.md` puts the numbers into the table there.
"""

from __future__ import annotations

import argparse
import collections
import glob
import json
import os
import random
import re
import sys
import time
from dataclasses import dataclass, field

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from banguard.errors import BanguardError
from banguard.matching import FilterRules
from banguard.matching.multiline import Sessions
from banguard.netaddr import canonical
from conformance.rules_oracle import Oracle
from conformance.test_verdicts import CONFIG, NOW, load, rules_for

BATCH = 40
LAST_YEAR = time.time() + 3 * 366 * 86400

ADDRESSES = [
    "192.0.2.1", "203.0.113.254", "10.0.0.1", "0.0.0.0", "255.255.255.255", "256.1.1.1", "999.1.1.1", "1.2.3", "1.2.3.4.5",
    "192.030.0.6", "2001:db8::1", "2001:DB8:0:0:0:0:0:1", "::1", "::", "::ffff:192.0.2.7", "::FFFF:192.0.2.7", "[192.0.2.1]",
    "[2001:db8::2]", "fe80::1%eth0", "11:59:50", "1::2::3", "192.0.2.0/24", "example.com", "host_name", "a-b.example.", "xn--e1afmkfd",
    "192.0.2.1:22", "localhost", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6:7", "::ffff:0:192.0.2.1", "192.0.2.1.example.com",
]  # fmt: skip
ODD = [
    "é",
    "ß",
    "Ж",
    "\ufffd",
    "\x00",
    "\x1b[31m",
    "\t",
    "\xa0",
    "\u2028",
    "\x85",
    "\x0b",
    "\x1c",
    "ſ",
    "\u0130",
    "٣",
    "😀",
    "\xad",
    "\r",
]
HOSTILE = [
    "' or 1=1", '"', "<HOST>", "%s", "\\", "(", "[]", "from 192.0.2.66", "rhost=192.0.2.66 ", "user=", " ", "", "root", "::", "a b c",
    "[preauth]", "; DROP", "<>", "port 22", "for invalid user x from 192.0.2.66 port 22", "\\x16\\x03", "- -", "]: ", "{}", "x" * 300,
]  # fmt: skip
DATES = [
    "%b %d %H:%M:%S", "%b %e %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S.123456 %Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+02:00", "%Y-%m-%dT%H:%M:%S.123456-05:00", "%Y-%m-%d %H:%M:%S,123", "%Y/%m/%d %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S +0200", "%d/%b/%Y:%H:%M:%S", "%d-%b-%Y %H:%M:%S.123", "%d/%m/%Y %H:%M:%S", "%d/%m/%y %H:%M:%S", "%s", "%s.123",
    "@400000004300000012345678", "%y%m%d %H:%M:%S", "%H:%M:%S", "%Y%m%dT%H%M%S", "%m/%d/%Y:%H:%M:%S", "%b %d, %Y %I:%M:%S %p",
    "%m-%d-%Y %H:%M:%S.123", "<%m/%d/%y@%H:%M:%S>", "%b-%d-%y %H:%M:%S", "31 Feb 2005", "Feb 30 10:00:00", "", "CEST %b %d %H:%M:%S",
]  # fmt: skip
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-fA-F]{1,4}:{1,2}){2,}[0-9a-fA-F]{0,4}")
_LIKE_ADDRESS = re.compile(r"[\d.]+|[0-9a-fA-F:]*:[0-9a-fA-F:]*")
_WORD = re.compile(r"[^\s\[\]()<>,;\"']+")


class Mutator:
    """Makes lines out of the lines of the corpus."""

    def __init__(self, chance: random.Random, pool: list[str]) -> None:
        self._chance = chance
        self._pool = pool
        self._dates = rules_of_dates()

    def mutate(self, line: str) -> str:
        """Return *line* changed in up to four ways."""
        ways = (
            self.cut, self.cut_end, self.splice, self.repeat, self.address, self.address, self.hostile, self.case, self.odd, self.odd,
            self.blanks, self.date, self.date, self.date, self.digit, self.word,
        )  # fmt: skip
        for _ in range(self._chance.choice((0, 1, 1, 1, 2, 2, 3, 4))):
            line = self._chance.choice(ways)(line)
        return line.replace("\n", " ").rstrip("\r")

    def _span(self, line: str, longest: int = 40) -> tuple[int, int]:
        start = self._chance.randint(0, len(line))
        return start, min(len(line), start + self._chance.randint(0, longest))

    def cut(self, line: str) -> str:
        start, end = self._span(line, 12)
        return line[:start] + line[end:]

    def cut_end(self, line: str) -> str:
        return line[: self._chance.randint(0, len(line))]

    def splice(self, line: str) -> str:
        other = self._chance.choice(self._pool)
        return line[: self._chance.randint(0, len(line))] + other[self._chance.randint(0, len(other)) :]

    def repeat(self, line: str) -> str:
        start, end = self._span(line)
        return line[:end] + line[start:end] + line[end:]

    def address(self, line: str) -> str:
        found = list(_ADDRESS.finditer(line)) or list(_WORD.finditer(line))
        return self._replace(line, found, self._chance.choice(ADDRESSES))

    def word(self, line: str) -> str:
        other = self._chance.choice(self._pool).split()
        return self._replace(line, list(_WORD.finditer(line)), self._chance.choice(other or [""]))

    def hostile(self, line: str) -> str:
        return self._replace(line, list(_WORD.finditer(line)), self._chance.choice(HOSTILE))

    def _replace(self, line: str, found: list[re.Match[str]], text: str) -> str:
        if not found:
            return line + text
        one = self._chance.choice(found)
        return line[: one.start()] + text + line[one.end() :]

    def case(self, line: str) -> str:
        start, end = self._span(line)
        return line[:start] + line[start:end].swapcase() + line[end:]

    def odd(self, line: str) -> str:
        at = self._chance.randint(0, len(line))
        return line[:at] + self._chance.choice(ODD) + line[at + self._chance.randint(0, 1) :]

    def blanks(self, line: str) -> str:
        return self._chance.choice(
            (line + " ", " " + line, line.replace(" ", "  ", 1), line.replace("  ", " "), line.strip() + "\t")
        )

    def digit(self, line: str) -> str:
        found = list(re.finditer(r"\d", line))
        return self._replace(line, found, str(self._chance.randint(0, 9)))

    def date(self, line: str) -> str:
        found = self._dates.detector.find(line, NOW)
        moment = time.localtime(
            NOW + self._chance.choice((0, -30, 30, -3600, 3600, 86400, -86400, -40_000_000, 40_000_000))
        )
        text = time.strftime(self._chance.choice(DATES), moment)
        if found is None:
            return f"{text} {line}"
        return line[: found.start] + text + line[found.end :]


def rules_of_dates() -> FilterRules:
    """Return rules that only serve to find dates."""
    return FilterRules(failregex=["<HOST>"], any_year=True)


@dataclass
class Outcome:
    """What a run found."""

    lines: int = 0
    matched: int = 0
    filters: set[str] = field(default_factory=set)
    classes: collections.Counter = field(default_factory=collections.Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))

    def add(self, kind: str, text: str) -> None:
        self.classes[kind] += 1
        if len(self.examples[kind]) < 200:
            self.examples[kind].append(text)


def subjects() -> list[tuple[str, dict[str, str]]]:
    """Return all filters with failregexes, as they are, and with the options of the corpus."""
    found = [(name, json.loads(options)) for name, options in load()]
    for path in sorted(glob.glob(os.path.join(CONFIG, "filter.d", "*.conf"))):
        name = os.path.basename(path)[:-5]
        try:
            if rules_for(name, {}).failures:
                found.append((name, {}))
        except BanguardError:
            continue
    return [(name, options) for number, (name, options) in enumerate(found) if (name, options) not in found[:number]]


@dataclass
class Mine:
    """A verdict of ours, and what helps to explain it."""

    verdict: dict | None
    status: str
    text: str
    odd_date: str


def ours(rules: FilterRules, line: str, given: float | None) -> Mine:
    """Return our verdict on one line."""
    dated = rules.date(line, NOW, given)
    result = rules.match(dated, rules.time_of(dated))
    odd = ""
    if dated.template and dated.time is None and not dated.optional:
        odd = "impossible date"
    elif dated.time is not None and dated.time > LAST_YEAR:
        odd = "far year"
    verdict = None
    if result.matches:
        (match,) = result.matches
        verdict = {"id": match.id, "host": match.host, "time": match.time, "user": match.user}
    return Mine(verdict, "rejected" if result.rejected else result.status, dated.text, odd)


def theirs(failures: list[dict]) -> dict | None:
    if not failures:
        return None
    first = failures[0]
    user = first["user"]
    return {
        "id": first["id"],
        "host": first["host"],
        "time": first["time"],
        "user": str(tuple(user)) if isinstance(user, list) else user or None,
    }


def run(lines: int, seed: int, progress: bool = False) -> Outcome:
    """Try about *lines* lines; the same *seed* gives the same lines."""
    chance = random.Random(seed)
    records = load()
    by_filter: dict[str, list[str]] = collections.defaultdict(list)
    for (name, _), group in records.items():
        by_filter[name] += [record["line"] for record in group]
    pool = [line for group in by_filter.values() for line in group]
    mutator = Mutator(chance, pool)
    outcome = Outcome()
    everything = subjects()
    with Oracle(now=NOW) as oracle:
        while outcome.lines < lines:
            name, options = chance.choice(everything)
            own = by_filter.get(name) or pool
            batch = [mutator.mutate(chance.choice(own if chance.random() < 0.85 else pool)) for _ in range(BATCH)]
            given = NOW - 1 if options.get("logtype") == "journal" else None
            _compare(outcome, oracle, name, options, [(line, given) for line in batch])
            if progress and outcome.lines % 4000 < BATCH:
                print(f"{outcome.lines} lines, {outcome.matched} matched, {dict(outcome.classes)}", file=sys.stderr)
    return outcome


def _compare(outcome: Outcome, oracle: Oracle, name: str, options: dict, lines: list) -> None:
    request = {"filter": name, "options": options, "lines": lines}
    reply = oracle.ask(request)
    if "error" in reply:
        outcome.add("refused there", f"{name} {options}: {reply['error']}")
        return
    rules = rules_for(name, options)
    rules.prepare()
    patient = rules_for(name, options)
    patient.sessions = Sessions(seconds=float("inf"))
    outcome.filters.add(name)
    for (line, given), failures in zip(lines, reply["verdicts"], strict=True):
        mine = ours(rules, line, given)
        waiting = ours(patient, line, given)
        outcome.lines += 1
        if failures is None:
            outcome.add("hangs there", f"{name} {options} {line!r}\n    here  {mine.verdict} ({mine.status})")
            break
        other = theirs(failures)
        outcome.matched += other is not None
        if mine.verdict != other:
            kind = (
                "session age"
                if waiting.verdict == other
                else _classify(oracle, name, options, line, given, mine, other)
            )
            outcome.add(kind, f"{name} {options} {line!r}\n    here  {mine.verdict} ({mine.status})\n    there {other}")


def _classify(oracle, name, options, line, given, mine: Mine, other: dict | None) -> str:
    """Say why two verdicts differ."""
    if other is not None and canonical(other["host"]) is None and _LIKE_ADDRESS.fullmatch(other["host"]):
        return "no address"
    if mine.odd_date:
        return mine.odd_date
    if mine.verdict is not None and other is not None and {**mine.verdict, "time": 0} == {**other, "time": 0}:
        return "time"
    if mine.status == "ignored":
        return "ignored"

    def apart(text: str, at: float | None) -> dict | None:
        reply = oracle.ask({"filter": name, "options": options, "apart": True, "lines": [[text, at]]})
        return theirs(reply["verdicts"][0] or [])

    if apart(line, given) == ours(rules_for(name, options), line, given).verdict:
        return "state"
    if given is None:
        # The same text without its date: when the verdicts are the same then, it is the date that was cut differently.
        alone = ours(rules_for(name, options), mine.text, NOW).verdict
        if apart(mine.text, NOW) == alone and (alone is None) == (mine.verdict is None):
            return "cut"
    return "other"


MEANING = {
    "no address": "text such as `999.1.1.1` or `11:59:50` in the place of an address makes no failure here",
    "impossible date": "the line counts here without a time; there only when no fresh date came before it",
    "far year": "the tester takes years up to 2099",
    "session age": "sessions that were silent for five minutes of log time are over here",
    "hangs there": "the line keeps a regex busy for longer than two seconds there; here the effort is bounded",
    "time": "the date is read differently",
    "cut": "another piece of the line is taken for its date",
    "ignored": "an ignoreregex fits the whole line, or the content",
    "state": "the order of date templates, or the last date, after other such lines",
    "refused there": "the filter cannot be loaded there",
    "other": "not explained",
}


def table(outcome: Outcome, seed: int) -> str:
    """Return the numbers as a Markdown table."""
    opening = (
        f"{outcome.lines} mutated lines (seed {seed}) through {len(outcome.filters)} filters: "
        f"{outcome.matched} are failures there, {sum(outcome.classes.values())} verdicts differ."
    )
    rows = [
        opening,
        "",
        "| class | lines | what |",
        "|---|---|---|",
    ]
    rows += [
        f"| {kind} | {outcome.classes[kind]} | {meaning} |"
        for kind, meaning in MEANING.items()
        if outcome.classes[kind]
    ]
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=5, help="examples of each class")
    parser.add_argument("--write", metavar="FILE", help="put the numbers between the marks of this file")
    options = parser.parse_args()
    os.environ["TZ"] = "Europe/Zurich"
    time.tzset()
    outcome = run(options.lines, options.seed, progress=True)
    for kind, examples in outcome.examples.items():
        print(f"== {kind}: {outcome.classes[kind]}")
        for example in examples[: options.show]:
            print("  " + example)
    numbers = table(outcome, options.seed)
    print(numbers)
    if options.write:
        with open(options.write, encoding="utf-8") as file:
            text = file.read()
        head, _, rest = text.partition("<!-- numbers -->")
        tail = rest.partition("<!-- end of numbers -->")[2]
        with open(options.write, "w", encoding="utf-8") as file:
            file.write(f"{head}<!-- numbers -->\n{numbers}\n<!-- end of numbers -->{tail}")
    return 1 if outcome.classes["other"] else 0


if __name__ == "__main__":
    sys.exit(main())
