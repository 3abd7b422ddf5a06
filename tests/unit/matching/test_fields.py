"""Tests of banguard.matching.fields."""

from __future__ import annotations

import json

import pytest

from banguard.errors import PatternError
from banguard.matching.fields import JsonRules
from banguard.matching.prefilter import wanted
from banguard.matching.rules import LineResult

NOW = 1_795_213_700.0
CADDY = (("field.request.ip", ("<HOST>",)), ("field.status", ("401", "403")))


def rules(fields=CADDY, **options) -> JsonRules:
    return JsonRules(fields=fields, **({"failregex": (), "usedns": "no", "timezone": "UTC"} | options))


def match(used: JsonRules, line: object, *, check_all: bool = False) -> LineResult:
    dated = used.date(line if isinstance(line, str) else json.dumps(line), NOW)
    return used.match(dated, dated.time, check_all=check_all)


def host(used: JsonRules, line: object) -> str | None:
    result = match(used, line)
    return result.matches[0].id if result.matches else None


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        ("192.0.2.1", {"request": {"ip": "192.0.2.1"}, "status": 401}),
        ("192.0.2.1", {"request": {"ip": "192.0.2.1"}, "status": "403"}),
        ("2001:db8::1", {"request": {"ip": "2001:db8::1"}, "status": 401}),
        ("192.0.2.1", {"request.ip": "192.0.2.1", "status": 401}),
        (None, {"request": {"ip": "192.0.2.1"}, "status": 4010}),
        (None, {"request": {"ip": "192.0.2.1"}, "status": "401 "}),
        (None, {"request": {"ip": "192.0.2.1 x"}, "status": 401}),
        (None, {"request": {"ip": "999.0.2.1"}, "status": 401}),
        (None, {"request": {"ip": "192.0.2.1"}}),
        (None, {"request": {"ip": ["192.0.2.1"]}, "status": 401}),
        (None, '{"request":{"ip":"192.0.2.66","ip":"192.0.2.1"},"status":401}'),
        (None, '{"request":{"ip":"192.0.2.1"},"status":401} {"request":{"ip":"192.0.2.66"},"status":401}'),
        (None, 'GET {"request":{"ip":"192.0.2.66"},"status":401}'),
        (
            "192.0.2.1",
            {"uri": '","request":{"ip":"192.0.2.66"},"status":401}', "request": {"ip": "192.0.2.1"}, "status": 401},
        ),
    ],
)
def test_all_conditions_on_whole_texts(expected, line):
    """A rule matches when each field is there and one of its regexes matches all of its text."""
    assert expected == host(rules(), line)


def test_a_text_is_matched_as_a_whole_whatever_the_regex():
    """Alternatives, flags and dots go as far as the text, control characters in it included."""
    used = rules((("field.ip", ("<ADDR>",)), ("field.m", ("(?i)no|denied .*",))))
    assert "192.0.2.1" == host(used, {"ip": "192.0.2.1", "m": "DENIED a\nb"})
    assert "192.0.2.1" == host(used, {"ip": "192.0.2.1", "m": "No"})
    assert host(used, {"ip": "192.0.2.1", "m": "no way"}) is None
    assert host(used, {"ip": "192.0.2.1", "m": "nothing denied x"}) is None


def test_numbered_rules():
    """Fields with the same number are one rule; the first rule that matches decides."""
    used = rules((
        ("field.ip", ("<ADDR>",)),
        ("field2.peer", ("<ADDR>",)),
        ("field.user", ("<F-USER>.*</F-USER>",)),
        ("field2.failed", ("true",)),
    ))  # fmt: skip
    first = match(used, {"ip": "192.0.2.1", "user": "joe", "peer": "192.0.2.2", "failed": True}, check_all=True)
    assert ("192.0.2.1", "joe", 1, (1, 2)) == (first.matches[0].id, first.matches[0].user, first.rule, first.rules)
    second = match(used, {"ip": "192.0.2.1", "peer": "192.0.2.2", "failed": True})
    assert ("192.0.2.2", None, 2) == (second.matches[0].id, second.matches[0].user, second.rule)
    assert [1, 2] == [rule.hits for rule in used.failures]
    assert "field.ip = <ADDR>; field.user = <F-USER>.*</F-USER>" == used.failures[0].text


def test_what_does_not_count():
    """`ignorefield` conditions of one number together spare a line, and so does an ignoreregex, which sees the line."""
    used = rules(
        (
            *CADDY,
            ("ignorefield.uri", ("/health.*",)),
            ("ignorefield.method", ("GET",)),
            ("ignorefield2.bot", ("true",)),
        ),
        ignoreregex=('"agent": "good',),
    )
    line = {"request": {"ip": "192.0.2.1"}, "status": 401}
    assert "matched" == match(used, line | {"uri": "/health"}).status
    assert "ignored" == match(used, line | {"uri": "/health", "method": "GET"}).status
    assert "ignored" == match(used, line | {"bot": True}).status
    assert "ignored" == match(used, line | {"agent": "good one"}).status
    assert "matched" == match(used, line | {"agent": "x"}).status


