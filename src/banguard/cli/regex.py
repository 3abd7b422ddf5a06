"""banguard-regex: try a filter on a log, with the same code as the server."""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING

from banguard import __version__
from banguard.cli.regex_lines import Batch, Prepared, blocks_of, lines_of, of_journal
from banguard.cli.regex_report import (
    SHOWN_LINES,
    Lines,
    Tally,
    as_it_is,
    clean,
    json_line,
    listing,
    report,
    summary,
    template,
)
from banguard.clock import SystemClock
from banguard.config import default_directory, load_filter, load_jail
from banguard.config.schema import FilterConfig
from banguard.errors import BanguardError, ConfigError, PatternError
from banguard.matching import FilterRules, LineResult, make_rules

if TYPE_CHECKING:
    from banguard.clock import Clock
    from banguard.matching import DatedLine, Match

FAILED = 255

_JOURNAL = "systemd-journal"
_NAME = re.compile(r"[\w./-]+(?:\[.*\])?\s*\Z", re.DOTALL)
_PIECES = 512
_PREVIEW = 51
_IN_FILTER_D = re.compile(
    r"(?P<directory>.*)/filter\.d/(?P<name>[^/\[\s]+)\.(?:conf|local)(?P<options>\[.*|\s*)\Z", re.DOTALL
)
_SETS = ("missed", "ignored", "matched")

_HELP = """\
LOG:
  file                  path of a log file (also compressed with gzip)
  systemd-journal       the journal, also with options: systemd-journal[journalflags=1]
  text                  a log line, or several

FILTER:
  name                  a filter in filter.d, also with options: sshd[mode=aggressive]
  path                  path of a filter file
  jail:name             the filter of a jail, with the options of the jail
  regex                 a failregex

IGNOREREGEX:
  regex                 instead of those of the filter
  path                  path of a filter file that has one
"""


_Show = Callable[[int, "DatedLine", LineResult], None]


class _RefusedError(Exception):
    """Something is wrong with the command line or with what it names."""


@dataclass(slots=True)
class _Subject:
    """What is to be tried: the filter with the options put over it, and how it was found."""

    filter: FilterConfig
    described: list[str]
    usedns: str | None = None
    timezone: str | None = None
    encoding: str | None = None


# ---- the command line


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="banguard-regex",
        usage="%(prog)s [OPTIONS] LOG FILTER|REGEX [IGNOREREGEX]\n       %(prog)s --lint [--json] FILTER [SAMPLES]",
        description="Try a filter on a log: which lines match, which host they stand for, at what time.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("words", nargs="*", help=argparse.SUPPRESS)
    add("--version", action="version", version=f"%(prog)s {__version__}")
    add("-V", action="version", version=__version__, help="the version number alone")
    add("-c", "--config", metavar="DIR", help="configuration directory")
    add("-d", "--datepattern", metavar="PATTERN", help="date pattern instead of that of the filter")
    add("--timezone", "--TZ", metavar="NAME|OFFSET", help="zone of dates that name none")
    add("--now", metavar="ISO8601", help="what now is for dates without a year or a day")
    add("-e", "--encoding", metavar="CODEC", help="encoding of the log (default: UTF-8)")
    add("-r", "--raw", action="store_true", help="look no names up, leave hosts as they stand")
    add("--usedns", metavar="MODE", choices=("yes", "warn", "no", "raw"), help="yes, warn, no or raw")
    add("-L", "--maxlines", metavar="N", type=int, help="lines to match over together")
    add("-m", "--journalmatch", metavar="MATCH", help="what to read of the journal, instead of that of the filter")
    add("-l", "--log-level", metavar="LEVEL", default="critical", help="show what is logged from this level on")
    add("-v", "--verbose", action="count", default=0, help="say more; may be given several times")
    add("--verbosity", metavar="N", type=int, help="how much to say, as a number from 0")
    add("--verbose-date", "--VD", action="store_true", help="show the regexes of date templates")
    add("-D", "--debuggex", action="store_true", help="print URLs for trying a line in a browser")
    add("--no-check-all", action="store_true", help="stop at the first failregex that matches")
    add("--json", action="store_true", help="print the totals as one JSON object")
    add("--jsonl", action="store_true", help="print a JSON object for each line, then the totals")
    add("-o", "--out", metavar="TOKEN", help="print for each match only: id, ip, msg, row, a group, a text with <tags>")
    add("-i", "--invert", action="store_true", help="with -o: print the lines that do not match")
    for name in _SETS:
        if name != "matched":
            add(f"--print-no-{name}", action="store_true", help=f"list no {name} lines")
        add(f"--print-all-{name}", action="store_true", help=f"list all {name} lines, however many")
    add("--lint", action="store_true", help="say what is wrong with FILTER, tried on SAMPLES (NAME.log beside it)")
    add("-t", "--log-traceback", action="store_true", help="show where in the program an error arose")
    add("--full-traceback", action="store_true", help=argparse.SUPPRESS)
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.lint:
        if len(options.words) not in {1, 2}:
            raise _RefusedError("--lint takes <FILTER>, and at most one <SAMPLES>.")
        return
    if len(options.words) not in {2, 3}:
        raise _RefusedError("provide both <LOG> and <FILTER>, and at most one <IGNOREREGEX>.")
    for name in ("missed", "ignored"):
        if getattr(options, f"print_no_{name}") and getattr(options, f"print_all_{name}"):
            raise _RefusedError(f"--print-no-{name} and --print-all-{name} are mutually exclusive.")
    if (options.out is not None) + options.json + options.jsonl > 1:
        raise _RefusedError("--out, --json and --jsonl are mutually exclusive.")
    if options.invert and options.out is None:
        raise _RefusedError("--invert needs --out.")
    if options.raw and options.usedns not in {None, "raw"}:
        raise _RefusedError("--raw and --usedns are mutually exclusive.")
    if options.maxlines is not None and options.maxlines < 1:
        raise _RefusedError("--maxlines needs a number from 1.")


