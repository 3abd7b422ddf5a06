"""Runs tests/filters/*.log against config/filter.d; a new filter needs its `.log` and nothing here."""

from __future__ import annotations

import functools
import itertools
import os
import time

import pytest

from banguard.config import load_filter
from banguard.matching import FilterRules, LineResult, make_rules
from support import samples
from support.samples import HOSTILE, NOW, Sample, epoch

ALL = [sample for name in samples.names() for sample in samples.load(name)]
WITH_USER = [sample for sample in ALL if sample.matches and dict(sample.expected).get("user", "") in sample.line]
WITH_USER = [sample for sample in WITH_USER if len(dict(sample.expected).get("user", "")) > 2]
LOGTYPES = ("file", "journal", "short", "rfc5424")


@functools.cache
def rules(name: str, options: tuple[tuple[str, str], ...]) -> FilterRules:
    return build(name, options)


def build(name: str, options: tuple[tuple[str, str], ...]) -> FilterRules:
    given = dict(options)
    backend = "systemd" if given.get("logtype") == "journal" else "auto"
    config = load_filter(samples.CONFIG, name, given, backend=backend)
    return make_rules(
        config, usedns=given.get("usedns", "no"), timezone="UTC", journal=backend == "systemd", successes=True
    )


def match(sample: Sample, line: str | None = None) -> LineResult:
    return match_with(rules(sample.filter, sample.options), sample, line)


@functools.cache
def has_sessions(name: str) -> bool:
    config = load_filter(samples.CONFIG, name, {}, backend="auto")
    return any("F-MLFID" in regex for regex in (config.prefregex, *config.failregex))


def match_in_order(sample: Sample) -> LineResult:
    """Match a sample after those above it, where lines of one session make a failure together."""
    if not has_sessions(sample.filter):
        return match(sample)
    fresh = build(sample.filter, sample.options)
    for earlier in samples.load(sample.filter):
        if earlier.number >= sample.number:
            break
        if earlier.options == sample.options:
            match_with(fresh, earlier)
    return match_with(fresh, sample)


def match_with(filter_rules: FilterRules, sample: Sample, line: str | None = None) -> LineResult:
    given_time = NOW if ("logtype", "journal") in sample.options else None
    dated = filter_rules.date(sample.line if line is None else line, NOW, given_time)
    return filter_rules.match(dated, dated.time)


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: sample.id)
def test_sample(sample):
    """A line of a sample file counts, or does not, as the expectation above it says."""
    result = match_in_order(sample)
    assert sample.matches == (result.status == "matched"), sample.line
    if not sample.matches:
        success = "" if result.success is None else result.success.host
        assert dict(sample.expected).get("success", "") == success, sample.line
        return
    (found,) = result.matches
    for key, value in sample.expected:
        actual = {"id": found.id, "host": found.host, "user": found.user}.get(key, found.groups.get(key))
        if key == "time":
            assert epoch(value) == found.time, sample.line
        else:
            assert value == (actual or ""), f"{key} of {sample.line}"


@pytest.mark.parametrize("name", samples.names())
def test_every_filter_has_enough_samples(name):
    """Each shipped filter is shown on at least three lines that match and three that do not."""
    of_filter = samples.load(name)
    assert len({sample.line for sample in of_filter if sample.matches}) >= 3
    assert len({sample.line for sample in of_filter if not sample.matches}) >= 3


def test_every_sample_file_has_its_filter():
    """A sample file of a filter that is gone, or is spelt otherwise, would show nothing."""
    logs = sorted(entry.removesuffix(".log") for entry in os.listdir(samples.SAMPLES) if entry.endswith(".log"))
    assert samples.names() == logs


@pytest.mark.parametrize("name", samples.names())
@pytest.mark.parametrize("logtype", LOGTYPES)
def test_patterns_are_anchored(name, logtype):
    """No shipped failregex can begin to match in the middle of a line, where an attacker may write."""
    config = load_filter(samples.CONFIG, name, {"logtype": logtype, "mode": "aggressive"}, backend="auto")
    assert config.failregex or config.fields
    assert [] == [regex for regex in config.failregex if not regex.startswith("^")]
    assert config.prefregex == "" or config.prefregex.startswith("^")


HOSTILE_USERS = sorted(
    {
        sample.line.replace(dict(sample.expected)["host"], HOSTILE)
        for sample in WITH_USER
        if "host" in dict(sample.expected)
    }
)
HOSTILE_TAILS = sorted({line.split(": ", 1)[-1] for line in HOSTILE_USERS})


@pytest.mark.parametrize("sample", WITH_USER, ids=lambda sample: sample.id)
def test_user_names_are_never_read_as_messages(sample):
    """Whatever message an attacker sends as a user name, the address in it is not banned."""
    user = dict(sample.expected)["user"]
    own = [tail for tail in (*HOSTILE_USERS, *HOSTILE_TAILS) if tail.isprintable()]
    for text in own:
        if sample.filter == "nginx-http-auth" and ":" in text:
            text = text.replace(":", "")  # the protocol ends the user name at a colon
        for hostile in (text, f"{user} {text}", f"{text} {user}", f"{user}> {text} <{user}"):
            result = match(sample, sample.line.replace(user, hostile))
            assert HOSTILE not in [found.id for found in result.matches], hostile


PUMPS = (
    "a",
    " ",
    "a ",
    "a: ",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    '"',
    "'",
    ",",
    "1.",
    ":",
    "::",
    "from ",
    "user=<",
    "rip=1.2.3.4, ",
    "\\",
    "é",
    "\t",
)


@pytest.mark.parametrize("name", samples.names())
def test_long_lines_take_no_long_time(name):
    """A line made to be slow costs milliseconds, whatever is repeated in it, behind the beginning of any sample."""
    options = sorted({sample.options for sample in samples.load(name)})
    heads = sorted(
        {sample.line[:cut] for sample in samples.load(name) for cut in (len(sample.line) // 2, len(sample.line))}
    )
    pairs = list(itertools.product(options, heads))
    worst = (0.0, "")
    for chosen, head in pairs[:: 1 + len(pairs) // 24]:
        sample = Sample(name, 0, "", False, (), chosen)
        for pump in PUMPS:
            line = head + pump * (4000 // len(pump))
            match(sample, line)
            begin = time.process_time()
            match(sample, line)
            worst = max(worst, (time.process_time() - begin, line[:120] + pump * 3))
    assert worst[0] < 0.25, worst


def test_a_broken_sample_file_is_named():
    """A line without expectation is an error that names file and line, not a sample that is skipped."""
    with pytest.raises(ValueError, match=r"sshd\.log:2: nothing is expected of this line"):
        samples.parse("sshd", "\nNov 20 22:27:27 web1 sshd[1]: x")
