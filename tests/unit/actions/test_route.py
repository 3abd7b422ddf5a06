"""Tests of banguard.actions.route; with real routes in tests/contracts and tests/system."""

from __future__ import annotations

import pytest

from banguard.actions.route import RouteAction, Spec
from banguard.errors import ActionError


def test_defaults():
    """Without a word: unreachable, in the main table."""
    assert Spec("unreachable", "main") == Spec.of({})


@pytest.mark.parametrize(
    ("option", "text"), [("blocktype", "drop"), ("table", "a; b"), ("table", "x" * 40), ("table", "-1")]
)
def test_what_cannot_be_meant_is_refused(option, text):
    """A bad property is named."""
    with pytest.raises(ActionError, match=option):
        RouteAction.verify({option: text})
