import socket
import struct
import threading

import pytest

from banguard.cli.cymru import Resolver, UnknownName, add_origins, nameservers, origin, origins
from banguard.control.protocol import Reply

ANSWERS = {
    "1.2.0.192.origin.asn.cymru.com": ["64500 64501 | 192.0.2.0/24 | ZZ | arin | 2001-01-01"],
    "2.2.0.192.origin.asn.cymru.com": ["64500 64501 | 192.0.2.0/24 | ZZ | ripencc | "],
    "3.2.0.192.origin.asn.cymru.com": ["strange"],
}


def lookup(name):
    if name.startswith("9."):
        raise OSError("no answer")
    if name not in ANSWERS:
        raise UnknownName
    return ANSWERS[name]


@pytest.mark.parametrize(
    ("expected", "hosts"),
    [
        ({"asn": [], "country": [], "rir": []}, []),
        ({"asn": ["64500 64501"], "country": ["ZZ"], "rir": ["arin", "ripencc"]}, ["192.0.2.1", "192.0.2.2"]),
        ({"asn": ["unknown"], "country": ["unknown"], "rir": ["unknown"]}, ["alice", "192.0.2.3"]),
        ({"asn": ["nxdomain"], "country": ["nxdomain"], "rir": ["nxdomain"]}, ["192.0.2.4", "2001:db8::1"]),
        ({"asn": ["error"], "country": ["error"], "rir": ["error"]}, ["192.0.2.9"]),
    ],
)
def test_origins_of_hosts_are_listed_once(expected, hosts):
    """Distinct answers in their order; what cannot be found is filled in with a word."""
    assert expected == origins(hosts, lookup)


def test_ipv6_addresses_are_asked_for_nibble_by_nibble():
    """The zone for IPv6 is another one."""
    asked = []
    origins(["2001:db8::1"], lambda name: asked.append(name) or [])
    assert [f"1.{'0.' * 23}8.b.d.0.1.0.0.2.origin6.asn.cymru.com"] == asked


def test_only_so_many_addresses_are_given_away():
    """A jail with very many bans does not become a flood of questions."""
    asked = []
    origins([f"10.0.{number // 250}.{number % 250}" for number in range(1000)], lambda name: asked.append(name) or [])
    assert 256 == len(asked)


def test_the_lists_are_added_to_the_status():
    """A status of another shape is left as it is."""
    reply = Reply({"actions": {"banned": [{"id": "192.0.2.1"}]}}, "status_jail_cymru")
    add_origins(reply, lookup)
    assert ["ZZ"] == reply.value["actions"]["cymru"]["country"]
    for value in (None, {}, {"actions": 5}):
        add_origins(Reply(value), lookup)


def test_name_servers_are_read_from_resolv_conf(tmp_path):
    """Comments and other words are passed over; without any, this machine is asked."""
    path = tmp_path / "resolv.conf"
    path.write_text("# nameserver 1.1.1.1\nsearch example\nnameserver 192.0.2.53\nnameserver\nnameserver ::1\n")
    assert ["192.0.2.53", "::1"] == nameservers(str(path))
    assert ["127.0.0.1"] == nameservers(str(tmp_path / "missing"))


class NameServer:
    """A name server on a socket of this machine; *answer* makes the replies to a question."""

    def __init__(self, answer):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10)
        self.port = self.sock.getsockname()[1]
        self.questions = []
        self.thread = threading.Thread(target=self.run, args=(answer,))
        self.thread.start()

    def run(self, answer):
        while True:
            data, client = self.sock.recvfrom(4096)
            if data == b"end":
                return
            self.questions.append(data)
            for reply in answer(data):
                self.sock.sendto(reply, client)

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", ("127.0.0.1", self.port))
        self.thread.join()
        self.sock.close()


def txt(question, *texts, flags=0x8180):
    body = question[12:]
    records = b"".join(
        struct.pack(">HHHIH", 0xC00C, 16, 1, 60, len(text) + 1) + bytes((len(text),)) + text for text in texts
    )
    return question[:2] + struct.pack(">5H", flags, 1, len(texts), 0, 0) + body + records


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        (["a | b", "c"], lambda question: [txt(question, b"a | b", b"c")]),
        ([], lambda question: [txt(question)]),
        (["yes"], lambda question: [b"\0\0garbage", b"", txt(question, b"yes")]),
        (UnknownName, lambda question: [txt(question, flags=0x8183)]),
        (ValueError, lambda question: [txt(question, flags=0x8182)]),
        (ValueError, lambda question: [txt(question, b"text")[:-3]]),
        (ValueError, lambda question: [question[:2] + struct.pack(">5H", 0x8180, 1, 9, 0, 0) + question[12:]]),
        (TimeoutError, lambda question: [b"\0\0"] * 8),
        (TimeoutError, lambda question: []),
    ],
)
def test_a_name_server_is_asked_for_texts(expected, answer):
    """Answers, refusals, garbage and silence of a real socket are told apart."""
    server = NameServer(answer)
    try:
        resolver = Resolver(["127.0.0.1"], port=server.port, seconds=0.3)
        if isinstance(expected, list):
            assert expected == resolver.texts("1.2.0.192.origin.asn.cymru.com")
        else:
            with pytest.raises(expected):
                resolver.texts("1.2.0.192.origin.asn.cymru.com")
    finally:
        server.close()
    assert b"\x011\x012\x010\x03192\x06origin\x03asn\x05cymru\x03com\x00" in server.questions[0]


def test_silent_name_servers_are_given_up():
    """After three failures nobody waits any more."""
    server = NameServer(lambda question: [])
    resolver = Resolver(["127.0.0.1"], port=server.port, seconds=0.01)
    for _ in range(5):
        with pytest.raises(OSError):
            resolver.texts("x.example")
    server.close()
    assert 3 == len(server.questions)


def test_a_network_belongs_where_its_first_address_does():
    """One host at a time is asked about for a table of bans."""
    asked = []

    def lookup(name):
        asked.append(name)
        return ["64500 | 192.0.2.0/24 | ZZ | test | 2000-01-01"]

    assert ("64500", "ZZ", "test") == origin("192.0.2.0/24", lookup)
    assert ["0.2.0.192.origin.asn.cymru.com"] == asked
    assert ("unknown", "unknown", "unknown") == origin("alice", lookup)
