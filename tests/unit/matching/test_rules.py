"""The rules of a filter decide about each line."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.errors import PatternError
from banguard.matching import FilterRules

NOW = 1_795_168_800.0  # 2026-11-20 10:00:00 UTC
DATE = "2026-11-20T10:00:00Z"


def rules(*failregex: str, **options) -> FilterRules:
    return FilterRules(failregex=failregex, **{"timezone": "UTC", **options})


def judge(tried: FilterRules, *lines: str, **options):
    """Put lines that begin with a date through the rules; return the last result."""
    result = None
    for line in lines:
        dated = tried.date(f"{DATE} {line}", NOW)
        result = tried.match(dated, tried.time_of(dated), **options)
    return result


def only(result):
    (match,) = result.matches
    return match


# ---- dates


def test_date_is_cut_out():
    """The regexes see the line without its date; the match keeps the line as it was."""
    tried = rules("^ fail <HOST>$")
    dated = tried.date(f"{DATE} fail 192.0.2.1", NOW)
    assert (" fail 192.0.2.1", NOW) == (dated.text, dated.time)
    match = only(tried.match(dated, dated.time))
    assert ((f"{DATE} fail 192.0.2.1",), NOW) == (match.lines, match.time)


def test_date_within_brackets_leaves_them():
    """Only the date goes; the brackets around it stay."""
    assert "[] fail" == rules("<HOST>").date("[2026-11-20 10:00:00] fail", NOW).text


@pytest.mark.parametrize("date", ["2026-02-31 10:00:00", "Feb 30 10:00:00"])
def test_impossible_date_is_cut_too(date):
    """A date that no calendar knows leaves the line without a time, not without its failure."""
    dated = rules("^ fail <HOST>$").date(f"{date} fail 192.0.2.1", NOW)
    assert (" fail 192.0.2.1", None, False) == (dated.text, dated.time, dated.optional)


def test_journal_line_has_its_time():
    """A given time is the line's; no date is looked for in the text."""
    for tried in (rules("<HOST>"), rules("<HOST>", journal=True)):
        dated = tried.date(f"{DATE} fail", NOW, 5.0)
        assert (f"{DATE} fail", 5.0, "") == (dated.text, dated.time, dated.template)


def test_undated_line_takes_the_last_date_while_fresh():
    """Without a date a line is of the time of the one before, for a minute."""
    tried = rules("<HOST>")
    assert tried.time_of(tried.date("no date", NOW)) is None
    tried.date(DATE, NOW + 59)
    assert NOW == tried.time_of(tried.date("no date", NOW + 59))
    assert tried.time_of(tried.date("no date", NOW + 61)) is None


def test_line_whose_date_is_optional_is_of_now():
    """Where the pattern lets the date be missing, the line counts as of now."""
    tried = rules("<HOST>", datepattern="^WARNING:()**")
    dated = tried.date("WARNING: 192.0.2.1", NOW)
    assert (None, True, NOW) == (dated.time, dated.optional, tried.time_of(dated))


# ---- verdicts


def test_first_failregex_that_matches_decides():
    """Rules are tried in order, and numbered from 1."""
    tried = rules("^ nothing <HOST>", r"^ fail <F-USER>\S+</F-USER> <HOST>", "<HOST>$")
    result = judge(tried, "fail joe 192.0.2.1")
    assert ("matched", 2, (2,)) == (result.status, result.rule, result.rules)
    assert ("joe", "192.0.2.1") == (only(result).user, only(result).id)


def test_check_all_counts_the_others():
    """With check_all later rules count their hits, and the verdict stays."""
    tried = rules("^ nothing <HOST>", "^ fail <HOST>", "<HOST>$")
    result = judge(tried, "fail 192.0.2.1", check_all=True)
    assert (2, (2, 3)) == (result.rule, result.rules)
    assert [0, 1, 1] == [pattern.hits for pattern in tried.failures]


def test_nothing_matches():
    """A line that no rule knows is missed."""
    assert ("missed", 0, ()) == judge(rules("^ fail <HOST>"), "all is well")[0:1] + (0, ())


