"""What the tester prints."""

from __future__ import annotations

import json

import pytest

from banguard.cli.regex_report import Lines, Tally, clean, json_line, listing, report, summary, template
from banguard.matching import FilterRules, LineResult, Match

NOW = 1_795_168_800.0


def a_match(**changes) -> Match:
    groups = {"ip4": "192.0.2.1", "user": "joe", "fport": "22", "dns": None}
    base = Match("address", "192.0.2.1", "192.0.2.1", NOW, groups, ("the line",), 1)
    return base._replace(**changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é", "plain é"),
        ("a\tb", "a\tb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b\x07\u202e", "\\x9b\\x07\\u202e"),
        ("\udcff", "\\udcff"),
    ],
)
def test_terminal_gets_no_control_characters(text, expected):
    """Escape sequences, bells and turned text from a log are shown, not obeyed."""
    assert expected == clean(text)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("id", "192.0.2.1"),
        ("fid", "192.0.2.1"),
        ("ip", "192.0.2.1"),
        ("host", "192.0.2.1"),
        ("msg", "the line"),
        ("time", str(NOW)),
        ("user", "joe"),
        ("nosuch", "None"),
        ("dns", "None"),
        ("<ip> <F-USER> <F-PORT> <time> <msg>", f"192.0.2.1 joe 22 {NOW} the line"),
        ("<F-NOSUCH>|<nosuch>|<dns>|<family>|<ip-rev>", "|<nosuch>||inet4|1.2.0.192."),
        ("row", f"['192.0.2.1',\t{NOW},\t{{'ip4': '192.0.2.1', 'user': 'joe', 'fport': '22', 'dns': None}}],"),
    ],
)
def test_template(token, expected):
    """-o prints a value, a row, or a text with tags; an unknown tag stays as it is."""
    assert expected == template(token)(a_match(), NOW)


def test_template_of_a_line_without_time():
    """A match without a date is of now in a template, and has none in a row."""
    undated = a_match(time=None)
    assert str(NOW) == template("<time>")(undated, NOW)
    assert "\tNone,\t" in template("row")(undated, NOW)


def test_template_with_an_id_of_its_own():
    """<ip> is the address, <id> what would be banned."""
    match = a_match(id="session", kind="id", groups={"ip": "192.0.2.1", "fid": "session"})
    assert "192.0.2.1 session session" == template("<ip> <id> <F-ID>")(match, NOW)


def test_json_line():
    """A line of --jsonl is one object, whatever the line holds."""
    text = 'a "quote" \x1b\udcff é'
    found = json.loads(json_line(7, text, LineResult("matched", (a_match(),), 1, (1,))))
    assert {
        "line": 7,
        "text": text,
        "status": "matched",
        "id": "192.0.2.1",
        "host": "192.0.2.1",
        "time": NOW,
        "user": "joe",
        "regex": 1,
        "groups": {"ip4": "192.0.2.1", "user": "joe", "fport": "22"},
    } == found
    assert {"line": 1, "text": "x", "status": "missed"} == json.loads(json_line(1, "x", LineResult("missed")))
    assert {"line": 1, "text": "x", "status": "nofail", "regex": 3} == json.loads(
        json_line(1, "x", LineResult("nofail", rule=3, rules=(3,)))
    )
    assert json_line(7, text, LineResult("missed")).isascii()


def test_json_line_of_several():
    """Several addresses of one name and several lines of one failure are all there."""
    result = LineResult("matched", (a_match(lines=("a", "b")), a_match(id="192.0.2.2")), 1, (1,))
    found = json.loads(json_line(1, "b", result))
    assert (["192.0.2.1", "192.0.2.2"], ["a", "b"]) == (found["ids"], found["lines"])


def tried(*lines: str) -> tuple[Tally, FilterRules]:
    rules = FilterRules(failregex=["^fail <HOST>", "^other <HOST>"], ignoreregex=[r"^fail 198\."], datepattern="{NONE}")
    tally = Tally(seconds=0.25)
    for line in lines:
        status = rules.match(rules.date(line, NOW), NOW, check_all=True).status
        getattr(tally, {"nofail": "ignored"}.get(status, status)).add(line)
    return tally, rules


def test_summary():
    """--json tells lines, hits of each regex and of each date template, and the time taken."""
    found = summary(*tried("fail 192.0.2.1", "fail 198.51.100.1", "x"))
    assert {"total": 3, "matched": 1, "ignored": 1, "missed": 1} == found["lines"]
    assert [{"pattern": "^fail <HOST>", "hits": 1}, {"pattern": "^other <HOST>", "hits": 0}] == found["failregex"]
    assert [{"pattern": r"^fail 198\.", "hits": 1}] == found["ignoreregex"]
    assert [3] == [date["hits"] for date in found["dates"]]
    assert 0.25 == found["seconds"]


def test_report():
    """The report has the layout that scripts read: trees of hits, then the totals."""
    tally, rules = tried("fail 192.0.2.1", "fail 198.51.100.1", "x")
    lines = list(report(tally, rules, verbose=0, verbose_date=False))
    text = "\n".join(lines)
    assert (
        "\n\nResults\n=======\n\nFailregex: 1 total\n|-  #) [# of hits] regular expression\n|   1) [1] ^fail <HOST>\n`-\n"
        in text
    )
    assert "\nIgnoreregex: 1 total\n|-  #) [# of hits] regular expression\n|   1) [1] ^fail 198\\.\n`-\n" in text
    assert "\nDate template hits:\n|- [# of hits] date format\n|  [3] " in text
    assert text.endswith("\n`-\n\nLines: 3 lines, 1 ignored, 1 matched, 1 missed\n[processed in 0.25 sec]\n")


def test_verbose_report():
    """-v shows regexes without hits, and what each found."""
    tally, rules = tried("fail 192.0.2.1")
    tally.found = {1: [("192.0.2.1", None, True), ("192.0.2.2", 0.0, False)]}
    text = "\n".join(report(tally, rules, verbose=1, verbose_date=True))
    assert (
        "|   1) [1] ^fail <HOST>\n|      192.0.2.1  no date (multiple regex matched)\n|      192.0.2.2  Thu Jan 01 "
        in text
    )
    assert "|   2) [0] ^other <HOST>\n" in text
    assert "|      # regex:   " in text


def test_listing():
    """Up to twenty lines are listed; more only on request; none leave no trace."""
    lines = Lines("Missed")
    assert [] == list(listing(lines))
    for number in range(20):
        lines.add(str(number))
    assert ["|- Missed line(s):", "|  0"] == list(listing(lines))[:2]
    assert "`-" == list(listing(lines))[-1]
    lines.add("more")
    (only,) = listing(lines)
    assert "Missed line(s): too many to print.  Use --print-all-missed to print all 21 lines" == only


def test_listing_with_urls():
    """-D adds an address at which the regex can be tried in a browser."""
    _, rules = tried()
    lines = Lines("Missed")
    lines.add("a line")
    _, first, second, _ = listing(lines, rules.failures)
    assert first.startswith("|  a line | ^fail <HOST> |  https://www.debuggex.com/?re=%5Efail+")
    assert first.endswith("&str=a+line&flavor=python")
    assert "^other <HOST>" in second
