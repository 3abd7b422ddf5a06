"""Attack a filter: every field of its sample lines is filled with text that imitates another failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from banguard.cli.samples import NOW, Pairs, Sample
from banguard.matching import FilterRules, LineResult
from banguard.matching.attack import ESCAPES, PLANTED, Field, attacks, attacks_on_object, fields, imitations
from banguard.matching.fields import JsonRules
from banguard.matching.multiline import Sessions
from banguard.matching.patterns import ID_GROUPS
from banguard.matching.record import read_record

# Texts that a field is filled with when not all are wanted.
FEW = 24
_OTHER = "198.51.100.99"

Build = Callable[[Pairs], FilterRules]
"""Makes the rules of the filter with some options."""


class Target:
    """The rules of a filter with some options; with *journal*, lines come with their time."""

    def __init__(self, rules: FilterRules, *, journal: bool) -> None:
        self.rules = rules
        self._given = NOW if journal else None

    def match(self, line: str, *, check_all: bool = False) -> LineResult:
        """Match a line after those before it."""
        dated = self.rules.date(line, NOW, self._given)
        return self.rules.match(dated, NOW if dated.time is None else dated.time, check_all=check_all)

    def hosts(self, line: str) -> list[str]:
        """Return the ids found in a line, whatever came before it."""
        self.rules.sessions = Sessions()
        return [match.id for match in self.match(line).matches]


class Targets:
    """Targets by their options, made when first asked for."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._made: dict[Pairs, Target] = {}

    def of(self, options: Pairs) -> Target:
        """Return the target with these options."""
        target = self._made.get(options)
        if target is None:
            target = self._made[options] = Target(self._build(options), journal=("logtype", "journal") in options)
        return target


def failures(samples: Iterable[Sample]) -> list[tuple[str, str]]:
    """Return line and host of those samples that match."""
    return [(sample.line, sample.host) for sample in samples if sample.matches]


def findings(
    samples: Sequence[Sample],
    targets: Targets,
    escapes: Mapping[str, str],
    *,
    others: Sequence[tuple[str, str]] = (),
) -> Iterator[tuple[Sample, str, list[str]]]:
    """
    Yield sample, attacked line and what was found, where that is another host than the sample's.

    *escapes* tells by kind of field how the service writes it. With *others*, failures of other filters (line and
    host), all texts are tried that can be made of them, else FEW.
    """
    planted = imitations([*failures(samples), *others], most=100_000 if others else FEW)
    seen: set[tuple[object, str]] = set()
    for sample in samples:
        target = targets.of(sample.options)
        usual = target.hosts(sample.line)
        for line in _attacked(sample, target, planted, escapes):
            if (sample.options, line) in seen:
                continue
            seen.add((sample.options, line))
            found = target.hosts(line)
            if found and found != usual and (usual or PLANTED in found):
                yield sample, line, found


def _attacked(sample: Sample, target: Target, planted: list[str], escapes: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that a sample becomes."""
    rules = target.rules
    if isinstance(rules, JsonRules) and read_record(sample.line) is not None:
        kept = [each.path for rule in rules.field_rules for each in rule.conditions if ID_GROUPS & each.groups]
        lines = attacks_on_object(sample.line, sample.host, planted, kept)
        if target.hosts(next(lines)) == target.hosts(sample.line):  # else a name stood twice in it
            yield from lines
        return
    named = {key: value for key, value in sample.expected if key not in {"id", "time", "host", "success"}}
    for field in fields(sample.line, _kept(sample, rules), named):
        way = escapes.get(field.kind) or escapes.get("any")
        if way == "none" or (not sample.matches and target.hosts(_with_other(sample.line, field)) == [_OTHER]):
            continue
        yield from attacks(sample.line, field, planted, ESCAPES[way] if way else None)


def _with_other(line: str, field: Field) -> str:
    """Return *line* with an address in *field*: where it is found there, the service writes the host there."""
    return line[: field.start] + _OTHER + line[field.end :]


def _kept(sample: Sample, rules: FilterRules) -> list[tuple[int, int]]:
    """Return what nobody outside writes: the host, the date, program and process in front of the message."""
    line, host = sample.line, sample.host
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
