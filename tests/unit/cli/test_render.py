import json
import time

import pytest

from banguard.cli.render import as_json, as_jsonl, as_text, clean, not_enforced, problems, word
from banguard.control.protocol import Reply

NOW = 1_800_000_000


def ban(host, since=NOW, until=NOW + 600):
    return {"id": host, "since": since, "until": until, "count": 1, "failures": 3, "enforced": True}


def jail(name="sshd", *, hosts=("10.0.0.1", "2001:db8::5"), **source):
    return {
        "jail": name,
        "filter": {
            "currently_failed": 1,
            "total_failed": 7,
            **(source or {"file_list": ["/var/log/a", "/var/log/b"]}),
        },
        "actions": {"currently_banned": len(hosts), "total_banned": 2, "banned": [ban(host) for host in hosts]},
    }


STATUS = """\
Status
|- Number of jail:\t2
`- Jail list:\tj1, j2"""

BASIC = """\
Status for the jail: sshd
|- Filter
|  |- Currently failed:\t1
|  |- Total failed:\t7
|  `- File list:\t/var/log/a /var/log/b
`- Actions
   |- Currently banned:\t2
   |- Total banned:\t2
   `- Banned IP list:\t10.0.0.1 2001:db8::5"""

SHORT = """\
Status for the jail: sshd
|- Filter
|  |- Currently failed:\t1
|  |- Total failed:\t7
|  `- File list:\t/var/log/a /var/log/b
`- Actions
   |- Currently banned:\t2
   `- Total banned:\t2"""

JOURNAL = """\
Status for the jail: sshd
|- Filter
|  |- Currently failed:\t1
|  |- Total failed:\t7
|  `- Journal matches:\t_A=b + _C=d _E=f
`- Actions
   |- Currently banned:\t0
   |- Total banned:\t2
   `- Banned IP list:\t"""

CYMRU = """\
Status for the jail: sshd
|- Filter
|  |- Currently failed:\t1
|  |- Total failed:\t7
|  `- File list:\t/var/log/a /var/log/b
`- Actions
   |- Currently banned:\t2
   |- Total banned:\t2
   |- Banned IP list:\t10.0.0.1 2001:db8::5
   |- Banned ASN list:\t64500 64501
   |- Banned Country list:\tZZ
   `- Banned RIR list:\tunknown"""

ALL = """\
Status
|- Number of jail:\t2
|- Jail list:\tj1, j2
`- Status for the jails:
   |- Jail: j1
   |  |- Filter
   |  |  |- Currently failed:\t1
   |  |  |- Total failed:\t7
   |  |  `- File list:\t/var/log/a /var/log/b
   |  `- Actions
   |     |- Currently banned:\t0
   |     |- Total banned:\t2
   |     `- Banned IP list:\t
   `- Jail: j2
      |- Filter
      |  |- Currently failed:\t1
      |  |- Total failed:\t7
      |  `- File list:\t/var/log/a /var/log/b
      `- Actions
         |- Currently banned:\t1
         |- Total banned:\t2
         `- Banned IP list:\t10.0.0.1"""


def with_cymru():
    value = jail()
    value["actions"]["cymru"] = {"asn": ["64500", "64501"], "country": ["ZZ"], "rir": ["unknown"]}
    return value


@pytest.mark.parametrize(
    ("expected", "kind", "value"),
    [
        (STATUS, "status", {"jails": ["j1", "j2"]}),
        (BASIC, "status_jail_basic", jail()),
        (SHORT, "status_jail_short", jail()),
        (JOURNAL, "status_jail_basic", jail(hosts=(), journal_matches=["_A=b", "_C=d _E=f"])),
        (CYMRU, "status_jail_cymru", with_cymru()),
        (ALL, "status_all_basic", {"jails": [jail("j1", hosts=()), jail("j2", hosts=("10.0.0.1",))]}),
        ("Status\n|- Number of jail:\t0\n`- Jail list:\t", "status", {"jails": []}),
    ],
)
def test_a_status_is_a_tree(expected, kind, value):
    """Glyphs, tabs and order are those that scripts take apart."""
    assert expected == as_text(Reply(value, kind))


