from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import pytest

from banguard.actions import dispatch
from banguard.actions.dispatch import Dispatcher, verify
from banguard.actions.null import NullAction
from banguard.clock import SystemClock
from banguard.config.schema import ActionConfig, ActionKind
from banguard.errors import ActionError
from banguard.model import ActionFailed, Ban, BanChange, Change


@pytest.fixture
def setup(tmp_path):
    """A dispatcher with real threads, and a file its commands write to."""

    class Setup:
        path = str(tmp_path / "log")
        facts = []

        def __init__(self):
            self.facts = []
            self.dispatcher = Dispatcher(clock=SystemClock(), publish=self.facts.append, check_every=None)

        def lines(self):
            if not os.path.exists(self.path):
                return []
            with open(self.path) as file:
                return file.read().splitlines()

        def take(self):
            assert self.dispatcher.wait(20)
            lines = self.lines()
            if lines:
                os.unlink(self.path)
            return lines

        def command(self, name="cmd", *, file="", **commands):
            words = {key: text.replace("LOG", f'echo >> "{self.path}" {name}') for key, text in commands.items()}
            return ActionConfig(name, file or name, commands=words, properties={"name": "sshd"})

        def full(self, name="cmd", **more):
            return self.command(
                name,
                **{
                    "actionstart": "LOG start",
                    "actionstop": "LOG stop",
                    "actionban": "LOG ban <ip> <restored>",
                    "actionunban": "LOG unban <ip>",
                    **more,
                },
            )

        def notice(self, name="mail"):
            return self.command(name, actionban="LOG told <ip>")

        def native(self, name="nft", **properties):
            return ActionConfig(name, name, kind=ActionKind.NATIVE, native="null", properties=properties)

        def emit(self, *hosts, jail="sshd", kind=Change.BAN):
            for host in hosts:
                self.dispatcher.emit(BanChange(kind, ban(host, jail)))

        def backend(self, table=""):
            return self.dispatcher._backends[f"null {table}".strip()]._backend

    made = Setup()
    yield made
    made.dispatcher.stop(5)


def ban(host="192.0.2.1", jail="sshd"):
    return Ban(jail, host, 1_900_000_000.0, 4_000_000_000.0)


def test_the_life_of_a_jail(setup):
    """Attach starts and restores, emit bans and unbans, detach takes out and stops."""
    d = setup.dispatcher
    assert () == d.attach("sshd", [setup.full()], [ban("192.0.2.1")])
    setup.emit("192.0.2.2")
    setup.emit("192.0.2.9", jail="other")
    assert ["cmd start", "cmd ban 192.0.2.1 1", "cmd ban 192.0.2.2 0"] == setup.take()
    assert {"192.0.2.1", "192.0.2.2"} == d.stats("sshd")["cmd"].applied
    assert d.is_enforced(ban("192.0.2.1"))
    setup.emit("192.0.2.1", kind=Change.UNBAN)
    assert ["cmd unban 192.0.2.1"] == setup.take()
    assert not d.is_enforced(ban("192.0.2.1"))
    d.detach("sshd")
    assert ["cmd unban 192.0.2.2", "cmd stop"] == setup.take()
    assert ({}, ()) == (d.stats("sshd"), d.names("sshd"))
    d.detach("sshd")


def test_native_actions_of_all_jails_share_a_backend_and_a_thread(setup):
    """One for each place."""
    d = setup.dispatcher
    d.attach("sshd", [setup.native()], [ban()])
    d.attach("web", [setup.native()], [ban(jail="web"), ban("192.0.2.2", "web")])
    d.attach("ftp", [setup.native(table="x")])
    assert d.wait(10)
    assert [1, 2] == sorted(len(held) for held in setup.backend().members.values())
    assert {"null", "null x"} == set(d._backends)
    assert d.is_enforced(ban())
    d.detach("sshd")
    d.detach("web", keep=True)
    assert d.wait(10)
    assert {} == setup.backend().members
    d.attach("sshd", [setup.native()], [ban("192.0.2.7")])
    assert d.wait(10)
    assert {"192.0.2.7"} == d.stats("sshd")["nft"].applied