def test_lines_of_text_beside_the_objects():
    """A line without an object is for failregex; a line with one never is."""
    used = rules(failregex=(r"^\s*refused <ADDR>$", r'^\{.*"x": "<ADDR>"'), prefregex="^<F-CONTENT>.+</F-CONTENT>$")
    assert "192.0.2.1" == host(used, "2026-11-20 22:27:27 refused 192.0.2.1")
    assert host(used, {"x": "192.0.2.66"}) is None
    assert 3 == match(used, {"request": {"ip": "192.0.2.1"}, "status": 401}).rule


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, {"time": "2026-11-20T22:27:27Z"}),
        ({}, {"ts": 1795213647}),
        ({}, {"ts": 1795213647.25, "date": "x"}),
        ({}, {"time": 1795213647123}),
        ({}, {"@timestamp": "1795213647123456"}),
        ({}, {"timestamp": 1795213647123456789}),
        ({}, {"StartUTC": "2026-11-20T22:27:27.123456789Z"}),
        ({}, {"requestReceivedTimestamp": "2026-11-20T23:27:27.123456+01:00"}),
        ({}, {"time": {"x": 1}, "ts": 1795213647}),
        ({"datefield": "a.$date"}, {"ts": 5, "a": {"$date": "2026-11-20T22:27:27.123+00:00"}}),
        ({"datefield": "at", "datepattern": "%d.%m.%Y %H-%M-%S"}, {"at": "20.11.2026 22-27-27"}),
        ({"datepattern": "{^LN-BEG}"}, {"time": 1795213647123}),
        ({"datepattern": "{EPOCH}"}, {"time": 1795213647}),
        ({}, 'Nov 20 22:27:27 web1 caddy[811]: {"a":"x"}'),
        ({}, json.dumps({"log": '{"a":"x"}\n', "stream": "stdout", "time": "2026-11-20T22:27:27.1Z"})),
    ],
)
def test_the_time(fields, line):
    """It is that of the field that is named, else of a usual one: a date, or a number of any unit; else of syslog."""
    time = rules(**fields).date(line if isinstance(line, str) else json.dumps(line), NOW).time
    assert time is not None
    assert 1_795_213_647 == int(time)


def test_without_a_time():
    """A line without one takes over the last time, as lines of text do; the journal gives its own."""
    used = rules()
    assert used.date('{"a":1}', NOW).time is None
    assert used.time_of(used.date('{"ts":1795213699}', NOW)) == used.time_of(used.date('{"a":1}', NOW))
    assert 5.0 == rules(journal=True).date('{"ts":1795213699}', NOW, 5.0).time


def test_sessions_go_over_lines():
    """`<F-MLFID>` joins objects as it joins lines."""
    used = rules((
        ("field.id", ("<F-MLFID>.+</F-MLFID>",)),
        ("field.ip", ("<ADDR>",)),
        ("field.event", ("<F-NOFAIL>open</F-NOFAIL>",)),
        ("field2.id", ("<F-MLFID>.+</F-MLFID>",)),
        ("field2.event", ("failed",)),
    ))  # fmt: skip
    assert "nofail" == match(used, {"id": 7, "event": "open", "ip": "192.0.2.1"}).status
    assert "192.0.2.1" == host(used, {"id": 7, "event": "failed"})


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("No failure-id group", (("field.status", ("401",)),)),
        ("cannot compile regex", (("field.a", ("(<HOST>",)),)),
        ("cannot compile regex", (("field.a", ("<HOST>)(",)),)),
        ("bad name of a field", (("field.a..b", ("<HOST>",)),)),
        ("bad name of a field", (("field.", ("<HOST>",)),)),
        ("as another field of the same rule does", (("field.a", ("<ADDR>",)), ("field.b", ("<ADDR>",)))),
    ],
)
def test_what_cannot_be_used_is_told(message, fields):
    """The error names the regex, or the field."""
    with pytest.raises(PatternError, match=message):
        rules(fields)


def test_one_line_at_a_time():
    """An object does not go over several lines."""
    with pytest.raises(PatternError, match="maxlines"):
        rules(maxlines=2)


def test_a_text_made_to_keep_the_matcher_busy():
    """A regex that explodes is matched with bounded effort in fields too."""
    used = rules((("field.ip", ("<ADDR>",)), ("field.m", ("(a+)+b",))))
    assert host(used, {"ip": "192.0.2.1", "m": "a" * 50_000}) is None
    assert "192.0.2.1" == host(used, {"ip": "192.0.2.1", "m": "a" * 50_000 + "b"})
    assert [True] == [pattern.explodes for name, pattern in used.patterns if name == "field.m[0]"]


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ({b"401", b"403"}, CADDY),
        ({b"failed login"}, (("field.ip", ("<ADDR>",)), ("field.m", ("failed login",)))),
        ({b"remote_addr"}, (("field.a.remote_addr", ("<ADDR>",)),)),
        ({b" denied to "}, (("field.ip", ("<ADDR>",)), ("field.m", ('"x" denied to /y',)))),
        ({b"login_failed", b"remote_addr"}, (("field.ip", ("<ADDR>",)), ("field.m", ("login_failed",)), ("field2.remote_addr", ("<ADDR>",)))),
        (None, (("field.0", ("<ADDR>",)),)),
        (None, (("field.é", ("<ADDR>",)),)),
    ],
)  # fmt: skip
def test_what_a_line_must_hold(expected, fields):
    """Lines without a text that JSON writes as it is, or an escape that may hide it, are not looked at."""
    what = wanted(rules(fields), "utf-8")
    if expected is None:
        assert what is None
    else:
        assert what is not None
        assert b"\\u00" in what.any_of
        assert expected == {text for text in what.any_of if not text.startswith((b"\\u", b"\\u2"))}
