"""Host names to addresses, with cache and timeout (usedns)."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from banguard.jails.resolver import Resolver


class Server:
    """A name server of a test: answers, or hangs until told to go on."""

    def __init__(self, **names):
        self.names = names
        self.asked = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, name):
        self.asked.append(name)
        self.go_on.wait(20)
        answer = self.names[name.replace(".", "_")]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_answers_are_canonical_sorted_and_without_repetition(clock):
    """Addresses come as they are counted and banned: `::ffff:192.0.2.1` is 192.0.2.1."""
    server = Server(a_example=["2001:DB8:0::1", "192.0.2.9", "::ffff:192.0.2.9", "nonsense"])
    assert ("192.0.2.9", "2001:db8::1") == Resolver(clock, forward=server).addresses("A.example.")


def test_an_answer_is_kept_for_five_minutes_and_its_absence_for_one(clock):
    """The name server is asked once per name and time."""
    server = Server(known=["192.0.2.1"], unknown=socket.gaierror(socket.EAI_NONAME, "no"))
    resolver = Resolver(clock, forward=server)
    for _ in range(3):
        assert ("192.0.2.1",) == resolver.addresses("known")
        assert () == resolver.addresses("unknown")
    assert ["known", "unknown"] == server.asked
    clock.advance(60)
    resolver.addresses("known"), resolver.addresses("unknown")
    assert ["known", "unknown", "unknown"] == server.asked
    clock.advance(240)
    resolver.addresses("known")
    assert 4 == len(server.asked)


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "later"), OSError("network is down")])
def test_the_last_answer_stays_while_the_server_is_away(clock, error):
    """A name on the ignore list keeps its address when DNS is down; it would lock somebody out otherwise."""
    server = Server(home=["192.0.2.1"])
    resolver = Resolver(clock, forward=server)
    resolver.addresses("home")
    server.names["home"] = error
    clock.advance(301)
    assert ("192.0.2.1",) == resolver.addresses("home")
    server.names["home"] = socket.gaierror(socket.EAI_NONAME, "gone for good")
    clock.advance(61)
    assert () == resolver.addresses("home")


@pytest.mark.parametrize("error", [UnicodeError("label too long"), ValueError("embedded null"), socket.herror(1, "x")])
def test_a_name_that_cannot_be_asked_for_has_no_address(clock, error):
    """Text from a log may be anything."""
    assert () == Resolver(clock, forward=Server(bad=error)).addresses("bad")


@pytest.mark.parametrize("text", ["", "1", "127.1", "0x7f000001", "192.0.2.1", "a\0b", "a" * 254])
def test_what_is_no_name_is_not_asked_for(clock, text):
    """getaddrinfo would take `1` for 0.0.0.1: nobody wrote that address."""
    server = Server()
    assert () == Resolver(clock, forward=server).addresses(text)
    assert [] == server.asked


def test_a_hanging_server_holds_nobody_longer_than_the_deadline(clock):
    """Each further missed deadline is shorter; a late answer is there for the next time."""
    server = Server(slow=["192.0.2.1"], other=["192.0.2.2"])
    server.go_on.clear()
    resolver = Resolver(clock, forward=server, timeout=0.2)
    began = time.monotonic()
    assert () == resolver.addresses("slow")
    first = time.monotonic() - began
    began = time.monotonic()
    assert () == resolver.addresses("other")
    second = time.monotonic() - began
    assert second < first < 2
    assert () == resolver.addresses("slow")
    assert 2 == resolver.timeouts
    server.go_on.set()
    for thread in threading.enumerate():
        if thread.name == "look-up":
            thread.join(5)
    assert ("192.0.2.1",) == resolver.addresses("slow")
    assert ("192.0.2.2",) == resolver.addresses("other")
    assert ["slow", "other"] == sorted(server.asked, reverse=True)


def test_a_hanging_server_costs_a_limited_number_of_threads(clock):
    """A flood of names with a dead name server starts 16 helpers, not one per name."""
    server = Server()
    server.go_on.clear()
    resolver = Resolver(clock, forward=server, timeout=0.001)
    before = threading.active_count()
    for number in range(100):
        assert () == resolver.addresses(f"host{number}.example")
    assert threading.active_count() <= before + 16
    server.names = {f"host{number}_example": ["192.0.2.1"] for number in range(100)}
    server.go_on.set()


def test_the_cache_is_bounded(clock):
    """Hostile names do not fill the memory."""
    resolver = Resolver(clock, forward=lambda name: [], max_entries=10)
    for number in range(50):
        resolver.addresses(f"host{number}")
    assert 10 == len(resolver._forward._answers)


def test_two_jails_asking_for_one_name_share_the_question(clock):
    """A second asker waits for the answer that is under way."""
    server = Server(name=["192.0.2.1"])
    server.go_on.clear()
    resolver = Resolver(clock, forward=server, timeout=5)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(resolver.addresses("name"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    server.go_on.set()
    for thread in threads:
        thread.join(5)
    assert [("192.0.2.1",)] * 3 == answers
    assert ["name"] == server.asked


def test_reverse_names(clock):
    """`<ip-host>`: the name of an address, None for one without and for what is no address."""
    resolver = Resolver(clock, backward=Server(**{"192_0_2_1": "a.example", "192_0_2_2": socket.herror(1, "none")}))
    assert "a.example" == resolver.name("192.0.2.1")
    assert None is resolver.name("192.0.2.2")
    assert None is resolver.name("192.0.2.0/24")
    assert None is resolver.name("some id")


def test_own_addresses_are_asked_for_every_five_minutes(clock):
    """An interface that comes up later is one's own soon after."""
    answers = [frozenset({"192.0.2.1"}), frozenset({"192.0.2.1", "192.0.2.2"})]
    resolver = Resolver(clock, own=lambda: answers.pop(0))
    assert {"192.0.2.1"} == resolver.own_addresses() == resolver.own_addresses()
    clock.advance(300)
    assert {"192.0.2.1", "192.0.2.2"} == resolver.own_addresses()


def test_own_addresses_are_those_of_the_interfaces_while_dns_hangs(clock):
    """Looking up one's own name may hang: loopback is one's own at once all the same."""
    go_on = threading.Event()
    resolver = Resolver(clock, own=lambda: go_on.wait(20) and frozenset({"192.0.2.1"}) or frozenset(), timeout=0.05)
    assert {"127.0.0.1", "::1"} <= resolver.own_addresses()
    go_on.set()


def test_forget_asks_again(clock):
    """A full reload drops all answers."""
    server = Server(name=["192.0.2.1"])
    resolver = Resolver(clock, forward=server)
    resolver.addresses("name")
    resolver.forget()
    resolver.addresses("name")
    assert 2 == len(server.asked)


def test_the_system_resolver_answers(clock):
    """The default really asks the system: localhost is on every machine."""
    assert set(Resolver(clock).addresses("localhost")) & {"127.0.0.1", "::1"}