def test_subject_ends_in_a_newline():
    """`$` matches before the final newline, which `[^x]` can match."""
    assert "matched" == judge(rules("<HOST>[^x]$"), "192.0.2.1").status
    assert "missed" == judge(rules(r"<HOST>\Z"), "192.0.2.1").status


def test_prefregex_cuts_and_lends_its_groups():
    """The failregex sees <F-CONTENT>; groups of the prefregex are part of the match; without it nothing matches."""
    tried = rules("^fail <HOST>$", prefregex=r"^ <F-NAME>\w+</F-NAME>: <F-CONTENT>.+</F-CONTENT>$")
    match = only(judge(tried, "prog: fail 192.0.2.1"))
    assert ("prog", "192.0.2.1") == (match.groups["name"], match.id)
    assert "content" not in match.groups
    assert "missed" == judge(tried, "fail 192.0.2.1").status


def test_prefregex_may_hold_the_host():
    """A failregex needs no id of its own when the prefregex has one."""
    assert (
        "192.0.2.1" == only(judge(rules("^end", prefregex="^ <HOST>: <F-CONTENT>.+</F-CONTENT>"), "192.0.2.1: end")).id
    )


def test_empty_content_leaves_the_whole_line():
    """An empty <F-CONTENT> replaces nothing."""
    assert "matched" == judge(rules("^ p <HOST>", prefregex="^ p<F-CONTENT>x*</F-CONTENT>"), "p 192.0.2.1").status


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("ignoreregex", ["^fail 192", "^ p fail 192", r"192\.0\.2\.1$"])
def test_ignoreregex_sees_line_and_content(count, ignoreregex):
    """A failure is ignored whether the ignoreregex fits the line or the content, however many failregexes there are."""
    more = [f"^other{number} <HOST>" for number in range(count - 1)]
    tried = rules("^fail <HOST>", *more, prefregex="^ p <F-CONTENT>.+</F-CONTENT>", ignoreregex=[ignoreregex])
    assert "ignored" == judge(tried, "p fail 192.0.2.1").status
    assert "matched" == judge(tried, "p fail 198.51.100.1").status
    assert 1 == tried.ignores[0].hits


def test_joined_regexes_give_the_same_verdicts():
    """After many lines the regexes are tried as one; nothing else changes."""
    texts = ["^ a <HOST>$", "loose <HOST>$", "^ b <HOST>$", "^ c <F-NOFAIL>x</F-NOFAIL> <HOST>$", "^ <HOST> d$"]
    lines = ["a 192.0.2.1", "loose 192.0.2.2", "b 192.0.2.3", "x", "b 999.1.1.1", "a 192.0.2.1 d", "192.0.2.9 d"]
    slow, fast = rules(*texts), rules(*texts)
    fast.prepare()
    for line in lines * 20:
        assert judge(slow, line) == judge(fast, line)
    assert [pattern.hits for pattern in slow.failures] == [pattern.hits for pattern in fast.failures]


# ---- who it was


@pytest.mark.parametrize(
    ("regex", "text", "expected"),
    [
        ("<HOST>", "192.0.2.1", ("address", "192.0.2.1", "192.0.2.1")),
        ("<HOST>", "192.030.0.6", ("address", "192.30.0.6", "192.030.0.6")),
        ("<HOST>", "::ffff:192.0.2.1", ("address", "192.0.2.1", "192.0.2.1")),
        ("<HOST>", "2001:DB8:0::1", ("address", "2001:db8::1", "2001:DB8:0::1")),
        ("<HOST>", "mail.example", ("name", "mail.example", "mail.example")),
        ("<DNS>", "192.0.2.1", ("address", "192.0.2.1", "192.0.2.1")),
        ("<SUBNET>", "192.0.2.7/24", ("address", "192.0.2.0/24", "192.0.2.7")),
        ("<SUBNET>", "192.0.2.7/99", ("address", "192.0.2.7", "192.0.2.7")),
        ("<F-ID/>", "session-7", ("id", "session-7", "session-7")),
        ("<F-ID/>", "192.0.2.1", ("address", "192.0.2.1", "192.0.2.1")),
        ("<F-ID/>", "2001:DB8::1", ("address", "2001:db8::1", "2001:DB8::1")),
        (r"<F-ID>\w+</F-ID> <F-TUPLE_ID>\w+</F-TUPLE_ID>", "a b", ("id", "('a', 'b')", "('a', 'b')")),
    ],
)
def test_identity(regex, text, expected):
    """Addresses become canonical, names stay for look-up, other ids stay as they are."""
    match = only(judge(rules(f"^ {regex}$"), text))
    assert expected == (match.kind, match.id, match.host)


