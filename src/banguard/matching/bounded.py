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
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from banguard.matching.hazard import takes
from banguard.matching.syntax import SINGLE, Items, character_class, compile_class, parse

# More branches than any line of 64 KiB needs that a filter was written for; takes about half a second.
MAX_STEPS = 500_000
_MAX_SIZE = 20_000

_CHAR, _LOOP, _LAZY, _SPLIT, _JUMP, _SAVE, _AT, _LOOK, _REF, _COND, _MATCH = range(11)

# Characters of what comes behind a loop that are looked at before the way is gone, and how many of its ways.
_HEAD = 3
_MOST_PIECES = 60
# A loop that took fewer characters is gone through one by one.
_NEAR = 256
_SCOPES = ((re.IGNORECASE, "i"), (re.ASCII, "a"), (re.DOTALL, "s"))

_ENDS = {"AT_END": "$", "AT_END_STRING": r"\Z", "AT_END_LINE": "(?m:$)"}

_NEWLINE = re.compile("\n")
_END = "end of text"
_NO_RUN = (-1, -2)
_is_word = re.compile(r"\w").match


class GiveUpError(Exception):
    """The text needs more steps than any honest one."""


class _UnsupportedError(Exception):
    """A construct that cannot be matched in this way."""


class BoundedMatch:
    """What was found: the part of the interface of `re.Match` that is used here."""

    __slots__ = ("_marks", "_text", "re")

    def __init__(self, compiled: re.Pattern[str], text: str, marks: list[int]) -> None:
        self.re = compiled
        self._text = text
        self._marks = marks

    def span(self, group: int | str = 0) -> tuple[int, int]:
        """Return start and end of a group; -1 and -1 when it caught nothing."""
        number = self.re.groupindex[group] if isinstance(group, str) else group
        start, end = self._marks[2 * number : 2 * number + 2]
        return (start, end) if start >= 0 and end >= 0 else (-1, -1)

    def __getitem__(self, group: int | str) -> str | None:
        start, end = self.span(group)
        return None if start < 0 else self._text[start:end]

    def groupdict(self) -> dict[str, str | None]:
        """Return the named groups."""
        return {name: self[name] for name in self.re.groupindex}


class _Program:
    """Instructions: what to do, and with what. The tables remember which characters a test lets pass."""

    __slots__ = ("arguments", "behind", "codes", "greedy", "literal", "needed", "watched")

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.arguments: list[Any] = []
        # What must come behind a loop, by its place, where that is always the same; or that the text must end there.
        self.behind: dict[int, str | _Head] = {}
        # Loops behind which nothing can come that they take themselves: they only end where they must.
        self.greedy: set[int] = set()
        # The text that is all it matches; empty when it is not as simple as that.
        self.literal = ""
        # Text that stands in all that it matches.
        self.needed = ""
        # Marks of groups on which the rest of the way may depend.
        self.watched: tuple[int, ...] = ()

    def add(self, code: int, argument: Any = None) -> int:
        """Append an instruction and return its place."""
        if len(self.codes) >= _MAX_SIZE:
            raise _UnsupportedError
        self.codes.append(code)
        self.arguments.append(argument)
        return len(self.codes) - 1

    def text_at(self, place: int) -> str:
        """Return the text that all must begin with that is matched from *place* on, as far as that is plain."""
        text = ""
        while True:
            place = self.after_saves(place)
            if self.codes[place] != _CHAR or not self.arguments[place].literal:
                return text
            text += self.arguments[place].literal
            place += 1

    def may_take(self, place: int) -> int:
        """Return the characters of which one must come from *place* on (see `hazard.takes`); all, if none must."""
        found = 0
        left, seen = [place], {place}
        while left:
            place = left.pop()
            code, argument = self.codes[place], self.arguments[place]
            after: tuple[int, ...] = (place + 1,)
            if code in {_CHAR, _LOOP, _LAZY}:
                found |= argument.bits
                if code == _CHAR:
                    continue
            elif code == _AT and argument in _ENDS:
                # Behind it nothing comes, or a newline.
                found |= 1 << 10
                continue
            elif code in {_MATCH, _REF}:
                return -1
            elif code == _SPLIT:
                after = argument
            elif code == _JUMP:
                after = (argument,)
            elif code == _COND:
                after = (place + 1, argument[1])
            left += [each for each in after if each not in seen]
            seen.update(after)
        return found

    def beginning(self, places: Sequence[int], count: int, room: list[int]) -> str:
        """Return a regex of the next *count* characters that may come from *places* on; of less without *room*."""
        ways: list[str] = []
        left, seen = list(places), set(places)
        while left:
            place = left.pop()
            code, argument = self.codes[place], self.arguments[place]
            after: tuple[int, ...] = (place + 1,)
            if code in {_CHAR, _LOOP, _LAZY}:
                room[0] -= 1
                rest = ""
                if count > 1 and room[0] > 0:
                    rest = self.beginning([place + 1] if code == _CHAR else [place], count - 1, room)
                ways.append(argument.regex + rest)
                if code == _CHAR:
                    continue
            elif code == _AT and argument in _ENDS:
                ways.append(_ENDS[argument])
                continue
            elif code in {_MATCH, _REF}:
                return ""
            elif code == _SPLIT:
                after = argument
            elif code == _JUMP:
                after = (argument,)
            elif code == _COND:
                after = (place + 1, argument[1])
            left += [each for each in after if each not in seen]
            seen.update(after)
        return f"(?:{'|'.join(ways)})"

    def after_saves(self, place: int) -> int:
        """Return the first instruction from *place* on that does more than to mark a group."""
        while self.codes[place] == _SAVE:
            place += 1
        return place


