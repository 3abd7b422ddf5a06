"""Pure text work: no threads, no files, no clock."""

from __future__ import annotations

from banguard.matching.make import make_rules
from banguard.matching.rules import DatedLine, FilterRules, LineResult, Match

__all__ = ["DatedLine", "FilterRules", "LineResult", "Match", "make_rules"]
