"""Tests of banguard.daemon.app: the parts together, in this process, on real files and real commands."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from banguard.bans.registry import Call, Registry
from banguard.config.schema import ActionConfig, FilterConfig, JailConfig, LogPath
from banguard.control.api import ReloadRequest
from banguard.daemon import app, runner
from banguard.errors import ControlError
from banguard.model import Ban, Origin


def test_failures_in_a_log_become_a_ban_and_a_command(site, await_) -> None:
    """Two bad lines, and the action ran; the numbers say so; a stop takes the ban out and ends the action."""
    assert () == site.start()
    site.fail("192.0.2.1", 2)
    await_(lambda: "ban 192.0.2.1 1" in site.record())
    await_(lambda: site.app.jail("web").bans[0].enforced)
    view = site.app.jail("web")
    assert (2, 0, 1) == (view.stats.total_failed, view.stats.currently_failed, view.total_banned)
    assert (str(site.directory / "web.log"),) == view.files
    assert site.app.is_ready()
    site.stop()
    assert ["start", "ban 192.0.2.1 1", "flush", "stop"] == site.record()


def test_a_restart_restores_bans_and_goes_on_where_it_was(site, await_) -> None:
    """After a restart the ban is there again, and a failure counted before the stop still counts, once."""
    site.start()
    site.fail("192.0.2.1", 2)
    site.fail("192.0.2.2")
    await_(lambda: site.app.jail("web").stats.total_failed == 3)
    site.stop()
    site.start()
    await_(lambda: site.banned() == ["192.0.2.1"])
    await_(lambda: site.app.jail("web").stats.currently_failed == 1)
    site.fail("192.0.2.2")
    await_(lambda: site.banned() == ["192.0.2.1", "192.0.2.2"])
    await_(lambda: site.record().count("ban 192.0.2.1 1") == 2)


def test_bans_by_hand(site, await_) -> None:
    """Ban, unban and unban all give the numbers that an operator expects."""
    site.start()
    assert 2 == site.app.ban("web", ["192.0.2.1", "2001:db8::1"])
    assert 0 == site.app.ban("web", ["192.0.2.1"])
    await_(lambda: "ban 2001:db8::1 1" in site.record())
    assert {"192.0.2.1": 1} == site.app.unban("web", ["192.0.2.1", "192.0.2.9"])
    await_(lambda: "unban 192.0.2.1" in site.record())
    assert 1 == site.app.unban_all(None)
    await_(lambda: site.banned() == [])
    with pytest.raises(ControlError, match="'x' does not exist"):
        site.app.ban("x", ["192.0.2.1"])


def test_a_registry_that_does_not_stop_in_time_keeps_its_store(site, monkeypatch, caplog) -> None:
    """What it is at work on at a stop is written nevertheless: the file is not taken away under it."""
    begun, hold = threading.Event(), threading.Event()

    def slow(registry: Registry) -> None:
        begun.set()
        hold.wait(20)
        registry.store.drop("web")

    site.start()
    assert 1 == site.app.ban("web", ["192.0.2.1"])
    thread, call = site.app._registry_thread, Call(slow)
    site.app._registry.inbox.put(call)
    assert begun.wait(15)
    for module in (app, runner):
        monkeypatch.setattr(module, "PATIENCE", 0.05)
    site.stop()
    monkeypatch.undo()
    assert "The registry of bans did not stop in time" in caplog.text
    hold.set()
    assert thread.join(15)
    assert None is call.slot.wait(0)
    site.start()
    assert [] == site.banned()


def test_attempts_count_like_lines(site, await_) -> None:
    """`attempt` adds failures, and spares whom the jail ignores."""
    site.start()
    site.app.change_jail("web", lambda config: replace(config, ignoreip=("192.0.2.5",)))
    assert 0 == site.app.attempt("web", "192.0.2.5", ["a", "b"])
    assert 1 == site.app.attempt("web", "192.0.2.6", ["a", "b"])
    await_(lambda: site.banned() == ["192.0.2.6"])


def test_a_change_at_run_time_keeps_counts_and_is_refused_when_it_is_wrong(site, await_) -> None:
    """Another regex takes effect on the next line; a broken one changes nothing."""
    site.start()
    site.fail("192.0.2.1")
    await_(lambda: site.app.jail("web").stats.total_failed == 1)
    with pytest.raises(ControlError, match="unbalanced|missing"):
        site.app.change_jail("web", lambda config: replace(config, filter=FilterConfig(failregex=("(<HOST>",))))
    rules = site.app.jail("web").config.filter
    site.app.change_jail(
        "web", lambda config: replace(config, filter=replace(rules, failregex=(r"^\s*(?:bad|evil) <HOST>$",)))
    )
    assert "evil" in site.app.rules("web").failregex[0]
    with open(site.directory / "web.log", "a") as file:
        file.write("0 evil 192.0.2.1\n".replace("0", f"{site.app._clock.now():.0f}", 1))
    await_(lambda: site.banned() == ["192.0.2.1"])


def test_another_log_at_run_time(site, await_) -> None:
    """A log that is added is read, one that is taken away is not, and nothing is read twice."""
    site.start()
    site.fail("192.0.2.1")
    await_(lambda: site.app.jail("web").stats.total_failed == 1)
    site.write("two.log", "")
    both = tuple(LogPath(str(site.directory / name)) for name in ("web.log", "two.log"))
    site.app.change_jail("web", lambda config: replace(config, logpath=both))
    await_(lambda: len(site.app.jail("web").files) == 2)
    site.fail("192.0.2.2", log="two.log")
    await_(lambda: site.app.jail("web").stats.total_failed == 2)
    assert [] == site.banned()


def test_an_idle_jail_reads_later_what_it_did_not_read_then(site, await_) -> None:
    """Lines written while a jail is idle are counted once it goes on, each once."""
    site.start()
    site.fail("192.0.2.1")
    await_(lambda: site.app.jail("web").stats.total_failed == 1)
    site.app.set_idle("web", True)
    assert site.app.jail("web").idle
    site.fail("192.0.2.1")
    assert [] == site.banned()
    site.app.set_idle("web", False)
    await_(lambda: site.banned() == ["192.0.2.1"])
    assert 2 == site.app.jail("web").stats.total_failed


def test_a_reload_touches_only_what_changed(site, await_) -> None:
    """A changed option is in force, counts and bans stay, a new jail starts, a removed one stops."""
    site.start()
    site.app.ban("web", ["192.0.2.9"])
    site.fail("192.0.2.1")
    await_(lambda: site.app.jail("web").stats.total_failed == 1)
    site.write("jail.local", f"[web]\nmaxretry = 3\n[two]\nenabled = true\nlogpath = {site.directory}/two.log\n")
    site.write("two.log", "")
    assert () == site.app.reload(ReloadRequest())
    assert ("two", "web") == site.app.jail_names()
    assert 3 == site.app.jail("web").config.maxretry
    assert 1 == site.app.jail("web").stats.currently_failed
    site.fail("192.0.2.1", 2)
    await_(lambda: site.banned() == ["192.0.2.1", "192.0.2.9"] or site.banned() == ["192.0.2.9", "192.0.2.1"])
    site.write("jail.local", "[web]\n")
    site.app.reload(ReloadRequest())
    assert ("web",) == site.app.jail_names()
    assert 2 == site.app.jail("web").config.maxretry


@pytest.mark.parametrize(
    "broken",
    [
        "[web]\nmaxretry = 3\nfilter = nothing\n",
        "[web]\nmaxretry = 3\nfailregex = (<HOST>\n",
        "[web]\nmaxretry = 3\nmaxretry = 4\n",
        "[web]\nmaxretry = 3\naction = nothing\n",
        "[web\n",
    ],
)
def test_a_broken_configuration_changes_nothing(site, broken: str) -> None:
    """Whatever is wrong, the jail runs on with what it had, and the refusal says what is wrong."""
    site.start()
    site.write("jail.local", broken)
    with pytest.raises(ControlError, match="nothing was changed"):
        site.app.reload(ReloadRequest())
    assert 2 == site.app.jail("web").config.maxretry
    assert site.app.jail("web").started


def test_a_broken_jail_does_not_stop_the_others(site, await_) -> None:
    """The start tells what is wrong with one jail and the other one bans."""
    site.write(
        "jail.local",
        f"[bad]\nenabled = true\nfailregex = (\nlogpath = {site.directory}/web.log\n"
        f"[worse]\nenabled = true\nfilter = nothing\nlogpath = {site.directory}/web.log\n",
    )
    wrong = site.start()
    assert 2 == len(wrong)
    assert ("web",) == site.app.jail_names()
    site.fail("192.0.2.1", 2)
    await_(lambda: site.banned() == ["192.0.2.1"])


def test_a_jail_restarted_keeps_its_bans(site, await_) -> None:
    """`restart JAIL` stops and starts it; bans come back, and with --unban they do not."""
    site.start()
    site.app.ban("web", ["192.0.2.1"])
    site.app.reload(ReloadRequest(jail="web", restart=True))
    await_(lambda: site.banned() == ["192.0.2.1"])
    site.app.reload(ReloadRequest(jail="web", restart=True, unban=True))
    assert [] == site.banned()


def test_a_jail_made_at_run_time(site, await_) -> None:
    """A jail can be added, started, used and removed without a file."""
    site.start()
    site.write("late.log", "")
    config = JailConfig(
        "late",
        backend="polling",
        filter=FilterConfig(failregex=(r"^\s*bad <HOST>$",), datepattern="{EPOCH}"),
        logpath=(LogPath(str(site.directory / "late.log")),),
        maxretry=1,
        ignoreself=False,
    )
    site.app.add_jail(config)
    with pytest.raises(ControlError, match="already exists"):
        site.app.add_jail(config)
    assert not site.app.jail("late").started
    site.app.start_jail("late")
    site.fail("192.0.2.1", log="late.log")
    await_(lambda: site.banned("late") == ["192.0.2.1"])
    site.app.stop_jail("late")
    assert ("web",) == site.app.jail_names()


def test_actions_come_and_go_at_run_time(site, await_) -> None:
    """An action that is added gets the bans there are; its properties can be read and set; one taken away unbans."""
    site.start()
    site.app.ban("web", ["192.0.2.1"])
    out = site.directory / "second"
    action = ActionConfig(
        "second",
        "second",
        commands={"actionban": f"echo ban <ip> >> {out}", "actionunban": f"echo unban <ip> >> {out}"},
        properties={"name": "web", "colour": "red"},
    )
    site.app.add_action("web", action)
    await_(lambda: out.exists() and "ban 192.0.2.1" in out.read_text())
    with pytest.raises(ControlError, match="second"):
        site.app.add_action("web", action)
    assert "red" == site.app.action_properties("web", "second")["colour"]
    assert "blue" == site.app.set_action_property("web", "second", "colour", "blue")
    assert "ban" in site.app.action_methods("web", "second")
    site.app.delete_action("web", "second")
    await_(lambda: "unban 192.0.2.1" in out.read_text())
    with pytest.raises(ControlError, match="second"):
        site.app.action_properties("web", "second")


def test_options_of_the_server(site) -> None:
    """The store's limits follow; the database cannot be exchanged under jails; a bad level is refused."""
    site.start()
    assert 3 == site.app.change_server(lambda old: replace(old, dbmaxmatches=3)).dbmaxmatches
    with pytest.raises(ControlError, match="jails present"):
        site.app.change_server(lambda old: replace(old, dbfile=":memory:"))
    with pytest.raises(ControlError):
        site.app.change_server(lambda old: replace(old, loglevel="LOUD"))
    site.app.stop_jail("web")
    assert ":memory:" == site.app.change_server(lambda old: replace(old, dbfile=":memory:")).dbfile


