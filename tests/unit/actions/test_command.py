from __future__ import annotations

import os
import threading
import time

import pytest

from banguard.actions.base import GivenUpError, Step
from banguard.actions.command import CommandAction, Turn, ban_of
from banguard.clock import SystemClock
from banguard.config.schema import ActionConfig
from banguard.errors import ActionError
from banguard.model import Ban
from banguard.run import Cancel

V4 = Ban("sshd", "192.0.2.1", 100.0, 700.0, failures=3)
V6 = Ban("sshd", "2001:db8::1", 100.0, 700.0)


def step(new=V4, old=None, **more):
    one = new or old
    return Step("m", one.host, old, new, **more)


@pytest.fixture
def log(tmp_path):
    """A file the commands write to, and its lines."""

    class Log:
        path = str(tmp_path / "log")

        def take(self):
            if not os.path.exists(self.path):
                return []
            with open(self.path) as file:
                lines = file.read().splitlines()
            os.unlink(self.path)
            return lines

        def make(self, *, path="", properties=(), clock=None, options=None, **commands):
            words = {name: text.replace("LOG", f'echo >> "{self.path}"') for name, text in commands.items()}
            words = {name.replace("__", "?family="): text for name, text in words.items()}
            return ActionConfig(
                "act",
                "act",
                commands=words,
                properties={"name": "sshd", **dict(properties)},
                path=path,
                **(options or {}),
            )

    return Log()


def action(config, clock, **more):
    return CommandAction(config, "sshd", clock=clock, **more)


HOOKS = {
    "actionstart": "LOG start <name>",
    "actionstop": "LOG stop",
    "actionban": "LOG ban <ip> <kind>",
    "actionunban": "LOG unban <ip>",
    "actionflush": "LOG flush",
}


def test_a_plain_life(log, clock):
    """Start at once, ban, unban, stop; what is empty does nothing."""
    one = action(log.make(**HOOKS, actionprolong="", properties={"kind": "x"}), clock)
    assert (True, True) == (one.has_start, one.keeps_state)
    one.start()
    one.ban(step())
    one.ban(step(V4, V4))
    one.unban(step(None, V4))
    one.unban(step(None, V6))
    one.stop()
    one.stop()
    assert ["start sshd", "ban 192.0.2.1 x", "unban 192.0.2.1", "unban 2001:db8::1", "stop"] == log.take()


def test_families_are_started_on_demand_and_stopped_by_themselves(log, clock):
    """Options for one family: each family starts before its first ban, with its own values."""
    config = log.make(
        actionstart="LOG start <family>",
        actionstop="LOG stop <kind>",
        actionban="LOG ban <kind> <ip>",
        actionunban="LOG unban <kind> <ip>",
        actionflush="LOG flush <kind>",
        properties={"kind": "four", "kind?family=inet6": "six"},
    )
    one = action(config, clock)
    assert not one.has_start
    one.start()
    one.unban(step(None, V4))
    assert [] == log.take()
    one.ban(step(V6))
    one.ban(step(V6))
    assert ["start inet6", "ban six 2001:db8::1", "ban six 2001:db8::1"] == log.take()
    assert one.flush()
    one.stop()
    assert ["flush six", "stop six"] == log.take()


def test_the_same_text_for_both_families_runs_once(log, clock):
    """As often as it makes a difference."""
    config = log.make(**HOOKS, properties={"kind": "4", "kind?family=inet6": "6"}, options={"start_on_demand": False})
    one = action(config, clock)
    one.start()
    one.ban(step(V4))
    one.ban(step(V6))
    one.stop()
    assert ["start sshd", "ban 192.0.2.1 4", "ban 2001:db8::1 6", "stop"] == log.take()


def test_without_ipv6_there_is_one_family(log, clock):
    """Nothing is started for IPv6."""
    config = log.make(
        actionstart="LOG start <kind>",
        properties={"kind": "4", "kind?family=inet6": "6"},
        options={"start_on_demand": False},
    )
    action(config, clock, allow_ipv6=False).start()
    assert ["start 4"] == log.take()


def test_conditional_commands(log, clock):
    """A command may have a text for one family."""
    one = action(log.make(actionban="LOG ban", actionban__inet6="LOG ban six"), clock)
    one.ban(step(V4))
    one.ban(step(V6))
    assert ["ban", "ban six"] == log.take()