def test_who_is_not_enforced(setup):
    """Of many bans at once it is told whose are not held by every action that blocks."""
    d = setup.dispatcher
    one, two, three = (ban(f"192.0.2.{number}") for number in (1, 2, 3))
    assert {one.host, two.host} == d.not_enforced("sshd", [one, two])
    d.attach("sshd", [setup.full(), setup.native()], [one, two])
    assert d.wait(10)
    assert {three.host} == d.not_enforced("sshd", [one, two, three])
    assert set() == d.not_enforced("sshd", [])
    d.remove("sshd", "nft")
    d.add("sshd", setup.native(), [two])
    assert d.wait(10)
    assert {one.host, three.host} == d.not_enforced("sshd", [one, two, three])
    assert [False, True, False] == [d.is_enforced(each) for each in (one, two, three)]


def test_a_jail_without_a_blocking_action_enforces_nothing(setup):
    """A mail is no wall."""
    d = setup.dispatcher
    d.attach("sshd", [setup.notice()])
    setup.emit("192.0.2.1")
    assert ["mail told 192.0.2.1"] == setup.take()
    assert not d.is_enforced(ban())
    assert not d.is_enforced(ban(jail="unknown"))
    d.add("sshd", setup.native(), [ban()])
    assert d.wait(10)
    assert d.is_enforced(ban())


def test_a_slow_action_never_delays_another(setup, tmp_path):
    """Not of the same jail, not of the same file, not native ones; and emit never blocks."""
    d = setup.dispatcher
    gate = tmp_path / "gate"
    hang = f'while [ ! -e "{gate}" ]; do sleep 0.05; done'
    slow = setup.command("slow", file="same", actionban=hang, actionunban="true")
    d.attach("sshd", [slow, setup.full("fast", actionunban="true"), setup.native()])
    d.attach("web", [setup.command("other", file="same", actionban="LOG ban <ip>", actionunban="true")])
    try:
        began = time.monotonic()
        setup.emit("192.0.2.1", "192.0.2.2")
        setup.emit("192.0.2.3", jail="web")
        assert time.monotonic() - began < 0.05
        expected = {"fast start", "fast ban 192.0.2.1 0", "fast ban 192.0.2.2 0", "other ban 192.0.2.3"}
        while set(setup.lines()) != expected:
            assert time.monotonic() - began < 5
            time.sleep(0.01)
        assert {"192.0.2.1", "192.0.2.2"} == d.stats("sshd")["nft"].applied
        assert 2 == d.stats("sshd")["slow"].waiting
        assert not d.is_enforced(ban())
    finally:
        gate.touch()
    assert d.wait(10)
    assert d.is_enforced(ban())


def test_an_action_that_cannot_be_used_does_not_keep_the_others_out(setup, caplog):
    """It is told, logged and published."""
    bad = ActionConfig("bad", "bad", kind=ActionKind.NATIVE, native="nftables", properties={"port": "nosuch"})
    bent = ActionConfig("bent", "bent", commands={"actionban": "<a>"}, properties={"a": "<a>"})
    twice = setup.native()
    problems = setup.dispatcher.attach("sshd", [bad, setup.native(), bent, twice])
    assert (
        "action 'bad': port: service 'nosuch' is unknown",
        "action 'bent': <a> refers to itself",
        "action 'nft': the name is taken by another action of this jail; give it an actname",
    ) == problems
    assert ("nft",) == setup.dispatcher.names("sshd")
    assert ["bad", "bent", "nft"] == [fact.action for fact in setup.facts if isinstance(fact, ActionFailed)]
    assert [f"[sshd] {problem}" for problem in problems] == caplog.messages


def test_reload_with_the_same_actions_runs_their_reload(setup):
    """Nothing is flushed, nothing is banned again."""
    d = setup.dispatcher
    actions = [setup.full(actionreload="LOG reload"), setup.native()]
    d.attach("sshd", actions, [ban()])
    setup.take()
    count = setup.backend().transactions
    assert () == d.reattach("sshd", list(actions), [ban()])
    assert ["cmd reload"] == setup.take()
    assert count == setup.backend().transactions


