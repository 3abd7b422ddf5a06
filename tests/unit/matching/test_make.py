"""Tests of banguard.matching.make."""

from __future__ import annotations

from banguard.config.schema import FilterConfig
from banguard.matching import make_rules


def test_text_and_json() -> None:
    """`logformat = json` makes rules on fields, anything else rules on lines; the other options are the same."""
    text = make_rules(FilterConfig(failregex=("^x <HOST>",), fields=(("field.a", ("<HOST>",)),)), usedns="no")
    assert not text.looks_into_objects
    assert 1 == len(text.failures)
    fields = make_rules(
        FilterConfig(failregex=("^x <HOST>",), fields=(("field.a", ("<HOST>",)),), logformat="json", datefield="t"),
        timezone="UTC",
    )
    assert fields.looks_into_objects
    assert 2 == len(fields.failures)
    dated = fields.date('{"a":"192.0.2.1","t":1795213647,"time":5}', 1_795_213_700.0)
    assert ("matched", 1_795_213_647.0) == (fields.match(dated, dated.time).status, dated.time)
