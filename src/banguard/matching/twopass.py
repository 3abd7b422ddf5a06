"""
A matcher that goes over the text twice and never back: what it finds is what `re` finds.

First from the end to the beginning: for each place of the text, the set of instructions from which the rest of the text
matches. A set and the character before it say which set comes next, so each such pair is worked out once and looked up
from then on (a lazy deterministic automaton). A look-ahead is answered by the set: what it looks for begins with an
instruction of the set, or does not. Then from the beginning to the end: of the ways that `re` would try, the first of
which the instruction is in the set; it cannot fail. Characters that one loop takes are passed in one step.

See Frisch and Cardelli, "Greedy regular expression matching", 2004, and Cox, "Regular Expression Matching in the Wild",
2010. What it cannot match is left to `bounded`: back-references, atomic groups, loops of which a round may take
nothing, looks behind of more than one character.
"""

from __future__ import annotations

import re
from typing import Any

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
    ONE_CHARACTER,
    REF,
    SAVE,
    SPLIT,
    Program,
    SpanMatch,
    Test,
    is_word,
)

# Text is looked at in pieces of this size: a piece seen before at the same state costs one step.
_PIECE = 32
# Transitions that are remembered: a megabyte or two.
_MAX_EDGES = 4000
# Conditions on groups that are told apart, by a copy of the program for each case.
_MAX_CONDITIONS = 2
# Places at which a loop of several characters a round could be left that are tried at once.
_TRIES = 8

# What comes behind a place of the text.
_OTHER, _WORD, _NEWLINE, _LAST_NEWLINE, _END = range(5)
_LINE_ENDS = {
    "AT_END": frozenset({_LAST_NEWLINE, _END}),
    "AT_END_STRING": frozenset({_END}),
    "AT_END_LINE": frozenset({_NEWLINE, _LAST_NEWLINE, _END}),
}
# Letters that are no ASCII and equal to some when case is ignored.
_FOLDED = frozenset("\u017f\u212a\u0130\u0131")


class _UnsupportedError(Exception):
    """The program holds what cannot be matched in this way."""


class _Edge:
    """A step over a character: *mask* is the set at the place behind it, *to* the state at the place before it."""

    __slots__ = ("mask", "to")

    def __init__(self, mask: int, to: _State) -> None:
        self.mask = mask
        self.to = to


class _State(dict[str, _Edge]):
    """
    What is known at a place of the text, from its end to there; its edges by the character before.

    *base* are the instructions that take the next character and go on, *context* says what that is. *is_dead*: nothing
    can match any more.
    """

    __slots__ = ("base", "context", "is_dead", "machine", "number")

    def __init__(self, machine: _Machine, base: int, context: int, number: int) -> None:
        super().__init__()
        self.machine = machine
        self.base = base
        self.context = context
        self.number = number
        self.is_dead = False

    def __missing__(self, symbol: str) -> _Edge:
        return self.machine.extend(self, symbol)


class _Symbols(dict[int, str]):
    """One character for all that the tests of a program cannot tell apart; a table for `str.translate`."""

    def __init__(self, tests: list[Test], *, has_words: bool) -> None:
        super().__init__()
        self._tests = tests
        self._has_words = has_words
        self._is_plain = all(test.is_plain for test in tests)
        self._first: dict[tuple[int, bool, bool], str] = {}
        self._kinds: dict[tuple[bool, bool, bool], str] = {}

    def __missing__(self, number: int) -> str:
        char = chr(number)
        kind = (char.isalnum(), char.isdecimal(), char.isspace())
        is_kind = self._is_plain and number > 127 and char not in _FOLDED
        symbol = self._kinds.get(kind) if is_kind else None
        if symbol is None:
            passes = sum(1 << place for place, test in enumerate(self._tests) if test.passes(char))
            words = self._has_words and is_word(char) is not None
            symbol = self._first.setdefault((passes, words, char == "\n"), char)
            if is_kind:
                self._kinds[kind] = symbol
        if len(self) < 4096:
            self[number] = symbol
        return symbol


