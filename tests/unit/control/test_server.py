import json
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from banguard.clock import SystemClock
from banguard.control.client import Connection, ask
from banguard.control.protocol import REQUEST_LIMIT, Reply
from banguard.control.server import ControlServer, inherited, is_answered, listen
from banguard.errors import ControlError
from support.memory_server import MemoryServer, serving

MONOTONIC = SystemClock().monotonic


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "b.sock"


def raw(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(str(path))
    return sock


def read_all(sock):
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


# ---- listening


def test_the_socket_is_for_its_owner_alone(path):
    """Directory and socket are made; nobody but the owner may connect."""
    listen(str(path)).close()
    assert (True, 0o600) == (stat.S_ISSOCK(os.stat(path).st_mode), stat.S_IMODE(os.stat(path).st_mode))


def test_the_mode_does_not_depend_on_the_umask(path):
    """An open umask does not open the socket."""
    old = os.umask(0)
    try:
        listen(str(path)).close()
    finally:
        os.umask(old)
    assert 0o600 == stat.S_IMODE(os.stat(path).st_mode)


def test_a_socket_left_behind_is_replaced(path):
    """What a killed server left does not hinder the next one."""
    listen(str(path)).close()
    assert not is_answered(str(path))
    listen(str(path)).close()


def test_a_socket_that_somebody_answers_is_left_alone(path):
    """A second server refuses to start, unless it is forced to."""
    with serving(MemoryServer(), path):
        with pytest.raises(ControlError, match="Another server answers"):
            listen(str(path))
        assert ask(str(path), ["ping"], MONOTONIC).value == "pong"
        listen(str(path), force=True).close()


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_socket_is_never_removed(path, force):
    """A file at the place of the socket is somebody's file."""
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ControlError, match="something else than a socket"):
        listen(str(path), force=force)
    assert path.read_text() == "precious"


def test_a_link_to_a_socket_elsewhere_is_not_followed(path, tmp_path):
    """A symbolic link planted at the place of the socket is refused."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ControlError):
        listen(str(path))


def test_a_place_that_cannot_be_is_named(tmp_path):
    """The error says which path and why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ControlError, match="Cannot listen on the socket .*file/b.sock"):
        listen(str(tmp_path / "file" / "b.sock"))
    with pytest.raises(ControlError, match="Cannot listen"):
        listen(str(tmp_path / ("x" * 200)))


def test_a_socket_of_systemd_is_taken_over(path):
    """The first listening Unix socket from descriptor 3 on is used, only by the process it is meant for."""
    program = (
        "import os, sys, socket\n"
        "from banguard.control.server import inherited\n"
        "listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()\n"
        "os.dup2(listener.fileno(), 4); os.dup2(os.open('/dev/null', os.O_RDONLY), 3)\n"
        "environ = {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '2'}\n"
        "print(inherited(environ, os.getpid()).getsockname(), inherited(environ, 1), inherited({}, os.getpid()))\n"
        "os._exit(sys.stdout.flush() or 0)\n"
    )
    path.parent.mkdir()
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30)
    assert (f"{path} None None\n", "") == (done.stdout, done.stderr)


def test_no_socket_of_systemd_is_no_error():
    """Without systemd there is nothing to take over."""
    assert inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}, os.getpid()) is None


# ---- answering


def test_one_connection_carries_many_commands(path):
    """Each command gets its own reply, in order."""
    with serving(MemoryServer().with_jail(), path), Connection(str(path), MONOTONIC) as connection:
        replies = [connection.ask(words) for words in (["ping"], ["nonsense"], ["echo", "a", "b"])]
    assert ["pong", None, "a b"] == [reply.value for reply in replies]
    assert [0, 2, 0] == [reply.status for reply in replies]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x04\x95\x1c\x00\n",
        b"\xff" * 100 + b"\n",
        b"[" * 200_000 + b"\n",
        b'{"v":1,"command":' + b'{"a":' * 50_000 + b"\n",
        b"\n",
    ],
)
def test_garbage_is_answered_and_the_connection_closed(path, data):
    """A client that does not speak the protocol is told so once; the server goes on."""
    with serving(MemoryServer(), path):
        with raw(path) as sock:
            sock.sendall(data)
            lines = read_all(sock).splitlines()
        assert 1 == len(lines)
        assert (False, 2) == (json.loads(lines[0])["ok"], json.loads(lines[0])["status"])
        assert ask(str(path), ["ping"], MONOTONIC).ok