@pytest.mark.parametrize(
    ("regex", "text", "expected"),
    [
        ("<HOST>", "192.0.2.1", ("address", "192.0.2.1")),
        ("<HOST>", "192.030.0.6", ("id", "192.030.0.6")),
        ("<HOST>", "2001:DB8:0::1", ("address", "2001:db8::1")),
        ("<HOST>", "mail.example", ("id", "mail.example")),
        ("<F-ID/>", "2001:DB8::1", ("id", "2001:DB8::1")),
    ],
)
def test_raw_leaves_hosts_as_they_stand(regex, text, expected):
    """With usedns=raw names are ids, and ids are not read as addresses."""
    match = only(judge(rules(f"^ {regex}$", usedns="raw"), text))
    assert expected == (match.kind, match.id)


def test_usedns_no_counts_no_names():
    """With usedns=no <HOST> is an address, and a name caught otherwise is nobody."""
    assert "missed" == judge(rules("^ <HOST>$", usedns="no"), "mail.example").status
    tried = rules("^ <DNS>$", usedns="no")
    assert ("missed", "mail.example") == (judge(tried, "mail.example").status, judge(tried, "mail.example").rejected)
    assert 0 == tried.failures[0].hits
    assert "192.0.2.1" == only(judge(tried, "192.0.2.1")).id


def test_id_beside_an_address():
    """An id of its own is what is banned; the address stays at hand as `ip`."""
    match = only(judge(rules("^ <F-ID/> <ADDR>$"), "joe 192.0.2.1"))
    assert ("id", "joe", "192.0.2.1", "192.0.2.1") == (match.kind, match.id, match.host, match.groups["ip"])
    same = only(judge(rules("^ <F-ID/> <ADDR>$"), "192.0.2.1 192.0.2.1"))
    assert ("192.0.2.1", None) == (same.id, same.groups.get("ip"))


def test_name_beside_an_id_decides():
    """A name that is looked up gives the addresses to ban; left raw, the id does."""
    text = "joe mail.example"
    assert ("name", "mail.example") == only(judge(rules("^ <F-ID/> <DNS>$"), text))[:2]
    raw = only(judge(rules("^ <F-ID/> <DNS>$", usedns="raw"), text))
    assert ("joe", "mail.example") == (raw.id, raw.groups["ip"])


@pytest.mark.parametrize("usedns", ["warn", "no", "raw"])
@pytest.mark.parametrize("text", ["999.1.1.1", "11:59:50", "1.2.3.٤", "1::2::3"])
def test_what_is_no_address_is_rejected(text, usedns):
    """Text of the shape of an address that is none makes no failure, and is told."""
    tried = rules("^ <HOST>$", usedns=usedns)
    result = judge(tried, text)
    assert ("missed", text, 0) == (result.status, result.rejected, tried.failures[0].hits)


def test_rule_after_a_rejected_one_may_match():
    """A rule that caught no address does not stand in the way of the next."""
    result = judge(rules("^ <HOST> from", r"from <HOST>$"), "11:59:50 from 192.0.2.1")
    assert ("matched", 2, "192.0.2.1") == (result.status, result.rule, only(result).id)


def test_nobody_is_no_failure():
    """A match in which no id was caught is none."""
    assert "missed" == judge(rules("^ (?:a <IP4>|b)"), "b").status


# ---- sessions and windows


SESSION = {"prefregex": r"^ s<F-MLFID>\d+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"}


