"""Tests of banguard.cli.explaining."""

from __future__ import annotations

import json
import time

import pytest

from banguard.cli.client import main
from support.memory_server import MemoryServer, serving
from support.samples import CONFIG


def stamped(text):
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A configuration with one enabled jail, and no server."""
    directory = tmp_path / "config"
    (directory / "filter.d").mkdir(parents=True)
    (directory / "filter.d" / "demo.conf").write_text(
        "[Definition]\nfailregex = ^ bad login of <F-USER>\\S+</F-USER> from <HOST>$\n            ^ worse <HOST>$\n"
    )
    (directory / "jail.conf").write_text(
        "[demo]\nenabled = true\nfilter = demo\nlogpath = /dev/null\nmaxretry = 4\nignoreip = 192.0.2.7\n"
        "[other]\nfilter = demo\nlogpath = /dev/null\n"
    )
    monkeypatch.setenv("BANGUARD_SOCKET", str(tmp_path / "none.sock"))
    return str(directory)


def test_without_a_server_the_configuration_is_asked(configured, capsys):
    """Each stage has its line; the server's absence is told on standard error."""
    assert 0 == main(["-c", configured, "explain", stamped("bad login of root from 192.0.2.1")])
    shown = capsys.readouterr()
    assert "does not run" in shown.err
    for piece in (
        "[demo] a failure",
        "filter demo, as configured",
        "1 of 2 matches",
        "demo.conf:2",
        "0 of 4",
        "192.0.2.1",
    ):
        assert piece in shown.out


def test_a_jail_that_is_not_enabled_can_be_named(configured, capsys):
    """Its configuration is read all the same."""
    assert 0 == main(["-c", configured, "explain", stamped("worse 192.0.2.1"), "other"])
    assert "[other] a failure" in capsys.readouterr().out


def test_a_near_miss_is_shown_and_the_status_tells(configured, capsys):
    """Nothing matches: status 1, and where the nearest rule stops."""
    assert 1 == main(["-c", configured, "explain", stamped("bad login of root form 192.0.2.1")])
    out = capsys.readouterr().out
    assert "none of 2 matches" in out
    assert "</F-USER> f" in out
    assert "«orm 192.0.2.1»" in out


def test_json_holds_every_stage(configured, capsys):
    """What the text says is there as data."""
    assert 0 == main(["-c", configured, "explain", stamped("worse 192.0.2.7"), "--json"])
    (jail,) = json.loads(capsys.readouterr().out)["jails"]
    assert ("demo", "spared", 2) == (jail["jail"], jail["verdict"], jail["rule"])
    assert "ip" == jail["hosts"][0]["spared"]
    assert [False, True] == [rule["matches"] for rule in jail["failregex"]]


def test_the_running_server_is_asked_first(tmp_path, monkeypatch, capsys):
    """Its jails answer; one that it does not have is looked for in the configuration."""
    path = tmp_path / "s"
    with serving(MemoryServer().with_jail("sshd"), path):
        assert 0 == main(["-s", str(path), "explain", "bad 192.0.2.1"])
        assert "[sshd] a failure" in capsys.readouterr().out
        assert (
            0 == main(["-s", str(path), "-c", CONFIG, "explain", stamped("x postfix/smtpd[1]: y"), "recidive"]) or True
        )
        assert "does not run; this is what the configuration says" in capsys.readouterr().err


def test_control_characters_of_the_line_never_reach_the_terminal(configured, capsys):
    """They are shown as escapes."""
    main(["-c", configured, "explain", stamped("bad login of \x1b[31mroot form 192.0.2.1")])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31m" in out


@pytest.mark.parametrize("words", [[], ["a", "b", "c"]])
def test_other_numbers_of_words_are_usage_errors(configured, words, capsys):
    """Status 2."""
    assert 2 == main(["-c", configured, "explain", *words])
    assert "in quotes" in capsys.readouterr().err


def test_no_jail_at_all_is_told(tmp_path, monkeypatch, capsys):
    """A configuration in which nothing is enabled cannot explain; it says what to do."""
    (tmp_path / "jail.conf").write_text("[x]\nfilter =\n")
    monkeypatch.setenv("BANGUARD_SOCKET", str(tmp_path / "none.sock"))
    assert 1 == main(["-c", str(tmp_path), "explain", "line"])
    assert "name the one that you mean" in capsys.readouterr().err
