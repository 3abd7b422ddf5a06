from __future__ import annotations

import os
import sys
import textwrap

import pytest

from banguard.actions import python
from banguard.actions.base import Step
from banguard.actions.python import CallingMap, PythonAction, load_class
from banguard.clock import SystemClock
from banguard.config.schema import ActionConfig, ActionKind
from banguard.errors import ActionError
from banguard.model import Ban
from banguard.run import Cancel

BAN = Ban("sshd", "192.0.2.1", 100.0, 700.0, failures=3, matches=("a", "b"))
LONGER = Ban("sshd", "192.0.2.1", 100.0, 900.0)
LATER = Ban("sshd", "192.0.2.1", 200.0, 900.0)


@pytest.fixture
def make(tmp_path, clock):
    """Make a Python action out of the text of its file."""

    def make(text, *, clock=clock, cancel=None, **properties):
        path = tmp_path / "own.py"
        path.write_text(textwrap.dedent(text))
        config = ActionConfig("own", "own.py", kind=ActionKind.PYTHON, path=str(path), properties=properties)
        return PythonAction(config, "sshd", clock=clock, cancel=cancel)

    return make


FULL = """
    calls = []

    class Action:
        norestored = True
        word = "old"

        def __init__(self, jail, name, **kwargs):
            self.made = f"{jail.name} {name} {kwargs}"
            self.calls = calls
            self.jail = jail

        def __getattribute__(self, name):
            return object.__getattribute__(self, name)

        def start(self): calls.append("start")
        def stop(self): calls.append("stop")
        def ban(self, info): calls.append("ban %(ip)s %(failures)s" % info)
        def unban(self, info): calls.append("unban " + info["ip"])
        def reban(self, info): calls.append("reban " + info["fid"])
        def prolong(self, info): calls.append("prolong %s %s" % (info["bantime"], self.jail.actions.getBanTime()))
        def flush(self): calls.append("flush")
        def reload(self, **kwargs): calls.append(f"reload {kwargs}")
        def add(self, a, b=1): return int(a) + int(b)
        @property
        def broken(self): raise ValueError
"""


def test_a_whole_life(make):
    """Every method is called with what it needs."""
    one = make(FULL, target="x", name="left out")
    assert (True, True, True) == (one.keeps_state, one.has_start, one.norestored)
    assert "sshd own {'target': 'x'}" == one.properties()["made"]
    one.start()
    one.ban(Step("m", BAN.host, None, BAN))
    one.ban(Step("m", BAN.host, BAN, LONGER))
    one.ban(Step("m", BAN.host, LONGER, LATER))
    one.ban(Step("m", BAN.host, None, LATER, again=True))
    one.unban(Step("m", BAN.host, LATER, None))
    assert one.flush()
    one.reload()
    one.check()
    one.stop()
    expected = [
        "start",
        "ban 192.0.2.1 3",
        "prolong 800 800",
        "unban 192.0.2.1",
        "ban 192.0.2.1 0",
        "reban 192.0.2.1",
        "unban 192.0.2.1",
        "flush",
        "reload {'target': 'x'}",
        "stop",
    ]
    assert expected == one._action.calls


BASED = """
    from fail2ban.server.actions import ActionBase, CallingMap

    class Action(ActionBase):
        def __init__(self, jail, name, host="localhost", **kwargs):
            super().__init__(jail, name)
            self.host = host
            self.messages = []
            self.values = CallingMap(jail=self._jail.name, time=lambda: self._jail.actions.getBanTime())

        def ban(self, aInfo):
            aInfo = aInfo.copy()
            aInfo.update(self.values)
            self._logSys.info("telling of %s", aInfo["ip"])
            self.messages.append("%(jail)s %(time)s %(ip)s %(matches)s" % aInfo)
"""


