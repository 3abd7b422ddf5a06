from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.actions.tags import (
    LONGEST_CAPTURE,
    LONGEST_PASTED,
    LONGEST_VALUE,
    BanTags,
    FixedTags,
    expand_static,
    family_of,
    fill,
    is_conditional,
    single_quoted,
    text_of,
    variable_of,
)
from banguard.errors import ActionError, StoreError
from banguard.model import Ban
from banguard.run import shell


def ban(host="192.0.2.1", **more):
    return Ban("sshd", host, 1_800_000_000.75, 1_800_000_600.75, **more)


@pytest.mark.parametrize(
    ("text", "values", "family", "expected"),
    [
        ("plain", {}, "", "plain"),
        ("<a> <b> <ip>", {"a": "1"}, "", "1 <b> <ip>"),
        ("<a>", {"a": "x<b>y", "b": "z"}, "", "xzy"),
        ("<a><a> <b> <a>", {"a": "<b>", "b": "1"}, "", "11 1 1"),
        ("<list-<kind>>", {"kind": "x", "list-x": "found"}, "", "found"),
        ("<a>", {"a": "four", "a?family=inet6": "six"}, "inet6", "six"),
        ("<a>", {"a": "four", "a?family=inet6": "six"}, "inet4", "four"),
        ("<a>", {"a": "four", "a?family=inet6": "six"}, "", "four"),
        ("<a>", {"a?family=inet6": "six"}, "inet4", "<a>"),
        ("<<a>>", {"a": "x"}, "", "<x>"),
        ("a < b > c <a b>", {"a b": "no"}, "", "a < b > c <a b>"),
        ("x<br>y<sp>z", {}, "", "x\ny z"),
        ("<Name>", {"name": "x"}, "", "<Name>"),
    ],
)
def test_static_tags(text, values, family, expected):
    """Recursive, for the family first, unknown ones stay."""
    assert expected == expand_static(text, values, family)


def test_host_names_are_static_tags():
    """The short name of this host, and the one with its domain."""
    short = socket.gethostname().partition(".")[0]
    assert f"{short}|" == expand_static("<sh-hostname>|", {})
    assert "<" not in expand_static("<fq-hostname>", {})


@pytest.mark.parametrize("values", [{"a": "<a>"}, {"a": "x <b>", "b": "<c>", "c": "<a>"}, {"a": "<b>", "b": "<a"}])
def test_a_tag_that_refers_to_itself_is_an_error(values):
    """Never endless; what only looks like a tag in the end is none."""
    if "<a" in values.values():
        assert "<a" == expand_static("<a>", values)
        return
    with pytest.raises(ActionError, match="refers to itself"):
        expand_static("<a>", values)


def test_tags_that_make_tags_come_to_an_end():
    """Text that grows without a tag inside itself is stopped, too."""
    with pytest.raises(ActionError, match="leads on without end"):
        expand_static("<A<v>B>", {"v": "p><", "Ap": "<A<v", "B": ">B>"})


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ip", "192.0.2.1"),
        ("fid", "192.0.2.1"),
        ("family", "inet4"),
        ("ip-rev", "1.2.0.192."),
        ("ip-host", "None"),
        ("failures", 5),
        ("time", 1_800_000_000),
        ("bantime", 600),
        ("bancount", 2),
        ("matches", "a\nb"),
        ("ipmatches", "a\nb"),
        ("ipfailures", 5),
        ("ipjailmatches", "a\nb"),
        ("ipjailfailures", 5),
        ("restored", 0),
        ("jail.name", "sshd"),
        ("jail.banned", 0),
        ("F-USER", "root"),
        ("F-ALT_USER1", ""),
    ],
)
def test_what_a_ban_says(tag, value):
    """Each dynamic tag has its value; captures that are absent are empty."""
    tags = BanTags(ban(failures=5, count=2, matches=("a", "b"), data={"user": "root"}))
    assert value == tags[tag]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (ban("2001:db8::1"), ("2001:db8::1", "2001:db8::1", "inet6")),
        (ban("192.0.2.0/24"), ("192.0.2.0/24", "192.0.2.0/24", "inet4")),
        (ban("alice", data={"ip": "192.0.2.7"}), ("192.0.2.7", "alice", "inet4")),
        (ban("alice"), ("alice", "alice", "None")),
    ],
)
def test_address_id_and_family(one, expected):
    """The id may be something else than the address."""
    tags = BanTags(one)
    assert expected == (tags["ip"], tags["fid"], tags["family"])


