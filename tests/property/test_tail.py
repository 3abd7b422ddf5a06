"""A tail gives what was written, however it was written, rotated and read."""

from __future__ import annotations

import itertools
import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.sources.lines import line_form
from banguard.sources.tail import Tail
from support.rotating import RotatingLog

PIECES = st.sampled_from(
    [b"one\n", b"two two\n", b"part", b"ial\n", b"\n", b"x" * 70 + b"\n", b"\xff\xfe\n", b"y" * 30]
)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.lists(PIECES, min_size=1, max_size=6).map(b"".join)),
    st.tuples(st.just("read"), st.integers(1, 4)),
    st.tuples(st.just("look"), st.just(0)),
    st.tuples(st.just("rename"), st.sampled_from(["", "", ".gz", ".bz2"])),
    st.tuples(st.just("late"), PIECES),
    st.tuples(st.just("copytruncate"), st.sampled_from(["", ".gz"])),
    st.tuples(st.just("delete"), st.just(0)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("clone"), st.just(0)),
)


CAP = 100


def capped(line: bytes) -> bytes:
    return line if len(line) <= CAP else line[:CAP] + b" [...]"


class Reading:
    """A reader that remembers what it was given, and the position of the last whole block."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.tail = self.new()
        self.tail.open(None)
        # The hub tells a jail the position it begins at, before any line.
        self.cursor = self.tail.cursor()
        self.time = 0.0

    def new(self) -> Tail:
        # Small blocks, so that every border is crossed often.
        return Tail(self.path, line_form("utf-8"), block_size=128, line_cap=CAP)

    def look(self) -> None:
        self.time += 1
        self.tail.look(self.time)

    def read(self, most: int = 10_000) -> None:
        for _ in range(most):
            block = self.tail.read()
            if block is None:
                return
            self.lines += block.data.split(b"\n")[:-1]
            self.tail.take(block)
            if block.data:
                self.cursor = block.cursor

    def catch_up(self) -> None:
        self.look()
        self.read()

    def restart(self) -> None:
        self.tail.close()
        self.tail = self.new()
        self.tail.open(self.cursor)

    def clone(self) -> None:
        old, self.tail = self.tail, self.tail.clone()
        old.close()


@pytest.mark.parametrize("dated", [False, True])
@settings(max_examples=250, deadline=None)
@given(steps=st.lists(STEPS, max_size=40))
def test_every_line_once_and_in_order(dated, steps):
    """Whatever is written, rotated, compressed, read in part or resumed: each line comes once, in order."""
    with tempfile.TemporaryDirectory() as directory:
        seconds = itertools.count(1_000_000_000)

        def now() -> float:
            return float(next(seconds))

        log = RotatingLog(os.path.join(directory, "app.log"), dated=dated, now=now)
        # The first lines of files differ, as they do in logs with dates.
        count = 0

        def first_line() -> None:
            nonlocal count
            count += 1
            log.write(b"file %d\n" % count)

        first_line()
        reading = Reading(log.path)
        for kind, what in steps:
            if kind == "write":
                log.write(what)
            elif kind == "read":
                reading.read(what)
            elif kind == "look":
                reading.look()
            elif kind == "clone":
                reading.clone()
            elif kind == "restart":
                reading.restart()
            elif not log.at_line_end:
                continue
            elif kind == "rename":
                log.rename_create(pack=what)
                first_line()
            elif kind == "late":
                # Lines for a file that lost its name are found only by a reader that lives.
                reading.catch_up()
                log.rename_create()
                reading.look()
                log.write_late(what if what.endswith(b"\n") else what + b"\n")
                reading.catch_up()
                first_line()
            elif kind == "copytruncate":
                # Exact once the reader has seen the first line, even when it has not read on since.
                reading.look()
                log.copytruncate(pack=what)
                first_line()
            elif kind == "delete":
                reading.catch_up()
                log.delete_create()
                reading.look()
                first_line()
        if not log.at_line_end:
            log.write(b"\n")
        reading.catch_up()
        reading.tail.close()
        log.close()
        assert [capped(line) for line in log.written.split(b"\n")[:-1]] == reading.lines