def test_reload_stops_what_was_removed_and_starts_what_is_new(setup):
    """In this order, with the current bans; a new notification is not told of old bans."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full("old")], [ban()])
    setup.take()
    d.reattach("sshd", [setup.notice(), setup.full("new")], [ban()])
    expected = ["old unban 192.0.2.1", "old stop", "new start", "new ban 192.0.2.1 1"]
    assert expected == setup.take()
    assert ("mail", "new") == d.names("sshd")


def test_reload_with_other_commands_starts_afresh(setup):
    """The old ones take out what they put in."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full()], [ban()])
    setup.take()
    d.reattach("sshd", [setup.full(actionban="LOG newban <ip>")], [ban()])
    assert ["cmd unban 192.0.2.1", "cmd stop", "cmd start", "cmd newban 192.0.2.1"] == setup.take()


def test_reload_with_other_commands_and_actionreload_keeps_the_bans(setup):
    """The action says itself what a reload needs."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full(actionreload="LOG reload")], [ban()])
    setup.take()
    d.reattach("sshd", [setup.full(actionban="LOG newban <ip>", actionreload="LOG newreload")], [ban()])
    setup.emit("192.0.2.2")
    assert ["cmd newreload", "cmd newban 192.0.2.2"] == setup.take()
    kinds = setup.command("cmd", actionban="LOG told", actionreload="LOG x")
    d.reattach("sshd", [kinds], [ban()])
    assert ["cmd unban 192.0.2.1", "cmd unban 192.0.2.2", "cmd stop"] == setup.take()


def test_reload_of_native_properties_keeps_the_bans(setup):
    """In place in the same table, by moving to another one."""
    d = setup.dispatcher
    d.attach("sshd", [setup.native(port="22")], [ban()])
    d.reattach("sshd", [setup.native(port="2222")], [ban()])
    assert d.wait(10)
    assert [{"192.0.2.1"}] == [set(held) for held in setup.backend().members.values()]
    d.reattach("sshd", [setup.native(table="x")], [ban()])
    assert d.wait(10)
    assert {} == setup.backend().members
    assert [{"192.0.2.1"}] == [set(held) for held in setup.backend("x").members.values()]


def test_reload_with_an_unusable_native_action_removes_the_old_one(setup, monkeypatch):
    """The problem is told."""

    class Strict(NullAction):
        @classmethod
        def verify(cls, properties):
            if "bad" in properties:
                raise ActionError("bad: no")

    monkeypatch.setattr(dispatch, "native_action", lambda name: Strict)
    d = setup.dispatcher
    d.attach("sshd", [setup.native()])
    assert ("action 'nft': bad: no",) == d.reattach("sshd", [setup.native(bad="1")], [])
    assert () == d.names("sshd")


def test_attaching_twice_is_a_reload(setup):
    """No second set of workers."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full()])
    setup.take()
    d.attach("sshd", [setup.full()])
    assert [] == setup.take()


def test_a_restarted_jail_starts_after_it_has_stopped(setup):
    """Rules of the same name are first removed, then made."""
    d = setup.dispatcher
    slow_stop = setup.full(actionstop="sleep 0.2; LOG stop")
    d.attach("sshd", [slow_stop], [ban()])
    setup.take()
    d.detach("sshd")
    d.attach("sshd", [slow_stop], [ban("192.0.2.2")])
    assert ["cmd unban 192.0.2.1", "cmd stop", "cmd start", "cmd ban 192.0.2.2 1"] == setup.take()


def test_flush_takes_everything_out_at_once(setup):
    """Of blocking actions; the single unbans that follow do nothing more."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full(actionflush="LOG flush"), setup.native(), setup.notice()], [ban()])
    setup.take()
    d.flush("sshd")
    setup.emit("192.0.2.1", kind=Change.UNBAN)
    assert ["cmd flush"] == setup.take()
    assert frozenset() == d.stats("sshd")["nft"].applied
    d.flush("unknown")


def test_check_reaches_every_action(setup):
    """Of one jail or of all."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full(actioncheck="LOG check"), setup.native()], [ban()])
    setup.take()
    setup.backend().members.clear()
    setup.backend().intact = False
    d.check("web")
    assert [] == setup.take()
    d.check()
    assert ["cmd check"] == setup.take()
    assert [{"192.0.2.1"}] == [set(held) for held in setup.backend().members.values()]


