"""Tests of banguard.cli.injection."""

from __future__ import annotations

import json

import pytest

from banguard.cli.injection import Targets, failures, findings
from banguard.cli.samples import parse
from banguard.matching import FilterRules
from banguard.matching.fields import JsonRules

SAMPLES = """# match host=192.0.2.1 user=alice
2026-11-20 22:27:27 login of alice from 192.0.2.1 failed
# no match
2026-11-20 22:27:28 login of alice from 192.0.2.2 done
"""


def found(regex: str, text: str = SAMPLES, escapes=None) -> set[str]:
    targets = Targets(lambda _options: FilterRules(failregex=[regex], usedns="no", timezone="UTC"))
    return {host for _, _, hosts in findings(parse("f", text), targets, escapes or {}) for host in hosts}


@pytest.mark.parametrize(
    ("expected", "regex"),
    [
        (set(), r"^ login of <F-USER>.*</F-USER> from <ADDR> failed$"),
        (set(), r"^ login of \S+ from <ADDR> failed$"),
        ({"192.0.2.66"}, r"^ login of .*? from <ADDR>"),
        ({"192.0.2.66"}, r"from <ADDR>"),
        ({"192.0.2.66"}, r"^ login of .* from <ADDR> .*failed"),
    ],
)
def test_a_rule_that_a_client_can_lead_astray_is_found_out(expected, regex):
    """What is held at both ends keeps the true host; what is not gives the planted one."""
    assert expected == found(regex)


def test_what_the_service_escapes_is_no_finding():
    """A rule that relies on the service's quoting stands when that is said, and falls when not."""
    text = '# match host=192.0.2.1 user=alice\n2026-11-20 22:27:27 user="alice" from 192.0.2.1\n'
    regex = r'^ user="(?:[^"\\]|\\.)*" from <ADDR>'
    broken = r'^ user="[^"]*"(?:.*) from <ADDR>$'
    assert set() == found(regex, text, {"user": "quote"})
    assert set() == found(broken, text, {"user": "none"})


def test_objects_are_attacked_too():
    """Texts within the object of a JSON log are filled; a field of the right name at another place is none."""
    line = json.dumps({"ip": "192.0.2.1", "user": "alice", "x": {"ip": "y"}})
    text = f"# match host=192.0.2.1\n{line}\n"
    good = Targets(lambda _: JsonRules(fields=[("field.ip", ("<ADDR>",))], failregex=(), usedns="no"))
    assert [] == list(findings(parse("f", text), good, {}))
    loose = Targets(lambda _: FilterRules(failregex=["<ADDR>"], usedns="no"))
    assert [] != list(findings(parse("f", text), loose, {}))


def test_failures_of_samples():
    """Line and host of those that match."""
    assert [("2026-11-20 22:27:27 login of alice from 192.0.2.1 failed", "192.0.2.1")] == failures(parse("f", SAMPLES))
