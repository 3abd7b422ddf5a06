"""The client program against the server program, over a real socket."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

JAIL = """\
[DEFAULT]
backend = polling
[sshd]
enabled = true
filter = one
logpath = {log}
maxretry = 2
[web]
enabled = true
filter = one
logpath = {log}
"""


class Machine:
    """A directory with a configuration, and the programs that use it."""

    def __init__(self, directory):
        self.directory = directory
        self.conf = directory / "conf"
        (self.conf / "filter.d").mkdir(parents=True)
        self.log = directory / "auth.log"
        self.log.write_text("")
        (self.conf / "banguard.conf").write_text(
            f"[Definition]\nloglevel = INFO\nlogtarget = {directory / 'b.log'}\nsocket = {directory / 'b.sock'}\n"
            f"pidfile = {directory / 'b.pid'}\ndbfile = {directory / 'b.sqlite3'}\n"
        )
        (self.conf / "jail.conf").write_text(JAIL.format(log=self.log))
        (self.conf / "filter.d" / "one.conf").write_text("[Definition]\nfailregex = ^bad <HOST>$\n")

    @property
    def pid(self):
        return int((self.directory / "b.pid").read_text())

    def popen(self, *words):
        return subprocess.Popen(
            [sys.executable, "-m", "banguard.cli.client", "-c", str(self.conf), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "BANGUARD_SOCKET"},
        )

    def client(self, *words):
        """Run the client; return status, standard output, standard error."""
        process = self.popen(*words)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def json(self, *words):
        status, out, err = self.client("--json", *words)
        assert (0, "") == (status, err), out
        return json.loads(out)

    def kill(self):
        """End a server that a failed test left."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.kill()


@pytest.fixture
def running(machine):
    status, out, err = machine.client("start")
    assert (0, "Server ready\n") == (status, out), err
    yield machine
    machine.client("stop")


