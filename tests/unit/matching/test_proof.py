"""What is proven of a regex and a shape holds for every text of the shape."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching.hazard import ENDLESS
from banguard.matching.proof import Machine, Segment, UnprovenError


def mask(chars: str) -> int:
    return sum(1 << ord(char) for char in chars)


def shape_of(*parts: tuple[str, int, int, int] | str) -> list[Segment]:
    """Texts stand for themselves, tuples for characters, least, most and labels."""
    segments: list[Segment] = []
    for part in parts:
        if isinstance(part, str):
            segments += [Segment(mask(char), 1, 1) for char in part]
        else:
            segments.append(Segment(mask(part[0]), *part[1:]))
    return segments


def machine(regex: str, *, is_anchored: bool = True) -> Machine:
    return Machine(re.compile(regex), is_anchored=is_anchored)


DIGITS = ("0123456789", 1, ENDLESS, 0)
NAME = ("abcdefghijklmnopqrstuvwxyz", 1, ENDLESS, 2)


@pytest.mark.parametrize(
    ("expected", "regex", "parts"),
    [
        (True, r"^bad (?P<u>\S+) at \d+$", ["bad ", NAME, " at ", DIGITS]),
        (True, r"^bad (?P<u>.*) at \d+$", ["bad ", NAME, " at ", DIGITS]),
        (True, r"^bad (?P<u>.*?) at \d+", ["bad ", NAME, " at ", DIGITS]),
        (True, r"^bad (?P<u>\S+)\s*$", ["bad ", NAME]),
        (True, r"^(?:x )?bad (?:user )?(?P<u>\w+)$", ["x bad user ", NAME]),
        (True, r"^(?P<o>\[)?bad (?P<u>\w+)(?(o)\])$", [("[", 1, 1, 2), "bad ", (NAME[0], 1, ENDLESS, 4), "]"]),
        (True, r"^(?!bed )b.d (?P<u>\w+)$", ["bad ", NAME]),
        # A greedy group takes more than the shape says.
        (False, r"^bad (?P<u>.*) at \d+", ["bad ", NAME, " at ", DIGITS, " at ", DIGITS]),
        # The blank may belong to either.
        (False, r"^bad(?P<u> ?\w+)$", ["bad ", NAME]),
        # Only numbers of three digits match.
        (False, r"^bad (?P<u>\w+) at \d{1,3}$", ["bad ", NAME, " at ", DIGITS]),
        # What comes first is preferred.
        (False, r"^bad (?:ab|(?P<u>\w+))$", ["bad ", NAME]),
        (False, r"^bad (?P<u>\w+?)", ["bad ", NAME]),
        (False, r"^(?P<o>\[)?bad (?P<u>\w+)(?(o)\])$", ["bad ", (NAME[0], 1, ENDLESS, 4), "]"]),
        (False, r"^(?!b.d )b.d (?P<u>\w+)$", ["bad ", NAME]),
        (False, r"^(?!.*root)bad (?P<u>\w+)$", ["bad ", NAME]),
        # Caught empty or not at all: the labels do not tell.
        (False, r"^bad(?:(?P<e>) )? ?(?P<u>\w+)$", ["bad ", (NAME[0], 1, ENDLESS, 4)]),
        (False, r"^bad (?P<u>[a-z])+$", ["bad ", NAME]),
    ],
)
def test_proven_or_not(expected, regex, parts):
    """A regex is proven to find what the labels say, or it is not."""
    assert expected == machine(regex).finds(shape_of(*parts))


@pytest.mark.parametrize(
    ("expected", "regex", "is_anchored"),
    [
        (True, r"^good", True),
        (False, r"^bad", True),
        (True, r"GOOD", False),
        (False, r"d \w+ at", False),
        (False, r"at \d+\s$", False),
        (True, r"at \d+\s\s$", False),
        (False, r"$", False),
    ],
)
def test_missed_or_not(expected, regex, is_anchored):
    """A regex is proven to match nothing of a shape, or it is not."""
    assert expected == machine(regex, is_anchored=is_anchored).misses(shape_of("bad ", NAME, " at ", DIGITS))


@pytest.mark.parametrize("regex", [r"(?>a)b", r"a++b", r"(?m:^a$)", r"(?=(?P<x>a))ab", r"(a)\1", r"(?:a{1000}){10}"])
def test_what_cannot_be_followed(regex):
    """A regex that cannot be followed is refused."""
    with pytest.raises(UnprovenError):
        machine(regex)


atoms = st.sampled_from(["a", "b", "1", "[ab]", "[^a]", ".", r"\d", r"\w", r"\b", r"\B", "$", " ", "", r"\s", r"\Z"])


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{1,2}", "{2}", "??", "*?", "+?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
        inner.map(lambda one: f"(?P<GROUP>{one})"),
        st.tuples(inner, inner).map(lambda two: f"(?(1){two[0]}|{two[1]})"),
        inner.map(lambda one: f"(?!{one})"),
        inner.map(lambda one: f"(?={one})"),
        inner.map(lambda one: f"(?i:{one})"),
    )


@st.composite
def regexes(draw) -> re.Pattern[str]:
    text = "^(a)?" + draw(st.recursive(atoms, combined, max_leaves=10))
    number = itertools.count(1)
    text = re.sub("GROUP", lambda _: f"g{next(number)}", text)
    try:
        return re.compile(text)
    except re.error:
        return re.compile("^a")


segments = st.tuples(st.sampled_from(["a", "b", "ab", "1", "1a", " ", "A"]), st.sampled_from([(1, 1), (1, 2), (1, ENDLESS)]))  # fmt: skip


def texts_of(parts: list[tuple[str, tuple[int, int]]]) -> list[list[str]]:
    """Return texts of a shape, each as its segments."""
    choices = []
    for chars, (least, most) in parts:
        counts = range(least, min(most, 3) + 1)
        choices.append(["".join(each) for count in counts for each in itertools.product(chars, repeat=count)])
    return list(map(list, itertools.islice(itertools.product(*choices), 400)))


def labelled(found: re.Match[str], pieces: list[str]) -> list[int] | None:
    """Return the groups that each piece is in; None when one begins or ends within a piece."""
    labels = []
    at = 0
    for piece in pieces:
        label = 0
        for number in found.re.groupindex.values():
            start, end = found.span(number)
            if start <= at and at + len(piece) <= end:
                label |= 1 << number
            elif start < min(end, at + len(piece)) and at < end:
                return None
        labels.append(label)
        at += len(piece)
    return labels


@settings(max_examples=150, deadline=None)
@given(regexes(), st.lists(segments, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_what_is_proven_is_so(compiled, parts, chance):
    """Each text of a shape is matched as proven, and none that is proven to be missed."""
    try:
        follower = Machine(compiled, is_anchored=True)
    except UnprovenError:
        return
    texts = texts_of(parts)
    sample = chance.choice(texts)
    found = compiled.match("".join(sample) + "\n")
    labels = None if found is None else labelled(found, sample)
    if labels is not None:
        shape = [Segment(mask(chars), *count, label) for (chars, count), label in zip(parts, labels, strict=True)]
        if follower.finds(shape):
            for pieces in texts:
                match = compiled.match("".join(pieces) + "\n")
                assert match is not None, pieces
                assert labels == labelled(match, pieces), pieces
                assert [value == "" for value in match.groupdict().values()] == [
                    value == "" for value in found.groupdict().values()
                ], pieces
    shape = [Segment(mask(chars), *count) for chars, count in parts]
    if follower.misses(shape):
        assert [] == [pieces for pieces in texts if compiled.match("".join(pieces) + "\n")]
    searcher = re.compile(compiled.pattern[1:])
    if Machine(searcher, is_anchored=False).misses(shape):
        assert [] == [pieces for pieces in texts if searcher.search("".join(pieces) + "\n")]