def test_what_is_for_ever_and_what_is_restored():
    """-1 stands for ever, 1 for restored."""
    tags = BanTags(Ban("j", "192.0.2.1", 1.0, None), restored=True)
    assert (-1, 1) == (tags["bantime"], tags["restored"])


def test_an_unknown_tag_is_unknown():
    """It stays in the command as it is."""
    with pytest.raises(KeyError):
        BanTags(ban())["nothing"]
    assert ("<nothing> <F-user> <stdin", {}) == fill("<nothing> <F-user> <stdin", {})


def test_costly_tags_are_asked_for_only_when_named_and_once():
    """No look-up for a command that does not want it."""
    calls = []

    def history(host, jail):
        calls.append((host, jail))
        return ["old", "new"], 7

    def lookup(address):
        calls.append(address)
        return "host.example"

    def numbers(jail):
        calls.append(jail)
        return {"banned": 3, "found_total": 9}

    def made():
        return BanTags(ban(matches=("x",)), history=history, reverse_lookup=lookup, jail_numbers=numbers)

    fill("echo <ip> <matches>", made())
    assert [] == calls
    script, variables = fill('echo <ip-host> <ip-host> "<ipmatches>" <ipfailures> <jail.banned>', made())
    assert 'echo host.example host.example "$f2bV_ipmatches" 7 3' == script
    assert "old\nnew" == variables["f2bV_ipmatches"]
    assert ["host.example", "7"] == [variables["BANGUARD_ip_host"], variables["BANGUARD_ipfailures"]]
    assert ["192.0.2.1", ("192.0.2.1", None), "sshd"] == calls
    calls.clear()
    _, variables = fill('echo "$BANGUARD_ipjailmatches" "$f2bV_ip_host"', made())
    assert [("192.0.2.1", "sshd"), "192.0.2.1"] == sorted(calls, key=str)
    assert ("old\nnew", "host.example") == (variables["BANGUARD_ipjailmatches"], variables["f2bV_ip_host"])


def test_a_history_or_name_server_that_fails_costs_only_its_value():
    """The ban's own lines take the place."""

    def history(host, jail):
        raise StoreError("locked")

    def lookup(address):
        raise OSError

    tags = BanTags(ban(matches=("x",), failures=2), history=history, reverse_lookup=lookup)
    assert ("x", 2, "None") == (tags["ipmatches"], tags["ipfailures"], tags["ip-host"])