def _now(text: str, timezone: str | None) -> float:
    """Return the epoch seconds of --now: ISO 8601, in *timezone* when it names none; a plain number also does."""
    from datetime import datetime  # noqa: PLC0415  only this option needs it

    from banguard.matching.zones import parse_zone  # noqa: PLC0415

    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.timestamp()
        wall = moment.toordinal() * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second
        return parse_zone(timezone).epoch(wall, 0.0)[0] + moment.microsecond / 1e6
    except ValueError as error:
        raise _RefusedError(f"--now {text!r}: {error}") from None


# ---- what to try


def _find_subject(options: argparse.Namespace) -> _Subject:
    text = options.words[1]
    directory = options.config or default_directory()
    if not os.path.isdir(directory):
        raise _RefusedError(f"there is no configuration directory {directory}")
    backend = "systemd" if _is_journal(options.words[0]) else "auto"
    if text.startswith("jail:"):
        return _of_jail(directory, text[5:])
    place = _IN_FILTER_D.match(text)
    if place and _is_filter(place["directory"], place["name"]):
        # A path into a configuration stands for the name of the filter there, .local file and all.
        directory, text = place["directory"], place["name"] + place["options"]
    if _NAME.match(text):
        name = text.partition("[")[0].strip()
        if _is_filter(directory, name) or os.path.isfile(name):
            return _of_filter(directory, text, name, backend)
        if "/" not in name and name == text and _is_jail(directory, name):
            return _of_jail(directory, name)
    return _Subject(FilterConfig(failregex=(text,)), [f"Use   failregex line : {text}"])


def _is_filter(directory: str, name: str) -> bool:
    base = os.path.join(directory, "filter.d", name)
    return any(os.path.isfile(base + ending) for ending in (".conf", ".local")) or os.path.isdir(f"{base}.d")


def _is_jail(directory: str, name: str) -> bool:
    try:
        load_jail(directory, name)
    except ConfigError:
        return False
    return True


def _of_filter(directory: str, spec: str, name: str, backend: str) -> _Subject:
    if not _is_filter(directory, name) and not os.path.isabs(name):
        spec = os.path.abspath(name) + spec[len(name) :]
    found = load_filter(directory, spec, {}, backend=backend)
    shown = f"{found.name}, basedir: {directory}" if _is_filter(directory, name) else name
    kind = "filter file" if _is_filter(directory, name) else "file"
    return _Subject(found, [f"Use   failregex {kind} : {shown}"])


def _of_jail(directory: str, name: str) -> _Subject:
    jail = load_jail(directory, name)
    return _Subject(
        jail.filter,
        [f"Use             jail : {name}"],
        usedns=jail.usedns,
        timezone=jail.logtimezone,
        encoding=None if jail.logencoding == "auto" else jail.logencoding,
    )


