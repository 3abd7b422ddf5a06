from dataclasses import replace

import pytest

from banguard.config.schema import ActionKind, FilterConfig, IgnoreCache, JailConfig, LogPath
from banguard.control.commands import Context, execute
from banguard.control.commands_jail import with_option
from banguard.errors import ControlError
from support.memory_server import MemoryServer


@pytest.fixture
def api():
    return MemoryServer().with_jail()


@pytest.fixture
def run(api):
    return lambda *words: execute(Context(api, lambda _: None), words)


@pytest.mark.parametrize(
    ("option", "text", "shown", "default"),
    [
        ("maxretry", "4", 4, 3),
        ("maxmatches", "7", 7, 5),
        ("findtime", "10m", 600, 600),
        ("findtime", "1h", 3600, 600),
        ("bantime", "-1", -1, 600),
        ("bantime", "1d", 86400, 600),
        ("maxlines", "5", 5, 1),
        ("usedns", "no", "no", "warn"),
        ("logtimezone", "UTC+0200", "UTC+0200", None),
        ("ignoreself", "false", False, True),
        ("ignorecommand", "/bin/true <ip>", "/bin/true <ip>", ""),
        ("ignorecache", 'key="<ip>", max-count=10, max-time=1m', ["<ip>", 10, 60], None),
        ("logencoding", "latin1", "latin1", "UTF-8"),
        ("bantime.increment", "true", True, None),
        ("bantime.factor", "2", 2, None),
        ("bantime.multipliers", "1 2 4", "1 2 4", None),
        ("bantime.maxtime", "1w", 604800, None),
        ("bantime.rndtime", "10", 10, None),
        ("bantime.overalljails", "yes", True, None),
        ("success.forgets", "yes", True, False),
    ],
)
def test_options_are_set_and_shown(run, option, text, shown, default):
    """`get` shows the default, `set` what was understood, `get` the same from then on."""
    assert default == run("get", "sshd", option).value
    assert shown == run("set", "sshd", option, text).value
    assert shown == run("get", "sshd", option).value


def test_a_growing_ban_time_can_be_switched_off(run, api):
    """`false` is false (not a text that counts as true), and is shown as set."""
    run("set", "sshd", "bantime.overalljails", "true")
    assert False is run("set", "sshd", "bantime.overalljails", "false").value
    assert False is api.jails["sshd"].increment.overalljails


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("maxretry", "x"),
        ("findtime", "foo"),
        ("bantime", "__import__('os').getpid()"),
        ("usedns", "perhaps"),
        ("ignorecache", "max-count=1"),
        ("logencoding", "martian"),
        ("bantime.increment", "perhaps"),
        ("bantime.multipliers", "a b"),
        ("bantime.factor", "().__class__"),
    ],
)
def test_a_wrong_value_changes_nothing(run, api, option, text):
    """What the configuration would refuse is refused here too."""
    before = api.jails["sshd"]
    with pytest.raises(ControlError):
        run("set", "sshd", option, text)
    assert before == api.jails["sshd"]


def test_every_option_refuses_an_unknown_jail(run):
    """The jail is looked up by every command."""
    for words in (["set", "nope", "maxretry", "3"], ["get", "nope", "maxretry"], ["get", "nope", "failregex"]):
        with pytest.raises(ControlError, match="^Sorry but the jail 'nope' does not exist$"):
            run(*words)


def test_options_of_the_filter_are_kept_in_the_filter():
    """`with_option` puts each option where the configuration has it."""
    config = with_option(JailConfig("j"), "maxlines", "3")
    config = with_option(config, "bantime.maxtime", "1h")
    config = with_option(config, "backend", "polling")
    assert (3, 3600.0, "polling") == (config.filter.maxlines, config.increment.maxtime, config.backend)
    assert IgnoreCache("<ip>") == with_option(config, "ignorecache", 'key="<ip>"').ignorecache


