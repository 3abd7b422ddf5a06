"""What every ban store does, run over every member of the family."""

from __future__ import annotations

import threading

import pytest

from banguard.bans import open_store
from banguard.bans.store import Batch, History, Length, MemoryStore, Offences, PastBan, StoredBan
from banguard.bans.store_sqlite import SqliteStore
from banguard.model import Ban, Cursor, FailureState, Grounds, Origin

T = 1_800_000_000.0
DAY = 86400.0


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = (
        MemoryStore(max_matches=3) if request.param == "memory" else SqliteStore(str(tmp_path / "bans"), max_matches=3)
    )
    made.reopen()
    yield made
    made.close()


def ban(host="192.0.2.1", jail="sshd", since=T, length=600.0, **values):
    return Ban(jail=jail, host=host, since=since, until=None if length is None else since + length, **values)


def keep(store, *bans, length=Length.JAIL):
    batch = Batch()
    for one in bans:
        batch.keep(one, length)
        batch.history.append(one)
    store.write(batch)


def hosts(store, jail="sshd"):
    return sorted(stored.ban.host for stored in store.active(jail))


def test_an_empty_store_knows_nothing(store):
    """Before the first ban every question has an empty answer."""
    assert ([], [], [], {}, History()) == (
        store.active("sshd"),
        store.cursors("sshd"),
        store.failures("sshd"),
        dict(store.offences("sshd", ["192.0.2.1"])),
        store.history("192.0.2.1"),
    )


@pytest.mark.parametrize("length", list(Length))
@pytest.mark.parametrize("origin", list(Origin))
def test_a_ban_comes_back_as_it_was(store, length, origin):
    """Times to the fraction, for ever, text of all alphabets, data."""
    bans = [
        ban(since=T + 0.123456, count=3, origin=origin, failures=7, matches=("a", "b"), data={"user": "bj\xf6rn\n"}),
        ban("some <id> '; DROP TABLE active; --", length=None, origin=origin),
        ban("\u65e5\u672c", origin=origin),
    ]
    keep(store, *bans, length=length)
    expected = [StoredBan(one, length) for one in bans]
    assert sorted(expected, key=lambda s: s.ban.host) == sorted(store.active("sshd"), key=lambda s: s.ban.host)


def test_text_that_is_no_unicode_does_no_harm(store):
    """Half a surrogate, as a broken client may send it, is kept in some way and breaks nothing."""
    keep(store, ban("a\ud800b", data={"user": "\udcff"}, matches=("\udc80",)), ban("192.0.2.2"))
    assert 2 == len(store.active("sshd"))


def test_a_ban_kept_again_replaces_the_one_before(store):
    """An extension does not leave two bans of one host."""
    keep(store, ban())
    batch = Batch()
    batch.keep(ban(length=9999), Length.OWN)
    store.write(batch)
    assert [StoredBan(ban(length=9999), Length.OWN)] == store.active("sshd")
    assert 1 == store.history("192.0.2.1").bans


def test_an_ended_ban_is_gone_and_remembered(store):
    """The end of a ban leaves its place in the history, and the count."""
    keep(store, ban(failures=3, matches=("x",), count=2))
    batch = Batch()
    batch.end("sshd", "192.0.2.1")
    batch.end("sshd", "unknown")
    store.write(batch)
    assert [] == store.active("sshd")
    assert History(1, 3, ("x",)) == store.history("192.0.2.1")
    assert {"192.0.2.1": Offences(2, T)} == dict(store.offences("sshd", ["192.0.2.1", "192.0.2.2"]))


def test_jails_do_not_see_each_others_bans(store):
    """One host in two jails is two bans."""
    keep(store, ban(jail="sshd"), ban(jail="web"))
    batch = Batch()
    batch.end("sshd", "192.0.2.1")
    store.write(batch)
    assert ([], ["192.0.2.1"]) == (hosts(store, "sshd"), hosts(store, "web"))


