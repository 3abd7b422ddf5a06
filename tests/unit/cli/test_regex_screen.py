"""The tester with its prefilter against the tester without: the same report, byte for byte."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.cli import regex, regex_screen
from banguard.cli.regex_lines import lines_of
from banguard.cli.regex_report import Lines
from banguard.cli.regex_screen import shortcut
from banguard.matching import FilterRules

NOW = "2026-11-21T12:00:00Z"
AT = 1_795_262_400.0
FILTER = r"""
[Definition]
prefregex = ^(?:\S+ )?<F-MLFID>(?:sshd\[\d+\])?</F-MLFID>:? ?<F-CONTENT>.+</F-CONTENT>$
failregex = ^refused <F-USER>\S+</F-USER> from <HOST>$
            ^denied <HOST>
            from <HOST> denied$
datepattern = {^LN-BEG}
"""
REFUSED = "Nov 21 11:5%d:%02d web sshd[%d]: refused joe from 192.0.2.%d"
QUIET = "Nov 21 11:5%d:%02d web cron[%d]: all is well, number %d"


def quiet(count: int, start: int = 0) -> list[str]:
    return [QUIET % (number // 600 % 10, number // 10 % 60, 7, number) for number in range(start, start + count)]


def report(lines: list[str], *options: str, screened: bool) -> str:
    with tempfile.TemporaryDirectory() as directory:
        os.mkdir(os.path.join(directory, "filter.d"))
        path, log = os.path.join(directory, "filter.d", "f.conf"), os.path.join(directory, "log")
        with open(path, "w") as file:
            file.write(FILTER)
        with open(log, "w", newline="") as file:
            file.write("".join(f"{line}\n" for line in lines))
        out = io.StringIO()
        kept = regex_screen.shortcut
        with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
            patch.setattr(regex_screen, "shortcut", kept if screened else lambda *_: None)
            assert 0 == regex.main(
                ["-c", directory, "--usedns", "raw", "--now", NOW, "--TZ", "UTC", *options, log, "f"]
            )
        text = out.getvalue().replace(directory, "DIR")
        return "\n".join(line for line in text.split("\n") if "processed in" not in line)


def left_out(lines: list[str]) -> int:
    rules = FilterRules(
        failregex=["^refused <HOST>"],
        prefregex=r"^(?:\S+ )?<F-CONTENT>.+</F-CONTENT>$",
        datepattern="{^LN-BEG}",
        timezone="UTC",
    )
    missed = Lines("Missed", limit=0)
    made = shortcut(rules, missed, AT, "utf-8")
    rules.date(lines[0], AT)
    made.batches([("".join(f"{line}\n" for line in lines).encode(), None, 0)]).__next__()
    return missed.count


def test_lines_that_cannot_match_are_left_out():
    """Of a plain log only the candidates are tried, and the last line."""
    assert 399 == left_out(quiet(400))
    assert 398 == left_out([*quiet(200), REFUSED % (1, 1, 1, 1), *quiet(199)])


@pytest.mark.parametrize(
    "odd", ["", "#", "# Nov 21 11:50:00 web x", "no date", "Nov 21 11:65:00 web x", "Nov 21 11:50:00", "\r", "é"]
)
def test_a_line_that_is_not_plain_has_all_of_its_block_tried(odd):
    """Lines that are passed over, or have no date, or another, are never guessed at."""
    assert 0 == left_out([*quiet(200), odd, *quiet(200)])


def test_most_lines_pass():
    """A log of attacks is not scanned again and again."""
    assert 0 == left_out([REFUSED % (1, 1, number, 1) for number in range(100)])


def test_a_wide_block_is_tried_line_by_line():
    """Where the lines of a block are told by spans, all of them are tried."""
    rules = FilterRules(failregex=["^refused <HOST>"], datepattern="{^LN-BEG}")
    made = shortcut(rules, Lines("Missed", limit=0), AT, "utf-8")
    assert [(["ab"], None)] == list(made.batches([(b"ab", ((0, 2),), 0)]))
    assert (["ab"], None) == lines_of((b"ab", ((0, 2),), 0), "utf-8")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"aaa", b"aab", b"ab", b"", b"b\xff\xffx"]), st.integers(0, 700)), max_size=8),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_beginnings_of_lines(runs, length, fill):
    """All beginnings are found by some counting, as by looking at each line; or none, where that is not plain."""
    lines = [beginning + b"-" * (fill * number % 97) for beginning, count in runs for number in range(count)]
    data = b"".join(line + b"\n" for line in lines)
    found = regex_screen._in_order(data, length, len(lines))
    beginnings = {line[:length] for line in lines}
    assert found in (set(), beginnings)
    if all(len(line) >= length for line in lines) and len(beginnings) == len([each for each in runs if each[1]]) <= 8:
        assert beginnings == found
    assert len(lines) == regex_screen._number_of_lines(data)


def test_reports_are_the_same_for_a_long_log():
    """Over block borders, with attacks between, text and JSON report are the same."""
    lines = quiet(3000)
    lines[100:100] = [REFUSED % (1, 1, number, number % 250) for number in range(30)]
    lines[2000:2000] = [
        "# a comment",
        "",
        "no date but refused from 192.0.2.77 denied",
        *quiet(3, 2500),
        "Nov 21 99:99:99 web x: y",
    ]
    for options in ([], ["--json"], ["-o", "row"], ["--print-no-missed"], ["--no-check-all"], ["-l", "DEBUG"]):
        with_it, without = (report(lines, *options, screened=screened) for screened in (True, False))
        if options == ["--json"]:
            with_it, without = ({**json.loads(text), "seconds": 0} for text in (with_it, without))
        assert without == with_it


pieces = st.sampled_from(
    [
        *quiet(2), QUIET % (9, 59, 1, 2), REFUSED % (1, 1, 1, 1), REFUSED % (2, 2, 2, 2), "Nov 21 11:51:01 web sshd[1]: denied 192.0.2.9",
        "2026-11-21 11:50:00 denied 192.0.2.8", "2026-11-21 11:50:00.123 web: x", "Nov 21 11:50:00 2026 x: y", "denied 192.0.2.7", "", "#", "\r", "Nov 21",
        "Nov 21 11:50:00 ", "Nov 21 11:50:00", "Feb 31 11:50:00 web x: y", "Nov 21 11:50:61 x: y", " [Nov 21 11:50:00] x: y", "Nov 21 11:50:00é x", "x Nov 21 11:50:00 y",
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(pieces, st.sampled_from([1, 1, 3, 40])), max_size=12),
    st.sampled_from([(), ("--json",), ("-o", "row")]),
)
def test_reports_are_the_same_for_any_log(runs, options):
    """Whatever stands in a log, the prefilter changes nothing that is told."""
    lines = [line for line, count in runs for _ in range(count)]
    with_it, without = (report(lines, *options, screened=screened) for screened in (True, False))
    if options == ("--json",):
        with_it, without = ({**json.loads(text), "seconds": 0} for text in (with_it, without))
    assert without == with_it
