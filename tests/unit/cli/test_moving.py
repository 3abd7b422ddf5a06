"""`import` writes configuration that bans as the other program did, and says what it left out."""

from __future__ import annotations

import json
import os
import shutil
import string

import pytest

from banguard.cli import foreign_rules as rules
from banguard.cli import moving
from banguard.cli.language import LANGUAGES, translator
from banguard.config import load
from banguard.config.ini import read_file
from banguard.daemon.check import check
from banguard.daemon.parts import make_rules
from banguard.errors import ConfigError, ControlError
from support.foreign import IPBLOCK, LOGMON, SCRIPT, SYSLOG
from support.samples import CONFIG

NOW = 1678797300.0
"""2023-03-14 12:35 UTC, just after the sample lines."""


@pytest.fixture
def place(tmp_path):
    """A configuration, an ipblock.conf, a logmon.conf with its script, and logs."""
    shutil.copytree(CONFIG, tmp_path / "etc")
    (tmp_path / "syslog").write_text(SYSLOG)
    (tmp_path / "mail.log").write_text("")
    (tmp_path / "drop.sh").write_text(SCRIPT)
    (tmp_path / "ipblock.conf").write_text(IPBLOCK)
    (tmp_path / "logmon.conf").write_text(LOGMON.format(log=tmp_path / "mail.log", script=tmp_path / "drop.sh"))
    return tmp_path


def run(place, *words, as_json=False):
    return moving.run(words, str(place / "etc"), {}, as_json=as_json)


def loaded(place, kind):
    config = load(str(place / "etc"))
    jails = {name: jail for name, jail in config.jails.items() if name.startswith(kind)}
    assert [] == [str(problem) for problem in check(config) if problem.jail in jails]
    return jails


def banned(jail, line):
    """Return the hosts that a line is a failure of in *jail*."""
    compiled = make_rules(jail, journal=False)
    dated = compiled.date(line, NOW)
    return [failure.host for failure in compiled.match(dated, compiled.time_of(dated)).matches]


def test_ipblock_bans_from_its_log_lines(place):
    """Each rule bans at the first line, for its port, protocol and time, and again with each further line."""
    assert run(place, str(place / "ipblock.conf"), "--log", str(place / "syslog")) == 1
    mail, shell = loaded(place, "ipblock").values()
    assert [(jail.maxretry, jail.bantime, jail.increment.rearm) for jail in (mail, shell)] == [
        (1, 10800, True),
        (1, 60, True),
    ]
    tags = [jail.actions[0].properties for jail in (mail, shell)]
    assert [(tag["port"], tag["protocol"]) for tag in tags] == [("25", "tcp"), ("8080", "tcp")]
    verdicts = [(banned(mail, line), banned(shell, line)) for line in SYSLOG.splitlines()]
    assert verdicts == [(["192.168.1.1"], []), (["192.168.1.1"], []), ([], ["192.168.1.1"]), ([], [])]


