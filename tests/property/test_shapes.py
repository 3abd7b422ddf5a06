"""A line of a shape that was learned gets the verdict that the regexes give it."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching import FilterRules
from conformance import test_verdicts as corpus
from property.test_prefilter import mutated, rules_of
from support import samples

TEXTS = ("7", "4711", "root", "x.y-z", "198.51.100.7", "999.1.1.1", "2001:db8::7", "a b", "", "é", "01.2.3.4")


class Pair:
    """The same rules twice: with shapes, learned from every line, and without."""

    def __init__(self, fast: FilterRules, slow: FilterRules, lines: list[str]) -> None:
        fast.prepare(learn_every=1)
        slow.prepare(learn_every=0)
        self.fast = fast
        self.slow = slow
        self.lines = lines
        self.recalled = 0
        self.matched = 0
        self.now = samples.NOW

    def tell(self, line: str) -> tuple[object, object]:
        """Return what both say of a line, with the hits of their regexes, the way with shapes first."""
        # Sessions of one example are over in the next.
        answers = []
        for rules in (self.slow, self.fast):
            dated = rules.date(line, self.now)
            knows = rules.shapes is not None and rules.shapes.find(dated.text) is not None
            result = rules.match(dated, self.now, check_all=True)
            hits = [pattern.hits for _, pattern in rules.patterns]
            answers.append((result, hits, len(rules.sessions)))
            self.recalled += knows
        self.matched += answers[0][0].status in {"matched", "nofail"}
        return answers[1], answers[0]


@functools.cache
def shipped() -> list[Pair]:
    found = []
    for name in samples.names():
        has_samples = os.path.exists(os.path.join(samples.SAMPLES, f"{name}.log"))
        if has_samples and rules_of(samples.CONFIG, name, {}).maxlines == 1:
            cases = samples.load(name)
            for options in sorted({case.options for case in cases}):
                fast, slow = (rules_of(samples.CONFIG, name, dict(options), timezone="UTC") for _ in "12")
                found.append(Pair(fast, slow, [case.line for case in cases if case.options == options]))
    return found


@functools.cache
def foreign() -> list[Pair]:
    found = []
    for (name, options), records in corpus.GROUPS.items():
        fast, slow = (corpus.rules_for(name, json.loads(options)) for _ in "12")
        if fast.maxlines == 1 and records:
            found.append(Pair(fast, slow, [record["line"] for record in records]))
    return found


def others(line: str, number: int) -> Iterator[str]:
    """Yield lines of the same shape, or nearly so."""
    words = list(re.finditer(r"[\w.]+", line))
    texts = itertools.islice(itertools.cycle(TEXTS), number, None)
    for word in words[-10:]:
        yield line[: word.start()] + next(texts) + line[word.end() :]
    yield re.sub(r"\d+(?:\.\d+){3}", next(texts), line)


def compare(pairs: list[Pair], share: float) -> None:
    for pair in pairs:
        like = (other for number, line in enumerate(pair.lines[:5]) for other in others(line, number))
        for line in itertools.chain(pair.lines[:20], pair.lines[:20], like):
            fast, slow = pair.tell(line)
            assert slow == fast, line
    recalled, matched = sum(pair.recalled for pair in pairs), sum(pair.matched for pair in pairs)
    print(f"{recalled} of {matched} matches by shapes")
    assert recalled > matched * share


def test_samples_of_the_shipped_filters():
    """Each sample, and lines like it, get the same verdict; for many their shape is known."""
    compare(shipped(), 0.15)


@pytest.mark.corpus
@pytest.mark.skipif(bool(corpus.REASON), reason=corpus.REASON)
def test_all_filters_installed():
    """The same of every filter installed."""
    compare(foreign(), 0.15)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_samples(data):
    """However the samples are changed, in whatever order they come, the verdicts are the same."""
    pairs = shipped() + (foreign() if not corpus.REASON else [])
    pair = data.draw(st.sampled_from(pairs))
    pair.now += 1000.0
    for line in data.draw(st.lists(mutated(pair.lines), min_size=1, max_size=12)):
        fast, slow = pair.tell(line)
        assert slow == fast, line
