"""BanStore on SQLite: the file, and what can happen to it. What all stores do is in tests/contracts/test_stores.py."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap

import pytest

from banguard.bans.store import Batch, Length, StoredBan
from banguard.bans.store_sqlite import _END_HISTORY, _VERSIONS, APPLICATION_ID, SqliteStore
from banguard.errors import StoreError
from banguard.model import Ban, Cursor, FailureState

T = 1_800_000_000.0


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "state" / "bans.sqlite3")


@pytest.fixture
def opened(path):
    stores = []

    def make(where=path, **options):
        store = SqliteStore(where, busy_seconds=0.1, **options)
        stores.append(store)
        store.reopen()
        return store

    yield make
    for store in stores:
        store.close()


def ban(host="192.0.2.1", jail="sshd", length=600.0, **values):
    return Ban(jail, host, T, T + length, **values)


def keep(store, *bans):
    batch = Batch()
    for one in bans:
        batch.keep(one, Length.JAIL)
        batch.history.append(one)
    store.write(batch)


def hosts(store, jail="sshd"):
    return [stored.ban.host for stored in store.active(jail)]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_file_is_for_its_owner_alone(path, opened):
    """Bans and matched lines are nobody else's business: 0600, in a directory with at most 0750."""
    keep(opened(), ban())
    assert (0o600, 0) == (mode(path), mode(os.path.dirname(path)) & ~0o750)
    assert {0o600} == {mode(path + suffix) for suffix in ("-wal", "-shm")}


def test_a_file_open_to_others_is_closed_to_them(path, opened):
    """An older file, or one made by hand, is put right."""
    os.makedirs(os.path.dirname(path))
    with open(path, "w"):
        os.chmod(path, 0o644)
    opened()
    assert 0o600 == mode(path)


def test_everything_is_there_after_a_restart(path, opened):
    """What was written by one process, the next one finds."""
    first = opened()
    keep(first, ban(matches=("line",), data={"user": "root"}))
    first.write(
        Batch(
            cursors={("sshd", "log"): Cursor("log", offset=7)},
            failures={("sshd", "h"): FailureState("h", (T,), ("x",), {"a": "b"})},
        )
    )
    first.close()
    second = opened()
    assert [ban(matches=("line",), data={"user": "root"})] == [stored.ban for stored in second.active("sshd")]
    assert [Cursor("log", offset=7)] == second.cursors("sshd")
    assert [FailureState("h", (T,), ("x",), {"a": "b"})] == second.failures("sshd")


def test_what_was_written_survives_a_kill(path):
    """A process killed in the middle leaves a whole file: everything it had committed, nothing else."""
    program = textwrap.dedent(
        """
        import os, sys
        from banguard.bans.store import Batch, Length, StoredBan
        from banguard.bans.store_sqlite import SqliteStore
        from banguard.model import Ban
        store = SqliteStore(sys.argv[1])
        store.reopen()
        for number in range(20):
            batch = Batch()
            batch.keep(Ban("sshd", f"192.0.2.{number}", 1.0, 2.0), Length.JAIL)
            store.write(batch)
        connection = store._writer
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM active")
        os.kill(os.getpid(), 9)
        """
    )
    assert -9 == subprocess.run([sys.executable, "-c", program, path], timeout=60).returncode
    store = SqliteStore(path)
    store.reopen()
    assert 20 == len(store.active("sshd"))
    store.close()


