"""Tests of banguard.jails.explain."""

from __future__ import annotations

import time

import pytest

from banguard.config.schema import FilterConfig, JailConfig, Place
from banguard.jails.explain import Surroundings, explain
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail
from banguard.jails.resolver import Resolver
from banguard.matching import FilterRules
from banguard.matching.fields import JsonRules
from banguard.model import Candidates, Cursor

FILTER = FilterConfig(
    "demo",
    prefregex=r"^ demo\[<F-MLFID>\d+</F-MLFID>\]: <F-CONTENT>.+</F-CONTENT>$",
    failregex=(r"^bad login of <F-USER>\S+</F-USER> from <HOST>$", r"^<F-NOFAIL>connect</F-NOFAIL> from <HOST>$"),
    ignoreregex=(r"of monitor ",),
    places={"failregex[0]": Place("filter.d/demo.conf", 7), "prefregex": Place("filter.d/demo.conf", 3)},
)


class Bench:
    def __init__(self, clock, **options):
        self.clock = clock
        self.config = JailConfig("demo", **{"filter": FILTER, "maxretry": 3, "ignoreip": ("192.0.2.7",), **options})
        names = {"bad.example": ("192.0.2.5",)}
        self.resolver = Resolver(clock, forward=lambda name: names.get(name, ()), own=frozenset)
        self.jail = Jail(
            self.config,
            self.rules(),
            clock=clock,
            ignore=self.ignore(),
            resolver=self.resolver,
            publish=lambda _: None,
        )

    def rules(self):
        rules = self.config.filter
        return FilterRules(
            failregex=rules.failregex,
            ignoreregex=rules.ignoreregex,
            prefregex=rules.prefregex,
            maxlines=rules.maxlines,
            usedns=self.config.usedns,
        )

    def ignore(self):
        return IgnoreRules("demo", clock=self.clock, resolver=self.resolver, ignoreip=self.config.ignoreip)

    def line(self, text, age=0.0):
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.clock.now() - age))} {text}"

    def feed(self, *texts):
        block = "".join(self.line(text) + "\n" for text in texts).encode()
        self.jail.feed(Candidates("log", block, Cursor("log"), self.clock.now(), None, None, True))

    def explain(self, text, age=0.0, **more):
        around = Surroundings(
            foresee=self.jail.foresee, learn=lambda rules, session: rules.learn(self.jail.rules, session), **more
        )
        return explain(
            self.line(text, age),
            self.config,
            self.rules(),
            clock=self.clock,
            ignore=self.ignore(),
            resolver=self.resolver,
            around=around,
            running=True,
        )


@pytest.fixture
def bench(clock):
    return Bench(clock)


def test_every_stage_of_a_failure_is_told(bench):
    """Date, what the prefregex leaves, the rule with its place, session, host, counter."""
    found = bench.explain("demo[8]: bad login of root from 192.0.2.1", age=5)
    assert ("failure", 1) == (found.verdict, found.rule)
    assert found.date.found
    assert 5 == round(found.date.age or 0)
    assert "bad login of root from 192.0.2.1" == found.left
    assert ("filter.d/demo.conf:7", True) == (found.failregex[0].place, found.failregex[0].matches)
    assert not found.failregex[1].matches
    assert "8" == found.session.id
    (host,) = found.hosts
    assert ("192.0.2.1", "", False) == (host.id, host.spared, host.is_banned)
    assert (0, 1, 3, False) == (
        host.counter.before,
        host.counter.after,
        host.counter.maxretry,
        host.counter.reached,
    )


def test_nothing_is_counted(bench):
    """Asked ten times, the jail knows no more than before; what it counted itself shows."""
    text = "demo[8]: bad login of root from 192.0.2.1"
    bench.feed(text, text)
    for _ in range(10):
        (host,) = bench.explain(text).hosts
    assert (2, 3, True) == (host.counter.before, host.counter.after, host.counter.reached)
    assert (2, 2) == (bench.jail.stats().total_failed, len(bench.jail.counted("192.0.2.1").times))


