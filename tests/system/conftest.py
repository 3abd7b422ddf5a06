"""Private networks and real servers for every test in here; skipped with the reason where the machine cannot."""

from __future__ import annotations

import functools
import os

import pytest

from support.machine import Banguard, Namespace, Network, why_not

_HERE = os.path.dirname(os.path.abspath(__file__))
_reason = functools.cache(why_not)


def pytest_collection_modifyitems(items):
    for item in items:
        if str(item.path).startswith(_HERE):
            item.add_marker(pytest.mark.system)
            if _reason() is not None:
                item.add_marker(pytest.mark.skip(reason=_reason()))


@pytest.fixture
def network():
    """A server machine and a client machine with a wire between them."""
    made = Network()
    yield made
    made.close()


@pytest.fixture
def machine():
    """One machine without a wire."""
    made = Namespace()
    yield made
    made.close()


@pytest.fixture
def banguard(request, tmp_path):
    """Make servers: `banguard(namespace)`; they are ended after the test."""
    made = []

    def make(namespace: Namespace, **more: str) -> Banguard:
        directory = tmp_path / f"banguard{len(made)}"
        directory.mkdir()
        made.append(Banguard(namespace, str(directory), **more))
        return made[-1]

    yield make
    for server in made:
        server.close()
