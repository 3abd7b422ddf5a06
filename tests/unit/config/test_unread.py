"""What lies in the configuration and is never read is found; what is read is not."""

from __future__ import annotations

import pytest

from banguard.config.ini import Tree
from banguard.config.schema import Severity
from banguard.config.unread import unread
from banguard.message import code_of
from support.samples import CONFIG

GOOD = {
    "jail.conf": "[DEFAULT]\nbantime = 1h\n[sshd]\nfilter = sshd\n",
    "banguard.conf": "[Definition]\nloglevel = INFO\n[Thread]\nstacksize = 0\n",
    "filter.d/sshd.conf": "[Definition]\nfailregex = ^<HOST>$\n",
    "filter.d/sshd.local": "[Definition]\nmaxlines = 1\n",
    "filter.d/README": "read me\n",
    "filter.d/scripts/check": "#!/bin/sh\n",
    "action.d/own.py": "",
    "jail.d/mine.local": "[sshd]\nenabled = true\n",
    "jail.local": "[DEFAULT]\nbantime = 2h\n",
    "paths-own.conf": "[DEFAULT]\n",
}


def found(tmp_path, used=("sshd",), vendor=None, **more):
    """Return code, file and proposal of all that is found, with files *more* (name → text) beside the good ones."""
    files = {**GOOD, **more.get("files", {})}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.symlink_to(tmp_path / "nowhere")
        elif text == "/":
            path.mkdir()
        else:
            path.write_text(text)
    tree = Tree(str(tmp_path), vendor)
    return [
        (code_of(each.message), each.place.path.removeprefix(f"{tmp_path}/"), each.severity.value, each.proposal)
        for each in unread(tree, {"filter.d": frozenset(used)})
    ]


def test_nothing_is_said_of_what_is_read(tmp_path):
    """Files with their endings, scripts in folders, notes, overlays: all fine."""
    assert [] == found(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "code", "severity", "proposal"),
    [
        ("filter.d/x.conf.txt", "", "file-unread", "warning", "rename it to x.conf"),
        ("filter.d/x.py", "", "file-unread", "warning", "rename it to x.conf"),
        ("jail.d/x", "", "file-unread", "warning", "rename it to x.conf"),
        ("jail.d/.x.conf", "", "file-unread", "warning", "rename it to x.conf"),
        ("jail.d/x.conf.bak", "", "file-unread", "note", ""),
        ("jail.d/x.conf~", "", "file-unread", "note", ""),
        ("action.d/x.conf.dpkg-old", "", "file-unread", "note", ""),
        ("jail.d/x.local", None, "file-dangling", "warning", ""),
        ("jail.d/x.local", "/", "file-unread", "warning", ""),
        ("jail.locl", "", "file-unread", "warning", ""),
        ("jail.conf.save", "", "file-unread", "note", ""),
        ("filter.d/sshdd.local", "", "file-unused", "warning", ""),
    ],
)
def test_files_that_are_never_read(tmp_path, name, text, code, severity, proposal):
    """Each is named, with what to do about it; what was put aside is only noted."""
    assert [(code, name, severity, proposal)] == found(tmp_path, files={name: text})


def test_an_overlay_that_a_jail_uses_is_read(tmp_path):
    """A filter may be a .local file alone."""
    assert [] == found(tmp_path, used=("own",), files={"filter.d/own.local": "[Definition]\n"})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("jail.local", "[shhd]\nmaxretry = 2\n", "did you mean 'sshd'?"),
        ("jail.local", "[Default]\nmaxretry = 2\n", "did you mean 'DEFAULT'?"),
        ("banguard.local", "[Definitions]\nloglevel = INFO\n", "did you mean 'Definition'?"),
        ("filter.d/own.conf", "[definition]\nfailregex = x\n", "did you mean 'Definition'?"),
    ],
)
def test_sections_that_nothing_reads(tmp_path, name, text, words):
    """The section is named, and the one that was probably meant."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    files = {**GOOD, name: text}
    for each, content in files.items():
        path = tmp_path / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (problem,) = unread(Tree(str(tmp_path), None), {})
    assert "section-unknown" == code_of(problem.message)
    assert words in problem.message
    assert (f"{tmp_path}/{name}", 2) == (problem.place.path, problem.place.line)


def test_a_file_that_hides_ours_is_noted(tmp_path):
    """A copy that was changed keeps updates away; a copy that is the same does no harm."""
    with open(f"{CONFIG}/filter.d/dovecot.conf", encoding="utf-8") as file:
        same = file.read()
    files = {"filter.d/dovecot.conf": same, "jail.conf": "[sshd]\n", "filter.d/postfix.conf": "[Definition]\n"}
    everything = found(tmp_path, vendor=CONFIG, files=files)
    hidden = [(name, proposal) for code, name, _, proposal in everything if code == "file-hides"]
    assert (
        "filter.d/postfix.conf",
        "put what differs into filter.d/postfix.local, and updates reach the rest",
    ) in hidden
    assert "filter.d/dovecot.conf" not in dict(hidden)


def test_the_shipped_configuration_is_clean():
    """Nothing in it is left unread."""
    assert [] == [each for each in unread(Tree(CONFIG, None), {}) if each.severity is not Severity.NOTE]