@pytest.mark.parametrize(
    ("one_step", "expected"),
    [
        (step(V4, Ban("sshd", "192.0.2.1", 100.0, 300.0)), ["prolong 600"]),
        (step(V4, Ban("sshd", "192.0.2.1", 50.0, 300.0)), ["unban", "ban"]),
        (step(V4, again=True), ["reban"]),
        (step(V4), ["ban"]),
    ],
)
def test_which_command_a_step_needs(log, clock, one_step, expected):
    """Prolong when only the end moved, unban and ban for another ban, reban for what was lost."""
    config = log.make(
        actionban="LOG ban", actionunban="LOG unban", actionprolong="LOG prolong <bantime>", actionreban="LOG reban"
    )
    one = action(config, clock)
    one.ban(step())
    log.take()
    one.ban(one_step)
    assert expected == log.take()


def test_reban_falls_back_to_ban(log, clock):
    """Without actionreban there is actionban."""
    one = action(log.make(actionban="LOG ban"), clock)
    one.ban(step(again=True))
    assert ["ban"] == log.take()


def failing(log, word, numbers):
    """Return shell text that writes *word* and fails at the calls with these numbers."""
    count = f"{log.path}.{word}"
    return f'LOG {word}; echo >> "{count}"; case " {numbers} " in *" $(wc -l < "{count}") "*) exit 1;; esac'


def test_a_failed_command_is_run_once_more(log, clock):
    """Without a check."""
    one = action(log.make(actionban=failing(log, "ban", "1")), clock)
    one.ban(step())
    assert ["ban", "ban"] == log.take()


def test_a_command_that_fails_twice_is_an_error_that_says_why(log, clock):
    """Exit status and the first words of the output."""
    one = action(log.make(actionban="echo 'no such chain' >&2; exit 4"), clock)
    with pytest.raises(ActionError, match="actionban: exit status 4: no such chain"):
        one.ban(step())


def test_the_check_comes_after_a_failure_only(log, clock):
    """Bans are cheap: no check before each."""
    one = action(log.make(actionban=failing(log, "ban", "2"), actioncheck="LOG check"), clock)
    one.ban(step())
    one.ban(step())
    assert ["ban", "ban", "check", "ban"] == log.take()


def test_a_failed_check_restarts_and_tells_what_was_lost(log, clock):
    """Stop, start, check, the command again; the family's other bans have to be applied again."""
    lost = []
    config = log.make(
        actionstart="LOG start",
        actionstop="LOG stop; exit 1",
        actionban=failing(log, "ban", "2"),
        actioncheck=failing(log, "check", "1"),
    )
    one = action(config, clock, lost=lost.append)
    one.start()
    one.ban(step(V4))
    one.ban(step(V6))
    assert ["start", "ban", "ban", "check", "stop", "start", "check", "ban"] == log.take()
    assert [[True, True]] == [[which(V4), which(V6)] for which in lost]


def test_repair_takes_the_place_of_stop_and_start(log, clock):
    """And only the family concerned is lost."""
    lost = []
    config = log.make(
        actionstart="LOG start",
        actionban=failing(log, "ban", "1"),
        actioncheck=failing(log, "check", "1"),
        actionrepair="LOG repair",
        properties={"x?family=inet6": "1"},
    )
    one = action(config, clock, lost=lost.append)
    one.ban(step(V4))
    assert ["start", "ban", "check", "repair", "check", "ban"] == log.take()
    assert [[True, False]] == [[which(V4), which(V6)] for which in lost]


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ({"actionrepair": "exit 1"}, "actionrepair failed"),
        ({"actionrepair": "true"}, "actioncheck still fails"),
        ({"actionstart": "exit 3"}, "actionstart: exit status 3"),
    ],
)
def test_a_repair_that_fails_is_an_error(log, clock, commands, message):
    """The ban is not claimed to be in force."""
    one = action(log.make(**{"actionban": "exit 1", "actioncheck": "exit 1", "actionstart": "true", **commands}), clock)
    one._started[""] = True
    with pytest.raises(ActionError, match=message):
        one.ban(step())


def test_unban_where_the_rules_are_gone_is_given_up(log, clock):
    """No repair for an unban, unless the action permits it."""
    commands = {
        "actionstart": "LOG start",
        "actionban": "LOG ban",
        "actionunban": failing(log, "unban", "1"),
        "actioncheck": failing(log, "check", "1"),
    }
    one = action(log.make(**commands), clock)
    one.ban(step())
    with pytest.raises(GivenUpError):
        one.unban(step(None, V4))
    assert ["start", "ban", "unban", "check"] == log.take()
    os.unlink(f"{log.path}.unban")
    os.unlink(f"{log.path}.check")
    one = action(log.make(**commands, actionstop="LOG stop", options={"repair_on_unban": True}), clock)
    one.ban(step())
    one.unban(step(None, V4))
    assert ["start", "ban", "unban", "check", "stop", "start", "check", "unban"] == log.take()