def test_single_actions(setup):
    """Add, look, set, call, remove; mistakes are errors with words."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full()], [ban()])
    d.add("sshd", setup.native(port="22"), [ban()])
    setup.take()
    assert ("cmd", "nft") == d.names("sshd")
    assert ("LOG" not in d.properties("sshd", "cmd")["actionban"], "22") == (True, d.properties("sshd", "nft")["port"])
    assert "x" == d.set_property("sshd", "cmd", "word", "x")
    assert "2222" == d.set_property("sshd", "nft", "port", "2222")
    with pytest.raises(ActionError, match="table: cannot be changed"):
        d.set_property("sshd", "nft", "table", "y")
    assert ("check", "flush") == d.methods("sshd", "nft")
    assert "ban" in d.methods("sshd", "cmd")
    d.call("sshd", "cmd", "ban", {"ip": "192.0.2.7"}, timeout=10)
    d.call("sshd", "nft", "check", {})
    d.call("sshd", "nft", "flush", {})
    assert ["cmd ban 192.0.2.7 0"] == setup.take()
    assert frozenset() == d.stats("sshd")["nft"].applied
    for mistake in (
        lambda: d.add("sshd", setup.native(), []),
        lambda: d.remove("sshd", "absent"),
        lambda: d.properties("absent", "cmd"),
        lambda: d.call("sshd", "nft", "explode", {}),
        lambda: d.call("sshd", "cmd", "explode", {}),
    ):
        with pytest.raises(ActionError):
            mistake()
    d.remove("sshd", "cmd")
    assert ["cmd unban 192.0.2.1", "cmd stop"] == setup.take()
    assert ("nft",) == d.names("sshd")


def test_stop_takes_everything_out(setup):
    """All jails, at the same time."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full("one")], [ban()])
    d.attach("web", [setup.full("two"), setup.native()], [ban(jail="web")])
    setup.take()
    assert d.stop(20)
    assert ["one stop", "one unban 192.0.2.1", "two stop", "two unban 192.0.2.1"] == sorted(setup.lines())
    assert {} == setup.backend().members
    assert [] == [thread for thread in threading.enumerate() if thread.name.startswith("action-")]
    assert d.stop(1)


def test_stop_has_a_deadline(setup, caplog):
    """A command that hangs is ended, and what is left is not begun."""
    d = setup.dispatcher
    d.attach("sshd", [setup.full(actionunban="sleep 1000"), setup.native()], [ban("192.0.2.1"), ban("192.0.2.2")])
    setup.take()
    began = time.monotonic()
    assert not d.stop(0.3)
    assert time.monotonic() - began < 5
    assert {} == setup.backend().members
    assert "Stopping took more than 0 s; ending action-sshd-cmd" in caplog.messages
    assert [] == setup.lines()


def test_python_actions_are_served(setup, tmp_path):
    """As any other."""
    path = tmp_path / "own.py"
    path.write_text(
        "class Action:\n"
        "    def __init__(self, jail, name, target): self.target = target\n"
        "    def write(self, text):\n"
        "        with open(self.target, 'a') as file: file.write(text)\n"
        "    def ban(self, info): self.write('ban %(ip)s\\n' % info)\n"
        "    def unban(self, info): self.write('unban %(ip)s\\n' % info)\n"
    )
    config = ActionConfig("own", "own.py", kind=ActionKind.PYTHON, path=str(path), properties={"target": setup.path})
    verify(config)
    d = setup.dispatcher
    d.attach("sshd", [config])
    setup.emit("192.0.2.1")
    assert ["ban 192.0.2.1"] == setup.take()
    assert d.is_enforced(ban())