def _put_options_over(subject: _Subject, options: argparse.Namespace) -> None:
    changes: dict[str, object] = {}
    if options.maxlines is not None:
        changes["maxlines"] = options.maxlines
    if options.datepattern is not None:
        changes["datepattern"] = options.datepattern
    if len(options.words) == 3:
        text = options.words[2]
        if _NAME.match(text) and os.path.isfile(text):
            directory = options.config or default_directory()
            changes["ignoreregex"] = load_filter(directory, os.path.abspath(text), {}).ignoreregex
            subject.described.append(f"Use ignoreregex file : {text}")
        else:
            changes["ignoreregex"] = (text,)
            subject.described.append(f"Use ignoreregex line : {text}")
    if options.journalmatch is not None:
        changes["journalmatch"] = (tuple(options.journalmatch.split()),)
    if changes:
        subject.filter = replace(subject.filter, **changes)  # type: ignore[arg-type]  # checked above, one by one
    if options.raw:
        subject.usedns = "raw"
    subject.usedns = options.usedns or subject.usedns or "warn"
    subject.timezone = options.timezone or subject.timezone
    subject.encoding = options.encoding or subject.encoding or "UTF-8"


def _rules(subject: _Subject, *, journal: bool) -> FilterRules:
    chosen = subject.filter
    return make_rules(
        chosen, usedns=subject.usedns or "warn", timezone=subject.timezone, journal=journal, any_year=True
    )


def _is_journal(log: str) -> bool:
    return log == _JOURNAL or log.startswith(_JOURNAL + "[")


# ---- trying


class _Names:
    """Puts addresses in the place of host names; a name without one is no match."""

    def __init__(self, clock: Clock, rules: FilterRules) -> None:
        from banguard.jails.resolver import Resolver  # noqa: PLC0415  most logs hold no names

        self._resolver = Resolver(clock)
        self._rules = rules

    def resolve(self, result: LineResult) -> LineResult:
        """Return *result* with one match per address of its host name."""
        name = result.matches[0]
        found = self._resolver.addresses(name.id)
        if found:
            return result._replace(matches=tuple(name._replace(kind="address", id=address) for address in found))
        for number in result.rules:
            self._rules.failures[number - 1].hits -= 1
        return LineResult("missed", rejected=name.id)


class _Output:
    """Writes to standard output in large pieces; a terminal never gets control characters."""

    def __init__(self) -> None:
        self._stream = sys.stdout
        self._pieces: list[str] = []
        self._clean = clean if self._stream.isatty() else as_it_is

    def line(self, text: str) -> None:
        """Print a line; newlines in it stay."""
        if self._clean is clean:
            text = "\n".join(map(clean, text.split("\n")))
        self.raw(text + "\n")

    def raw(self, text: str) -> None:
        """Print text that is fit for a terminal."""
        self._pieces.append(text)
        if len(self._pieces) >= _PIECES:
            self.flush()

    def flush(self) -> None:
        """Hand over what was printed so far."""
        self._stream.write("".join(self._pieces))
        self._pieces.clear()
        self._stream.flush()


