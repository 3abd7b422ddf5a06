"""ignoreip, ignoreself, ignorecommand."""

from __future__ import annotations

import os

import pytest

from banguard.config.schema import IgnoreCache
from banguard.jails.ignore import IgnoreRules, host_tags, is_host_name
from banguard.jails.resolver import Resolver


class Commands:
    """Stands for the runner of programs: remembers what it was given, answers with a status."""

    def __init__(self, status=1):
        self.status = status
        self.calls = []

    def __call__(self, command, tags):
        self.calls.append((command, dict(tags)))
        return self.status


@pytest.fixture
def rules(clock):
    names = {"home.example": ["192.0.2.77", "2001:db8::77"], "gone.example": []}

    def make(*ignoreip, own=("198.51.100.1", "::1"), **options):
        resolver = Resolver(
            clock,
            forward=names.__getitem__,
            backward=lambda address: {"192.0.2.1": "one.example"}.get(address, ""),
            own=lambda: frozenset(own),
        )
        return IgnoreRules("sshd", clock=clock, resolver=resolver, ignoreip=ignoreip, **options)

    make.names = names
    return make


@pytest.mark.parametrize(
    ("entry", "host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1", "ip"),
        ("192.0.2.1", "192.0.2.2", None),
        ("192.0.2.0/24", "192.0.2.200", "ip"),
        ("192.0.2.0/255.255.255.0", "192.0.2.200", "ip"),
        ("192.0.2.77/24", "192.0.2.200", "ip"),
        ("192.0.2.0/24", "192.0.3.1", None),
        ("192.0.2.0/24", "192.0.2.64/26", "ip"),
        ("192.0.2.0/26", "192.0.2.0/24", None),
        ("2001:DB8:0:0::1", "2001:db8::1", "ip"),
        ("2001:db8::/32", "2001:db8:1::1", "ip"),
        ("2001:db8::/32", "2001:db9::1", None),
        ("::ffff:192.0.2.1", "192.0.2.1", "ip"),
        ("::ffff:192.0.2.0/120", "192.0.2.9", "ip"),
        ("0.0.0.0/0", "203.0.113.1", "ip"),
        ("0.0.0.0/0", "2001:db8::1", None),
        ("home.example", "192.0.2.77", "dns"),
        ("home.example", "2001:db8::77", "dns"),
        ("home.example", "192.0.2.1", None),
        ("gone.example", "192.0.2.1", None),
        ("session-4711", "session-4711", "ip"),
        ("me@example.org", "me@example.org", "ip"),
        ("me@example.org", "you@example.org", None),
        ("192.0.2.999", "192.0.2.999", "ip"),
    ],
)
def test_ignoreip(rules, entry, host, expected):
    """Addresses, networks in both notations, names and other ids; the reason is the one the log tells."""
    assert expected == rules(entry).reason(host)


@pytest.mark.parametrize("host", ["198.51.100.1", "::1"])
def test_own_addresses_are_spared_unless_ignoreself_is_off(rules, host):
    """Nobody locks the machine out of itself by accident."""
    assert "ignoreself rule" == rules(host).reason(host)
    assert None is rules(ignoreself=False).reason(host)


def test_a_name_follows_its_address(rules, clock):
    """A dynamic name is looked up anew after five minutes."""
    checked = rules("home.example")
    assert "dns" == checked.reason("192.0.2.77")
    rules.names["home.example"] = ["192.0.2.88"]
    assert None is checked.reason("192.0.2.88")
    clock.advance(300)
    assert "dns" == checked.reason("192.0.2.88")
    assert None is checked.reason("192.0.2.77")


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("form", ["file:{}", "file://{}"])
def test_a_file_of_entries(rules, tmp_path, form):
    """`file:` names a list with comments, in the notations of ignoreip."""
    path = write(
        tmp_path / "friends",
        "# friends\n192.0.2.1, 192.0.2.2 ; comment 192.0.2.3\n\n10.0.0.0/8 home.example # 192.0.2.4\n; 192.0.2.5\nid#7\n",
    )
    spec = form.format(path)
    checked = rules(spec)
    for host in ("192.0.2.1", "192.0.2.2", "10.1.2.3", "192.0.2.77", "id#7"):
        assert spec == checked.reason(host)
    for host in ("192.0.2.3", "192.0.2.4", "192.0.2.5", "comment", "friends"):
        assert None is checked.reason(host)


def test_a_file_is_named_relative_to_the_working_directory(rules, tmp_path, monkeypatch):
    """`file:NAME` without a slash in front is a relative path."""
    write(tmp_path / "friends", "192.0.2.1")
    monkeypatch.chdir(tmp_path)
    assert "file:friends" == rules("file:friends").reason("192.0.2.1")


