"""What an administrator changed in fail2ban's configuration is taken over, told of, and runs in banguard."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from banguard.cli import moving
from banguard.cli.configuration import Voice
from banguard.cli.language import LANGUAGES
from banguard.cli.move_fail2ban import FROM_JAIL_CONF, run
from banguard.config import load
from banguard.errors import ConfigError
from support.samples import CONFIG

STOCK = {
    "fail2ban.conf": "[Definition]\nloglevel = INFO\nsocket = /var/run/fail2ban/fail2ban.sock\n",
    "paths-debian.conf": "[DEFAULT]\nmy_log = /var/log/my.log\n",
    "jail.conf": (
        "[INCLUDES]\nbefore = paths-debian.conf\n[DEFAULT]\nbantime = 10m\nmaxretry = 5\nfilter = %(__name__)s\n"
        'banaction = iptables-multiport\naction = %(banaction)s[port="%(port)s"]\nport = 0:65535\n'
        "[sshd]\nport = ssh\nlogpath = /var/log/auth.log\n[rare]\nport = 999\nlogpath = %(my_log)s\n"
    ),
    "jail.d/defaults.conf": "[sshd]\nenabled = true\n",
    "filter.d/sshd.conf": "[Definition]\nfailregex = ^stock <HOST>$\n",
    "filter.d/rare.conf": "[INCLUDES]\nbefore = rare-common.conf\n[Definition]\nfailregex = ^%(pre)s <HOST>$\n",
    "filter.d/rare-common.conf": "[DEFAULT]\npre = rare\n",
    "action.d/iptables-multiport.conf": "[Definition]\nactionban = true\n",
}
SUMS = {name: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for name, text in STOCK.items()}
"""What the package says of its files."""


@pytest.fixture
def move(tmp_path, capsys):
    """Return how to import the stock files with others over them: status, and what was said as JSON or text."""

    def do(changes=None, *, only_check=False, as_json=True, language="en", sums=SUMS):
        for name, text in {**STOCK, **(changes or {})}.items():
            path = tmp_path / "fail2ban" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        source, target = str(tmp_path / "fail2ban"), str(tmp_path / "banguard")
        status = run(source, target, Voice(language), only_check=only_check, as_json=as_json, sums=sums)
        said = capsys.readouterr().out
        return status, json.loads(said) if as_json else said

    return do


def codes(found):
    return {each["code"] for each in found["problems"]}


def text_of(tmp_path, name):
    return (tmp_path / "banguard" / name).read_text()


def test_nothing_changed_but_who_is_enabled(move, tmp_path):
    """Of an untouched fail2ban only that is taken over which jails it had enabled."""
    status, found = move()
    assert (0, [FROM_JAIL_CONF], len(STOCK)) == (status, found["files"], found["stock"])
    assert "[sshd]\nenabled = true\n" in text_of(tmp_path, FROM_JAIL_CONF)
    assert ["sshd"] == list(load(str(tmp_path / "banguard")).jails)


def test_local_files_are_taken_over_and_explained(move, tmp_path):
    """They are copied as they are; each option is named with its line, value and meaning in banguard."""
    local = "[DEFAULT]\nbantime = 2h\n[sshd]\nmaxretry = 2\nfrobnicate = 1\n"
    status, found = move({"jail.local": local})
    assert (0, local) == (status, text_of(tmp_path, "jail.local"))
    meanings = {(each["option"], each["value"], each["line"]): each["meaning"] for each in found["options"]}
    assert "failures within findtime that lead to a ban" == meanings["maxretry", "2", 4]
    assert "banguard does not know it, and nothing in this file refers to it" == meanings["frobnicate", "1", 5]
    jail = load(str(tmp_path / "banguard")).jails["sshd"]
    assert (2, 7200) == (jail.maxretry, jail.bantime)
    assert "option-unknown" in codes(found)


def test_filters_and_actions_of_ones_own(move, tmp_path):
    """They come along and work; scripts stay executable; what points to fail2ban is told of."""
    changes = {
        "jail.local": "[own]\nenabled = true\nfilter = own\nlogpath = /var/log/auth.log\naction = own\n",
        "filter.d/own.conf": "[Definition]\nfailregex = ^own <HOST>$\n",
        "action.d/own.conf": "[Definition]\nactionban = fail2ban-client ping; cat /etc/fail2ban/x\n",
    }
    script = tmp_path / "fail2ban" / "filter.d" / "ignorecommands" / "own"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    _, found = move(changes)
    assert {"own", "sshd"} == set(load(str(tmp_path / "banguard")).jails)
    assert os.access(tmp_path / "banguard" / "filter.d" / "ignorecommands" / "own", os.X_OK)
    assert {"import-program", "import-path"} <= codes(found)


def test_changed_files_of_the_package(move, tmp_path):
    """A filter is copied as a whole; of jail.conf only what differs from banguard's, for jails that are enabled."""
    jails = STOCK["jail.conf"].replace("bantime = 10m", "bantime = 33m").replace("port = ssh", "port = 2222")
    _, found = move({"jail.conf": jails, "filter.d/sshd.conf": "[Definition]\nfailregex = ^mine <HOST>$\n"})
    taken = text_of(tmp_path, FROM_JAIL_CONF)
    assert "bantime = 33m" in taken
    assert "[sshd]\nenabled = true\nport = 2222\n" in taken
    assert "rare" not in taken
    jail = load(str(tmp_path / "banguard")).jails["sshd"]
    assert (1980, ("^mine <HOST>$",)) == (jail.bantime, jail.filter.failregex)
    assert "import-changed" in codes(found)


