"""Sections to dataclasses; collects every error before giving up."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from banguard import __version__
from banguard.config import options as table
from banguard.config import paths
from banguard.config.expand import Scope, Spec, Tags, parse_spec, parse_specs, references
from banguard.config.ini import DEFAULT, INCLUDES, Fault, Sections, Tree, Value
from banguard.config.options import (
    ACTION_OPTIONS,
    ACTION_SETTINGS,
    CUSTOMARY_VARIABLES,
    FILTER_OPTIONS,
    JAIL_OPTIONS,
    RUN_TIME_TAGS,
    SERVER_OPTIONS,
    did_you_mean,
)
from banguard.config.schema import (
    ActionConfig,
    ActionKind,
    BantimeIncrement,
    Config,
    FilterConfig,
    JailConfig,
    Place,
    Problem,
    ServerConfig,
    Severity,
)
from banguard.errors import ConfigError

# The version whose configuration is understood; files may ask for it as %(fail2ban_version)s.
FAIL2BAN_VERSION = "1.1.0"

_NONE: Mapping[str, str] = MappingProxyType({})
_INIT = "Init"
_DEFINITION = "Definition"
# iptables cannot name chains longer than 28 characters, and `f2b-` comes before the name.
_LONGEST_NAME = 25


def load(directory: str, *, overrides: Mapping[str, str] = _NONE, only: Collection[str] | None = None) -> Config:
    """
    Read the whole configuration in *directory*.

    *overrides* are values of the command line for the server (`socket`, `loglevel`, …), *only* names the jails to read
    (None: all that are enabled). Bad content never raises: it is in `Config.problems`, and a jail with an error is not
    in `Config.jails`. Raise ConfigError when *directory* does not exist.
    """
    tree = _tree(directory)
    report = _Report()
    server = _server(tree, overrides, report)
    jails: dict[str, JailConfig] = {}
    sections = tree.read("jail")
    if sections is None:
        report.error("no jail.conf here, nor a jail.local", place=Place(os.path.join(tree.directory, "jail.conf"), 0))
        sections = Sections()
    report.faults(sections.faults, only)
    used = _names_in(sections.values())
    for name in sections.sections:
        if name == INCLUDES or (only is not None and name not in only):
            continue
        jail = _Jail(tree, sections, name, report, used)
        if jail.is_enabled():
            built = jail.build()
            if built is not None:
                jails[name] = built
    if only is not None:
        for name in only:
            if name not in sections.sections:
                report.error(f"unknown jail{did_you_mean(name, sections.sections)}", jail=name)
    _check_defaults(sections, used, report)
    return Config(tree.directory, server, MappingProxyType(jails), tuple(report.problems))


def load_server(directory: str, *, overrides: Mapping[str, str] = _NONE) -> ServerConfig:
    """Read the settings of the server alone: for a client that looks for its socket. Raise ConfigError as `load`."""
    return _server(_tree(directory), overrides, _Report())


def load_filter(
    directory: str, spec: str, options: Mapping[str, str] = _NONE, *, backend: str = "auto"
) -> FilterConfig:
    """
    Read one filter: *spec* is a name with options (`sshd[mode=aggressive]`) or the path of a file, with options too.

    *options* are put over those of the brackets; *backend* decides `logtype` as in a jail. Raise ConfigError when the
    filter is unknown or cannot be expanded.
    """
    tree = _tree(directory)
    try:
        name, brackets = parse_spec(spec)
    except ValueError as error:
        raise ConfigError(f"bad filter {spec!r}: {error}") from None
    report = _Report()
    build = _FilterBuild(tree, name, {**brackets, **options}, backend, "", report)
    built = build.config({}, None) if build.sections is not None else None
    report.raise_first()
    assert built is not None  # noqa: S101  no filter without an error
    return built[0]


def load_jail(directory: str, name: str, *, backend: str | None = None) -> JailConfig:
    """
    Read jail *name* as if it were enabled, watching its logs by *backend* when given.

    Raise ConfigError when it is unknown or broken.
    """
    tree = _tree(directory)
    report = _Report()
    sections = tree.read("jail") or Sections()
    if name not in sections.sections or name == INCLUDES:
        raise ConfigError(f"unknown jail {name!r}{did_you_mean(name, sections.sections)}", path=tree.directory)
    report.faults(sections.faults, (name,))
    jail = _Jail(tree, sections, name, report, _names_in(sections.values()), backend).build()
    report.raise_first()
    assert jail is not None  # noqa: S101  no jail without an error
    return jail


class _Report:
    """Collects problems, each once."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}

    @property
    def problems(self) -> Iterable[Problem]:
        return self._problems

    def error(self, message: str, *, jail: str = "", place: Place | None = None) -> None:
        self._problems.setdefault(Problem(Severity.ERROR, message, jail, place))

    def warning(self, message: str, *, jail: str = "", place: Place | None = None) -> None:
        self._problems.setdefault(Problem(Severity.WARNING, message, jail, place))

    def raised(self, error: ConfigError, *, jail: str = "", place: Place | None = None) -> None:
        """Keep an error that was raised; *place* is used when it has none of its own."""
        own = Place(error.path, error.line or 0) if error.path is not None else place
        self.error(error.message, jail=jail, place=own)

    def faults(self, faults: Iterable[Fault], only: Collection[str] | None) -> None:
        """Keep the faults of jail files; those within a section belong to that jail."""
        for fault in faults:
            jail = fault.section.partition("?")[0]
            if jail in (DEFAULT, INCLUDES):
                jail = ""
            if not jail or only is None or jail in only:
                self.error(fault.message, jail=jail, place=Place(fault.path, fault.line))

    def has_error(self, jail: str) -> bool:
        return any(problem.jail == jail and problem.severity is Severity.ERROR for problem in self._problems)

    def raise_first(self) -> None:
        """Raise the first error that was kept, if any."""
        for problem in self._problems:
            if problem.severity is Severity.ERROR:
                place = problem.place
                raise ConfigError(
                    problem.message, path=place.path if place else None, line=place.line or None if place else None
                )


