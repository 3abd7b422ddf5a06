import json

import pytest

from banguard import __version__
from banguard.control import commands
from banguard.control.api import ReloadRequest
from banguard.control.commands import TABLE, Context, execute
from banguard.errors import ControlError
from support.memory_server import MemoryServer

NAMED_IN_THE_REFERENCE = """
start stop restart reload unban banned status stats statistic statistics ping echo version flushlogs sleep
server-status server-stream config-error add
set:loglevel get:loglevel set:logtarget get:logtarget set:syslogsocket get:syslogsocket set:dbfile get:dbfile
set:dbmaxmatches get:dbmaxmatches set:dbpurgeage get:dbpurgeage set:allowipv6 set:thread get:thread
set:*:idle set:*:addignoreip set:*:delignoreip get:*:ignoreip set:*:addlogpath set:*:dellogpath get:*:logpath
set:*:addjournalmatch set:*:deljournalmatch get:*:journalmatch set:*:addfailregex set:*:delfailregex get:*:failregex
set:*:addignoreregex set:*:delignoreregex get:*:ignoreregex set:*:attempt set:*:banip set:*:unbanip get:*:banip
get:*:banned set:*:addaction set:*:delaction set:*:action get:*:action get:*:actions get:*:actionproperties
get:*:actionmethods multi-set:*:*
"""
OPTIONS = """
ignoreself ignorecommand ignorecache logencoding prefregex findtime bantime maxretry maxmatches maxlines usedns
logtimezone datepattern bantime.increment bantime.factor bantime.formula bantime.multipliers bantime.maxtime
bantime.rndtime bantime.overalljails
"""


@pytest.fixture
def api():
    return MemoryServer().with_jail()


@pytest.fixture
def run(api):
    waits = []

    def run(*words):
        reply = execute(Context(api, waits.append), words)
        json.dumps(reply.value, allow_nan=False)
        return reply

    run.waits = waits
    return run


def test_every_command_of_the_reference_is_there():
    """Scripts written for the reference find each of its commands."""
    wanted = {tuple(name.split(":")) for name in NAMED_IN_THE_REFERENCE.split()}
    wanted |= {(verb, "*", option) for verb in ("set", "get") for option in OPTIONS.split()}
    assert set() == wanted - set(TABLE)


