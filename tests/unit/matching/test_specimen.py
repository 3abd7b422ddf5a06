"""Tests of banguard.matching.specimen."""

from __future__ import annotations

import pytest

from banguard.matching import FilterRules
from banguard.matching.specimen import specimens

NOW = 1_795_000_000.0
ADDRESS = "192.0.2.1"


@pytest.mark.parametrize(
    "options",
    [
        {"failregex": ["^ bad <HOST>$"]},
        {
            "failregex": [
                r"^ Failed (?:password|key) for (?:invalid user )?<F-USER>\S+</F-USER> from <ADDR> port \d+(?: ssh2)?$"
            ]
        },
        {"failregex": [r'^<HOST> \S+ \S+ \[\] "(GET|POST) [^"]{2,}" 40[13] \d+$']},
        {"failregex": [r"^ \[(\d+)\] x\1 <HOST>$"]},
        {"failregex": [r"^ (a)?b(?(1)c|d) <HOST>$"]},
        {"failregex": [r"^ no <F-ID>\S+</F-ID> here$"]},
        {"failregex": ["^ never <HOST>(?=x)y$", "^ second <HOST>$"]},
        {"failregex": ["^bad <HOST>$"], "prefregex": r"^ \w+\[\d+\]: <F-CONTENT>.+</F-CONTENT>$"},
        {"failregex": [r"^ s<F-MLFID>\d+</F-MLFID> bad <HOST>$"]},
        {"failregex": ["bad <HOST>$"], "datepattern": "^EPOCH"},
        {"failregex": ["^bad <HOST>$"], "datepattern": "{NONE}"},
    ],
)
def test_lines_are_made_that_the_rules_take_for_failures(options):
    """As many as wanted, each a failure of the address at that time."""
    found = specimens(FilterRules(**options), ADDRESS, NOW, 3)
    assert 3 == len(found)
    rules = FilterRules(**options)
    for line in found:
        dated = rules.date(line, NOW)
        assert dated.time is None or abs(dated.time - NOW) <= 2
        assert [ADDRESS] == [match.id for match in rules.match(dated, NOW).matches]


@pytest.mark.parametrize("regex", [r"^ (?=.*seven)bad <HOST>$", "^ bad(?<!bad) <HOST>$", "^ bad <IP6>$"])
def test_where_none_can_be_made_there_is_none(regex):
    """Nothing is handed out that the rules do not take."""
    assert [] == specimens(FilterRules(failregex=[regex]), ADDRESS, NOW, 2)