def _tree(directory: str) -> Tree:
    """Return the files of *directory*, over those that come with banguard unless it is one of fail2ban."""
    directory = directory.rstrip("/") or "/"
    if not os.path.isdir(directory):
        raise ConfigError("no such directory of configuration", path=directory)
    return Tree(directory, None if _is_fail2ban(directory) else paths.shipped_directory())


def _is_fail2ban(directory: str) -> bool:
    """Tell whether *directory* holds the configuration of fail2ban and none of ours."""
    return os.path.isfile(os.path.join(directory, "fail2ban.conf")) and not os.path.isfile(
        os.path.join(directory, "banguard.conf")
    )


def _names_in(values: Iterable[Value]) -> set[str]:
    names: set[str] = set()
    for value in values:
        if "%" in value.text or "<" in value.text:
            names |= references(value)
    return names


# ---- the server


def _server(tree: Tree, overrides: Mapping[str, str], report: _Report) -> ServerConfig:
    foreign = _is_fail2ban(tree.directory)
    sections = tree.read("fail2ban" if foreign else "banguard") or Sections()
    for fault in sections.faults:
        report.error(fault.message, place=Place(fault.path, fault.line))
    defaults = {
        "socket": paths.default_socket(),
        "pidfile": paths.default_pidfile(),
        "dbfile": paths.default_dbfile(),
    }
    found: dict[str, object] = {}
    scope = Scope(sections, _DEFINITION)
    for option in SERVER_OPTIONS.values():
        value = sections.value(_DEFINITION, option.name)
        place = value.place if value is not None else None
        default = defaults.get(option.name, option.default)
        try:
            text = scope.text(option.name)
        except ConfigError as error:
            report.raised(error, place=place)
            text = None
        if foreign:
            text = _own_instead(option.name, text)
        if option.name == "socket" and os.environ.get("BANGUARD_SOCKET"):
            text = None  # the environment is nearer to the user than a file
        given = overrides.get(option.name)
        if given is not None:
            text, place = given, None
        if text is None or (not text.strip() and option.name in defaults):
            found[option.field] = default
            continue
        try:
            found[option.field] = option.parse(text)
        except ValueError as error:
            found[option.field] = default
            if given is not None:
                report.error(f"bad value for {option.name}: {error}")
            else:
                report.warning(f"bad value for {option.name}: {error}; using {default!r}", place=place)
    for name in overrides:
        if name not in SERVER_OPTIONS:
            report.error(f"unknown setting {name!r}{did_you_mean(name, SERVER_OPTIONS)}")
    stacksize = sections.value("Thread", "stacksize")
    if stacksize is not None:
        try:
            found["stacksize"] = table.parse_int(Scope(sections, "Thread").text("stacksize") or "0")
        except (ConfigError, ValueError) as error:
            report.warning(f"bad value for stacksize: {error}; using 0", place=stacksize.place)
    used = _names_in(sections.values())
    for option_name, value in sections.own(_DEFINITION).items():
        if option_name not in SERVER_OPTIONS and option_name not in used:
            hint = did_you_mean(option_name, SERVER_OPTIONS)
            report.warning(f"unknown setting {option_name!r}{hint}", place=value.place)
    return ServerConfig(**found)  # type: ignore[arg-type]