def test_session_joins_lines():
    """A line that tells only the host, and one that tells only the failure, make one failure of both lines."""
    tried = rules("^from <F-NOFAIL><HOST></F-NOFAIL>$", "^locked$", **SESSION)
    assert ("nofail", 1) == judge(tried, "s1 from 192.0.2.1")[0:3:2]
    match = only(judge(tried, "s1 locked"))
    assert ("192.0.2.1", (f"{DATE} s1 from 192.0.2.1", f"{DATE} s1 locked"), 2) == (match.id, match.lines, match.rule)
    assert [1, 1] == [pattern.hits for pattern in tried.failures]


@pytest.mark.parametrize("times", [1, 4])
def test_without_a_session_what_is_no_failure_by_itself_counts_never(times):
    """A line that only helps others of its session makes no failure where it names no session, however often it comes."""
    tried = rules(r"^ s(?:<F-MLFID>\d+</F-MLFID>)? <F-NOFAIL>from</F-NOFAIL> <HOST>$", "^ bad <HOST>$")
    assert ["nofail"] * times == [judge(tried, "s from 192.0.2.1").status for _ in range(times)]
    assert times == tried.failures[0].hits
    assert "192.0.2.1" == only(judge(tried, "bad 192.0.2.1")).id


def test_window_matches_over_lines():
    """With maxlines a failregex may span lines; they leave the window once matched."""
    tried = rules(r"^ a$<SKIPLINES>^ b <HOST>$", maxlines=3)
    assert (f"{DATE} a", f"{DATE} b 192.0.2.1") == only(judge(tried, "a", "x", "b 192.0.2.1")).lines
    assert "missed" == judge(tried, "b 192.0.2.1").status
    assert "missed" == judge(tried, "a", "x", "y", "b 192.0.2.1").status


def test_window_ignores_by_the_matched_lines():
    """An ignoreregex is tried on the matched lines only, which then leave the window."""
    tried = rules(r"^ b <HOST>\n", maxlines=2, ignoreregex=["x", r"^ b 192"])
    assert "matched" == judge(tried, "x", "b 198.51.100.1").status
    assert "ignored" == judge(tried, "b 192.0.2.1").status
    assert "matched" == judge(tried, "b 198.51.100.2").status


def test_window_with_a_prefregex():
    """The prefregex is tried on the window, and what it covers is taken with the failure."""
    tried = rules("^b <HOST>$", prefregex=r" p <F-CONTENT>b.*</F-CONTENT>$", maxlines=3)
    assert (f"{DATE} p b 192.0.2.1",) == only(judge(tried, "x", "p b 192.0.2.1")).lines


# ---- hostile lines


EXPLOSIVE = r"^ say (?:\w+ ?)*: <F-USER>(?:\S+|.*?)</F-USER> from <HOST>$"


def test_explosive_regex_matches_as_ever():
    """A regex that could be kept busy for ever gives the same verdict and groups as any other."""
    tried = rules(EXPLOSIVE)
    assert tried.failures[0].explodes
    match = only(judge(tried, "say hello my friend: joe doe from 192.0.2.1"))
    assert ("joe doe", "192.0.2.1", {"user", "ip4", "ip6", "dns"}) == (match.user, match.id, set(match.groups))


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("usual", [EXPLOSIVE, r"^ say (?:.*)(?:.*)(?:.*)(?:.*)(?:.*)(?:.*) <HOST>$"])
@pytest.mark.parametrize("prefregex", ["", r"^(?P<content>(?:.*.*)*)$"])
def test_hostile_line_takes_bounded_effort(joined, usual, prefregex):
    """A line made to keep the regexes busy is decided within moments, and the next line as ever."""
    tried = rules(usual, "^ a <HOST>$", "^ b <HOST>$", "^ c <HOST>$", prefregex=prefregex, ignoreregex=["(?:x*)*Y"])
    if joined:
        tried.prepare()
    began = time.thread_time()
    for text in ("say " + "a" * 60, "say " + "a " * 30_000 + "!", "say " + "x" * 3000 + " 192.0.2.999"):
        assert judge(tried, text).status == "missed"
    assert time.thread_time() - began < 20
    assert "matched" == judge(tried, "c 192.0.2.1").status