def test_a_client_can_ask_for_the_end(site) -> None:
    """`stop` is told to whoever runs the server, who then shuts it down."""
    site.start()
    site.app.stop()
    assert site.stopped.is_set()


def test_bans_of_another_program_are_taken_over(site, await_) -> None:
    """They end when they would have ended, reach the actions, and those that are over count for the next time."""
    site.write("jail.local", "[web]\nbantime.increment = true\n")
    site.start()
    now = site.app._clock.now()
    bans = [
        Ban("web", "192.0.2.1", now - 50, now + 1000, 4, Origin.RESTORED),
        Ban("web", "192.0.2.2", now - 50, None, 1, Origin.RESTORED),
        Ban("web", "192.0.2.3", now - 5000, now - 1000, 2, Origin.RESTORED),
    ]
    assert 2 == site.app.import_bans("web", bans)
    assert 0 == site.app.import_bans("web", bans[:2])
    await_(lambda: "ban 192.0.2.1 4" in site.record())
    held = {active.ban.host: active.ban for active in site.app.jail("web").bans}
    assert {"192.0.2.1": now + 1000, "192.0.2.2": None} == {host: ban.until for host, ban in held.items()}
    site.app.ban("web", ["192.0.2.3"])
    await_(lambda: "ban 192.0.2.3 3" in site.record())
    site.stop()
    site.start()
    await_(lambda: set(site.banned()) == {"192.0.2.1", "192.0.2.2", "192.0.2.3"})


