"""Tests of banguard.config.ini."""

from __future__ import annotations

import configparser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.config.ini import Tree, parse_text
from banguard.config.paths import distribution

NAMES = st.text("abcdefghij", min_size=1, max_size=6)
WORDS = st.text("abc xyz019_./-", min_size=1, max_size=12).map(str.strip).filter(bool)


def texts(text: str) -> dict[str, dict[str, str]]:
    file = parse_text(text, "x.conf")
    return {name: {key: value.text for key, value in options.items()} for name, options in file.sections.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a]\nKey = Value", {"key": "Value"}),
        ("[a]\nkey: value", {"key": "value"}),
        ("[a]\nkey = a;b", {"key": "a;b"}),
        ("[a]\nkey = a ; comment", {"key": "a"}),
        ("[a]\nkey = a # no comment", {"key": "a # no comment"}),
        ("[a]\nkey =\n  one\n  two", {"key": "\none\ntwo"}),
        ("[a]\nkey = one\n# gone\n  two", {"key": "one\ntwo"}),
        ("[a]\nkey = one\n  ; gone\n  two ; cut", {"key": "one\ntwo"}),
        ("[a]\nkey = one\n\n  two\n\n", {"key": "one\n\ntwo"}),
        ("[a]\nkey = b=c:d", {"key": "b=c:d"}),
        ("[a]\nkey =", {"key": ""}),
    ],
)
def test_the_dialect(text: str, expected: dict[str, str]) -> None:
    """Delimiters, comments and lines that go on mean what administrators know."""
    assert {"a": expected} == texts(text)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("[a]\nx = 1\nx = 2", 3, "x"),
        ("[a]\nx = 1\n[a]\ny = 2", 3, "a"),
        ("x = 1", 1, "x"),
        ("[a]\nno delimiter", 2, "no delimiter"),
    ],
)
def test_what_is_wrong_is_a_fault_with_its_line(text: str, line: int, word: str) -> None:
    """Doubled options and sections, and lines that are neither, are told with file and line; reading goes on."""
    fault = parse_text(text, "x.conf").faults[0]
    assert ("x.conf", line) == (fault.path, fault.line)
    assert word in fault.message


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.lists(WORDS, min_size=1, max_size=3), max_size=4), max_size=4))
def test_it_reads_what_configparser_reads(content: dict[str, dict[str, list[str]]]) -> None:
    """On the common dialect it agrees with the standard library."""
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = " + "\n    ".join(lines) + "\n" for key, lines in options.items())
        for name, options in content.items()
    )
    reader = configparser.RawConfigParser(inline_comment_prefixes=(";",), delimiters=("=", ":"))
    reader.read_string(text)
    assert {name: dict(reader[name]) for name in reader.sections()} == texts(text)


def test_every_value_knows_where_it_stands() -> None:
    """File and line, from 1."""
    value = parse_text("[a]\n\nx = 1\ny = 2", "x.conf").sections["a"]["y"]
    assert ("x.conf", 4) == (value.place.path, value.place.line)


def write(directory, **files: str) -> None:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)


def test_files_are_read_in_their_order_and_the_last_one_wins(tmp_path) -> None:
    """conf, d/*.conf, local, d/*.local: each overwrites single options."""
    write(
        tmp_path,
        jail_conf="[a]\nw = 1\nx = 1\ny = 1\nz = 1\n",
        jail_d__b_conf="[a]\nx = 2\ny = 2\nz = 2\n",
        jail_local="[a]\ny = 3\nz = 3\n",
        jail_d__a_local="[a]\nz = 4\n",
    )
    merged = Tree(str(tmp_path)).read("jail")
    assert ["1", "2", "3", "4"] == [merged.value("a", name).text for name in "wxyz"]
    assert "3" == merged.known("a", "z").text


def test_includes_come_before_and_after_and_never_in_circles(tmp_path) -> None:
    """`before` is overwritten, `after` overwrites; a file that includes itself, and one that is missing, do no harm."""
    write(
        tmp_path,
        jail_conf="[INCLUDES]\nbefore = one.conf\nafter = two.conf\n missing.conf\n[a]\nx = 0\ny = 0\n",
        one_conf="[INCLUDES]\nbefore = jail.conf\n[a]\nx = 1\nz = 1\n",
        one_local="[a]\nz = 2\n",
        two_conf="[a]\ny = 2\n",
    )
    merged = Tree(str(tmp_path)).read("jail")
    assert ["0", "2", "2"] == [merged.value("a", name).text for name in "xyz"]
    assert [] == list(merged.faults)


def test_a_file_that_is_no_text_is_a_fault(tmp_path) -> None:
    """Bytes that are not UTF-8 are told of with the file; the others are read."""
    (tmp_path / "jail.conf").write_bytes(b"[a]\nx = \xff\n")
    (tmp_path / "jail.local").write_text("[a]\ny = 1\n")
    merged = Tree(str(tmp_path)).read("jail")
    assert "1" == merged.value("a", "y").text
    assert any("jail.conf" in fault.path for fault in merged.faults)


