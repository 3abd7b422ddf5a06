import os

import pytest

from banguard import paths


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("BANGUARD_CONFIG", "BANGUARD_SOCKET", "BANGUARD_DISTRIBUTION", "RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_word_from_outside_the_usual_places_are_used():
    """The paths of a system installation."""
    assert "/run/banguard/banguard.sock" == paths.default_socket()
    assert "/run/banguard/banguard.pid" == paths.default_pidfile()
    assert "/var/lib/banguard/banguard.sqlite3" == paths.default_dbfile()


def test_the_environment_chooses(monkeypatch):
    """Our own variables name a file or directory."""
    monkeypatch.setenv("BANGUARD_CONFIG", "/x/conf")
    monkeypatch.setenv("BANGUARD_SOCKET", "/x/s")
    assert ("/x/conf", "/x/s") == (paths.default_directory(), paths.default_socket())


@pytest.mark.parametrize(("expected", "value"), [("/r/a", "/r/a"), ("/r/a", "/r/a:/r/b"), ("/run/banguard", "")])
def test_systemd_chooses_the_runtime_directory(monkeypatch, expected, value):
    """The first of the directories that systemd made for us."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", value)
    assert [f"{expected}/banguard.sock", f"{expected}/banguard.pid"] == [
        paths.default_socket(),
        paths.default_pidfile(),
    ]


def test_systemd_chooses_the_state_directory(monkeypatch):
    """The database lies there."""
    monkeypatch.setenv("STATE_DIRECTORY", "/state/one:/state/two")
    assert "/state/one/banguard.sqlite3" == paths.default_dbfile()


def test_a_shipped_configuration_is_always_there():
    """Whoever has no configuration of their own uses the one that comes with banguard."""
    assert os.path.isdir(paths.shipped_directory())
    assert os.path.isdir(paths.default_directory())


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("debian", 'PRETTY_NAME="x"\nID=debian\n'),
        ("debian", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n'),
        ("fedora", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'),
        ("fedora", 'ID="amzn"\n'),
        ("opensuse", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n'),
        ("arch", "ID=manjaro\nID_LIKE=arch\n"),
        ("alpine", "ID=alpine\n"),
        ("freebsd", "ID=freebsd\n"),
        ("common", "ID=plan9\n"),
        ("common", "no such thing"),
    ],
)
def test_the_distribution(tmp_path, expected, text):
    """What os-release says, of the system itself or of what it is like, decides about the file of paths."""
    path = tmp_path / "os-release"
    path.write_text(text)
    assert expected == paths.distribution([str(tmp_path / "none"), str(path)])
    assert os.path.isfile(os.path.join(paths.shipped_directory(), f"paths-{expected}.conf"))


def test_without_os_release(tmp_path):
    """A system that does not say what it is has the common paths."""
    assert "common" == paths.distribution([str(tmp_path / "none")])


def test_another_distribution_can_be_chosen(monkeypatch):
    """For a look at another system, and where os-release does not tell."""
    monkeypatch.setenv("BANGUARD_DISTRIBUTION", "alpine")
    assert "alpine" == paths.distribution()