def test_an_action_made_for_fail2ban_loads_without_it(make):
    """Its base class has a stand-in; what the class does not define does nothing."""
    one = make(BASED, host="mx")
    assert (False, False, False) == (one.keeps_state, one.has_start, one.norestored)
    one.start()
    one.ban(Step("m", BAN.host, None, BAN))
    one.ban(Step("m", BAN.host, None, BAN, again=True))
    one.ban(Step("m", BAN.host, BAN, LONGER))
    one.unban(Step("m", BAN.host, BAN, None))
    assert not one.flush()
    one.reload()
    one.stop()
    assert ["sshd 600 192.0.2.1 a\nb"] * 2 == one._action.messages
    assert "mx" == one.properties()["host"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_here", "cannot be loaded: ModuleNotFoundError"),
        ("class Action(:", "cannot be loaded: SyntaxError"),
        ("x = 1", "has no class Action"),
        ("class Action:\n    def __init__(self, jail, name): raise ValueError('bad')", "start: ValueError: bad"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_says_why(make, text, message):
    """No traceback of somebody else's code ends ours."""
    with pytest.raises(ActionError, match=message):
        make(text)


def test_what_a_method_raises_is_an_error_of_the_action(make):
    """Whatever it is."""
    one = make(
        "class Action:\n    def __init__(self, *a): pass\n    def ban(self, info): return info['nothing'] + 1 / 0"
    )
    with pytest.raises(ActionError, match="ban: KeyError: 'nothing'"):
        one.ban(Step("m", BAN.host, None, BAN))


def test_properties_and_methods_by_name(make):
    """Plain attributes can be set, public methods called."""
    one = make(FULL)
    assert "new" == one.set_property("word", "new")
    assert "new" == one.properties()["word"]
    assert {"add", "ban", "flush", "start"} <= set(one.methods())
    assert 5 == one.call("add", {"a": "2", "b": "3"})
    one.call("ban", {"aInfo": {"ip": "192.0.2.7", "failures": 2}})
    assert ["ban 192.0.2.7 2"] == one._action.calls
    with pytest.raises(ActionError, match="no property"):
        one.set_property("absent", "x")
    with pytest.raises(ActionError, match="no method"):
        one.call("__init__", {})
    with pytest.raises(ActionError, match="add: TypeError"):
        one.call("add", {"c": 1})


def test_nothing_is_written_beside_the_file(make, tmp_path):
    """The directory belongs to the configuration."""
    make(FULL)
    assert ["own.py"] == os.listdir(tmp_path)


def test_the_info_mapping_takes_changes_and_keeps_the_tags(make):
    """What a method puts in is its own."""
    one = make(FULL)
    info = one._info(Step("m", BAN.host, None, BAN))
    info["extra"] = 1
    copied = info.copy()
    copied["ip"] = "other"
    assert ("192.0.2.1", "other", 1) == (info["ip"], copied["ip"], copied["extra"])
    assert "extra" in info
    assert "ip" in info
    assert "absent" not in info
    assert len(list(info)) == len(info)
    del info["extra"]
    assert "extra" not in list(info)


def test_a_calling_map_calls_functions_when_read():
    """Values that cost something are made when they are wanted."""
    calls = []
    one = CallingMap(a=1, b=lambda: calls.append(1) or 2)
    assert [] == calls
    assert {"a": 1, "b": 2} == dict(one)
    one["c"] = 3
    del one["a"]
    assert ["b", "c"] == list(one)
    assert {"b": 2, "c": 9} == dict(one.copy() + {"c": 9})
    assert 2 == len(one + CallingMap(c=1))


def test_the_stand_in_is_used_only_where_there_is_no_original(make):
    """Classes derive from whatever `fail2ban` gives."""
    loaded = type(make(BASED)._action)
    assert "ActionBase" == loaded.__mro__[1].__name__
    assert sys.modules["fail2ban.server.actions"].ActionBase is loaded.__mro__[1]


def test_no_such_file(tmp_path):
    """The path is told."""
    with pytest.raises(ActionError, match=r"absent\.py: cannot be loaded"):
        load_class(str(tmp_path / "absent.py"))


def test_the_mailer_of_an_installed_fail2ban_loads_and_mails(clock, tmp_path):
    """Its own smtp.py, unchanged, through our stand-in, to a mail server of ours."""
    path = "/etc/fail2ban/action.d/smtp.py"
    if not os.path.exists(path):
        pytest.skip("fail2ban is not installed")
    with _mail_server() as (port, mails):
        config = ActionConfig(
            "smtp",
            "smtp.py",
            kind=ActionKind.PYTHON,
            path=path,
            properties={
                "host": f"127.0.0.1:{port}",
                "dest": "a@example.com",
                "sender": "b@example.com",
                "matches": "matches",
            },
        )
        one = PythonAction(config, "sshd", clock=clock)
        one.start()
        one.ban(Step("m", BAN.host, None, BAN))
        one.stop()
    assert 3 == len(mails)
    assert "192.0.2.1" in mails[1]
    assert "a\nb" in mails[1].replace("\r", "")


class _mail_server:
    """Takes mails on a port of its own."""

    def __enter__(self):
        import socket
        import threading

        self.listener = socket.create_server(("127.0.0.1", 0))
        self.mails = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        return self.listener.getsockname()[1], self.mails

    def __exit__(self, *_):
        import socket

        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                stream.write(b"220 here\r\n")
                stream.flush()
                for line in stream:
                    word = line[:4].upper()
                    if word == b"DATA":
                        stream.write(b"354 go\r\n")
                        stream.flush()
                        mail = []
                        for text in stream:
                            if text == b".\r\n":
                                break
                            mail.append(text.decode())
                        self.mails.append("".join(mail))
                    stream.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                    stream.flush()
                    if word == b"QUIT":
                        break


HANGING = """
    import threading

    class Action:
        deadline = 0.2

        def __init__(self, jail, name):
            self.go_on = threading.Event()
            self.done = []

        def ban(self, info):
            self.go_on.wait(30)
            self.done.append("ban " + info["ip"])

        def unban(self, info): self.done.append("unban " + info["ip"])
"""


def test_a_method_that_hangs_is_left_alone(make):
    """After its deadline the worker goes on; the object is not used again before it has come to an end."""
    one = make(HANGING, clock=SystemClock())
    with pytest.raises(ActionError, match="ban: no end within 0.2 s; it is left alone"):
        one.ban(Step("m", BAN.host, None, BAN))
    with pytest.raises(ActionError, match="unban: an earlier ban still hangs"):
        one.unban(Step("m", BAN.host, BAN, None))
    one._action.go_on.set()
    one._stuck[1].join(10)
    one.unban(Step("m", BAN.host, BAN, None))
    assert ["ban 192.0.2.1", "unban 192.0.2.1"] == one._action.done


def test_a_method_that_hangs_does_not_hold_up_a_stop(make):
    """When the time to stop is over nobody waits for it any more."""
    cancel = Cancel()
    one = make(HANGING.replace("0.2", "600"), clock=SystemClock(), cancel=cancel)
    cancel.set()
    with pytest.raises(ActionError, match="left alone because banguard stops"):
        one.ban(Step("m", BAN.host, None, BAN))
    one._action.go_on.set()
    one._stuck[1].join(10)
    cancel.close()


def test_a_constructor_that_hangs(make, monkeypatch):
    """Whoever starts the jail waits for it, but not for long."""
    monkeypatch.setattr(python, "MAKING", 0.2)
    with pytest.raises(ActionError, match="start: no end within 0.2 s"):
        make(
            """
            import time
            class Action:
                def __init__(self, jail, name): time.sleep(0.6)
            """,
            clock=SystemClock(),
        )


def test_code_that_ends_the_program_ends_nothing(make):
    """`sys.exit` is a failure like any other."""
    one = make("import sys\nclass Action:\n    def __init__(self, *a): pass\n    def ban(self, info): sys.exit(3)\n")
    with pytest.raises(ActionError, match="ban: SystemExit: 3"):
        one.ban(Step("m", BAN.host, None, BAN))