def test_lazy_tags_come_from_the_given_callables(tmp_path):
    """History, names and numbers of the jail."""
    target = tmp_path / "log"
    d = Dispatcher(
        clock=SystemClock(),
        history=lambda host, jail: (["old"], 7),
        reverse_lookup=lambda address: "host.example",
        jail_numbers=lambda jail: {"banned": 3},
    )
    text = f'echo >> "{target}" <ipmatches> <ipjailfailures> <ip-host> <jail.banned>'
    d.attach("sshd", [ActionConfig("a", "a", commands={"actionban": text})])
    d.emit(BanChange(Change.BAN, ban()))
    assert d.wait(10)
    assert d.stop(10)
    assert "old 7 host.example 3\n" == target.read_text()


def test_what_an_action_lost_is_banned_again(setup, tmp_path):
    """The command repairs, and its worker brings the bans back."""
    broken = tmp_path / "broken"
    d = setup.dispatcher
    action = setup.full(
        actionstart=f'rm -f "{broken}"; LOG start',
        actionban=f'[ ! -e "{broken}" ] && LOG ban <ip>',
        actioncheck=f'[ ! -e "{broken}" ]',
    )
    d.attach("sshd", [action])
    setup.emit("192.0.2.1", "192.0.2.2")
    setup.take()
    broken.touch()
    setup.emit("192.0.2.3")
    expected = ["cmd stop", "cmd start", "cmd ban 192.0.2.3", "cmd ban 192.0.2.1", "cmd ban 192.0.2.2"]
    assert expected == setup.take()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ActionConfig("a", "a", commands={"actionban": "<x>"}, properties={"x": "<x>"}), "refers to itself"),
        (ActionConfig("a", "a", kind=ActionKind.NATIVE, native="nftables", properties={"port": "x y"}), "port: "),
        (ActionConfig("a", "a", kind=ActionKind.NATIVE, native="nothing"), "unknown native action"),
        (ActionConfig("a", "a.py", kind=ActionKind.PYTHON, path="/absent.py"), "cannot be loaded"),
    ],
)
def test_verify_finds_mistakes_without_running_anything(config, message):
    """For a test of the configuration."""
    with pytest.raises(ActionError, match=message):
        verify(config)


def test_verify_remarks_on_what_looks_like_a_mistake():
    """A tag in single quotes does not become its value."""
    commands = {
        "actionban": """mail -s '<name> <ip>' "it's <matches>" 'a\\' \\' <F-USER> '<x>""",
        "actionstart": "true",
    }
    config = ActionConfig("a", "a", commands=commands, properties={"x": "<matches>'"})
    expected = 'actionban: <matches> in single quotes is not replaced by its value; use "$BANGUARD_matches"'
    assert (expected,) == verify(config)
    assert () == verify(ActionConfig("a", "a", kind=ActionKind.NATIVE, native="null"))


def test_wait_says_when_it_was_not_enough(setup):
    """False, not for ever."""
    d = setup.dispatcher
    d.attach("sshd", [setup.command("slow", actionban="sleep 0.3")])
    setup.emit("192.0.2.1")
    assert not d.wait(0.05)
    assert d.wait(10)


def test_kill_connections_is_for_the_jails_that_want_it(setup, monkeypatch):
    """Whoever their actions begin to hold is cut, by native actions and commands; notifications hold nobody."""
    d = setup.dispatcher
    cut = []
    d.kill_connections("sshd", True)
    assert d._connections is not None
    monkeypatch.setattr(d._connections, "cut", lambda bans: cut.extend(ban.host for ban in bans))
    d.attach("sshd", [setup.native(), setup.full(), setup.notice()], [ban("192.0.2.1")])
    d.attach("web", [setup.native()])
    setup.emit("192.0.2.2")
    setup.emit("192.0.2.9", jail="web")
    assert d.wait(10)
    assert ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"] == sorted(cut)
    d.kill_connections("sshd", False)
    setup.emit("192.0.2.3")
    assert d.wait(10)
    assert 4 == len(cut)
    d.kill_connections("web", True)
    d.detach("web")
    d.attach("web", [setup.native()], [ban("192.0.2.4", "web")])
    assert d.wait(10)
    assert 4 == len(cut)