def test_a_jail_that_banguard_does_not_have(move, tmp_path):
    """It comes along with its filter and what that includes, its variables filled in."""
    status, found = move({"jail.local": "[rare]\nenabled = true\n"})
    jail = load(str(tmp_path / "banguard")).jails["rare"]
    assert ("/var/log/my.log", ("^rare <HOST>$",)) == (jail.logpath[0].pattern, jail.filter.failregex)
    assert "import-stock" in codes(found)
    assert status in {0, 1}  # its log is not there


def test_settings_of_the_server(move, tmp_path):
    """They become banguard's; files of fail2ban's own are commented out, and told of."""
    _, found = move(
        {"fail2ban.local": "[Definition]\nloglevel = DEBUG\ndbfile = /var/lib/fail2ban/x\nlogtarget = SYSLOG\n"}
    )
    text = text_of(tmp_path, "banguard.local")
    assert "# left out: dbfile" in text
    server = load(str(tmp_path / "banguard")).server
    assert ("DEBUG", "SYSLOG") == (server.loglevel, server.logtarget)
    assert "import-own-file" in codes(found)


def test_nothing_is_dropped_without_a_word(move):
    """Backups, changed path files and whatever is not read are named as left out."""
    _, found = move({"jail.local.bak": "x", "paths-debian.conf": "[DEFAULT]\nmy_log = /x\n", "odd": "x"})
    left = {
        os.path.basename(each["file"])
        for each in found["problems"]
        if each["code"] in {"import-unread", "import-paths"}
    }
    assert {"jail.local.bak", "paths-debian.conf", "odd"} <= left
    assert 3 == found["left_out"]


def test_without_records_of_the_package(move):
    """Then stock files are left out, and it is said that nothing tells whether they were changed."""
    _, found = move({"jail.local": "[sshd]\nmaxretry = 2\n"}, sums={})
    unknown = [os.path.basename(each["file"]) for each in found["problems"] if each["code"] == "import-unknown"]
    assert {"jail.conf", "fail2ban.conf", "sshd.conf", "iptables-multiport.conf"} == set(unknown)
    assert "jail.local" in found["files"]


def test_a_check_writes_nothing(move, tmp_path):
    """The report is the same, the directory is not even made."""
    _, found = move({"jail.local": "[sshd]\nmaxretry = 2\n"}, only_check=True)
    assert ["jail.local", FROM_JAIL_CONF] == found["files"]
    assert [] == found["written"]
    assert not (tmp_path / "banguard").exists()


def test_nothing_is_overwritten(move, tmp_path):
    """A file of another text is in the way: an error, and nothing is written; the same text is no conflict."""
    (tmp_path / "banguard").mkdir()
    (tmp_path / "banguard" / "jail.local").write_text("# mine\n")
    changes = {"jail.local": "[sshd]\nmaxretry = 2\n"}
    status, found = move(changes, only_check=True)
    assert (1, True) == (status, "import-conflict" in codes(found))
    with pytest.raises(ConfigError, match="nothing was written"):
        move(changes)
    assert ["jail.local"] == os.listdir(tmp_path / "banguard")
    (tmp_path / "banguard" / "jail.local").unlink()
    move(changes)
    assert [] == move(changes)[1]["written"]


def test_limits_that_differ_are_told(move):
    """Where banguard's own files say something else than fail2ban's, nobody has to find out by being surprised."""
    _, found = move()
    said = [each["message"] for each in found["problems"] if each["code"] == "import-differs"]
    assert "[sshd] bantime was 600 and is 3600 now, as banguard's own files say" in said


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language(move, language):
    """The report is said in the language asked for."""
    _, text = move({"jail.local": "[sshd]\nmaxretry = 2\n"}, as_json=False, language=language)
    lines = text.splitlines()
    assert any(line.strip() == Voice(language).words("failures within findtime that lead to a ban") for line in lines)
    assert Voice(language).words("{written} files taken over, {left} left out, {stock} are as the package has them",
                                 written=2, left=0, stock=len(STOCK)) == lines[-1]  # fmt: skip


def test_what_is_no_configuration_of_fail2ban(tmp_path):
    """A directory without jails is refused, and so is the shipped configuration as a target."""
    with pytest.raises(ConfigError, match=r"no jail\.conf"):
        moving.run([str(tmp_path)], str(tmp_path / "x"), {})
    (tmp_path / "jail.local").write_text("[x]\n")
    with pytest.raises(ConfigError, match="--to"):
        moving.run([str(tmp_path)], CONFIG, {})
