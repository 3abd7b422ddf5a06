from __future__ import annotations

from banguard.actions.base import Step
from banguard.actions.null import NullAction
from banguard.model import Ban


def test_it_remembers_what_it_is_told():
    """Members, addresses and ends, as a firewall would hold them."""
    one = NullAction()
    ban = Ban("sshd", "192.0.2.1", 0.0, 50.0)
    past = Ban("sshd", "192.0.2.2", 0.0, 5.0)
    ever = Ban("sshd", "192.0.2.3", 0.0, None)
    one.join("m", {}, [ban, past], 10.0)
    assert {"m": {"192.0.2.1": 50.0}} == one.members
    one.apply([Step("m", "192.0.2.3", None, ever), Step("m", "192.0.2.1", ban, None)], 10.0)
    assert {"m": {"192.0.2.3": None}} == one.members
    one.rebuild({"m": [ban]}, 10.0)
    assert {"m": {"192.0.2.1": 50.0}} == one.members
    one.leave("m")
    assert {} == one.members
    assert 4 == one.transactions


def test_places():
    """One place, or one for each table."""
    assert ["null", "null x"] == [NullAction.place({}), NullAction.place({"table": "x"})]
    assert 7 == NullAction({"chunk": "7"}).chunk
