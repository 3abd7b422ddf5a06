"""Tests of banguard.config.expand."""

from __future__ import annotations

import pytest

from banguard.config.expand import Scope, Tags, names_in, parse_options, parse_spec, parse_specs
from banguard.config.ini import Sections, parse_text
from banguard.errors import ConfigError


def scope(*files: str, section: str = "a", **variables: str) -> Scope:
    sections = Sections()
    for number, text in enumerate(files):
        sections.merge(parse_text(text, f"{number}.conf"))
    return Scope(sections, section, variables, constants={"fixed": "constant"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = %(y)s\ny = 1", "1"),
        ("x = %(Y)s\ny = 1", "1"),
        ("x = 100%%", "100%"),
        ("x = %(d)s", "default"),
        ("x = %(__name__)s", "a"),
        ("x = %(other/z)s", "there"),
        ("x = %(default/d)s", "default"),
        ("x = %(fixed)s", "constant"),
        ("x = %(y)s\ny = %(z)s\nz = deep", "deep"),
    ],
)
def test_references(text: str, expected: str) -> None:
    """A name is looked for in the section, [DEFAULT] and constants, or in the section it names."""
    assert expected == scope(f"[DEFAULT]\nd = default\n[other]\nz = there\n[a]\n{text}\n").text("x")


def test_known_is_what_was_there_before() -> None:
    """A later file can add to what an earlier one said."""
    assert "1 2" == scope("[a]\nx = 1\n", "[a]\nx = %(known/x)s 2\n").text("x")


def test_variables_beat_what_the_file_says() -> None:
    """Options in brackets and of the jail come first."""
    assert "loud" == scope("[a]\nx = %(mode)s\nmode = quiet\n", mode="loud").text("x")


@pytest.mark.parametrize("text", ["%(nowhere)s", "%(x)s", "%x"])
def test_references_that_lead_nowhere_are_errors_with_a_place(text: str) -> None:
    """Unknown names, circles and bad percent signs are told with file and line."""
    with pytest.raises(ConfigError) as caught:
        scope(f"[a]\nx = {text}\ny = %(x)s\n").text("x")
    assert ("0.conf", 2) == (caught.value.path, caught.value.line)


def test_tags_are_replaced_from_the_inside_out() -> None:
    """`<mode-<kind>>` needs two rounds; unknown tags and kept ones stay."""
    values = {"kind": "b", "mode-b": "<deep>", "deep": "done", "time": "never"}
    tags = Tags(values.get, kept={"time"})
    assert "done <HOST> <time> <<stdin" == tags.expand("<mode-<kind>> <HOST> <time> <<stdin")


def test_a_tag_that_holds_itself_is_an_error() -> None:
    """A circle is named."""
    values = {"a": "<b>", "b": "<a>"}
    with pytest.raises(ConfigError, match="refers to itself"):
        Tags(values.get).expand("<a>", "x")


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("sshd", "sshd", {}),
        ("sshd[]", "sshd", {}),
        ("sshd[mode=ddos, x=a b ]", "sshd", {"mode": "ddos", "x": "a b"}),
        ("a[x='1,2]', y=\"3\n4\"][z=5][x=6]", "a", {"x": "6", "y": "3\n4", "z": "5"}),
        ("a[b?family=inet6=X,]", "a", {"b?family=inet6": "X"}),
        ('a[x=a"b]', "a", {"x": 'a"b'}),
    ],
)
def test_bracket_options(text: str, name: str, options: dict[str, str]) -> None:
    """Quotes, groups and conditions of the grammar; a later key wins."""
    spec = parse_spec(text)
    assert (name, options) == (spec.name, dict(spec.options))


@pytest.mark.parametrize("text", ["a[x=1", "a[x]", 'a[x="1"2]', "a[x=1]b", "[x=1]"])
def test_bad_brackets_are_errors(text: str) -> None:
    """What does not close, has no value, or goes on after its end is refused."""
    with pytest.raises(ValueError):
        parse_spec(text)


def test_lists_are_split_outside_of_brackets() -> None:
    """Blanks and line ends separate; a group after a blank belongs to the item before it."""
    specs = parse_specs("a[x='1 2'] [y=3]\n  b\nc[z=4]")
    assert [("a", {"x": "1 2", "y": "3"}), ("b", {}), ("c", {"z": "4"})] == [(s.name, dict(s.options)) for s in specs]


