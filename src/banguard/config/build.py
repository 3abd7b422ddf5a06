"""From a directory to one Config; collects every error before giving up."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from types import MappingProxyType

from banguard.config import paths
from banguard.config.expand import names_in, parse_spec
from banguard.config.filter import FilterReader
from banguard.config.ini import INCLUDES, Sections, Tree
from banguard.config.jail import JailReader
from banguard.config.options import CUSTOMARY_VARIABLES, JAIL_OPTIONS, did_you_mean, misspelt
from banguard.config.report import Report
from banguard.config.schema import Config, FilterConfig, JailConfig, Place, ServerConfig
from banguard.config.server import is_fail2ban, read_server
from banguard.errors import ConfigError
from banguard.message import tell, why

_NONE: Mapping[str, str] = MappingProxyType({})


def load(
    directory: str,
    *,
    overrides: Mapping[str, str] = _NONE,
    only: Collection[str] | None = None,
    disabled: bool = False,
) -> Config:
    """
    Read the whole configuration in *directory*.

    *overrides* are values of the command line for the server (`socket`, `loglevel`, …), *only* names the jails to read
    (None: all that are enabled, and with *disabled* all others too). Bad content never raises: it is in
    `Config.problems`, and a jail with an error is not in `Config.jails`. Raise ConfigError when *directory* does not
    exist.
    """
    tree = _tree(directory)
    report = Report()
    server = read_server(tree, overrides, report)
    sections = tree.read("jail")
    if sections is None:
        report.error(
            tell("no jail.conf and no jail.local", code="jail-files-missing"),
            place=Place(os.path.join(tree.directory, "jail.conf"), 0),
        )
        sections = Sections()
    report.jail_faults(sections.faults, only)
    used = names_in(sections.values())
    jails: dict[str, JailConfig] = {}
    for name in sections.sections:
        if name == INCLUDES or (only is not None and name not in only):
            continue
        reader = JailReader(tree, sections, name, report=report, used=used)
        if disabled or reader.is_enabled():
            jail = reader.read()
            if jail is not None:
                jails[name] = jail
    for name in only or ():
        if name not in sections.sections:
            report.error(
                tell("unknown jail{hint}", code="jail-unknown", hint=did_you_mean(name, sections.sections)), jail=name
            )
    _check_defaults(sections, used, report)
    return Config(tree.directory, server, MappingProxyType(jails), report.problems)


def load_server(directory: str, *, overrides: Mapping[str, str] = _NONE) -> ServerConfig:
    """Read the settings of the server alone: for a client that looks for its socket. Raise ConfigError as `load`."""
    return read_server(_tree(directory), overrides, Report())


def load_filter(
    directory: str, spec: str, options: Mapping[str, str] = _NONE, *, backend: str = "auto"
) -> FilterConfig:
    """
    Read one filter: *spec* is a name with options (`sshd[mode=aggressive]`) or the path of a file, with options too.

    *options* are put over those in brackets; *backend* decides `logtype` as in a jail. Raise ConfigError when the
    filter is unknown or cannot be expanded.
    """
    tree = _tree(directory)
    try:
        name, brackets = parse_spec(spec)
    except ValueError as error:
        raise ConfigError(
            tell("bad filter {spec!r}: {reason}", code="filter-syntax", spec=spec, reason=why(error))
        ) from None
    report = Report()
    reader = FilterReader(tree, report)
    found = reader.read(name, {**brackets, **options}, backend)
    config = reader.config(reader.parts({}), {})[0] if found else FilterConfig()
    report.raise_first()
    return config


def load_jail(directory: str, name: str, *, backend: str | None = None) -> JailConfig:
    """
    Read jail *name* as if it were enabled, watching its logs by *backend* when given.

    Raise ConfigError when it is unknown or broken.
    """
    tree = _tree(directory)
    report = Report()
    sections = tree.read("jail") or Sections()
    if name not in sections.sections or name == INCLUDES:
        raise ConfigError(
            tell(
                "unknown jail {name!r}{hint}",
                code="jail-unknown",
                name=name,
                hint=did_you_mean(name, sections.sections),
            ),
            path=tree.directory,
        )
    report.jail_faults(sections.faults, (name,))
    used = names_in(sections.values())
    jail = JailReader(tree, sections, name, report=report, used=used, backend=backend).read()
    if jail is None:
        report.raise_first()
        raise ConfigError(tell("jail {name!r} cannot be used", code="jail-unusable", name=name), path=tree.directory)
    return jail


def _tree(directory: str) -> Tree:
    """Return the files of *directory*, over those that come with banguard unless it is one of fail2ban."""
    directory = directory.rstrip("/") or "/"
    if not os.path.isdir(directory):
        raise ConfigError(tell("there is no such directory", code="directory-missing"), path=directory)
    return Tree(directory, None if is_fail2ban(directory) else paths.shipped_directory())


def _check_defaults(sections: Sections, used: Collection[str], report: Report) -> None:
    """Warn of options in [DEFAULT] that look like a misspelt one; other variables there may be of use to anybody."""
    for option, value in sections.defaults.items():
        if option not in used and option not in CUSTOMARY_VARIABLES:
            hint = misspelt(option, JAIL_OPTIONS)
            if hint:
                report.warning(
                    tell(
                        "{option!r} is no option, and nothing refers to it{hint}",
                        code="option-unknown",
                        option=option,
                        hint=hint,
                    ),
                    place=value.place,
                )
