"""Tests of banguard.config.parts."""

from __future__ import annotations

from banguard.config.ini import Sections, parse_text
from banguard.config.parts import Parts

TEXT = """
[Definition]
colour = red
greeting = %(colour)s <colour> <word> <ip>
[Init]
word = init
colour = green
block = four
[Init?family=inet6]
block = six
"""


def parts(brackets: dict[str, str] | None = None, variables: dict[str, str] | None = None, **more) -> Parts:
    sections = Sections()
    sections.merge(parse_text(TEXT, "x.conf"))
    return Parts(sections, brackets or {}, variables or {}, **more)


def test_brackets_beat_init_and_init_beats_definition() -> None:
    """In tags the order is brackets, [Init], [Definition]; what is unknown stays."""
    assert parts().text("greeting").endswith("green init <ip>")
    assert "blue blue init <ip>" == parts({"colour": "blue"}).text("greeting")


def test_variables_of_the_jail_beat_the_file_in_references() -> None:
    """`%(mode)s` in a filter follows the jail."""
    assert parts(variables={"colour": "black"}).text("greeting").startswith("black ")


def test_an_option_in_brackets_stands_for_all_families() -> None:
    """The value of the file for IPv6 goes when the jail gives one; a conditional one in brackets is only for its family."""
    assert "block?family=inet6" in parts().init
    assert "block?family=inet6" not in parts({"block": "drop"}).init


def test_what_is_settled_at_run_time_stays() -> None:
    """Conditional options, and names that are kept, are not replaced."""
    sections = Sections()
    sections.merge(parse_text(TEXT + "[Definition?x=y]\n", "x.conf"))
    assert "<block> <bantime>" == Parts(sections, {"do": "<block> <bantime>"}, {}, kept={"bantime"}).text("do")


def test_nothing_of_that_name() -> None:
    """None tells it from empty text."""
    assert parts().text("nowhere") is None


def of_files(*texts: str, brackets: dict[str, str] | None = None, **more) -> Parts:
    sections = Sections()
    for text in texts:
        sections.merge(parse_text(text, "x.conf"))
    return Parts(sections, brackets or {}, {}, **more)


def test_known_is_what_an_overlay_put_aside() -> None:
    """`<known/x>` is the value before the overlay, seen with what was then there; without an overlay it is the value."""
    base = "[DEFAULT]\nd = 0\n[Definition]\nx = %(d)s\nd = 1\ny = 2\n"
    assert "1" == of_files(base).text("known/x")
    overlaid = of_files(base, "[Definition]\nx = new\n")
    assert ("0", "2", "new") == (overlaid.text("known/x"), overlaid.text("known/y"), overlaid.text("x"))


def test_known_is_the_own_value_of_an_action_whose_option_a_jail_gives() -> None:
    """`chain=<known/chain>` keeps the default of the action."""
    action = of_files(
        "[Definition]\nban = <chain>\n[Init]\nchain = INPUT\n", brackets={"chain": "<known/chain>,FORWARD"}
    )
    assert "INPUT,FORWARD" == action.text("ban")


def test_a_section_can_be_chosen_by_a_tag() -> None:
    """`<lt_<kind>/x>` takes x from the section of that name, which sees [DEFAULT] and itself."""
    text = "[DEFAULT]\nd = D\n[Definition]\nline = <lt_<kind>/x> <lt_none/x>\n[lt_file]\nx = %(d)s%(own)s <HOST>\nown = O\n"
    assert "DO <HOST> <lt_none/x>" == of_files(text, brackets={"kind": "file"}).text("line")


def test_the_second_look_at_a_filter() -> None:
    """[Init] beats [Definition] in references, and what is in [DEFAULT] only is as at the first look."""
    text = "[DEFAULT]\nlate = %(n)s\nn = 0\n[Definition]\nfailregex = %(y)s <late> %(n)s <tried>\ny = file\ntried = %(n)s\n"
    files = (text, "[Init]\ny = init\n")
    early = of_files(*files, brackets={"n": "1"}, tentative=True)
    assert "file 1 1 0" == early.text("failregex")
    assert "init 1 1 1" == of_files(*files, brackets={"n": "1"}, early=early).text("failregex")


def test_what_a_jail_knows_of_its_filter() -> None:
    """Options and variables of the filter itself, but not what only [DEFAULT] has."""
    filter_ = of_files("[DEFAULT]\nd = 1\n[Definition]\nx = 2\n")
    assert ("2", None) == (filter_.own_text("x"), filter_.own_text("d"))


def test_each_line_knows_where_it_stands() -> None:
    """A line that is but a reference is followed to what it refers to."""
    text = "[Definition]\nfailregex = %(more)s\n  <kind-<mode>>\n  last <HOST>\nmore = one\n  two\nkind-a = three\nmode = a\n"
    found = of_files(text).origins("failregex")
    assert [(5, "one"), (6, "two"), (7, "three"), (4, "last <HOST>")] == [(place.line, line) for place, line in found]
