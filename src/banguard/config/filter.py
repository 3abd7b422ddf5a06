"""One filter, with the options a jail gave it and its own over them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from banguard.config import options as table
from banguard.config.expand import names_in
from banguard.config.ini import Sections, Tree
from banguard.config.options import FILTER_OPTIONS, did_you_mean
from banguard.config.parts import DEFINITION, INIT, Parts
from banguard.config.report import Report
from banguard.config.schema import FilterConfig, Place
from banguard.errors import ConfigError
from banguard.message import tell, why

_LISTS = ("failregex", "ignoreregex", "successregex", "journalmatch")
_Origins = list[tuple[Place, str]]


class OwnOptions(Protocol):
    """What a jail itself says of the options a filter has."""

    def text(self, option: str) -> str | None:
        """Return *option*, or None when the jail does not have it."""
        ...

    def place(self, option: str) -> Place | None:
        """Return where *option* stands."""
        ...

    def origins(self, option: str) -> _Origins:
        """Return the lines of *option*, each with where it stands."""
        ...

    def fields(self) -> Iterable[str]:
        """Return the names of its conditions on fields."""
        ...


class FilterReader:
    """A filter for one jail, or for the tester: then *jail* is empty."""

    def __init__(self, tree: Tree, report: Report, *, jail: str = "", place: Place | None = None) -> None:
        self._tree = tree
        self._report = report
        self._jail = jail
        self._place = place
        self._name = ""
        self.sections = Sections()
        self.brackets: dict[str, str] = {}

    def read(self, name: str, brackets: Mapping[str, str], backend: str) -> bool:
        """
        Read filter *name*, which may be the path of a file; return False when there is none, which is reported.

        An empty name means a filter without a file. Unless told otherwise, a filter has lines of a file before it, and
        with *backend* `systemd` entries of the journal.
        """
        self._name = name
        self.brackets = dict(brackets)
        sections = self._files(name) if name else Sections()
        if sections is None:
            hint = did_you_mean(name, self._tree.names("filter.d"))
            message = tell(
                "unknown filter {name!r}: no filter.d/{name}.conf{hint}", code="filter-unknown", name=name, hint=hint
            )
            self._report.error(message, jail=self._jail, place=self._place)
            return False
        self.sections = sections
        self._report.faults(sections.faults, jail=self._jail)
        if name and not sections.sections.keys() & {DEFINITION, INIT}:
            where = Place(sections.files[-1], 1)
            self._report.warning(
                tell("the filter has no [Definition]", code="filter-empty"), jail=self._jail, place=where
            )
        if "logtype" not in brackets and "logtype" not in sections.own(DEFINITION):
            journal = backend.strip().lower().startswith(("systemd", "journald"))
            self.brackets["logtype"] = "journal" if journal else "file"
        return True

    def _files(self, name: str) -> Sections | None:
        path = os.path.abspath(name)
        stem, extension = os.path.splitext(path)
        if extension in (".conf", ".local") and os.path.isfile(path):
            return self._tree.merged(self._tree.find(stem), "filter.d")
        if os.sep in name and os.path.isfile(path):
            return self._tree.merged((path,), "filter.d")
        return self._tree.read(path if name.startswith("./") else f"filter.d/{name}")

    def parts(self, variables: Mapping[str, str]) -> Parts:
        """Return the options of the filter when no more than *variables* are known of the jail."""
        return Parts(self.sections, self.brackets, variables, tentative=True)

    def config(
        self, early: Parts, variables: Mapping[str, str], own: OwnOptions | None = None
    ) -> tuple[FilterConfig, dict[str, str]]:
        """
        Return the filter, and the text of each of its options; what is wrong is reported.

        An option of the jail's *own* stands instead of the one in [Definition]. Where the file has it in [Init], or the
        jail gave it in brackets, lists are joined, the date pattern is the jail's own, and else [Init] or brackets win.
        """
        texts: dict[str, str] = {}
        places: dict[str, Place] = {}
        parts = Parts(self.sections, self.brackets, variables, early=early)
        fields = self._fields(own)
        for option in (*FILTER_OPTIONS, *fields):
            source, value = parts.source(option)
            place = value.place if value is not None else self._place
            try:
                text, origins = self._of_file(parts, option) if source in ("brackets", "init", "file") else (None, [])
                mine = own.text(option) if own is not None else None
                if mine is not None and own is not None:
                    if text is None or option == "datepattern":
                        text, origins, place = mine, own.origins(option), own.place(option)
                    elif option in _LISTS:
                        text, origins = f"{text}\n{mine}", origins + own.origins(option)
            except ConfigError as error:
                self._report.raised(error, jail=self._jail, place=place)
                continue
            if text is not None:
                texts[option] = text
                places.update(_places(option, text, origins, place))
        self._check_names()
        logformat = self._logformat(texts.get("logformat", ""), places)
        conditions = tuple((option, table.parse_lines(texts.get(option, ""))) for option in fields)
        if conditions and not logformat:
            message = tell(
                "{option} has no effect without logformat = json", code="option-unused", option=conditions[0][0]
            )
            self._report.warning(message, jail=self._jail, place=places.get(conditions[0][0]))
        return (
            FilterConfig(
                name=self._name,
                prefregex=texts.get("prefregex", ""),
                failregex=table.parse_lines(texts.get("failregex", "")),
                ignoreregex=table.parse_lines(texts.get("ignoreregex", "")),
                successregex=table.parse_lines(texts.get("successregex", "")),
                maxlines=self._maxlines(texts.get("maxlines"), places),
                datepattern=texts["datepattern"] if texts.get("datepattern", "").strip() else None,
                journalmatch=self._journalmatch(texts.get("journalmatch", ""), places),
                logtype=self._logtype(parts),
                logformat=logformat,
                fields=tuple(condition for condition in conditions if condition[1]) if logformat else (),
                datefield=texts.get("datefield", "").strip(),
                options=MappingProxyType(self.brackets),
                path=self.sections.files[0] if self.sections.files else "",
                places=MappingProxyType(places),
            ),
            texts,
        )

    def _of_file(self, parts: Parts, option: str) -> tuple[str | None, _Origins]:
        text = parts.text(option)
        origins = parts.origins(option)
        if not origins and text is not None and self._place is not None:
            origins = [(self._place, line) for line in table.parse_lines(text)]
        return text, origins

    def _fields(self, own: OwnOptions | None) -> tuple[str, ...]:
        """Return the names of all conditions on fields, in the order in which they stand."""
        names = (
            *self.sections.own(DEFINITION),
            *self.sections.own(INIT),
            *self.brackets,
            *(own.fields() if own is not None else ()),
        )
        return tuple(dict.fromkeys(name for name in names if table.is_field(name)))

    def _logformat(self, text: str, places: Mapping[str, Place]) -> str:
        try:
            return table.parse_logformat(text)
        except ValueError as error:
            message = tell(
                "bad value for logformat: {reason}; reading lines of text", code="value-bad", reason=why(error)
            )
            self._report.warning(message, jail=self._jail, place=places.get("logformat"))
            return ""

    def _logtype(self, parts: Parts) -> str:
        try:
            return parts.text("logtype") or "file"
        except ConfigError as error:
            self._report.raised(error, jail=self._jail, place=self._place)
            return "file"

    def _maxlines(self, text: str | None, places: Mapping[str, Place]) -> int:
        if text is None:
            return 1
        try:
            return max(table.parse_int(text), 1)
        except ValueError as error:
            message = tell(
                "bad value for {name}: {reason}; using {default!r}",
                code="value-bad",
                name="maxlines",
                reason=why(error),
                default=1,
            )
            self._report.warning(message, jail=self._jail, place=places.get("maxlines"))
            return 1

    def _journalmatch(self, text: str, places: Mapping[str, Place]) -> tuple[tuple[str, ...], ...]:
        try:
            return table.parse_journalmatch(text)
        except ValueError as error:
            message = tell("bad value for {name}: {reason}", code="value-bad", name="journalmatch", reason=why(error))
            self._report.error(message, jail=self._jail, place=places.get("journalmatch"))
            return ()

    def _check_names(self) -> None:
        """Warn of options that look like a misspelt one and that nothing refers to."""
        for section in (DEFINITION, INIT):
            for option, value in self.sections.own(section).items():
                hint = table.misspelt(option, FILTER_OPTIONS)
                if hint and option not in names_in(self.sections.values()):
                    message = tell(
                        "unknown option {option!r} in the filter{hint}", code="option-unknown", option=option, hint=hint
                    )
                    self._report.warning(message, jail=self._jail, place=value.place)


def _places(option: str, text: str, origins: _Origins, place: Place | None) -> dict[str, Place]:
    """Return where *option* stands, and where each of its lines does if it is a list."""
    places = {option: place} if place is not None else {}
    if option in _LISTS or table.is_field(option):
        lines = table.parse_lines(text)
        # Lines are expanded each by itself for their places; should that give others, the option's place has to do.
        same = lines == tuple(line for _, line in origins)
        for index in range(len(lines)):
            where = origins[index][0] if same else place
            if where is not None:
                places[f"{option}[{index}]"] = where
    return places
