"""One action of a jail: its commands, its tags, and its name within the jail."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType

from banguard.config.expand import Spec, names_in
from banguard.config.ini import Sections, Tree
from banguard.config.options import (
    ACTION_OPTIONS,
    ACTION_SETTINGS,
    RUN_TIME_TAGS,
    did_you_mean,
    is_true,
    misspelt,
)
from banguard.config.parts import DEFINITION, Parts
from banguard.config.report import Report
from banguard.config.schema import ActionConfig, ActionKind, Place
from banguard.errors import ConfigError
from banguard.message import tell

_KNOWN = re.compile(r"<known/([^<> ]+)>")


class ActionReader:
    """Reads actions for one jail; *place* is where the jail lists them."""

    def __init__(self, tree: Tree, report: Report, *, jail: str, place: Place | None = None) -> None:
        self._tree = tree
        self._report = report
        self._jail = jail
        self._place = place

    def read(self, spec: Spec, variables: Mapping[str, str]) -> ActionConfig | None:
        """Return the action that *spec* names, with the *variables* of the jail; None when an error was reported."""
        stem = spec.name.removesuffix(".py")
        if spec.name != stem:
            if self._tree.file(f"action.d/{spec.name}") is not None or self.sections(stem) is None:
                return self._python(spec)
            spec = Spec(stem, spec.options)  # what was a Python action elsewhere is a native one here
        sections = self.sections(spec.name)
        if sections is None:
            self._unknown(spec.name, ".conf")
            return None
        self._report.faults(sections.faults, jail=self._jail)
        if DEFINITION not in sections.sections:
            where = Place(sections.files[-1], 1)
            self._report.warning(
                tell("the action has no [Definition]", code="action-empty"), jail=self._jail, place=where
            )
        brackets = dict(spec.options)
        name = brackets.setdefault("name", self._jail)
        brackets.setdefault("actname", spec.name + self._suffix(name))
        self._check_names(sections)
        return self._config(spec.name, sections, Parts(sections, brackets, variables, kept=RUN_TIME_TAGS))

    def sections(self, name: str) -> Sections | None:
        """Return the files of action *name*, or None when there is none."""
        return self._tree.read(os.path.abspath(name) if name.startswith("./") else f"action.d/{name}")

    def _suffix(self, name: str) -> str:
        """Return what tells an action with its own `name` from others of its file: `sshd-tcp` gives `-tcp`."""
        if name == self._jail:
            return ""
        return name.removeprefix(self._jail) if name.startswith(self._jail) else f"-{name}"

    def _python(self, spec: Spec) -> ActionConfig | None:
        path = self._tree.file(f"action.d/{spec.name}")
        stem = spec.name.removesuffix(".py")
        if path is None:
            self._unknown(stem, ".py")
            return None
        arguments = dict(spec.options)
        name = arguments.pop("actname", "") or stem
        return ActionConfig(name, spec.name, ActionKind.PYTHON, properties=MappingProxyType(arguments), path=path)

    def _unknown(self, name: str, suffix: str) -> None:
        known = self._tree.names("action.d", (".py",) if suffix == ".py" else (".conf", ".local"))
        message = tell(
            "unknown action {name!r}: no action.d/{name}{suffix}{hint}",
            code="action-unknown",
            name=name,
            suffix=suffix,
            hint=did_you_mean(name, known),
        )
        self._report.error(message, jail=self._jail, place=self._place)

    def _text(self, parts: Parts, option: str) -> str | None:
        try:
            return parts.text(option)
        except ConfigError as error:
            value = parts.source(option)[1]
            self._report.raised(error, jail=self._jail, place=value.place if value is not None else self._place)
            return None

    def _raw(self, parts: Parts, option: str) -> str | None:
        try:
            return parts.raw(option)
        except ConfigError as error:
            self._report.raised(error, jail=self._jail, place=self._place)
            return None

    def _config(self, file: str, sections: Sections, parts: Parts) -> ActionConfig:
        native = sections.own(DEFINITION).get("native")
        texts = {option: self._text(parts, option) for option in ACTION_OPTIONS}
        settings = {option: texts.pop(option) for option in ACTION_SETTINGS}
        properties: dict[str, str | None] = {}
        for option in (*parts.brackets, *parts.init):
            if option in ACTION_OPTIONS or option in properties:
                continue
            if option.partition("?")[0] in ACTION_OPTIONS:  # a command for one address family
                texts[option] = self._text(parts, option)
            else:
                # Tags in properties are settled at run time, together with those in commands.
                properties[option] = self._text(parts, option) if native is not None else self._raw(parts, option)
        if native is None:
            for text in parts.brackets.values():
                for option in _KNOWN.findall(text):
                    properties[f"known/{option}"] = self._raw(parts, f"known/{option}")
        on_demand = settings["actionstart_on_demand"]
        return ActionConfig(
            name=parts.brackets["actname"],
            file=file,
            kind=ActionKind.COMMAND if native is None else ActionKind.NATIVE,
            commands=_given(texts),
            properties=_given(properties),
            native=native.text if native is not None else "",
            path=sections.files[0],
            norestored=is_true(settings["norestored"] or ""),
            start_on_demand=None if on_demand is None else is_true(on_demand),
            repair_on_unban=is_true(settings["actionrepair_on_unban"] or ""),
        )

    def _check_names(self, sections: Sections) -> None:
        """Warn of options that look like a misspelt one and that nothing refers to."""
        for option, value in sections.own(DEFINITION).items():
            hint = misspelt(option, ACTION_OPTIONS)
            if hint and option not in names_in(sections.values()):
                message = tell(
                    "unknown option {option!r} in the action{hint}", code="option-unknown", option=option, hint=hint
                )
                self._report.warning(message, jail=self._jail, place=value.place)


def _given(texts: Mapping[str, str | None]) -> Mapping[str, str]:
    return MappingProxyType({option: text for option, text in texts.items() if text is not None})
