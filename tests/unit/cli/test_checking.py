"""`check` tells what is wrong, by file and line, in the language asked for, and exits accordingly."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from banguard.cli import checking, client
from banguard.cli.language import LANGUAGES
from banguard.errors import ConfigError, ControlError, SourceError
from support.samples import CONFIG


@pytest.fixture
def etc(tmp_path, monkeypatch):
    """A configuration with one jail, whose log was just written."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    shutil.copytree(CONFIG, tmp_path / "etc")
    (tmp_path / "auth.log").write_text("")
    write(tmp_path)
    yield tmp_path
    monkeypatch.undo()
    time.tzset()


def write(tmp_path, more=""):
    text = f"[sshd]\nenabled = true\nlogpath = {tmp_path}/auth.log\naction = dummy\n{more}"
    (tmp_path / "etc" / "jail.local").write_text(text)


def run(tmp_path, *words, as_json=False, **environment):
    return checking.run(words, str(tmp_path / "etc"), {}, environment, as_json=as_json)


def test_a_good_configuration(etc, capsys):
    """Nothing but the count, and status 0, also when warnings fail."""
    assert 0 == run(etc, "--strict")
    assert "0 errors, 0 warnings, 0 notes\n" == capsys.readouterr().out


def test_warnings_fail_when_strict(etc, capsys):
    """A misspelt option is named with its line and what was meant."""
    write(etc, "maxrety = 2\n")
    assert 0 == run(etc)
    assert 1 == run(etc, "--strict")
    line = f"{etc}/etc/jail.local:5: warning: [sshd] 'maxrety' is no option, and nothing refers to it; did you mean 'maxretry'?"
    assert line in capsys.readouterr().out.splitlines()


def test_an_error_fails(etc):
    """A jail that cannot be made is status 1."""
    write(etc, "filter = nosuch\n")
    assert 1 == run(etc)


def test_json_has_stable_codes(etc, capsys):
    """Each finding has its code, whatever the language; the text is in the language."""
    write(etc, "maxrety = 2\n")
    found = {}
    for language in ("en", "ja"):
        assert 0 == run(etc, "--lang", language, as_json=True)
        found[language] = json.loads(capsys.readouterr().out)
    (english,), (japanese,) = (each["problems"] for each in found.values())
    assert ("option-unknown", 5, "warning") == (english["code"], english["line"], english["severity"])
    assert (english["code"], english["line"]) == (japanese["code"], japanese["line"])
    assert (0, 1, True) == tuple(found["en"][key] for key in ("errors", "warnings", "ok"))


def test_hits_on_a_log(etc, capsys):
    """The table has each rule of the jail, enabled or not, with its hits."""
    (etc / "x.log").write_text(
        "Nov 14 22:00:00 web1 sshd[1]: Failed password for root from 192.0.2.1 port 22 ssh2\n" * 6
    )
    assert 0 == run(etc, "--log", str(etc / "x.log"), "--jail", "sshd", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert 6 == found["lines"]
    assert {"jail": "sshd", "rule": 1, "hits": 6} == {key: found["hits"][0][key] for key in ("jail", "rule", "hits")}
    assert ["192.0.2.1"] == found["jails"]["sshd"]["banned"]
    assert "rules-idle" in [each["code"] for each in found["problems"]]
    assert 0 == run(etc, "--log", str(etc / "x.log"), "--jail", "vsftpd")
    assert any(line.startswith("vsftpd") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language(etc, capsys, language):
    """The whole of it is printable in each language; from the environment too."""
    write(etc, "maxrety = 2\n")
    assert 0 == run(etc, "--lang", language)
    asked = capsys.readouterr().out
    assert 0 == run(etc, LANG=f"{language}_XX.UTF-8")
    assert asked == capsys.readouterr().out
    assert "maxrety" in asked


def test_the_language_may_stand_before_the_command(etc, capsys):
    """`banguard-client --lang es check` is the same as `check --lang es`."""
    said = []
    for words in (["--lang", "es", "check"], ["check", "--lang", "es"], ["check"]):
        assert 0 == client.main(["-c", str(etc / "etc"), *words])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize("words", [["--log"], ["--frob"], ["sshd"], ["--lang", "xx"]])
def test_bad_usage(etc, words):
    """It is status 2, with the reason."""
    with pytest.raises(ControlError) as caught:
        run(etc, *words)
    assert 2 == caught.value.status


def test_what_is_not_there(etc):
    """A jail or a log that is not there is named."""
    with pytest.raises(ConfigError, match="nosuch"):
        run(etc, "--jail", "nosuch")
    with pytest.raises(SourceError, match="nosuch"):
        run(etc, "--log", str(etc / "nosuch.log"))
