"""
A matcher that finds what `re` finds, with an effort that grows only with the length of the text.

`re` backtracks: on a text made for it, `(a+)+b` takes twice as long with every character, and nothing can interrupt
it. Here each branch of the regex is followed at most once from each place of the text: where it failed once it would
fail again. That costs more for an ordinary line (about 1 µs per step), and bounds what a hostile one can cost. The
order in which ways are tried, and so the match and its groups, are those of `re`.

See Russ Cox, "Regular Expression Matching in the Wild" (the matcher with a bit for each state), 2010.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from banguard.matching.program import (
    AT,
    ATOMIC,
    CHAR,
    COND,
    JUMP,
    LAZY,
    LOOK,
    LOOP,
    MATCH,
    SAVE,
    SPLIT,
    Program,
    SpanMatch,
    compile_program,
    is_word,
)

# More branches than any line of 64 KiB needs that a filter was written for; takes about half a second.
MAX_STEPS = 500_000

_NEWLINE = re.compile("\n")


class GiveUpError(Exception):
    """The text needs more steps than any honest one."""


class Bounded:
    """A compiled regex. `search` is that of `re`, bounded."""

    __slots__ = ("_compiled", "_is_anchored", "_marks", "_program")

    def __init__(self, compiled: re.Pattern[str], program: Program, *, is_anchored: bool) -> None:
        self._compiled = compiled
        self._program = program
        self._is_anchored = is_anchored
        self._marks = 2 * compiled.groups + 2

    @property
    def is_careful(self) -> bool:
        """Whether the regex has atomic groups: whoever wrote it thought of what `re` could need."""
        return ATOMIC in self._program.codes

    def search(self, text: str) -> SpanMatch | None:
        """Return the leftmost match in *text*; GiveUpError when that takes too many steps."""
        if self._program.needed not in text:
            return None
        run = _Run(text)
        visited: set[object] = set()
        for start in (0,) if self._is_anchored else self._starts(text):
            marks = [-1] * self._marks
            end = run.run(self._program, start, marks, visited)
            if end >= 0:
                marks[0], marks[1] = start, end
                return SpanMatch(self._compiled, text, marks)
        return None

    def _starts(self, text: str) -> Iterable[int]:
        """Return the places at which a match may begin."""
        first = self._program.after_saves(0)
        code, argument = self._program.codes[first], self._program.arguments[first]
        if code == AT and argument == "AT_BEGINNING_LINE":
            return (0, *(found.end() for found in _NEWLINE.finditer(text)))
        if code == CHAR and argument.literal:
            return (found.start() for found in re.finditer(re.escape(argument.literal), text))
        return range(len(text) + 1)


class _Run:
    """One search in one text."""

    __slots__ = ("_left", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._left = MAX_STEPS

    def run(self, program: Program, start: int, marks: list[int], visited: set[object]) -> int:
        """
        Match from *start* on; return the end of the match, or -1. Fill *marks*.

        *visited* are the branches followed before.
        """
        text, length = self._text, len(self._text)
        codes, arguments, watched = program.codes, program.arguments, program.watched
        # Ways still to try: places in the program and in the text. A negative place is a mark to be set back to what it
        # was before the way that failed.
        ways: list[tuple[int, int]] = [(0, start)]
        while ways:
            place, position = ways.pop()
            if place < 0:
                marks[~place] = position
                continue
            while True:
                code = codes[place]
                argument = arguments[place]
                if code == CHAR:
                    if position >= length or not argument.passes(text[position]):
                        break
                    position += 1
                    place += 1
                elif code in {LOOP, LAZY, SPLIT}:
                    state = (place, position, *[marks[mark] for mark in watched])
                    if state in visited:
                        break
                    visited.add(state)
                    self._left -= 1
                    if self._left < 0:
                        raise GiveUpError
                    if code == SPLIT:
                        place, other = argument
                        ways.append((other, position))
                        continue
                    is_more = position < length and argument.passes(text[position])
                    if code == LOOP and is_more:
                        ways.append((place + 1, position))
                        position += 1
                    else:
                        if is_more:
                            ways.append((place, position + 1))
                        place += 1
                elif code == JUMP:
                    place = argument
                elif code == SAVE:
                    ways.append((~argument, marks[argument]))
                    marks[argument] = position
                    place += 1
                elif code == MATCH:
                    return position
                elif code == AT:
                    if not _stands_at(argument, text, position):
                        break
                    place += 1
                elif code == LOOK:
                    if not self._look(argument, position, marks, ways):
                        break
                    place += 1
                elif code == ATOMIC:
                    position = self._enter(argument, position, marks, ways)
                    if position < 0:
                        break
                    place += 1
                elif code == COND:
                    group, without = argument
                    caught = marks[2 * group] >= 0 and marks[2 * group + 1] >= 0
                    place = place + 1 if caught else without
                else:
                    begin, end = marks[2 * argument], marks[2 * argument + 1]
                    if begin < 0 or end < 0 or not text.startswith(text[begin:end], position):
                        break
                    position += end - begin
                    place += 1
        return -1

    def _look(
        self, argument: tuple[Program, bool, int], position: int, marks: list[int], ways: list[tuple[int, int]]
    ) -> bool:
        """Try a look-ahead, or a look-behind of a fixed width; groups that a positive one catches stay."""
        program, wanted, width = argument
        start = position - width
        if start < 0:
            return not wanted
        if program.literal:
            return self._text.startswith(program.literal, start) == wanted
        if not wanted:
            return self.run(program, start, list(marks), set()) < 0
        return self._enter(program, start, marks, ways) >= 0

    def _enter(self, program: Program, start: int, marks: list[int], ways: list[tuple[int, int]]) -> int:
        """Match a program of its own, once: what it finds stays as it is. Return its end, or -1."""
        inner = list(marks)
        end = self.run(program, start, inner, set())
        if end >= 0:
            for mark, before in enumerate(marks):
                if inner[mark] != before:
                    ways.append((~mark, before))
                    marks[mark] = inner[mark]
        return end


def _stands_at(kind: str, text: str, position: int) -> bool:
    length = len(text)
    if kind == "AT_BEGINNING":
        return position == 0
    if kind == "AT_END":
        return position == length or (position == length - 1 and text[position] == "\n")
    if kind == "AT_BEGINNING_LINE":
        return position == 0 or text[position - 1] == "\n"
    if kind == "AT_END_LINE":
        return position == length or text[position] == "\n"
    if kind == "AT_END_STRING":
        return position == length
    before = position > 0 and is_word(text[position - 1]) is not None
    after = position < length and is_word(text[position]) is not None
    return (before != after) == (kind == "AT_BOUNDARY")


def compile_bounded(compiled: re.Pattern[str], *, is_anchored: bool) -> Bounded | None:
    """
    Return the bounded matcher for a regex; None when it holds something that cannot be matched so (`compile_program`).

    *is_anchored* says that it can match at the start only.
    """
    program = compile_program(compiled)
    return None if program is None else Bounded(compiled, program, is_anchored=is_anchored)