class _Trial:
    """One run of the tester: lines through rules, every result counted and shown as the options want it."""

    def __init__(
        self, options: argparse.Namespace, rules: FilterRules, output: _Output, clock: Clock, timezone: str | None
    ) -> None:
        self._options = options
        self._rules = rules
        self._output = output
        self._clock = clock
        self._now = clock.now() if options.now is None else _now(options.now, timezone)
        self._names: _Names | None = None
        self.tally = Tally()
        for name in _SETS:
            everything = getattr(options, f"print_all_{name}")
            lines: Lines = getattr(self.tally, name)
            lines.limit = None if everything else 0 if name == "matched" else SHOWN_LINES

    def run(self, batches: Iterable[Batch]) -> None:
        """Try all lines; empty ones and those that begin with # are passed over."""
        options, tally, rules, now = self._options, self.tally, self._rules, self._now
        add = {
            "matched": tally.matched.add,
            "nofail": tally.ignored.add,
            "ignored": tally.ignored.add,
            "missed": tally.missed.add,
        }
        check_all = not (options.no_check_all or options.out)
        show = self._show()
        is_brief = show is None
        began = self._clock.monotonic()
        date, match = rules.date, rules.match
        number = 0
        for lines, times in batches:
            for line, given in zip(lines, times or repeat(None)):  # noqa: B905  one of them has no end
                number += 1
                if not line or line[0] == "#":
                    continue
                dated = date(line, now, given)
                at = dated.time
                if at is None:
                    at = rules.time_of(dated)
                result = match(dated, at, check_all=check_all, is_brief=is_brief)
                if result.matches and result.matches[0].kind == "name":
                    result = self._resolve(result)
                add[result.status](line)
                if show is not None:
                    show(number, dated, result)
        tally.seconds = self._clock.monotonic() - began

    def batches(self, blocks: Iterable[Prepared], encoding: str) -> Iterator[Batch]:
        """Return the lines of *blocks* that have to be tried; the others are missed, and counted."""
        options = self._options
        if not (options.jsonl or options.invert or options.verbose or options.print_all_missed):
            from banguard.cli.regex_screen import shortcut  # noqa: PLC0415  not for a line or two

            found = shortcut(self._rules, self.tally.missed, self._now, encoding)
            if found is not None:
                return found.batches(blocks)
        return (lines_of(prepared, encoding) for prepared in blocks)

    def _resolve(self, result: LineResult) -> LineResult:
        if self._names is None:
            self._names = _Names(self._clock, self._rules)
        return self._names.resolve(result)

    def _show(self) -> _Show | None:
        """Return what is done with each result as it comes."""
        options, output = self._options, self._output
        if options.jsonl:
            return lambda number, dated, result: output.raw(json_line(number, dated.line, result))
        if options.out is not None:
            return self._inverted if options.invert else self._templated(template(options.out))
        return self._remember if options.verbose and not options.json else None

    def _inverted(self, _number: int, dated: DatedLine, result: LineResult) -> None:
        if result.status != "matched":
            self._output.line(dated.line)

    def _templated(self, fill: Callable[[Match, float], str]) -> _Show:
        def show(_number: int, _dated: DatedLine, result: LineResult) -> None:
            for match in result.matches:
                self._output.line(fill(match, self._now))

        return show

    def _remember(self, _number: int, dated: DatedLine, result: LineResult) -> None:
        prefix = self._rules.prefix
        if prefix is not None:
            opening = prefix.find(dated.text + "\n")
            if opening is not None:
                self.tally.prefixes.append(str(prefix.data(opening)))
        for match in result.matches:
            found = self.tally.found.setdefault(result.rule, [])
            found.append((match.id, match.time, len(result.rules) > 1))

    def print_report(self) -> None:
        """Print what comes after the lines."""
        options, tally, rules = self._options, self.tally, self._rules
        if options.out is not None:
            return
        if options.json or options.jsonl:
            totals = summary(tally, rules)
            self._output.raw(json.dumps({"summary": totals} if options.jsonl else totals) + "\n")
            return
        for line in report(tally, rules, verbose=options.verbose, verbose_date=options.verbose_date):
            self._output.line(line)
        urls = {"matched": rules.failures, "ignored": rules.ignores, "missed": rules.failures}
        for name in ("matched", "ignored", "missed"):
            lines: Lines = getattr(tally, name)
            if lines.limit == 0 or getattr(options, f"print_no_{name}", False):
                continue
            for line in listing(lines, urls[name] if options.debuggex else ()):
                self._output.line(line)


# ---- the program


def _log_to_stderr(level: str) -> None:
    import logging  # noqa: PLC0415

    logging.addLevelName(25, "NOTICE")
    names = {"CRITICAL": 50, "ERROR": 40, "WARNING": 30, "NOTICE": 25, "INFO": 20, "DEBUG": 10}
    number = names.get(level.upper(), 5)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(levelname)s %(message)s"))
    logger = logging.getLogger("banguard")
    logger.handlers[:] = [handler]
    logger.setLevel(number)
    logger.propagate = False


