"""Every line of the verdict corpus gets the reference's verdict, from the rules and from banguard-regex."""

from __future__ import annotations

import glob
import io
import json
import os
import sys

import pytest

from banguard.cli import regex
from banguard.config import load_filter
from banguard.matching import FilterRules

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORPUS = os.path.join(os.path.dirname(CHECKOUT), "shared", "corpus")
CONFIG = "/etc/fail2ban"
ZONE = "Europe/Zurich"
NOW = 1_124_013_600.0  # 2005-08-14T12:00:00 there
KEYS = ("id", "host", "time", "user")

pytestmark = pytest.mark.corpus


def load() -> dict[tuple[str, str], list[dict]]:
    """Return the records of the corpus by filter and options, in order."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for path in sorted(glob.glob(os.path.join(CORPUS, "*.jsonl"))):
        with open(path, encoding="utf-8") as file:
            for text in file:
                record = json.loads(text)
                groups.setdefault((record["filter"], json.dumps(record["options"], sort_keys=True)), []).append(record)
    return groups


def missing() -> str:
    """Say why the corpus cannot be tried here; empty when it can."""
    if not os.path.isdir(CORPUS):
        return f"no verdict corpus in {CORPUS}"
    if not os.path.isdir(os.path.join(CONFIG, "filter.d")):
        return f"no filters in {CONFIG}/filter.d (apt-get install fail2ban)"
    return ""


REASON = missing()
GROUPS = {} if REASON else load()


def rules_for(name: str, options: dict[str, str], **more) -> FilterRules:
    chosen = load_filter(CONFIG, name, options)
    return FilterRules(
        failregex=chosen.failregex,
        ignoreregex=chosen.ignoreregex,
        prefregex=chosen.prefregex,
        maxlines=chosen.maxlines,
        datepattern=chosen.datepattern,
        usedns="raw",
        timezone=ZONE,
        any_year=True,
        **more,
    )


def expected(record: dict) -> dict | None:
    if not record["match"]:
        return None
    return {key: record.get(key) for key in KEYS} | {"time": round(record["time"] * 1000)}


def verdict(rules: FilterRules, record: dict) -> dict | None:
    dated = rules.date(record["line"], NOW, record["given_time"])
    result = rules.match(dated, rules.time_of(dated))
    if not result.matches:
        return None
    (match,) = result.matches
    return {"id": match.id, "host": match.host, "time": round(match.time * 1000), "user": match.user}


def differences(joined: bool) -> tuple[int, list[str]]:
    count, wrong = 0, []
    for (name, options), records in GROUPS.items():
        rules = rules_for(name, json.loads(options))
        if joined:
            rules.prepare()
        for record in records:
            count += 1
            actual = verdict(rules, record)
            if expected(record) != actual:
                wrong.append(
                    f"{name} {options}: {record['line']!r}\n  expected {expected(record)}\n  actual   {actual}"
                )
    return count, wrong


@pytest.mark.skipif(bool(REASON), reason=REASON)
@pytest.mark.parametrize("joined", [False, True], ids=["one by one", "joined"])
def test_every_record_has_its_verdict(joined):
    """Match or not, host, id, time to the millisecond and user are the reference's, for every line in order."""
    count, wrong = differences(joined)
    print(f"{count} records, {len(wrong)} mismatches")
    assert [] == wrong, f"{len(wrong)} of {count} records differ:\n" + "\n".join(wrong[:20])
    assert count > 0


def spec(name: str, options: dict[str, str]) -> str:
    return name + (f"[{','.join(f'{key}={value}' for key, value in options.items())}]" if options else "")


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_tester_gives_the_same_verdicts(tmp_path, monkeypatch):
    """banguard-regex --jsonl tells of each line what the corpus says, and its totals add up."""
    log = tmp_path / "log"
    count = 0
    for (name, options), records in GROUPS.items():
        if any(record["given_time"] is not None for record in records):
            continue
        log.write_text("".join(record["line"] + "\n" for record in records), encoding="utf-8")
        output = io.StringIO()
        monkeypatch.setattr(sys, "stdout", output)
        words = ["-c", CONFIG, "--jsonl", "--usedns", "raw", "--now", "2005-08-14T12:00:00", "--timezone", ZONE]
        assert 0 == regex.main([*words, str(log), spec(name, json.loads(options))])
        *objects, last = [json.loads(text) for text in output.getvalue().splitlines()]
        assert len(records) == len(objects) == last["summary"]["lines"]["total"]
        for number, (record, found) in enumerate(zip(records, objects, strict=True), 1):
            actual = None
            if found["status"] == "matched":
                actual = {key: found[key] for key in KEYS} | {"time": round(found["time"] * 1000)}
            assert (number, record["line"], expected(record)) == (found["line"], found["text"], actual)
            count += 1
        matched = sum(record["match"] for record in records)
        assert matched == last["summary"]["lines"]["matched"]
    print(f"{count} records through banguard-regex")
    assert count > 0