@pytest.mark.parametrize("name", ["failregex", "ignoreregex", "successregex"])
def test_regexes_are_added_and_removed_by_number(run, api, name):
    """The list is shown with its tags expanded; a wrong number or regex changes nothing."""
    before = list(getattr(api.jails["sshd"].filter, name))
    shown = run("set", "sshd", f"add{name}", "^x <HOST>$").value
    assert r"^x (?P<host>\S+)$" == shown[-1]
    for value in ("99", "-1", "x"):
        with pytest.raises(ControlError):
            run("set", "sshd", f"del{name}", value)
    with pytest.raises(ControlError):
        run("set", "sshd", f"add{name}", "^x (")
    assert shown == run("get", "sshd", name).value
    run("set", "sshd", f"del{name}", str(len(shown) - 1))
    assert before == list(getattr(api.jails["sshd"].filter, name))


def test_the_prefregex_is_shown_expanded(run):
    """Empty text removes it."""
    assert "" == run("get", "sshd", "prefregex").value
    assert r"^p (?P<host>\S+)" == run("set", "sshd", "prefregex", "^p <HOST>").value
    assert "" == run("set", "sshd", "prefregex", "").value


def test_date_patterns_are_described(run, api):
    """A pattern with its name, the default detectors, or not needed for a journal."""
    assert {"pattern": None, "name": "Default Detectors"} == run("get", "sshd", "datepattern").value
    assert {"pattern": "%Y-%m-%d", "name": "Year-Month-Day"} == run("set", "sshd", "datepattern", "%Y-%m-%d").value
    api.with_jail("journal", backend="systemd")
    assert "Not set/required" == run("get", "journal", "datepattern").value["name"]


def test_the_ignore_list_is_edited(run, api):
    """Entries are added once and removed in any spelling; an absent one is an error."""
    assert ["192.0.2.1", "10.0.0.0/8"] == run(
        "set", "sshd", "addignoreip", "192.0.2.1", "10.0.0.0/8", "192.0.2.1"
    ).value
    assert ["10.0.0.0/8"] == run("set", "sshd", "delignoreip", "::ffff:192.0.2.1").value
    with pytest.raises(ControlError, match="not in the ignore list"):
        run("set", "sshd", "delignoreip", "192.0.2.7")
    assert ["10.0.0.0/8"] == run("get", "sshd", "ignoreip").value


def test_logs_are_added_and_removed(run, api, tmp_path):
    """A file with its place to begin, a glob that matches nothing yet, each once."""
    log = tmp_path / "c.log"
    log.write_text("")
    run("set", "sshd", "addlogpath", str(log), "tail")
    run("set", "sshd", "addlogpath", str(log))
    run("set", "sshd", "addlogpath", str(tmp_path / "*.later"))
    assert (LogPath(str(log)), LogPath(str(tmp_path / "*.later"))) == api.jails["sshd"].logpath[2:]
    run("set", "sshd", "dellogpath", "/var/log/a")
    assert "/var/log/a" not in run("get", "sshd", "logpath").value


def test_a_log_is_shown_once_the_source_reads_it(tmp_path):
    """The reply waits for the source a little, and no longer than that."""
    log = tmp_path / "c.log"
    log.write_text("")
    waits = []

    class Lagging(MemoryServer):
        """A server whose source takes notice of a new log after three looks, or never."""

        looks = 3

        def jail(self, name):
            self.looks -= 1
            view = super().jail(name)
            return view if self.looks < 0 else replace(view, files=("/var/log/a",))

    api = Lagging().with_jail()
    reply = execute(Context(api, waits.append), ["set", "sshd", "addlogpath", str(log)])
    assert (True, 3) == (str(log) in reply.value, len(waits))
    api.looks = 1000
    assert ["/var/log/a"] == execute(Context(api, waits.append), ["set", "sshd", "addlogpath", str(log)]).value
    assert 43 == len(waits)


