"""Tell the author of a filter what is wrong with it: `banguard-regex --lint FILTER [SAMPLES]`."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

from banguard.cli import injection
from banguard.cli.samples import Sample, epoch, escapes, parse
from banguard.config.schema import FilterConfig, Place
from banguard.errors import ConfigError
from banguard.matching import FilterRules, LineResult, make_rules
from banguard.matching.multiline import Sessions
from banguard.netaddr import canonical

Load = Callable[[dict[str, str]], FilterConfig]
"""Reads the filter with some options."""

_MOST_ATTACKS = 3
_HOST = re.compile(r"<(?:HOST|ADDR|SUBNET|IP4|IP6|DNS|F-(?:ID|ADDR|IP4|IP6|DNS)/?)>")
_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")
_ANYTHING = re.compile(r"\.(?:[*+]|\{\d+,\})")
_END = re.compile(r"\$[)?]*$")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: where (*line* 0: the file as a whole), of which kind, why it is wrong, and what to do."""

    path: str
    line: int
    code: str
    reason: str
    proposal: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.code}: {self.reason}\n    {self.proposal}"


def find_samples(path: str) -> str | None:
    """Return the file of samples of the filter at *path*: beside it, or in the tests of a checkout."""
    folder, name = os.path.split(path)
    log = f"{os.path.splitext(name)[0]}.log"
    top = os.path.dirname(os.path.dirname(folder))
    for candidate in (os.path.join(folder, log), os.path.join(top, "tests", "filters", log)):
        if os.path.isfile(candidate):
            return candidate
    return None


def lint(load: Load, path: str, log: str | None) -> list[Finding]:
    """
    Return what is wrong with the filter that *load* reads from *path*; *log* is its file of samples, if it has one.

    Raise ConfigError or PatternError when it cannot be used at all, or the samples cannot be read.
    """
    text = ""
    if log is not None:
        try:
            with open(log, encoding="utf-8", newline="\n") as file:
                text = file.read()
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"cannot be read: {error}", path=log) from None
    name = os.path.splitext(os.path.basename(log or path))[0]
    return list(_Lint(load, path, log or "", parse(name, text), escapes(name, text)).findings())