def test_the_consistency_check_repairs_on_its_own(log, clock):
    """Only what is started is checked."""
    lost = []
    config = log.make(actionstart="LOG start", actionban="LOG ban", actioncheck=failing(log, "check", "2"))
    one = action(config, clock, lost=lost.append)
    one.check()
    assert [] == log.take()
    one.start()
    one.check()
    one.check()
    assert ["start", "check", "check", "start", "check"] == log.take()
    assert 1 == len(lost)


def test_a_start_that_failed_is_tried_again_by_the_next_ban(log, clock):
    """A ban needs a started action."""
    one = action(log.make(actionstart=failing(log, "start", "1"), actionban="LOG ban"), clock)
    with pytest.raises(ActionError, match="actionstart: exit status 1"):
        one.start()
    one.ban(step())
    assert ["start", "start", "ban"] == log.take()


def test_without_flush_each_ban_is_unbanned(log, clock):
    """flush() says so and does nothing."""
    one = action(log.make(actionban="LOG ban", actionunban="LOG unban"), clock)
    one.ban(step())
    assert not one.flush()
    assert ["ban"] == log.take()


def test_nothing_to_flush(log, clock):
    """Without bans no flush."""
    one = action(log.make(**HOOKS), clock)
    one.start()
    assert not one.flush()
    assert ["start sshd"] == log.take()


def test_reload_runs_its_command_where_started(log, clock):
    """actionreload."""
    one = action(log.make(actionreload="LOG reload", actionstart="LOG start"), clock)
    one.reload()
    one.start()
    one.reload()
    assert ["start", "reload"] == log.take()


def test_a_notification_is_what_cannot_unban(log, clock):
    """Without actionunban nothing can be taken back."""
    assert not action(log.make(actionban="LOG ban"), clock).keeps_state


def test_the_timeout_ends_a_command(log, clock):
    """`timeout` is a duration; a command that hangs is a failure."""
    one = action(log.make(actionban="sleep 1000", properties={"timeout": "0.1"}), clock)
    with pytest.raises(ActionError, match="timed out after 0 s"):
        one.ban(step())


def test_a_bad_timeout_is_named(log, clock):
    """The option is told."""
    with pytest.raises(ActionError, match="timeout: "):
        action(log.make(properties={"timeout": "soon"}), clock)


def test_verify_renders_every_command(log, clock):
    """A tag that refers to itself is found before anything runs."""
    one = action(log.make(actionban="echo <a>", properties={"a": "<b>", "b": "<a>"}), clock)
    with pytest.raises(ActionError, match="refers to itself"):
        one.verify()


def test_commands_can_use_each_other(log, clock):
    """`<actionflush>` inside actionstop."""
    one = action(log.make(actionstart="true", actionflush="LOG flush", actionstop="<actionflush>\nLOG stop"), clock)
    one.start()
    one.stop()
    assert ["flush", "stop"] == log.take()


def test_cancel_ends_a_command_and_nothing_is_tried_again(log, clock):
    """Stopping has a deadline."""
    cancel = Cancel()
    cancel.set()
    one = action(log.make(actionban="LOG ban"), clock, cancel=cancel)
    with pytest.raises(ActionError, match="cancelled"):
        one.ban(step())
    assert [] == log.take()
    cancel.close()


def test_properties_can_be_read_and_set(log, clock):
    """Commands, tags and switches; a bad value changes nothing."""
    one = action(log.make(actionban="LOG <word>", properties={"word": "a"}), clock)
    assert "b" == one.set_property("word", "b")
    one.ban(step())
    assert ["b"] == log.take()
    text = f'echo >> "{log.path}" <word>c'
    assert text == one.set_property("actionban", text)
    one.ban(step())
    assert ["bc"] == log.take()
    assert ["false", "true", "true"] == [
        one.set_property("norestored", "false"),
        one.set_property("actionrepair_on_unban", "yes"),
        one.set_property("actionstart_on_demand", "1"),
    ]
    assert one.norestored is False
    assert "2m" == one.set_property("timeout", "2m")
    with pytest.raises(ActionError):
        one.set_property("word", "<word>")
    with pytest.raises(ActionError):
        one.set_property("timeout", "never")
    assert "b" == one.properties()["word"]
    assert "" == one.properties()["actionflush"]


def test_methods_by_name(log, clock):
    """`ban` takes the tags of a ban."""
    one = action(log.make(**HOOKS, properties={"kind": "x"}), clock)
    assert "ban" in one.methods()
    one.call("start", {})
    one.call("ban", {"aInfo": {"ip": "192.0.2.7", "failures": 2, "matches": "a\nb"}})
    one.call("unban", {"ip": "192.0.2.7"})
    assert ["start sshd", "ban 192.0.2.7 x", "unban 192.0.2.7"] == log.take()
    with pytest.raises(ActionError, match="has no method 'explode'"):
        one.call("explode", {})
    with pytest.raises(ActionError, match="needs an address"):
        one.call("ban", {})


