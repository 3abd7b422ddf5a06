import os
import socket
import subprocess
import sys

import pytest

from banguard.daemon.process import Notifier, PidFile, give_back_memory
from banguard.errors import ControlError


def python(program, *arguments, **settings):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=30, **settings
    )


# ---- pid file


def test_the_pid_file_holds_the_process_id(tmp_path):
    """The directory is made, the content is the id with a newline, and the end removes it."""
    path = tmp_path / "run" / "b.pid"
    file = PidFile(str(path))
    file.acquire()
    assert f"{os.getpid()}\n" == path.read_text()
    file.release()
    assert not path.exists()
    file.release()


def test_a_second_server_is_refused(tmp_path):
    """The lock holds between processes; the error names file and process, the file stays as it is."""
    path = tmp_path / "b.pid"
    file = PidFile(str(path))
    file.acquire()
    done = python(
        "import sys; from banguard.daemon.process import PidFile; from banguard.errors import ControlError\n"
        "try: PidFile(sys.argv[1]).acquire()\n"
        "except ControlError as error: print(error)\n",
        path,
    )
    assert f"Server already running (pid file {path} is in use, process {os.getpid()})\n" == done.stdout
    assert f"{os.getpid()}\n" == path.read_text()
    file.release()


@pytest.mark.parametrize("content", ["", "1\n", "garbage", "99999999\n" * 100])
def test_a_pid_file_left_behind_is_taken_over(tmp_path, content):
    """What a killed server left does not matter, whatever it says: nobody holds its lock."""
    path = tmp_path / "b.pid"
    path.write_text(content)
    file = PidFile(str(path))
    file.acquire()
    assert f"{os.getpid()}\n" == path.read_text()
    file.release()


def test_the_pid_file_of_another_server_is_not_removed(tmp_path):
    """A server whose file was replaced leaves the new one alone."""
    path = tmp_path / "b.pid"
    file = PidFile(str(path))
    file.acquire()
    path.unlink()
    path.write_text("4711\n")
    file.release()
    assert "4711\n" == path.read_text()


def test_a_pid_file_that_cannot_be_written_is_an_error(tmp_path):
    """The path is named; a link planted in its place is not followed."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path / "file" / "b.pid", tmp_path / "link"):
        with pytest.raises(ControlError, match="Cannot write the pid file"):
            PidFile(str(path)).acquire()
    assert not (tmp_path / "target").exists()


def test_the_lock_is_not_inherited_by_programs(tmp_path):
    """A program that outlives us does not keep the pid file in use."""
    path = tmp_path / "b.pid"
    file = PidFile(str(path))
    file.acquire()
    child = subprocess.Popen(["sleep", "30"])
    file.release()
    again = PidFile(str(path))
    again.acquire()
    again.release()
    child.kill()
    child.wait()


# ---- background

DAEMON = """
import os, sys, time
from banguard.daemon.process import Started, daemonise
outcome = daemonise(float(sys.argv[2]))
if isinstance(outcome, Started):
    print("starter:", outcome.status, outcome.message)
    sys.exit(outcome.status)
{body}
with open(sys.argv[1] + ".new", "w") as file:
    print(os.getcwd(), os.getsid(0) != os.getpid(), os.umask(0), os.readlink("/proc/self/fd/0"),
          os.readlink("/proc/self/fd/1"), file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
os._exit(0)
"""


def wait_for(path):
    import time

    for _ in range(500):
        if path.exists():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def test_a_daemon_leaves_terminal_and_directory(tmp_path):
    """Working directory, umask, session and descriptors are those of a daemon; the starter ends with its report."""
    path = tmp_path / "seen"
    done = python(DAEMON.format(body="outcome.send(0, 'ready')"), path, 20)
    assert (0, "starter: 0 ready\n", "") == (done.returncode, done.stdout, done.stderr)
    assert "/ True 63 /dev/null /dev/null\n" == wait_for(path)


def test_a_daemon_that_fails_lets_its_starter_fail(tmp_path):
    """Status and message reach whoever called."""
    done = python(DAEMON.format(body="outcome.send(1, 'no such ä'); outcome.send(0)"), tmp_path / "seen", 20)
    assert (1, "starter: 1 no such ä\n") == (done.returncode, done.stdout)
    wait_for(tmp_path / "seen")


def test_a_daemon_that_dies_is_noticed(tmp_path):
    """A crash before the report is an error, at once."""
    done = python(DAEMON.format(body="os._exit(7)"), tmp_path / "seen", 20)
    assert (1, "starter: 1 The server ended before it was ready\n") == (done.returncode, done.stdout)


def test_a_daemon_that_is_never_ready_is_not_waited_for(tmp_path):
    """The starter gives up after its patience."""
    done = python(DAEMON.format(body="sys.stdout.close(); time.sleep(0.5)"), tmp_path / "seen", 0.1)
    assert (1, "starter: 1 The server was not ready within 0.1 seconds\n") == (done.returncode, done.stdout)


def test_the_process_shows_its_name():
    """ps and top show the first 15 characters."""
    done = python(
        "from banguard.daemon.process import set_process_name; set_process_name('a-name-that-is-long');"
        "print(open('/proc/self/comm').read())"
    )
    assert "a-name-that-is-" == done.stdout.strip()


# ---- systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A service manager's socket, in the file system or abstract; gives its address and what it receives."""
    name = str(tmp_path / "notify") if request.param == "path" else f"\0banguard-test-{os.getpid()}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind(name)
    yield name.replace("\0", "@"), lambda: sock.recv(4096).decode()
    sock.close()


def test_systemd_hears_of_each_state(manager, clock):
    """READY, RELOADING with its time, STOPPING, STATUS and WATCHDOG arrive as sd_notify(3) has them."""
    address, received = manager
    clock.ticks = 12.5
    notifier = Notifier({"NOTIFY_SOCKET": address}, clock=clock)
    notifier.ready("2 jails:\nsshd, web")
    assert "READY=1\nSTATUS=2 jails: sshd, web" == received()
    notifier.reloading()
    assert "RELOADING=1\nMONOTONIC_USEC=12500000" == received()
    notifier.stopping()
    assert "STOPPING=1" == received()
    notifier.status("fine")
    assert "STATUS=fine" == received()
    notifier.watchdog()
    assert "WATCHDOG=1" == received()


def test_programs_we_start_do_not_speak_for_us(clock):
    """The variables are taken out of the environment."""
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    Notifier(environ, clock=clock)
    assert {"HOME": "/"} == environ


@pytest.mark.parametrize(
    ("expected", "environ"),
    [
        (None, {}),
        (15.0, {"WATCHDOG_USEC": "30000000"}),
        (15.0, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}),
        (None, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}),
        (None, {"WATCHDOG_USEC": "0"}),
        (None, {"WATCHDOG_USEC": "soon"}),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(clock, expected, environ):
    """Half of what systemd allows; nothing when it watches nobody or another process."""
    assert expected == Notifier(dict(environ), clock=clock).watchdog_seconds


@pytest.mark.parametrize("address", ["", "/nonexistent/socket", "vsock:2:1", "@nobody-listens"])
def test_no_service_manager_is_no_trouble(clock, address):
    """Without systemd, or when it went away, nothing is raised."""
    notifier = Notifier({"NOTIFY_SOCKET": address} if address else {}, clock=clock)
    notifier.ready()
    notifier.watchdog()


def test_memory_is_given_back_where_the_system_can():
    """Asking is harmless, wherever it runs."""
    assert give_back_memory() is None
