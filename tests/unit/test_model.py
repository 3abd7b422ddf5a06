"""Tests of banguard.model."""

from __future__ import annotations

import dataclasses

import pytest

from banguard import model


@pytest.mark.parametrize(("until", "expected"), [(None, -1), (1600.0, 600), (1600.4, 600)])
def test_bantime_of_a_ban(until: float | None, expected: int) -> None:
    """The length is in whole seconds, -1 for ever."""
    assert expected == model.Ban("sshd", "192.0.2.1", 1000.0, until).bantime


def test_the_address_of_a_ban_may_differ_from_its_id() -> None:
    """A ban of a user is carried out on the address that the data names."""
    assert "192.0.2.1" == model.Ban("web", "alice", 0.0, None, data={"ip": "192.0.2.1"}).address
    assert "192.0.2.1" == model.Ban("web", "192.0.2.1", 0.0, None).address


def test_what_travels_cannot_be_changed() -> None:
    """Values on the pipeline are frozen."""
    ban = model.Ban("sshd", "192.0.2.1", 0.0, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ban.jail = "other"  # type: ignore[misc]