def test_a_huge_line_is_cut_off(path):
    """A line without end is refused when it reaches the limit; the server keeps no more of it."""
    with serving(MemoryServer(), path):
        with raw(path) as sock:
            try:
                for _ in range(REQUEST_LIMIT // 65536 + 64):
                    sock.sendall(b"x" * 65536)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert b"longer than" in read_all(sock)
        assert ask(str(path), ["ping"], MONOTONIC).ok


def test_a_client_that_hangs_up_harms_nobody(path):
    """Connections that end within a request, or without reading the reply, leave the server as it was."""
    with serving(MemoryServer().with_jail(), path) as server:
        for data in (b"", b'{"v":1,"comm', b'{"v":1,"command":["status","sshd"]}\n'):
            with raw(path) as sock:
                sock.sendall(data)
        assert ask(str(path), ["ping"], MONOTONIC).ok
        assert server.path == str(path)


def test_a_mistake_in_a_command_is_reported(path, caplog):
    """An exception nobody foresaw is logged and answered, and the connection goes on."""

    def broken(words):
        raise ZeroDivisionError("oops")

    with serving(MemoryServer(), path, execute=broken), Connection(str(path), MONOTONIC) as connection:
        replies = [connection.ask(["ping"]) for _ in range(2)]
    assert [Reply(error="Internal error: ZeroDivisionError('oops')", status=1)] * 2 == replies
    assert "A command failed" in caplog.text


def test_a_silent_client_delays_nobody(path):
    """While one client says nothing and one sends in drops, others are served at once."""
    with serving(MemoryServer(), path), raw(path) as silent, raw(path) as slow:
        slow.sendall(b'{"v":')
        for _ in range(5):
            assert ask(str(path), ["ping"], MONOTONIC, patience=5).ok
        assert silent.fileno() > 0


def test_a_client_in_drops_is_cut_off(path):
    """A request that does not end within its time ends the connection."""
    with serving(MemoryServer(), path, message_seconds=0.05), raw(path) as slow:
        slow.sendall(b'{"v":')
        assert read_all(slow) == b""


def test_a_silent_client_is_closed_after_a_while(path):
    """Nobody keeps a place for ever by saying nothing."""
    with serving(MemoryServer(), path, idle_seconds=0.05), raw(path) as silent:
        assert read_all(silent) == b""


def test_silent_clients_give_their_place_to_newcomers(path):
    """When all places are taken, the one that was silent for longest goes."""
    with serving(MemoryServer(), path, max_clients=3, evict_seconds=0.05):
        silent = [raw(path) for _ in range(6)]
        for _ in range(3):
            assert ask(str(path), ["ping"], MONOTONIC, patience=10).ok
        for sock in silent:
            sock.close()


def test_a_busy_client_keeps_its_place(path):
    """A command in progress is never cut off to make room."""
    begun, go = threading.Event(), threading.Event()

    def execute(words):
        begun.set()
        go.wait(10)
        return Reply(words[0])

    with serving(MemoryServer(), path, execute=execute, max_clients=1, evict_seconds=0.0):
        replies = []
        first = threading.Thread(target=lambda: replies.append(ask(str(path), ["first"], MONOTONIC)))
        first.start()
        assert begun.wait(10)
        second = threading.Thread(target=lambda: replies.append(ask(str(path), ["second"], MONOTONIC)))
        second.start()
        go.set()
        first.join()
        second.join()
    assert ["first", "second"] == sorted(reply.value for reply in replies)


def test_two_hundred_clients_at_once_all_get_their_answer(path):
    """More clients than places wait in line and none is lost."""
    api = MemoryServer().with_jail()
    failures = []

    def client(number):
        try:
            reply = ask(str(path), ["set", "sshd", "banip", f"10.0.0.{number}"], MONOTONIC, patience=60)
            if reply.value != 1:
                failures.append(reply)
        except ControlError as error:
            failures.append(error)

    with serving(api, path):
        threads = [threading.Thread(target=client, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ([], 200) == (failures, len(api.bans["sshd"]))


# ---- who may


def test_another_user_is_refused_even_when_the_file_lets_it_in(path):
    """Whoever can open the socket and is neither root nor the server's user gets status 4, and nothing is done."""
    api = MemoryServer().with_jail()
    if os.geteuid() != 0:
        with serving(api, path, uids=[12345]):
            assert 4 == ask(str(path), ["set", "sshd", "banip", "192.0.2.1"], MONOTONIC).status
    else:
        with serving(api, path):
            os.chmod(path, 0o666)  # noqa: S103  wide open on purpose
            for directory in (path.parent, *path.parent.parents):
                if str(directory).startswith("/tmp/"):
                    os.chmod(directory, 0o755)  # noqa: S103  nobody has to get there
            assert (4, b"no permission") == _as_nobody(str(path))
            assert ask(str(path), ["ping"], MONOTONIC).ok
    assert {} == api.bans["sshd"]


def _as_nobody(path):
    """Ask for a ban in a child that runs as nobody; return status and the words of the refusal."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            reply = ask(path, ["set", "sshd", "banip", "192.0.2.1"], MONOTONIC)
            os.write(write, f"{reply.status} {reply.error}".encode())
        except ControlError as error:
            os.write(write, f"{error.status} raised {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    status, _, text = os.read(read, 1000).partition(b" ")
    os.close(read)
    return int(status), b"no permission" if b"no permission" in text else text


# ---- ending


def test_the_socket_file_is_removed_at_the_end(path):
    """A server that ended leaves no socket behind."""
    with serving(MemoryServer(), path):
        assert path.exists()
    assert not path.exists()


def test_the_socket_file_of_a_successor_is_left_alone(path):
    """A server that ends late does not take away the socket of the next one."""
    with serving(MemoryServer(), path):
        successor = listen(str(path), force=True)
    assert path.exists()
    successor.close()


def test_a_command_in_progress_is_finished(path):
    """Closing waits for the command that runs and lets its reply through."""
    begun = threading.Event()
    replies = []

    def execute(words):
        begun.set()
        closing.wait(10)
        return Reply("done")

    closing = threading.Event()
    stop = threading.Event()
    server = ControlServer(listen(str(path)), execute, clock=SystemClock())
    runner = threading.Thread(target=server.run, args=(stop,))
    runner.start()
    client = threading.Thread(target=lambda: replies.append(ask(str(path), ["x"], MONOTONIC)))
    client.start()
    assert begun.wait(10)
    closer = threading.Thread(target=server.close)
    closer.start()
    closing.set()
    for thread in (closer, client, runner):
        thread.join(10)
    assert ["done"] == [reply.value for reply in replies]


def test_idle_clients_do_not_hold_up_the_end(path):
    """Closing ends silent connections at once."""
    with serving(MemoryServer(), path, idle_seconds=60):
        idle = raw(path)
        ask(str(path), ["ping"], MONOTONIC)
    assert read_all(idle) == b""
    idle.close()


def test_commands_are_refused_while_the_server_ends(path):
    """After `refuse` every command gets the same error and nothing is carried out."""
    api = MemoryServer().with_jail()
    with serving(api, path) as server:
        server.refuse("The server is stopping")
        reply = ask(str(path), ["set", "sshd", "banip", "192.0.2.1"], MONOTONIC)
    assert (Reply(error="The server is stopping", status=1), {}) == (reply, api.bans["sshd"])
