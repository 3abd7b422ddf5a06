"""A prefilter only ever discards: no line that counts is lost, whatever engine looks."""

from __future__ import annotations

import functools
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.config import load_filter
from banguard.errors import BanguardError
from banguard.matching import FilterRules, make_rules
from banguard.matching.fields import JsonRules
from banguard.matching.prefilter import build_scanner, wanted
from conformance import test_verdicts as corpus
from support import samples
from support.prefilters import engines, look_at_each_line

RULES = (
    r"refused by (?:gate|door) <HOST>",
    r"(?i)disk <F-USER>\S+</F-USER> <HOST>",
    r"^ ?\[x\] \"GET <HOST>",
    r"bad é <HOST>$",
)


def rules_of(directory: str, name: str, options: dict[str, str], **more) -> FilterRules:
    chosen = load_filter(directory, name, options)
    return make_rules(chosen, usedns="raw", successes=True, **more)


def says_something(rules: FilterRules, line: str) -> bool:
    dated = rules.date(line, samples.NOW)
    return rules.match(dated, samples.NOW).status != "missed"


def lost(rules: FilterRules, lines: list[str], encoding: str = "utf-8") -> list[str]:
    """Return lines of which *rules* say something, and that an engine would throw away."""
    what = wanted(rules, encoding)
    if what is None:
        return []
    block = "".join(f"{line}\n" for line in lines).encode(encoding)
    (plain,) = look_at_each_line([what], block)
    for engine in engines():
        assert [plain] == list(build_scanner([what], engine)(block)), engine
    kept = {block[start:end] for start, end in plain}
    return [line for line in lines if line.encode(encoding) not in kept and says_something(rules, line)]


@functools.cache
def shipped() -> list[tuple[FilterRules, list[str]]]:
    found = []
    for name in samples.names():
        path = os.path.join(samples.SAMPLES, f"{name}.log")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                cases = samples.parse(name, file.read())
            for options in sorted({case.options for case in cases}):
                rules = rules_of(samples.CONFIG, name, dict(options), timezone="UTC")
                found.append((rules, [case.line for case in cases if case.options == options]))
    return found


@functools.cache
def foreign() -> list[tuple[FilterRules, list[str]]]:
    return [
        (corpus.rules_for(name, json.loads(options)), [record["line"] for record in records])
        for (name, options), records in corpus.GROUPS.items()
    ]


def test_samples_of_the_shipped_filters():
    """Every sample line that counts passes."""
    groups = shipped()
    assert [] == [line for rules, lines in groups for line in lost(rules, lines)]
    assert any(wanted(rules, "utf-8") for rules, _ in groups)


@pytest.mark.corpus
@pytest.mark.skipif(bool(corpus.REASON), reason=corpus.REASON)
def test_all_filters_installed():
    """Every line of the corpus that counts with an installed filter passes; nearly all of these filters can be used."""
    groups = foreign()
    assert [] == [line for rules, lines in groups for line in lost(rules, lines)]
    usable = [rules for rules, _ in groups if wanted(rules, "utf-8")]
    print(f"{len(usable)} of {len(groups)} filters with options have a prefilter")
    assert len(usable) > len(groups) * 0.9


@pytest.mark.corpus
@pytest.mark.skipif(bool(corpus.REASON), reason=corpus.REASON)
def test_every_installed_filter_is_read():
    """The texts of each installed filter can be told, or that there are none."""
    for entry in sorted(os.listdir(os.path.join(corpus.CONFIG, "filter.d"))):
        try:
            rules = rules_of(corpus.CONFIG, entry.removesuffix(".conf"), {})
        except BanguardError:
            continue  # a part that others include
        what = wanted(rules, "utf-8")
        assert what is None or all(len(needle) > 1 for needle in what.any_of)


