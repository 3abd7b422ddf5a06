"""Every regex of the shipped filters finds in any line what `re` finds, whichever way it is matched."""

from __future__ import annotations

import random
import re

import pytest

from banguard.config import load_filter
from banguard.matching import make_rules
from banguard.matching.bounded import Bounded
from banguard.matching.program import compile_program
from banguard.matching.twopass import compile_twopass
from support import samples
from support.regexes import facts

NAMES = samples.names()


def regexes(name):
    rules = make_rules(load_filter(samples.CONFIG, name, {"mode": "aggressive"}), timezone="UTC")
    patterns = [] if rules.looks_into_objects else [pattern for _, pattern in rules.patterns]
    return [pattern for pattern in patterns if not pattern.explodes]


def lines(name, chance):
    """Yield sample lines without their dates, and what becomes of them when pieces of all samples are put in."""
    own = [sample.line for sample in samples.load(name)]
    cut = [re.sub(r"^.{0,40}?\d\d:\d\d:\d\d(?:[.,]\d+)?\S*", "", line) for line in own]
    for line in own + cut:
        yield line + "\n"
    for _ in range(20):
        line, other = chance.choice(own + cut), chance.choice(own)
        begin, end = sorted(chance.choices(range(len(other) + 1), k=2))
        place = chance.randrange(len(line) + 1)
        yield line[:place] + other[begin:end] + line[place + chance.randrange(9) :] + chance.choice(("\n", ""))


@pytest.mark.parametrize("name", NAMES)
def test_all_ways_find_the_same(name):
    """In two passes, and with branches remembered, the match and its groups are those of `re`."""
    chance = random.Random(name)
    tried = list(lines(name, chance))
    for pattern in regexes(name):
        compiled = re.compile(pattern.regex, pattern.flags)
        program = compile_program(compiled)
        if program is None:
            continue
        ways = [compile_twopass(compiled, program, is_anchored=pattern.is_anchored)]
        ways.append(Bounded(compiled, program, is_anchored=pattern.is_anchored))
        for line in tried:
            expected = facts(pattern.find(line))
            assert [expected] * 2 == [expected if way is None else facts(way.search(line)) for way in ways], line
