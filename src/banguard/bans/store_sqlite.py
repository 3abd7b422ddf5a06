"""BanStore on SQLite."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from banguard.bans.store import (
    MOST_PAST,
    Batch,
    History,
    Length,
    Offences,
    PastBan,
    StoredBan,
    around,
    merged,
    newest_matches,
    short_data,
)
from banguard.errors import StoreError
from banguard.model import NOTHING, Ban, Cursor, FailureState, Grounds, Origin

logger = logging.getLogger("banguard.database")

T = TypeVar("T")
Row = tuple[str | int | float | None, ...]

APPLICATION_ID = 0x42414E47
"""Marks the file as one of ours (`BANG`), in the file's header."""

BUSY_SECONDS = 1.0
"""How long a write waits for another process that holds the file."""

MAX_HISTORY = 500_000
"""Past bans that are kept at most."""

_CHECK_UP_TO = 64 * 1024 * 1024
_CHUNK = 500
_MERGED_BANS = 1000
_MOST_TIMES = 100

_VERSIONS = (
    """
    CREATE TABLE active (
        jail TEXT NOT NULL, host TEXT NOT NULL, since REAL NOT NULL, until REAL, length TEXT NOT NULL,
        count INTEGER NOT NULL, origin TEXT NOT NULL, failures INTEGER NOT NULL, matches TEXT NOT NULL,
        data TEXT NOT NULL, PRIMARY KEY (jail, host)
    ) STRICT;
    CREATE TABLE offenders (
        host TEXT NOT NULL, jail TEXT NOT NULL, count INTEGER NOT NULL, since REAL NOT NULL, until REAL,
        PRIMARY KEY (host, jail)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE history (
        id INTEGER PRIMARY KEY, jail TEXT NOT NULL, host TEXT NOT NULL, since REAL NOT NULL, until REAL,
        failures INTEGER NOT NULL, matches TEXT NOT NULL
    ) STRICT;
    CREATE INDEX history_of_host ON history (host, jail);
    CREATE INDEX history_by_time ON history (since);
    CREATE TABLE cursors (
        jail TEXT NOT NULL, log TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL,
        offset INTEGER NOT NULL, fingerprint TEXT NOT NULL, journal TEXT NOT NULL, time REAL NOT NULL,
        PRIMARY KEY (jail, log)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE failures (
        jail TEXT NOT NULL, host TEXT NOT NULL, newest REAL NOT NULL, times TEXT NOT NULL, matches TEXT NOT NULL,
        data TEXT NOT NULL, PRIMARY KEY (jail, host)
    ) STRICT;
    """,
    """
    ALTER TABLE active ADD COLUMN grounds TEXT NOT NULL DEFAULT '';
    ALTER TABLE history ADD COLUMN count INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE history ADD COLUMN origin TEXT NOT NULL DEFAULT 'local';
    ALTER TABLE history ADD COLUMN data TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE history ADD COLUMN grounds TEXT NOT NULL DEFAULT '';
    ALTER TABLE history ADD COLUMN ended REAL;
    ALTER TABLE history ADD COLUMN reason TEXT NOT NULL DEFAULT '';
    ALTER TABLE history ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
    """,
)
"""The steps from each version of the tables to the next; `PRAGMA user_version` counts those done."""

_PUT_ACTIVE = "INSERT OR REPLACE INTO active VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_END_ACTIVE = "DELETE FROM active WHERE jail = ? AND host = ?"
_PUT_HISTORY = (
    "INSERT INTO history (jail, host, since, until, failures, matches, count, origin, data, grounds)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# The plus keeps SQLite from searching by time: of many bans that began at once each would be searched for among all.
_END_HISTORY = (
    "UPDATE history SET ended = ?, reason = ?, until = ? WHERE host = ? AND jail = ? AND +since = ? AND ended IS NULL"
)
_FORGETTING = ("DELETE FROM active", "UPDATE history SET forgotten = 1", "DELETE FROM offenders")
_PUT_OFFENDER = "INSERT OR REPLACE INTO offenders VALUES (?, ?, ?, ?, ?)"
_PUT_CURSOR = "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_FAILURE = "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?)"
_END_FAILURE = "DELETE FROM failures WHERE jail = ? AND host = ?"