@pytest.mark.parametrize(
    ("expected", "kind", "words"),
    [
        ("pong", "ping", ["ping"]),
        ("pong", "ping", ["ping", "5"]),
        ("a  b c", "value", ["echo", "a ", "b", "c"]),
        (__version__, "value", ["version"]),
        ("Server ready", "value", ["server-status"]),
        ({"jails": ["sshd"]}, "status", ["status"]),
        ("INFO", "loglevel", ["get", "loglevel"]),
        ("DEBUG", "loglevel", ["set", "loglevel", "debug"]),
        ("/var/log/banguard.log", "logtarget", ["get", "logtarget"]),
        ("STDOUT", "logtarget", ["set", "logtarget", "stdout"]),
        ('SYSLOG[facility="MAIL"]', "logtarget", ["set", "logtarget", 'syslog[facility="MAIL"]']),
        ("/tmp/x.log", "logtarget", ["set", "logtarget", "/tmp/x.log"]),
        ("auto", "syslogsocket", ["get", "syslogsocket"]),
        ("/dev/log", "syslogsocket", ["set", "syslogsocket", "/dev/log"]),
        ("rolled over", "flushlogs", ["flushlogs"]),
        ("/var/lib/banguard/b.sqlite3", "dbfile", ["get", "dbfile"]),
        (None, "dbfile", ["set", "dbfile", "None"]),
        (10, "value", ["get", "dbmaxmatches"]),
        (20, "value", ["set", "dbmaxmatches", "20"]),
        (86400, "dbpurgeage", ["get", "dbpurgeage"]),
        (172800, "dbpurgeage", ["set", "dbpurgeage", "2d"]),
        ("auto", "value", ["get", "allowipv6"]),
        ("yes", "value", ["set", "allowipv6", "YES"]),
        ({"stacksize": 0}, "value", ["get", "thread"]),
        ({"stacksize": 64}, "value", ["set", "thread", '{"stacksize": 64}']),
        ("new", "jail_added", ["add", "new", "polling"]),
        ("new", "jail_added", ["add", "new"]),
        ("sshd", "jail_started", ["start", "sshd"]),
        ("sshd", "jail_stopped", ["stop", "sshd"]),
        (True, "value", ["set", "sshd", "idle", "on"]),
        (False, "value", ["set", "sshd", "idle", "off"]),
        (None, "value", ["config-error", "something", "is wrong"]),
        (2, "value", ["server-stream", '[["ping"], ["set", "sshd", "maxretry", 4]]']),
    ],
)
def test_commands_about_the_server_give_their_value(run, expected, kind, words):
    """Each command returns the documented value, of the kind by which clients show it."""
    reply = run(*words)
    assert (expected, kind) == (reply.value, reply.kind)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, ["start"]),
        (1, ["start", "nope"]),
        (1, ["stop", "nope"]),
        (1, ["status", "nope"]),
        (1, ["add", "sshd"]),
        (1, ["add", "new", "carrier-pigeon"]),
        (2, ["add", "--all"]),
        (2, ["add", "a\nb"]),
        (1, ["set", "loglevel", "foo"]),
        (1, ["set", "dbmaxmatches", "many"]),
        (1, ["set", "dbmaxmatches", "-1"]),
        (1, ["set", "dbpurgeage", "-1"]),
        (1, ["set", "dbpurgeage", "foo"]),
        (1, ["set", "allowipv6", "perhaps"]),
        (2, ["set", "thread", "64"]),
        (1, ["set", "thread", '{"stacksize": 1}']),
        (1, ["set", "thread", '{"stacksize": true}']),
        (1, ["set", "sshd", "idle", "maybe"]),
        (1, ["set", "nope", "idle", "on"]),
        (1, ["sleep", "-1"]),
        (1, ["sleep", "1e9"]),
        (2, ["server-stream", "x"]),
        (2, ["server-stream", '["ping"]']),
        (2, ["server-stream", "[[]]"]),
        (2, ["multi-set", "sshd", "addfailregex", "x"]),
        (2, ["multi-set", "sshd", "addfailregex", '"x"']),
        (2, ["multi-set", "sshd"]),
        (1, ["reload", "nope"]),
        (2, ["reload", "a", "b"]),
        (2, ["reload", "--foo"]),
        (2, ["reload", "--config"]),
        (2, ["restart"]),
    ],
)
def test_wrong_commands_are_refused(run, status, words):
    """A mistake of the user is a ControlError with its status, never another exception."""
    with pytest.raises(ControlError) as raised:
        run(*words)
    assert status == raised.value.status


def test_stop_asks_the_server_to_stop(run, api):
    """`stop` without a jail means the server."""
    assert "stopping" == run("stop").kind
    assert api.stopped.is_set()


def test_a_server_that_is_not_ready_says_so(run, api):
    """`server-status` tells a server that starts from one that works."""
    api.ready = False
    assert "Server not ready" == run("server-status").value


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (ReloadRequest(), ["reload"]),
        (ReloadRequest(), ["reload", "--all"]),
        (ReloadRequest("sshd"), ["reload", "sshd"]),
        (ReloadRequest("sshd", restart=True, unban=True), ["reload", "--restart", "--unban", "sshd"]),
        (ReloadRequest("sshd", restart=True), ["restart", "sshd"]),
        (ReloadRequest("nope", restart=True, if_exists=True), ["restart", "--if-exists", "nope"]),
        (ReloadRequest(directory="/etc/other"), ["reload", "--config", "/etc/other"]),
    ],
)
def test_reload_passes_on_what_was_asked(run, api, expected, words):
    """Options and jail of a reload reach the server; what it survived comes back."""
    reply = run(*words)
    assert ([expected], "reloaded") == (api.reloads, reply.kind)
    assert ["jail.conf:3: warning: [x] something"] == reply.value["problems"]


