"""Who is banned, until when."""

from __future__ import annotations

from banguard.bans.store import BanStore, MemoryStore


def open_store(dbfile: str, *, max_matches: int = 10, purge_age: float = 86400.0) -> BanStore:
    """
    Return the store that the option `dbfile` names: SQLite, or memory for `None`, `:memory:` and the empty text.

    Nothing is opened yet; the registry does that, and goes on without when it cannot be.
    """
    if dbfile in {"", ":memory:"} or dbfile.lower() == "none":
        return MemoryStore(max_matches=max_matches, purge_age=purge_age)
    from banguard.bans.store_sqlite import SqliteStore  # noqa: PLC0415  the client never needs it

    return SqliteStore(dbfile, max_matches=max_matches, purge_age=purge_age)


__all__ = ["BanStore", "MemoryStore", "open_store"]
