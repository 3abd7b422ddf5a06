"""
A regex as a program of a few kinds of instructions, and the matches that are found with it.

See Russ Cox, "Regular Expression Matching: the Virtual Machine Approach", 2009.
"""

from __future__ import annotations

import re
from typing import Any

from banguard.matching.hazard import takes
from banguard.matching.syntax import SINGLE, Items, character_class, compile_class, parse

_MAX_SIZE = 20_000
_ASCII = 128
_MOST_KNOWN = 4096

CHAR, LOOP, LAZY, SPLIT, JUMP, SAVE, AT, LOOK, REF, COND, ATOMIC, MATCH = range(12)

_SCOPES = ((re.IGNORECASE, "i"), (re.ASCII, "a"), (re.DOTALL, "s"))

ONE_CHARACTER = "one character"
"""Stands in `Program.rounds` for a loop of which each round takes one."""

is_word = re.compile(r"\w").match


class UnsupportedError(Exception):
    """A construct that cannot be matched in this way."""


class SpanMatch:
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


class Program:
    """Instructions: what to do, and with what."""

    __slots__ = ("arguments", "codes", "has_empty_rounds", "literal", "needed", "rounds", "watched")

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.arguments: list[Any] = []
        # Of loops that catch nothing in a group, by their place: ONE_CHARACTER if that is what each round takes, or a
        # regex that takes as many rounds as there can be, each of which can go one way only.
        self.rounds: dict[int, re.Pattern[str] | str] = {}
        # Whether it holds a loop of which a round may take nothing.
        self.has_empty_rounds = False
        # The text that is all it matches; empty when it is not as simple as that.
        self.literal = ""
        # Text that stands in all that it matches.
        self.needed = ""
        # Marks of groups on which the rest of the way may depend.
        self.watched: tuple[int, ...] = ()

    def add(self, code: int, argument: Any = None) -> int:
        """Append an instruction and return its place."""
        if len(self.codes) >= _MAX_SIZE:
            raise UnsupportedError
        self.codes.append(code)
        self.arguments.append(argument)
        return len(self.codes) - 1

    def after_saves(self, place: int) -> int:
        """Return the first instruction from *place* on that does more than to mark a group."""
        while self.codes[place] == SAVE:
            place += 1
        return place


class Test:
    """
    Tells whether a character is let pass; asks `re` once for each character. *literal* is the only one, if so.

    *is_plain*: characters that are not ASCII are let pass by what kind they are, not which.
    """

    __slots__ = ("_ask", "_known", "_run", "is_plain", "literal", "regex")

    def __init__(self, text: str, flags: int, literal: str, *, is_plain: bool) -> None:
        scope = "".join(letter for flag, letter in _SCOPES if flags & flag)
        self.regex = f"(?{scope}:{text})" if scope else text
        self._ask = compile_class(text, flags).match
        self._run = compile_class(f"(?:{text})*", flags).match
        self.literal = literal
        self.is_plain = is_plain
        self._known: dict[str, bool] = {}

    def run_end(self, text: str, position: int, end: int) -> int:
        """Return where the characters that it lets pass end, from *position* of *text* on and not behind *end*."""
        found = self._run(text, position, end)
        return position if found is None else found.end()

    def passes(self, char: str) -> bool:
        """Tell whether a character passes; nothing (the end of the text) never does."""
        passes = self._known.get(char)
        if passes is None:
            passes = char != "" and self._ask(char) is not None
            if len(self._known) < _MOST_KNOWN:
                self._known[char] = passes
        return passes


def make_test(code: object, value: Any, flags: int) -> Test:
    """Return the test of an item that takes one character."""
    name = str(code)
    literal = chr(value) if name == "LITERAL" and not flags & re.IGNORECASE else ""
    members = value if name == "IN" else [(code, value)]
    is_plain = all(_is_plain(str(kind), item) for kind, item in members)
    return Test(character_class(code, value), flags, literal, is_plain=is_plain)


def _is_plain(name: str, value: Any) -> bool:
    if name in {"LITERAL", "NOT_LITERAL"}:
        return bool(value < _ASCII)
    return name != "RANGE" or bool(value[1] < _ASCII)


