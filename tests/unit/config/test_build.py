"""Tests of banguard.config.build: whole directories, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.config import load, load_filter, load_jail
from banguard.config.schema import ActionKind, Config, LogPath, Severity
from banguard.errors import ConfigError

FILTER = "[Definition]\nfailregex = ^<mode> <HOST>$\nmode = quiet\n"
ACTION = "[Definition]\nactionban = do <ip> <port> <chain>\n[Init]\nport = any\nchain = INPUT\n"
JAIL = "[DEFAULT]\naction = act\nfilter = f[mode=%(mode)s]\nmode = normal\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in {
        "filter.d/f.conf": FILTER,
        "action.d/act.conf": ACTION,
        "jail.conf": JAIL,
        "banguard.conf": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def read(directory: Path, jails: str) -> Config:
    (directory / "jail.local").write_text(jails)
    return load(str(directory))


def test_a_jail_is_typed_and_knows_its_places(directory: Path) -> None:
    """Every value of the files is there, in its type, with file and line."""
    config = read(directory, "[a]\nenabled = true\nlogpath = /x/a.log\n  /x/b.log tail\nmaxretry = 3\nbantime = 1h\n")
    assert () == config.problems
    jail = config.jails["a"]
    assert (LogPath("/x/a.log"), LogPath("/x/b.log", tail=True)) == jail.logpath
    assert (3, 3600, ("^normal <HOST>$",)) == (jail.maxretry, jail.bantime, jail.filter.failregex)
    assert (str(directory / "jail.local"), 5) == (jail.places["maxretry"].path, jail.places["maxretry"].line)


def test_one_bad_jail_does_not_stop_the_others(directory: Path) -> None:
    """Each broken jail is an error with its place, and left out; the good one is there."""
    config = read(
        directory,
        "[good]\nenabled = true\nlogpath = /x\n[no-filter]\nenabled = true\nfilter = nothing\n"
        "[no-action]\nenabled = true\naction = nothing\n[bracket]\nenabled = true\nfilter = f[x=1\n"
        "[reference]\nenabled = true\nmaxretry = %(nowhere)s\n[off]\nfilter = nothing\n",
    )
    assert ["good"] == list(config.jails)
    assert {"no-filter", "no-action", "bracket", "reference"} == {problem.jail for problem in config.errors}
    assert all(problem.place is not None for problem in config.errors)


def test_a_bad_number_is_a_warning_and_the_default(directory: Path) -> None:
    """The jail runs on with what it would have without the option."""
    config = read(directory, "[a]\nenabled = true\nlogpath = /x\nmaxretry = many\n")
    (problem,) = config.problems
    assert (Severity.WARNING, 4) == (problem.severity, problem.place.line)
    assert "many" in problem.message
    assert 3 == config.jails["a"].maxretry


def test_a_misspelt_option_is_remarked_on_and_a_variable_is_not(directory: Path) -> None:
    """What nothing refers to gets a proposal; what anything refers to is somebody's variable."""
    config = read(
        directory,
        "[DEFAULT]\nmine = 5\n[a]\nenabled = true\nlogpath = /x\nmaxretrys = 3\nfindtime = %(mine)s\nport = ssh\n",
    )
    (problem,) = config.problems
    assert Severity.WARNING is problem.severity
    assert "maxretrys" in problem.message
    assert "maxretry" in problem.message.replace("maxretrys", "")


def test_actions_get_their_names_and_parameters(directory: Path) -> None:
    """Options in brackets reach the tags; `<known/chain>` is the action's own; another name makes another action."""
    config = read(
        directory,
        "[a]\nenabled = true\nlogpath = /x\nport = ssh\n"
        'action = act[name=%(__name__)s-tcp, port="%(port)s", chain="<known/chain>"]\n  act[name=%(__name__)s-udp]\n',
    )
    assert () == config.errors
    first, second = config.jails["a"].actions
    assert ("act-tcp", "act-udp") == (first.name, second.name)
    assert ("ssh", "a-tcp") == (first.properties["port"], first.properties["name"])
    assert "do <ip> ssh INPUT" == first.commands["actionban"]


