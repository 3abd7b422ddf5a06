"""Rules are counted on a log with what the server itself uses."""

from __future__ import annotations

import pytest

from banguard.cli.hits import remarks, try_log
from banguard.config.schema import FilterConfig, JailConfig
from banguard.errors import SourceError
from banguard.message import code_of

NOW = 1_700_000_000.0
"""2023-11-14 22:13:20 UTC"""

LOGIN = FilterConfig(failregex=("^ login from <HOST> failed$", "^ bad key of <HOST>$", "^ never <HOST>$"))


def jail(name="login", rules=LOGIN, **options):
    return JailConfig(name, filter=rules, logtimezone="UTC", **options)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "app.log"

    def write(*texts):
        lines = [f"2023-11-14 2{at // 3600}:{at // 60 % 60:02}:{at % 60:02} {text}\n" for at, text in enumerate(texts)]
        path.write_text("".join(lines))
        return str(path)

    return write


def test_hits_per_rule_and_hosts(log):
    """Each rule has its count; hosts with maxretry failures within findtime are those that would be banned."""
    path = log(*["login from 192.0.2.1 failed"] * 3, "bad key of 192.0.2.2", "all is well")
    (found,) = try_log(path, [jail(maxretry=3)], NOW).jails
    assert ([3, 1, 0], {"192.0.2.1": 3, "192.0.2.2": 1}, {"192.0.2.1"}) == (found.rules, found.hosts, found.banned)


@pytest.mark.parametrize("count", [50, 5000])
def test_the_prefilter_changes_nothing(log, count):
    """A long log, most of whose lines the prefilter throws away, gives the counts of all its lines."""
    texts = ["nothing of interest"] * count
    texts[::10] = ["login from 192.0.2.1 failed"] * len(texts[::10])
    texts[7::100] = ["bad key of 192.0.2.2"] * len(texts[7::100])
    path = log(*[text for text in texts if text])
    hits = try_log(path, [jail()], NOW)
    assert (count, [texts.count("login from 192.0.2.1 failed"), texts.count("bad key of 192.0.2.2"), 0]) == (
        hits.lines,
        hits.jails[0].rules,
    )


def test_what_is_remarkable(log):
    """Rules that never hit, matches without an address, hosts below the limit, lines of two jails."""
    path = log("login from 192.0.2.1 failed", "login from 300.1.2.3 failed")
    other = jail("other", FilterConfig(failregex=("^ login from <HOST>",)))
    hits = try_log(path, [jail(usedns="raw"), other], NOW)
    found = [(code_of(each.message), each.jail) for each in remarks(hits)]
    assert ("rules-idle", "login") in found
    assert ("jail-no-ban", "login") in found
    assert ("jails-overlap", "other") in found
    (overlap,) = [each.message for each in remarks(hits) if code_of(each.message) == "jails-overlap"]
    assert overlap.startswith("1 lines are failures in [login] too, such as line 1: '2023-11-14 20:00:00 login")


def test_a_rule_that_catches_no_address(log):
    """Text in the place of the address is counted, with an example."""
    rules = FilterConfig(failregex=(r"^ from (?P<ip4>\S+)$",))
    hits = try_log(log("from nobody", "from 192.0.2.1"), [jail(rules=rules)], NOW)
    assert (1, "nobody") == (hits.jails[0].rejected, hits.jails[0].example)
    assert "rule-no-address" in [code_of(each.message) for each in remarks(hits)]


def test_a_json_log(tmp_path):
    """Rules on fields are counted and shown like others."""
    rules = FilterConfig(logformat="json", fields=(("field.ip", ("^<HOST>$",)), ("field.status", ("^401$",))))
    path = tmp_path / "x.json"
    path.write_text(
        '{"ts":1699999000,"ip":"192.0.2.1","status":401}\n{"ts":1699999001,"ip":"192.0.2.1","status":200}\n'
    )
    (found,) = try_log(str(path), [jail(rules=rules)], NOW).jails
    assert ([1], 1, {"192.0.2.1": 1}) == (found.rules, len(found.texts), found.hosts)


def test_a_log_in_a_wide_encoding(tmp_path):
    """Its lines are found as the server finds them."""
    path = tmp_path / "wide.log"
    path.write_bytes("2023-11-14 22:00:00 login from 192.0.2.1 failed\r\n".encode("utf-16-le"))
    hits = try_log(str(path), [jail(logencoding="utf-16-le"), jail("narrow")], NOW)
    assert [[1, 0, 0], [0, 0, 0]] == [each.rules for each in hits.jails]


def test_a_log_that_is_not_there(tmp_path):
    """The error names it."""
    with pytest.raises(SourceError, match=r"none\.log"):
        try_log(str(tmp_path / "none.log"), [jail()], NOW)
