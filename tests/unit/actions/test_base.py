from __future__ import annotations

import pytest

from banguard.actions.base import NATIVE_ACTIONS, Step, native_action
from banguard.errors import ActionError
from banguard.model import Ban, Change

OLD = Ban("j", "192.0.2.1", 100.0, 200.0)
LONGER = Ban("j", "192.0.2.1", 100.0, 300.0)
OTHER = Ban("j", "192.0.2.1", 150.0, 300.0)


@pytest.mark.parametrize(
    ("old", "new", "kind", "ban"),
    [
        (None, OLD, Change.BAN, OLD),
        (OLD, None, Change.UNBAN, OLD),
        (OLD, LONGER, Change.EXTEND, LONGER),
        (OLD, OTHER, Change.BAN, OTHER),
    ],
)
def test_what_a_step_is(old, new, kind, ban):
    """The kind follows from what is held and what is wanted."""
    step = Step("m", "192.0.2.1", old, new)
    assert (kind, ban) == (step.kind, step.ban)


@pytest.mark.parametrize("name", NATIVE_ACTIONS)
def test_every_native_action_can_be_loaded(name):
    """The table names modules and classes that exist."""
    assert callable(native_action(name))


def test_an_unknown_native_action_is_told_with_the_known_ones():
    """The operator sees what there is."""
    with pytest.raises(ActionError, match="unknown native action 'iptable'; known are firewalld, .*, nftables, null"):
        native_action("iptable")
