"""
Attack shipped filters; `python tests/support/injection.py [--full] [NAME…]` prints what gets through.

With `--full` each is tried with the failures of all others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from banguard.cli import injection
from banguard.cli.samples import Pairs
from banguard.config import load_filter
from banguard.matching import FilterRules, make_rules
from support import samples
from support.samples import Sample


def findings(name: str, *, full: bool = False) -> Iterator[tuple[Sample, str, list[str]]]:
    """Yield sample, attacked line and what was found, where that is another host than the sample's."""

    def build(options: Pairs) -> FilterRules:
        given = dict(options)
        journal = given.get("logtype") == "journal"
        config = load_filter(samples.CONFIG, name, given, backend="systemd" if journal else "auto")
        return make_rules(config, usedns=given.get("usedns", "no"), timezone="UTC", journal=journal)

    others = [line for other in samples.names() for line in injection.failures(samples.load(other))] if full else []
    return injection.findings(samples.load(name), injection.Targets(build), samples.escapes(name), others=others)


def main(words: list[str]) -> None:
    """Print what gets through."""
    names = [word for word in words if not word.startswith("-")]
    for name in names or samples.names():
        found = list(findings(name, full="--full" in words))
        print(f"{name}: {len(found)}", flush=True)
        shown: set[object] = set()
        for sample, line, hosts in found:
            at = len(os.path.commonprefix([sample.line, line]))
            if (sample.number, at) not in shown:
                shown.add((sample.number, at))
                print(f"   {sample.id} {hosts} {line[:at]}>>>{line[at:][:300]}")


if __name__ == "__main__":
    main(sys.argv[1:])
