"""Commands that explain: how a line is treated, what is known of a host."""

from __future__ import annotations

from dataclasses import asdict

from banguard.control.api import ActiveBan, JsonValue
from banguard.control.protocol import USAGE, Reply
from banguard.control.table import BANS, BASIC, Context, command
from banguard.control.values import all_jails, ban_data, host_of, number, seconds_of
from banguard.errors import ControlError

WATCH_SECONDS = 2.0
"""How long packets of a banned address are watched for when nobody says."""


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


@command(
    BANS,
    "history",
    "<id>",
    "Show all bans and unbans that are remembered of an address, and of networks that it was banned with.",
)
def history(context: Context, word: str) -> Reply:
    """Show the bans of a host."""
    host = host_of(word)
    active = {(one.ban.jail, one.ban.host, one.ban.since): one for view in all_jails(context.api) for one in view.bans}
    bans: list[JsonValue] = []
    for past in context.api.past(host):
        key = (past.ban.jail, past.ban.host, past.ban.since)
        now = active.pop(key, None)
        bans.append(
            {
                "jail": past.ban.jail,
                **ban_data(now or ActiveBan(past.ban, enforced=False)),
                "origin": past.ban.origin.value,
                "active": now is not None,
                "ended": number(past.ended),
                "reason": past.reason,
                "rules": [] if past.ban.grounds is None else [text[0] for text in past.ban.grounds.texts],
            }
        )
    return Reply({"id": host, "bans": bans}, "history")


@command(
    BASIC,
    "self-test",
    "[--write-log] [--line <line>] <jail>",
    "Test a jail (the client: every jail when none is named) with failures of 192.0.2.1, from log to firewall and "
    "back. A jail of its own is made for it; --write-log writes to the log of the jail itself.",
)
def self_test(context: Context, *words: str) -> Reply:
    """Test the chain of a jail."""
    rest = [word for word in words if word != "--write-log"]
    line = ""
    if "--line" in rest:
        at = rest.index("--line")
        if at + 1 >= len(rest):
            raise ControlError("--line takes a line of a log", status=USAGE)
        line = rest[at + 1]
        del rest[at : at + 2]
    if len(rest) != 1:
        raise ControlError("self-test takes the name of a jail", status=USAGE)
    return Reply(context.api.self_test(rest[0], line=line, write_log="--write-log" in words), "self_test")


@command(
    BANS,
    "why",
    "[--watch <seconds>] <id>",
    "Show why an address is banned or not: lines, rule, counts, whether the firewall holds it, whether it still comes "
    "(its packets are watched for 2 or <seconds>), and if so the likely cause and what helps.",
)
def why(context: Context, *words: str) -> Reply:
    """Show why a host is banned or not."""
    rest = list(words)
    watch = WATCH_SECONDS
    if "--watch" in rest:
        at = rest.index("--watch")
        if at + 1 >= len(rest):
            raise ControlError("--watch takes a number of seconds", status=USAGE)
        watch = seconds_of(rest[at + 1])
        del rest[at : at + 2]
    if len(rest) != 1:
        raise ControlError("why takes one address", status=USAGE)
    return Reply(context.api.why(host_of(rest[0]), watch), "why")