def _own_instead(name: str, text: str | None) -> str | None:
    """Return the setting of a fail2ban directory, but never one of its files: two programs must not share them."""
    if name in ("socket", "pidfile"):
        return None
    if name == "logtarget" and (text is None or text.partition("[")[0].strip().upper() not in table.LOG_TARGETS):
        return paths.LOGFILE
    if name == "dbfile" and text is not None and text.strip().lower() not in ("none", ":memory:"):
        return None
    return text


# ---- filters and actions: files that a jail gives options to


class _Parts:
    """
    The options of one filter or action as one jail sees them.

    A name is looked up in the bracket options, [Init], and [Definition] (with [DEFAULT]), where the options of the jail
    and those in brackets beat what the file says.
    """

    def __init__(
        self, sections: Sections, brackets: Mapping[str, str], variables: Mapping[str, str], kept: Collection[str] = ()
    ) -> None:
        self._sections = sections
        self.brackets = brackets
        self.variables = {**variables, **{name.lower(): text for name, text in brackets.items()}}
        self._init = Scope(sections, _INIT)
        self._definition = Scope(sections, _DEFINITION, self.variables)
        # What depends on the address family is known at run time only.
        conditional = {name.partition("?")[0] for name in (*brackets, *sections.own(_INIT)) if "?" in name}
        self.tags = Tags(self.raw, conditional | set(kept))

    def raw(self, name: str) -> str | None:
        """Return the text of *name* with its `<tag>`s still in it, or None when nothing has that name."""
        if name in self.brackets:
            return self.brackets[name]
        if name in self._sections.own(_INIT):
            return self._init.own_text(name)
        text = self._definition.text(name.lower())
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

    def _known(self, option: str) -> str | None:
        if option in self._sections.own(_INIT):
            return self._init.own_text(option)
        plain = Scope(self._sections, _DEFINITION)
        before = self._sections.known(_DEFINITION, option)
        return plain.expand(before.text, before.place) if before is not None else plain.own_text(option)

    def text(self, name: str) -> str | None:
        """Return *name* with all its references settled. Raise ConfigError."""
        raw = self.raw(name)
        return None if raw is None else self.tags.expand(raw, name)

    def source(self, name: str) -> tuple[str, Value | None]:
        """Return where *name* comes from, `brackets`, `init`, `jail`, `file` or nowhere, and its value in a file."""
        if name in self.brackets:
            return "brackets", None
        if name in self._sections.own(_INIT):
            return "init", self._sections.own(_INIT)[name]
        if name in self.variables:
            return "jail", None
        value = self._sections.value(_DEFINITION, name)
        return ("file", value) if value is not None else ("", None)

    def lines(self, name: str, value: Value) -> list[tuple[int, str]]:
        """Return the lines of option *name*, each with the line of the file that it comes from."""
        scope = self._init if name in self._sections.own(_INIT) else self._definition
        found = []
        for number, line in zip(value.lines or (value.line,), value.text.split("\n"), strict=True):
            expanded = self.tags.expand(scope.expand(line, value.place))
            found += [(number, text) for text in expanded.split("\n") if text.strip()]
        return found


