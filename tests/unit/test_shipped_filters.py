"""Runs tests/filters/*.log against config/filter.d; a new filter needs its `.log` and nothing here."""

from __future__ import annotations

import functools
import os
from itertools import islice

import pytest

from banguard.cli import lint
from banguard.config import load_filter
from banguard.errors import ConfigError
from banguard.matching import FilterRules, LineResult, make_rules
from support import samples
from support.injection import findings
from support.samples import NOW, Sample, epoch

ALL = [sample for name in samples.names() for sample in samples.load(name)]
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


@pytest.mark.parametrize("name", samples.names())
def test_nothing_is_wrong_with_a_shipped_filter(name):
    """
    `banguard-regex --lint` has nothing to say.

    Its rules are anchored, its samples are right, and no text of a client is taken for the host. Only that a rule still
    lacks a sample, or one with a host name, is no failure here.
    """

    def read(options):
        backend = "systemd" if options.get("logtype") == "journal" else "auto"
        return load_filter(samples.CONFIG, name, options, backend=backend)

    path = os.path.join(samples.CONFIG, "filter.d", f"{name}.conf")
    found = lint.lint(read, path, samples.path(name))
    assert [] == [str(each) for each in found if each.code not in {"never-hit", "host-is-address"}]


@pytest.mark.skipif("BANGUARD_ATTACKS" not in os.environ, reason="takes minutes: BANGUARD_ATTACKS=1 pytest …")
@pytest.mark.parametrize("name", samples.names())
def test_no_failure_of_another_service_is_taken_for_one(name):
    """Whatever failure of whatever service a client sends as name, path, agent or greeting, it bans nobody."""
    found = findings(name, full=True)
    assert [] == [f"{sample.id}: {hosts} in {line}" for sample, line, hosts in islice(found, 3)]


def test_a_broken_sample_file_is_named():
    """A line without expectation is an error that names file and line, not a sample that is skipped."""
    with pytest.raises(ConfigError, match=r"sshd\.log:2: nothing is expected of this line"):
        samples.parse("sshd", "\nNov 20 22:27:27 web1 sshd[1]: x")