def test_the_file_says_whose_it_is_and_in_which_version(path, opened):
    """Application id, version of the tables, write-ahead log."""
    opened()
    with sqlite3.connect(path) as other:
        answers = [
            other.execute(f"PRAGMA {word}").fetchone()[0]
            for word in ("application_id", "user_version", "journal_mode", "auto_vacuum")
        ]
    other.close()
    assert [APPLICATION_ID, 2, "wal", 2] == answers


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ("CREATE TABLE bans (ip); PRAGMA user_version = 4", "some other program"),
        (f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99", "later version"),
    ],
)
def test_a_file_that_is_not_for_us_is_left_alone(path, statements, words):
    """Another program's database, or one of a later version, is refused and not touched."""
    os.makedirs(os.path.dirname(path))
    other = sqlite3.connect(path)
    other.executescript(statements)
    other.close()
    with open(path, "rb") as file:
        before = file.read()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=words):
        store.reopen()
    with open(path, "rb") as file:
        assert before == file.read()
    assert [os.path.basename(path)] == os.listdir(os.path.dirname(path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"this is no database, but it is long enough to be taken for one" * 100,
        lambda data: data[: len(data) // 3],
        lambda data: data[:100] + b"\xff" * 4000 + data[4100:],
        lambda data: data[:16] + bytes(byte ^ 0xFF for byte in data[16:]),
    ],
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path, opened, damage, caplog):
    """The server starts; what is left of the old file is kept for whoever wants to look into it."""
    first = opened()
    keep(first, *[ban(f"192.0.2.{number}") for number in range(200)])
    first.close()
    with open(path, "rb") as file:
        data = damage(file.read())
    with open(path, "wb") as file:
        file.write(data)
    second = opened()
    keep(second, ban())
    assert ["192.0.2.1"] == hosts(second)
    with open(path + ".damaged-1", "rb") as file:
        assert data == file.read()
    assert "damaged" in caplog.text


def test_damage_found_later_is_repaired_by_opening_again(path, opened):
    """Bytes flipped under a running server make a read fail; then the file is replaced, twice if need be."""
    store = opened()
    for number in (1, 2):
        keep(store, *[ban(f"192.0.2.{one}", matches=("x" * 500,)) for one in range(250)])
        store.close()
        store.reopen()
        with open(path, "r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (os.path.getsize(path) - 4096))
        store._writer.execute("PRAGMA shrink_memory")  # so that it has to read from the file
        with pytest.raises(StoreError):
            store.active("sshd")
        store.reopen()
        assert [] == hosts(store)
        assert os.path.exists(f"{path}.damaged-{number}")


def test_a_row_that_makes_no_sense_costs_only_itself(path, opened, caplog):
    """A file changed by hand does not keep the other bans from coming back."""
    store = opened()
    keep(store, ban("a"), ban("b"), ban("c"), ban("d"))
    other = sqlite3.connect(path)
    other.execute("UPDATE active SET matches = 'no json' WHERE host = 'a'")
    other.execute("UPDATE active SET origin = 'nobody' WHERE host = 'b'")
    other.execute("UPDATE active SET data = '[1]' WHERE host = 'c'")
    other.execute("UPDATE history SET matches = '{' WHERE host = 'd'")
    other.commit()
    other.close()
    assert ["d"] == hosts(store)
    assert 3 == len(caplog.records)
    assert 1 == store.history("d").bans


def test_a_lock_held_by_another_process_is_an_error_soon_and_changes_nothing(path, opened):
    """The registry must not hang behind somebody's backup; afterwards writing works again."""
    store = opened()
    keep(store, ban("a"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        keep(store, ban("b"))
    other.execute("ROLLBACK")
    other.close()
    assert ["a"] == hosts(store)
    keep(store, ban("b"))
    assert ["a", "b"] == hosts(store)


def test_a_reader_elsewhere_stops_nobody(path, opened):
    """Somebody who looks into the file with sqlite3 does not hold up bans."""
    store = opened()
    keep(store, ban("a"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    assert 1 == other.execute("SELECT count(*) FROM active").fetchone()[0]
    keep(store, ban("b"))
    assert 1 == other.execute("SELECT count(*) FROM active").fetchone()[0]
    other.close()


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_removed_or_replaced_is_noticed(path, opened, replace):
    """Writing into a file that has no name any more would lose everything at the next restart."""
    store = opened()
    keep(store, ban("a"))
    if replace:
        with open(path + ".new", "w"):
            os.replace(path + ".new", path)
    else:
        os.unlink(path)
    with pytest.raises(StoreError):
        keep(store, ban("b"))
    store.reopen()
    keep(store, ban("c"))
    assert ["c"] == hosts(store)


@pytest.mark.parametrize("kind", ["directory", "fifo", "below a file"])
def test_a_path_that_can_be_no_file_is_refused(tmp_path, kind):
    """No hanging on a pipe, no exception of a foreign kind."""
    path = str(tmp_path / "x")
    if kind == "directory":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        with open(path, "w"):
            path += "/bans"
    store = SqliteStore(path)
    with pytest.raises(StoreError):
        store.reopen()
    with pytest.raises(StoreError):
        store.write(Batch(cursors={("j", "l"): Cursor("l")}))
    with pytest.raises(StoreError):
        store.history("192.0.2.1")


def test_nothing_of_a_batch_that_fails_is_there(path, opened):
    """One value that cannot be kept takes the whole batch with it, not the half before it."""
    store = opened()
    batch = Batch(cursors={("sshd", "log"): Cursor("log", offset=2**70)})
    batch.keep(ban(), Length.JAIL)
    with pytest.raises(StoreError):
        store.write(batch)
    assert ([], []) == (hosts(store), store.cursors("sshd"))
    keep(store, ban())
    assert ["192.0.2.1"] == hosts(store)


def test_history_has_a_limit_in_rows(path, opened):
    """However many bans a day brings, the file does not grow without end, and shrinks after a purge."""
    store = opened(max_history=100)
    keep(store, *[ban(f"10.0.{number // 250}.{number % 250}", matches=("x" * 900,)) for number in range(2000)])
    batch = Batch()
    for number in range(2000):
        batch.end("sshd", f"10.0.{number // 250}.{number % 250}")
    store.write(batch)
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = os.path.getsize(path)
    assert 1900 == store.purge(T, ["sshd"])
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert os.path.getsize(path) < before / 5


UNSHARED = """
import json, os, subprocess, sys
from banguard.bans.store import Batch, Length, StoredBan
from banguard.bans.store_sqlite import SqliteStore
from banguard.errors import StoreError
from banguard.model import Ban

def mount(*words):
    subprocess.run(["mount", *words], check=True)

def write(store, number):
    batch = Batch()
    for one in range(number):
        batch.keep(Ban("sshd", f"10.{one >> 16}.{one >> 8 & 255}.{one & 255}", 1.0, 2.0, matches=("x" * 900,)), Length.JAIL)
    try:
        store.write(batch)
    except StoreError as error:
        return str(error)
    return ""

where = sys.argv[1]
mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", where)
store = SqliteStore(where + "/bans")
store.reopen()
told = [write(store, 10)]
"""

FULL = """
told.append(write(store, 5000))
told.append(str(len(store.active("sshd"))))
told.append(write(store, 20))
store.close()
store.reopen()
told.append(str(len(store.active("sshd"))))
mount("-o", "remount,size=64m", where)
told.append(write(store, 5000))
told.append(str(len(store.active("sshd"))))
print(json.dumps(told))
"""

READ_ONLY = """
store.close()
mount("-o", "remount,ro", where)
told.append(write(store, 11))
try:
    store.reopen()
    told.append(write(store, 12))
except StoreError as error:
    told.append(str(error))
mount("-o", "remount,rw", where)
store.reopen()
told.append(write(store, 13))
told.append(str(len(store.active("sshd"))))
print(json.dumps(told))
"""


def unshared(program, where):
    """Run *program* where it may mount."""
    command = ["unshare", "-m", sys.executable, "-c", UNSHARED + program, str(where)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.system
def test_a_full_disk(tmp_path):
    """A write that does not fit changes nothing; small ones still work, and all do once there is room."""
    small, big, kept, after, found, roomy, all_of_them = unshared(FULL, tmp_path)
    assert ("", "10", "") == (small, kept, after)
    assert "full" in big
    assert ("20", "", "5000") == (found, roomy, all_of_them)


@pytest.mark.system
def test_a_disk_that_becomes_read_only(tmp_path):
    """It is refused with a reason, and works again as soon as it can be written."""
    first, closed, refused, again, kept = unshared(READ_ONLY, tmp_path)
    assert ("", "", "13") == (first, again, kept)
    assert "not open" in closed
    assert "Read-only file system" in refused


def test_tables_of_the_first_version_are_brought_up_to_date(path, opened):
    """Bans of an earlier version are kept; what was not written then is empty."""
    os.makedirs(os.path.dirname(path))
    with sqlite3.connect(path) as old:
        old.executescript(_VERSIONS[0])
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
        old.execute(
            "INSERT INTO active VALUES ('sshd', '192.0.2.1', 5.0, 605.0, 'jail', 2, 'local', 3, '[\"x\"]', '{}')"
        )
        old.execute(
            "INSERT INTO history (jail, host, since, until, failures, matches) VALUES ('sshd', '192.0.2.1', 5.0, 605.0, 3, '[]')"
        )
    old.close()
    store = opened()
    (stored,) = store.active("sshd")
    assert ("192.0.2.1", 2, ("x",), None) == (stored.ban.host, stored.ban.count, stored.ban.matches, stored.ban.grounds)
    (past,) = store.past("192.0.2.1")
    assert (5.0, 605.0, None, "") == (past.ban.since, past.ban.until, past.ended, past.reason)


def test_the_end_of_a_ban_is_searched_by_its_host():
    """Ends of bans that all began at once (an import, `banip`) do not go over all the others, each of them."""
    with sqlite3.connect(":memory:") as connection:
        for version in _VERSIONS:
            connection.executescript(version)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {_END_HISTORY}", (None,) * 6)]
    connection.close()
    assert ["SEARCH history USING INDEX history_of_host (host=? AND jail=?)"] == plan


@pytest.mark.parametrize("jail", ["sshd", None])
def test_many_hosts_are_forgotten_in_few_steps(path, opened, jail):
    """An unban of many hosts goes over the active bans once, not once for each host."""
    store = opened()
    hosts = [f"192.0.2.{number}" for number in range(100)]
    store.write(Batch(bans={("sshd", host): StoredBan(Ban("sshd", host, T, T + 600)) for host in hosts}))
    statements = []
    store._writer.set_trace_callback(statements.append)
    store.write(Batch(forgotten=dict.fromkeys((jail, host) for host in hosts[1:])))
    assert 1 == sum(statement.startswith("DELETE FROM active") for statement in statements)
    assert hosts[:1] == [stored.ban.host for stored in store.active("sshd")]


@pytest.mark.parametrize("text", ["x", "[]", "{}", "[1, 2, 3, 4, 5]", "null"])
def test_grounds_that_cannot_be_read_cost_no_ban(path, opened, text):
    """The ban comes back without them."""
    store = opened()
    batch = Batch()
    batch.keep(Ban("sshd", "192.0.2.1", 1.0, None), Length.JAIL)
    store.write(batch)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE active SET grounds = ?", (text,))
    other.close()
    assert [None] == [stored.ban.grounds for stored in store.active("sshd")]
