"""
Attack shipped filters: every field of every sample line is filled with text that imitates another failure.

As a program: `python tests/support/injection.py [--full] [NAME…]` prints what gets through.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from banguard.config import load_filter
from banguard.matching import FilterRules, make_rules
from banguard.matching.attack import ESCAPES, PLANTED, Field, attacks, attacks_on_object, fields, imitations
from banguard.matching.fields import JsonRules
from banguard.matching.multiline import Sessions
from banguard.matching.patterns import ID_GROUPS
from banguard.matching.record import read_record
from support import samples
from support.samples import NOW, Sample

OTHER = "198.51.100.99"


class Target:
    """The rules of a filter with some options, each line matched as if it were the first."""

    def __init__(self, name: str, options: tuple[tuple[str, str], ...]) -> None:
        given = dict(options)
        self._journal = given.get("logtype") == "journal"
        backend = "systemd" if self._journal else "auto"
        config = load_filter(samples.CONFIG, name, given, backend=backend)
        self.rules: FilterRules = make_rules(
            config, usedns=given.get("usedns", "no"), timezone="UTC", journal=self._journal
        )

    def hosts(self, *lines: str) -> list[str]:
        """Return the ids found in these lines, which belong together."""
        rules = self.rules
        rules.sessions = Sessions()
        found: list[str] = []
        for line in lines:
            dated = rules.date(line, NOW, NOW if self._journal else None)
            found += [match.id for match in rules.match(dated, NOW).matches]
        return found


def findings(name: str, *, full: bool = False) -> Iterator[tuple[Sample, str, list[str]]]:
    """Yield sample, attacked line and what was found, where that is another host than the sample's."""
    every = samples.load(name)
    how = samples.escapes(name)
    planted = imitations(_failures(every), most=24)
    if full:
        planted = imitations(
            [*_failures(every), *(line for name in samples.names() for line in _failures(samples.load(name)))]
        )
    targets: dict[tuple[tuple[str, str], ...], Target] = {}
    seen: set[tuple[object, str]] = set()
    for sample in every:
        target = targets.get(sample.options)
        if target is None:
            target = targets[sample.options] = Target(name, sample.options)
        usual = target.hosts(sample.line)
        for line in attacked(sample, target, planted, how):
            if (sample.options, line) in seen:
                continue
            seen.add((sample.options, line))
            found = target.hosts(line)
            if found and found != usual and (usual or PLANTED in found):
                yield sample, line, found


def _failures(of: Iterable[Sample]) -> list[tuple[str, str]]:
    return [(sample.line, dict(sample.expected).get("host", "")) for sample in of if sample.matches]


def attacked(sample: Sample, target: Target, planted: list[str], how: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that a sample becomes."""
    rules = target.rules
    expected = dict(sample.expected)
    host = expected.pop("success", "") or expected.pop("host", "")
    if isinstance(rules, JsonRules) and read_record(sample.line) is not None:
        kept = [each.path for rule in rules.field_rules for each in rule.conditions if ID_GROUPS & each.groups]
        lines = attacks_on_object(sample.line, host, planted, kept)
        if target.hosts(next(lines)) == target.hosts(sample.line):  # else a name stood twice in it
            yield from lines
        return
    named = {key: value for key, value in expected.items() if key not in {"id", "time", "host"}}
    for field in fields(sample.line, kept_spans(sample.line, host, rules), named):
        way = how.get(field.kind) or how.get("any")
        if way == "none" or (not sample.matches and target.hosts(_with_other(sample.line, field)) == [OTHER]):
            continue
        yield from attacks(sample.line, field, planted, ESCAPES[way] if way else None)


def _with_other(line: str, field: Field) -> str:
    """Return *line* with an address in *field*: where it is found there, the service writes the host there."""
    return line[: field.start] + OTHER + line[field.end :]


def kept_spans(line: str, host: str, rules: FilterRules) -> list[tuple[int, int]]:
    """Return what nobody outside writes: the host, the date, program and process in front of the message."""
    spans = []
    at = line.find(host) if host else -1
    while at >= 0:
        spans.append((at, at + len(host)))
        at = line.find(host, at + 1)
    found = rules.detector.find(line, NOW)
    begin = 0
    if found is not None and found.text and found.start < 60:
        begin = found.start + len(found.text)
        spans.append((0 if found.start < 3 else found.start, begin))
    end = line.find(": ", begin)
    head = line[begin:end] if end >= 0 else ""
    if head and head.count(" ") <= 2 and not set("=\"'<(") & set(head):
        spans.append((begin, end))
    return spans


def main(words: list[str]) -> None:
    """Print what gets through."""
    names = [word for word in words if not word.startswith("-")]
    for name in names or samples.names():
        found = list(findings(name, full="--full" in words))
        print(f"{name}: {len(found)}", flush=True)
        shown: set[object] = set()
        for sample, line, hosts in found:
            at = len(os.path.commonprefix([sample.line, line]))
            if (sample.number, at) not in shown:
                shown.add((sample.number, at))
                print(f"   {sample.id} {hosts} {line[:at]}>>>{line[at:][:300]}")


if __name__ == "__main__":
    main(sys.argv[1:])
