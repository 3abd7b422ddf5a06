import pytest

from banguard.actions import ActionStats
from banguard.config.schema import ActionConfig, FilterConfig, JailConfig
from banguard.control.api import ActiveBan, JailView
from banguard.control.values import (
    BannedSet,
    all_jails,
    by_start,
    host_of,
    hosts_of,
    journal_matches,
    json_of,
    log_data,
    mapping_of,
    match_groups,
    number,
    option_of,
    overview_data,
    ports_of,
    seconds_of,
    status_data,
    whole,
)
from banguard.errors import ControlError
from banguard.model import Ban, JailStats
from banguard.sources import LogStats
from support.memory_server import MemoryServer


@pytest.mark.parametrize(
    ("expected", "value"), [(600, 600.0), (0.5, 0.5), (None, None), (7, 7), (float("inf"), float("inf"))]
)
def test_whole_numbers_look_whole(expected, value):
    """600.0 seconds are shown as 600."""
    assert (expected, type(expected)) == (number(value), type(number(value)))


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::5", "2001:DB8:0::5"),
        ("10.0.0.0/8", "10.1.2.3/8"),
        ("alice", "alice"),
        ("foo bar", "foo bar"),
        ("999.1.1.1", "999.1.1.1"),
    ],
)
def test_hosts_are_canonical(expected, text):
    """Addresses and networks take their canonical form, other ids stay as they are."""
    assert expected == host_of(text)


@pytest.mark.parametrize("text", ["", "  ", "--with-time", "-x", "a\nb", "a\x1b[2J", "x" * 2000])
def test_what_cannot_be_an_id_is_refused(text):
    """Empty texts, options and control characters never become a ban."""
    with pytest.raises(ControlError):
        host_of(text)


def test_a_host_named_twice_counts_once():
    """Different spellings of one address are one."""
    assert ("192.0.2.1", "x") == hosts_of(["192.0.2.1", "x", "::ffff:192.0.2.1", "x"])


@pytest.mark.parametrize(("expected", "text"), [(0, "0"), (12, " 12 ")])
def test_whole_numbers_are_read(expected, text):
    """Blanks around a number do not matter."""
    assert expected == whole(text, 0, "it")


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1e3", "__import__('os')"])
def test_other_numbers_are_refused(text):
    """Neither text nor too small a number passes."""
    with pytest.raises(ControlError, match="^it must be"):
        whole(text, 0, "it")


def test_durations_are_read_or_refused():
    """Units are understood, everything else is a ControlError."""
    assert 3600 == seconds_of("1h")
    with pytest.raises(ControlError):
        seconds_of("__import__('os')")


def test_options_are_read_as_the_configuration_reads_them():
    """A wrong value is refused in words, as a ControlError."""
    assert 5 == option_of("maxretry", "5")
    with pytest.raises(ControlError):
        option_of("maxretry", "many")


def test_json_arguments_are_checked():
    """What is no JSON, or no object, is a usage error that names what it should be."""
    assert [1] == json_of("[1]", "It")
    assert {"a": 1} == mapping_of('{"a": 1}', "It")
    for function, text in ((json_of, "{"), (json_of, "[" * 100_000), (mapping_of, "[1]")):
        with pytest.raises(ControlError, match="^It must be") as raised:
            function(text, "It")
        assert 2 == raised.value.status


def test_bans_are_ordered_by_their_beginning():
    """Whoever was banned first stands first; the same time keeps the given order."""
    bans = [ActiveBan(Ban("j", host, since, None), enforced=True) for host, since in (("c", 3), ("a", 1), ("b", 1))]
    assert ["a", "b", "c"] == by_start(bans)


def test_membership_knows_networks():
    """An address is banned by itself or with a network around it."""
    hosts = BannedSet(
        ActiveBan(Ban("j", host, 0, None), enforced=True) for host in ("192.0.2.1", "10.0.0.0/8", "alice")
    )
    inside = [host for host in ("192.0.2.1", "10.9.9.9", "10.1.0.0/16", "alice", "192.0.2.2", "bob") if host in hosts]
    assert ["192.0.2.1", "10.9.9.9", "10.1.0.0/16", "alice"] == inside


@pytest.mark.parametrize(
    ("expected", "lines"),
    [
        ((), ()),
        ((("_A=b",),), (("_A=b",),)),
        ((("_A=b", "_C=d"), ("_E=f",)), (("_A=b", "_C=d", "+", "_E=f"),)),
    ],
)
def test_journal_matches_are_told_apart(expected, lines):
    """A `+` within one line of the configuration parts matches as a line end does."""
    assert expected == journal_matches(JailConfig("j", filter=FilterConfig(journalmatch=lines)))


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ((("_SYSTEMD_UNIT=ssh.service",),), ["_SYSTEMD_UNIT=ssh.service"]),
        ((("_A=b", "_C=d"), ("/usr/sbin/sshd",)), ["_A=b", "_C=d", "+", "/usr/sbin/sshd"]),
    ],
)
def test_words_become_journal_matches(expected, words):
    """Fields and paths of programs are matches, `+` means or."""
    assert expected == match_groups(words)


