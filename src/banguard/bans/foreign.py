"""Read the bans of a fail2ban database, so that a change of programs forgets nobody."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from urllib.parse import quote

from banguard import netaddr
from banguard.errors import StoreError
from banguard.model import Ban, Origin

_LONGEST_ID = 1024
_MOST_MATCHES = 10


def read_bans(path: str) -> list[Ban]:
    """
    Return the latest ban of each address and jail in the fail2ban database (schema version 4) at *path*.

    Bans that are over are among them: they count when the address comes back. Nothing is written, and a running
    fail2ban is not disturbed. Raise StoreError when *path* is no such database.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=10.0)
    except sqlite3.Error as error:
        raise StoreError(f"cannot open {path}: {error}") from None
    try:
        rows = connection.execute("SELECT ip, jail, timeofban, bantime, bancount, data FROM bips").fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{path} is no fail2ban database that can be read: {error}") from None
    finally:
        connection.close()
    return [ban for row in rows if (ban := _ban(row)) is not None]


def _ban(row: tuple[object, ...]) -> Ban | None:
    """Return the ban of one row, None for a row that makes no sense."""
    ip, jail, since, length, count, data = row
    if not isinstance(since, int | float) or not isinstance(length, int | float) or not ip or not jail:
        return None
    host = str(ip)[:_LONGEST_ID]
    known = _known(data)
    matches = known.get("matches")
    failures = known.get("failures")
    return Ban(
        jail=str(jail),
        host=netaddr.canonical(host) or host,
        since=float(since),
        until=None if length < 0 else float(since) + float(length),
        count=max(1, count) if isinstance(count, int) else 1,
        origin=Origin.RESTORED,
        failures=failures if isinstance(failures, int) else 0,
        matches=tuple(_line(match) for match in matches[-_MOST_MATCHES:]) if isinstance(matches, list) else (),
    )


def _known(data: object) -> Mapping[str, object]:
    if not isinstance(data, str | bytes):
        return {}
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _line(match: object) -> str:
    """Return a matched line: as it stands, or put together from the parts around and of its date."""
    if isinstance(match, list):
        return "".join(str(part) for part in match)
    return str(match)