def test_a_log_that_is_not_there_is_waited_for_or_passed_over(site, await_, caplog) -> None:
    """The jail says what it misses and bans once the log is there; with skip_if_nologs it is left out."""
    site.write(
        "jail.local",
        f"[late]\nenabled = true\nlogpath = {site.directory}/late.log\n"
        f"[never]\nenabled = true\nskip_if_nologs = true\nlogpath = {site.directory}/never.log\n",
    )
    assert () == site.start()
    assert ("late", "web") == site.app.jail_names()
    assert "Have not found any log file for 'late' jail" in caplog.text
    site.fail("192.0.2.1", 2, log="late.log")
    await_(lambda: site.banned("late") == ["192.0.2.1"])


def test_alive_as_long_as_the_registry_answers(site, await_) -> None:
    """The server calls itself alive while the registry answers, and no longer when it is stuck."""
    site.start()
    assert site.app.is_alive()
    await_(site.app.is_alive)
    held = threading.Event()
    stuck = Call(lambda _: held.wait())
    site.app._registry.inbox.put_front(stuck)
    await_(lambda: not site.app.is_alive())
    assert not site.app.is_alive()
    held.set()
    await_(site.app.is_alive)


def test_a_running_jail_explains_lines_and_counts_nothing(site, await_) -> None:
    """It knows what its own counter holds."""
    site.start()
    site.fail("192.0.2.1")
    await_(lambda: site.app.jail("web").stats.total_failed == 1)
    line = f"{site.app._clock.now():.0f} bad 192.0.2.1"
    for _ in range(3):
        (found,) = site.app.explain(line, "web")
    assert ("web", "failure", True) == (found.jail, found.verdict, found.running)
    assert (1, 2) == (found.hosts[0].counter.before, found.hosts[0].counter.after)
    assert 1 == site.app.jail("web").stats.total_failed
    assert [] == site.banned()
    with pytest.raises(ControlError, match="does not exist"):
        site.app.explain(line, "nope")


