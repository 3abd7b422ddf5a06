"""The options of one filter or action as one jail sees them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from banguard.config.expand import Scope, Tags
from banguard.config.ini import DEFAULT, KNOWN, Sections, Value
from banguard.config.options import FILTER_OPTIONS
from banguard.config.schema import Place
from banguard.errors import ConfigError

INIT = "Init"
DEFINITION = "Definition"
_DEEPEST = 10


class Parts:
    """
    The options of *sections* with those a jail gave in *brackets*.

    A name is looked up in the brackets, [Init], and [Definition] (with [DEFAULT]), where *variables*, the options of
    the jail, and those in brackets beat what the file says. An option that differs by address family
    (`blocktype?family=inet6`) is settled at run time, as are the tags in *kept*; an option in brackets stands for all
    families.

    A filter is looked at twice. The first look is *tentative*, while little is known of the jail: what is neither an
    option of filters nor in [DEFAULT] only is then read without any variables. For the second look the first one is
    given as *early*: now [Init] beats [Definition] in `%(name)s` too, as it always does in `<name>`, and a tag for what
    the filter has in [DEFAULT] only stands for what it was early. This is how fail2ban reads its filters; some depend
    on it, most never notice.
    """

    def __init__(
        self,
        sections: Sections,
        brackets: Mapping[str, str],
        variables: Mapping[str, str],
        *,
        kept: Collection[str] = (),
        tentative: bool = False,
        early: Parts | None = None,
    ) -> None:
        self._sections = sections
        self.brackets = brackets
        self.init: Mapping[str, Value] = {
            name: value
            for name, value in sections.own(INIT).items()
            if "?" not in name or (name.partition("?")[0] not in brackets and name not in brackets)
        }
        self._init_scope = Scope(sections, INIT)
        self._variables = {
            **variables,
            **(self._init_variables() if early is not None else {}),
            **{name.lower(): text for name, text in brackets.items()},
        }
        self._tentative = tentative
        self._early = early
        self._definition = Scope(sections, DEFINITION, self._variables)
        conditional = {name.partition("?")[0] for name in (*brackets, *self.init) if "?" in name}
        self._tags = Tags(self.raw, conditional | set(kept))

    def _init_variables(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self.init:
            try:
                text = self._init_scope.own_text(name) or ""
            except ConfigError:  # comes up again when the option is used
                continue
            found[name] = found[f"known/{name}"] = text
        return found

    def text(self, name: str) -> str | None:
        """Return *name* with all its references settled, or None when nothing has that name. Raise ConfigError."""
        raw = self.raw(name)
        return None if raw is None else self._tags.expand(raw, name)

    def own_text(self, name: str) -> str | None:
        """Return *name* as `text` does, if it is more than a variable in [DEFAULT]: what a jail knows of its filter."""
        own = (self.brackets, self.init, self._sections.own(DEFINITION), FILTER_OPTIONS)
        return self.text(name) if any(name in names for names in own) else None

    def raw(self, name: str) -> str | None:
        """Return *name* with its `<tag>`s still in it, or None when nothing has that name. Raise ConfigError."""
        if name in self.brackets:
            return self.brackets[name]
        if name in self.init:
            return self._init_scope.own_text(name)
        text = self._scope(name).text(name.lower())
        if text is not None or "/" not in name:
            return text
        section, _, option = name.partition("/")
        option = option.lower()
        if section == "known":
            return self._known(option)
        if section.lower() == "default":
            return Scope(self._sections, DEFAULT).own_text(option)
        if section not in self._sections.sections:
            return None
        return Scope(self._sections, section).own_text(option)

    def _scope(self, name: str) -> Scope:
        """Return how [Definition] is seen where it holds *name*."""
        if name not in FILTER_OPTIONS:
            own = name in self._sections.own(DEFINITION)
            if self._tentative and own:
                return Scope(self._sections, DEFINITION)
            if self._early is not None and not own:
                return self._early._definition  # noqa: SLF001  one of this class
        return self._definition

    def _known(self, option: str) -> str | None:
        """Return what *option* is in the file when nobody overrides it."""
        if option in self.init:
            return self._init_scope.own_text(option)
        sections = (KNOWN + DEFINITION, DEFINITION) if self._sections.is_overlaid(DEFINITION) else (DEFINITION,)
        texts = (Scope(self._sections, section).own_text(option) for section in sections)
        return next((text for text in texts if text is not None), None)

    def source(self, name: str) -> tuple[str, Value | None]:
        """Return where *name* comes from (`brackets`, `init`, `jail`, `file`, or nowhere), and its value in a file."""
        if name in self.brackets:
            return "brackets", None
        if name in self.init:
            return "init", self.init[name]
        if name in self._variables:
            return "jail", None
        value = self._sections.value(DEFINITION, name)
        return ("file", value) if value is not None else ("", None)

    def origins(self, name: str) -> list[tuple[Place, str]]:
        """Return the lines of *name*, each with where in a file it stands; none when it comes from no file."""
        _, value = self.source(name)
        return list(self._origins(name, value, 0)) if value is not None else []

    def _origins(self, name: str, value: Value, depth: int) -> Iterator[tuple[Place, str]]:
        scope = self._init_scope if name in self.init else self._definition
        for place, line in scope.origins(value):
            if depth < _DEEPEST and line.startswith("<") and line.endswith(">"):
                # A line that is one tag, such as <mdre-<mode>>: its own lines are what we look for.
                tag = self._tags.expand(line[1:-1])
                source, inner = self.source(tag) if not self._tags.keeps(tag) else ("", None)
                if inner is not None and source in ("init", "file"):
                    yield from self._origins(tag, inner, depth + 1)
                    continue
            for text in self._tags.expand(line).split("\n"):
                if text.strip():
                    yield place, text