def test_offences_of_one_jail_and_of_all(store):
    """`overalljails` adds the counts up and takes the latest time."""
    keep(store, ban(count=2), ban(jail="web", since=T + 50, count=5), ban("192.0.2.2", count=1))
    asked = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert {"192.0.2.1": Offences(2, T), "192.0.2.2": Offences(1, T)} == dict(store.offences("sshd", asked))
    assert Offences(7, T + 50) == store.offences(None, asked)["192.0.2.1"]
    assert {} == dict(store.offences("none", asked))


def test_offences_of_thousands_of_hosts_at_once(store):
    """A report with very many decisions is one question."""
    keep(store, *[ban(f"10.0.{number // 250}.{number % 250}", count=2) for number in range(3000)])
    asked = [f"10.0.{number // 250}.{number % 250}" for number in range(5000)]
    assert 3000 == len(store.offences("sshd", asked))


def test_history_takes_all_bans_together(store):
    """Sums of failures; of the lines the newest, oldest first."""
    keep(store, ban(since=T, failures=3, matches=("a", "b")))
    keep(store, ban(since=T + 10, failures=2, matches=("c", "d"), jail="web"))
    assert History(2, 5, ("b", "c", "d")) == store.history("192.0.2.1")
    assert History(1, 3, ("a", "b")) == store.history("192.0.2.1", "sshd")
    assert History(1, 2, ("c", "d")) == store.history("192.0.2.1", "web")


def test_matched_lines_are_limited(store):
    """`dbmaxmatches` newest lines of a ban, and no line of unlimited length."""
    keep(store, ban(matches=tuple("abcdef")), ban("192.0.2.2", matches=("x" * 1_000_000,), data={"u": "y" * 1_000_000}))
    kept = {stored.ban.host: stored.ban for stored in store.active("sshd")}
    assert ("d", "e", "f") == kept["192.0.2.1"].matches
    assert len(kept["192.0.2.2"].matches[0]) < 20_000
    assert len(kept["192.0.2.2"].data["u"]) < 20_000


def test_forgetting_a_host_takes_bans_history_and_count(store):
    """A manual unban wipes the slate, in one jail or in all."""
    keep(store, ban(), ban(jail="web"), ban("192.0.2.2"))
    batch = Batch()
    batch.forget("sshd", ["192.0.2.1", "unknown"])
    store.write(batch)
    assert (["192.0.2.2"], ["192.0.2.1"]) == (hosts(store), hosts(store, "web"))
    assert 1 == store.history("192.0.2.1").bans
    batch = Batch()
    batch.forget(None, ["192.0.2.1"])
    store.write(batch)
    assert [] == hosts(store, "web")
    assert (History(), {}) == (store.history("192.0.2.1"), dict(store.offences(None, ["192.0.2.1"])))


def test_wiping_a_jail_or_all(store):
    """`unban --all` forgets every host there ever was, of past bans too."""
    keep(store, ban(), ban("192.0.2.2"), ban(jail="web"), ban("192.0.2.9", jail="third"))
    batch = Batch()
    batch.end("sshd", "192.0.2.2")
    store.write(batch)
    batch = Batch()
    batch.wipe("sshd")
    store.write(batch)
    assert ([], ["192.0.2.1"]) == (hosts(store), hosts(store, "web"))
    assert {} == dict(store.offences("sshd", ["192.0.2.1", "192.0.2.2"]))
    assert 1 == store.history("192.0.2.1").bans
    batch = Batch()
    batch.wipe(None)
    store.write(batch)
    assert ([], [], {}) == (hosts(store, "web"), hosts(store, "third"), dict(store.offences(None, ["192.0.2.9"])))


def test_a_host_banned_again_after_it_was_forgotten(store):
    """Of the steps in one batch the last one stands."""
    keep(store, ban(count=4))
    batch = Batch()
    batch.forget("sshd", ["192.0.2.1"])
    batch.keep(ban(since=T + 5), Length.JAIL)
    batch.history.append(ban(since=T + 5))
    store.write(batch)
    assert (["192.0.2.1"], Offences(1, T + 5)) == (hosts(store), store.offences("sshd", ["192.0.2.1"])["192.0.2.1"])