HOSTILE = [
    "'; touch {0}; #",
    '"; touch {0}; "',
    "`touch {0}`",
    "$(touch {0})",
    "x\ntouch {0}\n",
    "x\r\ntouch {0}\r\n",
    "x\0; touch {0}",
    "%s%n%c ${{IFS}}touch {0}",
    "<ip> <matches> <F-USER>; touch {0}",
    "\n~!touch {0}\n",
    "&& touch {0} || touch {0} | touch {0} & touch {0}",
    "\\'; touch {0} \\",
    "> {0}",
    "\u2028; touch {0} é \udcff",
    "-x --y=z; touch {0}",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("quoting", ["{}", '"{}"', "'{}'", "x{}y", 'a "b {} c"', "echo {} > /dev/null"])
def test_hostile_text_is_never_read_by_the_shell(hostile, quoting, tmp_path):
    """Whatever a log holds, in whatever quotes the tag stands, no file appears."""
    proof = tmp_path / "proof"
    text = hostile.format(proof)
    data = {"user": text, "fid": text, "x_1": text}
    one = Ban("sshd", text, 1.0, None, matches=(text, text), data=data)
    tags = BanTags(
        one, history=lambda host, jail: ([text], 1), reverse_lookup=lambda address: text, jail_numbers=lambda jail: {}
    )
    for tag in [*tags, "ip-host", "F-X_1"]:
        script, variables = fill(f"printf '%s' {quoting.format(f'<{tag}>')} >&2 || true", tags)
        shell(script, environment=variables)
    assert not proof.exists()
    assert [] == list(tmp_path.iterdir())


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_a_value_in_double_quotes_arrives_whole(value):
    """What is printed is what the log said, save for NUL."""
    script, variables = fill('printf %s "<F-USER>"', BanTags(ban(data={"user": value})))
    printed = shell(script, environment=variables).stdout
    expected = value.replace("\0", "").encode("utf-8", "replace")
    assert expected == printed


def test_harmless_values_are_pasted_and_others_are_referred_to():
    """An address stands in the command; what a shell might read does not."""
    script, variables = fill("ban <ip> <F-USER> <F-OTHER_1>", BanTags(ban(data={"user": "a b", "other_1": "a;b"})))
    assert "ban 192.0.2.1 a b $f2bV_F_other_1" == script
    assert "a;b" == variables["f2bV_F_other_1"]
    assert "f2bV_ip" not in variables
    assert ("192.0.2.1", "a b", "a;b") == tuple(variables["BANGUARD_" + n] for n in ("ip", "F_user", "F_other_1"))


def test_values_are_put_in_once_and_never_again():
    """A value that looks like a tag stays text."""
    script, variables = fill('x "<F-USER>"', BanTags(ban(data={"user": "<ip>"})))
    assert ('x "$f2bV_F_user"', "<ip>") == (script, variables["f2bV_F_user"])


def test_a_long_harmless_value_becomes_a_variable():
    """A command line has its limits."""
    script, variables = fill("<F-USER>", BanTags(ban(data={"user": "a" * (LONGEST_PASTED + 1)})))
    assert "$f2bV_F_user" == script
    assert LONGEST_PASTED + 1 == len(variables["f2bV_F_user"])


def test_values_are_cut_to_what_a_program_can_be_given():
    """Of too many lines the newest stay, whole; a program can still be started with all of them."""
    lines = [f"line {number} é" for number in range(50_000)]
    text = text_of("matches", "\n".join(lines))
    assert len(text.encode()) <= LONGEST_VALUE
    assert lines[-1] == text.rpartition("\n")[2]
    assert text.partition("\n")[0] in lines
    assert LONGEST_CAPTURE == len(text_of("F-USER", "a" * 100_000))
    assert "\u00e9?" == text_of("F-X", "\u00e9" * 100_000 + "\ud800")[-2:]
    huge = "\n".join(f"(line {number})" for number in range(100_000))
    data = {f"user{number}": "(" * 100_000 for number in range(20)}
    tags = BanTags(ban(matches=tuple(huge.split("\n")), data=data), history=lambda host, jail: ([huge], 1))
    script, variables = fill('printf %s "<matches><ipmatches><ipjailmatches>" | wc -c', tags)
    assert 250_000 < int(shell(script, environment=variables).stdout)


@pytest.mark.parametrize(
    ("tag", "variable"),
    [("ip", "ip"), ("ip-host", "ip_host"), ("F-USER", "F_user"), ("F-ALT-X", "F_alt_x"), ("jail.name", "jail_name")],
)
def test_names_of_variables(tag, variable):
    """As other actions know them."""
    assert variable == variable_of(tag)


def test_commands_without_a_ban_have_time_and_family():
    """Nothing else makes sense in start and stop."""
    tags = FixedTags("sshd", 1_800_000_000.5, "inet6")
    script, variables = fill("start <family> <time> <ip>", tags)
    assert "start inet6 1800000000 <ip>" == script
    assert "sshd" == variables["BANGUARD_jail_name"]
    assert 3 == len(tags)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo '<matches>' \"'<ipmatches>'\"", ("matches",)),
        ("echo '<ip> <F-USER> <fid>' '<F-USER>'", ("F-USER", "fid")),
        ("echo \\'<matches>\\' \"\\\"'<matches>\"", ()),
        ("awk '{ print \"<matches>\" }'", ("matches",)),
        ("'", ()),
    ],
)
def test_tags_in_single_quotes(text, expected):
    """Only real single quotes, only values that may be anything."""
    assert expected == single_quoted(text)


def test_families_and_conditions():
    """What is for one family is recognised, and a ban has one or none."""
    assert is_conditional(["a", "b?family=inet6"])
    assert not is_conditional(["a", "family"])
    assert ["inet4", "inet6", ""] == [family_of(ban(host)) for host in ("192.0.2.0/24", "2001:db8::1", "alice")]
    assert 21 + 1 == len(list(BanTags(ban(data={"user": "x"}))))