class _Head:
    """How something begins that is matched from a place of a program on; compiled on use."""

    __slots__ = ("_more", "_place", "_program")

    def __init__(self, program: _Program, place: int) -> None:
        self._program = program
        self._place = place
        self._more: Callable[[str, int], object] | None = None

    def places(self, text: str) -> list[int]:
        """Return the places of *text* at which its first character stands."""
        first = self._program.beginning([self._place], 1, [_MOST_PIECES])
        return [found.start() for found in re.finditer(first, text)]

    def stands_at(self, text: str, place: int) -> bool:
        """Tell whether its first characters stand at a place of *text*."""
        more = self._more
        if more is None:
            regex = self._program.beginning([self._place], _HEAD, [_MOST_PIECES])
            more = self._more = re.compile(regex).match
        return more(text, place) is not None


class _Test:
    """Tells whether a character is let pass; asks `re` once for each character. *literal* is the only one, if so."""

    __slots__ = ("_ask", "_run", "bits", "known", "literal", "regex", "stop")

    def __init__(self, text: str, flags: int, literal: str, bits: int) -> None:
        # Of other characters than ASCII only is known that there are some.
        self.bits = bits if bits < 1 << 128 else bits | -1 << 128
        scope = "".join(letter for flag, letter in _SCOPES if flags & flag)
        self.regex = f"(?{scope}:{text})" if scope else text
        self._ask = compile_class(text, flags).match
        self._run = compile_class(f"(?:{text})*", flags).match
        self.literal = literal
        # A loop of it also ends where this text begins.
        self.stop = ""
        self.known: dict[str, bool] = {}

    def run_end(self, text: str, position: int, end: int) -> int:
        """Return where the characters that it lets pass end, from *position* of *text* on and not behind *end*."""
        found = self._run(text, position, end)
        reached = position if found is None else found.end()
        if self.stop:
            stop = text.find(self.stop, position, reached + len(self.stop) - 1)
            return reached if stop < 0 else stop
        return reached

    def learn(self, char: str) -> bool:
        """Ask for a character that is not known yet; nothing (the end of the text) never passes."""
        passes = char != "" and self._ask(char) is not None
        if len(self.known) < 4096:
            self.known[char] = passes
        return passes


def _test(code: object, value: Any, flags: int) -> _Test:
    literal = chr(value) if str(code) == "LITERAL" and not flags & re.IGNORECASE else ""
    return _Test(character_class(code, value), flags, literal, takes(code, value, flags))


class Bounded:
    """A compiled regex. `search` is that of `re`, bounded."""

    __slots__ = ("_compiled", "_is_anchored", "_marks", "_needed", "_program")

    def __init__(self, compiled: re.Pattern[str], program: _Program, needed: str, *, is_anchored: bool) -> None:
        self._compiled = compiled
        self._program = program
        # Text that stands in every match; most lines do not have it.
        self._needed = needed
        self._is_anchored = is_anchored
        self._marks = 2 * compiled.groups + 2

    def search(self, text: str) -> BoundedMatch | None:
        """Return the leftmost match in *text*; GiveUpError when that takes too many steps."""
        if self._needed not in text:
            return None
        run = _Run(text)
        visited: dict[object, int] = {}
        for start in (0,) if self._is_anchored else self._starts(text):
            marks = [-1] * self._marks
            end = run.run(self._program, start, marks, visited)
            if end >= 0:
                marks[0], marks[1] = start, end
                return BoundedMatch(self._compiled, text, marks)
        return None

    def _starts(self, text: str) -> Iterable[int]:
        """Return the places at which a match may begin."""
        first = self._program.after_saves(0)
        code, argument = self._program.codes[first], self._program.arguments[first]
        if code == _AT and argument == "AT_BEGINNING_LINE":
            return (0, *(found.end() for found in _NEWLINE.finditer(text)))
        if code == _CHAR and argument.literal:
            return (found.start() for found in re.finditer(re.escape(argument.literal), text))
        return range(len(text) + 1)


