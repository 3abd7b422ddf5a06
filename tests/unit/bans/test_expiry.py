"""Heap of ban ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from banguard.bans.expiry import ExpiryHeap

A, B, C = ("j", "a"), ("j", "b"), ("k", "a")


def test_ends_come_due_in_their_order():
    """A ban ends at its time, neither before nor out of turn."""
    heap = ExpiryHeap()
    for key, until in ((B, 20.0), (A, 10.0), (C, 30.0)):
        heap.set(key, until)
    assert ([], 10.0) == (heap.due(9.9), heap.next())
    assert ([A, B], 30.0) == (heap.due(20.0), heap.next())
    assert ([C], None, 0) == (heap.due(99.0), heap.next(), len(heap))


def test_a_moved_end_replaces_the_one_before():
    """Longer, shorter, for ever: the last word counts."""
    heap = ExpiryHeap()
    for until in (10.0, 30.0, 20.0):
        heap.set(A, until)
    assert ([], [A], []) == (heap.due(15.0), heap.due(25.0), heap.due(99.0))
    heap.set(A, 10.0)
    heap.set(A, None)
    assert ([], None) == (heap.due(99.0), heap.next())


def test_a_discarded_end_never_comes():
    """An unban by hand takes the end with it, and a new ban has its own."""
    heap = ExpiryHeap()
    heap.set(A, 10.0)
    heap.discard(A)
    heap.discard(B)
    heap.set(A, 50.0)
    assert ([], [A]) == (heap.due(49.0), heap.due(50.0))


def test_at_most_so_many_at_once():
    """A mass of ends does not hold up everything else."""
    heap = ExpiryHeap()
    for number in range(10):
        heap.set(("j", str(number)), float(number))
    assert [("j", "0"), ("j", "1"), ("j", "2")] == heap.due(99.0, 3)
    assert 7 == len(heap)


def test_dead_entries_do_not_pile_up():
    """A ban extended a thousand times takes the place of one."""
    heap = ExpiryHeap()
    for number in range(10_000):
        heap.set(A, float(number))
    assert len(heap._heap) < 100


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 50)), st.integers(0, 50)), max_size=60
    )
)
def test_heap_agrees_with_a_plain_dict(steps):
    """Whatever is set and moved, due is what a scan of all ends would find."""
    heap, plain = ExpiryHeap(), {}
    for name, until, now in steps:
        heap.set(("j", name), until)
        plain[name] = until
        if until is None:
            del plain[name]
        expected = sorted((end, name) for name, end in plain.items() if end <= now)
        assert [("j", name) for _, name in expected] == heap.due(now)
        for _, gone in expected:
            del plain[gone]
        assert (min(plain.values(), default=None), len(plain)) == (heap.next(), len(heap))
