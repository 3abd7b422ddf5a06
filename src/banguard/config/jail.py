"""One jail: its section in jail.conf, with its filter and its actions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from banguard import __version__
from banguard.config import options as table
from banguard.config.action import ActionReader
from banguard.config.expand import Scope, Spec, names_in, parse_spec, parse_specs
from banguard.config.filter import FilterReader
from banguard.config.ini import Sections, Tree
from banguard.config.options import CUSTOMARY_VARIABLES, JAIL_OPTIONS, Option, did_you_mean
from banguard.config.report import Report
from banguard.config.schema import ActionConfig, ActionKind, BanPrefix, BantimeIncrement, JailConfig, Place
from banguard.errors import ConfigError
from banguard.message import tell, why

# The version whose configuration is understood; files may ask for it as %(fail2ban_version)s.
FAIL2BAN_VERSION = "1.1.0"
# iptables cannot name chains longer than 28 characters, and `f2b-` comes before the name.
_LONGEST_NAME = 25


class JailReader:
    """
    Reads section *name* of the jail files in *sections*.

    *used* are all names that these files refer to. *backend*, if given, stands instead of the configured one.
    """

    def __init__(
        self,
        tree: Tree,
        sections: Sections,
        name: str,
        *,
        report: Report,
        used: Collection[str],
        backend: str | None = None,
    ) -> None:
        self._tree = tree
        self._sections = sections
        self._name = name
        self._report = report
        self._used = used
        self._backend = backend
        self._constants = {
            "fail2ban_version": FAIL2BAN_VERSION,
            "fail2ban_confpath": tree.directory,
            "banguard_version": __version__,
            "banguard_confpath": tree.directory,
        }
        self._plain = Scope(sections, name, constants=self._constants)

    def is_enabled(self) -> bool:
        """Tell whether the jail is wanted."""
        text = self._text(self._plain, "enabled")
        if text is None:
            return False
        try:
            return table.parse_bool(text)
        except ValueError as error:
            self._warn("enabled", error, False)
            return False

    def read(self) -> JailConfig | None:
        """Return the jail, or None when it has an error, which is reported."""
        if len(self._name) > _LONGEST_NAME:
            message = tell(
                "the name is longer than the {most} characters some firewalls can do with",
                code="name-long",
                most=_LONGEST_NAME,
            )
            self._report.warning(message, jail=self._name, place=self._begin())
        backend = self._backend or self._text(self._plain, "backend") or "auto"
        spec = self._text(self._plain, "filter") or ""
        filter_ = FilterReader(self._tree, self._report, jail=self._name, place=self.place("filter") or self._begin())
        try:
            name, brackets = parse_spec(spec)
        except ValueError as error:
            self._report.error(
                tell("bad filter {spec!r}: {reason}", code="filter-syntax", spec=spec, reason=why(error)),
                jail=self._name,
                place=self.place("filter"),
            )
            return None
        if not filter_.read(name, brackets, backend) or self._report.has_error(self._name):
            return None
        # What the filter says is known to the jail, which may build on it: failregex = %(known/failregex)s …
        early = filter_.parts({"enabled": "True", "backend": backend, "filter": spec})
        scope = Scope(self._sections, self._name, constants=self._constants, known=early.own_text)
        fields = [option for option in self._sections.own(self._name) if table.is_field(option)]
        texts = {option: self._text(scope, option) for option in (*JAIL_OPTIONS, *fields)}
        if self._backend is not None:
            texts["backend"] = self._backend
        given = {option: text for option, text in texts.items() if text is not None}
        variables = {"enabled": "True", "backend": "auto", "filter": "", **_variables(given)}
        config, filter_texts = filter_.config(early, variables, _OwnOptions(self._sections, self._name, given, scope))
        actions, twice = self._actions(given.get("action", ""), variables)
        if self._report.has_error(self._name):
            return None
        for action in twice:
            message = tell(
                "action {name!r} is there twice, the second is left out; "
                "another name tells them apart: {file}[name={jail}-2]",
                code="action-twice",
                name=action.name,
                file=action.file,
                jail=self._name,
            )
            self._report.error(message, jail=self._name, place=self.place("action"))
        if not config.failregex and not config.fields and backend != "history":
            message = tell("no failregex: nothing will ever be found", code="regex-missing")
            self._report.warning(message, jail=self._name, place=self._begin())
        if not actions:
            self._report.warning(
                tell("no action: bans have no effect", code="action-missing"), jail=self._name, place=self._begin()
            )
        self._check_names(filter_, actions)
        given.update(filter_texts)
        values = self._values(given)
        backend_spec = values.pop("backend")
        assert isinstance(backend_spec, Spec)  # noqa: S101  parse_backend returns one
        places = {option: self.place(option) for option in given}
        return JailConfig(
            name=self._name,
            filter=config,
            backend=backend_spec.name,
            backend_options=MappingProxyType(dict(backend_spec.options)),
            actions=actions,
            texts=MappingProxyType(given),
            places=MappingProxyType({option: place for option, place in places.items() if place is not None}),
            **values,  # type: ignore[arg-type]  # the table and the dataclass agree, which a test checks
        )

    def place(self, option: str) -> Place | None:
        """Return where *option* of the jail stands."""
        value = self._sections.value(self._name, option)
        return value.place if value is not None else None

    def _begin(self) -> Place | None:
        """Return where the jail begins, as far as its first option tells."""
        return next((value.place for value in self._sections.own(self._name).values()), None)

    def _text(self, scope: Scope, option: str) -> str | None:
        try:
            return scope.text(option)
        except ConfigError as error:
            self._report.raised(error, jail=self._name, place=self.place(option))
            return None

    def _warn(self, option: str, error: ValueError, instead: object) -> None:
        message = tell(
            "bad value for {name}: {reason}; using {default!r}",
            code="value-bad",
            name=option,
            reason=why(error),
            default=instead,
        )
        self._report.warning(message, jail=self._name, place=self.place(option))

    def _values(self, texts: Mapping[str, str]) -> dict[str, object]:
        """Return the typed values by field; a bad one is a warning, and its fallback is used."""
        values: dict[str, object] = {}
        nested: dict[str, dict[str, object]] = {"increment": {}, "prefix": {}}
        for option in JAIL_OPTIONS.values():
            if option.field:
                group, dot, field = option.field.partition(".")
                (nested[group] if dot else values)[field if dot else group] = self._value(
                    option, texts.get(option.name)
                )
        values["increment"] = BantimeIncrement(**nested["increment"])  # type: ignore[arg-type]  # as above
        values["prefix"] = BanPrefix(**nested["prefix"])  # type: ignore[arg-type]
        return values

    def _value(self, option: Option, text: str | None) -> object:
        if text is None or (option.optional and not text.strip()):
            return option.default
        try:
            return option.parse(text)
        except ValueError as error:
            value = option.fallback
            self._warn(option.name, error, value.name if isinstance(value, Spec) else value)
            return value

    def _actions(
        self, text: str, variables: Mapping[str, str]
    ) -> tuple[tuple[ActionConfig, ...], Sequence[ActionConfig]]:
        """Return the actions, and apart from them those whose name is taken already."""
        place = self.place("action")
        reader = ActionReader(self._tree, self._report, jail=self._name, place=place)
        try:
            specs = parse_specs(text)
        except ValueError as error:
            self._report.error(
                tell("bad action: {reason}", code="action-syntax", reason=why(error)), jail=self._name, place=place
            )
            return (), ()
        actions: dict[str, ActionConfig] = {}
        twice = []
        for spec in specs:
            action = reader.read(spec, variables)
            if action is not None and action.name in actions:
                twice.append(action)
            elif action is not None:
                actions[action.name] = action
        return tuple(actions.values()), twice

    def _check_names(self, filter_: FilterReader, actions: Sequence[ActionConfig]) -> None:
        """Warn of options that are none, and that neither the jails nor the filter and actions of this one refer to."""
        doubtful = {
            option: value
            for option, value in self._sections.own(self._name).items()
            if option not in JAIL_OPTIONS
            and option not in CUSTOMARY_VARIABLES
            and option not in self._used
            and not table.is_field(option)
        }
        if not doubtful:
            return
        used = names_in(filter_.sections.values())
        reader = ActionReader(self._tree, self._report, jail=self._name)
        for action in actions:
            sections = reader.sections(action.file) if action.kind is not ActionKind.PYTHON else None
            if sections is not None:
                used |= names_in(sections.values())
        for option, value in doubtful.items():
            if option not in used:
                hint = did_you_mean(option, (*JAIL_OPTIONS, *CUSTOMARY_VARIABLES, *self._sections.defaults))
                message = tell(
                    "{option!r} is no option, and nothing refers to it{hint}",
                    code="option-unknown",
                    option=option,
                    hint=hint,
                )
                self._report.warning(message, jail=self._name, place=value.place)


def _variables(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a jail as filters and actions see them: numbers and booleans in one way of writing."""
    variables = {}
    for name, text in texts.items():
        parse = JAIL_OPTIONS[name].parse if name in JAIL_OPTIONS else table.parse_text
        if parse is table.parse_bool:
            variables[name] = str(table.is_true(text))
        elif parse is table.parse_int:
            try:
                variables[name] = str(table.parse_int(text))
            except ValueError:
                continue
        else:
            variables[name] = text
    return variables


class _OwnOptions:
    """The options of a jail that a filter has too."""

    def __init__(self, sections: Sections, name: str, texts: Mapping[str, str], scope: Scope) -> None:
        self._sections = sections
        self._name = name
        self._texts = texts
        self._scope = scope

    def text(self, option: str) -> str | None:
        """Return *option*, or None when the jail does not have it."""
        return self._texts.get(option)

    def place(self, option: str) -> Place | None:
        """Return where *option* stands."""
        value = self._sections.value(self._name, option)
        return value.place if value is not None else None

    def origins(self, option: str) -> list[tuple[Place, str]]:
        """Return the lines of *option*, each with where it stands."""
        value = self._sections.value(self._name, option)
        return list(self._scope.origins(value)) if value is not None else []

    def fields(self) -> list[str]:
        """Return the names of its conditions on fields."""
        return [option for option in self._texts if table.is_field(option)]