@pytest.mark.parametrize(
    ("expected", "kind", "value"),
    [
        ("Server replied: pong", "ping", "pong"),
        ("Shutdown successful", "stopping", "stopping"),
        ("OK", "reloaded", {"problems": ["x"]}),
        ("Added jail j", "jail_added", "j"),
        ("Jail started", "jail_started", "j"),
        ("Jail stopped", "jail_stopped", "j"),
        ("Current logging level is 'INFO'", "loglevel", "INFO"),
        ("Current logging target is:\n`- /var/log/x", "logtarget", "/var/log/x"),
        ("Current syslog socket is:\n`- auto", "syslogsocket", "auto"),
        ("logs: rolled over", "flushlogs", "rolled over"),
        ("Current database file is:\n`- /x", "dbfile", "/x"),
        ("Database currently disabled", "dbfile", None),
        ("Current database purge age is:\n`- 86400seconds", "dbpurgeage", 86400),
        ("Database currently disabled", "dbpurgeage", None),
        ("[{'j1': ['1.2.3.4']}, {'j2': []}]", "banned", {"jails": {"j1": ["1.2.3.4"], "j2": []}}),
        ("[['j1'], []]", "banned_in", {"hosts": [{"id": "a", "jails": ["j1"]}, {"id": "b", "jails": []}]}),
        ("a b", "ban_ids", {"banned": ["a", "b"], "separator": " "}),
        ("a,b", "ban_ids", {"banned": ["a", "b"], "separator": ","}),
        ("", "ban_ids", {"banned": [], "separator": ","}),
        ("No IP address/network is ignored", "ignoreip", []),
        ("These IP addresses/networks are ignored:\n|- a\n|- b\n`- c", "ignoreip", ["a", "b", "c"]),
        ("No file is currently monitored", "logpath", []),
        ("Current monitored log file(s):\n`- /a", "logpath", ["/a"]),
        ("No journal match filter set", "journalmatch", []),
        ("Current match filter:\n_A=b + _C=d", "journalmatch", ["_A=b", "_C=d"]),
        ("No regular expression is defined", "regexes", []),
        ("The following regular expression are defined:\n|- [0]: ^a\n`- [1]: ^b", "regexes", ["^a", "^b"]),
        ("Current log encoding is set to:\nUTF-8", "logencoding", "UTF-8"),
        (
            "Current date pattern set to: %Y (Year)",
            "datepattern",
            {"pattern": "%Y", "name": "Year"},
        ),
        (
            "Current date pattern set to: Default Detectors",
            "datepattern",
            {"pattern": None, "name": "Default Detectors"},
        ),
        ("Current date pattern set to: Epoch", "datepattern", {"pattern": "EPOCH", "name": "Epoch"}),
        (
            "Current date pattern set to: {^LN-BEG}TAI64N",
            "datepattern",
            {"pattern": "^TAI64N", "name": "{^LN-BEG}TAI64N"},
        ),
        ("Current date pattern set to: ^x", "datepattern", {"pattern": "^x", "name": ""}),
        ("The jail j has the following actions:\na, b", "actions", {"jail": "j", "actions": ["a", "b"]}),
        ("No actions for jail j", "actions", {"jail": "j", "actions": []}),
        (
            "The jail j action a has the following properties:\nx, y",
            "actionproperties",
            {"jail": "j", "action": "a", "properties": ["x", "y"]},
        ),
        (
            "The jail j action a has the following methods:\nban",
            "actionmethods",
            {"jail": "j", "action": "a", "methods": ["ban"]},
        ),
        ("False", "ignorecommand", ""),
        ("/bin/true", "ignorecommand", "/bin/true"),
        ("True", "value", True),
        ("None", "value", None),
        ("600", "value", 600),
        ("", "value", ""),
        ("[1, 0]", "value", [1, 0]),
        ("['<ip>', 10, 60]", "value", ["<ip>", 10, 60]),
        ("{'stacksize': 0}", "value", {"stacksize": 0}),
        ("5", "a kind of a later version", 5),
    ],
)
def test_each_kind_has_its_text(expected, kind, value):
    """Replies read as those of the reference do."""
    assert expected == as_text(Reply(value, kind))