def test_a_ban_made_by_hand():
    """Tags to values."""
    expected = Ban("j", "192.0.2.7", 5.0, None, failures=2, matches=("a", "b"))
    assert expected == ban_of("j", {"ip": "192.0.2.7", "failures": 2, "matches": "a\nb"}, 5.0)


@pytest.mark.parametrize(
    "hostile",
    [
        "'; touch PROOF; #",
        "`touch PROOF`",
        "$(touch PROOF)",
        "\ntouch PROOF\n",
        "\0;touch PROOF",
        "%s",
        "<ip>",
        "\n~!touch PROOF",
    ],
)
def test_no_tag_lets_text_of_a_log_become_a_command(log, clock, tmp_path, hostile):
    """Ban, unban, prolong: what a client wrote into the log is a value everywhere."""
    text = hostile.replace("PROOF", str(tmp_path / "proof"))
    every = [
        "fid",
        "matches",
        "ipmatches",
        "ipjailmatches",
        "ip-host",
        "F-USER",
        "raw-ticket",
        "ip",
        "family",
        "jail.name",
    ]
    words = " ".join(f"<{tag}> \"<{tag}>\" '<{tag}>'" for tag in every)
    commands = dict.fromkeys(("actionban", "actionunban", "actionprolong"), f"printf '%s\\n' {words} > /dev/null")
    one = action(
        log.make(**commands),
        clock,
        history=lambda host, jail: ([text], 1),
        reverse_lookup=lambda address: text,
    )
    new = Ban("sshd", text, 100.0, 700.0, matches=(text,), data={"user": text})
    old = Ban("sshd", text, 100.0, 600.0, data={"ip": "192.0.2.1"})
    one.ban(step(new))
    one.ban(step(new, old))
    one.unban(step(None, old))
    assert [] == os.listdir(tmp_path)


def test_adopting_another_configuration(log, clock):
    """A kept action with new parameters stays started."""
    one = action(log.make(**HOOKS, properties={"kind": "old"}), clock)
    one.start()
    one.adopt(one.like(log.make(**HOOKS, properties={"kind": "new"})))
    one.ban(step())
    assert ["start sshd", "ban 192.0.2.1 new"] == log.take()
    assert one.like(log.make(actionban="LOG")) is None
    assert one.like(log.make(**HOOKS, properties={"kind?family=inet6": "x"})) is None


def test_what_a_command_said_is_logged_once(log, clock, caplog):
    """At ERROR when it failed; the same failure of the next ban is not repeated."""
    one = action(log.make(actionban="echo out; echo 'err\x1b[2J' >&2; exit 5"), clock)
    with caplog.at_level("INFO"):
        for _ in range(2):
            with pytest.raises(ActionError):
                one.ban(step())
    lines = [record.getMessage().partition(" -- ")[2] for record in caplog.records]
    assert ["stdout: 'out'", "stderr: 'err\\x1b[2J'", "returned 5"] == lines[1:]
    assert lines[0].startswith("exec: ")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("exit 127", "127 means: a program was not found. Is it installed, and in our PATH?"),
        ("kill -TERM $$", "killed with SIGTERM (return code: -15)"),
        ("sh -c 'kill -KILL $$'; exit $?", "killed with SIGKILL (return code: 137)"),
    ],
)
def test_hints(log, clock, caplog, command, line):
    """What a return code means."""
    with pytest.raises(ActionError):
        action(log.make(actionban=command), clock).ban(step())
    assert line in [record.getMessage().partition(" -- ")[2] for record in caplog.records]


def test_commands_of_the_same_file_take_turns():
    """Two jails that edit one file do not lose each other's edits."""
    turn = Turn(SystemClock())
    running, most = [], []

    def edit():
        turn.take(threading.current_thread())
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()
        turn.give_back(threading.current_thread())

    threads = [threading.Thread(target=edit) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 5 == len(most)
    assert 1 == max(most[:3])


def test_a_slow_command_holds_up_others_for_100_ms_at_most():
    """Once it has taken that long it holds up nobody any more."""
    turn = Turn(SystemClock())
    turn.take("slow")
    began = time.monotonic()
    turn.take("fast")
    first = time.monotonic() - began
    began = time.monotonic()
    turn.take("fast")
    second = time.monotonic() - began
    turn.give_back("fast")
    turn.give_back("slow")
    turn.take("other")
    turn.give_back("other")
    assert 0.05 < first < 0.3
    assert second < 0.05
