"""Tests of banguard.matching.record."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.errors import PatternError
from banguard.matching.record import parse_path, read_record


def text(line: str, name: str) -> str | None:
    record = read_record(line)
    return None if record is None else record.text(parse_path(name))


@pytest.mark.parametrize(
    ("expected", "line", "name"),
    [
        ("x", '{"a":"x"}', "a"),
        ("x", '{"a":{"b":{"c":"x"}}}', "a.b.c"),
        ("x", '{"a.b":"x"}', "a.b"),
        ("x", '{"a":{"b.c":"x"}}', "a.b.c"),
        (None, '{"a.b":"x","a":{"b":"y"}}', "a.b"),
        ("y", '{"a.b":{"d":"x"},"a":{"b":{"c":"y"}}}', "a.b.c"),
        ("x", '{"ClientHost":"x"}', "clienthost"),
        ("x", '{"clienthost":"x"}', "ClientHost"),
        (None, '{"a":"x","A":"y"}', "a"),
        (None, '{"a":"x","a":"x"}', "a"),
        ("x", '{"\\u0061":"x"}', "a"),
        (None, '{"\u212aey":"x"}', "key"),
        ("1", '{"a":["1","2","3"]}', "a.0"),
        ("3", '{"a":["1","2","3"]}', "a.-1"),
        (None, '{"a":["1"]}', "a.1"),
        (None, '{"a":["1"]}', "a.-2"),
        (None, '{"a":["1"]}', "a.b"),
        ("x", '{"a":{"0":"x"}}', "a.0"),
        (None, '{"a":["1"]}', "a"),
        (None, '{"a":{}}', "a"),
        (None, '{"a":"x"}', "a.b"),
        ("401", '{"a":401}', "a"),
        ("1e3", '{"a":1e3}', "a"),
        ("-0.50", '{"a":-0.50}', "a"),
        ("9" * 5000, f'{{"a":{"9" * 5000}}}', "a"),
        ("true", '{"a":true}', "a"),
        ("false", '{"a":false}', "a"),
        ("null", '{"a":null}', "a"),
        ('a"b\\c/', '{"a":"a\\"b\\\\c\\/"}', "a"),
        ("é\U0001f600", '{"a":"\\u00e9\\ud83d\\ude00"}', "a"),
        ("x\ufffdy", '{"a":"x\\ud800y"}', "a"),
        ("a\ufffdb\ufffd\ufffd", '{"a":"a\\nb\\u0000\\u2028"}', "a"),
        ("é\ufffd", '{"a":"é\\u001b"}', "a"),
    ],
)
def test_the_text_of_a_field(expected: str | None, line: str, name: str) -> None:
    """A path finds what is there once; what could be meant twice, or is no single value, has no text."""
    assert expected == text(line, name)


@pytest.mark.parametrize(
    "before",
    [
        "",
        "  ",
        "Nov 20 22:27:27 web1 caddy[811]: ",
        "Nov  2 22:27:27.123456 web1 caddy: ",
        "2026-11-20T22:27:27.123456+01:00 web1 docker/caddy[811]: @cee: ",
        "2026-11-20T22:27:27.123456789Z stdout F ",
        "2026-11-20T22:27:27.123456789Z ",
        "caddy-1  | ",
        "caddy_1 | 2026-11-20T22:27:27.123456789Z ",
        "web1 caddy[811]: ",
        "caddy[811]: ",
        "<38>Nov 20 22:27:27 web1 caddy: ",
        "<38>1 2026-11-20T22:27:27Z web1 caddy 811 - - ",
        "@cee: ",
    ],
)
def test_what_carries_a_log_is_cut(before: str) -> None:
    """Syslog, the journal and containers put their own in front of the object."""
    record = read_record(before + '{"a":"x"} ')
    assert record is not None
    assert ("x", before) == (record.text(("a",)), record.before)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "text",
        "[1]",
        '"{}"',
        '{"a":"x"} more',
        '{"a":"x"}{"a":"y"}',
        '{"a":"x"',
        "{'a':'x'}",
        '{"a":"x\n"}',
        'GET /?{"a":"192.0.2.66"}',
        '192.0.2.1 - - [20/Nov/2026:22:27:27 +0000] "GET /{"a":"192.0.2.66"}',
        'Nov 20 22:27:27 web1 caddy[811]: bad request {"a":"192.0.2.66"}',
        'level=error msg={"a":"192.0.2.66"}',
        "{" * 70_000,
        '{"a":' * 13_000,
        '{"a":' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"a":' + "[" * 61 + "]" * 61 + "}",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_line_that_is_no_object(line: str) -> None:
    """Text in front or behind, what is cut, broken or nested without end: no object, and no exception."""
    assert read_record(line) is None


def test_brackets_within_texts_are_no_nesting() -> None:
    """A URL full of brackets hides nothing."""
    assert "x" == text(json.dumps({"u": '[{"\\' * 100, "a": "x"}), "a")


def test_the_log_of_a_container() -> None:
    """Docker keeps each line as a text; the object in it is the one that counts, the outer one gives the time."""
    inner = json.dumps({"a": 'x"y', "log": "z"})
    record = read_record(json.dumps({"log": inner + "\n", "stream": "stdout", "time": "2026-11-20T22:27:27Z"}))
    assert record is not None
    assert record.outer is not None
    assert ('x"y', "2026-11-20T22:27:27Z") == (record.text(("a",)), record.outer.text(("time",)))
    plain = read_record(json.dumps({"log": "text", "stream": "stdout", "time": "t"}))
    assert plain is not None
    assert "text" == plain.text(("log",))
    other = read_record(json.dumps({"log": inner, "stream": [], "time": "t"}))
    assert other is not None
    assert other.text(("a",)) is None


@pytest.mark.parametrize("name", ["", ".a", "a.", "a..b", ".".join("abcdefghi")])
def test_a_bad_name_is_refused(name: str) -> None:
    """Empty parts are a slip; very many would cost much to look for."""
    with pytest.raises(PatternError, match="bad name of a field"):
        parse_path(name)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c.d", "c"]), values), st.booleans())
def test_what_json_writes_is_read(value: dict[str, object], plain: bool) -> None:
    """A text of the object is found as it was put in, however it is escaped."""
    record = read_record(json.dumps(value, ensure_ascii=plain).replace("\u2028", "\\u2028"))
    assert record is not None
    found = value.get("a")
    if isinstance(found, str) and found.isascii() and found.isprintable():
        assert found == record.text(("a",))
    else:
        assert isinstance(record.text(("a",)), str | None)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='{}[]":,\\au0é \n1', max_size=60))
def test_nothing_raises(line: str) -> None:
    """Whatever stands there, reading it is no error."""
    record = read_record(line)
    if record is not None:
        record.text(("a", "u"))
