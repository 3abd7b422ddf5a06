"""Send the bans of a fail2ban database to the running server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from banguard.bans.foreign import read_bans
from banguard.control.protocol import REFUSED, Reply
from banguard.model import Ban

Ask = Callable[[Sequence[str], float], Reply]

_AT_ONCE = 500
"""Bans in one command: far below the limit of a request, matched lines included."""


def import_bans(path: str, ask: Ask, patience: float) -> Reply:
    """
    Read the database at *path* and have each jail take its bans over.

    The reply tells per jail how many bans there were and how many are in force now. Jails that do not run under the
    same name are named as an error after the others are done. Raise StoreError for a file that is no such database.
    """
    by_jail: dict[str, list[Ban]] = {}
    for ban in read_bans(path):
        by_jail.setdefault(ban.jail, []).append(ban)
    taken: dict[str, dict[str, int]] = {}
    missing: list[str] = []
    for jail, bans in sorted(by_jail.items()):
        in_force = 0
        for first in range(0, len(bans), _AT_ONCE):
            rows = [_row(ban) for ban in bans[first : first + _AT_ONCE]]
            reply = ask(["set", jail, "takebans", json.dumps(rows)], patience)
            if not reply.ok:
                missing.append(f"{jail}: {len(bans)} bans not taken over: {reply.error}")
                break
            in_force += int(str(reply.value))
        else:
            taken[jail] = {"found": len(bans), "in_force": in_force}
    if missing:
        done = ", ".join(f"{jail} {counts['in_force']}" for jail, counts in taken.items())
        return Reply(error="\n".join([*missing, f"taken over: {done or 'nothing'}"]), status=REFUSED)
    return Reply({"jails": taken}, "imported")


def _row(ban: Ban) -> dict[str, object]:
    return {
        "host": ban.host,
        "since": ban.since,
        "until": ban.until,
        "count": ban.count,
        "failures": ban.failures,
        "matches": list(ban.matches),
    }
