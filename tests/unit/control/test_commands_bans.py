import json

import pytest

from banguard.control.commands import Context, execute
from banguard.errors import ControlError
from banguard.model import Origin
from support.memory_server import NOW, MemoryServer


@pytest.fixture
def api():
    return MemoryServer().with_jail("sshd").with_jail("web")


@pytest.fixture
def run(api):
    return lambda *words: execute(Context(api, lambda _: None), words)


def hosts(api, jail="sshd"):
    return sorted(api.bans[jail])


def test_bans_are_counted_once(run, api):
    """`banip` returns how many were not banned before; spellings of one address are one."""
    assert 2 == run("set", "sshd", "banip", "192.0.2.1", "::ffff:192.0.2.1", "2001:DB8::5").value
    assert 0 == run("set", "sshd", "banip", "192.0.2.1").value
    assert 0 == run("set", "sshd", "banip").value
    assert ["192.0.2.1", "2001:db8::5"] == hosts(api)


@pytest.mark.parametrize("word", ["", "-x", "--with-time", "a\nb"])
def test_a_wrong_id_bans_nobody(run, api, word):
    """One impossible id refuses the whole command."""
    with pytest.raises(ControlError):
        run("set", "sshd", "banip", "192.0.2.1", word)
    assert [] == hosts(api)


def test_unban_ends_bans_in_one_jail(run, api):
    """Other jails keep theirs; who was not banned counts nothing."""
    for jail in ("sshd", "web"):
        run("set", jail, "banip", "192.0.2.1", "192.0.2.2")
    assert 1 == run("set", "sshd", "unbanip", "192.0.2.1", "192.0.2.9").value
    assert (["192.0.2.2"], ["192.0.2.1", "192.0.2.2"]) == (hosts(api), hosts(api, "web"))


def test_unban_everywhere_counts_all_jails(run, api):
    """`unban` adds up over jails."""
    for jail in ("sshd", "web"):
        run("set", jail, "banip", "192.0.2.1", "192.0.2.2")
    assert 2 == run("unban", "192.0.2.1").value
    assert 2 == run("unban", "--all").value
    assert ([], []) == (hosts(api), hosts(api, "web"))


def test_unban_all_goes_with_nothing_else(run, api):
    """`unban --all 192.0.2.1` is a mistake, not an unban of everybody."""
    run("set", "sshd", "banip", "192.0.2.1")
    with pytest.raises(ControlError):
        run("unban", "--all", "192.0.2.1")
    assert ["192.0.2.1"] == hosts(api)


def test_a_network_unbans_what_lies_in_it(run, api):
    """Members of a network, and smaller networks, go with it; the rest stays."""
    run("set", "sshd", "banip", "10.0.0.1", "10.2.0.0/16", "11.0.0.1", "alice")
    assert 2 == run("set", "sshd", "unbanip", "10.0.0.0/8").value
    assert ["11.0.0.1", "alice"] == hosts(api)


def test_a_banned_network_is_unbanned_with_its_members(run, api):
    """The network itself counts too."""
    run("set", "sshd", "banip", "10.0.0.0/8", "10.0.0.1")
    assert 2 == run("set", "sshd", "unbanip", "10.0.0.0/8").value


def test_a_host_name_unbans_its_addresses(run, api):
    """A name that is no banned id itself stands for its addresses."""
    run("set", "sshd", "banip", "127.0.0.1")
    assert 1 == run("set", "sshd", "unbanip", "localhost").value


def test_an_id_is_unbanned_as_itself(run, api):
    """A banned id that looks like a name is not looked up."""
    run("set", "sshd", "banip", "localhost", "127.0.0.1")
    assert 1 == run("set", "sshd", "unbanip", "localhost").value
    assert ["127.0.0.1"] == hosts(api)


def test_absent_hosts_are_reported_when_wanted(run, api):
    """`--report-absent` names who was not banned, as an error; the others are unbanned all the same."""
    run("set", "sshd", "banip", "192.0.2.1")
    with pytest.raises(ControlError) as raised:
        run("set", "sshd", "unbanip", "--report-absent", "192.0.2.1", "192.0.2.8", "192.0.2.9")
    assert ("not banned: ['192.0.2.8', '192.0.2.9']", 1, []) == (str(raised.value), raised.value.status, hosts(api))


def test_all_bans_of_a_jail_can_end_at_once(run, api):
    """`unbanip --all` empties one jail."""
    run("set", "sshd", "banip", "192.0.2.1", "192.0.2.2")
    run("set", "web", "banip", "192.0.2.1")
    assert 2 == run("set", "sshd", "unbanip", "--all").value
    assert ["192.0.2.1"] == hosts(api, "web")


def test_banned_lists_all_jails(run, api):
    """Every jail is named, those without bans too, ids in the order of their bans."""
    api.put_ban("sshd", "192.0.2.2", since=NOW + 1, until=None)
    api.put_ban("sshd", "192.0.2.3", since=NOW)
    assert {"jails": {"sshd": ["192.0.2.3", "192.0.2.2"], "web": []}} == run("banned").value


