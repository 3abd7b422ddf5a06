"""One jail: rules, ignore list, failure counter. No thread."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.config.schema import BanPrefix, BantimeIncrement, FilterConfig, JailConfig, Place
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail, _Decoder, printable
from banguard.jails.resolver import Resolver
from banguard.matching import FilterRules
from banguard.model import BanDecision, Candidates, Cursor, FailureFound, FailureState, Grounds

LOG = "/var/log/auth.log"


def stamp(at):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


class Bench:
    """A jail with its surroundings, and short words to feed it."""

    def __init__(
        self, clock, *, failregex=("^ failed <HOST>(?: user <F-USER>\\S+</F-USER>)?$",), names=None, **options
    ):
        self.clock = clock
        self.facts = []
        self.offset = 0
        self.offences = {}
        rules = {
            key: options.pop(key)
            for key in ("ignoreregex", "successregex", "maxlines", "datepattern")
            if key in options
        }
        ignoreip = options.pop("ignoreip", ())
        command = options.pop("run_check", None)
        self.config = JailConfig(name="test", **{"maxretry": 3, "findtime": 600.0, **options})
        self.rules = FilterRules(failregex=failregex, usedns=self.config.usedns, **rules)
        self.resolver = Resolver(clock, forward=(names or {}).__getitem__, own=lambda: frozenset({"198.51.100.1"}))
        self.jail = Jail(
            self.config,
            self.rules,
            clock=clock,
            ignore=IgnoreRules(
                "test", clock=clock, resolver=self.resolver, ignoreip=ignoreip, command="check", run_check=command
            ),
            resolver=self.resolver,
            publish=self.facts.append,
            offender=self.offences.get,
        )

    def line(self, text="failed 192.0.2.1", age=0.0):
        return f"{stamp(self.clock.now() - age)} {text}"

    def feed(self, *lines, live=True, log=LOG, spans=None, times=None, go_on=None):
        block = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        self.offset += len(block)
        self.cursor = Cursor(log, offset=self.offset)
        return self.jail.feed(Candidates(log, block, self.cursor, self.clock.now(), spans, times, live), go_on)

    def decisions(self):
        report = self.jail.report()
        return () if report is None else report.decisions


@pytest.fixture
def bench(clock):
    return lambda **options: Bench(clock, **options)


def logged(caplog, name="banguard.filter"):
    return [record.getMessage() for record in caplog.records if record.name == name]


def test_maxretry_failures_make_a_ban_decision(bench, caplog):
    """Each failure is logged as found; the last one asks for the ban with all lines and the newest data."""
    caplog.set_level(logging.INFO)
    jail = bench()
    lines = [
        jail.line("failed 192.0.2.1 user root", 2),
        jail.line("failed 192.0.2.1", 1),
        jail.line("failed 192.0.2.1"),
    ]
    jail.feed(*lines)
    now = jail.clock.now()
    grounds = Grounds((now - 2, now - 1, now), (1, 1, 1), (), 3, 600.0)
    expected = BanDecision("test", "192.0.2.1", now, 3, tuple(lines), {"user": "root", "ip4": "192.0.2.1"}, grounds)
    assert (expected,) == jail.decisions()
    assert [f"[test] Found 192.0.2.1 - {stamp(now - age)}" for age in (2, 1, 0)] == logged(caplog)
    assert [
        FailureFound(now - age, "test", "192.0.2.1", line) for age, line in zip((2, 1, 0), lines, strict=True)
    ] == jail.facts


def test_a_report_holds_position_changed_counts_and_decisions(bench):
    """One report is what the store needs: nothing is lost or counted twice when the server goes on from it."""
    jail = bench(maxretry=2)
    assert None is jail.jail.report()
    jail.feed(jail.line("failed 192.0.2.1"), jail.line("failed 192.0.2.2"), jail.line("failed 192.0.2.2"))
    report = jail.jail.report()
    assert ((jail.cursor,), ("192.0.2.1",), ("192.0.2.2",)) == (
        report.cursors,
        tuple(state.host for state in report.failures),
        tuple(decision.host for decision in report.decisions),
    )
    assert None is jail.jail.report()
    jail.feed(jail.line("nothing"))
    assert ((jail.cursor,), (), ()) == (lambda r: (r.cursors, r.failures, r.decisions))(jail.jail.report())


def test_a_restored_jail_goes_on_counting(bench):
    """Failures before a restart count together with those after it."""
    first = bench()
    first.feed(first.line(), first.line())
    report = first.jail.report()
    second = bench()
    second.jail.restore(report.failures, report.cursors)
    assert report.cursors == second.jail.cursors()
    second.feed(second.line())
    assert 1 == len(second.decisions())


def test_failures_of_long_ago_are_not_restored(bench):
    """What cannot matter any more is told as gone, so that the store forgets it."""
    jail = bench()
    jail.jail.restore([FailureState("192.0.2.1", (jail.clock.now() - 1300,))])
    assert (FailureState("192.0.2.1", ()),) == jail.jail.report().failures


def test_only_the_spans_are_looked_at(bench):
    """A prefilter tells which lines can match; the others are not even decoded."""
    jail = bench(maxretry=1)
    lines = [jail.line("failed 192.0.2.1"), jail.line("failed 192.0.2.2"), jail.line("failed 192.0.2.3")]
    start = len(lines[0]) + 1
    jail.feed(*lines, spans=((start, start + len(lines[1])),))
    assert ["192.0.2.2"] == [decision.host for decision in jail.decisions()]
    assert 1 == jail.jail.stats().lines


@pytest.mark.parametrize("of_lines", [True, False])
def test_journal_entries_bring_their_time(bench, of_lines):
    """No date is looked for in the text; times are one per candidate, or one per line of the block."""
    jail = bench(maxretry=1)
    now = jail.clock.now()
    lines = ["x", " failed 192.0.2.1", "y", " failed 192.0.2.2"]
    spans = ((2, 19), (22, 39))
    times = (now - 9, now - 5, now - 4, now - 3) if of_lines else (now - 5, now - 3)
    jail.feed(*lines, spans=spans, times=times)
    assert [("192.0.2.1", now - 5), ("192.0.2.2", now - 3)] == [(one.host, one.at) for one in jail.decisions()]


@pytest.mark.parametrize(
    ("age", "live", "found"),
    [(590, True, 590), (610, True, None), (590, False, 590), (610, False, None), (-500, True, 0), (-500, False, 0)],
)
def test_lines_count_at_the_time_the_policy_gives(bench, age, live, found):
    """Late lines keep their time, lines older than findtime are skipped, those of the future are of now."""
    jail = bench(maxretry=1)
    jail.feed(jail.line(age=age), live=live)
    assert ([] if found is None else [jail.clock.now() - found]) == [one.at for one in jail.decisions()]


def test_late_lines_make_no_false_ban(bench):
    """Three failures hours apart, shipped in one go, are not three failures of now."""
    jail = bench(maxretry=3, findtime=600.0)
    for age in (1190, 595, 0):
        jail.feed(jail.line(age=age))
    assert () == jail.decisions()
    jail.feed(jail.line(age=1), jail.line(age=2))
    assert 1 == len(jail.decisions())


def test_an_undated_match_takes_the_date_of_the_line_before_it(bench):
    """While catching up it counts only with a fresh date before it, and at that time."""
    jail = bench(maxretry=1)
    jail.feed(jail.line("whatever", age=30), " failed 192.0.2.1", live=False)
    assert [jail.clock.now() - 30] == [one.at for one in jail.decisions()]
    jail.feed(jail.line("whatever", age=90), " failed 192.0.2.2", live=False)
    assert () == jail.decisions()


@pytest.mark.parametrize("in_block", [True, False])
def test_the_line_before_may_have_been_kept_back_by_the_prefilter(bench, in_block):
    """The date is looked for in the block, and in the end of the block before."""
    jail = bench(maxretry=1)
    before, match = jail.line("whatever", age=20), " failed 192.0.2.1"
    if in_block:
        start = len(before) + 1
        jail.feed(before, match, spans=((start, start + len(match)),), live=False)
    else:
        jail.feed(before, spans=(), live=False)
        jail.feed(match, spans=((0, len(match)),), live=False)
    assert [jail.clock.now() - 20] == [one.at for one in jail.decisions()]


def test_an_undated_match_in_a_live_log_counts_as_of_now_with_a_warning_a_day(bench, caplog):
    """The operator is told that the date pattern does not fit."""
    jail = bench(maxretry=1)
    jail.feed(" failed 192.0.2.1")
    jail.feed(" failed 192.0.2.2")
    assert [jail.clock.now()] * 2 == [one.at for one in jail.decisions()]
    assert 1 == len([text for text in logged(caplog) if "datepattern" in text])


def test_a_filter_without_dates_counts_as_of_now_without_a_word(bench, caplog):
    """`{NONE}` says that there are none, also while catching up."""
    jail = bench(maxretry=1, datepattern="{NONE}", failregex=["^failed <HOST>$"])
    jail.feed("failed 192.0.2.1", live=False)
    assert [jail.clock.now()] == [one.at for one in jail.decisions()]
    assert [] == logged(caplog)


@pytest.mark.parametrize(
    ("encoding", "line", "warned"),
    [
        ("auto", " failed 192.0.2.1 user björn", False),
        ("auto", " failed 192.0.2.1 user bj\xf6rn".encode("latin-1"), True),
        ("latin-1", " failed 192.0.2.1 user bj\xf6rn".encode("latin-1"), False),
        ("utf-8", " failed 192.0.2.1 user björn\r", False),
    ],
)
def test_encoding(bench, encoding, line, warned, caplog):
    """What cannot be decoded is replaced and told once per log and day; the line still counts."""
    jail = bench(maxretry=1, logencoding=encoding)
    line = line if isinstance(line, bytes) else line.encode()
    prefix = stamp(jail.clock.now()).encode()
    jail.feed(prefix + line, prefix + line)
    users = [one.data["user"] for one in jail.decisions()]
    assert ["bj\N{REPLACEMENT CHARACTER}rn" if warned else "björn"] * 2 == users
    assert warned == ("logencoding" in caplog.text)
    assert caplog.text.count("logencoding") <= 1
    jail.feed(prefix + line, log="/other.log")
    assert (2 if warned else 0) == caplog.text.count("logencoding")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "é", "\N{LINE SEPARATOR}", "\r", "\r\r", "\x00", "x\ry", "", "\x85", "\ufeff"])),
    st.sampled_from(["utf-8", "auto", "ascii", "latin-1", "utf-8-sig", "cp1252", "utf-7", "gb18030", "iso2022_jp"]),
    st.booleans(),
    st.booleans(),
)
def test_lines_are_decoded_together_as_one_by_one(lines, encoding, in_latin, with_end):
    """How the lines of a block are decoded makes no difference, whatever stands in them."""
    decoder = _Decoder(encoding)
    raw = [line.encode("latin-1" if in_latin else "utf-8", "replace") for line in lines]
    block = b"".join(line + b"\n" for line in raw)
    spans, at = [], 0
    for line in raw:
        spans.append((at, at + len(line)))
        at += len(line) + 1
    one_by_one = [decoder.text(line) for line in raw]
    if not with_end and raw and raw[-1]:
        block = block[:-1]
    for kept in (None, tuple(spans), tuple(spans[::2])):
        expected = one_by_one[::2] if kept == tuple(spans[::2]) else one_by_one
        found = decoder.texts(block, kept)
        if found is not None:
            assert [text for text, _ in expected] == found
            assert all(whole for _, whole in expected)
        else:
            assert encoding in {"utf-8-sig", "cp1252", "utf-7", "gb18030", "iso2022_jp"} or not all(
                whole for _, whole in expected
            )


def test_lines_with_newlines_are_decoded_one_by_one():
    """An entry of the journal may hold newlines."""
    assert None is _Decoder("utf-8").texts(b"a\nb\nc\n", ((0, 3), (4, 5)))


def test_wide_encodings_come_as_spans(bench):
    """Lines of UTF-16 are decoded one by one where the source says they are."""
    jail = bench(maxretry=1, logencoding="utf-16-le")
    lines = [jail.line(f"failed 192.0.2.{number}").encode("utf-16-le") for number in (10, 11)]
    newline = "\n".encode("utf-16-le")
    block = lines[0] + newline + lines[1] + newline
    first, second = len(lines[0]), len(lines[0]) + 2
    spans = ((0, first), (second, second + len(lines[1])))
    jail.jail.feed(Candidates(LOG, block, Cursor(LOG), jail.clock.now(), spans, None, True))
    assert ["192.0.2.10", "192.0.2.11"] == [one.host for one in jail.decisions()]


def test_an_unknown_encoding_is_refused(bench):
    """A typing error in `logencoding` is an error of the configuration, not of each line."""
    with pytest.raises(LookupError):
        bench(logencoding="utf-9")


NAMES = {"bad.example": ["192.0.2.9", "2001:db8::9"], "none.example": []}


@pytest.mark.parametrize(
    ("usedns", "text", "hosts", "warned"),
    [
        ("yes", "bad.example", ["192.0.2.9", "2001:db8::9"], False),
        ("warn", "bad.example", ["192.0.2.9", "2001:db8::9"], True),
        ("warn", "none.example", [], False),
        ("warn", "192.0.2.1", ["192.0.2.1"], False),
        ("no", "bad.example", [], False),
        ("no", "192.0.2.1", ["192.0.2.1"], False),
        ("raw", "bad.example", ["bad.example"], False),
        ("warn", "::ffff:192.0.2.1", ["192.0.2.1"], False),
        ("warn", "999.1.1.1", [], False),
    ],
)
def test_usedns(bench, usedns, text, hosts, warned, caplog):
    """Names become addresses, all of them, with a warning, not at all, or stay as they are."""
    jail = bench(maxretry=1, usedns=usedns, names=NAMES)
    jail.feed(jail.line(f"failed {text}"))
    assert hosts == [one.host for one in jail.decisions()]
    expected = ["[test] Determined IP using DNS Lookup: bad.example = {'192.0.2.9', '2001:db8::9'}"]
    assert (expected if warned else []) == logged(caplog)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "Ignore 192.0.2.1 by ip"),
        ("198.51.100.1", "Ignore 198.51.100.1 by ignoreself rule"),
        ("203.0.113.1", "Ignore 203.0.113.1 by command"),
    ],
)
def test_ignored_hosts_are_logged_and_not_counted(bench, host, expected, caplog):
    """The log tells which rule spared the host; nothing else happens."""
    caplog.set_level(logging.INFO)
    jail = bench(maxretry=1, ignoreip=["192.0.2.0/24"], run_check=lambda command, tags: 0)
    jail.feed(jail.line(f"failed {host}"))
    assert ((), [f"[test] {expected}"], []) == (jail.decisions(), logged(caplog), jail.facts)
    assert (0, 1) == (jail.jail.stats().total_failed, jail.jail.stats().ignored)


def test_ignorecommand_is_told_what_was_captured(bench):
    """The tags of a failure, as for an action."""
    seen = []
    jail = bench(run_check=lambda command, tags: seen.append(tags) or 1)
    line = jail.line("failed 192.0.2.1 user root")
    jail.feed(line)
    expected = {"ip": "192.0.2.1", "F-USER": "root", "family": "inet4", "matches": line, "failures": "1"}
    assert expected == {key: seen[0][key] for key in expected}


def test_an_id_that_is_not_the_address_is_counted_by_id_and_keeps_the_address(bench):
    """`<F-ID>` beside an address: the id fails, the action gets the address as `<ip>`."""
    jail = bench(maxretry=2, failregex=["^ failed <F-ID>\\S+</F-ID> from <ADDR>$"])
    jail.feed(jail.line("failed bob from 192.0.2.1"), jail.line("failed bob from ::ffff:192.0.2.2"))
    (decision,) = jail.decisions()
    assert ("bob", "192.0.2.2") == (decision.host, decision.data["ip"])


def test_ignoreregex_and_silent_matches_are_numbered(bench):
    """`stats` tells lines, matches and what was ignored."""
    jail = bench(ignoreregex=["user nagios$"])
    jail.feed(jail.line(), jail.line("failed 192.0.2.1 user nagios"), jail.line("something else"))
    stats = jail.jail.stats()
    assert (1, 1, 3, 1, 1, 0) == (
        stats.currently_failed,
        stats.total_failed,
        stats.lines,
        stats.matched,
        stats.ignored,
        stats.errors,
    )


def test_a_line_that_fails_costs_only_itself(bench, caplog):
    """An error on one line is logged and counted; the next line is processed, one traceback a minute is enough."""

    def check(command, tags):
        if tags["ip"] == "192.0.2.66":
            raise OSError("out of processes")
        return 1

    jail = bench(maxretry=1, run_check=check)
    jail.feed(jail.line("failed 192.0.2.66"), jail.line("failed 192.0.2.66"), jail.line("failed 192.0.2.1"))
    assert ["192.0.2.1"] == [one.host for one in jail.decisions()]
    assert 2 == jail.jail.stats().errors
    assert 2 == len([text for text in logged(caplog) if "out of processes" in text])
    assert [True, False] == [record.exc_info is not None for record in caplog.records]


def test_a_line_that_keeps_the_regexes_busy_is_told(bench, caplog):
    """A line on which the matcher gave up is passed over with a word; what comes after it counts."""
    jail = bench(maxretry=1, failregex=[r"(?:a?){300}(?:d*)*(?:b|failed) <HOST>$"])
    jail.feed(jail.line("a" * 60_000 + "b !"), jail.line())
    assert ["192.0.2.1"] == [one.host for one in jail.decisions()]
    assert [f"[test] Lines that keep the regexes busy are passed over, 1 so far, the last one in {LOG}"] == logged(
        caplog
    )
    jail.feed(jail.line())
    assert 1 == len(logged(caplog))


def test_text_of_a_log_cannot_forge_lines_of_ours(bench, caplog):
    """Control characters in an id are written as escapes."""
    caplog.set_level(logging.INFO)
    jail = bench(failregex=["^ id <F-ID>.+</F-ID>$"])
    jail.feed(jail.line("id a\x1b[2J\rb\u2028c\x85[x] Ban 192.0.2.1"))
    assert f"[test] Found a\\x1b[2J\\rb\\u2028c\\x85[x] Ban 192.0.2.1 - {stamp(jail.clock.now())}" == logged(caplog)[0]


@pytest.mark.parametrize(("text", "expected"), [("192.0.2.1", "192.0.2.1"), ("a\nb", "a\\nb"), ("ü\0", "ü\\x00")])
def test_printable(text, expected):
    """Letters of all alphabets stay, what moves the cursor does not."""
    assert expected == printable(text)


@pytest.mark.parametrize(
    ("count", "maxretry", "failures_needed", "weight"),
    [(0, 5, 5, None), (1, 5, 3, 2), (2, 5, 2, 3), (3, 5, 1, 5), (4, 5, 1, 5), (50, 5, 1, 5), (4, 20, 3, 9)],
)
def test_known_offenders_count_more(bench, count, maxretry, failures_needed, weight, caplog):
    """The n-th return counts 2, 3, 5, 9, … failures at once, never more than maxretry."""
    caplog.set_level(logging.INFO)
    jail = bench(maxretry=maxretry, increment=BantimeIncrement(enabled=True))
    if count:
        jail.offences["192.0.2.1"] = (count, jail.clock.now() - 3600)
    for number in range(1, 100):
        jail.feed(jail.line())
        decisions = jail.decisions()
        if decisions:
            break
    assert (failures_needed, failures_needed) == (number, decisions[0].failures)
    ban = ", Ban" if weight == maxretry else ""
    expected = f"[test] Found 192.0.2.1, bad - {stamp(jail.clock.now())}, {count} # -> {weight}{ban}"
    assert ([expected] * number if weight else []) == logged(caplog, "banguard.observer")


def test_old_lines_of_an_offender_count_once(bench):
    """Failures from before the last ban are read again, not a return."""
    jail = bench(increment=BantimeIncrement(enabled=True))
    jail.offences["192.0.2.1"] = (5, jail.clock.now() - 10)
    jail.feed(jail.line(age=10))
    assert () == jail.decisions()


def test_offenders_count_once_without_increment(bench):
    """The rule belongs to `bantime.increment`."""
    jail = bench()
    jail.offences["192.0.2.1"] = (5, jail.clock.now() - 3600)
    jail.feed(jail.line())
    assert () == jail.decisions()


@pytest.mark.parametrize(("lines", "decided"), [((), False), (("a", "b", "c"), True)])
def test_attempt(bench, lines, decided, caplog):
    """Each line counts as a failure, no line as one."""
    caplog.set_level(logging.INFO)
    jail = bench()
    assert 1 == jail.jail.attempt("::FFFF:192.0.2.1", lines)
    assert decided == bool(jail.decisions())
    assert [f"[test] Attempt 192.0.2.1 - {stamp(jail.clock.now())}"] == logged(caplog)


def test_attempt_of_an_ignored_host_is_refused(bench):
    """0 tells that the host is spared."""
    assert 0 == bench(ignoreip=["192.0.2.1"]).jail.attempt("192.0.2.1", ["x"])


def test_reconfigure_changes_limits_rules_and_ignore_list_and_keeps_counts(bench, clock):
    """A reload does not forgive the failures so far."""
    jail = bench()
    jail.feed(jail.line())
    other = Bench(clock, failregex=["^ refused <HOST>$"], maxretry=2, ignoreip=["192.0.2.5"])
    jail.jail.reconfigure(other.config, other.rules, other.jail.ignore)
    jail.feed(jail.line("refused 192.0.2.5"), jail.line("refused 192.0.2.5"), jail.line("refused 192.0.2.1"))
    assert ["192.0.2.1"] == [one.host for one in jail.decisions()]
    assert (2, other.rules) == (jail.jail.config.maxretry, jail.jail.rules)


def test_a_block_can_be_given_up(bench):
    """While a block takes long, its owner is asked four times a second whether to go on."""
    jail = bench(run_check=lambda command, tags: jail.clock.advance(0.1) or 1)
    asked = []

    def go_on():
        asked.append(jail.jail.urgent_report())
        return len(asked) < 3

    assert not jail.feed(*[jail.line(f"failed 192.0.2.{number // 3}") for number in range(60)], go_on=go_on)
    assert 3 == len(asked)
    assert ["192.0.2.0"] == [one.host for one in asked[0].decisions]
    assert ((), ()) == (asked[0].cursors, asked[0].failures)
    assert () == jail.jail.cursors()


def test_a_forgotten_log_is_not_reported_any_more(bench):
    """`dellogpath` takes everything of the log with it."""
    jail = bench()
    jail.feed(jail.line(age=5000))
    jail.jail.forget_log(LOG)
    assert (None, ()) == (jail.jail.report(), jail.jail.cursors())


def test_multi_line_rules_see_all_lines(bench):
    """With `maxlines` a failure is put together from several lines, each with its date."""
    jail = bench(maxretry=1, maxlines=2, failregex=["^ begin <HOST>$<SKIPLINES>^ end$"])
    lines = [jail.line("begin 192.0.2.1", 1), jail.line("end")]
    jail.feed(*lines)
    (decision,) = jail.decisions()
    assert ("192.0.2.1", tuple(lines)) == (decision.host, decision.matches)


# ---- networks, further failures


def test_networks_are_counted_in_the_place_of_addresses(bench):
    """With banprefix the addresses of one network count together, and the network is what is to be banned."""
    jail = bench(prefix=BanPrefix(ipv6=64))
    jail.feed(*[jail.line(f"failed 2001:db8::{number}") for number in (1, 2, 3)], jail.line("failed 192.0.2.1"))
    (decision,) = jail.decisions()
    assert ("2001:db8::/64", "2001:db8::3") == (decision.host, decision.data["member"])


@pytest.mark.parametrize("spared", ["2001:db8::77", "2001:db8::/96", "2001:db8::/32"])
def test_no_network_is_counted_that_holds_a_spared_address(bench, spared):
    """Next to somebody who is to be spared only the address itself counts."""
    jail = bench(prefix=BanPrefix(ipv6=64), ignoreip=(spared,))
    jail.feed(*[jail.line("failed 2001:db8::9:0:0:1") for _ in range(3)])
    expected = [] if spared.endswith("/32") else ["2001:db8::9:0:0:1"]
    assert expected == [decision.host for decision in jail.decisions()]


def test_own_network_is_not_counted_whole(bench):
    """The network that this machine is in is not banned with itself in it."""
    jail = bench(prefix=BanPrefix(ipv4=24))
    jail.feed(*[jail.line("failed 198.51.100.9") for _ in range(3)])
    jail.feed(*[jail.line("failed 203.0.113.9") for _ in range(3)])
    assert ["198.51.100.9", "203.0.113.0/24"] == [decision.host for decision in jail.decisions()]


def test_further_failures_are_reported_where_they_matter(bench):
    """With bantime.rearm each report tells of every failing host, and when it failed last."""
    jail = bench(increment=BantimeIncrement(rearm=True), maxretry=9)
    now = jail.clock.now()
    jail.feed(jail.line(age=5.0), jail.line(age=2.0), jail.line("failed 192.0.2.2", age=3.0))
    assert {"192.0.2.1": now - 2, "192.0.2.2": now - 3} == pytest.approx(dict(jail.jail.report().hits), abs=1.0)
    assert jail.jail.report() is None
    other = bench(maxretry=9)
    other.feed(other.line())
    assert {} == other.jail.report().hits


def test_offences_decay(bench):
    """An old offender who stayed away counts like a new one."""
    jail = bench(increment=BantimeIncrement(enabled=True, decay=1000.0), maxretry=5)
    jail.offences["192.0.2.1"] = (2, jail.clock.now() - 2500)
    jail.feed(*[jail.line() for _ in range(4)])
    assert () == jail.decisions()
    jail.offences["192.0.2.1"] = (2, jail.clock.now() - 100)
    jail.feed(jail.line())
    assert ["192.0.2.1"] == [decision.host for decision in jail.decisions()]


def test_a_login_makes_failures_forgotten(bench, caplog):
    """Who logs in begins anew, of a counted network too; others do not, and without failures nothing is said."""
    caplog.set_level(logging.INFO)
    jail = bench(success_forgets=True, successregex=["^ welcome <HOST>$"], prefix=BanPrefix(ipv6=64))
    jail.feed(jail.line("welcome 192.0.2.1"))
    jail.feed(*[jail.line(f"failed {host}") for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1") for _ in range(2)])
    jail.feed(jail.line("welcome 192.0.2.1"), jail.line("welcome 2001:db8::2"))
    jail.feed(*[jail.line(f"failed {host}") for host in ("192.0.2.1", "192.0.2.2", "2001:db8::3")])
    assert ["192.0.2.2"] == [decision.host for decision in jail.decisions()]
    assert [f"[test] Forget failures of {host}: a login succeeded" for host in ("192.0.2.1", "2001:db8::/64")] == [
        message for message in logged(caplog) if "Forget" in message
    ]


def test_a_login_of_a_session_makes_failures_forgotten(bench):
    """A session that gains access counts as a login, for rules that were made to tell that."""
    for success, banned in (((), []), (None, ["192.0.2.1"])):
        jail = bench(
            maxretry=2,
            success_forgets=True,
            successregex=success,
            failregex=[
                "^ s<F-MLFID>\\d+</F-MLFID> failed <HOST>$",
                "^ s<F-MLFID>\\d+</F-MLFID> <F-MLFGAINED>welcome</F-MLFGAINED> <HOST>$",
            ],
        )
        jail.feed(*map(jail.line, ("s1 failed 192.0.2.1", "s1 welcome 192.0.2.1", "s2 failed 192.0.2.1")))
        assert banned == [decision.host for decision in jail.decisions()]


def test_a_decision_names_the_rules_that_led_to_it(bench):
    """Number of the rule of each line, text and place of each rule; other rules put in force make the old ones unknown."""
    jail = bench(failregex=("^ one <HOST>$", "^ two <HOST>$"))
    places = {"failregex[1]": Place("filter.d/x.conf", 9)}
    rules = FilterConfig("x", failregex=("^ one <HOST>$", "^ two <HOST>$"), places=places)
    jail.jail.reconfigure(replace(jail.config, filter=rules))
    jail.feed(jail.line("two 192.0.2.1"), jail.line("one 192.0.2.1"), jail.line("two 192.0.2.1"))
    grounds = jail.decisions()[0].grounds
    assert (2, 1, 2) == grounds.rules
    assert ((2, "^ two <HOST>$", "filter.d/x.conf:9"), (1, "^ one <HOST>$", "")) == grounds.texts
    jail.feed(jail.line("two 192.0.2.1"))
    jail.jail.reconfigure(jail.config, FilterRules(failregex=("^ two <HOST>$",)))
    jail.feed(jail.line("two 192.0.2.1"), jail.line("two 192.0.2.1"))
    assert (0, 1, 1) == jail.decisions()[0].grounds.rules
