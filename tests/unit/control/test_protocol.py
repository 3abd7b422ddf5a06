import json
import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.control.protocol import (
    REQUEST_LIMIT,
    LineSocket,
    ProtocolError,
    Reply,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    peer,
    refusal,
)
from banguard.errors import ControlError

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def line_socket(sock, clock, limit=1000):
    return LineSocket(sock, clock.monotonic, limit=limit)


@given(st.lists(WORDS, min_size=1))
def test_a_request_arrives_as_it_was_sent(words):
    """Any words of text travel unchanged, in one line of ASCII."""
    message = encode_request(words)
    assert (tuple(words), 1, b"\n") == (decode_request(message), message.count(b"\n"), message[-1:])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(None),
        Reply({"a": [1, 2.5, None, True]}, "status"),
        Reply("line\nline\x1b[31m", "value"),
        Reply(error="no", status=1),
        Reply(error="usage", status=2),
    ],
)
def test_a_reply_arrives_as_it_was_sent(reply):
    """Values, kinds, errors and statuses travel unchanged."""
    assert reply == decode_reply(encode_reply(reply))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"null",
        b"[]",
        b"42",
        b'{"v": 1}',
        b'{"v": 1, "command": []}',
        b'{"v": 1, "command": "status"}',
        b'{"v": 1, "command": ["set", 5]}',
        b'{"v": 1, "command": ["set", null]}',
        b'{"v": 1, "command": {"0": "x"}}',
        b'{"v": 2, "command": ["ping"]}',
        b'{"v": "1", "command": ["ping"]}',
        b'{"command": ["ping"]}',
        b"[" * 100_000,
        b'{"v":1,"command":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"v": 1, "command": ["x"' + b',""' * 100_001 + b"]}",
        b"\x80\x04\x95\x1a\x00\x00\x00",
    ],
)
def test_what_is_no_request_is_refused(message):
    """Garbage, other versions, other types, deep nesting and too many words raise ProtocolError, nothing else."""
    with pytest.raises(ProtocolError):
        decode_request(message)


@given(st.binary())
def test_random_bytes_never_raise_anything_else(data):
    """Bytes of any kind are a request or raise ControlError."""
    for decode in (decode_request, decode_reply):
        try:
            decode(data)
        except ControlError:
            pass


@pytest.mark.parametrize("word", ["a\0b", "a\udc80b"])
def test_words_that_are_no_text_are_refused(word):
    """NUL and bytes that were no UTF-8 are refused by the client, and by the server when somebody else sends them."""
    message = json.dumps({"v": 1, "command": [word]}).encode()
    for function, argument in ((encode_request, [word]), (decode_request, message)):
        with pytest.raises(ControlError) as raised:
            function(argument)
        assert raised.value.status == 2


def test_a_request_that_is_too_long_is_not_sent():
    """The client refuses by itself what the server would refuse."""
    with pytest.raises(ControlError, match="longer than"):
        encode_request(["x" * REQUEST_LIMIT])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: {2: {3}}}])
def test_a_value_that_json_cannot_hold_becomes_an_error(value):
    """The client always gets a reply, even when a command returned nonsense."""
    reply = decode_reply(encode_reply(Reply(value)))
    assert (False, 1) == (reply.ok, reply.status)
    assert reply.error.startswith("The answer cannot be sent")


@pytest.mark.parametrize(
    "message", [b"{}", b'{"v":1}', b'{"v":1,"ok":true}', b'{"v":1,"ok":false,"error":5,"status":1}', b'{"v":1,"ok":1}']
)
def test_what_is_no_reply_is_refused(message):
    """A server that is something else is told from one that refuses."""
    with pytest.raises(ProtocolError):
        decode_reply(message)


@pytest.mark.parametrize(("expected", "status"), [(1, 0), (1, 77), (1, -1), (4, 4)])
def test_a_refusal_never_ends_in_success(expected, status):
    """An error always gives one of the statuses that stand for one."""
    message = json.dumps({"v": 1, "ok": False, "error": "no", "status": status}).encode()
    assert expected == decode_reply(message).status


