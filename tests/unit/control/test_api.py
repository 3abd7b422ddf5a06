import pytest

from banguard.config.schema import JailConfig
from banguard.control.api import JailView, ServerApi, duplicate_jail, unknown_action, unknown_jail
from banguard.model import JailStats
from support.memory_server import MemoryServer


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        ("Sorry but the jail 'x' does not exist", unknown_jail("x")),
        ("The jail 'x' already exists", duplicate_jail("x")),
        ("The jail 'x' has no action 'y'", unknown_action("x", "y")),
    ],
)
def test_errors_that_tools_know_keep_their_words(expected, error):
    """Texts that other programs look for stay as they are, and are refusals."""
    assert (expected, 1) == (str(error), error.status)


@pytest.mark.parametrize(
    ("expected", "configured", "actual"),
    [(False, "auto", "polling"), (True, "auto", "systemd"), (True, "systemd", ""), (False, "auto", "")],
)
def test_a_jail_knows_whether_it_reads_the_journal(expected, configured, actual):
    """What is read in fact decides between files and journal matches, and the wish while nothing is read."""
    assert expected == JailView(JailConfig("x", backend=configured), actual, JailStats()).is_journal


def test_the_memory_server_keeps_the_whole_protocol():
    """The double has every method of ServerApi, so that tests of commands speak of the real thing."""
    promised = {name for name in vars(ServerApi) if not name.startswith("_")}
    assert set() == promised - set(dir(MemoryServer))
