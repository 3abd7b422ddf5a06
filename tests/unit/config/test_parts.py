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