@pytest.mark.parametrize(
    "words",
    [
        ["addlogpath", "/nonexistent/file"],
        ["addlogpath", "relative"],
        ["addlogpath", "/etc/passwd", "middle"],
        ["dellogpath", "/nonexistent/file"],
    ],
)
def test_wrong_logs_are_refused(run, api, words):
    """A file that is not there, a relative path, an unknown place, a log that is not read."""
    before = api.jails["sshd"]
    with pytest.raises(ControlError):
        run("set", "sshd", *words)
    assert before == api.jails["sshd"]


def test_journal_matches_are_added_and_removed(run, api):
    """Matches joined by `+` are apart; removing one leaves the others."""
    api.with_jail("j", filter=FilterConfig(journalmatch=(("_A=b", "+", "_C=d"),)))
    assert ["_A=b", "_C=d", "_E=f _G=h"] == run("set", "j", "addjournalmatch", "_E=f", "_G=h").value
    assert ["_A=b", "_E=f _G=h"] == run("set", "j", "deljournalmatch", "_C=d").value
    with pytest.raises(ControlError, match="'_C=d' is not among"):
        run("set", "j", "deljournalmatch", "_C=d")
    assert ["_A=b", "_E=f _G=h"] == run("get", "j", "journalmatch").value


# ---- actions


def test_an_action_of_commands_is_built_by_set(run, api):
    """addaction makes it, `set … action` gives it commands and tags, delaction removes it."""
    assert "rec" == run("set", "sshd", "addaction", "rec").value
    assert "echo <ip>" == run("set", "sshd", "action", "rec", "actionban", "echo <ip>").value
    assert 60 == run("set", "sshd", "action", "rec", "timeout", "1m").value
    assert "echo <ip>" == run("get", "sshd", "action", "rec", "actionban").value
    assert {"jail": "sshd", "actions": ["rec"]} == run("get", "sshd", "actions").value
    properties = run("get", "sshd", "actionproperties", "rec").value["properties"]
    assert ["actionban", "actname", "name", "timeout"] == properties
    assert None is run("set", "sshd", "delaction", "rec").value
    assert [] == run("get", "sshd", "actions").value["actions"]


def test_an_action_of_a_python_file_takes_keyword_arguments(run, api, tmp_path):
    """Values that are no text travel as JSON."""
    file = tmp_path / "a.py"
    file.write_text("")
    run("set", "sshd", "addaction", "py", str(file), '{"host": "localhost", "port": 25}')
    action = api.jails["sshd"].actions[0]
    assert (ActionKind.PYTHON, str(file), "a.py") == (action.kind, action.path, action.file)
    assert {"host": "localhost", "port": "25"} == dict(action.properties)


def test_methods_of_actions_are_called(run, api):
    """A word that names a method calls it, with keyword arguments or without."""
    run("set", "sshd", "addaction", "rec")
    assert True is run("set", "sshd", "action", "rec", "flush").value
    run("set", "sshd", "action", "rec", "ban", '{"ip": "192.0.2.1"}')
    assert [("sshd", "rec", "flush", {}), ("sshd", "rec", "ban", {"ip": "192.0.2.1"})] == api.calls
    assert "flush" in run("get", "sshd", "actionmethods", "rec").value["methods"]


@pytest.mark.parametrize(
    "words",
    [
        ["set", "sshd", "addaction", "rec"],
        ["set", "sshd", "addaction", "py", "/nonexistent.py", "{}"],
        ["set", "sshd", "delaction", "nope"],
        ["set", "sshd", "action", "nope", "timeout", "1"],
        ["set", "sshd", "action", "rec", "nosuchmethod"],
        ["set", "sshd", "action", "rec", "ban", "[]"],
        ["get", "sshd", "action", "rec", "nosuch"],
        ["get", "sshd", "action", "nope", "timeout"],
        ["get", "sshd", "actionmethods", "nope"],
        ["get", "sshd", "actionproperties", "nope"],
    ],
)
def test_wrong_commands_about_actions_are_refused(run, words):
    """Names that are taken, unknown or no JSON raise ControlError."""
    run("set", "sshd", "addaction", "rec")
    with pytest.raises(ControlError):
        run(*words)