@pytest.mark.parametrize(
    ("text", "age", "verdict"),
    [
        ("demo[8]: bad login of root from 192.0.2.1", 4000, "too old"),
        ("demo[8]: connect from 192.0.2.1", 0, "no failure"),
        ("demo[8]: bad login of monitor from 192.0.2.1", 0, "missed"),
        ("demo[8]: bad login of root from 192.0.2.7", 0, "spared"),
        ("demo[8]: bad login of root from nobody.example", 0, "no host"),
        ("demo[8]: bad login of root from bad.example", 0, "failure"),
        ("demo[8]: bad login of root from 192.0.2.999", 0, "missed"),
        ("other[8]: bad login of root from 192.0.2.1", 0, "missed"),
    ],
)
def test_the_verdict_is_that_of_the_jail(bench, text, age, verdict):
    """What the line comes to is what production code makes of it."""
    if "monitor" in text:
        verdict = "ignored"
    found = bench.explain(text, age)
    assert verdict == found.verdict
    line = bench.line(text, age)
    before = bench.jail.stats()
    bench.jail.feed(Candidates("log", f"{line}\n".encode(), Cursor("log"), bench.clock.now(), None, None, True))
    assert (verdict == "failure") is (bench.jail.stats().total_failed > before.total_failed)


def test_a_near_miss_shows_where_it_stops(bench):
    """The longest beginning of the rule that matches, and how the line goes on there."""
    rule = bench.explain("demo[8]: bad login of root form 192.0.2.1").failregex[0]
    assert rule.taken.endswith("</F-USER> f")
    assert ("bad login of root f", "orm 192.0.2.1") == (rule.text_taken, rule.text_left)
    prefix = bench.explain("dome[8]: bad login").prefregex
    assert ("^ d", "ome[8]: bad login") == (prefix.taken, prefix.text_left)


def test_text_in_the_place_of_an_address_is_told(bench):
    """A number that is no address does not count, and is shown."""
    assert "192.0.2.999" == bench.explain("demo[8]: bad login of root from 192.0.2.999").rejected


def test_a_session_of_the_running_jail_is_known(bench):
    """A line without a host of its own is a failure when the jail has its session open."""
    bench.config = bench.jail.config
    bench.feed("demo[8]: connect from 192.0.2.1")
    found = bench.explain("demo[8]: bad login of root from 192.0.2.1")
    assert 1 == len(found.session.lines)
    assert 0 == len(bench.explain("demo[9]: bad login of root from 192.0.2.1").session.lines)


def test_a_ban_and_a_protected_host_show(bench):
    """Whoever is banned already, or is never banned, is told to be."""
    found = bench.explain(
        "demo[8]: bad login of root from 192.0.2.1", banned=lambda _: 5.0, protected=lambda _: True
    ).hosts[0]
    assert (True, 5.0, True) == (found.is_banned, found.banned_until, found.protected)


def test_lines_before_count_in_multi_line_filters(clock):
    """The window of the running jail is looked at, and left as it is."""
    rules = FilterConfig("two", failregex=(r"^ begin$<SKIPLINES>^ end of <HOST>$",), maxlines=3)
    bench = Bench(clock, filter=rules)
    assert "missed" == bench.explain("end of 192.0.2.1").verdict
    bench.feed("begin")
    assert "failure" == bench.explain("end of 192.0.2.1").verdict
    assert "failure" == bench.explain("end of 192.0.2.1").verdict


def test_a_login_is_no_failure(clock):
    """Who gained access is told."""
    rules = FilterConfig("in", failregex=(r"^ bad <HOST>$",), successregex=(r"^ welcome <HOST>$",))
    bench = Bench(clock, filter=rules)
    bench.rules = lambda: FilterRules(failregex=rules.failregex, successregex=rules.successregex)
    found = bench.explain("welcome 192.0.2.1")
    assert ("login", "192.0.2.1", ()) == (found.verdict, found.login, found.hosts)


def test_rules_about_fields_tell_the_first_that_does_not_fit(clock):
    """Of lines that hold an object: conditions met, the one that is not, and the value that stands there."""
    bench = Bench(clock)
    fields = (("field.ip", ("<ADDR>",)), ("field.status", ("401",)), ("ignorefield.agent", ("monitor",)))
    bench.rules = lambda: JsonRules(fields=fields, failregex=())
    bench.line = lambda text, age=0.0: text
    found = bench.explain('{"ip": "192.0.2.1", "status": 200, "time": ' + f"{clock.now():.0f}}}")
    (rule,) = found.failregex
    assert ("missed", False, "field.ip = <ADDR>", "field.status = 401", "200") == (
        found.verdict, rule.matches, rule.taken, rule.wanted, rule.text_left,
    )  # fmt: skip
    assert "there is no such field" == bench.explain('{"ip": "192.0.2.1", "time": 1}').failregex[0].text_left
    found = bench.explain('{"ip": "192.0.2.1", "status": 401, "time": ' + f"{clock.now():.0f}}}")
    assert ("failure", True) == (found.verdict, found.failregex[0].matches)
    found = bench.explain('{"ip": "192.0.2.1", "status": 401, "agent": "monitor", "time": ' + f"{clock.now():.0f}}}")
    assert ("ignored", True) == (found.verdict, found.ignoreregex[0].matches)