class _Compiler:
    """Turns the items of a regex into a program."""

    def __init__(self, program: Program, known: dict[object, Any]) -> None:
        self._program = program
        self._watched: set[int] = set()
        # Tests and looks by the item of which they are made: what is repeated is compiled again and again.
        self._known = known

    def whole(self, items: Items, flags: int) -> None:
        """Compile a regex that ends in a match."""
        self.items(items, flags)
        self._program.add(MATCH)
        program = self._program
        program.needed = _needed(items, flags)
        program.watched = tuple(sorted(self._watched))
        if all(code == CHAR for code in program.codes[:-1]):
            letters = [test.literal for test in program.arguments[:-1]]
            program.literal = "".join(letters) if all(letters) else ""

    def items(self, items: Items, flags: int) -> None:
        """Compile items one after the other."""
        for code, value in items:
            self._item(str(code), code, value, flags)

    def _item(self, name: str, code: object, value: Any, flags: int) -> None:
        add = self._program.add
        if name in SINGLE:
            add(CHAR, self._test(code, value, flags))
        elif name in {"MAX_REPEAT", "MIN_REPEAT"}:
            least, most, inner = value
            self._repeat(least, most, inner, flags, greedy=name == "MAX_REPEAT")
        elif name == "SUBPATTERN":
            group, on, off, inner = value
            if group is not None:
                add(SAVE, 2 * group)
            self.items(inner, (flags | on) & ~off)
            if group is not None:
                add(SAVE, 2 * group + 1)
        elif name == "BRANCH":
            self._branches(value[1], flags)
        elif name == "AT":
            add(AT, _at_kind(str(value), flags))
        elif name in {"ASSERT", "ASSERT_NOT"}:
            self._look(value, flags, wanted=name == "ASSERT")
        elif name == "ATOMIC_GROUP":
            self._atomic(value, flags)
        elif name == "POSSESSIVE_REPEAT":
            # The same as an atomic group around a repeat that gives back.
            self._atomic([("MAX_REPEAT", value)], flags)
        elif name == "GROUPREF" and not flags & re.IGNORECASE:
            self._watch(value)
            add(REF, value)
        elif name == "GROUPREF_EXISTS":
            group, yes, no = value
            self._condition(group, yes, no, flags)
        else:
            raise UnsupportedError

    def _test(self, code: object, value: Any, flags: int) -> Test:
        key = (str(code), value if isinstance(value, int) else id(value), flags)
        test: Test | None = self._known.get(key)
        if test is None:
            test = self._known[key] = make_test(code, value, flags)
        return test

    def _watch(self, group: int) -> None:
        self._watched |= {2 * group, 2 * group + 1}

    def _repeat(self, least: int, most: Any, inner: Items, flags: int, *, greedy: bool) -> None:
        program = self._program
        endless = str(most) == "MAXREPEAT"
        for _ in range(least):
            self.items(inner, flags)
        single = _single(inner, flags) if endless else None
        if single is not None:
            program.add(LOOP if greedy else LAZY, single)
            return
        program.has_empty_rounds |= endless and inner.getwidth()[0] == 0  # type: ignore[attr-defined]
        ends: list[int] = []
        begin = len(program.codes)
        for _ in range(1 if endless else int(most) - least):
            ends.append(program.add(SPLIT))
            self.items(inner, flags)
        if endless:
            program.add(JUMP, begin)
        out = len(program.codes)
        if endless and SAVE not in program.codes[begin:]:
            if inner.getwidth() == (1, 1):  # type: ignore[attr-defined]
                program.rounds[begin] = ONE_CHARACTER
            elif greedy and (rounds := _all_rounds(inner, flags)) is not None:
                program.rounds[begin] = rounds
        for place in ends:
            program.arguments[place] = (place + 1, out) if greedy else (out, place + 1)

    def _branches(self, branches: list[Items], flags: int) -> None:
        program = self._program
        jumps: list[int] = []
        for branch in branches[:-1]:
            split = program.add(SPLIT)
            self.items(branch, flags)
            jumps.append(program.add(JUMP))
            program.arguments[split] = (split + 1, len(program.codes))
        self.items(branches[-1], flags)
        for place in jumps:
            program.arguments[place] = len(program.codes)

    def _look(self, value: tuple[int, Any], flags: int, *, wanted: bool) -> None:
        key = ("look", id(value), flags)
        look = self._known.get(key)
        if look is None:
            look = self._known[key] = self._make_look(value, flags)
        self._program.add(LOOK, (look[0], wanted, look[1]))

    def _make_look(self, value: tuple[int, Any], flags: int) -> tuple[Program, int]:
        direction, inner = value
        program = Program()
        compiler = _Compiler(program, self._known)
        width = 0
        if direction < 0:
            width, longest = inner.getwidth()
            if width != longest:
                raise UnsupportedError
        compiler.whole(inner, flags)
        self._watched |= compiler._watched
        return program, width

    def _atomic(self, inner: Items, flags: int) -> None:
        program = Program()
        compiler = _Compiler(program, self._known)
        compiler.whole(inner, flags)
        self._watched |= compiler._watched
        self._program.add(ATOMIC, program)

    def _condition(self, group: int, yes: Items, no: Items | None, flags: int) -> None:
        self._watch(group)
        program = self._program
        condition = program.add(COND)
        self.items(yes, flags)
        jump = program.add(JUMP)
        program.arguments[condition] = (group, len(program.codes))
        if no:
            self.items(no, flags)
        program.arguments[jump] = len(program.codes)