dates = st.sampled_from(
    [
        "Nov 20 22:27:27",
        "2026-11-20T22:27:27",
        "[20/Nov/2026:22:27:27 +0000]",
        "1795168800",
        "@4000000065a0b1c23456789a",
    ]
)
odd = st.sampled_from(["", "", " ", "é", "ſ", "\u212a", "İ", "ı", "\0", "\r", "\x85", "\u2028", "x"])


@st.composite
def mutated(draw, lines):
    """A line with a date in any place, letters of another case, odd characters, a part left out."""
    line = draw(st.sampled_from(lines))
    for _ in range(draw(st.integers(1, 3))):
        at, to = sorted((draw(st.integers(0, len(line))), draw(st.integers(0, len(line)))))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            line = line[:at] + draw(dates) + line[at:]
        elif kind == 1:
            line = line[:at] + line[at:to].swapcase() + line[to:]
        elif kind == 2:
            line = line[:at] + draw(odd) + line[at:]
        elif kind == 3:
            line = line[:at] + line[at:to].replace("s", "ſ").replace("k", "\u212a").replace("i", "ı") + line[to:]
        else:
            line = line[:at] + line[to:] if to - at < 12 else line
    return line


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_mutated_samples(data):
    """However the samples are changed, no line that counts is lost."""
    rules, lines = data.draw(st.sampled_from(shipped() + (foreign() if not corpus.REASON else [])))
    assert [] == lost(rules, data.draw(st.lists(mutated(lines), min_size=1, max_size=8)))


handmade = st.lists(
    st.sampled_from(["refused by ", "gate 1.2.3.4", "door 1.2.3.4", "DISK joe 1.2.3.4", "dıſK joe 1.2.3.4", "[x] ", '"GET 1.2.3.4', "bad é 1.2.3.4", " "]) | dates | odd,
    max_size=6,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(handmade, max_size=8), st.sampled_from([None, "{^LN-BEG}", r"^\W{0,2}x(%Y-%m-%d)", "{NONE}", "%b %d", r"^[^\[]*\[({DATE})", r"\w (%Y-%m-%d)", r"(?:b|e)(%d)"]), st.sampled_from(["utf-8", "latin-1", "iso8859-9", "cp1252"]))  # fmt: skip
def test_handmade_rules(lines, datepattern, encoding):
    """Wherever the date was cut out, and however letters are written, no line that counts is lost."""
    rules = FilterRules(failregex=RULES, datepattern=datepattern, timezone="UTC", usedns="raw")
    fit = [line.encode(encoding, "ignore").decode(encoding).replace("\n", "") for line in lines]
    assert [] == lost(rules, fit, encoding)


JSON_RULES = (
    ("field.request.ip", ("<HOST>",)),
    ("field.status", ("40[13]", "(?i)denied/fis[kh]")),
    ("field2.peer", ("<ADDR>",)),
)
pieces = st.sampled_from(["192.0.2.1", "401", "Denied/Fisk", "denied/FI\u017fh", "DENIED/f\u0130\u017f\u212a", "x"])
objects = st.dictionaries(
    st.sampled_from(["status", "STATUS", "peer", "request.ip", "request", "x"]),
    pieces | st.dictionaries(st.just("ip"), pieces, max_size=1) | st.just(401),
    max_size=4,
)


@st.composite
def written(draw: st.DrawFn) -> str:
    """An object, with some of its characters written as escapes."""
    line = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()))
    chars = [
        f"\\u{ord(char):04x}" if char.isalpha() and char.isascii() and draw(st.integers(0, 20)) == 0 else char
        for char in line
    ]
    text = "".join(chars).replace("/", draw(st.sampled_from(["/", "\\/"])))
    return json.dumps({"log": text, "stream": "stdout", "time": ""}) if draw(st.booleans()) else text


@settings(max_examples=150, deadline=None)
@given(st.lists(written(), max_size=12))
def test_no_object_that_counts_is_thrown_away(lines):
    """However JSON writes a text, the line is looked at."""
    rules = JsonRules(fields=JSON_RULES, failregex=(), usedns="raw")
    assert wanted(rules, "utf-8") is not None
    assert [] == lost(rules, lines)
