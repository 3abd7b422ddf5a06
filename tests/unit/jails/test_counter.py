"""Failure counter: maxretry within findtime, in bounded memory."""

from __future__ import annotations

import tracemalloc

import pytest

from banguard.jails.counter import FailureCounter
from banguard.model import FailureState

T = 1_800_000_000.0


def make(maxretry=3, findtime=600.0, **options):
    return FailureCounter(maxretry=maxretry, findtime=findtime, **options)


@pytest.mark.parametrize(
    ("times", "reached_at"),
    [
        ((0, 1, 2), 2),
        ((0, 300, 600), 2),
        ((0, 300, 600.001), None),
        ((0, 599, 601, 602), 3),
        ((0, 599, 1198, 1797, 2396), None),
        ((0, 0, 0), 2),
        ((600, 0, 300), 2),
        ((601, 0, 300), None),
        ((601, 0, 300, 400), 3),
        ((1000, 500, 400, 401), 2),
        ((0, 700, 100, 101), 3),
    ],
)
def test_reaches_the_limit_exactly_when_maxretry_failures_lie_within_findtime(times, reached_at):
    """The first and the last of maxretry failures are at most findtime apart, in whatever order they come."""
    counter = make()
    results = [counter.add("192.0.2.1", T + at) for at in times]
    first = next((index for index, result in enumerate(results) if result is not None), None)
    assert reached_at == first


def test_reaching_the_limit_forgets_the_host():
    """After a ban a host has to fail afresh."""
    counter = make(maxretry=2)
    counter.add("192.0.2.1", T)
    assert counter.add("192.0.2.1", T + 1) is not None
    assert counter.add("192.0.2.1", T + 2) is None
    assert counter.add("192.0.2.1", T + 3) is not None


def test_maxretry_of_one_bans_at_the_first_failure():
    """`maxretry = 1` needs no second failure, and keeps nothing."""
    counter = make(maxretry=1)
    reached = counter.add("192.0.2.1", T, ["a line"], {"user": "root"})
    assert (T, 1, ("a line",), {"user": "root"}) == (reached.at, reached.failures, reached.matches, reached.data)
    assert len(counter) == 0


def test_a_reached_limit_tells_failures_in_the_window_and_its_last_time():
    """Failures before the window do not count, and a late line does not move the time back."""
    counter = make(maxretry=3, findtime=100)
    counter.add("h", T)
    counter.add("h", T + 150)
    counter.add("h", T + 160)
    reached = counter.add("h", T + 155)
    assert (3, T + 160) == (reached.failures, reached.at)


def test_captured_data_of_the_newest_failure_wins_and_what_only_an_earlier_one_had_stays():
    """Actions see the last user name tried, and everything else that was ever captured."""
    counter = make(maxretry=2)
    counter.add("h", T, data={"user": "root", "port": "22"})
    assert {"user": "admin", "port": "22"} == counter.add("h", T, data={"user": "admin"}).data


@pytest.mark.parametrize(("keep", "expected"), [(0, ()), (1, ("d",)), (3, ("b", "c", "d")), (9, ("a", "b", "c", "d"))])
def test_keeps_the_newest_maxmatches_lines(keep, expected):
    """`maxmatches` limits the lines that go with a ban; 0 keeps none."""
    counter = make(maxretry=3, maxmatches=keep)
    counter.add("h", T, ["a"])
    counter.add("h", T, ["b", "c"])
    assert expected == counter.add("h", T, ["d"]).matches


def test_an_attempt_counts_as_many_failures_as_it_says():
    """`attempt` with several lines adds several retries at once."""
    counter = make(maxretry=3)
    assert counter.add("h", T, failures=2) is None
    assert 3 == counter.add("h", T).failures
    assert 10 == counter.add("h", T, ["x"] * 10, failures=10).failures


def test_extra_weight_counts_towards_the_limit_but_not_as_failures():
    """A known offender is banned sooner; the report still tells how often it really failed."""
    counter = make(maxretry=5)
    assert counter.add("h", T, extra=2) is None
    assert 2 == counter.add("h", T + 1, extra=2).failures


def test_the_host_that_did_not_fail_for_longest_is_dropped_when_there_are_too_many():
    """The table has a limit; who is active stays, and the dropped ones are counted."""
    counter = make(maxretry=3, max_hosts=3)
    for host in ("a", "b", "c"):
        counter.add(host, T)
    counter.add("a", T + 1)
    counter.add("d", T + 2)
    assert (3, 1) == (len(counter), counter.dropped)
    assert counter.add("a", T + 3) is not None
    assert counter.add("b", T + 4) is None