def test_sleep_waits_as_the_server_waits(run):
    """`sleep` leaves the waiting to whoever can end it early."""
    assert None is run("sleep", "0.5").value
    assert [0.5] == run.waits


def test_several_values_are_set_one_after_another(run, api):
    """`multi-set` is `set` for each value; lists within give more than one word."""
    run("multi-set", "sshd", "addfailregex", '["^a <HOST>", "^b <HOST>"]')
    assert ("^bad <HOST>$", "^a <HOST>", "^b <HOST>") == api.jails["sshd"].filter.failregex
    run("set", "sshd", "addaction", "rec")
    run("multi-set", "sshd", "action", "rec", '[["actionban", "true"], ["timeout", "5"]]')
    assert "true" == api.jails["sshd"].actions[0].commands["actionban"]


def test_a_stream_ends_at_the_first_refusal(run, api):
    """The error of a stream names the command; what came before it stays done."""
    with pytest.raises(ControlError, match=r"\['set', 'nope', 'maxretry'\]: Sorry but the jail 'nope'"):
        run(
            "server-stream",
            '[["set","sshd","maxretry","9"],["set","nope","maxretry","9"],["set","sshd","maxretry","8"]]',
        )
    assert 9 == api.jails["sshd"].maxretry


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("status_jail_basic", ["status", "sshd"]),
        ("status_jail_basic", ["status", "sshd", "basic"]),
        ("status_jail_short", ["status", "sshd", "short"]),
        ("status_jail_cymru", ["status", "sshd", "cymru"]),
        ("stats", ["status", "sshd", "stats"]),
        ("status_jail_basic", ["status", "sshd", "strange"]),
        ("status_all_basic", ["status", "--all"]),
        ("status_all_short", ["status", "--all", "short"]),
        ("stats", ["status", "--all", "stats"]),
        ("stats", ["stats"]),
        ("stats", ["statistic"]),
        ("stats", ["statistics"]),
    ],
)
def test_flavors_decide_how_a_status_is_shown(run, kind, words):
    """Each flavor has its kind; an unknown one is shown as basic."""
    assert kind == run(*words).kind


def test_an_unknown_flavor_is_logged(run, caplog):
    """The operator learns why the status looks plain."""
    run("status", "sshd", "strange")
    assert "Unknown status flavor 'strange'" in caplog.text


def test_without_a_database_its_limits_are_unknown(run):
    """Limits of a database that is not there are none."""
    run("set", "dbfile", "None")
    assert [None, None, None] == [run("get", name).value for name in ("dbfile", "dbmaxmatches", "dbpurgeage")]


def test_the_table_is_complete_once_commands_is_loaded():
    """Loading this one module is enough to have every command."""
    assert {"commands_bans", "commands_jail"} <= set(commands.__all__)


def test_watching_begins_when_somebody_reads(run, api):
    """The command alone subscribes to nothing: within a stream of commands nobody would ever end it."""
    reply = run("watch", "sshd")
    assert () == api.bus._observers
    source = reply.open()
    assert 1 == len(api.bus._observers)
    source.close()
    assert () == api.bus._observers
    with pytest.raises(ControlError, match="does not exist"):
        run("watch", "nope")


def test_the_overview_tells_the_newest_bans_first(run, api):
    """With all jails, all logs, and how long the server runs."""
    for number in range(60):
        api.put_ban("sshd", f"192.0.2.{number}", since=1000.0 + number, until=5000.0 - number)
    value = run("overview").value
    assert [f"192.0.2.{number}" for number in range(59, 9, -1)] == [ban["id"] for ban in value["newest"]]
    assert {"version", "now", "started", "jails", "logs", "newest"} == set(value)
    assert "sshd" in [jail["jail"] for jail in value["jails"]]
