"""Tests of banguard.actions.ufw; with the real ufw in tests/system."""

from __future__ import annotations

import pytest

from banguard.actions.ufw import Spec, Ufw, UfwAction
from banguard.errors import ActionError
from banguard.run import Finished


def comment(text):
    return text.encode().hex()


def test_our_rules_are_told_by_their_mark(tmp_path):
    """Rules of others, of other jails and without a comment are not ours."""
    path = tmp_path / "user.rules"
    path.write_text(
        f"### tuple ### reject any any 0.0.0.0/0 any 192.0.2.1 in comment={comment('banguard web')}\n"
        f"### tuple ### reject any any 0.0.0.0/0 any 192.0.2.2 in comment={comment('banguard sshd')}\n"
        "### tuple ### deny any any 0.0.0.0/0 any 192.0.2.3 in\n"
        f"### tuple ### reject any any 0.0.0.0/0 any 203.0.113.0/24 in comment={comment('banguard web')}\n"
    )
    calls = []

    def runner(argv, **_):
        calls.append(argv)
        return Finished(0)

    made = Ufw(runner, files=(str(path), str(tmp_path / "none")))
    spec = Spec.of({"name": "web"})
    assert {"192.0.2.1", "203.0.113.0/24"} == set(made.held(spec))
    calls.clear()
    made.remove(spec, ["192.0.2.1", "192.0.2.9"])
    made.add(spec, {"203.0.113.0/24": None, "192.0.2.5": None}, 0.0)
    assert [
        ["ufw", "delete", "reject", "from", "192.0.2.1", "to", "any"],
        ["ufw", "prepend", "reject", "from", "192.0.2.5", "to", "any", "comment", "banguard web"],
    ] == calls


@pytest.mark.parametrize(("option", "text"), [("blocktype", "drop"), ("application", "a;b"), ("application", "-x")])
def test_what_cannot_be_meant_is_refused(option, text):
    """A bad property is named."""
    with pytest.raises(ActionError, match=option):
        UfwAction.verify({option: text})
