from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.actions.base import Step
from banguard.actions.batch import UNBAN_ATTEMPTS, DesiredState, Notices, backoff, by_address
from banguard.model import Ban, BanChange, Change, Origin

IP = "192.0.2.1"


def ban(host=IP, *, since=100.0, until=700.0, **more):
    return Ban("sshd", host, since, until, **more)


def put(state, *changes):
    for kind, what in changes:
        state.put(BanChange(kind, what))


def carry_out(state, now=0.0):
    """Take everything that is due and report it as done; return what it was."""
    steps = state.take(1000, now)
    state.done(steps)
    return [(step.kind, step.key) for step in steps]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(Change.BAN, ban())], [(Change.BAN, IP)]),
        ([(Change.BAN, ban()), (Change.BAN, ban())], [(Change.BAN, IP)]),
        ([(Change.BAN, ban()), (Change.UNBAN, ban())], []),
        ([(Change.BAN, ban()), (Change.EXTEND, ban(until=900.0))], [(Change.BAN, IP)]),
        ([(Change.UNBAN, ban())], []),
        ([(Change.BAN, ban()), (Change.UNBAN, ban()), (Change.BAN, ban())], [(Change.BAN, IP)]),
    ],
)
def test_changes_that_wait_are_one_step_or_none(changes, expected):
    """Each key appears once, and what takes itself back not at all."""
    state = DesiredState("m")
    put(state, *changes)
    assert expected == carry_out(state)
    assert 0 == len(state)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(Change.UNBAN, ban())], [(Change.UNBAN, IP)]),
        ([(Change.BAN, ban())], []),
        ([(Change.EXTEND, ban(until=900.0))], [(Change.EXTEND, IP)]),
        ([(Change.EXTEND, ban(until=900.0)), (Change.EXTEND, ban(until=1000.0))], [(Change.EXTEND, IP)]),
        ([(Change.EXTEND, ban(until=900.0)), (Change.UNBAN, ban())], [(Change.UNBAN, IP)]),
        ([(Change.UNBAN, ban()), (Change.BAN, ban())], []),
        ([(Change.UNBAN, ban()), (Change.BAN, ban(since=200.0))], [(Change.BAN, IP)]),
    ],
)
def test_changes_of_what_is_applied(changes, expected):
    """The difference to what the action holds counts, not the way there."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    carry_out(state)
    put(state, *changes)
    assert expected == carry_out(state)


def test_a_new_ban_in_the_place_of_an_old_one_knows_both():
    """Who replaces a ban can take the old one out first."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    carry_out(state)
    put(state, (Change.BAN, ban(since=200.0)))
    assert [Step("m", IP, ban(), ban(since=200.0))] == state.take(9, 0.0)


def test_take_is_limited_and_oldest_first():
    """At most so many, in the order they came."""
    state = DesiredState("m")
    put(state, *((Change.BAN, ban(f"192.0.2.{n}")) for n in range(5)))
    assert ["192.0.2.0", "192.0.2.1"] == [step.key for step in state.take(2, 0.0)]
    assert ["192.0.2.2", "192.0.2.3", "192.0.2.4"] == [step.key for step in state.take(9, 0.0)]
    assert [] == state.take(9, 0.0)
    assert 5 == len(state)


@pytest.mark.parametrize("outcome", ["done", "failed", "put_back"])
def test_an_unban_that_comes_while_the_ban_is_under_way(outcome):
    """It is carried out afterwards, unless the ban was not even tried."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    steps = state.take(9, 0.0)
    put(state, (Change.UNBAN, ban()))
    assert [] == state.take(9, 0.0)
    if outcome == "done":
        state.done(steps)
    elif outcome == "failed":
        state.failed(steps, "timed out", 0.0)
    else:
        state.put_back(steps)
    expected = [] if outcome == "put_back" else [(Change.UNBAN, IP)]
    assert expected == carry_out(state, 99.0)
    assert 0 == len(state)
    assert {} == state.failures()


def test_a_ban_that_comes_while_the_same_is_under_way_is_not_repeated():
    """The same twice is once."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    steps = state.take(9, 0.0)
    put(state, (Change.BAN, ban()))
    state.done(steps)
    assert [] == carry_out(state)


def test_failures_are_tried_again_later_and_later():
    """1, 2, 4 … 300 seconds."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    now, waits = 0.0, []
    for _ in range(11):
        steps = state.take(9, now)
        assert 1 == len(steps)
        state.failed(steps, "no", now)
        waits.append(state.next_due(now))
        assert [] == state.take(9, now + waits[-1] - 0.1)
        now += waits[-1]
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0] == waits
    assert {IP: "no"} == state.failures()
    assert [(IP, 11)] == [(step.key, attempts) for step, attempts in state.done(state.take(9, now))]
    assert {} == state.failures()
    assert {IP} == state.hosts()


def test_backoff_never_overflows():
    """Many failures are as good as some."""
    assert 300.0 == backoff(100_000)


def test_the_same_failure_again_is_no_news():
    """The first of a kind is reported, repetitions are not."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    news = [
        len(state.failed(state.take(9, now), message, now)) for now, message in ((0.0, "a"), (9.0, "a"), (99.0, "b"))
    ]
    assert [1, 0, 1] == news


