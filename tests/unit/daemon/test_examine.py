"""All checks together say nothing of what is right, and everything of what is wrong."""

from __future__ import annotations

import shutil
import time

from banguard.config import load
from banguard.config.schema import FilterConfig, JailConfig, Severity
from banguard.daemon.examine import examine, loose_regexes, rules_of
from banguard.message import Message, code_of
from banguard.run import Finished
from support.samples import CONFIG

NOW = 1_700_000_000.0


class Clock:
    """A clock that stands."""

    def now(self):
        return NOW

    def monotonic(self):
        return 0.0


def found(directory):
    config = load(str(directory))
    return examine(config, clock=Clock(), lookup=lambda _: (), run=lambda _: Finished(0))


def place(tmp_path, jail):
    shutil.copytree(CONFIG, tmp_path / "etc")
    log = tmp_path / "auth.log"
    log.write_text(time.strftime("%b %d %H:%M:%S", time.localtime(NOW)) + " web1 sshd[1]: Server listening\n")
    (tmp_path / "etc" / "jail.local").write_text(f"[sshd]\nenabled = true\nlogpath = {log}\n{jail}")
    return tmp_path / "etc"


def test_a_good_configuration_has_nothing_but_what_the_machine_lacks(tmp_path):
    """The shipped configuration with one jail: no complaint of ours."""
    codes = {code_of(each.message) for each in found(place(tmp_path, ""))}
    assert codes <= {"program-missing", "log-still", "date-skew", "date-ahead"}


def test_each_finding_has_a_place_and_a_code(tmp_path):
    """Whatever is wrong is told by a message that can be translated, with file and line."""
    problems = found(
        place(tmp_path, "maxrety = 2\nignoreip = 1.2.3.300\nbantime = 0\nport = shh\n[x]\nenabled = yes\n")
    )
    codes = {code_of(each.message) for each in problems}
    assert {"option-unknown", "ignoreip-form", "jail-never", "action-broken", "filter-unknown"} <= codes
    for each in problems:
        assert isinstance(each.message, Message)
        assert code_of(each.message)
        assert each.place is not None or code_of(each.message) == "program-missing"


def test_a_regex_that_floats_is_warned_of():
    """One without a beginning, unless a prefregex has looked at that before."""
    jail = JailConfig("x", filter=FilterConfig(failregex=("^good <HOST>$", "bad .* <HOST>")))
    (problem,) = loose_regexes(jail, rules_of(jail))
    assert (Severity.WARNING, "regex-loose") == (problem.severity, code_of(problem.message))
    assert "bad .* <HOST>" in problem.message
    framed = JailConfig("x", filter=FilterConfig(prefregex="^a <F-CONTENT>.+</F-CONTENT>$", failregex=("<HOST>",)))
    assert [] == list(loose_regexes(framed, rules_of(framed)))