def is_alive(pid):
    """Tell whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_server_lives_from_start_to_stop(machine):
    """start returns when it is ready, stop when it has ended; nothing is left behind."""
    status, out, err = machine.client("start")
    assert (0, "Server ready\n") == (status, out), err
    pid = machine.pid
    assert is_alive(pid)
    assert (0, "Server replied: pong\n", "") == machine.client("ping")
    assert (1, "Server already running\n") == machine.client("start")[:2]
    assert (0, "Shutdown successful\n", "") == machine.client("stop")
    assert not is_alive(pid)
    assert [False, False] == [(machine.directory / name).exists() for name in ("b.sock", "b.pid")]
    assert 3 == machine.client("stop")[0]
    assert 3 == machine.client("reload")[0]


def test_bans_are_commanded_and_shown(running):
    """Text and JSON of a real server are as documented."""
    assert {"jails": ["sshd", "web"]} == running.json("status")
    before = time.time()
    assert (0, "2\n", "") == running.client("set", "sshd", "banip", "192.0.2.1", "2001:DB8::5")
    status = running.json("status", "sshd")
    assert ["actions", "filter", "jail"] == sorted(status)
    assert {"currently_failed": 0, "total_failed": 0, "file_list": [str(running.log)]} == status["filter"]
    assert (2, 2) == (status["actions"]["currently_banned"], status["actions"]["total_banned"])
    bans = {ban["id"]: ban for ban in status["actions"]["banned"]}
    assert {"192.0.2.1", "2001:db8::5"} == set(bans)
    ban = bans["192.0.2.1"]
    assert ["count", "enforced", "failures", "id", "since", "until"] == sorted(ban)
    assert before - 1 <= ban["since"] <= time.time() + 1
    assert ban["until"] == pytest.approx(ban["since"] + 600)
    text = running.client("status", "sshd")[1].splitlines()
    assert text[:2] == ["Status for the jail: sshd", "|- Filter"]
    assert text[-1] in ("   `- Banned IP list:\t192.0.2.1 2001:db8::5", "   `- Banned IP list:\t2001:db8::5 192.0.2.1")
    assert (0, "1\n", "") == running.client("set", "sshd", "unbanip", "192.0.2.1")
    assert {"jails": {"sshd": ["2001:db8::5"], "web": []}} == running.json("banned")
    assert (0, "1\n", "") == running.client("unban", "--all")


def test_attempts_lead_to_a_ban(running):
    """Failures told by a client count like those of a log."""
    assert (0, "1\n", "") == running.client("set", "sshd", "attempt", "192.0.2.7", "line a", "line b")
    for _ in range(100):
        if running.json("banned")["jails"]["sshd"] == ["192.0.2.7"]:
            break
        time.sleep(0.05)
    assert (0, "1\n", "") == running.client("get", "sshd", "banned", "192.0.2.7")
    assert 2 == running.json("status", "sshd")["actions"]["banned"][0]["failures"]


def test_refusals_of_a_real_server(running):
    """Unknown jails, wrong values and wrong commands have their statuses."""
    assert (1, "Sorry but the jail 'nope' does not exist\n") == running.client("status", "nope")[:2]
    assert 1 == running.client("set", "sshd", "maxretry", "many")[0]
    assert 1 == running.client("set", "sshd", "addfailregex", "^(")[0]
    assert 2 == running.client("set", "sshd", "nonsense", "1")[0]
    assert (0, "2\n", "") == running.client("get", "sshd", "maxretry")


def test_a_log_is_added_and_removed_at_run_time(running):
    """`get logpath` follows `addlogpath` and `dellogpath`."""
    more = running.directory / "more.log"
    more.write_text("")
    assert str(more) in running.client("set", "sshd", "addlogpath", str(more), "tail")[1]
    assert str(more) not in running.client("set", "sshd", "dellogpath", str(more))[1]


def test_reload_takes_what_was_changed(running):
    """A changed option is in force after `reload`, and the process stays the same."""
    pid = running.pid
    text = (running.conf / "jail.conf").read_text()
    (running.conf / "jail.conf").write_text(text.replace("maxretry = 2", "maxretry = 9"))
    assert (0, "OK\n") == running.client("reload")[:2]
    assert (0, "9\n", "") == running.client("get", "sshd", "maxretry")
    (running.conf / "filter.d" / "one.conf").write_text("[Definition]\nfailregex = ^bad (<HOST>$\n")
    status, out, _ = running.client("reload")
    assert (1, True) == (status, "one.conf:2" in out)
    assert (0, "9\n", "") == running.client("get", "sshd", "maxretry")
    assert pid == running.pid


def test_restart_gives_a_new_process(running):
    """`restart` stops the old server before it starts the new one."""
    pid = running.pid
    assert (0, "Shutdown successful\nServer ready\n") == running.client("restart")[:2]
    assert (False, True) == (is_alive(pid), is_alive(running.pid))


def test_a_killed_server_is_no_obstacle(running):
    """Socket and pid file of a server that was killed do not hinder the next start."""
    pid = running.pid
    os.kill(pid, signal.SIGKILL)
    for _ in range(500):
        if not is_alive(pid):
            break
        time.sleep(0.01)
    assert (running.directory / "b.sock").exists()
    assert 3 == running.client("ping")[0]
    assert (0, "Server ready\n") == running.client("start")[:2]


def test_stop_does_not_wait_for_a_client(running):
    """A command in progress is ended by the end of the server, not the other way round."""
    sleeper = running.popen("sleep", "60")
    for _ in range(100):
        if running.json("server-status") == {"value": "Server ready"}:
            break
    began = time.monotonic()
    assert (0, "Shutdown successful\n") == running.client("stop")[:2]
    assert time.monotonic() - began < 20
    sleeper.communicate(timeout=20)


def test_a_broken_configuration_does_not_start(machine):
    """The errors are shown with file and line, and no process stays."""
    (machine.conf / "jail.conf").write_text("[one\nenabled = true\n")
    status, out, err = machine.client("start")
    assert 1 == status
    assert "jail.conf:1" in out + err
    assert 3 == machine.client("ping")[0]
    assert not (machine.directory / "b.pid").exists()


def test_the_server_stays_in_the_foreground_when_told(machine):
    """`-f start` is the server itself, and TERM ends it with status 0."""
    process = machine.popen("-f", "start")
    for _ in range(200):
        if machine.client("ping")[0] == 0:
            break
        time.sleep(0.05)
    assert process.pid == machine.pid
    process.terminate()
    process.communicate(timeout=30)
    assert 0 == process.returncode
