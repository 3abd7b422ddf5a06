"""Tests of banguard.cli.lint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from banguard.cli.regex import main

GOOD = "# match host=192.0.2.1 user=alice\n2026-11-20 22:27:27 login of alice from 192.0.2.1 failed\n"
DATED = "ignoreregex =\ndatepattern = {^LN-BEG}\n"


@pytest.fixture
def lint(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Write a filter and its samples; return the status and what --json prints of it."""

    def run(rules: str, samples: str | None = GOOD, more: str = "") -> tuple[int, list[dict[str, object]]]:
        path = tmp_path / "f.conf"
        path.write_text(f"[Definition]\nfailregex = {rules}\n{DATED}{more}")
        if samples is not None:
            (tmp_path / "f.log").write_text(samples)
        status = main(["--lint", "--json", str(path)])
        return status, json.loads(capsys.readouterr().out)["findings"]

    return run


def test_a_good_filter_is_clean(lint) -> None:
    """Anchored at both ends, with a sample for its rule: nothing to say, status 0."""
    assert (0, []) == lint(r"^ login of <F-USER>.*</F-USER> from <ADDR> failed$")


@pytest.mark.parametrize(
    ("code", "line", "rules", "samples"),
    [
        ("not-anchored", 2, r"login of <F-USER>.*</F-USER> from <ADDR> failed$", GOOD),
        ("open-end", 2, r"^ login of <F-USER>.*</F-USER> from <ADDR> failed", GOOD),
        ("greedy", 2, r"^ login of <F-USER>.*</F-USER> from <ADDR> .*failed$", GOOD),
        ("explodes", 2, r"^ login of (?:[a-z]+ ?)+from <ADDR> failed$", GOOD.replace(" user=alice", "")),
        ("shadowed", 3, "^ login of \\w+ from <ADDR> failed$\n  ^ login of alice from <ADDR> failed$", GOOD),
        ("shadowed", 2, "^ login of \\w+ from <ADDR> failed$\n  ^ login of \\w+ from <ADDR> failed$", GOOD),
        ("never-hit", 3, "^ login of \\w+ from <ADDR> failed$\n  ^ logout of \\w+ from <ADDR>$", GOOD),
        ("host-is-address", 2, r"^ login of <F-USER>.*</F-USER> from <HOST> failed$", GOOD),
        ("no-sample", 0, r"^ login of <F-USER>.*</F-USER> from <ADDR> failed$", None),
        ("sample", 4, r"^ login of <F-USER>.*</F-USER> from <ADDR> failed$", GOOD + GOOD.replace("# m", "# no m")),
        ("sample", 2, r"^ login of (?:x )?\w+ from <ADDR> failed$", GOOD),
        ("attack", 2, r"^ login of <F-USER>.*?</F-USER> from <ADDR>", GOOD),
    ],
)
def test_each_finding(lint, code: str, line: int, rules: str, samples: str | None) -> None:
    """What is wrong is told with its kind, its line, why, and what to do; the status is 1."""
    status, found = lint(rules, samples)
    assert 1 == status
    assert (code, line) in [(each["code"], each["line"]) for each in found], found
    assert all(each["reason"] and each["proposal"] and each["path"] for each in found)


def test_fields_are_looked_at(lint) -> None:
    """Conditions on fields have places too."""
    more = "logformat = json\nfield.m = .* from <ADDR> .*\nfield.k = login\n"
    samples = '# match host=192.0.2.1\n{"time":1795213647,"m":"x from 192.0.2.1 y","k":"login"}\n'
    status, found = lint("", samples, more)
    assert 1 == status
    assert ("greedy", 6) in [(each["code"], each["line"]) for each in found]


def test_the_text_of_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File and line, kind and reason in one line, the proposal below; samples can be named."""
    path = tmp_path / "f.conf"
    path.write_text(f"[Definition]\nfailregex = login of alice from <ADDR> failed$\n{DATED}")
    log = tmp_path / "other.log"
    log.write_text(GOOD.replace(" user=alice", ""))
    assert 1 == main(["--lint", str(path), str(log)])
    shown = capsys.readouterr().out
    assert f"{path}:2: not-anchored: it can begin to match anywhere" in shown
    assert "\n    begin it with ^" in shown
    path.write_text(f"[Definition]\nfailregex = ^ login of alice from <ADDR> failed$\n{DATED}")
    assert 0 == main(["--lint", str(path), str(log)])
    assert "nothing is wrong\n" == capsys.readouterr().out


def test_bad_usage(tmp_path: Path) -> None:
    """A filter that is not there, samples that are none, too many words: an error, not a finding."""
    assert 255 == main(["--lint", str(tmp_path / "nothing.conf")])
    assert 255 == main(["--lint", "a", "b", "c"])
    path = tmp_path / "f.conf"
    path.write_text(f"[Definition]\nfailregex = ^x <ADDR>$\n{DATED}")
    (tmp_path / "f.log").write_text("no expectation\n")
    assert 255 == main(["--lint", str(path)])