def test_a_fresh_change_is_tried_at_once():
    """Waiting is for repetition."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    state.failed(state.take(9, 0.0), "no", 0.0)
    put(state, (Change.BAN, ban(since=101.0)))
    assert 0.0 == state.next_due(0.0)


def test_the_unban_of_a_failed_ban_is_tried_once():
    """A ban that seemed to fail may have had its effect; whether the unban succeeds or not, that is all."""
    for succeeds in (True, False):
        state = DesiredState("m")
        put(state, (Change.BAN, ban()))
        state.failed(state.take(9, 0.0), "timed out", 0.0)
        put(state, (Change.UNBAN, ban()))
        steps = state.take(9, 0.0)
        assert [Step("m", IP, ban(), None)] == steps
        if succeeds:
            state.done(steps)
        else:
            state.failed(steps, "not there", 0.0)
        assert (0, {}, None) == (len(state), state.failures(), state.next_due(0.0))


def test_an_unban_is_given_up_after_some_attempts():
    """What cannot be taken out is not there, most likely."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    carry_out(state)
    put(state, (Change.UNBAN, ban()))
    attempts, now = 0, 0.0
    while steps := state.take(9, now):
        state.failed(steps, "no", now)
        attempts += 1
        now += 1000.0
    assert UNBAN_ATTEMPTS == attempts
    assert (0, frozenset(), {}) == (len(state), state.hosts(), state.failures())


def test_a_final_failure_of_an_unban_is_not_tried_again():
    """Where the rules are gone, the ban is too."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    carry_out(state)
    put(state, (Change.UNBAN, ban()))
    state.failed(state.take(9, 0.0), "gone", 0.0, final=True)
    assert (0, frozenset()) == (len(state), state.hosts())


def test_what_was_lost_is_applied_again():
    """All that is wanted comes back, marked as such; what was to go is gone."""
    state = DesiredState("m")
    put(state, *((Change.BAN, ban(f"192.0.2.{n}")) for n in range(3)))
    carry_out(state)
    put(state, (Change.UNBAN, ban("192.0.2.1")))
    assert 3 == state.lose()
    steps = state.take(9, 0.0)
    assert [("192.0.2.0", True), ("192.0.2.2", True)] == [(step.key, step.again) for step in steps]
    state.done(steps)
    assert 0 == state.lose(lambda one: one.host == IP)
    assert 1 == state.lose(lambda one: one.host == "192.0.2.2")


def test_take_all_is_everything_wanted_as_if_nothing_were_there():
    """For building anew."""
    state = DesiredState("m")
    put(state, *((Change.BAN, ban(f"192.0.2.{n}")) for n in range(3)))
    carry_out(state)
    put(state, (Change.UNBAN, ban("192.0.2.1")), (Change.BAN, ban("192.0.2.9")))
    steps = state.take_all()
    assert {"192.0.2.0", "192.0.2.2", "192.0.2.9"} == {step.key for step in steps}
    assert all(step.old is None for step in steps)
    put(state, (Change.UNBAN, ban("192.0.2.9")))
    state.done(steps)
    assert [(Change.UNBAN, "192.0.2.9")] == carry_out(state)


def test_take_all_that_failed_remains_to_be_done():
    """Nothing is applied then, and nothing forgotten."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    carry_out(state)
    state.failed(state.take_all(), "no", 0.0)
    assert (frozenset(), 1) == (state.hosts(), len(state))
    assert [IP] == [step.key for step in state.take_all()]


def test_ids_that_share_an_address_are_one_element_that_lasts_longest():
    """The address stays until the last ban of it has ended."""
    state = DesiredState("m", by_address)
    alice = ban("alice", until=500.0, data={"ip": IP})
    bob = ban("bob", until=900.0, data={"ip": IP})
    put(state, (Change.BAN, alice), (Change.BAN, bob))
    (step,) = state.take(9, 0.0)
    assert (IP, bob) == (step.key, step.new)
    state.done([step])
    assert {"alice", "bob"} == state.hosts()
    put(state, (Change.UNBAN, bob))
    (step,) = state.take(9, 0.0)
    assert alice == step.new
    state.done([step])
    put(state, (Change.BAN, ban(until=None)), (Change.UNBAN, alice))
    (step,) = state.take(9, 0.0)
    assert ban(until=None) == step.new
    state.done([step])
    put(state, (Change.UNBAN, ban()))
    assert [(Change.UNBAN, IP)] == carry_out(state)
    assert frozenset() == state.hosts()


def test_restored_bans_are_marked_until_they_end():
    """A tag tells actions so, also at the unban."""
    state = DesiredState("m")
    state.restore([ban(), ban("192.0.2.2", origin=Origin.RESTORED)])
    steps = state.take(9, 0.0)
    assert [True, True] == [step.restored for step in steps]
    state.done(steps)
    put(state, (Change.UNBAN, ban()))
    steps = state.take(9, 0.0)
    assert [True] == [step.restored for step in steps]
    state.done(steps)
    put(state, (Change.BAN, ban()))
    assert [False] == [step.restored for step in state.take(9, 0.0)]


