"""Tests of banguard.config.build: whole directories, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest

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