_PAST = (
    "SELECT jail, host, since, until, '', count, origin, failures, matches, data, grounds, ended, reason FROM history"
    " WHERE host IN (SELECT value FROM json_each(?)) ORDER BY since DESC, id DESC LIMIT ?"
)


def _text(text: str) -> str:
    """Return *text* as SQLite can keep it: half surrogates become escapes."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _signed(number: int) -> int:
    """Return an unsigned 64-bit number (an inode) as SQLite keeps it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number


def _matches(text: str) -> tuple[str, ...]:
    value = json.loads(text)
    if not isinstance(value, list):
        raise TypeError("matches are no list")
    return tuple(str(line) for line in value)


def _data(text: str) -> Mapping[str, str]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("data are no mapping")
    return {str(key): str(item) for key, item in value.items()} if value else NOTHING


class SqliteStore:
    """
    Keeps bans in one SQLite file, with a write-ahead log: a crash of the process loses nothing that was written.

    A loss of power may cost the last moments, never the file. A file that is damaged is moved aside (to
    `NAME.damaged-N`, kept for whoever wants to look into it) and a new one begun. A file that is not ours, or was made
    by a later version, is refused and left alone.

    One connection writes, another reads for the threads of the actions; a lock around that one, since they are many.
    """

    def __init__(
        self,
        path: str,
        *,
        max_matches: int = 10,
        purge_age: float = 86400.0,
        max_history: int = MAX_HISTORY,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        """*path* is opened by `reopen`; it is made with mode 0600, in a directory with 0750, where they are missing."""
        self.max_matches = max_matches
        self.purge_age = purge_age
        self.path = path
        self._max_history = max_history
        self._busy_seconds = busy_seconds
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._reader_lock = threading.Lock()
        self._identity: tuple[int, int] | None = None
        self._damaged = False

    # ---- opening

    def reopen(self) -> None:
        """Open, or open afresh after an error; a damaged file is set aside. StoreError when there is no way."""
        self.close()
        try:
            if self._damaged:
                self._set_aside()
                self._damaged = False
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                logger.error("The ban store %s is damaged: %s", self.path, error)
                self._release()
                self._set_aside()
                self._open()
        except (OSError, sqlite3.Error) as error:
            self._release()
            raise StoreError(f"cannot open {self.path}: {error}") from error
        except StoreError:
            self._release()
            raise

    def _open(self) -> None:
        self._prepare_file()
        self._writer = self._connect()
        self._check(self._writer)
        self._writer.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of effect on a new file alone, and only here
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = NORMAL")
        self._writer.execute(f"PRAGMA journal_size_limit = {4 * 1024 * 1024}")
        self._upgrade(self._writer)

    def _prepare_file(self) -> None:
        folder = os.path.dirname(self.path)
        if folder and not os.path.isdir(folder):
            os.makedirs(folder, mode=0o750)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"{self.path} is no regular file")
            if stat.S_IMODE(status.st_mode) & 0o077:
                with contextlib.suppress(OSError):
                    os.fchmod(descriptor, 0o600)
            self._identity = (status.st_dev, status.st_ino)
        finally:
            os.close(descriptor)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Refuse a file that is not ours; notice one that is damaged."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if tables and mark != APPLICATION_ID:
            raise StoreError(f"{self.path} is a database of some other program")
        if version > len(_VERSIONS):
            raise StoreError(f"{self.path} was made by a later version of banguard (tables {version})")
        if os.path.getsize(self.path) <= _CHECK_UP_TO:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise _DamageError(str(verdict))

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number in range(version, len(_VERSIONS)):
            statements = "".join(
                (
                    "BEGIN IMMEDIATE;",
                    _VERSIONS[number],
                    f"PRAGMA application_id = {APPLICATION_ID};",
                    f"PRAGMA user_version = {number + 1};",
                    "COMMIT;",
                )
            )
            connection.executescript(statements)

    def _set_aside(self) -> None:
        number = 1
        while os.path.lexists(f"{self.path}.damaged-{number}"):
            number += 1
        aside = f"{self.path}.damaged-{number}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
            logger.error("The damaged ban store was moved to %s and a new one is begun", aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.path + suffix, aside + suffix)

    def close(self) -> None:
        """Let go of the file."""
        self._release()

    def _release(self) -> None:
        with self._reader_lock:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    with contextlib.suppress(sqlite3.Error):
                        connection.close()
            self._reader = self._writer = None

    # ---- errors

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _is_damage(error):
                self._damaged = True
            raise StoreError(f"{self.path}: {error}") from error
        except (OverflowError, UnicodeError) as error:
            raise StoreError(f"{self.path}: a value cannot be kept: {error}") from error

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            raise StoreError(f"{self.path} is not open")
        return self._writer

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One write, all of it or nothing."""
        connection = self._open_writer()
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise StoreError(f"{self.path}: {error}") from error
        if (status.st_dev, status.st_ino) != self._identity:
            raise StoreError(f"{self.path} was replaced by another file")
        with self._errors():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise

    # ---- writing

    def write(self, batch: Batch) -> None:
        """Carry out all of *batch*, or nothing."""
        with self._transaction() as connection:
            self._carry_out(connection, batch)

    def replace(self, jails: Collection[str], batch: Batch) -> None:
        """Make the bans in *batch* the only active ones of *jails*, and carry out the rest of it, or nothing."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM active WHERE jail = ?", [(_text(jail),) for jail in jails])
            self._carry_out(connection, batch)

    def _carry_out(self, connection: sqlite3.Connection, batch: Batch) -> None:
        for wiped in batch.wiped:
            for step in _FORGETTING:
                if wiped is None:
                    connection.execute(step)
                else:
                    connection.execute(f"{step} WHERE jail = ?", (_text(wiped),))
        forgotten: dict[str | None, list[str]] = {}
        for jail, host in batch.forgotten:
            forgotten.setdefault(jail, []).append(_text(host))
        for jail, hosts in forgotten.items():
            # All at once: no index of the active bans begins with the host, so each would be looked for among all.
            values = {"hosts": json.dumps(hosts), "jail": None if jail is None else _text(jail)}
            for step in _FORGETTING:
                condition = "host IN (SELECT value FROM json_each(:hosts)) AND (jail = :jail OR :jail IS NULL)"
                connection.execute(f"{step} WHERE {condition}", values)
        connection.executemany(_END_ACTIVE, [_keys(key) for key, ban in batch.bans.items() if ban is None])
        connection.executemany(_PUT_ACTIVE, self._active_rows(batch.bans.values()))
        connection.executemany(
            _PUT_HISTORY,
            [
                (
                    _text(ban.jail),
                    _text(ban.host),
                    ban.since,
                    ban.until,
                    ban.failures,
                    self._matches_of(ban.matches),
                    ban.count,
                    ban.origin.value,
                    json.dumps(dict(short_data(ban.data))),
                    _grounds_text(ban.grounds),
                )
                for ban in batch.history
            ],
        )
        connection.executemany(
            _END_HISTORY,
            [
                (over.ended, over.reason, over.ban.until, _text(over.ban.host), _text(over.ban.jail), over.ban.since)
                for over in batch.ended
            ],
        )
        connection.executemany(
            _PUT_OFFENDER,
            [(_text(ban.host), _text(ban.jail), ban.count, ban.since, ban.until) for ban in batch.history],
        )
        connection.executemany(
            _PUT_CURSOR,
            [
                (
                    *_keys(key),
                    _signed(cursor.device),
                    _signed(cursor.inode),
                    cursor.offset,
                    _text(cursor.fingerprint),
                    _text(cursor.journal),
                    cursor.time,
                )
                for key, cursor in batch.cursors.items()
            ],
        )
        connection.executemany(_END_FAILURE, [_keys(key) for key, state in batch.failures.items() if not state.times])
        connection.executemany(
            _PUT_FAILURE,
            [
                (
                    *_keys(key),
                    state.times[-1],
                    json.dumps(state.times),
                    self._matches_of(state.matches),
                    json.dumps(dict(short_data(state.data))),
                )
                for key, state in batch.failures.items()
                if state.times
            ],
        )

    def _active_rows(self, bans: Iterable[StoredBan | None]) -> list[tuple[object, ...]]:
        return [
            (
                _text(stored.ban.jail),
                _text(stored.ban.host),
                stored.ban.since,
                stored.ban.until,
                stored.length.value,
                stored.ban.count,
                stored.ban.origin.value,
                stored.ban.failures,
                self._matches_of(stored.ban.matches),
                json.dumps(dict(short_data(stored.ban.data))),
                _grounds_text(stored.ban.grounds),
            )
            for stored in bans
            if stored is not None
        ]

    def _matches_of(self, matches: Sequence[str]) -> str:
        return json.dumps(newest_matches(matches, self.max_matches)) if matches else "[]"

    def drop_failures(self, jails: Collection[str]) -> None:
        """Forget the failure states of *jails*."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM failures WHERE jail = ?", [(_text(jail),) for jail in jails])

    def drop(self, jail: str) -> None:
        """Forget all that is known of *jail*."""
        with self._transaction() as connection:
            for table in ("active", "history", "offenders", "cursors", "failures"):
                connection.execute(f"DELETE FROM {table} WHERE jail = ?", (_text(jail),))  # noqa: S608  names from above

    def purge(self, now: float, jails: Collection[str]) -> int:
        """Forget what is older than `purge_age` as of *now*; return the number of past bans forgotten."""
        oldest = now - self.purge_age
        with self._transaction() as connection:
            forgotten = connection.execute("DELETE FROM history WHERE since < ?", (oldest,)).rowcount
            forgotten += connection.execute(
                "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", (self._max_history,)
            ).rowcount
            connection.execute(
                "DELETE FROM offenders WHERE until IS NOT NULL AND since < ? AND since + 3 * (until - since) < ?"
                " AND NOT EXISTS (SELECT 1 FROM active WHERE active.jail = offenders.jail"
                " AND active.host = offenders.host)",
                (oldest, now),
            )
            running = json.dumps([_text(jail) for jail in jails])
            for table, column in (("failures", "newest"), ("cursors", "time")):
                connection.execute(
                    f"DELETE FROM {table} WHERE {column} < ?"  # noqa: S608  names from the line above
                    " AND jail NOT IN (SELECT value FROM json_each(?))",
                    (oldest, running),
                )
        with self._errors():
            self._open_writer().executescript("PRAGMA incremental_vacuum")  # execute() would free one page only
        return forgotten

    # ---- reading, by the registry's thread

    def active(self, jail: str) -> list[StoredBan]:
        """Return the bans of *jail* that were not ended."""
        return list(self._rows("SELECT * FROM active WHERE jail = ? ORDER BY since, host", (_text(jail),), _stored_ban))

    def cursors(self, jail: str) -> list[Cursor]:
        """Return the positions up to which the logs of *jail* are dealt with."""
        return list(self._rows("SELECT * FROM cursors WHERE jail = ?", (_text(jail),), _cursor))

    def failures(self, jail: str) -> list[FailureState]:
        """Return what the failure counter of *jail* held."""
        return list(self._rows("SELECT * FROM failures WHERE jail = ? ORDER BY newest", (_text(jail),), _failure_state))

    def _rows(self, query: str, values: tuple[object, ...], make: Callable[[Row], T]) -> Iterator[T]:
        with self._errors():
            rows = self._open_writer().execute(query, values).fetchall()
        for row in rows:
            try:
                yield make(row)
            except (TypeError, ValueError) as error:
                logger.error("A row of the ban store %s cannot be read and is left out: %s", self.path, error)

    # ---- reading, by any thread

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._reader_lock, self._errors():
            if self._reader is None:
                self._open_writer()
                self._reader = self._connect()
                self._reader.execute("PRAGMA query_only = ON")
            yield self._reader

    def offences(self, jail: str | None, hosts: Sequence[str]) -> Mapping[str, Offences]:
        """Return the earlier bans of *hosts* in *jail* (None: in all jails, summed up); unknown hosts are left out."""
        found: dict[str, Offences] = {}
        names = {_text(host): host for host in hosts}
        keys = list(names)
        with self._reading() as connection:
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                query = (
                    "SELECT host, sum(count), max(since) FROM offenders"  # noqa: S608  only question marks
                    f" WHERE host IN ({','.join('?' * len(chunk))}) AND (jail = ? OR ? IS NULL) GROUP BY host"
                )
                key = None if jail is None else _text(jail)
                for host, count, last in connection.execute(query, (*chunk, key, key)):
                    found[names[host]] = Offences(int(count), float(last))
        return found

    def history(self, host: str, jail: str | None = None) -> History:
        """Return the bans of *host* in *jail* (None: in all jails), as far as they are remembered."""
        key = None if jail is None else _text(jail)
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT failures, matches FROM history"
                " WHERE host = :host AND (jail = :jail OR :jail IS NULL) AND NOT forgotten"
                " ORDER BY since DESC, id DESC LIMIT :most",
                {"host": _text(host), "jail": key, "most": _MERGED_BANS},
            ).fetchall()
        with contextlib.suppress(TypeError, ValueError):
            return merged((int(failures), _matches(matches)) for failures, matches in rows).limited(self.max_matches)
        return History(len(rows), sum(int(failures) for failures, _ in rows))

    def past(self, host: str) -> list[PastBan]:
        """Return the bans of *host* and of networks that it is in, newest first."""
        names = [_text(name) for name in around(host)]
        with self._reading() as connection:
            rows = connection.execute(_PAST, (json.dumps(names), MOST_PAST)).fetchall()
        found = []
        for row in rows:
            with contextlib.suppress(TypeError, ValueError):
                ended = None if row[11] is None else _number(row[11])
                found.append(PastBan(_ban(row[:11]), ended, str(row[12])))
        return found

    def bans_since(self, host: str, since: float, but: str) -> int:
        """Return how many bans of *host* began after *since* in other jails than *but*."""
        with self._reading() as connection:
            query = "SELECT count(*) FROM history WHERE host = ? AND since > ? AND jail <> ? AND NOT forgotten"
            (number,) = connection.execute(query, (_text(host), since, _text(but))).fetchone()
        return int(number)


class _DamageError(sqlite3.DatabaseError):
    """The check of the file's structure found a fault."""


