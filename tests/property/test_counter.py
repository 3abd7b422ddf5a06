"""The failure counter against a model that forgets nothing and looks at everything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.jails.counter import FailureCounter

T = 1_800_000_000.0
HOSTS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")

limits = st.tuples(st.integers(1, 5), st.sampled_from([1.0, 10.0, 600.0]))
# A step forward of the clock, and how much older than that the line is (as a part of findtime).
steps = st.lists(
    st.tuples(
        st.sampled_from(HOSTS), st.integers(0, 12), st.sampled_from([0, 0, 0, 0.1, 0.5, 0.9, 1.0]), st.integers(1, 3)
    ),
    max_size=60,
)


class Model:
    """All failures of a host since its last ban; every window is tried."""

    def __init__(self, maxretry, findtime):
        self.maxretry = maxretry
        self.findtime = findtime
        self.times = {}

    def add(self, host, at, weight):
        times = self.times.setdefault(host, [])
        times.extend([at] * weight)
        for start in times:
            inside = [time for time in times if 0 <= time - start <= self.findtime]
            if len(inside) >= self.maxretry:
                del self.times[host]
                return True
        return False


@settings(max_examples=300)
@given(limits, steps)
def test_counter_agrees_with_the_naive_model(limit, sequence):
    """Whatever the order, a ban is decided exactly when some window of findtime holds maxretry failures."""
    maxretry, findtime = limit
    counter = FailureCounter(maxretry=maxretry, findtime=findtime)
    model = Model(maxretry, findtime)
    now = T
    for host, forward, back, weight in sequence:
        now += forward * findtime / 10
        at = now - back * findtime
        reached = counter.add(host, at, failures=1, extra=min(weight, maxretry) - 1)
        assert model.add(host, at, min(weight, maxretry)) == (reached is not None)
        counter.expire(now)


@settings(max_examples=150)
@given(limits, steps, st.integers(0, 59))
def test_a_restart_between_any_two_failures_changes_nothing(limit, sequence, cut):
    """A counter rebuilt from the deltas it reported decides as the one that was never stopped."""
    maxretry, findtime = limit
    first, steady = (FailureCounter(maxretry=maxretry, findtime=findtime) for _ in range(2))
    saved = {}
    now = T
    for number, (host, forward, back, _) in enumerate(sequence):
        now += forward * findtime / 10
        at = now - back * findtime
        line = f"line {number}"
        expected, result = steady.add(host, at, [line]), first.add(host, at, [line])
        assert expected == result
        for state in first.changes():
            saved[state.host] = state
            if not state.times:
                del saved[state.host]
        if number == cut:
            first = FailureCounter(maxretry=maxretry, findtime=findtime)
            first.restore(saved.values())


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 2**40), st.text(max_size=50), st.integers(1, 9)),
        max_size=80,
    ),
    st.integers(1, 4),
)
def test_limits_hold_for_any_input(sequence, max_hosts):
    """However wild the times and texts: hosts, times per host and text stay bounded, and the sums are right."""
    counter = FailureCounter(maxretry=3, findtime=10, max_hosts=max_hosts, max_text=500)
    for host, at, text, failures in sequence:
        counter.add(host, at, [text] * failures, {"user": text}, failures=failures)
        assert len(counter) <= max_hosts
        assert counter.text_size <= max(500, 0) or len(counter) == 1
        assert all(len(entry.times) <= 6 for entry in counter._hosts.values())
        assert counter.text_size == sum(entry.size for entry in counter._hosts.values())
    assert sum(failures for *_, failures in sequence) == counter.total


@settings(max_examples=200, deadline=None)
@given(limits, steps, st.lists(st.sampled_from([0.0, 0.0, 1.0, 5.0, 100.0]), max_size=60))
def test_hosts_that_failed_lately_are_counted(limit, taken, looks):
    """However often and late the number is asked for, it is that of a look at every host."""
    maxretry, findtime = limit
    counter = FailureCounter(maxretry=maxretry, findtime=findtime)
    now = T
    for number, (host, step, late, failures) in enumerate(taken):
        now += step
        counter.add(host, now - late * findtime, failures=failures)
        if number % 7 == 3:
            counter.forget(host)
        if number % 11 == 5:
            counter.expire(now)
        for more in looks[number : number + 2]:
            now += more
            slow = sum(entry.times[-1] > now - findtime for entry in counter._hosts.values())
            assert slow == counter.count(now)
    counter.configure(maxretry=maxretry, findtime=findtime / 2, maxmatches=1)
    assert sum(entry.times[-1] > now - findtime / 2 for entry in counter._hosts.values()) == counter.count(now)