def test_a_jail_observes_and_bans_as_it_is_told_at_run_time(site, await_) -> None:
    """mode.observe keeps bans from being made until it is taken back."""
    site.start()
    site.app.change_jail("web", lambda config: replace(config, observe=True))
    site.fail("192.0.2.1")
    site.fail("192.0.2.1")
    await_(lambda: [ban.host for ban in site.app.jail("web").observed] == ["192.0.2.1"])
    assert [] == site.banned()
    site.app.change_jail("web", lambda config: replace(config, observe=False))
    assert () == site.app.jail("web").observed
    site.fail("192.0.2.1")
    site.fail("192.0.2.1")
    await_(lambda: site.banned() == ["192.0.2.1"])


def test_a_reload_lets_a_jail_observe(site, await_) -> None:
    """With the option in the files it bans nobody from the reload on; failures counted so far still count."""
    site.start()
    site.fail("192.0.2.1")
    await_(lambda: site.app.jail("web").stats.total_failed == 1)
    site.write("jail.local", "[web]\nmode.observe = yes\n")
    assert () == site.app.reload(ReloadRequest())
    site.fail("192.0.2.1")
    await_(lambda: [ban.host for ban in site.app.jail("web").observed] == ["192.0.2.1"])
    assert [] == site.banned()
    (note,) = site.app.why("192.0.2.1", 0.0)["notes"]
    assert ("web", True) == (note["jail"], note["observed"])


def test_a_jail_that_reads_the_journal_explains_lines_of_files_too(site, monkeypatch) -> None:
    """An entry has no date in its text, a line shown by another program does; both are understood."""
    site.start()
    runner = site.app._jails["web"]
    monkeypatch.setattr(runner, "source_name", "journald")
    for line in ("bad 192.0.2.1", f"{site.app._clock.now():.0f} bad 192.0.2.1"):
        assert ["failure"] == [found.verdict for found in site.app.explain(line, "web")]


def test_why_and_history_of_a_ban(site, await_) -> None:
    """What led to it, what holds it, and how it ended."""
    site.start()
    site.fail("192.0.2.1", 2)
    await_(lambda: site.banned() == ["192.0.2.1"])
    (ban,) = site.app.why("192.0.2.1", 0.0)["bans"]
    assert (2, [1, 1], 2) == (ban["failures"], [line["rule"] for line in ban["lines"]], ban["maxretry"])
    assert "probe.conf:3" in ban["rules"][0]["place"]
    assert [("record", None)] == [(wall["action"], wall["held"]) for wall in ban["walls"]]
    site.app.unban(None, ["192.0.2.1"])
    (past,) = site.app.past("192.0.2.1")
    assert ("manual", 2) == (past.reason, past.ban.failures)


def test_a_self_test_runs_in_the_real_server(site) -> None:
    """The commands of the jail's action are run under another name; nothing stays."""
    site.start()
    outcome = site.app.self_test("web", line="", write_log=False)
    assert outcome["passed"], outcome
    assert ("web",) == site.app.jail_names()
    assert () == tuple(site.app.past("192.0.2.1"))
    with pytest.raises(ControlError, match="does not exist"):
        site.app.self_test("nope", line="", write_log=False)