def test_want_nothing_ends_all():
    """What is applied is to go, what only waits is dropped."""
    state = DesiredState("m")
    put(state, (Change.BAN, ban()))
    carry_out(state)
    put(state, (Change.BAN, ban("192.0.2.2")))
    assert not state.ends_everything()
    state.want_nothing()
    assert state.ends_everything()
    assert [(Change.UNBAN, IP)] == carry_out(state)
    assert not state.ends_everything()


HOSTS = st.sampled_from([IP, "192.0.2.2", "192.0.2.3"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["ban", "unban", "extend"]), HOSTS, st.integers(1, 3)),
        st.tuples(st.sampled_from(["take", "done", "fail", "back", "lose", "rebuild"]), HOSTS, st.integers(1, 3)),
    ),
    max_size=40,
)


@given(OPERATIONS)
def test_in_the_end_the_action_holds_what_is_wanted(operations):
    """Whatever comes in between, once all goes well what is applied equals what the changes say."""
    state = DesiredState("m")
    wanted, held, flying, now = {}, {}, [], 0.0

    def apply(steps):
        for step in steps:
            held.pop(step.key, None)
            if step.new is not None:
                held[step.key] = step.new
        state.done(steps)

    for name, host, number in operations:
        now += 1000.0
        one = ban(host, since=float(number), until=1000.0 + number)
        if name == "ban" or (name == "extend" and host in wanted):
            one = one if name == "ban" else replace(wanted[host], until=2000.0 + number)
            wanted[host] = one
            state.put(BanChange(Change.BAN if name == "ban" else Change.EXTEND, one))
        elif name == "unban":
            state.put(BanChange(Change.UNBAN, wanted.pop(host, one)))
        elif name == "take":
            flying += state.take(number, now)
        elif name == "done":
            apply(flying)
            flying = []
        elif name == "fail":
            apply([step for step in flying if step.new is None])  # these are given up one day
            state.failed([step for step in flying if step.new is not None], "no", now)
            flying = []
        elif name == "back":
            state.put_back(flying)
            flying = []
        elif not flying and name == "lose":
            held.clear()
            state.lose()
        elif not flying and name == "rebuild":
            held.clear()
            apply(state.take_all())
    apply(flying)
    while steps := state.take(2, now + 10_000.0):
        apply(steps)
    assert wanted == held
    assert set(wanted) == state.hosts()
    assert 0 == len(state)
    assert state.next_due(now) is None


def test_a_notification_hears_of_each_ban_once_and_of_no_unban():
    """Bans in order, the last of several of one host, nothing of unbans."""
    notices = Notices("m")
    put(
        notices,
        (Change.BAN, ban()),
        (Change.BAN, ban("192.0.2.2")),
        (Change.UNBAN, ban()),
        (Change.BAN, ban(since=200.0)),
        (Change.EXTEND, ban("192.0.2.2", until=900.0)),
    )
    assert 3 == len(notices)
    steps = notices.take(9, 0.0)
    assert [(Change.BAN, 200.0), (Change.BAN, 100.0), (Change.EXTEND, 100.0)] == [(s.kind, s.ban.since) for s in steps]
    assert (3, None) == (len(notices), notices.next_due(0.0))
    notices.done(steps)
    assert 0 == len(notices)


def test_a_notification_that_failed_is_not_repeated():
    """Who reports to somebody else must not do so twice."""
    notices = Notices("m")
    notices.restore([ban()])
    assert 0.0 == notices.next_due(0.0)
    steps = notices.take(9, 0.0)
    assert steps[0].restored
    assert steps == notices.failed(steps, "no", 0.0)
    assert (0, [], {}) == (len(notices), notices.take(9, 99.0), notices.failures())


def test_a_notice_that_was_not_tried_comes_again():
    """Put back is not lost."""
    notices = Notices("m")
    put(notices, (Change.BAN, ban()))
    notices.put_back(notices.take(9, 0.0))
    assert [IP] == [step.key for step in notices.take(9, 0.0)]


def test_a_notification_holds_nothing():
    """There is nothing to lose, to flush or to end."""
    notices = Notices("m")
    notices.want_nothing()
    assert (0, 0, False, False, frozenset()) == (
        notices.lose(),
        notices.applied,
        notices.ends_everything(),
        notices.holds(ban()),
        notices.hosts(),
    )


def test_hosts_of_a_key():
    """All ids that an applied key stands for; none of what is not applied."""
    state = DesiredState("m", by_address)
    one, two = (Ban("j", host, 0, None, data={"ip": "192.0.2.1"}) for host in ("alice", "bob"))
    state.put(BanChange(Change.BAN, one))
    assert () == state.hosts_of("192.0.2.1")
    state.done(state.take(9, 0))
    assert ("alice",) == state.hosts_of("192.0.2.1")
    state.put(BanChange(Change.BAN, two))
    assert ("alice", "bob") == state.hosts_of("192.0.2.1")
    assert () == state.hosts_of("192.0.2.2")
