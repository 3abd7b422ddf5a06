"""What a filter wants of a line."""

from __future__ import annotations

import pytest

from banguard.matching import FilterRules
from banguard.matching.prefilter import Wanted, build_scanner, holds_one, line_at, rarest_first, wanted

START = r"{^LN-BEG}"


def rules(*failregex, **more) -> FilterRules:
    return FilterRules(failregex=failregex, **({"datepattern": START} | more))


def test_texts_of_all_regexes():
    """Each regex adds what its matches must hold."""
    assert Wanted(frozenset({b"refused by", b"denied"})) == wanted(
        rules(r"refused by\d <HOST>", r"denied\d <HOST>"), "auto"
    )


def test_prefregex_narrows():
    """A line must also hold what the prefregex requires; alone that is enough when the failregexes require nothing."""
    prefix = r"^\S+ gatekeeper\[\d+\]: <F-CONTENT>.+</F-CONTENT>$"
    assert Wanted(frozenset({b"refused"}), frozenset({b"gatekeeper["})) == wanted(
        rules(r"refused\d <HOST>", prefregex=prefix), "auto"
    )
    assert Wanted(frozenset({b"gatekeeper["})) == wanted(rules(r"^<HOST>", prefregex=prefix), "auto")


def test_counting_the_hits_of_the_prefregex():
    """Who tells the hits of the prefregex wants its lines as well; all of them when it requires nothing."""
    prefix = r"^\S+ gatekeeper: <F-CONTENT>.+</F-CONTENT>$"
    both = Wanted(frozenset({b"refused", b"gatekeeper: "}))
    assert both == wanted(rules(r"refused\d <HOST>", prefregex=prefix), "auto", counting=True)
    assert None is wanted(
        rules(r"refused\d <HOST>", prefregex=r"^\d <F-CONTENT>.+</F-CONTENT>$"), "auto", counting=True
    )
    every = r"^(?:\S+ )?<F-CONTENT>.+</F-CONTENT>$"
    assert Wanted(frozenset({b"refused"})) == wanted(rules(r"refused\d <HOST>", prefregex=every), "auto", counting=True)


@pytest.mark.parametrize(
    "made",
    [
        rules(r"refused\d <HOST>", maxlines=2),
        rules(r"refused\d <HOST>", r"^<HOST>$"),
        rules(*["refused <HOST>"] * 4, ignoreregex=[r"^\d"]),
    ],
    ids=["several lines", "a regex without text", "ignored before"],
)
def test_every_line_is_wanted(made):
    """Where nothing is sure, no line is left out."""
    assert None is wanted(made, "auto")


def test_ignored_lines_are_told():
    """Where the ignoreregexes come first, lines that only these match are wanted: they are counted as ignored."""
    made = rules(*["refused\\d <HOST>"] * 4, ignoreregex=["monitoring"])
    assert Wanted(frozenset({b"refused", b"monitoring"})) == wanted(made, "auto")


@pytest.mark.parametrize(
    "datepattern", [None, "%Y-%m-%d", r"^x\d(%Y-%m-%d)", r"(?:^|x)(%Y)", r"(x)\[%Y", "{^LN-BEG}\n%Y", "^(%Y)|%m"]
)
def test_a_date_anywhere_cuts_texts(datepattern):
    """Unless all dates stand at the very beginning, a text may be cut by one."""
    assert {b"ref", b"used"} == wanted(rules(r"refused\d <HOST>", datepattern=datepattern), "auto").any_of


@pytest.mark.parametrize("datepattern", [r"^[^\[]*\[({DATE})", r"\[(%Y)", "{^LN-BEG}\n^<(%d)", r"^\W{0,2}(%d)\n^(%Y)"])
def test_dates_that_cut_no_text(datepattern):
    """Where each date stands at the beginning, or behind a character that is in no text, texts stay whole."""
    assert {b"refused"} == wanted(rules(r"refused\d <HOST>", datepattern=datepattern), "auto").any_of


@pytest.mark.parametrize("encoding", ["utf-16", "utf-7", "shift_jis", "cp037", "iso2022_jp", "nosuch", "gb18030"])
def test_encodings_that_hide_texts(encoding):
    """Where ASCII characters are not sure to be their own bytes, every line is wanted."""
    assert None is wanted(rules(r"refused\d <HOST>"), encoding)


@pytest.mark.parametrize(
    ("encoding", "others"),
    [
        ("utf-8", {"ſ".encode()}),
        ("auto", {"ſ".encode()}),
        ("latin-1", set()),
        ("ascii", set()),
        ("cp1252", set()),
        ("koi8-r", set()),
    ],
)
def test_letters_beside(encoding, others):
    """Where a regex ignores case, a line with another writing of its letters is wanted."""
    assert {b"refused", *others} == wanted(rules(r"(?i)refused\d <HOST>"), encoding).any_of


def test_dotless_i_of_turkish():
    """What a codec of one byte makes of the letters counts, not what UTF-8 does."""
    assert {b"bid", b"\xdd", b"\xfd"} == wanted(rules(r"(?i)bid\d <HOST>"), "iso8859-9").any_of


def test_small_helpers():
    """Lines are found by any place in them; the rarest text comes first."""
    assert (3, 6) == line_at(b"ab\ncde\n", 4)
    assert (3, 6) == line_at(b"ab\ncde", 5)
    assert holds_one(b"abc", [b"x", b"c"])
    assert not holds_one(b"abc", [b"x"])
    assert [b"abcdef", b" from "] == rarest_first([b" from ", b"abcdef"])


def test_an_engine_that_is_not_there():
    """A named engine is that or an error."""
    with pytest.raises(KeyError):
        build_scanner([], "nosuch")
