"""The settings of the server: banguard.conf, else fail2ban.conf, and the command line over it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from banguard.config import paths
from banguard.config.expand import Scope, names_in
from banguard.config.ini import Sections, Tree
from banguard.config.options import LOG_TARGETS, SERVER_OPTIONS, did_you_mean, parse_int
from banguard.config.parts import DEFINITION
from banguard.config.report import Report
from banguard.config.schema import ServerConfig
from banguard.errors import ConfigError
from banguard.message import tell, why


def is_fail2ban(directory: str) -> bool:
    """Tell whether *directory* holds the configuration of fail2ban and none of ours."""
    return os.path.isfile(os.path.join(directory, "fail2ban.conf")) and not os.path.isfile(
        os.path.join(directory, "banguard.conf")
    )


def read_server(tree: Tree, overrides: Mapping[str, str], report: Report) -> ServerConfig:
    """
    Return the settings in *tree* with *overrides* over them; what is wrong goes to *report*.

    Of fail2ban.conf all is taken but names of files: socket, pid file, log and database are always our own.
    """
    foreign = is_fail2ban(tree.directory)
    sections = tree.read("fail2ban" if foreign else "banguard") or Sections()
    report.faults(sections.faults)
    defaults: dict[str, object] = {
        "socket": paths.default_socket(),
        "pidfile": paths.default_pidfile(),
        "dbfile": paths.default_dbfile(),
    }
    found: dict[str, object] = {}
    scope = Scope(sections, DEFINITION)
    for option in SERVER_OPTIONS.values():
        value = sections.value(DEFINITION, option.name)
        place = value.place if value is not None else None
        default = defaults.get(option.name, option.default)
        try:
            text = scope.text(option.name)
        except ConfigError as error:
            report.raised(error, place=place)
            text = None
        if foreign:
            own = _own_instead(option.name, text)
            if option.name == "logtarget" and own != text:
                found["stands_for"] = (text or "").partition("[")[0].strip()
            text = own
        if option.name == "socket" and os.environ.get("BANGUARD_SOCKET"):
            text = None  # what stands in the environment was said later than what stands in a file
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
                report.error(
                    tell("bad value for {name}: {reason}", code="value-bad", name=option.name, reason=why(error))
                )
            else:
                report.warning(
                    tell(
                        "bad value for {name}: {reason}; using {default!r}",
                        code="value-bad",
                        name=option.name,
                        reason=why(error),
                        default=default,
                    ),
                    place=place,
                )
    for name in overrides:
        if name not in SERVER_OPTIONS:
            report.error(
                tell(
                    "unknown setting {name!r}{hint}",
                    code="option-unknown",
                    name=name,
                    hint=did_you_mean(name, SERVER_OPTIONS),
                )
            )
    found["stacksize"] = _stacksize(sections, report)
    _check_names(sections, report)
    return ServerConfig(**found)  # type: ignore[arg-type]  # the table and the dataclass agree, which a test checks


def _own_instead(name: str, text: str | None) -> str | None:
    """Return a setting of fail2ban, but never one of its files: two programs must not share them."""
    if name in ("socket", "pidfile"):
        return None
    if name == "logtarget" and (text is None or text.partition("[")[0].strip().upper() not in LOG_TARGETS):
        return paths.LOGFILE
    if name == "dbfile" and text is not None and text.strip().lower() not in ("none", ":memory:"):
        return None
    return text


def _stacksize(sections: Sections, report: Report) -> int:
    value = sections.own("Thread").get("stacksize")
    if value is None:
        return 0
    try:
        return parse_int(Scope(sections, "Thread").text("stacksize") or "0")
    except (ConfigError, ValueError) as error:
        report.warning(
            tell(
                "bad value for {name}: {reason}; using {default!r}",
                code="value-bad",
                name="stacksize",
                reason=why(error),
                default=0,
            ),
            place=value.place,
        )
        return 0


def _check_names(sections: Sections, report: Report) -> None:
    """Warn of settings that are none and that no other refers to."""
    unknown = {name: value for name, value in sections.own(DEFINITION).items() if name not in SERVER_OPTIONS}
    if not unknown:
        return
    used = names_in(sections.values())
    for name, value in unknown.items():
        if name not in used:
            report.warning(
                tell(
                    "unknown setting {name!r}{hint}",
                    code="option-unknown",
                    name=name,
                    hint=did_you_mean(name, SERVER_OPTIONS),
                ),
                place=value.place,
            )
