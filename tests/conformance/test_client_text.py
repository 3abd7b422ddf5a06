"""The text of banguard-client beside that of an installed fail2ban-client, run as black boxes on the same configuration."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("fail2ban-client") is None or shutil.which("unshare") is None or os.geteuid() != 0,
    reason="needs fail2ban-client, unshare and root",
)

JAILS = """\
[DEFAULT]
backend = polling
[j1]
enabled = true
filter = f1
logpath = {dir}/a.log
          {dir}/b.log
action = rec
         rec[name=second]
maxretry = 3
[j2]
enabled = true
filter = f1
logpath = {dir}/a.log
"""
FILTER = "[Definition]\nfailregex = ^bad <F-ID>\\S+</F-ID>$\nignoreregex = nothing\n"
ACTION = """\
[Definition]
actionstart = true
actionban = echo ban <ip>
actionunban = echo unban <ip>
[Init]
name = default
foo = bar
"""

ALIKE = [
    "ping",
    "status",
    "status j1",
    "status j1 short",
    "status nope",
    "banned",
    "echo a b",
    "set j1 banip 192.0.2.1",
    "set j1 banip 192.0.2.1",
    "set j1 banip 192.0.2.2 192.0.2.2",
    "set j2 banip 10.0.0.0/8 alice",
    "banned 192.0.2.1 192.0.2.9",
    "banned nope",
    "get j1 banned",
    "get j1 banned 192.0.2.1",
    "get j1 banned 192.0.2.1 192.0.2.9",
    "status j1",
    "status j1 short",
    "set j1 unbanip 192.0.2.9",
    "set j1 unbanip --report-absent 192.0.2.9 192.0.2.8",
    "set j1 unbanip 192.0.2.1",
    "get j1 banip",
    "get j1 banip ,",
    "unban 192.0.2.2",
    "unban --all",
    "get j1 banip",
    "flushlogs",
    "get loglevel",
    "set loglevel debug",
    "set loglevel INFO",
    "set loglevel foo",
    "get logtarget",
    "get syslogsocket",
    "get dbfile",
    "get dbmaxmatches",
    "get dbpurgeage",
    "set allowipv6 yes",
    "get thread",
    "add j3 polling",
    "status j3",
    "get j3 logpath",
    "start j3",
    "stop j3",
    "stop j3",
    "set j1 idle on",
    "set j1 idle off",
    "set j1 idle foo",
    "get j1 idle",
    "get j1 ignoreself",
    "set j1 ignoreself false",
    "get j1 ignoreip",
    "set j1 addignoreip 2.2.2.0/24",
    "get j1 ignoreip",
    "set j1 delignoreip 2.2.2.0/24",
    "get j1 ignorecommand",
    "set j1 ignorecommand /bin/false",
    "get j1 ignorecache",
    ["set", "j1", "ignorecache", 'key="<ip>", max-count=10, max-time=1m'],
    "get j1 ignorecache",
    ["set", "j1", "ignorecache", ""],
    "get j1 logpath",
    "set j1 addlogpath {dir}/c.log tail",
    "set j1 dellogpath {dir}/b.log",
    "get j1 logpath",
    "get j1 logencoding",
    "set j1 logencoding latin1",
    "get j1 journalmatch",
    "get j1 failregex",
    "get j1 ignoreregex",
    ["set", "j1", "addfailregex", "^x <F-ID>y</F-ID>$"],
    "set j1 delfailregex 1",
    "set j1 delignoreregex 0",
    "get j1 prefregex",
    ["set", "j1", "prefregex", "^a <F-CONTENT>.+</F-CONTENT>$"],
    ["set", "j1", "prefregex", ""],
    "get j1 findtime",
    "set j1 findtime 1h",
    "get j1 bantime",
    "set j1 bantime -1",
    "set j1 banip 192.0.2.3",
    "set j1 bantime 1d",
    "get j1 maxretry",
    "set j1 maxretry 4",
    "get j1 maxmatches",
    "set j1 maxmatches 2",
    "get j1 maxlines",
    "get j1 usedns",
    "set j1 usedns no",
    "get j1 logtimezone",
    "set j1 logtimezone UTC+0200",
    "get j1 bantime.increment",
    "get j1 bantime.factor",
    "get j1 bantime.formula",
    "get j1 bantime.multipliers",
    "get j1 bantime.maxtime",
    "get j1 bantime.rndtime",
    "get j1 bantime.overalljails",
    "set j1 bantime.increment true",
    "set j1 bantime.maxtime 1w",
    ["set", "j1", "bantime.multipliers", "1 2 4"],
    "get j1 bantime.multipliers",
    "get j1 datepattern",
    ["set", "j1", "datepattern", "%Y-%m-%d %H:%M:%S"],
    ["set", "j1", "datepattern", "EPOCH"],
    ["set", "j1", "datepattern", ""],
    "get j1 actions",
    "get j2 actions",
    "get j1 action rec actionban",
    "get j1 action rec foo",
    "set j1 action rec foo baz",
    "get j1 action rec foo",
    "set j1 action rec newprop x",
    "get j1 action rec newprop",
    "set j1 action rec timeout 10s",
    "get j1 action rec timeout",
    "set j1 addaction third",
    "get j1 actions",
    "set j1 delaction third",
    "foo",
    "set",
    "set j1",
    "set j1 foo bar",
    "set j1 maxretry",
    "set loglevel",
    "set nope maxretry 3",
    "get",
    "get j1",
    "get j1 foo",
    "get nope foo",
    "start nope",
    "stop nope",
    "server-status",
    "reload j1",
    "reload",
    "restart j1",
]


class Program:
    """A client and the server it started, in a network namespace of its own."""

    def __init__(self, directory, command, conf):
        self.directory = directory
        self.command = [*command, "-c", str(directory / "conf"), "-s", str(directory / "s"), "-p", str(directory / "p")]
        self.environ = {name: value for name, value in os.environ.items() if name != "BANGUARD_SOCKET"}
        for folder in ("conf/filter.d", "conf/action.d"):
            (directory / folder).mkdir(parents=True)
        (directory / "conf" / f"{conf}.conf").write_text(
            f"[Definition]\nloglevel = INFO\nlogtarget = {directory / 'log'}\nsyslogsocket = auto\n"
            f"socket = {directory / 's'}\npidfile = {directory / 'p'}\ndbfile = None\ndbpurgeage = 1d\n"
            "dbmaxmatches = 10\nallowipv6 = auto\n"
        )
        (directory / "conf" / "jail.conf").write_text(JAILS.format(dir=directory))
        (directory / "conf" / "filter.d" / "f1.conf").write_text(FILTER)
        (directory / "conf" / "action.d" / "rec.conf").write_text(ACTION)
        for name in ("a.log", "b.log", "c.log"):
            (directory / name).write_text("")

    def run(self, words, prefix=()):
        words = words.split() if isinstance(words, str) else words
        words = [word.replace("{dir}", str(self.directory)) for word in words]
        done = subprocess.run(
            [*prefix, *self.command, *words], capture_output=True, text=True, timeout=90, env=self.environ
        )
        return done.returncode, done.stdout.replace(str(self.directory), "{dir}"), done.stderr

    def stop(self):
        self.run("stop")
        try:
            os.kill(int((self.directory / "p").read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            pass


def texts(directory, command, conf):
    """Start a server, run all commands, stop it; return (words, succeeded, text) of each, or why it did not start."""
    program = Program(directory, command, conf)
    try:
        status, out, err = program.run("start", ["unshare", "-n"])
        if (status, out) != (0, "Server ready\n"):
            return out + err
        found = []
        for words in ALIKE:
            status, out, _ = program.run(words)
            found.append((words, status == 0, out))
        return found
    finally:
        program.stop()


def test_commands_print_what_scripts_expect(tmp_path):
    """Each command prints the same text, byte for byte, and succeeds or fails alike."""
    programs = {"fail2ban": ["fail2ban-client"], "banguard": [sys.executable, "-m", "banguard.cli.client"]}
    with ThreadPoolExecutor(2) as pool:
        runs = {conf: pool.submit(texts, tmp_path / conf, command, conf) for conf, command in programs.items()}
        found = {conf: run.result() for conf, run in runs.items()}
    if isinstance(found["fail2ban"], str):
        pytest.skip(f"the installed fail2ban does not start here: {found['fail2ban'][-300:]}")
    assert isinstance(found["banguard"], list), found["banguard"]
    differing = [
        (theirs, ours) for theirs, ours in zip(found["fail2ban"], found["banguard"], strict=True) if theirs != ours
    ]
    assert [] == differing
