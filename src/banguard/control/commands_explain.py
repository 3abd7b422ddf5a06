"""Commands that explain: how a line is treated."""

from __future__ import annotations

from dataclasses import asdict

from banguard.control.protocol import Reply
from banguard.control.table import BASIC, Context, command


@command(
    BASIC,
    "explain",
    "<line> [<jail>]",
    "Show how each stage of <jail>, or of every jail, treats a line: date, regexes, host, ignore rules, counter. "
    "Counts nothing. Without a server the configuration is asked.",
)
def explain(context: Context, line: str, jail: str | None = None) -> Reply:
    """Show how jails treat a line."""
    return Reply({"jails": [asdict(found) for found in context.api.explain(line, jail)]}, "explained")