class _FilterBuild:
    """A filter for one jail, or for none."""

    def __init__(
        self,
        tree: Tree,
        name: str,
        brackets: Mapping[str, str],
        backend: str,
        jail: str,
        report: _Report,
        place: Place | None = None,
    ) -> None:
        self._tree = tree
        self._name = name
        self._jail = jail
        self._report = report
        self._place = place
        self.sections = self._read()
        self.brackets = dict(brackets)
        if self.sections is None:
            return
        if "logtype" not in self.brackets and "logtype" not in self.sections.own(_DEFINITION):
            journal = backend.strip().lower().startswith(("systemd", "journald"))
            self.brackets["logtype"] = "journal" if journal else "file"

    def _read(self) -> Sections | None:
        name = self._name
        path = os.path.abspath(name)
        stem, extension = os.path.splitext(path)
        if not name:
            sections: Sections | None = Sections()
        elif extension in (".conf", ".local") and os.path.isfile(path):
            sections = self._tree.merged(self._tree.find(stem), "filter.d")
        elif os.sep in name and os.path.isfile(path):
            sections = self._tree.merged((path,), "filter.d")
        elif name.startswith("./"):
            sections = self._tree.read(path)
        else:
            sections = self._tree.read(f"filter.d/{name}")
        if sections is None:
            hint = did_you_mean(name, self._tree.names("filter.d"))
            self._report.error(
                f"unknown filter {name!r}: no filter.d/{name}.conf{hint}", jail=self._jail, place=self._place
            )
            return None
        for fault in sections.faults:
            self._report.error(fault.message, jail=self._jail, place=Place(fault.path, fault.line))
        if name and not sections.sections.keys() & {_DEFINITION, _INIT}:
            where = Place(sections.files[-1], 1)
            self._report.warning("the filter has no [Definition]", jail=self._jail, place=where)
        return sections

    def parts(self, variables: Mapping[str, str]) -> _Parts:
        """Return the options of the filter with the *variables* of the jail."""
        return _Parts(self.sections or Sections(), self.brackets, variables)

    def config(
        self, variables: Mapping[str, str], jail: _JailLines | None
    ) -> tuple[FilterConfig, Mapping[str, str]] | None:
        """
        Return the filter with the options of the *jail* over it, and the text of each of its options.

        A jail's option stands instead of the one in [Definition]. Where the file has it in [Init] or the jail gave it in
        brackets, lists are joined, the date pattern is the jail's, and else [Init] or the brackets win.
        """
        texts: dict[str, str] = {}
        places: dict[str, Place] = {}
        parts = self.parts(variables)
        for option in FILTER_OPTIONS:
            own = jail.text(option) if jail is not None else None
            source, value = parts.source(option)
            place = value.place if value is not None else self._place
            try:
                text = parts.text(option) if source in ("init", "brackets", "file") else None
                lines = parts.lines(option, value) if value is not None and text is not None else []
            except ConfigError as error:
                self._report.raised(error, jail=self._jail, place=place)
                continue
            path = value.path if value is not None else None
            origins = [(Place(path, number), line) for number, line in lines] if path is not None else []
            if own is None or jail is None:
                if text is None:
                    continue
            elif text is None or option == "datepattern":
                text, origins, place = own, jail.origins(option), jail.place(option)
            elif option in ("failregex", "ignoreregex", "journalmatch"):
                bracketed = (
                    [(place, line) for line in text.split("\n") if line.strip() and place] if not origins else []
                )
                origins = [*(origins or bracketed), *jail.origins(option)]
                text = f"{text}\n{own}"
            texts[option] = text
            if place is not None:
                places[option] = place
            for index, line in enumerate(table.parse_lines(text)):
                matched = index < len(origins) and origins[index][1] == line
                where = origins[index][0] if matched else place
                if where is not None and option in ("failregex", "ignoreregex"):
                    places[f"{option}[{index}]"] = where
        if self._report.has_error(self._jail):
            return None
        self._check_names()
        return (
            FilterConfig(
                name=self._name,
                prefregex=texts.get("prefregex", ""),
                failregex=table.parse_lines(texts.get("failregex", "")),
                ignoreregex=table.parse_lines(texts.get("ignoreregex", "")),
                maxlines=self._maxlines(texts, places),
                datepattern=texts["datepattern"] if texts.get("datepattern", "").strip() else None,
                journalmatch=self._journalmatch(texts, places),
                logtype=self._logtype(parts),
                options=MappingProxyType(self.brackets),
                path=self.sections.files[0] if self.sections is not None and self.sections.files else "",
                places=MappingProxyType(places),
            ),
            texts,
        )

    def _logtype(self, parts: _Parts) -> str:
        try:
            return parts.text("logtype") or "file"
        except ConfigError as error:
            self._report.raised(error, jail=self._jail, place=self._place)
            return "file"

    def _maxlines(self, texts: Mapping[str, str], places: Mapping[str, Place]) -> int:
        if "maxlines" not in texts:
            return 1
        try:
            return max(table.parse_int(texts["maxlines"]), 1)
        except ValueError as error:
            self._report.warning(
                f"bad value for maxlines: {error}; using 1", jail=self._jail, place=places.get("maxlines")
            )
            return 1

    def _journalmatch(self, texts: Mapping[str, str], places: Mapping[str, Place]) -> tuple[tuple[str, ...], ...]:
        try:
            return table.parse_journalmatch(texts.get("journalmatch", ""))
        except ValueError as error:
            place = places.get("journalmatch")
            self._report.error(f"bad value for journalmatch: {error}", jail=self._jail, place=place)
            return ()

    def _check_names(self) -> None:
        """Warn of options that look like a misspelt one and that nothing refers to."""
        if self.sections is None:
            return
        used: set[str] | None = None
        for section in (_DEFINITION, _INIT):
            for option, value in self.sections.own(section).items():
                hint = _hint(option, FILTER_OPTIONS)
                if hint:
                    used = used if used is not None else _names_in(self.sections.values())
                    if option not in used:
                        message = f"unknown option {option!r} in the filter{hint}"
                        self._report.warning(message, jail=self._jail, place=value.place)