def test_addresses_of_the_other_family(place):
    """What group 1 catches may be an IPv6 address."""
    (place / "six").write_text("60,udp/53,named: bad query from ([0-9a-f:.]+)\n")
    assert run(place, str(place / "six"), "--log", str(place / "syslog")) == 0
    (jail,) = loaded(place, "ipblock").values()
    assert banned(jail, "Mar 14 12:34:56 ns named: bad query from 2001:db8::7") == ["2001:db8::7"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_findings_in_each_language(place, capsys, language):
    """Each broken line is told in the language, with its number and text; nothing is written by a check."""
    before = sorted(os.listdir(place / "etc" / "jail.d"))
    assert run(place, str(place / "ipblock.conf"), "--check", "--lang", language) == 1
    say = translator(language)
    lines = IPBLOCK.splitlines()
    expected = [
        say(message).format(line=line, text=lines[line - 1])
        for line, message in (
            (3, rules.TIME),
            (4, rules.PORT),
            (5, rules.TIME),
            (6, rules.NO_ADDRESS),
            (7, rules.PORT),
            (8, rules.REGEX),
            (9, rules.NO_ADDRESS),
        )
    ]
    assert capsys.readouterr().out.splitlines() == [*expected, say(moving.SUMMARY).format(rules=7, left=7)]
    assert sorted(os.listdir(place / "etc" / "jail.d")) == before


def test_hits_per_rule(place, capsys):
    """With a log each rule is told with the number of lines it matches, also as JSON."""
    run(place, str(place / "ipblock.conf"), "--check", "--log", str(place / "syslog"), as_json=True)
    reply = json.loads(capsys.readouterr().out)
    assert reply["hits"] == {"2": 1, "10": 1, "11": 1, "12": 0, "13": 0, "14": 0, "15": 0}
    assert (reply["kind"], reply["rules"], reply["left_out"], reply["written"]) == ("ipblock", 7, 7, [])


def test_logmon_bans_as_its_script(place):
    """Counts within six hours, other counts per rule, the local network left out; host names do not mislead."""
    assert run(place, str(place / "logmon.conf")) == 0
    thrice, once = loaded(place, "logmon").values()
    assert [(jail.maxretry, jail.findtime) for jail in (thrice, once)] == [(3, 21600.0), (1, 21600.0)]
    assert "192.168.0.0/16" in thrice.ignoreip
    head = "Mar 14 12:34:56 mx postfix/smtpd[7]: "
    reject = "NOQUEUE: reject: RCPT from {}: 554 5.7.1 <a@example.com>: Relay access denied"
    assert banned(thrice, head + reject.format("unknown[203.0.113.5]")) == ["203.0.113.5"]
    assert banned(thrice, head + reject.format("192.0.2.9.example.com[203.0.113.5]")) == ["203.0.113.5"]
    assert banned(thrice, head + reject.format("203.0.113.6")) == ["203.0.113.6"]
    assert banned(thrice, head + reject.format("192.0.2.9.example.com")) == []
    assert banned(once, head + "warning: non-SMTP command from unknown[203.0.113.7]: GET / HTTP/1.1") == ["203.0.113.7"]
    assert banned(once, head + "too many errors after DATA from unknown[203.0.113.8]") == ["203.0.113.8"]
    assert banned(once, head + reject.format("unknown[203.0.113.5]")) == []


def test_again_changes_nothing(place, capsys):
    """Files that are there already with the same text are left alone."""
    run(place, str(place / "logmon.conf"))
    capsys.readouterr()
    assert run(place, str(place / "logmon.conf")) == 0
    assert "written" not in capsys.readouterr().out


def test_other_files_are_not_overwritten(place):
    """A file of the administrator in the way is an error, and nothing at all is written."""
    (place / "etc" / "jail.d" / "logmon.conf").write_text("# mine\n")
    with pytest.raises(ConfigError, match="nothing was written"):
        run(place, str(place / "logmon.conf"))
    assert not [name for name in os.listdir(place / "etc" / "filter.d") if name.startswith("logmon")]
    assert (place / "etc" / "jail.d" / "logmon.conf").read_text() == "# mine\n"


@pytest.mark.parametrize(
    "regex", ["100% of (.)", "a ; b (.)", "#(.)", "; (.)", "<HOST> (.)", "(?<=a)b(.)", "%(x)s (.)", " (.)", "[<a>](.)"]
)
def test_a_regex_survives_the_file(tmp_path, regex):
    """What INI files and tags would change comes out of the file as a regex that matches the same."""
    path = tmp_path / "f.conf"
    path.write_text(f"[Definition]\nfailregex = first\n            {moving.escape(regex)}\n")
    ini = read_file(str(path))
    text = ini.sections["Definition"]["failregex"].text.splitlines()[1].strip()
    plain = text.replace("%%", "%").replace(r"\x20;", " ;").replace(r"\x3c", "<").removeprefix("(?:")
    assert plain.removeprefix(")") == regex
    assert not ini.faults


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "usage"),
        (["a", "b"], "usage"),
        (["a", "--log"], "takes a value"),
        (["a", "--lo"], "no option --lo"),
        (["a", "--lang", "xx"], "no language 'xx'"),
    ],
)
def test_bad_usage(place, words, reason):
    """What the command line lacks is said."""
    with pytest.raises(ControlError, match=reason):
        run(place, *words)


def test_files_that_cannot_be_used(place):
    """A file that is none of theirs, not there, or not text, and a log that is not there, are errors with the path."""
    (place / "binary").write_bytes(b"\xff\xfe")
    (place / "other").write_text("[a]\n")
    for words in (["other"], ["none"], ["binary"], ["ipblock.conf", "--log", str(place / "no")]):
        with pytest.raises(ConfigError):
            run(place, str(place / words[0]), *words[1:])


def test_control_characters_stay_out_of_the_terminal(place, capsys):
    """A line of the file cannot move the cursor."""
    (place / "evil").write_text("1,tcp/25,\x1b[2J\n")
    run(place, str(place / "evil"), "--check")
    assert not set(capsys.readouterr().out) - set(string.printable)