def test_two_actions_of_one_name_are_an_error(directory: Path) -> None:
    """The second would take the place of the first."""
    config = read(directory, "[a]\nenabled = true\nlogpath = /x\naction = act\n  act\n")
    assert ["a"] == [problem.jail for problem in config.errors]


def test_native_and_python_actions(directory: Path) -> None:
    """`native = …` names a class of ours, `X.py` a file of the user."""
    (directory / "action.d/nat.conf").write_text("[Definition]\nnative = nftables\n[Init]\ntable = t\n")
    (directory / "action.d/mine.py").write_text("class Action: ...\n")
    config = read(directory, '[a]\nenabled = true\nlogpath = /x\naction = nat[port=1]\n  mine.py[x="1 2"]\n')
    native, python = config.jails["a"].actions
    assert (ActionKind.NATIVE, "nftables", "t", "1") == (
        native.kind,
        native.native,
        native.properties["table"],
        native.properties["port"],
    )
    assert (ActionKind.PYTHON, "1 2") == (python.kind, python.properties["x"])


def test_a_directory_with_changes_only_stands_on_what_is_shipped(tmp_path: Path) -> None:
    """Without a jail.conf of its own it gets the shipped jails, filters and actions."""
    (tmp_path / "jail.local").write_text("[sshd]\nenabled = true\nlogpath = /x\n")
    config = load(str(tmp_path))
    assert () == config.errors
    assert config.jails["sshd"].filter.failregex


def test_a_filter_or_a_jail_alone(directory: Path) -> None:
    """For the tester: by name with options, by path, or a jail whether enabled or not."""
    assert ("^ddos <HOST>$",) == load_filter(str(directory), "f[mode=ddos]").failregex
    assert ("^quiet <HOST>$",) == load_filter(str(directory), str(directory / "filter.d/f.conf")).failregex
    (directory / "jail.local").write_text("[a]\nlogpath = /x\nmode = loud\n")
    assert ("^loud <HOST>$",) == load_jail(str(directory), "a").filter.failregex
    for call in (lambda: load_filter(str(directory), "nothing"), lambda: load_jail(str(directory), "nothing")):
        with pytest.raises(ConfigError, match="nothing"):
            call()


PIECES = [
    "[DEFAULT]\n", "[a]\n", "[b]\n", "[INCLUDES]\n", "[Definition]\n", "[Init]\n", "[Init?family=inet6]\n", "enabled = true\n",
    "enabled = %(x)s\n", "filter = f\n", "filter = f[x=1\n", "filter = %(known/filter)s\n", "action = act[x=<x>] act\n",
    "action = act[\n", "before = jail.conf\n", "after = %(x)s.conf\n", "failregex = %(known/failregex)s\n  <x>\n", "x = <y>\n",
    "y = <x>\n", "x = %(y)s\n", "y = %(a/x)s%%\n", "maxretry = no\n", "bantime = 1x\n", "logpath = /x tail\n", "%\n", "x\n",
    "  more\n", "journalmatch = 'x\n", "native = y\n", "actionban = <ip> <x>\n", "backend = z[\n", "ignorecache = ,\n", "= 1\n",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=15).map("".join), min_size=4, max_size=4))
def test_no_content_whatever_raises(tmp_path_factory: pytest.TempPathFactory, contents: list[str]) -> None:
    """A configuration is read to its end, what is wrong is told, and a jail is either there or has an error."""
    directory = tmp_path_factory.mktemp("c")
    for name, text in zip(
        ("jail.conf", "filter.d/f.conf", "action.d/act.conf", "banguard.conf"), contents, strict=True
    ):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    config = load(str(directory))
    for problem in config.errors:
        assert problem.place is not None, problem


def test_bytes_that_are_no_text_are_one_error(directory: Path) -> None:
    """The file is named; what the other files say holds."""
    (directory / "jail.d").mkdir()
    (directory / "jail.d/bad.conf").write_bytes(b"[a]\nx = 1\ny = \xff\n")
    config = read(directory, "[a]\nenabled = true\nlogpath = /x\n")
    (problem,) = config.errors
    assert (str(directory / "jail.d/bad.conf"), 3) == (problem.place.path, problem.place.line)
    assert ["a"] == list(config.jails)


