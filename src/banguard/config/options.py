"""
The one table of options: name, parser, default, help text.

A new option of jails is one row here and one field in `schema.JailConfig`: reading, checking, `-d` and `set` follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from banguard import duration
from banguard.config.expand import Spec, parse_options, parse_spec
from banguard.config.schema import IgnoreCache, LogPath
from banguard.message import tell

# ---- parsers: text to typed value, or ValueError with words for the operator

_TRUE = frozenset(("1", "on", "true", "yes"))
_FALSE = frozenset(("0", "off", "false", "no", ""))


def parse_text(text: str) -> str:
    """Return *text* as it is."""
    return text


def parse_bool(text: str) -> bool:
    """Return whether *text* says yes; raise ValueError when it says neither yes nor no."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(tell("expected true or false, not {text!r}", text=text))


def is_true(text: str) -> bool:
    """Return whether *text* is one of the words for yes; all else is no."""
    return text.lower() in _TRUE


def parse_int(text: str) -> int:
    """Return the whole number that *text* is."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(tell("expected a whole number, not {text!r}", text=text)) from None


def parse_seconds(text: str) -> float:
    """Return a duration in seconds."""
    return float(duration.parse(text))


def parse_seconds_from_0(text: str) -> float:
    """Return a duration in seconds that is not negative."""
    seconds = parse_seconds(text)
    if seconds < 0:
        raise ValueError(f"expected a time, not {text!r}")
    return seconds


def parse_bantime(text: str) -> int:
    """Return the whole seconds of a ban, -1 for ever."""
    return max(int(duration.parse(text)), -1)


def parse_words(text: str) -> tuple[str, ...]:
    """Return the words of *text*, which blanks, commas or line ends separate."""
    return tuple(text.replace(",", " ").split())


def parse_lines(text: str) -> tuple[str, ...]:
    """Return the lines of *text* that hold anything."""
    return tuple(line for line in text.split("\n") if line.strip())


def parse_prefix(bits: int) -> Callable[[str], int]:
    """Return a parser of the length of a network, from 1 to *bits*."""

    def parse(text: str) -> int:
        length = parse_int(text.strip().removeprefix("/"))
        if not 1 <= length <= bits:
            raise ValueError(tell("expected a number of bits from 1 to {bits}, not {text!r}", bits=bits, text=text))
        return length

    return parse


PROTECTED = ("gateway", "sessions")


def parse_protect(text: str) -> tuple[str, ...]:
    """Return the words of `protect`."""
    words = parse_words(text.lower())
    for word in words:
        if word not in PROTECTED:
            raise ValueError(tell("expected {known}, not {word!r}", known=" or ".join(PROTECTED), word=word))
    return words


def parse_ints(text: str) -> tuple[int, ...]:
    """Return the whole numbers of *text*."""
    return tuple(parse_int(word) for word in parse_words(text))


def parse_journalmatch(text: str) -> tuple[tuple[str, ...], ...]:
    """Return one match set per line, each split as by a shell; `+` between them means or."""
    import shlex  # noqa: PLC0415  few jails have one

    try:
        return tuple(tuple(shlex.split(line)) for line in parse_lines(text))
    except ValueError as error:
        raise ValueError(tell("{reason} in {text!r}", reason=str(error).lower(), text=text)) from None


def parse_logpath(text: str) -> tuple[LogPath, ...]:
    """Return one entry per line: a path or glob, and `tail` or `head` after it."""
    return tuple(_logpath(line.strip()) for line in parse_lines(text))


def _logpath(line: str) -> LogPath:
    pattern, _, word = line.rpartition(" ")
    if pattern and word in ("head", "tail"):
        return LogPath(pattern.rstrip(), tail=word == "tail")
    return LogPath(line)


# Conditions on the fields of a JSON log: field.NAME, field2.NAME, ignorefield.NAME.
_FIELD = re.compile(r"(?:ignore)?field\d*\.")


def is_field(option: str) -> bool:
    """Tell whether *option* is a condition on a field."""
    return _FIELD.match(option) is not None


def parse_logformat(text: str) -> str:
    """Return `json`, or nothing for lines of text."""
    word = text.strip().lower()
    if word not in {"", "text", "json"}:
        raise ValueError(tell("expected {known}, not {word!r}", known="json or text", word=text))
    return word if word == "json" else ""


BACKENDS = ("auto", "pyinotify", "inotify", "polling", "systemd", "journald", "history")


def parse_backend(text: str) -> Spec:
    """Return the backend, lower-case, and its options."""
    spec = parse_spec(text)
    name = spec.name.lower()
    if name not in BACKENDS:
        raise ValueError(tell("expected one of {known}, not {text!r}", known=", ".join(BACKENDS), text=text))
    return Spec(name, spec.options)


def parse_usedns(text: str) -> str:
    """Return `yes`, `warn`, `no` or `raw`."""
    word = text.strip().lower()
    if word not in ("yes", "warn", "no", "raw"):
        raise ValueError(tell("expected yes, warn, no or raw, not {text!r}", text=text))
    return word


def parse_encoding(text: str) -> str:
    """Return the name of a character encoding, or `auto`."""
    import codecs  # noqa: PLC0415  loaded by Python itself anyway

    name = text.strip()
    if name.lower() == "auto":
        return "auto"
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(tell("unknown encoding {text!r}", text=text)) from None
    return name


def parse_ignorecache(text: str) -> IgnoreCache | None:
    """Return the cache that `key="<ip>", max-count=100, max-time=5m` asks for; None for an empty text."""
    if not text.strip():
        return None
    given = parse_options(text)
    unknown = sorted(set(given) - {"key", "max-count", "max-time"})
    if unknown:
        raise ValueError(tell("unknown part {unknown!r}; there are key, max-count and max-time", unknown=unknown[0]))
    if not given.get("key"):
        raise ValueError(tell("the key is missing"))
    return IgnoreCache(
        given["key"],
        parse_int(given["max-count"]) if "max-count" in given else 100,
        parse_seconds(given["max-time"]) if "max-time" in given else 300.0,
    )


def parse_factor(text: str) -> float:
    """Return the value of an arithmetic expression."""
    return float(duration.calculate(text))


LOG_LEVELS = ("CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "TRACEDEBUG", "HEAVYDEBUG")
# Targets of the log that are no files.
LOG_TARGETS = ("STDOUT", "STDERR", "SYSLOG", "SYSOUT", "SYSTEMD-JOURNAL")


def parse_loglevel(text: str) -> str:
    """Return the level in capitals."""
    word = text.strip().upper()
    if word not in LOG_LEVELS:
        raise ValueError(tell("expected one of {known}, not {text!r}", known=", ".join(LOG_LEVELS), text=text))
    return word


def parse_allowipv6(text: str) -> str:
    """Return `auto`, `yes` or `no`."""
    word = text.strip().lower()
    if word == "auto":
        return word
    return "yes" if parse_bool(word) else "no"


# ---- the tables


@dataclass(frozen=True, slots=True)
class Option:
    """
    One option.

    *default* is its value when no file names it, *otherwise* the one used when the text given is wrong. *field* is
    where it is kept in the dataclass of its table (`increment.factor` within a nested one), empty when building
    treats it by itself. With *optional* an empty text is the same as none.
    """

    name: str
    parse: Callable[[str], object]
    default: object
    help: str
    field: str = ""
    optional: bool = False
    otherwise: object = None

    @property
    def fallback(self) -> object:
        """What stands in for a wrong value."""
        return self.default if self.otherwise is None else self.otherwise


def _table(*options: Option) -> Mapping[str, Option]:
    return {option.name: option for option in options}


# In the order in which `-d` prints them.
JAIL_OPTIONS: Mapping[str, Option] = _table(
    Option("enabled", parse_bool, False, "whether the jail is made"),
    Option("filter", parse_text, "", "name of a file in filter.d, with options in brackets"),
    Option("backend", parse_backend, Spec("auto", {}), "how its logs are watched: " + ", ".join(BACKENDS), "backend"),
    Option("usedns", parse_usedns, "warn", "whether host names become addresses", "usedns", otherwise="no"),
    Option("prefregex", parse_text, "", "regex every line has to match before all others"),
    Option("maxlines", parse_int, 1, "lines that a regex may span"),
    Option("failregex", parse_lines, (), "regexes of failures, one per line"),
    Option("ignoreregex", parse_lines, (), "regexes of lines to leave out, one per line"),
    Option("successregex", parse_lines, (), "regexes of successful logins, one per line"),
    Option("datepattern", parse_text, None, "form of the date"),
    Option("journalmatch", parse_journalmatch, (), "entries of the journal to read"),
    Option("logformat", parse_logformat, "", "json: one object in a line, matched by field.NAME = REGEX"),
    Option("datefield", parse_text, "", "field of a JSON log that holds the time"),
    Option("maxretry", parse_int, 3, "failures within findtime that lead to a ban", "maxretry"),
    Option(
        "success.forgets", parse_bool, False, "a successful login makes a host's failures forgotten", "success_forgets"
    ),
    Option("maxmatches", parse_int, 5, "matched lines kept per host", "maxmatches"),
    Option("findtime", parse_seconds, 600.0, "time in which failures count together", "findtime"),
    Option("bantime", parse_bantime, 600, "length of a ban, -1 for ever", "bantime"),
    Option("bantime.increment", parse_bool, False, "longer bans for hosts that come back", "increment.enabled"),
    Option(
        "bantime.factor", parse_factor, 1.0, "what a longer ban is multiplied by", "increment.factor", optional=True
    ),
    Option("bantime.formula", parse_text, "", "expression for the length of a longer ban", "increment.formula"),
    Option(
        "bantime.multipliers", parse_ints, (), "what the ban time is multiplied by, per ban", "increment.multipliers"
    ),
    Option("bantime.maxtime", parse_seconds, None, "longest ban", "increment.maxtime", optional=True),
    Option("bantime.rndtime", parse_seconds, None, "random time added at most", "increment.rndtime", optional=True),
    Option("bantime.overalljails", parse_bool, False, "count bans in all jails", "increment.overalljails"),
    Option("bantime.rearm", parse_bool, False, "each failure during a ban starts its time again", "increment.rearm"),
    Option(
        "bantime.decay",
        parse_seconds,
        None,
        "time without a ban after which one earlier ban less counts",
        "increment.decay",
        optional=True,
    ),
    Option(
        "bantime.quiet",
        parse_seconds_from_0,
        None,
        "time without a packet after which a ban ends, not before",
        "increment.quiet",
        optional=True,
    ),
    Option(
        "banprefix.ipv4", parse_prefix(32), 32, "bits of the IPv4 networks that are counted and banned", "prefix.ipv4"
    ),
    Option(
        "banprefix.ipv6", parse_prefix(128), 128, "bits of the IPv6 networks that are counted and banned", "prefix.ipv6"
    ),
    Option(
        "banprefix.offenders",
        parse_int,
        0,
        "so many banned in a wider network within findtime ban it; 0: never",
        "prefix.offenders",
    ),
    Option("banprefix.wider.ipv4", parse_prefix(32), 24, "bits of the wider IPv4 network", "prefix.wider_ipv4"),
    Option("banprefix.wider.ipv6", parse_prefix(128), 48, "bits of the wider IPv6 network", "prefix.wider_ipv6"),
    Option(
        "kill_connections", parse_bool, False, "whether open connections of who is banned are cut", "kill_connections"
    ),
    Option("mode.observe", parse_bool, False, "decide and log, ban nobody", "observe"),
    Option("ignorecommand", parse_text, "", "command that exits with 0 for a host to leave out", "ignorecommand"),
    Option("ignoreself", parse_bool, True, "whether own addresses are left out", "ignoreself"),
    Option("ignoreip", parse_words, (), "addresses, networks and names never banned", "ignoreip"),
    Option("ignorecache", parse_ignorecache, None, "remember verdicts of the ignore rules", "ignorecache"),
    Option("logtimezone", parse_text, None, "zone of dates without one", "logtimezone", optional=True),
    Option("logencoding", parse_encoding, "auto", "character encoding of the logs", "logencoding", optional=True),
    Option("logpath", parse_logpath, (), "logs to watch: paths and globs, one per line", "logpath"),
    Option("skip_if_nologs", parse_bool, False, "leave the jail out when it has no log", "skip_if_nologs"),
    Option("systemd_if_nologs", parse_bool, True, "read the journal when there is no log", "systemd_if_nologs"),
    Option("action", parse_text, "", "names of files in action.d, with options in brackets"),
)

# Those a filter file has; a jail may have them as well.
FILTER_OPTIONS = (
    "usedns",
    "prefregex",
    "maxlines",
    "failregex",
    "ignoreregex",
    "successregex",
    "datepattern",
    "journalmatch",
    "logformat",
    "datefield",
)

# Commands and settings an action file has in [Definition].
ACTION_OPTIONS: Mapping[str, Option] = _table(
    Option("actionstart", parse_text, "", "when the jail starts, or before its first ban"),
    Option("actionstart_on_demand", parse_bool, None, "start before the first ban only"),
    Option("actionstop", parse_text, "", "when the jail stops"),
    Option("actionflush", parse_text, "", "lift all bans at once"),
    Option("actionreload", parse_text, "", "after a reload"),
    Option("actioncheck", parse_text, "", "whether all is in place, once something failed"),
    Option("actionrepair", parse_text, "", "put it in place again"),
    Option("actionrepair_on_unban", parse_bool, False, "repair before an unban too"),
    Option("actionban", parse_text, "", "ban"),
    Option("actionprolong", parse_text, "", "make a ban longer"),
    Option("actionreban", parse_text, "", "ban again what the firewall lost"),
    Option("actionunban", parse_text, "", "lift a ban"),
    Option("norestored", parse_bool, False, "not for bans of an earlier run"),
)
ACTION_SETTINGS = ("actionstart_on_demand", "actionrepair_on_unban", "norestored")

# Tags of an action that have their value at run time only.
RUN_TIME_TAGS = frozenset(("matches", "ipmatches", "ipjailmatches", "timeout", "bantime"))

# Names that mean nothing to banguard itself, but are used by custom as variables of jails.
CUSTOMARY_VARIABLES = frozenset((
    "mode", "port", "protocol", "chain", "banaction", "banaction_allports", "action_", "action_mw", "action_mwl",
    "destemail", "dest", "sender", "sendername", "mta", "fail2ban_agent", "tcpport", "udpport", "blocktype",
    "returntype",
))  # fmt: skip

SERVER_OPTIONS: Mapping[str, Option] = _table(
    Option("syslogsocket", parse_text, "auto", "socket of the system log", "syslogsocket"),
    Option("loglevel", parse_loglevel, "INFO", "least severe lines that are logged", "loglevel"),
    Option("logtarget", parse_text, "STDERR", "file, STDOUT, STDERR, SYSLOG or SYSTEMD-JOURNAL", "logtarget"),
    Option("allowipv6", parse_allowipv6, "auto", "whether IPv6 is in use", "allowipv6"),
    Option("dbfile", parse_text, "", "file of the ban store, :memory: or None", "dbfile"),
    Option("dbmaxmatches", parse_int, 10, "matched lines the store keeps per ban", "dbmaxmatches"),
    Option("dbpurgeage", parse_seconds, 86400.0, "age at which ended bans are forgotten", "dbpurgeage"),
    Option("protect", parse_protect, (), "who is never banned, whoever asks: gateway, sessions", "protect"),
    Option("keep_rules", parse_bool, False, "whether firewalls keep their rules when the server stops", "keep_rules"),
    Option("socket", parse_text, "", "socket for the client", "socket"),
    Option("pidfile", parse_text, "", "file with the number of the process", "pidfile"),
)


def parse_option(name: str, text: str) -> object:
    """Return the value of jail option *name* given as *text*, typed as its field in `JailConfig`; raise ValueError."""
    option = JAIL_OPTIONS.get(name.lower())
    if option is None:
        raise ValueError(tell("unknown option {name!r}{hint}", name=name, hint=did_you_mean(name, JAIL_OPTIONS)))
    if option.optional and not text.strip():
        return option.default
    return option.parse(text)


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.75) -> str:
    """Return `; did you mean 'x'?` with the name among *known* most like *word*, or nothing."""
    import difflib  # noqa: PLC0415  needed only when something is wrong

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return tell("; did you mean {name!r}?", name=found[0]) if found else ""


def misspelt(name: str, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` when *name* is not among *known*, but too much like one to be on purpose."""
    if name in known or name.startswith("_"):
        return ""
    # Comparing is slow, and names of quite another length or beginning are not alike.
    near = [word for word in known if abs(len(word) - len(name)) <= 2 and set(word[:2]) & set(name[:2])]
    return did_you_mean(name, near, 0.85) if near else ""
