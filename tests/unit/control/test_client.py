import os
import socket
import threading

import pytest

from banguard.clock import SystemClock
from banguard.control.client import Connection, ask
from banguard.errors import ControlError
from banguard.model import SourceRotated
from support.memory_server import MemoryServer, serving

MONOTONIC = SystemClock().monotonic


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "b.sock")


def impostor(path, answer):
    """A server of another kind that sends *answer* to the first client and closes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve():
        sock, _ = listener.accept()
        with sock:
            sock.recv(1000)
            if answer:
                sock.sendall(answer)
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_missing_socket_is_status_3(path):
    """The error names the path and asks the question that operators know."""
    with pytest.raises(ControlError) as raised:
        ask(path, ["ping"], MONOTONIC)
    assert (f"Failed to access socket path: {path}. Is banguard running?", 3) == (
        str(raised.value),
        raised.value.status,
    )


def test_a_socket_that_nobody_answers_is_status_3(path):
    """A file left behind is told from a running server."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    with pytest.raises(ControlError) as raised:
        ask(path, ["ping"], MONOTONIC)
    assert ("Unable to contact server. Is it running?", 3) == (str(raised.value), raised.value.status)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_socket_that_may_not_be_used_is_status_4(tmp_path, path):
    """A user without rights learns that it is about rights."""
    with serving(MemoryServer(), path):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setuid(65534)
                ask(path, ["ping"], MONOTONIC)
            except ControlError as error:
                os.write(write, f"{error.status} {error}".encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        said = os.read(read, 1000).decode()
        os.close(read)
    assert f"4 Permission denied to socket: {path}, (you must be root)" == said


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ("closed the connection", b""),
        ("not JSON", b"HTTP/1.1 400 Bad Request\r\n"),
        ("breaks off", b'{"v":1'),
        ("something else than a reply", b'{"v":1}\n'),
        ("version 1", b'{"v":9,"ok":true,"kind":"value","value":1}\n'),
    ],
)
def test_a_server_of_another_kind_is_an_error(path, expected, answer):
    """Whatever answers on the socket, the client ends with words about it."""
    thread = impostor(path, answer)
    with pytest.raises(ControlError, match=expected):
        ask(path, ["ping"], MONOTONIC)
    thread.join()


def test_a_server_that_does_not_answer_is_given_up(path):
    """The patience of a client ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with pytest.raises(ControlError, match="did not answer within 0.05 seconds"):
        ask(path, ["ping"], MONOTONIC, patience=0.05)
    listener.close()


def test_the_process_of_the_server_is_known(path):
    """`stop` waits for the end of this process."""
    with serving(MemoryServer(), path), Connection(path, MONOTONIC) as connection:
        assert connection.server_pid == os.getpid()


def test_the_end_of_the_server_is_seen(path):
    """A client that waits learns that the server has closed."""
    with serving(MemoryServer(), path):
        connection = Connection(path, MONOTONIC)
        assert not connection.wait_for_end(0.01)
    assert connection.wait_for_end(5)
    connection.close()


def test_what_goes_on_is_followed_to_its_end(path):
    """The first reply as for any command, then the others as they come."""
    api = MemoryServer()
    with serving(api, path) as server, Connection(str(path), MONOTONIC) as connection:
        replies = connection.follow(["watch"])
        assert "watching" == next(replies).value["event"]
        api.bus.publish(SourceRotated(1.0, "/a"))
        assert {"event": "log_rotated", "at": 1, "log": "/a"} == next(replies).value
        threading.Thread(target=server.close).start()
        assert [{"event": "stopped"}] == [reply.value for reply in replies]
        server.close = lambda grace: None
