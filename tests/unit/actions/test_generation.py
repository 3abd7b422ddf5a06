"""Tests of banguard.actions.generation."""

from __future__ import annotations

import struct

import pytest

from banguard.actions.generation import generation, read


def reply(*attributes, kind=10 << 8 | 15):
    body = b"".join(
        struct.pack("=HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4) for number, value in attributes
    )
    return struct.pack("=IHHII", 20 + len(body), kind, 0, 1, 0) + b"\0\0\0\0" + body


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (7, reply((1, b"\0\0\0\7"))),
        (258, reply((2, b"\0\0\0\1"), (3, b"nft\0"), (1, b"\0\0\1\2"))),
        (None, reply((2, b"\0\0\0\1"))),
        (None, reply((1, b"\0\0\0\7"), kind=2)),
        (None, reply()),
    ],
)
def test_read(expected, message):
    """The number is found wherever it stands among the attributes; another reply has none."""
    assert expected == read(message)


def test_a_cut_reply_has_none():
    """A message that ends early is no number, and no endless loop."""
    assert None is read(reply((2, b"\0\0\0\1"), (1, b"\0\0\0\7"))[:28])
    assert None is read(reply((0, b""))[:20] + b"\0\0\0\0\0\0\0\0")


def test_the_kernel_is_asked():
    """Where the kernel tells at all, it tells a number; without rights nothing is raised."""
    found = generation()
    assert found is None or found >= 0