def test_settling_reaches_backends_of_now_and_later(setup, monkeypatch):
    """Each is told once that all jails of the start have joined."""
    swept = []
    monkeypatch.setattr(NullAction, "sweep", lambda action: swept.append(action.properties.get("table", "")))
    d = setup.dispatcher
    d.attach("sshd", [setup.native()])
    d.attach("web", [setup.native()])
    assert d.wait(10)
    assert [] == swept
    d.settle()
    d.attach("ftp", [setup.native(table="x")])
    assert d.wait(10)
    assert ["", "x"] == sorted(set(swept))


def test_stopping_can_leave_the_rules_in_place(setup):
    """Native firewalls are left as they are; what commands built has no end of its own and goes."""
    d = setup.dispatcher
    d.attach("sshd", [setup.native(), setup.full()], [ban()])
    assert d.wait(10)
    backend = setup.backend()
    gone = []
    backend.leave = gone.append
    assert d.stop(10, keep=True)
    assert [] == gone
    assert ["cmd unban 192.0.2.1", "cmd stop"] == setup.lines()[-2:]


def test_each_blocking_action_says_whether_it_holds_a_ban(setup):
    """Notifications are not asked; commands know only what they were told."""
    setup.dispatcher.attach("sshd", [setup.full("cmd"), setup.notice(), setup.native()], [])
    setup.emit("192.0.2.1")
    assert setup.dispatcher.wait(20)
    assert [("cmd", True, None), ("nft", True, None)] == [
        (hold.action, hold.believed, hold.held) for hold in setup.dispatcher.holds(ban("192.0.2.1"), 5)
    ]
    assert [False, False] == [hold.believed for hold in setup.dispatcher.holds(ban("192.0.2.9"), 5)]
    assert () == setup.dispatcher.holds(ban("192.0.2.1", "other"), 5)
    setup.dispatcher.stop()


FOR_EVER = f"600.{os.getpid()}"  # told apart from those of other runs

HANGING = """
import threading
GO_ON = threading.Event()

class Action:
    def __init__(self, jail, name): pass
    def ban(self, info): GO_ON.wait(60)
    def unban(self, info): pass
"""


def test_actions_that_hang_delay_no_other_and_no_stop(setup, tmp_path):
    """Commands that sleep and Python that hangs: bans go on, in their jail and in others; a stop ends them in time."""
    path = tmp_path / "hang.py"
    path.write_text(HANGING)
    hanging = ActionConfig("hang", "hang.py", kind=ActionKind.PYTHON, path=str(path))
    sleeping = setup.command("sleep", actionban=f"exec sleep {FOR_EVER}", actionunban="true")
    telling = setup.command("tell", actionban=f"sleep {FOR_EVER} & wait")
    d = setup.dispatcher
    assert () == d.attach("slow", [hanging, sleeping, telling, setup.native(), setup.full("quick")])
    assert () == d.attach("other", [setup.native()])
    for number in range(1, 4):
        setup.emit(f"192.0.2.{number}", jail="slow")
        setup.emit(f"192.0.2.{number}", jail="other")
        eventually(lambda number=number: d.stats("slow")["quick"].done == number)
        eventually(lambda number=number: len(setup.backend().members[_member(setup, "other")]) == number)
        assert number == len(d.stats("slow")["nft"].applied)
    assert [0, 0, 0] == [d.stats("slow")[name].done for name in ("hang", "sleep", "tell")]
    assert 2 == len(_sleeping())
    began = time.monotonic()
    assert not d.stop(0.5)
    assert time.monotonic() - began < 8
    eventually(lambda: _sleeping() == [])
    assert {} == setup.backend().members
    sys.modules["banguard_action_" + "".join(c if c.isalnum() else "_" for c in str(path))].GO_ON.set()


def _member(setup, jail):
    return next(name for name in setup.backend().members if name.startswith(f"{jail}/"))


def _sleeping():
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
            if file.read() == f"sleep\0{FOR_EVER}\0".encode():
                found.append(entry)
    return found


def eventually(check, within=10.0):
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)