def test_an_option_that_stands_twice_names_both_lines(directory: Path) -> None:
    """The jail is left out, since nobody knows which one was meant."""
    config = read(directory, "[a]\nenabled = true\nmaxretry = 1\nmaxretry = 2\n[b]\nenabled = true\n")
    (problem,) = config.errors
    assert ("a", 4) == (problem.jail, problem.place.line)
    assert "line 3" in problem.message
    assert ["b"] == list(config.jails)


def test_a_mistake_in_a_filter_is_an_error_of_the_jails_that_use_it(directory: Path) -> None:
    """Others do not even read it."""
    (directory / "filter.d/bad.conf").write_text("[Definition]\nfailregex = %(gone)s\n")
    config = read(directory, "[a]\nenabled = true\nfilter = bad\n[b]\nenabled = true\n[c]\nfilter = bad\n")
    (problem,) = config.errors
    assert ("a", str(directory / "filter.d/bad.conf"), 2) == (problem.jail, problem.place.path, problem.place.line)
    assert ["b"] == list(config.jails)


def test_an_unknown_name_gets_a_proposal(directory: Path) -> None:
    """Of a filter, of an action, and of a jail that was asked for."""
    (directory / "filter.d/sshd.conf").write_text(FILTER)
    config = read(directory, "[sshd-a]\nenabled = true\nfilter = shd\n[b]\nenabled = true\naction = acct\n")
    assert ["'sshd'", "'act'"] == [problem.message.rpartition("did you mean ")[2][:-1] for problem in config.errors]
    (problem,) = load(str(directory), only=["sshd-b"]).errors
    assert "'sshd-a'" in problem.message


def test_only_the_jails_that_are_asked_for(directory: Path) -> None:
    """The others are not read, nor are their mistakes told."""
    (directory / "jail.local").write_text("[a]\nenabled = true\n[b]\nenabled = true\nfilter = gone\n")
    config = load(str(directory), only=["a"])
    assert (["a"], ()) == (list(config.jails), config.errors)


def test_a_jail_can_be_read_for_another_backend(directory: Path) -> None:
    """When there is no log, the journal may have to do: prefix and backend follow."""
    (directory / "filter.d/f.conf").write_text("[Definition]\nfailregex = <logtype> <HOST>\n")
    (directory / "jail.local").write_text("[a]\nenabled = true\n")
    jail = load_jail(str(directory), "a", backend="systemd")
    assert ("systemd", ("journal <HOST>",)) == (jail.backend, jail.filter.failregex)


def test_a_directory_of_fail2ban_stands_alone(tmp_path: Path) -> None:
    """Nothing shipped is mixed into a configuration of fail2ban."""
    (tmp_path / "fail2ban.conf").touch()
    (tmp_path / "jail.conf").write_text("[sshd]\nenabled = true\nfilter = sshd\n")
    (problem,) = load(str(tmp_path)).errors
    assert "unknown filter 'sshd'" in problem.message


def test_a_warning_names_the_option_that_was_meant(directory: Path) -> None:
    """In filters and actions, and in [DEFAULT], only what looks like an option is remarked on."""
    (directory / "filter.d/f.conf").write_text(
        "[Definition]\nfailregx = x\nfailregex = y <mine>\nmine = 1\nyours = 2\n"
    )
    (directory / "action.d/act.conf").write_text("[Definition]\nactionbann = x\nactionban = y\n")
    (directory / "jail.d").mkdir()
    (directory / "jail.d/d.conf").write_text("[DEFAULT]\nbantme = 1\nour_log = /x\n")
    config = read(directory, "[a]\nenabled = true\n")
    assert {"failregex", "actionban", "bantime"} == {
        problem.message.rpartition("did you mean '")[2].rstrip("'?") for problem in config.problems
    }
    assert all(problem.severity is Severity.WARNING for problem in config.problems)