def _single(items: Items, flags: int) -> Test | None:
    """Return the test of a loop over single characters."""
    items = _opened(items)
    return make_test(*items[0], flags) if len(items) == 1 and str(items[0][0]) in SINGLE else None


def _opened(items: Items) -> Items:
    """Return the items of a group that does nothing but to group, else the items themselves."""
    while len(items) == 1 and str(items[0][0]) == "SUBPATTERN" and items[0][1][:3] == (None, 0, 0):
        items = items[0][1][3]
    return items


def _all_rounds(items: Items, flags: int) -> re.Pattern[str] | None:
    r"""
    Return a regex for all rounds of a loop over plain pieces, such as `(?:[^"]|"")*` or `(?:\\.[^"\\]*)*`.

    None when the next character does not always say which way it goes.
    """
    items = _opened(items)
    is_branch = len(items) == 1 and str(items[0][0]) == "BRANCH"
    ways = items[0][1][1] if is_branch else [items]
    texts: list[str] = []
    # What rounds begin with, and what those that end in a loop take there.
    begins = ends = 0
    for way in ways:
        text = ""
        for place, (code, value) in enumerate(way):
            single, rest = (code, value), ""
            if str(code) == "MAX_REPEAT" and str(value[1]) == "MAXREPEAT" and 0 < place == len(way) - 1:
                single, rest = (value[2][0] if len(value[2]) == 1 else (code, value)), f"{{{value[0]},}}"
            if str(single[0]) not in SINGLE or not make_test(*single, flags).is_plain:
                return None
            taken = takes(*single, flags)
            if rest:
                ends |= taken
            elif place == 0:
                if begins & taken:
                    return None
                begins |= taken
            text += character_class(*single) + rest
        texts.append(text)
    return compile_class(f"(?:{'|'.join(texts)})*+", flags) if all(texts) and not begins & ends else None


def _at_kind(name: str, flags: int) -> str:
    if name == "AT_BEGINNING_STRING":
        return "AT_BEGINNING"
    if flags & re.MULTILINE and name in {"AT_BEGINNING", "AT_END"}:
        return f"{name}_LINE"
    if flags & re.ASCII and name in {"AT_BOUNDARY", "AT_NON_BOUNDARY"}:
        raise UnsupportedError
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


def compile_program(compiled: re.Pattern[str]) -> Program | None:
    r"""
    Return the program of a regex; None when it holds something that cannot be matched so.

    That is: back-references that ignore case, `\b` under (?a), and repeats by the thousands.
    """
    parsed = parse(compiled.pattern, compiled.flags)
    if parsed is None:
        return None
    program = Program()
    try:
        _Compiler(program, {}).whole(*parsed)
    except (UnsupportedError, RecursionError):
        return None
    return program