def test_refusals_keep_text_and_status():
    """A ControlError becomes a reply with the same words."""
    assert Reply(error="no", status=2) == refusal(ControlError("no", status=2))


# ---- LineSocket


def test_messages_are_told_apart_however_they_arrive(pair, clock):
    """Two messages in one piece, and one in many pieces, are messages of their own."""
    ours, theirs = pair
    lines = line_socket(ours, clock)
    theirs.sendall(b"one\ntwo\nth")
    assert [b"one", b"two"] == [lines.receive(1), lines.receive(1)]
    feeder = threading.Thread(target=lambda: [theirs.send(bytes((byte,))) for byte in b"ree\n"])
    feeder.start()
    assert lines.receive(1) == b"three"
    feeder.join()


def test_the_end_of_the_connection_is_no_message(pair, clock):
    """A side that closes between messages is told apart from one that breaks off within."""
    ours, theirs = pair
    lines = line_socket(ours, clock)
    theirs.sendall(b"one\n")
    theirs.close()
    assert [b"one", None] == [lines.receive(1), lines.receive(1)]


def test_a_message_that_breaks_off_is_refused(pair, clock):
    """Half a message is never taken for a whole one."""
    ours, theirs = pair
    theirs.sendall(b"half")
    theirs.close()
    with pytest.raises(ProtocolError, match="breaks off"):
        line_socket(ours, clock).receive(1)


@pytest.mark.parametrize("data", [b"x" * 1001, b"x" * 5000, b"x" * 1001 + b"\n"])
def test_a_message_that_is_too_long_is_refused(pair, clock, data):
    """No more than the limit is ever kept, whether the end comes or not."""
    ours, theirs = pair
    theirs.sendall(data)
    with pytest.raises(ProtocolError, match="longer than 1000"):
        line_socket(ours, clock).receive(1)


def test_a_message_of_exactly_the_limit_passes(pair, clock):
    """The limit itself is allowed."""
    ours, theirs = pair
    theirs.sendall(b"x" * 1000 + b"\n")
    assert 1000 == len(line_socket(ours, clock).receive(1))


def test_a_silent_side_is_not_waited_for_longer_than_told(pair, clock):
    """Patience ends for the first byte."""
    with pytest.raises(TimeoutError):
        line_socket(pair[0], clock).receive(0.01)


def test_a_message_in_drops_has_one_deadline():
    """Sending a byte now and then does not make the time for a message longer."""

    class Drops:
        """A socket that gives one byte at a time, and a clock on which each takes a second."""

        now = 0.0
        received = 0

        def settimeout(self, seconds):
            pass

        def recv(self, _):
            self.now += 1.0
            self.received += 1
            return b"x"

        def monotonic(self):
            return self.now

    drops = Drops()
    with pytest.raises(TimeoutError, match="too long"):
        LineSocket(drops, drops.monotonic, limit=1000).receive(30, message_seconds=5)
    assert 6 == drops.received


def test_sending_to_a_side_that_does_not_read_ends(pair, clock):
    """A client that never reads its reply cannot hold a thread."""
    with pytest.raises(TimeoutError):
        line_socket(pair[0], clock).send(b"x" * 10_000_000, seconds=0.05)


def test_another_thread_can_end_the_wait(pair, clock):
    """`shutdown` is what wakes a thread that waits for a client."""
    lines = line_socket(pair[0], clock)
    found = []
    waiter = threading.Thread(target=lambda: found.append(lines.receive(5)))
    waiter.start()
    lines.shutdown()
    waiter.join()
    assert [None] == found
    pair[0].close()
    lines.shutdown()


def test_the_system_tells_who_is_there(pair):
    """Process and user of the other side come from the kernel."""
    assert (os.getpid(), os.geteuid()) == peer(pair[0])