class _Machine:
    """
    The automaton that goes backwards.

    Instructions are numbered: first the main program, once for each case of its conditions, then those of look-aheads.
    A set of instructions is an integer with their bits. Raise _UnsupportedError.
    """

    def __init__(self, program: Program, *, is_anchored: bool) -> None:
        self.codes: list[int] = []
        self.arguments: list[Any] = []
        # `^`, `$`, `\b` and looks, by how deep they are in look-aheads.
        self._gates: dict[int, list[int]] = {}
        # Where the programs of look-ahead are, by the program and how deep it is.
        self._inner: dict[tuple[int, int], int] = {}
        self._always = 0
        self._main = self._add_main(program)
        self._before = self._link()
        self._up: dict[int, int] = {}
        # The same for some of 16 instructions; and the bytes of a set.
        self._words: dict[tuple[int, int], int] = {}
        self._size = (len(self.codes) + 15) // 16 * 2
        # By regex: the test, the instructions that take one character that passes, and those that take many.
        self._tests: dict[str, tuple[Test, int, int]] = {}
        self._collect_tests()
        kinds = {self.arguments[place] for place in self._gate_places(AT)}
        self._has_words = bool(kinds & {"AT_BOUNDARY", "AT_NON_BOUNDARY"})
        self._has_lines = "AT_END_LINE" in kinds
        self._order = self._order_gates()
        self._idle = self._find_idle() if is_anchored else -1
        self.symbols = _Symbols([test for test, _, _ in self._tests.values()], has_words=self._has_words)
        self._steps: dict[str, tuple[int, int]] = {}
        self.exits = self._find_exits()
        self._states: dict[tuple[int, int], _State] = {}
        self._edges = 0

    # ---- the instructions

    def _add_main(self, program: Program) -> int:
        """Add a program, with conditions on groups solved; return all its instructions."""
        codes = program.codes
        given = [argument for code, argument in zip(codes, program.arguments, strict=True) if code == COND]
        groups = sorted({group for group, _ in given})
        if len(groups) > _MAX_CONDITIONS:
            raise _UnsupportedError
        copies, size = 1 << len(groups), len(codes)
        self._add_codes(program, copies)
        for here in range(copies * size):
            copy, place = divmod(here, size)
            argument = program.arguments[place]
            if codes[place] == COND:
                group, without = argument
                is_caught = copy >> groups.index(group) & 1
                self.codes[here], self.arguments[here] = JUMP, copy * size + (place + 1 if is_caught else without)
            elif codes[place] == SAVE and argument % 2 and argument // 2 in groups:
                caught = copy | 1 << groups.index(argument // 2)
                self.arguments[here] = (argument, caught * size + place + 1)
            else:
                self._add(program, here, place, 0)
        return (1 << copies * size) - 1

    def _add_codes(self, program: Program, copies: int = 1) -> int:
        if program.has_empty_rounds or {REF, ATOMIC} & set(program.codes):
            raise _UnsupportedError
        start = len(self.codes)
        self.codes += program.codes * copies
        self.arguments += [None] * len(program.codes) * copies
        return start

    def _add_inner(self, program: Program, depth: int) -> int:
        """Add the program of a look-ahead, if it is not there yet; return its first instruction."""
        known = self._inner.get((id(program), depth))
        if known is not None:
            return known
        if COND in program.codes:
            raise _UnsupportedError
        start = self._inner[id(program), depth] = self._add_codes(program)
        for place in range(len(program.codes)):
            self._add(program, start + place, place, depth)
        return start

    def _add(self, program: Program, here: int, place: int, depth: int) -> None:
        code, argument = program.codes[place], program.arguments[place]
        start = here - place
        if code == SPLIT:
            argument = (start + argument[0], start + argument[1], program.rounds.get(place))
        elif code == JUMP:
            argument = start + argument
        elif code == SAVE:
            argument = (argument, here + 1)
        elif code == MATCH:
            self._always |= 1 << here
        elif code == LOOK:
            argument = self._add_look(argument, depth)
        if code in {AT, LOOK}:
            self._gates.setdefault(depth, []).append(here)
        self.arguments[here] = argument

    def _add_look(self, argument: tuple[Program, bool, int], depth: int) -> tuple[int, bool, Test | None]:
        """Add a look; return where its program is, what is wanted, and the test if it looks at the character before."""
        program, wanted, width = argument
        if width == 0:
            return self._add_inner(program, depth + 1), wanted, None
        if width > 1 or program.codes != [CHAR, MATCH]:
            raise _UnsupportedError
        return 0, wanted, program.arguments[0]

    def _gate_places(self, code: int) -> list[int]:
        return [place for places in self._gates.values() for place in places if self.codes[place] == code]

    def _link(self) -> list[list[int]]:
        """Return for each instruction from which others it is reached without a condition or a character."""
        before: list[list[int]] = [[] for _ in self.codes]
        for place, (code, argument) in enumerate(zip(self.codes, self.arguments, strict=True)):
            if code == SPLIT:
                before[argument[0]].append(place)
                before[argument[1]].append(place)
            elif code == JUMP:
                before[argument].append(place)
            elif code == SAVE:
                before[argument[1]].append(place)
            elif code in {LOOP, LAZY}:
                before[place + 1].append(place)
        return before

    def _reach(self, place: int) -> int:
        """Return the instructions that lead to one without a condition or a character, and itself."""
        found = self._up.get(place)
        if found is None:
            seen, left = {place}, [place]
            while left:
                new = [each for each in self._before[left.pop()] if each not in seen]
                seen.update(new)
                left += new
            found = self._up[place] = sum(1 << each for each in seen)
        return found

    def _collect_tests(self) -> None:
        for place, (code, argument) in enumerate(zip(self.codes, self.arguments, strict=True)):
            test = argument[2] if code == LOOK else argument if code in {CHAR, LOOP, LAZY} else None
            if test is not None:
                known, chars, loops = self._tests.get(test.regex, (test, 0, 0))
                chars |= (code == CHAR) << place
                loops |= (code in {LOOP, LAZY}) << place
                self._tests[test.regex] = (known, chars, loops)

    def _order_gates(self) -> list[list[tuple[int, int]]]:
        """Return the gates, the deepest first: the bits of those that ask the same, and one of them."""
        order = []
        for depth in sorted(self._gates, reverse=True):
            same: dict[object, tuple[int, int]] = {}
            for place in self._gates[depth]:
                places, gate = same.get(self.arguments[place], (0, place))
                same[self.arguments[place]] = (places | 1 << place, gate)
            order.append(list(same.values()))
        return order

    def _find_exits(self) -> int:
        """Return the instructions of which is asked where they are: the first one, and those around loops."""
        exits = 1
        for place, (code, argument) in enumerate(zip(self.codes, self.arguments, strict=True)):
            if code in {LOOP, LAZY}:
                exits |= 2 << place
            elif code == SPLIT and argument[2] is not None:
                exits |= 1 << argument[argument[2] != ONE_CHARACTER]
        return exits

    def _find_idle(self) -> int:
        """Return the end of the main program, when it can be reached only at the end of the text; else -1."""
        idle = 0
        for place in _bits(self._always & self._main):
            idle |= self._reach(place)
        if idle & 1:
            return -1
        for place, (code, argument) in enumerate(zip(self.codes, self.arguments, strict=True)):
            is_behind = idle >> (place if code in {LOOP, LAZY} else place + 1) & 1
            if code in {CHAR, LOOP, LAZY, LOOK} and is_behind:
                return -1
            if code == AT and is_behind and argument not in {"AT_END", "AT_END_STRING"}:
                return -1
        return idle

    # ---- the automaton

    def start(self) -> _State:
        """Return the state at the end of a text."""
        if self._edges > _MAX_EDGES:
            self._states.clear()
            self._words.clear()
            self._edges = 0
        return self._state(self._always, _END)

    def _state(self, base: int, context: int) -> _State:
        state = self._states.get((base, context))
        if state is None:
            state = self._states[base, context] = _State(self, base, context, len(self._states))
            is_over = self._idle >= 0 and context < _LAST_NEWLINE
            state.is_dead = is_over and not base & self._main & ~self._idle
        return state

    def extend(self, state: _State, symbol: str) -> _Edge:
        """Add an edge to a state: the step over *symbol*, or nothing at the beginning of the text."""
        mask = self._close(state.base, state.context, symbol)
        to = state
        if symbol:
            chars, loops = self._steps.get(symbol) or self._step(symbol)
            base = mask >> 1 & chars | mask & loops
            to = self._state(base | self._always, self._context(symbol, state.context))
        self._edges += 1
        edge = state[symbol] = _Edge(mask, to)
        return edge

    def _reach_all(self, mask: int) -> int:
        """Return the instructions that lead to some of *mask* without a condition or a character, and these."""
        found = mask
        for at, word in enumerate(memoryview(mask.to_bytes(self._size, "little")).cast("H")):
            if word:
                part = self._words.get((at, word))
                if part is None:
                    part = 0
                    for bit in _bits(word):
                        part |= self._reach(16 * at + bit)
                    self._words[at, word] = part
                found |= part
        return found

    def _step(self, symbol: str) -> tuple[int, int]:
        chars = loops = 0
        for test, takes_one, takes_many in self._tests.values():
            if test.passes(symbol):
                chars |= takes_one
                loops |= takes_many
        self._steps[symbol] = chars, loops
        return chars, loops

    def _context(self, symbol: str, before: int) -> int:
        if symbol == "\n":
            return _LAST_NEWLINE if before == _END else _NEWLINE if self._has_lines else _OTHER
        return _WORD if self._has_words and is_word(symbol) is not None else _OTHER

    def _close(self, base: int, context: int, symbol: str) -> int:
        """Return all instructions from which the rest of the text matches."""
        mask = self._reach_all(base)
        for gates in self._order:
            is_open = 0
            for places, gate in gates:
                if self._passes(gate, mask, context, symbol):
                    is_open |= places
            while new := mask >> 1 & ~mask & is_open:
                mask |= self._reach_all(new)
        return mask

    def _passes(self, place: int, mask: int, context: int, symbol: str) -> bool:
        argument = self.arguments[place]
        if self.codes[place] == LOOK:
            start, wanted, behind = argument
            found = mask >> start & 1 != 0 if behind is None else behind.passes(symbol)
            return bool(found == wanted)
        kind: str = argument
        if kind == "AT_BEGINNING":
            return symbol == ""
        if kind == "AT_BEGINNING_LINE":
            return symbol in {"", "\n"}
        if kind in _LINE_ENDS:
            return context in _LINE_ENDS[kind]
        is_word_before = symbol != "" and is_word(symbol) is not None
        return (is_word_before != (context == _WORD)) == (kind == "AT_BOUNDARY")


class _Trace:
    """The sets of all places of a text, as the first pass found them: in pieces, the end of the text first."""

    def __init__(self, pieces: list[tuple[_Edge, ...]], first: int, length: int, exits: int) -> None:
        self._pieces = pieces
        self._first = first
        self._length = length
        self._exits = exits
        self._kinds: str | None = None
        self._sets: dict[int, str] = {}
        self._flags: dict[int, str] = {}

    def mask(self, place: int) -> int:
        """Return the set of a place of the text."""
        if place == 0:
            return self._first
        piece, number = divmod(self._length - place, _PIECE)
        return self._pieces[piece][number].mask

    def last(self, instruction: int, begin: int, end: int) -> int:
        """Return the last place from *begin* to *end* whose set has an instruction; one has."""
        if self.mask(end) >> instruction & 1:
            return end
        return self._length - self._flags_of(instruction).find("1", self._length - end, self._length - begin + 1)

    def first(self, instruction: int, begin: int, end: int) -> int:
        """Return the first place from *begin* to *end* whose set has an instruction; -1 when none has."""
        if self.mask(begin) >> instruction & 1:
            return begin
        at = self._flags_of(instruction).rfind("1", self._length - end, self._length - begin + 1)
        return -1 if at < 0 else self._length - at

    def first_without(self, instruction: int, begin: int) -> int:
        """Return the first place from *begin* on whose set does not have an instruction; there is one."""
        if not self.mask(begin) >> instruction & 1:
            return begin
        return self._length - self._flags_of(instruction).rfind("0", 0, self._length - begin + 1)

    def _flags_of(self, instruction: int) -> str:
        """Return for each place, the last one first, whether its set has an instruction: 1 or 0."""
        flags = self._flags.get(instruction)
        if flags is None:
            kinds = self._kinds
            if kinds is None:
                kinds = self._kinds = self._find_kinds()
            table = {ord(kind): "01"[mask >> instruction & 1] for mask, kind in self._sets.items()}
            flags = self._flags[instruction] = kinds.translate(table)
        return flags

    def _find_kinds(self) -> str:
        """Give each set a character, as far as it matters here."""
        known: dict[int, str] = {}
        kinds: list[str] = []
        for piece in self._pieces:
            kind = known.get(id(piece))
            if kind is None:
                kind = known[id(piece)] = "".join([self._kind(edge.mask) for edge in piece])
            kinds.append(kind)
        kinds.append(self._kind(self._first))
        return "".join(kinds)

    def _kind(self, mask: int) -> str:
        mask &= self._exits
        return self._sets.setdefault(mask, chr(len(self._sets)))


class TwoPass:
    """A compiled regex. `search` is that of `re`, in a time that grows with the length of the text only."""

    def __init__(self, compiled: re.Pattern[str], program: Program, *, is_anchored: bool) -> None:
        self._compiled = compiled
        self._needed = program.needed
        self._is_anchored = is_anchored
        self._machine = _Machine(program, is_anchored=is_anchored)

    def search(self, text: str) -> SpanMatch | None:
        """Return the leftmost match in *text*."""
        if self._needed not in text:
            return None
        trace = self._go_back(text)
        if trace is None:
            return None
        start = 0
        if not trace.mask(0) & 1:
            start = -1 if self._is_anchored else trace.first(0, 0, len(text))
            if start < 0:
                return None
        marks = [-1] * (2 * self._compiled.groups + 2)
        marks[0], marks[1] = start, self._go_forth(text, trace, 0, start, marks)
        return SpanMatch(self._compiled, text, marks)

    def _go_back(self, text: str) -> _Trace | None:
        """Find out from which instructions the text matches at each of its places; None: it matches nowhere."""
        symbols = text.translate(self._machine.symbols)[::-1]
        state = self._machine.start()
        pieces: list[tuple[_Edge, ...]] = []
        known: dict[tuple[int, str], tuple[_Edge, ...]] = {}
        for at in range(0, len(symbols), _PIECE):
            piece = symbols[at : at + _PIECE]
            key = (state.number, piece)
            edges = known.get(key)
            if edges is None:
                edges = known[key] = tuple(_follow(state, piece))
            pieces.append(edges)
            state = edges[-1].to
            if state.is_dead:
                return None
        return _Trace(pieces, state[""].mask, len(text), self._machine.exits)

    def _go_forth(self, text: str, trace: _Trace, place: int, position: int, marks: list[int]) -> int:
        """Follow the first way to the end of a program; fill *marks* and return where the match ends."""
        codes, arguments = self._machine.codes, self._machine.arguments
        # Loops that are followed round by round, and how far.
        steps_until: dict[int, int] = {}
        while True:
            code = codes[place]
            argument = arguments[place]
            if code == CHAR:
                position += 1
            elif code == LOOP:
                position = trace.last(place + 1, position, argument.run_end(text, position, len(text)))
            elif code == LAZY:
                position = trace.first(place + 1, position, argument.run_end(text, position, len(text)))
            elif code == SPLIT:
                first, second, rounds = argument
                if rounds == ONE_CHARACTER:
                    if first == place + 1:
                        position, place = trace.first_without(first, position), second
                    else:
                        position, place = trace.first(first, position, len(text)), first
                    continue
                if rounds is not None and position >= steps_until.get(place, 0):
                    end = _rounds_end(rounds, text, trace, second, position)
                    if end >= 0:
                        position, place = end, second
                        continue
                    steps_until[place] = rounds.match(text, position).end()
                place = first if trace.mask(position) >> first & 1 else second
                continue
            elif code == JUMP:
                place = argument
                continue
            elif code == SAVE:
                mark, place = argument
                marks[mark] = position
                continue
            elif code == LOOK:
                start, wanted, behind = argument
                if wanted and behind is None:
                    self._go_forth(text, trace, start, position, marks)
            elif code == MATCH:
                return position
            place += 1


def _rounds_end(rounds: re.Pattern[str], text: str, trace: _Trace, behind: int, position: int) -> int:
    """Return where a loop is left that goes on as long as *behind* it the text matches; -1 when that takes longer."""
    end = len(text)
    for _ in range(_TRIES):
        found = rounds.match(text, position, end)
        end = position if found is None else found.end()
        last = trace.last(behind, position, end)
        if last == end:
            return end
        end = last
    return -1


def _follow(state: _State, symbols: str) -> list[_Edge]:
    """Return the edges that some characters take from a state on."""
    edges = []
    for symbol in symbols:
        edge = state[symbol]
        edges.append(edge)
        state = edge.to
    return edges


def _bits(mask: int) -> list[int]:
    """Return the numbers of the bits that are set."""
    places = []
    while mask:
        low = mask & -mask
        places.append(low.bit_length() - 1)
        mask ^= low
    return places


def compile_twopass(compiled: re.Pattern[str], program: Program, *, is_anchored: bool) -> TwoPass | None:
    """
    Return the matcher for a regex and its program; None when that holds something that cannot be matched so.

    *is_anchored* says that it can match at the start only.
    """
    try:
        return TwoPass(compiled, program, is_anchored=is_anchored)
    except _UnsupportedError:
        return None
