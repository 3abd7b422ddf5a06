"""Compile one regex of a filter."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

from banguard.errors import PatternError
from banguard.matching.bounded import Bounded
from banguard.matching.hazard import ENDLESS, explodes, safe_length
from banguard.matching.program import SpanMatch, compile_program
from banguard.matching.tags import expand, group_name
from banguard.matching.twopass import TwoPass, compile_twopass
from banguard.matching.universal import matches_every_line
from banguard.message import tell

Found = re.Match[str] | SpanMatch
Finder = Callable[[str], "Found | None"]

# For subjects up to this length nobody asks whether they are safe.
SHORT = 40
# For longer ones `re` is never used, where that can be done without.
_LONG = 8192

# The groups that say who it was. A failregex needs one of them, its prefregex may hold it.
ID_GROUPS = frozenset({"fid", "ip4", "ip6", "dns", "mlfid"})


# The lexical parts of a regex: first those in which brackets and bars mean themselves, then those in which they do not.
_PARTS = r"""
    \\. | \[\^?\]?(?:\\.|[^\]\\])*\] | \(\?\#[^)]*\)
    | (?P<flags>\(\?[aiLmsux]+\)) | (?P<open>\() | (?P<close>\)) | (?P<bar>\|)
"""
TOKEN = re.compile(_PARTS, re.VERBOSE | re.DOTALL)
_VERBOSE_TOKEN = re.compile(_PARTS + r"| \#[^\n]*", re.VERBOSE | re.DOTALL)
_SCOPED = re.compile(r"\((?:\?:)?\(\?(?P<flags>[aiLmsux]+)\)")
_MERGED = re.compile(r"(?P<how>alt|tuple)_(?P<target>.+?)(?:_\d+)?\Z")


def scope_flags(regex: str) -> str:
    """Turn a global flag directly behind an opening group, `((?i)…)` or `(?:(?i)…)`, into `(?i:…)`."""
    if "(?" not in regex:
        return regex
    pieces: list[str] = []
    position = 0
    for token in TOKEN.finditer(regex):
        scoped = _SCOPED.match(regex, token.start()) if token["open"] and token.start() >= position else None
        if scoped:
            pieces += (regex[position : token.start()], f"(?{scoped['flags']}:")
            position = scoped.end()
    return "".join(pieces) + regex[position:]


def hoist_flags(regex: str) -> str:
    r"""
    Move global flags from anywhere in *regex* to its start.

    Python took `\.(?i)(jpg|png)` until 3.10, and the flag held for the whole regex; 3.11 refuses it (docs.python.org,
    "What's New In Python 3.11").
    """
    tokens, flags = TOKEN, _flags(TOKEN, regex)
    if "x" in flags:
        # Seen first as if there were no comments, then again with them.
        tokens, flags = _VERBOSE_TOKEN, _flags(_VERBOSE_TOKEN, regex) | {"x"}
    if not flags:
        return regex
    text = tokens.sub(lambda token: "" if token["flags"] else token[0], regex)
    return f"(?{''.join(sorted(flags))}){text}"


def _flags(tokens: re.Pattern[str], regex: str) -> set[str]:
    return {flag for token in tokens.finditer(regex) for flag in (token["flags"] or "")[2:-1]}


def is_anchored(regex: str) -> bool:
    """Tell whether *regex*, without re.MULTILINE, can match only at the start of its subject. May say no too often."""
    flags = re.match(r"\(\?([aiLsu]+)\)", regex)
    if flags:
        regex = regex[flags.end() :]
    if not regex.startswith(("^", r"\A")) or re.match(r"(?:\^|\\A)[*?+{]", regex):
        return False
    depth = 0
    for token in TOKEN.finditer(regex):
        if token["flags"]:
            return False
        if token["open"]:
            depth += 1
        elif token["close"]:
            depth -= 1
        elif token["bar"] and depth == 0:
            return False
    return True


def _merges(groups: frozenset[str]) -> tuple[tuple[str, str, bool], ...]:
    """List what is merged after a match, in the order of the names: group, target, and whether it is a tuple part."""
    found = ((name, _MERGED.match(name)) for name in sorted(groups))
    return tuple((name, group_name(how["target"]), how["how"] == "tuple") for name, how in found if how)


class Pattern:
    """
    A regex of a filter, compiled: *text* as the user wrote it, *regex* with its tags expanded.

    `find` searches a short subject, `find_long` any; *groups* are the names of its groups; *is_anchored* says that it
    can match at the start only; *hits* counts its matches, for the tester. *explodes* says that `re` could need for
    ever: such a regex is always matched with bounded effort, unless *unbounded* says that it cannot be. Both ways
    of searching raise GiveUpError on a subject that is made to cost even then.
    """

    __slots__ = (
        "_bounded",
        "_compiled",
        "_limit",
        "explodes",
        "find",
        "groups",
        "hits",
        "is_anchored",
        "merges",
        "regex",
        "text",
        "unbounded",
    )

    def __init__(self, text: str, compiled: re.Pattern[str]) -> None:
        self.text = text
        self.regex = compiled.pattern
        self.groups = frozenset(compiled.groupindex)
        self.hits = 0
        self._compiled = compiled
        self.merges = _merges(self.groups)
        # `search` tries an anchored regex at every character; `match` gives the same answer after the first.
        self.is_anchored = not compiled.flags & (re.MULTILINE | re.VERBOSE) and is_anchored(self.regex)
        self.find: Callable[[str], Found | None] = compiled.match if self.is_anchored else compiled.search
        self._bounded: TwoPass | Bounded | None = None
        self._limit = 0
        self.explodes = self.unbounded = False
        if explodes(self.regex, compiled.flags):
            self._bounded = _compile_bounded(compiled, is_anchored=self.is_anchored)
            self.explodes = self._bounded is not None
            self.unbounded = not self.explodes
            self._limit = ENDLESS
            if self._bounded is not None:
                self.find = self._bounded.search

    @property
    def flags(self) -> int:
        """The flags with which it is compiled."""
        return self._compiled.flags

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its groups in the order of their numbers."""
        return tuple(self._compiled.groupindex)

    @property
    def has_compounds(self) -> bool:
        """Whether some of its values are tuples."""
        return any(compound for _, _, compound in self.merges)

    @property
    def matches_every_line(self) -> bool:
        """Whether there is no line that it does not match; not always found out."""
        return matches_every_line(self.regex, self.flags)

    @property
    def limit(self) -> int:
        """The length of a subject up to which `find` needs milliseconds at most; found out when first asked for."""
        if not self._limit:
            self._limit = min(_LONG, self._safe_length())
        return self._limit

    def _safe_length(self) -> int:
        return safe_length(self.regex, self._compiled.flags, is_anchored=self.is_anchored) or 1

    def find_long(self, subject: str) -> Found | None:
        """Search a subject of any length."""
        if len(subject) <= (self._limit or SHORT) or len(subject) <= self.limit:
            return self.find(subject)
        if self._bounded is None:
            self._bounded = _compile_bounded(self._compiled, is_anchored=self.is_anchored)
            if not isinstance(self._bounded, TwoPass):
                # What is left is slower than `re` where that is safe.
                is_safe = self._bounded is None or self._bounded.is_careful
                self._limit = ENDLESS if is_safe else self._safe_length()
                return self.find_long(subject)
        return self._bounded.search(subject)

    def data(self, found: Found) -> dict[str, object]:
        """
        Return the named groups of a match, alternatives and compound values merged.

        `alt_user` and `alt_user_2` fill `user` when that is missing or empty, the first by name wins. `tuple_user`
        makes `user` a tuple of what it was and what it captured.
        """
        return self.merged(found.groupdict())  # type: ignore[arg-type]  # str is an object

    def merged(self, data: dict[str, object]) -> dict[str, object]:
        """Merge alternatives and compound values into *data*, the named groups, and return it."""
        for name, target, compound in self.merges:
            if compound:
                before = data.get(target)
                data[target] = (*(before if isinstance(before, tuple) else (before,)), data[name])
            elif data[name] and not data.get(target):
                data[target] = data[name]
        return data


def _compile_bounded(compiled: re.Pattern[str], *, is_anchored: bool) -> TwoPass | Bounded | None:
    """Return the matcher of bounded effort for a regex; None when there is none (`compile_program`)."""
    program = compile_program(compiled)
    if program is None:
        return None
    matcher = compile_twopass(compiled, program, is_anchored=is_anchored)
    return Bounded(compiled, program, is_anchored=is_anchored) if matcher is None else matcher


def compile_pattern(text: str, *, names: bool = True, multiline: bool = False) -> Pattern:
    """
    Compile *text*, a regex with tags; *names*: as in `expand`; *multiline*: `^` and `$` hold at each line.

    Raise PatternError when it is empty or no regex.
    """
    if not text:
        raise PatternError(tell("empty regex", code="regex-broken"), pattern=text)
    regex = scope_flags(expand(text, names=names))
    flags = re.MULTILINE if multiline else re.NOFLAG
    with warnings.catch_warnings():
        # What Python warns of ("possible nested set") works as it always did.
        warnings.simplefilter("ignore")
        try:
            try:
                compiled = re.compile(regex, flags)
            except re.error:
                hoisted = hoist_flags(regex)
                if hoisted == regex:
                    raise
                compiled = re.compile(hoisted, flags)
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            reason = error.msg if isinstance(error, re.error) else str(error)
            raise PatternError(
                tell("cannot compile regex {text!r}: {reason}", code="regex-broken", text=text, reason=reason),
                pattern=text,
            ) from None
    return Pattern(text, compiled)