def _is_damage(error: Exception) -> bool:
    if isinstance(error, _DamageError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _keys(key: tuple[str, str]) -> tuple[str, str]:
    return _text(key[0]), _text(key[1])


def _stored_ban(row: Row) -> StoredBan:
    return StoredBan(_ban(row), Length(row[4]))


def _ban(row: Row) -> Ban:
    jail, host, since, until, _, count, origin, failures, matches, data, grounds = row
    return Ban(
        jail=str(jail),
        host=str(host),
        since=_number(since),
        until=None if until is None else _number(until),
        count=int(_number(count)),
        origin=Origin(origin),
        failures=int(_number(failures)),
        matches=_matches(str(matches)),
        data=_data(str(data)),
        grounds=_grounds(str(grounds)),
    )


def _grounds_text(grounds: Grounds | None) -> str:
    if grounds is None:
        return ""
    times = grounds.times[-_MOST_TIMES:]
    return json.dumps([times, grounds.rules, grounds.texts, grounds.maxretry, grounds.findtime])


def _grounds(text: str) -> Grounds | None:
    """Return what `_grounds_text` made; None for nothing, and for what cannot be read: a ban does without."""
    if not text:
        return None
    try:
        times, rules, texts, maxretry, findtime = json.loads(text)
        return Grounds(
            tuple(_number(time) for time in times),
            tuple(int(rule) for rule in rules),
            tuple((int(number), str(regex), str(place)) for number, regex, place in texts),
            int(maxretry),
            _number(findtime),
        )
    except (TypeError, ValueError):
        return None


def _cursor(row: Row) -> Cursor:
    _, log, device, inode, offset, fingerprint, journal, time = row
    return Cursor(
        log=str(log),
        device=_unsigned(int(_number(device))),
        inode=_unsigned(int(_number(inode))),
        offset=int(_number(offset)),
        fingerprint=str(fingerprint),
        journal=str(journal),
        time=_number(time),
    )


def _failure_state(row: Row) -> FailureState:
    _, host, _, times, matches, data = row
    numbers = json.loads(str(times))
    return FailureState(str(host), tuple(_number(time) for time in numbers), _matches(str(matches)), _data(str(data)))


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"not a number: {value!r}")
    return value