def test_an_attacker_among_very_many_hosts_is_found():
    """A flood of distinct hosts within the limit does not hide one that fails again and again."""
    counter = make(maxretry=3, max_hosts=10_000)
    found = None
    for number in range(60_000):
        if number % 9_000 == 0:
            found = found or counter.add("attacker", T + number / 1000)
        counter.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", T + number / 1000)
    assert found is not None
    assert len(counter) <= 10_000
    assert counter.dropped >= 50_000


def test_a_flood_of_distinct_hosts_stays_small():
    """Memory follows the limits, not the number of hosts that ever failed."""
    counter = make(maxretry=5, max_hosts=2_000, max_text=400_000)
    tracemalloc.start()
    for number in range(12_000):
        line = f"Nov 20 22:27:27 host sshd[{number}]: Failed password for root from {number} port 1 ssh2" * 2
        counter.add(f"2001:db8::{number:x}", T + number / 100, [line], {"user": f"user{number}"})
        if number % 1000 == 0:
            counter.changes()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 2_500_000


def test_lines_are_given_up_before_counts_when_text_takes_too_much():
    """Above *max_text* the hosts silent for longest lose their lines; they are still found at the limit."""
    counter = make(maxretry=2, max_text=10_000, maxmatches=5)
    for number in range(100):
        counter.add(f"host{number}", T, ["x" * 500])
    assert counter.text_size <= 10_000
    assert 100 == len(counter)
    assert ("new",) == counter.add("host0", T, ["new"]).matches


def test_hosts_expire_once_their_failures_cannot_matter_any_more():
    """A failure may be joined by late lines up to findtime old, which reach back findtime again."""
    counter = make(findtime=100)
    counter.add("old", T)
    counter.add("new", T + 150)
    assert 0 == counter.expire(T + 200)
    assert 1 == counter.expire(T + 200.5)
    assert 1 == len(counter)


def test_late_lines_count_with_a_short_findtime():
    """A findtime of a second does not forget a host before the next late line of it has come."""
    counter = make(maxretry=2, findtime=1)
    counter.add("h", T)
    counter.expire(T + 5)
    assert counter.add("h", T + 0.5) is not None


def test_count_tells_the_hosts_that_failed_within_findtime():
    """`Currently failed` drops a host when its last failure is findtime old."""
    counter = make(findtime=100)
    counter.add("old", T)
    counter.add("new", T + 50)
    assert [2, 1, 0] == [counter.count(T + seconds) for seconds in (99, 100, 150)]


def test_changes_tell_each_host_once_and_what_is_gone():
    """A report holds the newest state of each host that changed; one that never was told needs no farewell."""
    counter = make(maxretry=3)
    counter.add("a", T, ["one"])
    counter.add("a", T + 1, ["two"], {"user": "x"})
    counter.add("b", T)
    expected = (FailureState("a", (T, T + 1), ("one", "two"), {"user": "x"}), FailureState("b", (T,)))
    assert expected == counter.changes()
    assert () == counter.changes()
    counter.add("a", T + 2)
    for _ in range(3):
        counter.add("never told", T)
    assert (FailureState("a", ()),) == counter.changes()
    counter.forget("b")
    counter.add("b", T + 5)
    assert (FailureState("b", (T + 5,)),) == counter.changes()


def test_restored_state_counts_on():
    """What one run saved, the next goes on from; states are told as gone later."""
    first = make(maxretry=3)
    first.add("a", T, ["one"], {"user": "x"})
    first.add("a", T + 1)
    second = make(maxretry=3)
    second.restore(first.changes())
    assert () == second.changes()
    reached = second.add("a", T + 2, ["two"])
    assert (3, ("one", "two"), {"user": "x"}) == (reached.failures, reached.matches, reached.data)
    assert (FailureState("a", ()),) == second.changes()


def test_new_limits_hold_from_the_next_failure_on():
    """`set J maxretry` does not act backwards by itself."""
    counter = make(maxretry=5)
    counter.add("a", T)
    counter.add("a", T)
    counter.configure(maxretry=2, findtime=600, maxmatches=5)
    assert counter.add("a", T) is not None


def test_total_counts_every_failure():
    """`Total failed` counts failures, banned hosts' included."""
    counter = make(maxretry=2)
    counter.add("a", T)
    counter.add("a", T)
    counter.add("b", T, failures=4)
    assert 6 == counter.total