class _Lint:
    """One look at a filter, with the options that its samples name."""

    def __init__(self, load: Load, path: str, log: str, samples: Sequence[Sample], how: dict[str, str]) -> None:
        self._load = load
        self._path = path
        self._log = log
        self._samples = samples
        self._escapes = how
        self._places: dict[str, Place] = {}
        self._targets = injection.Targets(self._build)
        # By rule, which is the place where it stands: how often it decided, how often an earlier one did, its hosts.
        self._first: dict[str, int] = defaultdict(int)
        self._second: dict[str, int] = defaultdict(int)
        self._hosts: dict[str, set[str]] = defaultdict(set)
        self._shown: dict[str, str] = {}

    def _build(self, options: tuple[tuple[str, str], ...]) -> FilterRules:
        config = self._load(dict(options))
        places = config.places
        for name in ("prefregex", "failregex", "ignoreregex", "successregex"):
            texts = getattr(config, name)
            for index, text in enumerate([texts] if isinstance(texts, str) else texts):
                place = places.get(f"{name}[{index}]") or places.get(name)
                if place is not None:
                    self._places.setdefault(text, place)
        for option, texts in config.fields:
            for index in range(len(texts)):
                place = places.get(f"{option}[{index}]") or places.get(option)
                if place is not None:
                    self._places.setdefault(f"{option}[{index}]", place)
        journal = ("logtype", "journal") in options
        usedns = dict(options).get("usedns", "no")
        return make_rules(config, usedns=usedns, timezone="UTC", journal=journal, successes=True)

    def _place(self, text: str) -> Place | None:
        return self._places.get(text) or self._places.get(f"{text.partition(' = ')[0]}[0]")

    def _rule(self, text: str) -> str:
        """Return what a rule is known by: its place, also when options change its text."""
        place = self._place(text)
        return text if place is None else f"{place.path}:{place.line}"

    def _finding(self, text: str, code: str, reason: str, proposal: str) -> Finding:
        place = self._place(text)
        return Finding(place.path if place else self._path, place.line if place else 0, code, reason, proposal)

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong."""
        options = dict.fromkeys(((), *(sample.options for sample in self._samples)))
        seen: set[str] = set()
        for chosen in options:
            yield from self._of_rules(self._targets.of(chosen).rules, seen)
        if not any(sample.matches for sample in self._samples):
            reason = "there is no sample, so nobody sees whether it finds what it should"
            yield Finding(
                self._path, 0, "no-sample", reason, "write lines and what is expected of them into NAME.log beside it"
            )
            return
        yield from self._try_samples()
        yield from self._of_hits()
        yield from self._of_attacks()

    def _of_rules(self, rules: FilterRules, seen: set[str]) -> Iterator[Finding]:
        """Yield what the regexes themselves tell."""
        before: set[str] = set()
        for rule in rules.failures:
            self._shown.setdefault(self._rule(rule.text), rule.text)
            if rule.text in before and rule.text not in seen:
                yield self._finding(rule.text, "shadowed", f"the same rule stands before it: {rule.text}", "remove one")
            before.add(rule.text)
        for name, pattern in rules.patterns:
            key = name if "." in name else pattern.text
            if key in seen:
                continue
            seen.add(key)
            if pattern.explodes or pattern.unbounded:
                yield self._finding(
                    key,
                    "explodes",
                    f"the time for a line can double with each of its characters: {pattern.text}",
                    "repeat no group that holds a repeat of the same characters",
                )
            if name.startswith(("failregex", "prefregex", "field")):
                yield from self._of_text(key, pattern.text, anchored=pattern.is_anchored, whole="." in name)

    def _of_text(self, key: str, text: str, *, anchored: bool, whole: bool) -> Iterator[Finding]:
        if not anchored:
            yield self._finding(
                key,
                "not-anchored",
                f"it can begin to match anywhere, also in text that a client chose: {text}",
                "begin it with ^ and what the service writes in front",
            )
            return
        # Classes and escaped characters are no loops over anything.
        bare = _CLASS.sub(lambda found: "_" * len(found[0]), text)
        host = _HOST.search(bare)
        if host is None or "(?!" in bare:
            return
        head, tail = bare[: host.start()], bare[host.end() :]
        if not _ANYTHING.search(head):
            return
        if _ANYTHING.search(tail):
            yield self._finding(
                key,
                "greedy",
                f"any text may stand in front of the host and behind it, and a client can choose it: {text}",
                "say what stands on one side; or refuse lines that name two with (?!.*WORD.*WORD)",
            )
        elif not whole and not _END.search(bare):
            yield self._finding(
                key,
                "open-end",
                f"any text may stand in front of the host, and nothing holds the end of the line: {text}",
                "end it with $ so that the host is the last one, which the service wrote",
            )

    def _try_samples(self) -> Iterator[Finding]:
        """Match the samples in order, and count which rules decide; yield those that do not do what is expected."""
        for options in dict.fromkeys(sample.options for sample in self._samples):
            target = self._targets.of(options)
            target.rules.sessions = Sessions()
            for sample in self._samples:
                if sample.options != options:
                    continue
                result = target.match(sample.line, check_all=True)
                if result.rule:
                    rule = self._rule(target.rules.failures[result.rule - 1].text)
                    self._first[rule] += 1
                    self._hosts[rule].update(match.host for match in result.matches)
                    for number in result.rules:
                        self._second[self._rule(target.rules.failures[number - 1].text)] += number != result.rule
                wrong = _wrong(sample, result)
                if wrong:
                    yield Finding(
                        self._log, sample.number, "sample", wrong, "correct the filter, or what is expected of the line"
                    )

    def _of_hits(self) -> Iterator[Finding]:
        """Yield the rules that no sample, or only samples of earlier rules, are matched by."""
        for rule, text in self._shown.items():
            if not self._first[rule] and self._second[rule]:
                yield self._finding(
                    text,
                    "shadowed",
                    f"an earlier rule matches each line of the samples that it matches: {text}",
                    "remove it, put it first, or add a sample that only it matches",
                )
            elif not self._first[rule]:
                yield self._finding(
                    text, "never-hit", f"no sample shows that it finds anything: {text}", "add a sample that it matches"
                )
            hosts = self._hosts[rule]
            if "<HOST>" in text and hosts and all(canonical(host) is not None for host in hosts):
                yield self._finding(
                    text,
                    "host-is-address",
                    f"the samples have addresses only where it takes names too: {text}",
                    "use <ADDR>, or add a sample with a name",
                )

    def _of_attacks(self) -> Iterator[Finding]:
        found = injection.findings(self._samples, self._targets, self._escapes)
        for sample, line, hosts in islice(found, _MOST_ATTACKS):
            reason = f"text of a client makes it find {', '.join(hosts)} in this line: {line}"
            proposal = "tighten the rule; or say with `# free: KIND escape=HOW` how the service writes such text"
            yield Finding(self._log, sample.number, "attack", reason, proposal)


def _wrong(sample: Sample, result: LineResult) -> str:
    """Return what is otherwise than the sample expects."""
    if sample.matches != (result.status == "matched"):
        return f"the line is {result.status}, and expected {'to match' if sample.matches else 'not to'}"
    if not sample.matches:
        return ""
    match = result.matches[0]
    for key, value in sample.expected:
        if key == "time":
            if epoch(value) != match.time:
                return f"the time is {match.time}, and expected as {value}"
            continue
        actual = {"id": match.id, "host": match.host, "user": match.user}.get(key, match.groups.get(key)) or ""
        if actual != value:
            return f"{key} is {actual!r}, and expected as {value!r}"
    return ""


def as_json(found: Sequence[Finding]) -> str:
    """Return the object of --json."""
    return json.dumps({"findings": [asdict(each) for each in found]})