class _Run:
    """One search in one text."""

    __slots__ = ("_heads", "_left", "_places", "_runs", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        # Of each loop the characters that it took last: from where to where it could take them.
        self._runs: dict[_Test, tuple[int, int]] = {}
        self._places: dict[str, int] = {}
        self._heads: dict[_Head, list[int]] = {}
        self._left = MAX_STEPS

    def run(self, program: _Program, start: int, marks: list[int], visited: dict[object, int]) -> int:
        """
        Match from *start* on; return the end of the match, or -1. Fill *marks*.

        *visited* are the branches followed before, and of each loop, by the end of the characters that it takes, the
        lowest place from which it was entered.
        """
        text, length = self._text, len(self._text)
        codes, arguments, watched = program.codes, program.arguments, program.watched
        size = length + 1
        # Ways still to try: place in the program, place in the text, and down (or up) to where each place of the text
        # is one, as far as a certain text stands there. A negative place is a mark to be set back to what it was before
        # the way that failed.
        ways: list[tuple[int, int, int, str | _Head]] = [(0, start, start, "")]
        while ways:
            place, position, low, behind = ways.pop()
            if place < 0:
                marks[~place] = position
                continue
            if low != position:
                self._left -= 1
                if self._left < 0:
                    raise GiveUpError
                is_upwards = low > position
                if behind:
                    position = self._next_place(behind, position, low)
                    if position < 0:
                        continue
                if low != position:
                    ways.append((place, position + 1 if is_upwards else position - 1, low, behind))
            elif behind and self._next_place(behind, position, low) < 0:
                continue
            while True:
                code = codes[place]
                argument = arguments[place]
                if code == _CHAR:
                    if position >= length:
                        break
                    char = text[position]
                    passes = argument.known.get(char)
                    if passes is None:
                        passes = argument.learn(char)
                    if not passes:
                        break
                    position += 1
                    place += 1
                elif code in {_LOOP, _LAZY}:
                    begin, end = self._runs.get(argument, _NO_RUN)
                    if not begin <= position <= end:
                        end = self._run_end(argument, position, begin, end)
                    state: object = (place, end, *[marks[mark] for mark in watched]) if watched else (place, end)
                    known = visited.get(state, end + 1)
                    if known <= position:
                        break
                    visited[state] = position
                    self._left -= 1
                    if self._left < 0:
                        raise GiveUpError
                    # From there on all ways out of the loop were tried, or will be.
                    behind = program.behind.get(place, "")
                    if place in program.greedy:
                        if known > end:
                            ways.append((place + 1, end, end, behind if behind != _END else ""))
                        break
                    low, end = position, known - 1
                    if code == _LAZY:
                        ways.append((place + 1, low, end, behind if behind != _END else ""))
                        break
                    if behind == _END:
                        low, behind = max(low, length - 1), ""
                        if end < low:
                            break
                    ways.append((place + 1, end, low, behind))
                    break
                elif code == _SPLIT:
                    state = place * size + position
                    if watched:
                        state = (state, *[marks[mark] for mark in watched])
                    if state in visited:
                        break
                    visited[state] = position
                    self._left -= 1
                    if self._left < 0:
                        raise GiveUpError
                    place, other = argument
                    ways.append((other, position, position, ""))
                elif code == _JUMP:
                    place = argument
                elif code == _SAVE:
                    ways.append((~argument, marks[argument], 0, ""))
                    marks[argument] = position
                    place += 1
                elif code == _MATCH:
                    return position
                elif code == _AT:
                    if not _stands_at(argument, text, position):
                        break
                    place += 1
                elif code == _LOOK:
                    if not self._look(argument, position, marks, ways):
                        break
                    place += 1
                elif code == _COND:
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

    def _run_end(self, test: _Test, position: int, begin: int, end: int) -> int:
        """Return where the characters end that a loop takes from *position* on; *begin* and *end* are known of it."""
        if position < begin:
            reached = test.run_end(self._text, position, begin)
            end = end if reached == begin else reached
        else:
            reached = end = test.run_end(self._text, position, len(self._text))
        self._left -= (reached - position) >> 6
        self._runs[test] = (position, end)
        return end

    def _next_place(self, behind: str | _Head, position: int, last: int) -> int:
        """Return the first place from *position* on, down or up to *last*, where a text stands; -1: there is none."""
        text = self._text
        if isinstance(behind, str):
            if last > position:
                return text.find(behind, position, last + len(behind))
            return text.rfind(behind, last, position + len(behind))
        step = 1 if last > position else -1
        places = self._heads.get(behind)
        if places is None:
            if abs(last - position) < _NEAR:
                for at in range(position, last + step, step):
                    if behind.stands_at(text, at):
                        return at
                return -1
            places = self._heads[behind] = behind.places(text)
            self._left -= len(places) >> 3
        at = bisect_left(places, position) if step > 0 else bisect_right(places, position) - 1
        began = at
        while 0 <= at < len(places) and (places[at] <= last if step > 0 else places[at] >= last):
            if behind.stands_at(text, places[at]):
                self._left -= abs(at - began) >> 3
                return places[at]
            at += step
        self._left -= abs(at - began) >> 3
        return -1

    def _last_place(self, needed: str) -> int:
        """Return where a text stands last, -1 when nowhere."""
        place = self._places.get(needed)
        if place is None:
            place = self._places[needed] = self._text.rfind(needed)
        return place

    def _look(self, argument: tuple[_Program, bool, int], position: int, marks: list[int], ways: list[Any]) -> bool:
        """Try a look-ahead, or a look-behind of a fixed width; groups that a positive one catches stay."""
        program, wanted, width = argument
        start = position - width
        if start < 0:
            return not wanted
        if program.literal:
            return self._text.startswith(program.literal, start) == wanted
        if program.needed and self._last_place(program.needed) < start:
            return not wanted
        inner = list(marks)
        found = self.run(program, start, inner, {}) >= 0
        if found and wanted:
            for mark, before in enumerate(marks):
                if inner[mark] != before:
                    ways.append((~mark, before, 0, ""))
                    marks[mark] = inner[mark]
        return found == wanted


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
    before = position > 0 and _is_word(text[position - 1]) is not None
    after = position < length and _is_word(text[position]) is not None
    return (before != after) == (kind == "AT_BOUNDARY")


class _Compiler:
    """Turns the items of a regex into a program."""

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._watched: set[int] = set()

    def whole(self, items: Items, flags: int) -> None:
        """Compile a regex that ends in a match."""
        self.items(items, flags)
        self._program.add(_MATCH)
        program = self._program
        program.needed = _needed(items, flags)
        program.watched = tuple(sorted(self._watched))
        if all(code == _CHAR for code in program.codes[:-1]):
            letters = [test.literal for test in program.arguments[:-1]]
            program.literal = "".join(letters) if all(letters) else ""
        for place, code in enumerate(program.codes):
            if code in {_LOOP, _LAZY}:
                after = program.after_saves(place + 1)
                if not program.arguments[place].bits & program.may_take(place + 1):
                    program.greedy.add(place)
                if program.codes[after] == _CHAR:
                    program.behind[place] = program.text_at(after)
                elif program.codes[after] == _AT and program.arguments[after] in {"AT_END", "AT_END_STRING"}:
                    program.behind[place] = _END
                if not program.behind.get(place) and program.may_take(place + 1) != -1:
                    program.behind[place] = _Head(program, place + 1)

    def items(self, items: Items, flags: int) -> None:
        """Compile items one after the other."""
        for code, value in items:
            self._item(str(code), code, value, flags)

    def _item(self, name: str, code: object, value: Any, flags: int) -> None:
        add = self._program.add
        if name in SINGLE:
            add(_CHAR, _test(code, value, flags))
        elif name in {"MAX_REPEAT", "MIN_REPEAT"}:
            least, most, inner = value
            self._repeat(least, most, inner, flags, greedy=name == "MAX_REPEAT")
        elif name == "SUBPATTERN":
            group, on, off, inner = value
            if group is not None:
                add(_SAVE, 2 * group)
            self.items(inner, (flags | on) & ~off)
            if group is not None:
                add(_SAVE, 2 * group + 1)
        elif name == "BRANCH":
            self._branches(value[1], flags)
        elif name == "AT":
            add(_AT, _at_kind(str(value), flags))
        elif name in {"ASSERT", "ASSERT_NOT"}:
            self._look(value, flags, wanted=name == "ASSERT")
        elif name == "GROUPREF" and not flags & re.IGNORECASE:
            self._watch(value)
            add(_REF, value)
        elif name == "GROUPREF_EXISTS":
            group, yes, no = value
            self._condition(group, yes, no, flags)
        else:
            raise _UnsupportedError

    def _watch(self, group: int) -> None:
        self._watched |= {2 * group, 2 * group + 1}

    def _repeat(self, least: int, most: Any, inner: Items, flags: int, *, greedy: bool) -> None:
        program = self._program
        endless = str(most) == "MAXREPEAT"
        for _ in range(least):
            self.items(inner, flags)
        single = _single(inner, flags) if endless else None
        if single is not None:
            program.add(_LOOP if greedy else _LAZY, single)
            return
        ends: list[int] = []
        begin = len(program.codes)
        for _ in range(1 if endless else int(most) - least):
            ends.append(program.add(_SPLIT))
            self.items(inner, flags)
        if endless:
            program.add(_JUMP, begin)
        out = len(program.codes)
        for place in ends:
            program.arguments[place] = (place + 1, out) if greedy else (out, place + 1)

    def _branches(self, branches: list[Items], flags: int) -> None:
        program = self._program
        jumps: list[int] = []
        for branch in branches[:-1]:
            split = program.add(_SPLIT)
            self.items(branch, flags)
            jumps.append(program.add(_JUMP))
            program.arguments[split] = (split + 1, len(program.codes))
        self.items(branches[-1], flags)
        for place in jumps:
            program.arguments[place] = len(program.codes)

    def _look(self, value: tuple[int, Any], flags: int, *, wanted: bool) -> None:
        direction, inner = value
        program = _Program()
        compiler = _Compiler(program)
        width = 0
        if direction < 0:
            width, longest = inner.getwidth()
            if width != longest:
                raise _UnsupportedError
        compiler.whole(inner, flags)
        self._watched |= compiler._watched
        self._program.add(_LOOK, (program, wanted, width))

    def _condition(self, group: int, yes: Items, no: Items | None, flags: int) -> None:
        self._watch(group)
        program = self._program
        condition = program.add(_COND)
        self.items(yes, flags)
        jump = program.add(_JUMP)
        program.arguments[condition] = (group, len(program.codes))
        if no:
            self.items(no, flags)
        program.arguments[jump] = len(program.codes)


def _single(items: Items, flags: int) -> _Test | None:
    """Return the test of a loop over single characters, also when it must end before some text: `(?:(?!end).)*`."""
    while len(items) == 1 and str(items[0][0]) == "SUBPATTERN" and items[0][1][:3] == (None, 0, 0):
        items = items[0][1][3]
    stop = ""
    if len(items) == 2 and str(items[0][0]) == "ASSERT_NOT" and items[0][1][0] > 0:
        ahead = items[0][1][1]
        if not flags & re.IGNORECASE and all(str(code) == "LITERAL" for code, _ in ahead):
            stop = "".join(chr(value) for _, value in ahead)
    items = items[1:] if stop else items
    if len(items) != 1 or str(items[0][0]) not in SINGLE:
        return None
    test = _test(*items[0], flags)
    test.stop = stop
    return test


def _at_kind(name: str, flags: int) -> str:
    if name == "AT_BEGINNING_STRING":
        return "AT_BEGINNING"
    if flags & re.MULTILINE and name in {"AT_BEGINNING", "AT_END"}:
        return f"{name}_LINE"
    if flags & re.ASCII and name in {"AT_BOUNDARY", "AT_NON_BOUNDARY"}:
        raise _UnsupportedError
    return name


def _needed(items: Items, flags: int) -> str:
    """Return the longest text that stands in every match as it is; empty when there is none."""
    found = [""]
    for code, value in items:
        name = str(code)
        if name == "LITERAL" and not flags & re.IGNORECASE:
            found[-1] += chr(value)
        elif name == "SUBPATTERN":
            found += [_needed(value[3], (flags | value[1]) & ~value[2]), ""]
        else:
            found.append("")
    return max(found, key=len)


def compile_bounded(compiled: re.Pattern[str], *, is_anchored: bool) -> Bounded | None:
    r"""
    Return the bounded matcher for a regex; None when it holds something that cannot be matched so.

    That is: atomic groups and possessive repeats (whose authors know about backtracking), back-references that ignore
    case, `\b` under (?a), and repeats by the thousands. *is_anchored* says that it can match at the start only.
    """
    parsed = parse(compiled.pattern, compiled.flags)
    if parsed is None:
        return None
    items, flags = parsed
    program = _Program()
    try:
        _Compiler(program).whole(items, flags)
    except (_UnsupportedError, RecursionError):
        return None
    return Bounded(compiled, program, program.needed, is_anchored=is_anchored)