def _hint(option: str, known: Collection[str]) -> str:
    """Return a `did you mean` when *option* is none of *known* but much like one."""
    # Only names of about the same length can be alike; comparing is slow.
    if option in known or "/" in option or option.startswith("_"):
        return ""
    near = [name for name in known if abs(len(name) - len(option)) <= 2 and set(name[:2]) & set(option[:2])]
    return did_you_mean(option, near, 0.85) if near else ""


# ---- jails


class _JailLines:
    """The texts of one jail's options with the lines they stand in."""

    def __init__(self, sections: Sections, name: str, texts: Mapping[str, str], scope: Scope) -> None:
        self._sections = sections
        self._name = name
        self._texts = texts
        self._scope = scope

    def text(self, option: str) -> str | None:
        """Return the text of *option*, or None when the jail does not have it."""
        return self._texts.get(option)

    def place(self, option: str) -> Place | None:
        """Return where *option* stands."""
        value = self._sections.value(self._name, option)
        return value.place if value is not None else None

    def origins(self, option: str) -> list[tuple[Place, str]]:
        """Return the lines of *option*, each with where it comes from."""
        value = self._sections.value(self._name, option)
        if value is None:
            return []
        found = []
        for number, line in zip(value.lines or (value.line,), value.text.split("\n"), strict=True):
            expanded = self._scope.expand(line, value.place)
            found += [(Place(value.path, number), text) for text in expanded.split("\n") if text.strip()]
        return found