def _describe(subject: _Subject, rules: FilterRules, log: str, lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines that tell what is tried, after the first."""
    if subject.filter.maxlines != 1 or "maxlines" in subject.filter.places:
        yield f"Use         maxlines : {subject.filter.maxlines}"
    if subject.filter.datepattern:
        pattern = subject.filter.datepattern.strip()
        yield f"Use      datepattern : {pattern} : {rules.detector.description}"
    yield from subject.described[1:]
    if _is_journal(log):
        matches = " ".join(term for match in subject.filter.journalmatch for term in ("+", *match))[2:]
        yield from ("Use         systemd journal", "Use         encoding : UTF-8", f"Use    journal match : {matches}")
    elif not lines:
        yield from (f"Use         log file : {log}", f"Use         encoding : {subject.encoding}")
    elif len(lines) == 1:
        yield f"Use      single line : {_short(lines[0])}"
    else:
        yield f"Use      multi line : {len(lines)} line(s)"
        yield from (f"|  {number}: {_short(line)}" for number, line in enumerate(lines[:5], 1))
        yield "`-"


def _short(line: str) -> str:
    return line if len(line) <= _PREVIEW else line[: _PREVIEW - 3] + "..."


def _run(options: argparse.Namespace, output: _Output, clock: Clock) -> None:
    quiet = options.json or options.jsonl or options.out is not None
    say = _silence if quiet else output.line
    for line in ("", "Running tests", "=============", ""):
        say(line)
    subject = _find_subject(options)
    _put_options_over(subject, options)
    say(subject.described[0])
    log = options.words[0]
    if os.path.isdir(log):
        raise _RefusedError(f"{log} is a directory")
    is_journal = _is_journal(log)
    is_file = not is_journal and os.path.exists(log)
    text = [] if is_journal or is_file else log.split("\n")
    try:
        rules = _rules(subject, journal=is_journal)
    except PatternError as error:
        word = options.words[1]
        if error.pattern != word or not _NAME.match(word):
            raise
        raise PatternError(f"{error} (nor is there a filter, jail or file of that name)", pattern=word) from None
    trial = _Trial(options, rules, output, clock, subject.timezone)
    for line in _describe(subject, rules, log, text):
        say(line)
    if is_journal:
        batches = of_journal(subject.filter.journalmatch, log)
    elif is_file:
        encoding = subject.encoding or "UTF-8"
        batches = trial.batches(blocks_of(log, encoding), encoding)
    else:
        batches = iter([(text, None)])
    trial.run(batches)
    trial.print_report()


def _lint(options: argparse.Namespace, output: _Output) -> int:
    """Print what is wrong with a filter; return 1 when anything is."""
    from banguard.cli import lint  # noqa: PLC0415  not for trying a filter

    directory = options.config or default_directory()
    spec = options.words[0]
    place = _IN_FILTER_D.match(spec)
    if place and _is_filter(place["directory"], place["name"]):
        directory, spec = place["directory"], place["name"] + place["options"]
    elif not _is_filter(directory, spec.partition("[")[0]):
        spec = os.path.abspath(spec.partition("[")[0]) + "".join(spec.partition("[")[1:])

    def load(given: dict[str, str]) -> FilterConfig:
        backend = "systemd" if given.get("logtype") == "journal" else "auto"
        return load_filter(directory, spec, given, backend=backend)

    path = os.path.join(directory, "filter.d", f"{spec.partition('[')[0]}.conf")
    if not os.path.isfile(path):
        path = load({}).path
    log = options.words[1] if len(options.words) > 1 else lint.find_samples(path)
    found = lint.lint(load, path, log)
    if options.json:
        output.raw(lint.as_json(found) + "\n")
        return int(bool(found))
    for each in found:
        output.line(str(each))
    output.line(f"{len(found)} findings" if found else "nothing is wrong")
    return int(bool(found))


def _silence(_line: str) -> None:
    """Print nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run banguard-regex with the arguments *argv* (default: those of the process); return the exit status."""
    # A log makes many values and no cycles: to look for these after each 700 values costs 3 %.
    gc.set_threshold(50_000, 20, 50)
    parser = make_parser()
    options = parser.parse_intermixed_args(argv)
    if options.verbosity is not None:
        options.verbose = options.verbosity
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _check(options)
    except _RefusedError as error:
        print(f"{parser.format_usage()}\nERROR: {error}", file=sys.stderr)
        return FAILED
    _log_to_stderr(options.log_level)
    output = _Output()
    try:
        try:
            if options.lint:
                return _lint(options, output)
            _run(options, output, SystemClock())
        except (BanguardError, _RefusedError, LookupError) as error:
            if options.log_traceback or options.full_traceback:
                raise
            _print_error(options, output, str(error))
            return FAILED
        finally:
            output.flush()
    except BrokenPipeError:
        # Whoever read this has enough; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except KeyboardInterrupt:
        return 128 + 2
    return 0


def _print_error(options: argparse.Namespace, output: _Output, message: str) -> None:
    if options.json or options.jsonl:
        output.raw(json.dumps({"error": message}) + "\n")
    elif options.out is not None:
        print(f"ERROR: {clean(message)}", file=sys.stderr)
    else:
        output.line(f"ERROR: {message}")


if __name__ == "__main__":
    sys.exit(main())