def test_cursors_are_kept_by_jail_and_log(store):
    """Two jails may stand at different places of one log; every number a file system has fits."""
    one = Cursor("/var/log/a", device=2**63 + 5, inode=2**64 - 1, offset=2**40, fingerprint="ab12", time=T)
    two = Cursor("/var/log/a", journal="s=abc;i=1", time=0.0)
    store.write(Batch(cursors={("sshd", "/var/log/a"): Cursor("/var/log/a"), ("web", "/var/log/a"): two}))
    store.write(Batch(cursors={("sshd", "/var/log/a"): one}))
    assert ([one], [two]) == (store.cursors("sshd"), store.cursors("web"))


def test_failure_states_are_replaced_and_removed(store):
    """A report tells only what changed; a state without times removes the host."""
    state = FailureState("192.0.2.1", (T, T + 1.5), ("line",), {"user": "root"})
    store.write(Batch(failures={("sshd", "192.0.2.1"): FailureState("192.0.2.1", (T,)), ("sshd", "b"): state}))
    store.write(Batch(failures={("sshd", "192.0.2.1"): state, ("sshd", "b"): FailureState("b", ())}))
    assert [state] == store.failures("sshd")
    store.drop_failures(["sshd", "other"])
    assert [] == store.failures("sshd")


def test_replace_leaves_exactly_the_given_bans(store):
    """After an outage the memory of the registry is the truth for the jails that run."""
    keep(store, ban("a"), ban("b"), ban("c", jail="stopped"))
    batch = Batch()
    batch.keep(ban("b"), Length.JAIL)
    batch.keep(ban("d"), Length.JAIL)
    store.replace(["sshd"], batch)
    assert (["b", "d"], ["c"]) == (hosts(store), hosts(store, "stopped"))


def test_purge_forgets_what_is_old_and_over(store):
    """History by age; the count of a host until three times its last ban is over; what lasts for ever never."""
    keep(store, ban("short", since=T), ban("long", since=T, length=DAY), ban("ever", since=T, length=None))
    keep(store, ban("young", since=T + DAY))
    batch = Batch()
    for host in ("short", "long"):
        batch.end("sshd", host)
    store.write(batch)
    assert 3 == store.purge(T + DAY + 1, ["sshd"])
    known = ["short", "long", "ever", "young"]
    assert {"long", "ever", "young"} == set(store.offences("sshd", known))
    assert [0, 0, 0, 1] == [store.history(host).bans for host in known]
    assert ["ever", "young"] == hosts(store)
    store.purge(T + 3 * DAY + 1, ["sshd"])
    assert {"ever", "young"} == set(store.offences("sshd", known))


def test_purge_keeps_positions_and_counts_of_jails_that_run(store):
    """A quiet log of a running jail keeps its position for years; a jail long gone leaves nothing."""
    for jail in ("runs", "gone"):
        store.write(
            Batch(
                cursors={(jail, "log"): Cursor("log", offset=5, time=T)},
                failures={(jail, "h"): FailureState("h", (T,))},
            )
        )
    store.purge(T + 9 * DAY, ["runs"])
    assert (1, 1) == (len(store.cursors("runs")), len(store.failures("runs")))
    assert [] == store.failures("gone")


def test_purge_age_can_be_changed(store):
    """`set dbpurgeage` acts on the next purge."""
    keep(store, ban(since=T))
    store.purge_age = 10.0
    assert 1 == store.purge(T + 11, [])


def test_history_can_be_asked_for_while_bans_are_written(store):
    """Actions ask from their own threads."""
    stop = threading.Event()
    errors = []

    def ask():
        while not stop.is_set():
            try:
                store.history("192.0.2.1")
                store.offences(None, ["192.0.2.1"])
            except Exception as error:  # told below
                errors.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(100):
        keep(store, ban(since=T + number, failures=1))
    stop.set()
    for thread in threads:
        thread.join(10)
    assert ([], 100) == (errors, store.history("192.0.2.1").bans)


@pytest.mark.parametrize(
    ("dbfile", "kind"), [("None", MemoryStore), ("none", MemoryStore), (":memory:", MemoryStore), ("", MemoryStore)]
)
def test_dbfile_words_for_no_file(dbfile, kind):
    """`None` and `:memory:` keep everything until the process ends."""
    assert kind is type(open_store(dbfile))