def test_times_of_bans_are_local_times():
    """Start, length and end of each ban; a ban for ever ends at the end of time."""

    def local(seconds):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))

    value = {"bans": [ban("192.0.2.1"), ban("192.0.2.2", until=None), ban("192.0.2.3", until=1e30)]}
    expected = [
        f"192.0.2.1 \t{local(NOW)} + 600 = {local(NOW + 600)}",
        f"192.0.2.2 \t{local(NOW)} + -1 = 9999-12-31 23:59:59",
    ]
    lines = as_text(Reply(value, "bans_with_time")).splitlines()
    assert expected == lines[:2]
    assert lines[2].endswith("= 9999-12-31 23:59:59")


def figures(name, backend="polling", numbers=(1, 7, 2, 2)):
    return {
        "jail": name,
        "backend": backend,
        "filter": {"currently_failed": numbers[0], "total_failed": numbers[1]},
        "actions": {"currently_banned": numbers[2], "total_banned": numbers[3]},
    }


TABLE = """\
║ Jail        ║ Backend   ║    Filter    ║  Actions
║             ║           ║ cur │    tot ║ cur │ tot
║═════════════╬═══════════╬══════════════╬══════════
║ sshd        ║ polling   ║   1 │      7 ║   2 │   2
╟─────────────╫───────────╫──────────────╫──────────
║ a-long-name ║ pyinotify ║   0 │ 123456 ║   0 │   0
══════════════╩═══════════╩══════════════╩══════════"""


def test_numbers_stand_in_a_table():
    """Columns are as wide as their widest cell, numbers right, with lines of Unicode or of ASCII."""
    value = {"jails": [figures("sshd"), figures("a-long-name", "pyinotify", (0, 123456, 0, 0))]}
    assert TABLE == as_text(Reply(value, "stats"), box_drawing=True)
    plain = TABLE.translate(str.maketrans("║═╟╫╬╩│─", "|-|xx-|-"))
    assert plain == as_text(Reply(value, "stats"))


def test_lines_of_a_table_are_equally_long():
    """Rules and rows end at the same column whatever the numbers."""
    value = {"jails": [figures("x", "y", (10**9, 1, 5, 10**6)), figures("z" * 30)]}
    lines = as_text(Reply(value, "stats")).splitlines()
    assert 1 == len({len(line) for line in lines[1:]}), lines


def test_no_jails_are_no_table():
    """An empty table says so."""
    assert "No jails found." == as_text(Reply({"jails": []}, "stats"))


# ---- hostile text


EVIL = "\x1b]0;owned\x07\x1b[2J\r\n`- Banned IP list:\t1.2.3.4\u202e\x9b\u2028\ud800"


