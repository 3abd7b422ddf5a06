from __future__ import annotations

import os

import pytest

from banguard.sources.discover import any_file, discover, is_glob, matches


@pytest.fixture
def tree(tmp_path):
    """A directory that is no link, with some logs."""
    top = tmp_path.resolve()
    for name in ("a.log", "b.log", ".hidden.log", "sub1/error.log", "sub2/error.log", "sub2/other"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text("x\n")
    return top


def files(tree, pattern):
    return [os.path.relpath(path, tree) for path in discover([f"{tree}/{pattern}"]).files[f"{tree}/{pattern}"]]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a.log", ["a.log"]),
        ("missing.log", ["missing.log"]),
        ("*.log", ["a.log", "b.log"]),
        (".*.log", [".hidden.log"]),
        ("[ab].log", ["a.log", "b.log"]),
        ("?.log", ["a.log", "b.log"]),
        ("sub*/error.log", ["sub1/error.log", "sub2/error.log"]),
        ("*/*", ["sub1/error.log", "sub2/error.log", "sub2/other"]),
        ("nowhere/*.log", []),
        ("*", ["a.log", "b.log"]),
    ],
)
def test_patterns_are_expanded(tree, pattern, expected):
    """A path stands for itself, a glob for the files that match; directories do not."""
    assert expected == files(tree, pattern)


def test_rotated_and_compressed_files_are_no_logs(tree):
    """What rotation made of a log that matches as well is read as part of it."""
    for name in ("a.log.1", "a.log-20261121", "a-20261121.log", "a.1.log", "c.log.2.gz", "d.log.1", "a-2.log"):
        (tree / name).write_text("x\n")
    assert ["a-2.log", "a.log", "b.log"] == files(tree, "*.log")
    assert ["a-2.log", "a.log", "b.log", "d.log.1"] == files(tree, "*.log*")
    assert ["a.log.1"] == files(tree, "a.log.1")


def test_special_files_do_not_match_a_glob(tree):
    """A FIFO is never opened because of a glob."""
    os.mkfifo(tree / "fifo.log")
    os.symlink("nowhere", tree / "dangling.log")
    assert ["a.log", "b.log"] == files(tree, "*.log")


def test_new_files_are_found_again(tree):
    """Every expansion looks anew."""
    assert ["a.log", "b.log"] == files(tree, "*.log")
    (tree / "c.log").write_text("")
    os.unlink(tree / "a.log")
    assert ["b.log", "c.log"] == files(tree, "*.log")


def test_strange_names(tree):
    """A name that is no UTF-8 is a name like others."""
    with open(os.fsencode(tree) + b"/bad\xff.log", "w"):
        pass
    assert ["a.log", "b.log", "bad\udcff.log"] == files(tree, "*.log")


def test_directories_to_watch(tree):
    """The directory of the log is watched for its name, those above only for themselves."""
    found = discover([f"{tree}/sub1/error.log"])
    assert {"error.log"} == found.watches[f"{tree}/sub1"]
    assert set() == found.watches[str(tree)]
    assert {(f"{tree}/sub1", "error.log"): {f"{tree}/sub1/error.log"}} == found.names
    assert found.matters(f"{tree}/sub1", "error.log")
    assert not found.matters(f"{tree}/sub1", "other")
    assert not found.matters("/unknown", "error.log")


def test_missing_directory_is_watched_for_in_its_parent(tree):
    """What is missing is waited for in the deepest directory that is there."""
    found = discover([f"{tree}/new/deeper/x.log"])
    assert {"new"} == found.watches[str(tree)]
    assert f"{tree}/new" not in found.watches


def test_directories_of_a_glob(tree):
    """A wildcard in a directory watches where new directories may come, and what is in those that match."""
    found = discover([f"{tree}/sub*/error.log"])
    assert found.matters(str(tree), "sub3")
    assert not found.matters(str(tree), "other")
    assert {"error.log"} == found.watches[f"{tree}/sub1"]


def test_links_are_followed(tree):
    """A change of a link, of a link on the way, or of the target concerns the log by its own name."""
    (tree / "data").mkdir()
    (tree / "data" / "real.log").write_text("x\n")
    os.symlink("data/real.log", tree / "hop")
    os.symlink("hop", tree / "link.log")
    log = f"{tree}/link.log"
    found = discover([log])
    concerned = {place for place, logs in found.names.items() if logs == {log}}
    assert {(str(tree), "link.log"), (str(tree), "hop"), (f"{tree}/data", "real.log")} == concerned
    assert {"link.log", "hop"} <= found.watches[str(tree)]
    assert {"real.log"} <= found.watches[f"{tree}/data"]


def test_linked_directory(tree):
    """A directory that is a link may be switched; the log keeps the name the user gave it."""
    os.symlink("sub1", tree / "current")
    found = discover([f"{tree}/current/error.log"])
    assert (f"{tree}/current/error.log",) == found.files[f"{tree}/current/error.log"]
    assert {f"{tree}/current/error.log"} == found.names[f"{tree}/sub1", "error.log"]
    assert found.matters(str(tree), "current")


@pytest.mark.parametrize(
    "make",
    [lambda path: os.symlink(path, path), lambda path: os.symlink("..", path), lambda path: os.symlink("/", path)],
)
def test_links_that_lead_nowhere(tree, make):
    """Loops and links to directories end."""
    make(tree / "loop.log")
    assert (f"{tree}/loop.log",) == discover([f"{tree}/loop.log"]).files[f"{tree}/loop.log"]
    assert ["a.log", "b.log"] == files(tree, "*.log")


def test_untidy_paths(tree):
    """Doubled slashes and dots change nothing, and the name stays as the user wrote it."""
    pattern = f"{tree}//sub1/../a.log"
    found = discover([pattern])
    assert (pattern,) == found.files[pattern]
    assert {pattern} == found.names[str(tree), "a.log"]


@pytest.mark.parametrize(
    "path, pattern, expected",
    [
        ("/a/b.log", "/a/*.log", True),
        ("/a/b.log", "/a/b.log", True),
        ("/a/c/b.log", "/a/*.log", False),
        ("/a/c/b.log", "/a/*/*.log", True),
        ("/a/b.log", "/a//*.log", True),
    ],
)
def test_matches(path, pattern, expected):
    """Whether a path could be of a glob, without looking."""
    assert expected == matches(path, pattern)


def test_any_file(tree):
    """Whether there is any file to read."""
    assert any_file([f"{tree}/missing", f"{tree}/*.log"])
    assert not any_file([f"{tree}/missing", f"{tree}/*.txt"])


@pytest.mark.parametrize("pattern, expected", [("/a", False), ("/a*", True), ("/a?", True), ("/[ab]", True)])
def test_is_glob(pattern, expected):
    """A glob has a wildcard."""
    assert expected == is_glob(pattern)