def test_dbfile_names_a_file(tmp_path):
    """Any other text is a path; limits are handed on; nothing is opened yet."""
    store = open_store(str(tmp_path / "x" / "bans"), max_matches=4, purge_age=5.0)
    assert (SqliteStore, 4, 5.0, []) == (type(store), store.max_matches, store.purge_age, list(tmp_path.iterdir()))


GROUNDS = Grounds((T - 2.5, T), (1, 0, 3), ((1, "^bad <HOST>$", "filter.d/a.conf:7"), (3, "^w\xf6rse", "")), 5, 600.0)


def test_what_a_ban_rests_on_comes_back(store):
    """Times, rules with text and place, of active and of past bans."""
    keep(store, ban(grounds=GROUNDS), ban(host="192.0.2.2"))
    assert {"192.0.2.1": GROUNDS, "192.0.2.2": None} == {
        stored.ban.host: stored.ban.grounds for stored in store.active("sshd")
    }
    assert [GROUNDS] == [past.ban.grounds for past in store.past("192.0.2.1")]


def test_the_past_of_a_host_is_told_newest_first(store):
    """Bans in all jails, how and when each ended, and those of networks around it."""
    first, second = ban(count=1, failures=3), ban(jail="web", since=T + 50, count=2, data={"user": "x"})
    network, other = ban(host="192.0.2.0/24", since=T + 70), ban(host="192.0.3.0/24", since=T + 80)
    keep(store, first, second, network, other)
    batch = Batch()
    longer = Ban("sshd", "192.0.2.1", T, T + 900)
    batch.ended.append(PastBan(longer, T + 900, "expired"))
    store.write(batch)
    past = store.past("192.0.2.1")
    assert ["192.0.2.0/24", "192.0.2.1", "192.0.2.1"] == [one.ban.host for one in past]
    assert [(T + 70, None, ""), (T + 50, None, ""), (T, T + 900, "expired")] == [
        (one.ban.since, one.ended, one.reason) for one in past
    ]
    assert (T + 900, 3, "sshd") == (past[2].ban.until, past[2].ban.failures, past[2].ban.jail)
    assert (2, {"user": "x"}) == (past[1].ban.count, past[1].ban.data)
    assert ["192.0.2.0/24"] == [one.ban.host for one in store.past("192.0.2.77")]
    assert [] == store.past("an id")


def test_what_is_forgotten_counts_no_more_and_is_still_told(store):
    """An unban by hand wipes the count, not the memory; age does."""
    keep(store, ban(), ban(jail="web"))
    batch = Batch()
    batch.ended.append(PastBan(ban(), T + 9, "manual"))
    batch.forget(None, ["192.0.2.1"])
    store.write(batch)
    assert {} == dict(store.offences(None, ["192.0.2.1"]))
    assert History() == store.history("192.0.2.1")
    assert 0 == store.bans_since("192.0.2.1", 0.0, "x")
    assert {("sshd", "manual"), ("web", "")} == {(one.ban.jail, one.reason) for one in store.past("192.0.2.1")}
    store.purge(T + 2 * DAY, ())
    assert [] == store.past("192.0.2.1")


def test_a_jail_can_be_forgotten_as_if_it_had_never_been(store):
    """Bans, past ones too, positions and failures; those of other jails stay."""
    keep(store, ban(), ban(jail="web"))
    batch = Batch()
    for jail in ("sshd", "web"):
        batch.cursors[jail, "/log"] = Cursor("/log", offset=7)
        batch.failures[jail, "192.0.2.9"] = FailureState("192.0.2.9", (T,))
    store.write(batch)
    store.drop("sshd")
    assert ([], [], [], {}) == (
        store.active("sshd"),
        store.cursors("sshd"),
        store.failures("sshd"),
        dict(store.offences("sshd", ["192.0.2.1"])),
    )
    assert ["web"] == [past.ban.jail for past in store.past("192.0.2.1")]
    assert (1, 1, 1) == (len(store.active("web")), len(store.cursors("web")), len(store.failures("web")))