def test_banned_finds_the_jails_of_a_host(run, api):
    """One answer per host, in the order asked; a banned network bans its members."""
    api.put_ban("sshd", "192.0.2.1")
    api.put_ban("web", "192.0.2.0/24")
    expected = [
        {"id": "192.0.2.1", "jails": ["sshd", "web"]},
        {"id": "192.0.2.9", "jails": ["web"]},
        {"id": "10.0.0.1", "jails": []},
    ]
    assert expected == run("banned", "192.0.2.1", "192.0.2.9", "10.0.0.1").value["hosts"]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (["192.0.2.1", "192.0.2.2"], []),
        (1, ["192.0.2.1"]),
        (0, ["192.0.2.9"]),
        ([1, 0, 1], ["192.0.2.1", "192.0.2.9", "192.0.2.2"]),
    ],
)
def test_one_jail_tells_who_is_banned(run, api, expected, words):
    """A list without ids, 1 or 0 for one, a list of them for several."""
    api.put_ban("sshd", "192.0.2.1")
    api.put_ban("sshd", "192.0.2.2")
    assert expected == run("get", "sshd", "banned", *words).value


def test_banned_ids_come_in_the_order_of_their_end(run, api):
    """Whoever is free first stands first, bans for ever last."""
    api.put_ban("sshd", "192.0.2.1", until=None)
    api.put_ban("sshd", "192.0.2.2", until=NOW + 900)
    api.put_ban("sshd", "192.0.2.3", until=NOW + 100)
    assert ["192.0.2.3", "192.0.2.2", "192.0.2.1"] == run("get", "sshd", "banip").value["banned"]
    assert "," == run("get", "sshd", "banip", ",").value["separator"]
    shown = run("get", "sshd", "banip", "--with-time")
    assert ("bans_with_time", None) == (shown.kind, shown.value["bans"][2]["until"])


def test_attempts_reach_the_jail(run, api):
    """An attempt counts once, or once per line; a host that is spared gives 0."""
    assert 1 == run("set", "sshd", "attempt", "192.0.2.1").value
    assert 1 == run("set", "sshd", "attempt", "::ffff:192.0.2.1", "line a", "line b").value
    assert {("sshd", "192.0.2.1"): 3} == api.attempts
    run("set", "sshd", "addignoreip", "192.0.2.0/24")
    assert 0 == run("set", "sshd", "attempt", "192.0.2.1").value


@pytest.mark.parametrize(
    "words",
    [
        ["set", "nope", "banip", "192.0.2.1"],
        ["set", "nope", "unbanip", "192.0.2.1"],
        ["set", "nope", "unbanip", "--all"],
        ["set", "nope", "attempt", "192.0.2.1"],
        ["get", "nope", "banip"],
        ["get", "nope", "banned"],
    ],
)
def test_a_jail_that_does_not_exist_is_named(run, words):
    """Every command about bans refuses an unknown jail in the same words."""
    with pytest.raises(ControlError, match="^Sorry but the jail 'nope' does not exist$"):
        run(*words)


def test_bans_of_another_program_are_taken_over(run, api):
    """Each ban keeps its begin, its end and its count."""
    rows = [{"host": "2001:DB8::1", "since": NOW - 5, "until": NOW + 60, "count": 3}, {"host": "bob", "since": 1}]
    assert run("set", "sshd", "takebans", json.dumps(rows)).value == 2
    taken = api.bans["sshd"]["2001:db8::1"].ban
    assert (taken.since, taken.until, taken.count) == (NOW - 5, NOW + 60, 3)
    assert api.bans["sshd"]["bob"].ban.until is None


@pytest.mark.parametrize(
    "text",
    ["{", "{}", "[7]", '[{"host": 1, "since": 1}]', '[{"host": "192.0.2.1"}]', '[{"host": "192.0.2.1", "since": NaN}]'],
)
def test_what_is_no_list_of_bans_is_refused(run, api, text):
    """Nothing is taken over when any of it cannot be understood."""
    before = hosts(api)
    with pytest.raises(ControlError):
        run("set", "sshd", "takebans", text)
    assert hosts(api) == before


def rows(reply):
    assert "ban_table" == reply.kind
    return [(row["jail"], row["id"]) for row in reply.value["bans"]]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ([("sshd", "192.0.2.1"), ("sshd", "alice"), ("web", "192.0.2.0/24"), ("web", "2001:db8::1")], []),
        ([("web", "192.0.2.0/24"), ("web", "2001:db8::1")], ["--jail", "web"]),
        ([("sshd", "192.0.2.1"), ("web", "192.0.2.0/24")], ["192.0.2.1"]),
        ([("web", "192.0.2.0/24")], ["192.0.2.7"]),
        ([("web", "2001:db8::1")], ["2001:db8::/32"]),
        ([("sshd", "alice")], ["alice", "--jail", "sshd"]),
        ([], ["10.0.0.1"]),
    ],
)
def test_the_table_has_a_row_for_each_ban(run, api, expected, words):
    """Those of the given jails; of the given ids, of what lies in them, and of what they lie in."""
    for jail, host in (("sshd", "192.0.2.1"), ("sshd", "alice"), ("web", "192.0.2.0/24"), ("web", "2001:db8::1")):
        api.put_ban(jail, host)
    assert expected == rows(run("banned", "--table", *words))


def test_a_row_says_all_there_is(run, api):
    """Times in epoch seconds; null for ever."""
    api.put_ban("sshd", "192.0.2.1", since=1.5, until=None, count=2, failures=5, origin=Origin.MANUAL, enforced=False)
    reply = run("banned", "--table")
    assert {
        "now": NOW,
        "bans": [
            {
                "id": "192.0.2.1", "since": 1.5, "until": None, "count": 2, "failures": 5, "enforced": False,
                "jail": "sshd", "ports": "", "origin": "manual",
            }
        ],
    } == reply.value  # fmt: skip


@pytest.mark.parametrize("words", [["--jail", "nope"], ["--nonsense"], ["--jail"]])
def test_a_table_of_nonsense_is_refused(run, words):
    """A jail that is not there, and words that are no ids."""
    with pytest.raises(ControlError):
        run("banned", "--table", *words)