class _Jail:
    """Builds one jail from its section."""

    def __init__(
        self,
        tree: Tree,
        sections: Sections,
        name: str,
        report: _Report,
        used: set[str],
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
        text = self._read(self._plain, "enabled")
        if text is None:
            return False
        try:
            return table.parse_bool(text)
        except ValueError as error:
            self._warn_bad("enabled", error, "false")
            return False

    def build(self) -> JailConfig | None:
        """Return the jail, or None when it has an error."""
        if len(self._name) > _LONGEST_NAME:
            self._report.warning(f"the name is longer than {_LONGEST_NAME} characters", jail=self._name)
        first = {option: self._read(self._plain, option) for option in ("backend", "filter")}
        if self._backend is not None:
            first["backend"] = self._backend
        backend = first["backend"] or "auto"
        filter_ = self._filter(first["filter"] or "", backend)
        if filter_ is None or self._report.has_error(self._name):
            return None
        # What the filter says is known to the jail, which may extend it: failregex = %(known/failregex)s …
        early = filter_.parts({"enabled": "True", "backend": backend, "filter": first["filter"] or ""})
        scope = Scope(self._sections, self._name, constants=self._constants, known=early.text)
        texts = self._texts(scope)
        if self._backend is not None:
            texts["backend"] = self._backend
        variables = self._variables(texts)
        lines = _JailLines(self._sections, self._name, texts, scope)
        built = filter_.config(variables, lines)
        actions = self._actions(texts.get("action", ""), variables)
        if built is None or self._report.has_error(
            self._name,
        ):
            return None
        config, filter_texts = built
        if not config.failregex:
            self._report.warning("no failregex: nothing will ever be found", jail=self._name, place=self._own_place())
        if not actions:
            self._report.warning("no action: bans have no effect", jail=self._name, place=self._own_place())
        self._check_names(filter_, actions)
        values = self._values({**texts, **filter_texts})
        backend_spec = values.pop("backend")
        assert isinstance(backend_spec, Spec)  # noqa: S101  parse_backend returns one
        return JailConfig(
            name=self._name,
            filter=config,
            backend=backend_spec.name,
            backend_options=MappingProxyType(dict(backend_spec.options)),
            actions=tuple(actions),
            texts=MappingProxyType({**texts, **filter_texts}),
            places=MappingProxyType(self._places(texts)),
            **values,  # type: ignore[arg-type]
        )

    def _own_place(self) -> Place | None:
        """Return where the section of the jail begins, as far as its first option tells."""
        for value in self._sections.own(self._name).values():
            return value.place
        return None

    def _place(self, option: str) -> Place | None:
        value = self._sections.value(self._name, option)
        return value.place if value is not None else None

    def _read(self, scope: Scope, option: str) -> str | None:
        try:
            return scope.text(option)
        except ConfigError as error:
            self._report.raised(error, jail=self._name, place=self._place(option))
            return None

    def _texts(self, scope: Scope) -> dict[str, str]:
        """Return the options that the jail or [DEFAULT] has."""
        texts = {}
        for option in JAIL_OPTIONS:
            text = self._read(scope, option)
            if text is not None:
                texts[option] = text
        return texts

    def _variables(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Return the options as filters and actions see them: numbers and booleans in one form of writing."""
        variables = {"enabled": "True", "backend": "auto", "filter": ""}
        for name, text in texts.items():
            option = JAIL_OPTIONS[name]
            if option.parse is table.parse_bool:
                variables[name] = str(table.is_true(text))
            elif option.parse is table.parse_int:
                try:
                    variables[name] = str(table.parse_int(text))
                except ValueError:
                    continue
            else:
                variables[name] = text
        return variables

    def _places(self, texts: Mapping[str, str]) -> dict[str, Place]:
        found = {option: self._place(option) for option in texts}
        return {option: place for option, place in found.items() if place is not None}

    def _warn_bad(self, option: str, error: ValueError, instead: object) -> None:
        self._report.warning(
            f"bad value for {option}: {error}; using {instead!r}", jail=self._name, place=self._place(option)
        )

    def _values(self, texts: Mapping[str, str]) -> dict[str, object]:
        """Return the typed values by field; a bad one is a warning and its fallback."""
        values: dict[str, object] = {}
        increment: dict[str, object] = {}
        for option in JAIL_OPTIONS.values():
            if not option.field:
                continue
            text = texts.get(option.name)
            if text is None or (option.optional and not text.strip()):
                value = option.default
            else:
                try:
                    value = option.parse(text)
                except ValueError as error:
                    value = option.fallback
                    shown = value.name if isinstance(value, Spec) else value
                    self._warn_bad(option.name, error, shown)
            group, dot, field = option.field.partition(".")
            if dot:
                increment[field] = value
            else:
                values[group] = value
        values["increment"] = BantimeIncrement(**increment)  # type: ignore[arg-type]
        return values

    def _filter(self, text: str, backend: str) -> _FilterBuild | None:
        try:
            name, brackets = parse_spec(text)
        except ValueError as error:
            self._report.error(f"bad filter {text!r}: {error}", jail=self._name, place=self._place("filter"))
            return None
        build = _FilterBuild(
            self._tree, name, brackets, backend, self._name, self._report, self._place("filter") or self._own_place()
        )
        return None if build.sections is None else build

    def _actions(self, text: str, variables: Mapping[str, str]) -> list[ActionConfig]:
        place = self._place("action")
        try:
            specs = parse_specs(text)
        except ValueError as error:
            self._report.error(f"bad action: {error}", jail=self._name, place=place)
            return []
        actions: dict[str, ActionConfig] = {}
        for spec in specs:
            try:
                action = self._action(spec, variables, place)
            except ConfigError as error:
                self._report.raised(error, jail=self._name, place=place)
                continue
            if action is None:
                continue
            if action.name in actions:
                self._report.error(
                    f"action {action.name!r} is there twice; give one of them another name: "
                    f"{action.file}[name={self._name}-2]",
                    jail=self._name,
                    place=place,
                )
                continue
            actions[action.name] = action
        return list(actions.values())

    def _action(self, spec: Spec, variables: Mapping[str, str], place: Place | None) -> ActionConfig | None:
        brackets = dict(spec.options)
        if spec.name.endswith(".py"):
            path = self._tree.file(f"action.d/{spec.name}")
            if path is None:
                self._unknown_action(spec.name, ".py", place)
                return None
            unique = brackets.pop("actname", "") or spec.name[: -len(".py")]
            return ActionConfig(unique, spec.name, ActionKind.PYTHON, properties=MappingProxyType(brackets), path=path)
        sections = self._tree.read(
            os.path.abspath(spec.name) if spec.name.startswith("./") else f"action.d/{spec.name}"
        )
        if sections is None:
            self._unknown_action(spec.name, ".conf", place)
            return None
        for fault in sections.faults:
            self._report.error(fault.message, jail=self._name, place=Place(fault.path, fault.line))
        if _DEFINITION not in sections.sections:
            self._report.warning("the action has no [Definition]", jail=self._name, place=Place(sections.files[-1], 1))
        name = brackets.setdefault("name", self._name)
        if "actname" not in brackets:
            own = name.removeprefix(self._name)
            brackets["actname"] = spec.name if not own else spec.name + (own if own != name else f"-{name}")
        self._check_action_names(sections)
        return self._action_config(spec.name, sections, _Parts(sections, brackets, variables, RUN_TIME_TAGS), place)

    def _unknown_action(self, name: str, suffix: str, place: Place | None) -> None:
        known = self._tree.names("action.d", (suffix,) if suffix == ".py" else (".conf", ".local"))
        hint = did_you_mean(name.removesuffix(".py"), known)
        message = f"unknown action {name!r}: no action.d/{name.removesuffix('.py')}{suffix}{hint}"
        self._report.error(message, jail=self._name, place=place)

    def _action_config(self, file: str, sections: Sections, parts: _Parts, place: Place | None) -> ActionConfig:
        commands: dict[str, str] = {}
        for option in ACTION_OPTIONS:
            try:
                text = parts.text(option)
            except ConfigError as error:
                value = parts.source(option)[1]
                self._report.raised(error, jail=self._name, place=value.place if value is not None else place)
                continue
            if text is not None:
                commands[option] = text
        settings = {name: table.is_true(commands.pop(name)) for name in ACTION_SETTINGS if name in commands}
        native = sections.own(_DEFINITION).get("native")
        properties: dict[str, str] = {}
        for option in (*parts.brackets, *sections.own(_INIT)):
            if option in ACTION_OPTIONS or option in properties:
                continue
            raw = parts.raw(option) or ""
            if option.partition("?")[0] in ACTION_OPTIONS:  # a command for one address family
                commands[option] = parts.tags.expand(raw, option)
            else:
                # Tags in properties are settled at run time, together with those in commands.
                properties[option] = parts.tags.expand(raw, option) if native is not None else raw
        if native is None and any("<known/" in text for text in parts.brackets.values()):
            for option in sections.own(_INIT):
                if "?" not in option and option in parts.brackets:
                    properties[f"known/{option}"] = parts.raw(f"known/{option}") or ""
        return ActionConfig(
            name=parts.brackets["actname"],
            file=file,
            kind=ActionKind.COMMAND if native is None else ActionKind.NATIVE,
            commands=MappingProxyType(commands),
            properties=MappingProxyType(properties),
            native=native.text if native is not None else "",
            path=sections.files[0],
            norestored=settings.get("norestored", False),
            start_on_demand=settings.get("actionstart_on_demand"),
            repair_on_unban=settings.get("actionrepair_on_unban", False),
        )

    def _check_action_names(self, sections: Sections) -> None:
        """Warn of options of an action that look like a misspelt one and that nothing refers to."""
        for option, value in sections.own(_DEFINITION).items():
            hint = _hint(option, ACTION_OPTIONS)
            if hint and option not in _names_in(sections.values()):
                message = f"unknown option {option!r} in the action{hint}"
                self._report.warning(message, jail=self._name, place=value.place)

    def _check_names(self, filter_: _FilterBuild, actions: Sequence[ActionConfig]) -> None:
        """Warn of options of the jail that are none, and that neither the jails nor its filter and actions refer to."""
        doubtful = {
            option: value
            for option, value in self._sections.own(self._name).items()
            if option not in JAIL_OPTIONS and option not in CUSTOMARY_VARIABLES and option not in self._used
        }
        if not doubtful:
            return
        used = _names_in(filter_.sections.values()) if filter_.sections is not None else set()
        for action in actions:
            if action.kind is not ActionKind.PYTHON:
                sections = self._tree.read(f"action.d/{action.file}")
                used |= _names_in(sections.values()) if sections is not None else set()
        for option, value in doubtful.items():
            if option not in used:
                hint = did_you_mean(option, (*JAIL_OPTIONS, *CUSTOMARY_VARIABLES, *self._sections.defaults))
                message = f"{option!r} is no option, and nothing refers to it{hint}"
                self._report.warning(message, jail=self._name, place=value.place)


def _check_defaults(sections: Sections, used: Collection[str], report: _Report) -> None:
    """Warn of options in [DEFAULT] that look like a misspelt one; other variables there may be of use to anybody."""
    for option, value in sections.defaults.items():
        if option not in used and option not in CUSTOMARY_VARIABLES:
            hint = _hint(option, JAIL_OPTIONS)
            if hint:
                report.warning(f"{option!r} is no option, and nothing refers to it{hint}", place=value.place)