@pytest.mark.parametrize("words", [["foo"], ["=x"], ["a=b"], ["+"], ["_A=b", "+"], ["_A B=c"], ["1=2"]])
def test_what_is_no_journal_match_is_refused(words):
    """A match needs a field in capitals and a value."""
    with pytest.raises(ControlError):
        match_groups(words)


def test_the_status_of_a_jail_has_exactly_the_promised_keys():
    """The object that `status JAIL --json` shows is an interface."""
    ban = Ban("sshd", "192.0.2.1", 1000.5, 1600.5, count=2, failures=5)
    view = JailView(JailConfig("sshd"), "polling", JailStats(1, 7), ("/a",), (ActiveBan(ban, enforced=False),), 3)
    expected = {
        "jail": "sshd",
        "filter": {"currently_failed": 1, "total_failed": 7, "file_list": ["/a"]},
        "actions": {
            "currently_banned": 1,
            "total_banned": 3,
            "banned": [
                {"id": "192.0.2.1", "since": 1000.5, "until": 1600.5, "count": 2, "failures": 5, "enforced": False}
            ],
        },
    }
    assert expected == status_data(view)


def test_a_journal_jail_shows_its_matches_in_place_of_files():
    """Either `file_list` or `journal_matches` is there, never both."""
    filter_ = FilterConfig(journalmatch=(("_A=b", "_C=d"), ("_E=f",)))
    view = JailView(JailConfig("sshd", filter=filter_), "systemd", JailStats())
    expected = {"currently_failed": 0, "total_failed": 0, "journal_matches": ["_A=b _C=d", "_E=f"]}
    assert expected == status_data(view)["filter"]


def test_a_jail_that_goes_away_meanwhile_is_left_out():
    """A list of all jails does not fail because one was removed a moment ago."""

    class Vanishing(MemoryServer):
        def jail_names(self):
            return ("gone", *super().jail_names())

    assert ["sshd"] == [view.config.name for view in all_jails(Vanishing().with_jail())]


def test_the_status_of_a_jail_that_observes_shows_whom_it_would_ban():
    """Others have no such entry."""
    view = JailView(JailConfig("a", observe=True), "polling", JailStats(), observed=(Ban("a", "192.0.2.1", 1.0, 2.0),))
    assert ["192.0.2.1"] == [ban["id"] for ban in status_data(view)["actions"]["observed"]]
    assert "observed" not in status_data(JailView(JailConfig("a"), "polling", JailStats()))["actions"]


@pytest.mark.parametrize(
    ("expected", "properties"),
    [
        ("tcp/ssh,http", {"port": "ssh, http", "protocol": "tcp"}),
        ("tcp,udp/all", {"port": "0:65535", "protocol": "tcp, udp"}),
        ("tcp/all", {"port": "ssh", "protocol": "tcp", "type": "allports"}),
        ("22", {"port": "22"}),
        ("all", {}),
    ],
)
def test_ports_are_those_of_the_actions_that_block(expected, properties):
    """As the action has them; all where none is named; notifications close none."""
    config = JailConfig("j", actions=(ActionConfig("nft", "nft", properties=properties), ActionConfig("mail", "mail")))
    stats = {"nft": ActionStats("nft", enforces=True), "mail": ActionStats("mail", enforces=False)}
    assert expected == ports_of(config, stats)
    assert "" == ports_of(config, {})


def test_the_overview_of_a_jail_has_what_top_shows():
    """Numbers, state, actions, and how many bans are not in force."""
    bans = tuple(ActiveBan(Ban("j", host, 1.0, None), enforced=host == "a") for host in "abc")
    view = JailView(
        JailConfig("j"), "polling", JailStats(1, 2, 3, 4, 5, 6, 0.25), bans=bans, total_banned=9, problem="p"
    )
    action = ActionStats("nft", enforces=True, applied=frozenset("a"), waiting=2, done=1, errors=3, last_error="no")
    assert {
        "jail": "j",
        "backend": "polling",
        "filter": {"currently_failed": 1, "total_failed": 2},
        "actions": {"currently_banned": 3, "total_banned": 9},
        "started": True,
        "idle": False,
        "problem": "p",
        "matched": 4,
        "ignored": 5,
        "errors": 6,
        "waited": 0.25,
        "not_enforced": 2,
        "enforces": True,
        "action_stats": [
            {"name": "nft", "enforces": True, "held": 1, "waiting": 2, "done": 1, "errors": 3, "problem": "no"}
        ],
    } == overview_data(view, {"nft": action})


def test_a_log_is_told_with_its_numbers():
    """What is read, what is not yet, what is wrong."""
    log = LogStats("/a", ("j",), bytes_read=10, behind=2, rotations=1, trouble="no", lines=3)
    assert {
        "log": "/a", "jails": ["j"], "lines": 3, "bytes": 10, "behind": 2, "rotations": 1, "problem": "no",
    } == log_data(log)  # fmt: skip