def test_line_that_is_given_up_is_counted():
    """When even that takes too long, the line is missed, and that is told."""
    tried = rules(r"(?:a?){300}(?:d*)*(?:b|c) <HOST>$", r"^ d <HOST>$")
    assert ("missed", 1) == (judge(tried, "a" * 60_000 + "b !").status, tried.given_up)


@pytest.mark.parametrize("length", [10, 140, 160, 1000, 10_000])
def test_long_lines_match_as_short_ones(length):
    """However long a line is, the verdict is that of the regex."""
    tried = rules(r"^ fail <F-USER>.*</F-USER> from <HOST>(?:.*)(?:.*)$", ignoreregex=["^ fail root"])
    user = "u" * length
    match = only(judge(tried, f"fail {user} from 192.0.2.1 port 22"))
    assert (user, "192.0.2.1") == (match.user, match.id)
    assert "ignored" == judge(tried, f"fail root{user} from 192.0.2.1").status
    assert "missed" == judge(tried, f"fall {user} from 192.0.2.1").status


# ---- errors


@pytest.mark.parametrize(
    ("options", "pattern", "reason"),
    [
        ({"failregex": ["fail"]}, "fail", "No failure-id group"),
        ({"failregex": ["<HOST>", ""]}, "", "empty"),
        ({"failregex": ["(<HOST>"]}, "(<HOST>", "unterminated"),
        ({"failregex": ["<HOST>"], "ignoreregex": ["["]}, "[", "unterminated"),
        ({"failregex": ["<HOST>"], "prefregex": "*"}, "*", "nothing to repeat"),
        ({"failregex": ["(?P<host>x)"]}, "(?P<host>x)", "No failure-id group"),
        ({"failregex": ["<HOST>"], "datepattern": "%Q"}, "%Q", "%Q"),
    ],
)
def test_unusable_pattern_is_named(options, pattern, reason):
    """What cannot be used is refused when the rules are made, with the text as the user wrote it."""
    with pytest.raises(PatternError, match=reason) as refused:
        FilterRules(**options)
    assert pattern == refused.value.pattern


def test_session_id_is_an_id():
    """A failregex of a session may leave the host to other lines."""
    assert "nofail" == judge(rules("^ <F-MLFID>s</F-MLFID> x"), "s x").status


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5), st.sampled_from(["warn", "no", "raw"]), st.sampled_from([1, 3]))
def test_any_line_gets_a_verdict(lines, usedns, maxlines):
    """Hostile lines give a verdict, and never an id that is neither address, name nor what an id tag caught."""
    tried = rules("<HOST>", r"(?P<mlfid>\w) <F-NOFAIL>\S*</F-NOFAIL>", usedns=usedns, maxlines=maxlines)
    for line in lines:
        dated = tried.date(line, NOW)
        result = tried.match(dated, tried.time_of(dated), check_all=True)
        assert result.status in {"matched", "nofail", "missed"}
        assert (result.status == "matched") == bool(result.matches)


@pytest.mark.parametrize("end", ["", " " * 70_000], ids=["a line", "a long line"])
def test_success_is_told_where_it_is_asked_for(end):
    """A line of `successregex` is no failure and names who gained access; failures go first, no address is nobody."""
    tried = rules(
        "^ bad <HOST>$", successregex=[r"^ (?:good|bad) (?:<F-USER>[a-z]+</F-USER> )?<HOST>\s*$"], usedns="no"
    )
    result = judge(tried, "good joe 192.0.2.1" + end)
    assert result.success is not None
    assert ("nofail", 0, "192.0.2.1", "joe") == (
        result.status, result.rule, result.success.host, result.success.user
    )  # fmt: skip
    failed = judge(tried, "bad 192.0.2.1")
    assert ("matched", None) == (failed.status, failed.success)
    nobody = judge(tried, "good joe 192.0.2.999" + end)
    assert ("missed", None) == (nobody.status, nobody.success)
    assert "missed" == judge(rules("^ bad <HOST>$"), "good joe 192.0.2.1" + end).status
    with pytest.raises(PatternError, match="No failure-id group"):
        rules("^bad <HOST>$", successregex=["^good"])