def test_options_alone() -> None:
    """`ignorecache` has options without a name."""
    assert {"key": "<ip>", "max-count": "100"} == parse_options('key="<ip>", max-count=100')


def test_names_that_are_referred_to() -> None:
    """Everything in `%(…)s` and `<…>` counts as used."""
    file = parse_text("[a]\nx = %(one)s <two> %(sec/three)s\n", "x.conf")
    assert {"one", "two", "three"} <= names_in(file.sections["a"].values())


def test_known_reaches_back_through_every_file() -> None:
    """Three files that each add to the one before."""
    files = ["[a]\nx = 1\n", "[a]\nx = %(known/x)s 2\n", "[a]\nx = %(known/x)s 3\n"]
    assert "1 2 3" == scope(*files).text("x")


def test_a_file_that_is_read_twice_adds_once() -> None:
    """Two includes may lead to the same file."""
    sections = Sections()
    sections.merge(parse_text("[a]\nx = 1\n", "0.conf"))
    more = parse_text("[a]\nx = %(known/x)s 2\n", "1.conf")
    sections.merge(more)
    sections.merge(more)
    assert "1 2" == Scope(sections, "a").text("x")


def test_known_asks_the_given_source_first() -> None:
    """A jail extends what its filter says, taken as it is: percent signs are not read again."""
    sections = Sections()
    sections.merge(parse_text("[a]\nx = %(known/x)s more\n", "0.conf"))
    assert "^%Y more" == Scope(sections, "a", known={"x": "^%Y"}.get).text("x")


def test_a_variable_is_no_text_of_a_file() -> None:
    """What was expanded where it was given may hold percent signs and names that nobody knows."""
    assert "100% %(nobody)s" == scope("[a]\nx = %(mode)s\n", mode="100% %(nobody)s").text("x")


@pytest.mark.parametrize(
    "text",
    [
        "x0 = end\n" + "".join(f"x{n + 1} = %(x{n})s\n" for n in range(200)),
        "x0 =\n" + "".join(f"x{n + 1} = %(x{n})s%(x{n})s\n" for n in range(200)),
        "x0 = 0123456789\n" + "".join(f"x{n + 1} = " + f"%(x{n})s" * 50 + "\n" for n in range(200)),
    ],
    ids=["deep", "wide", "long"],
)
def test_references_that_never_end_are_errors(text: str) -> None:
    """Neither the stack, nor time, nor memory is used up."""
    with pytest.raises(ConfigError, match="without end"):
        scope(f"[a]\n{text}").text("x200")


def test_tags_that_never_end_are_errors() -> None:
    """Deep ones and growing ones."""
    deep = {f"x{n + 1}": f"<x{n}>" for n in range(200)}
    long = {f"x{n + 1}": f"<x{n}>" * 50 for n in range(5)} | {"x0": "0123456789" * 10}
    for values, name in ((deep, "x200"), (long, "x5")):
        with pytest.raises(ConfigError, match="without end"):
            Tags(values.get).expand(f"<{name}>")


def test_a_tag_may_be_completed_by_what_stands_behind_it() -> None:
    """The text is looked at again from where the new text begins."""
    assert "<y" == Tags({"x": "<y>>", "y": "<y"}.get).expand("<x>")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a[x=' 1 ']", "1"),
        ('a[x= "1"]', '"1"'),
        ('a[x="1]', '"1'),
        ("a[x==1]", "=1"),
        ("a[x=[1]", "[1"),
        ("a[x=]", ""),
        ('a[x="1" ]', "1"),
        ("a[x=1\n2]", "1\n2"),
        ('a[x="%(y)s <z>"]', "%(y)s <z>"),
    ],
)
def test_odd_values_in_brackets(text: str, value: str) -> None:
    """A quote counts right after the equals sign, and only when there is a second one."""
    assert {"x": value} == dict(parse_spec(text).options)


@pytest.mark.parametrize("text", ["a[x=1,,y=2]", "a[,x=1]", "a[x = 1]", "a[x?y=1]", "a[x=1]]", "a[x=1],b", "a]"])
def test_bad_brackets_in_lists_are_errors(text: str) -> None:
    """Commas are no separators of a list, and nothing may follow the brackets."""
    if text == "a]":
        assert ["a]"] == [spec.name for spec in parse_specs(text)]  # a file that is not there
        return
    with pytest.raises(ValueError):
        parse_specs(text)
