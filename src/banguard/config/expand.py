"""
Expand `%(name)s` and `<name>` references, and the bracket options that feed them.

`%(name)s` is settled when an option is fetched, within its section. `<name>` is settled afterwards, over the options of
a filter or action with those a jail gave in brackets; what nobody knows stays as it is, for it is a tag of run time
(`<HOST>`, `<ip>`) or no tag at all (`<stdin`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from banguard.config.schema import Place
from banguard.errors import ConfigError
from banguard.message import tell

if TYPE_CHECKING:
    from banguard.config.ini import Sections, Value

_NONE: Mapping[str, str] = {}
_REFERENCE = re.compile(r"%(?:%|\(([^)]+)\)s)?")
_TAG = re.compile(r"<([^ <>]+)>")
# No text that anybody wrote comes near; it stops references that double themselves again and again.
_LONGEST = 1_000_000
_MOST_REPLACEMENTS = 10_000
_DEEPEST = 50

# One step on the way through references: the place looked in, the option, and how often `known` was said.
_Step = tuple[str, str, int]
_Trail = tuple[_Step, ...]


class Scope:
    """
    The values seen from one section.

    A name is looked up in *variables* (lower-case names), the section, [DEFAULT], and *constants*. `%(section/name)s`
    takes the value from another section, `%(default/name)s` from [DEFAULT], `%(known/name)s` what the option was before
    its last overwriting; *known*, if given, is asked first for those.
    """

    def __init__(
        self,
        sections: Sections,
        section: str,
        variables: Mapping[str, str] = _NONE,
        *,
        constants: Mapping[str, str] = _NONE,
        known: Callable[[str], str | None] | None = None,
    ) -> None:
        self._sections = sections
        self._section = section
        self._variables = variables
        self._constants = constants
        self._known = known
        self._replaced = 0

    def text(self, option: str) -> str | None:
        """Return *option* expanded, a variable of that name first; None when it is nowhere. Raise ConfigError."""
        self._replaced = 0
        if option in self._variables:
            return self._expand(self._variables[option], None, (("variable", option, 0),), strict=False)
        return self.own_text(option)

    def own_text(self, option: str) -> str | None:
        """Return *option* of the section or [DEFAULT] expanded, whatever variables say; None when it is nowhere."""
        self._replaced = 0
        value = self._sections.value(self._section, option)
        if value is None:
            return None
        return self._expand(value.text, value.place, (("", option, 0),), strict=True)

    def expand(self, text: str, place: Place | None = None) -> str:
        """Return *text*, which stands at *place*, expanded. Raise ConfigError."""
        self._replaced = 0
        return self._expand(text, place, (), strict=True)

    def origins(self, value: Value, trail: _Trail = ()) -> Iterator[tuple[Place, str]]:
        """Yield the lines of *value* expanded, each with where it stands, which may be in the value it refers to."""
        if not trail:
            self._replaced = 0
        for number, line in zip(value.lines or (value.line,), value.text.split("\n"), strict=True):
            place = Place(value.path, number)
            reference = _REFERENCE.fullmatch(line)
            if reference is not None and reference[1]:
                step, source, _ = self._find(reference[1], trail)
                if source is not None and step not in trail:
                    yield from self.origins(source, (*trail, step))
                    continue
            for text in self._expand(line, place, trail, strict=True).split("\n"):
                if text.strip():
                    yield place, text

    def _expand(self, text: str, place: Place | None, trail: _Trail, *, strict: bool) -> str:
        """
        Return *text* expanded; *trail* is the way that led to it.

        When not *strict*, the text was expanded once already where it was given, and what is no reference stands for
        itself.
        """
        if "%" not in text:
            return text
        pieces = []
        end = length = 0
        for found in _REFERENCE.finditer(text):
            pieces.append(text[end : found.start()])
            end = found.end()
            if found[1]:
                pieces.append(self._refer(found[1], place, trail, strict=strict))
                length += len(pieces[-1])
                if length > _LONGEST:
                    raise _error(
                        tell("{name} leads on without end", code="value-endless", name=_around(text, 0)), place
                    )
            elif found[0] == "%%" or not strict:
                pieces.append("%")
            else:
                raise _error(
                    tell(
                        "a lone '%' (write '%%' for a percent sign): {piece}",
                        code="percent-alone",
                        piece=_around(text, found.start()),
                    ),
                    place,
                )
        pieces.append(text[end:])
        return "".join(pieces)

    def _refer(self, name: str, place: Place | None, trail: _Trail, *, strict: bool) -> str:
        """Return what `%(name)s` stands for."""
        step, value, text = self._find(name, trail)
        if step in trail:
            raise _error(tell("{name} refers to itself", code="value-endless", name=f"%({name})s"), place)
        self._replaced += 1
        if self._replaced > _MOST_REPLACEMENTS or len(trail) > _DEEPEST:
            raise _error(tell("{name} leads on without end", code="value-endless", name=f"%({name})s"), place)
        if value is not None:
            return self._expand(value.text, value.place, (*trail, step), strict=True)
        if text is not None:
            return self._expand(text, None, (*trail, step), strict=False)
        if strict:
            raise _error(tell("%({name})s is not defined anywhere", code="reference-unknown", name=name), place)
        return f"%({name})s"

    def _find(self, name: str, trail: _Trail) -> tuple[_Step, Value | None, str | None]:
        """Return the step that `%(name)s` makes, with a value of a file, or a text that was given, or neither."""
        key = name.lower()
        if key == "__name__":
            return ("name", key, 0), None, self._section
        if key in self._variables:
            return ("variable", key, 0), None, self._variables[key]
        section, slash, option = name.rpartition("/")
        option = option.lower()
        if not slash:
            step, value = ("", option, 0), self._sections.value(self._section, option)
        elif section.lower() == "known":
            given = self._known(option) if self._known is not None else None
            if given is not None:
                return ("variable", key, 0), None, given
            # Within a known value, the one known before it is meant.
            level = sum(1 for seen in trail if seen[0] == "known" and seen[1] == option)
            step, value = ("known", option, level), self._sections.known(self._section, option, level)
            if value is None:
                step, value = ("default", option, 0), self._sections.defaults.get(option)
        elif section.lower() == "default":
            step, value = ("default", option, 0), self._sections.defaults.get(option)
        else:
            named = section if section in self._sections.sections else section.lower()
            step, value = (named, option, 0), self._sections.value(named, option)
        return step, value, self._constants.get(key) if value is None else None


class Tags:
    """
    Replaces `<name>` by the text *lookup* gives, innermost first, until nothing is left to replace.

    Names in *kept*, and those for which *lookup* returns None, stay as they are.
    """

    def __init__(self, lookup: Callable[[str], str | None], kept: Collection[str] = ()) -> None:
        self._lookup = lookup
        self._kept = kept
        self._settled: dict[str, str | None] = {}
        self._open: list[str] = []

    def keeps(self, name: str) -> bool:
        """Tell whether `<name>` always stays as it is."""
        return name in self._kept

    def expand(self, text: str, name: str = "") -> str:
        """Return *text* with its tags replaced, being the value of *name*. Raise ConfigError when it holds itself."""
        if "<" not in text:
            return text
        if not name:
            return self._expand(text)
        if name in self._open:
            raise ConfigError(
                tell(
                    "{name} refers to itself: {known}",
                    code="value-endless",
                    name=f"<{name}>",
                    known=" in ".join(f"<{open_}>" for open_ in reversed(self._open)),
                )
            )
        if len(self._open) > _DEEPEST:
            raise ConfigError(tell("{name} leads on without end", code="value-endless", name=f"<{name}>"))
        self._open.append(name)
        try:
            return self._expand(text)
        finally:
            self._open.pop()

    def _expand(self, text: str) -> str:
        start = count = 0
        while True:
            tag = _TAG.search(text, start)
            if tag is None:
                return text
            replacement = self._replacement(tag[1])
            if replacement is None:
                start = tag.end()
                continue
            count += 1
            if count > _MOST_REPLACEMENTS or len(text) > _LONGEST:
                raise ConfigError(tell("{name} leads on without end", code="value-endless", name=tag[0]))
            text = text[: tag.start()] + replacement + text[tag.end() :]
            # The new text may complete a tag around it: `<lt_<logtype>/x>`.
            start = max(text.rfind("<", 0, tag.start()), 0)

    def _replacement(self, name: str) -> str | None:
        if name in self._kept:
            return None
        if name not in self._settled:
            text = self._lookup(name)
            self._settled[name] = None if text is None else self.expand(text, name)
        return self._settled[name]


class Spec(NamedTuple):
    """A name with its bracket options, such as `sshd[mode=aggressive]`."""

    name: str
    options: Mapping[str, str]


_BLANK = re.compile(r"\s*")
_ITEM = re.compile(r"[^\s\[]+")
_KEY = re.compile(r"[\w\-.]+(?:\?[\w\-.]+=[\w\-.]+(?==))?")
_PLAIN = re.compile(r"[^,\]]*")


def parse_spec(text: str) -> Spec:
    """
    Parse one name with bracket options; the name may hold blanks. Raise ValueError.

    ::

        name [ "[" key "=" value { ("," | "]" blanks "[") key "=" value } "]" ]

    A value is quoted, right after the `=` (then it may hold anything but its quote, also line ends), or reaches to the
    next `,` or `]`. A later key wins.
    """
    name, bracket, _ = text.partition("[")
    if not bracket:
        return Spec(text.strip(), {})
    options, end = _brackets(text, len(name))
    if text[end:].strip():
        raise ValueError(tell("unexpected {piece} after ']'", piece=_around(text, end)))
    if not name.strip():
        raise ValueError(tell("no name before '['"))
    return Spec(name.strip(), options)


def parse_specs(text: str) -> list[Spec]:
    """Parse a list of names with bracket options, which blanks or line ends separate. Raise ValueError."""
    specs = []
    position = _skip(text, 0)
    while position < len(text):
        name = _ITEM.match(text, position)
        if name is None:
            raise ValueError(tell("no name before {piece}", piece=_around(text, position)))
        position = name.end()
        options: dict[str, str] = {}
        begin = _skip(text, position)
        if text[begin : begin + 1] == "[":
            options, position = _brackets(text, begin)
            if position < len(text) and not text[position].isspace():
                raise ValueError(tell("unexpected {piece} after ']'", piece=_around(text, position)))
        specs.append(Spec(name[0], options))
        position = _skip(text, position)
    return specs


def parse_options(text: str) -> dict[str, str]:
    """Parse bracket options without their brackets: `key="<ip>", max-count=100`. Raise ValueError."""
    options, end = _brackets(f"[{text}]", 0)
    if end != len(text) + 2:
        raise ValueError(tell("unexpected {piece}", piece=_around(text, end - 1)))
    return options


def _brackets(text: str, position: int) -> tuple[dict[str, str], int]:
    """Parse option groups from the `[` at *position*; return them and where they end."""
    options: dict[str, str] = {}
    while text[position : position + 1] == "[":
        position = _skip(text, position + 1)
        while text[position : position + 1] != "]":
            key = _KEY.match(text, position)
            if key is None or text[key.end() : key.end() + 1] != "=":
                if position >= len(text):
                    raise ValueError(tell("missing ']'"))
                raise ValueError(tell("expected option=value at {piece}", piece=_around(text, position)))
            options[key[0]], position = _value(text, key.end() + 1)
            if text[position : position + 1] == ",":
                position = _skip(text, position + 1)
            elif text[position : position + 1] != "]":
                if position >= len(text):
                    raise ValueError(tell("missing ']'"))
                raise ValueError(
                    tell("unexpected {piece} after option {key!r}", piece=_around(text, position), key=key[0])
                )
        position += 1
        following = _skip(text, position)
        if text[following : following + 1] != "[":
            break
        position = following
    return options, position


def _value(text: str, position: int) -> tuple[str, int]:
    """Parse the value at *position*; return it and where it ends."""
    quote = text[position : position + 1]
    if quote in ('"', "'") and quote:
        end = text.find(quote, position + 1)
        if end >= 0:
            following = _skip(text, end + 1)
            # Blanks may stand between a quoted value and the closing bracket only.
            return text[position + 1 : end].strip(), following if text[following : following + 1] == "]" else end + 1
    found = _PLAIN.match(text, position)
    assert found is not None  # noqa: S101  the pattern matches nothing too
    return found[0].strip(), found.end()


def _skip(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    assert blank is not None  # noqa: S101  the pattern matches nothing too
    return blank.end()


def _around(text: str, position: int) -> str:
    piece = text[position : position + 30]
    return repr(piece + "..." if len(text) > position + 30 else piece)


def _error(message: str, place: Place | None) -> ConfigError:
    if place is None:
        return ConfigError(message)
    return ConfigError(message, path=place.path, line=place.line)


def names_in(values: Iterable[Value]) -> set[str]:
    """Return all names, in lower case and without their section, that the raw texts of *values* refer to."""
    found: set[str] = set()
    for value in values:
        if "%" in value.text:
            found.update(name.lower() for name in _REFERENCE.findall(value.text) if name)
        if "<" in value.text:
            found.update(name.lower() for name in _TAG.findall(value.text))
    return found | {name.rpartition("/")[2] for name in found}