def test_a_conditional_section_marks_its_options(tmp_path) -> None:
    """`[Init?family=inet6]` adds to [Init] under names with the condition."""
    write(tmp_path, x_conf="[Init]\nb = 4\n[Init?family=inet6]\nb = 6\n")
    own = Tree(str(tmp_path)).read("x").own("Init")
    assert {"b": "4", "b?family=inet6": "6"} == {name: value.text for name, value in own.items()}


PIECES = ["[a]", "[b]", "[DEFAULT]", "[b] tail]", "key", "KEY", "other", " = ", ":", "=", "value", ";", " ; ", "#", "\n", "\n", "\n  ", "\n\t", "\r\n", " ", "[", "]", "%", "é"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_it_reads_any_text_as_configparser_does(text: str) -> None:
    """Where the standard library finds nothing wrong, the values are the same; where it does, there is a fault."""
    reader = configparser.RawConfigParser(inline_comment_prefixes=(";",), delimiters=("=", ":"))
    file = parse_text(text, "x.conf")
    try:
        reader.read_string(text.replace("\r\n", "\n"))
    except configparser.Error:
        assert file.faults
        return
    assert not file.faults
    own = texts(text)
    defaults = own.pop("DEFAULT", {})
    assert dict(reader.defaults()) == defaults
    assert {name: dict(reader[name]) for name in reader.sections()} == {n: {**defaults, **o} for n, o in own.items()}


def test_each_line_of_a_value_has_its_number() -> None:
    """Comments between the lines do not shift them."""
    value = parse_text("[a]\nx = 1\n# no\n  2\n\n  3\n\n", "x.conf").sections["a"]["x"]
    assert ("1\n2\n\n3", (2, 4, 5, 6)) == (value.text, value.lines)


def test_the_overlay_of_an_include_is_read_even_without_it(tmp_path) -> None:
    """`before = x.conf` with an x.local only."""
    write(tmp_path, jail_conf="[INCLUDES]\nbefore = x.conf\n[a]\ny = 2\n", x_local="[a]\nx = 1\ny = 1\n")
    merged = Tree(str(tmp_path)).read("jail")
    assert ["1", "2"] == [merged.value("a", name).text for name in "xy"]


def test_what_the_directory_lacks_comes_from_the_vendor(tmp_path) -> None:
    """Files of the vendor are found by name, overlaid by those of the directory, and include across both."""
    write(
        tmp_path / "vendor",
        filter__d_conf="",
        x_conf="[INCLUDES]\nbefore = common.conf\n[a]\nx = vendor\ny = vendor\n",
        common_conf="[a]\nz = vendor\nw = vendor\n",
    )
    write(
        tmp_path / "own",
        x_local="[a]\ny = own\n",
        common_local="[a]\nz = own\n",
        mine_conf="[INCLUDES]\nbefore = common.conf\n[a]\nx = mine\n",
    )
    tree = Tree(str(tmp_path / "own"), str(tmp_path / "vendor"))
    assert ["vendor", "own", "own", "vendor"] == [tree.read("x").value("a", name).text for name in "xyzw"]
    assert ["mine", "own", "vendor"] == [tree.read("mine").value("a", name).text for name in "xzw"]
    assert None is tree.read("nothing")


def test_a_file_of_the_directory_hides_that_of_the_vendor(tmp_path) -> None:
    """Who has a file of that name has the whole say."""
    write(tmp_path / "vendor", x_conf="[a]\nx = vendor\ny = vendor\n")
    write(tmp_path / "own", x_conf="[a]\nx = own\n")
    merged = Tree(str(tmp_path / "own"), str(tmp_path / "vendor")).read("x")
    assert ("own", None) == (merged.value("a", "x").text, merged.value("a", "y"))


def test_hidden_files_are_not_read(tmp_path):
    """A name that begins with a dot is no part of the configuration, as a shell's `*.conf` has it."""
    (tmp_path / "jail.d").mkdir()
    for name in ("a.conf", ".b.conf", ".conf"):
        (tmp_path / "jail.d" / name).write_text("[x]\n")
    assert [str(tmp_path / "jail.d" / "a.conf")] == Tree(str(tmp_path)).find("jail")


def test_an_include_can_be_that_of_the_distribution(tmp_path):
    """`%(banguard_distribution)s` in [INCLUDES] is what the system is; a file that is not there is left out."""
    (tmp_path / "jail.conf").write_text("[INCLUDES]\nbefore = paths-%(banguard_distribution)s.conf\n[x]\na = 1\n")
    tree = Tree(str(tmp_path))
    assert {"x"} == tree.read("jail").sections.keys() - {"INCLUDES"}
    (tmp_path / f"paths-{distribution()}.conf").write_text("[DEFAULT]\nlog = /x\n")
    assert "/x" == Tree(str(tmp_path)).read("jail").value("x", "log").text