def test_a_changed_file_is_read_again(rules, clock, tmp_path):
    """The change is seen a second later, also when the file was replaced by one of the same size and time."""
    path = write(tmp_path / "friends", "192.0.2.1")
    checked = rules(f"file:{path}")
    assert checked.reason("192.0.2.1")
    new = write(tmp_path / "new", "192.0.2.2")
    stamp = os.stat(path).st_mtime_ns
    os.utime(new, ns=(stamp, stamp))
    os.replace(new, path)
    assert None is checked.reason("192.0.2.2")
    clock.advance(1)
    assert checked.reason("192.0.2.2")
    assert None is checked.reason("192.0.2.1")


def test_a_file_that_cannot_be_read_keeps_its_last_entries(rules, clock, tmp_path, caplog):
    """A missing file is told, not more than once a minute, and spares whom it spared before."""
    path = write(tmp_path / "friends", "192.0.2.1")
    checked = rules(f"file:{path}")
    assert checked.reason("192.0.2.1")
    path.unlink()
    for _ in range(30):
        clock.advance(1)
        assert checked.reason("192.0.2.1")
    assert 1 == len(caplog.records)
    assert str(path) in caplog.text
    write(path, "192.0.2.2")
    clock.advance(60)
    assert checked.reason("192.0.2.2")


@pytest.mark.parametrize(("status", "expected"), [(0, "command"), (1, None), (None, None), (2, None), (127, None)])
def test_ignorecommand_decides_by_its_status(rules, status, expected, caplog):
    """0 spares, 1 does not, anything else is an error and does not."""
    commands = Commands(status)
    checked = rules(command="/bin/check <ip>", run_check=commands)
    assert expected == checked.reason("192.0.2.1", lambda: {"F-USER": "root"})
    assert [("/bin/check <ip>", {**host_tags("192.0.2.1"), "F-USER": "root"})] == commands.calls
    assert (status in (2, 127)) == ("ignorecommand" in caplog.text)


def test_ignorecommand_is_asked_last(rules):
    """Programs are started only for hosts that no list spares."""
    commands = Commands()
    checked = rules("192.0.2.0/24", command="check", run_check=commands)
    checked.reason("192.0.2.1"), checked.reason("198.51.100.1")
    assert [] == commands.calls
    assert None is checked.reason("203.0.113.1", command=False)
    assert [] == commands.calls


def test_ignorecommand_may_ask_for_the_host_name(rules):
    """`<ip-host>` is looked up only where it is used; `None` stands for no name."""
    commands = Commands()
    checked = rules(command="check <ip-host>", run_check=commands)
    checked.reason("192.0.2.1"), checked.reason("192.0.2.2")
    assert ["one.example", "None"] == [tags["ip-host"] for _, tags in commands.calls]


def test_the_cache_keeps_verdicts_under_its_key(rules, clock):
    """`ignorecache` saves starting the command again for what makes up its key, for its time."""
    commands = Commands(0)
    cache = IgnoreCache("<ip>/<F-USER>", max_count=2, max_time=300)
    checked = rules(command="check", run_check=commands, cache=cache)

    def ask(host, user):
        return checked.reason(host, lambda: {"F-USER": user})

    assert "command" == ask("192.0.2.1", "a") == ask("192.0.2.1", "a")
    assert 1 == len(commands.calls)
    ask("192.0.2.1", "b"), ask("192.0.2.1", "c"), ask("192.0.2.1", "a")
    assert 4 == len(commands.calls)
    commands.status = 1
    assert "command" == ask("192.0.2.1", "a")
    clock.advance(300)
    assert None is ask("192.0.2.1", "a")


def test_a_direct_hit_is_not_cached(rules, clock):
    """An address of the list itself costs no place in the cache."""
    commands = Commands(1)
    checked = rules("192.0.2.1", command="check", run_check=commands, cache=IgnoreCache("<ip>", max_count=1))
    checked.reason("192.0.2.2")
    assert "ip" == checked.reason("192.0.2.1")
    checked.reason("192.0.2.2")
    assert 1 == len(commands.calls)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example", True),
        ("localhost", True),
        ("a_b-c.example.", True),
        ("192.0.2.1", False),
        ("a b", False),
        ("a@b", False),
    ],
)
def test_host_names_are_told_from_other_ids(text, expected):
    """Only what can be a name is looked up."""
    assert expected == is_host_name(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", {"ip": "192.0.2.1", "fid": "192.0.2.1", "family": "inet4", "ip-rev": "1.2.0.192."}),
        ("some id", {"ip": "some id", "fid": "some id", "family": "None", "ip-rev": ""}),
    ],
)
def test_tags_that_follow_from_the_host(host, expected):
    """The tags a command can always use."""
    assert expected == host_tags(host)