@pytest.mark.parametrize("kind", ["status_jail_basic", "status_all_basic", "banned", "ban_ids", "bans_with_time"])
def test_nothing_from_a_log_reaches_the_terminal_raw(kind):
    """Escape sequences, line ends and direction marks in an id are shown, not carried out."""
    value = {
        "status_jail_basic": jail(hosts=(EVIL,)),
        "status_all_basic": {"jails": [jail(hosts=(EVIL,))]},
        "banned": {"jails": {"j": [EVIL]}},
        "ban_ids": {"banned": [EVIL], "separator": " "},
        "bans_with_time": {"bans": [ban(EVIL)]},
    }[kind]
    harmless = {**value} if kind != "banned" else value
    text = as_text(Reply(harmless, kind))
    assert [] == [char for char in text if not char.isprintable() and char not in "\n\t"]
    assert "\\x1b]0;owned\\x07" in text
    assert "\n`- Banned IP list:\t1.2.3.4" not in text


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("plain", "plain"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\\x1b[31m\\x00\\x7f", "\x1b[31m\x00\x7f"),
        ("\\u202e\\ud800\\xa0", "\u202e\ud800\xa0"),
        ("ü ö 日本 \\d", "ü ö 日本 \\d"),
    ],
)
def test_text_is_cleaned(expected, text):
    """What is printable stays as it is."""
    assert expected == clean(text)


def test_a_word_stays_on_one_line():
    """Line ends and tabs in a single value are escaped too."""
    assert "a\\nb\\tc" == word("a\nb\tc")


def test_errors_are_cleaned():
    """The text of a refusal may hold what somebody typed."""
    assert "bad \\x1b" == as_text(Reply(error="bad \x1b", status=1))


def test_problems_are_lines():
    """What a reload survived is shown a line each."""
    assert "a\nb\\nc" == problems({"problems": ["a", "b\nc"]})


# ---- JSON


@pytest.mark.parametrize(
    ("expected", "reply"),
    [
        ({"jails": ["a"]}, Reply({"jails": ["a"]}, "status")),
        ({"value": 1}, Reply(1)),
        ({"value": ["a"]}, Reply(["a"], "logpath")),
        ({"value": None}, Reply(None)),
        ({"error": "no\x1b"}, Reply(error="no\x1b", status=1)),
    ],
)
def test_json_is_always_one_object(expected, reply):
    """Values that are no object stand under `value`, errors under `error`."""
    line = as_json(reply)
    assert expected == json.loads(line)
    assert line.isprintable()
    assert line.isascii()


@pytest.mark.parametrize("value", [None, 5, "x", [], {}, {"jails": 5}, {"jails": [5]}, {"actions": {"banned": [7]}}])
def test_a_value_of_another_shape_does_no_harm(value):
    """A reply of another version is shown somehow, and never ends in a traceback of the client."""
    from banguard.cli.render import _KINDS

    for kind in (*_KINDS, "stats", "unknown"):
        assert isinstance(as_text(Reply(value, kind)), str)


def test_a_history_says_how_each_ban_ended():
    """In force, expired, by hand, unseen; with a network; nothing remembered."""
    ban = {"jail": "sshd", "id": "192.0.2.1", "since": 0, "until": 600, "count": 2, "failures": 5, "origin": "local"}
    rows = [
        {**ban, "active": True, "rules": [1, 3]},
        {**ban, "ended": 600, "reason": "expired"},
        {**ban, "ended": 9, "reason": "manual", "origin": "manual"},
        {**ban, "id": "192.0.2.0/24", "until": None},
    ]
    text = as_text(Reply({"id": "192.0.2.1", "bans": rows}, "history")).splitlines()
    assert "Bans of 192.0.2.1 that are remembered (4)" in text[0]
    assert "for 10m, ban number 2, 5 failures by rule 1, 3; in force until" in text[1]
    assert "its time was over" in text[2]
    assert "manual; ended" in text[3]
    assert "by hand" in text[3]
    assert "with 192.0.2.0/24 for ever" in text[4]
    assert "No ban of 192.0.2.9" in as_text(Reply({"id": "192.0.2.9", "bans": []}, "history"))


@pytest.mark.parametrize(
    ("expected", "reply"),
    [
        ([{"jail": "a"}, {"jail": "b"}], Reply({"jails": ["a", "b"]}, "status")),
        ([{"jail": "a", "backend": "x"}], Reply({"jails": [{"jail": "a", "backend": "x"}]}, "stats")),
        ([{"value": 1}, {"a": 2}], Reply([1, {"a": 2}])),
        ([{"id": "x"}], Reply({"banned": ["x"], "separator": " "}, "ban_ids")),
        ([{"value": "x"}], Reply("x")),
        ([{"error": "no"}], Reply(error="no", status=1)),
        ([], Reply({"bans": []}, "ban_table")),
    ],
)
def test_jsonl_is_one_object_for_each_thing(expected, reply):
    """A list becomes lines, all else is one line."""
    text = as_jsonl(reply)
    assert expected == [json.loads(line) for line in text.splitlines()]


def test_json_holds_no_control_character():
    """Not even DEL, which JSON would let through."""
    assert as_json(Reply("\x7f\x1b\x9b\u202e")).isprintable()


def test_who_is_not_enforced_is_known():
    """In the status of one jail and of all."""
    status = {"actions": {"banned": [{"id": "a", "enforced": False}, {"id": "b", "enforced": True}]}}
    assert frozenset("a") == not_enforced(Reply(status, "status_jail_basic"))
    assert frozenset("a") == not_enforced(Reply({"jails": [status]}, "status_all_basic"))
    assert frozenset() == not_enforced(Reply(error="x", status=1))
