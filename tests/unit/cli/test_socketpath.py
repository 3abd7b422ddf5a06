import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banguard.cli.socketpath import plain_socket, socket_path
from banguard.config import load_server
from banguard.errors import ConfigError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("BANGUARD_SOCKET", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def write(directory, files):
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("expected", "files"),
    [
        ("/run/banguard/banguard.sock", {"banguard.conf": "[Definition]\nloglevel = INFO\n"}),
        ("/x/a.sock", {"banguard.conf": "# comment\n[Definition]\nsyslogsocket = auto\nsocket = /x/a.sock\n"}),
        ("/x/a.sock", {"banguard.conf": "[Definition]\nSocket: /x/a.sock  \nloglevel = INFO\n"}),
        (
            "/x/b.sock",
            {
                "banguard.conf": "[Definition]\nsocket = /x/a.sock\n",
                "banguard.d/10.conf": "[Definition]\nsocket = /x/c.sock\n",
                "banguard.d/20.conf": "[Definition]\nsocket = /x/b.sock\n",
                "banguard.local": "[Definition]\nloglevel = INFO\n",
            },
        ),
        (
            "/x/d.sock",
            {
                "banguard.conf": "[Definition]\nsocket = /x/a.sock\n",
                "banguard.local": "[Definition]\nsocket = /x/b.sock\n",
                "banguard.d/10.local": "[Definition]\nsocket = /x/d.sock\n",
                "banguard.d/10.conf": "[Definition]\nsocket = /x/c.sock\n",
            },
        ),
    ],
)
def test_plain_lines_are_read_plainly(tmp_path, expected, files):
    """The quick way gives what the whole reader gives."""
    write(tmp_path, files)
    assert expected == plain_socket(str(tmp_path))
    assert expected == load_server(str(tmp_path)).socket


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"fail2ban.conf": "[Definition]\nsocket = /run/other.sock\n"},
        {"banguard.conf": "[INCLUDES]\nbefore = x.conf\n[Definition]\n", "x.conf": "[Definition]\nsocket = /x\n"},
        {"banguard.conf": "[Definition]\ndir = /x\nsocket = %(dir)s/a.sock\n"},
        {"banguard.conf": "[DEFAULT]\nsocket = /x/a.sock\n[Definition]\n"},
        {"banguard.conf": "[Definition]\nsocket =\n    /x/a.sock\n"},
        {"banguard.conf": "[Definition]\nsocket = /x/a.sock\n    /more\n"},
        {"banguard.conf": "[Definition]\nsocket = /x/a.sock ; note\n"},
        {"banguard.conf": "[Definition]\nsocket = /x/a.sock\nsocket = /x/b.sock\n"},
        {"banguard.conf": "[Other]\nsocket = /x/a.sock\n[Definition]\n"},
    ],
)
def test_whatever_is_not_plain_is_left_to_the_reader(tmp_path, files):
    """The answer is the reader's, and the quick way does not guess."""
    write(tmp_path, files)
    assert None is plain_socket(str(tmp_path))
    assert load_server(str(tmp_path)).socket == socket_path(str(tmp_path))


def test_bytes_that_are_no_text_are_left_to_the_reader(tmp_path):
    """A file in another encoding is not taken for plain."""
    (tmp_path / "banguard.conf").write_bytes(b"[Definition]\n# \xff\nsocket = /x/a.sock\n")
    assert None is plain_socket(str(tmp_path))


def test_the_environment_comes_first(tmp_path, monkeypatch):
    """$BANGUARD_SOCKET is what server and client agree on."""
    write(tmp_path, {"banguard.conf": "[Definition]\nsocket = /x/a.sock\n"})
    monkeypatch.setenv("BANGUARD_SOCKET", "/x/env.sock")
    assert ("/x/env.sock", "/x/env.sock") == (socket_path(str(tmp_path)), load_server(str(tmp_path)).socket)


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    """No default is taken for a directory that somebody named."""
    with pytest.raises(ConfigError):
        socket_path(str(tmp_path / "missing"))


LINES = st.sampled_from(
    [
        "[Definition]",
        "[DEFAULT]",
        "[definition]",
        "[INCLUDES]",
        "socket = /a/1.sock",
        "socket=/a/2.sock",
        "SOCKET : /a/3.sock",
        "socket = /a/4.sock ; text",
        "socket = %(x)s",
        "socket = relative",
        "socket =",
        " /a/5.sock",
        "  socket = /a/6.sock",
        "x = /a/7.sock",
        "syslogsocket = auto",
        "# socket = /a/8.sock",
        "; socket = /a/9.sock",
        "loglevel = INFO",
        "",
        "before = other.conf",
        "nonsense",
        "socket /a/10.sock",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["banguard.conf", "banguard.local", "banguard.d/a.conf"]), st.lists(LINES, max_size=7)
    )
)
def test_the_quick_way_agrees_with_the_reader(tmp_path_factory, files):
    """Whatever stands in the files, a quick answer is the reader's answer."""
    directory = tmp_path_factory.mktemp("conf")
    write(directory, {name: "\n".join(lines) + "\n" for name, lines in files.items()})
    quick = plain_socket(str(directory))
    assert quick is None or load_server(str(directory)).socket == quick
    assert load_server(str(directory)).socket == socket_path(str(directory))
