"""Tests of banguard.daemon.reload."""

from __future__ import annotations

import pytest

from banguard.config.schema import Config, JailConfig, Problem, ServerConfig, Severity
from banguard.control.api import ReloadRequest
from banguard.daemon.reload import ReloadPlan, plan, refuse_if_broken
from banguard.errors import ControlError


def jails(**maxretry: int) -> dict[str, JailConfig]:
    return {name: JailConfig(name, maxretry=number) for name, number in maxretry.items()}


def config(wanted: dict[str, JailConfig], *problems: Problem) -> Config:
    return Config("/etc/banguard", ServerConfig(), wanted, problems)


@pytest.mark.parametrize(
    ("running", "wanted", "request_", "expected"),
    [
        (jails(a=1), jails(a=1), ReloadRequest(), ReloadPlan(kept=("a",))),
        (jails(a=1), jails(a=2), ReloadRequest(), ReloadPlan(change=("a",))),
        (jails(a=1), jails(b=1), ReloadRequest(), ReloadPlan(stop=("a",), start=("b",))),
        (jails(a=1, b=1), jails(a=2, b=2), ReloadRequest(jail="b"), ReloadPlan(change=("b",))),
        (jails(a=1, b=1), jails(b=1), ReloadRequest(jail="b"), ReloadPlan(kept=("b",))),
        (jails(a=1), jails(a=1), ReloadRequest(restart=True), ReloadPlan(restart=("a",))),
        (jails(a=1), jails(), ReloadRequest(jail="a", if_exists=True), ReloadPlan(stop=("a",))),
        (jails(), jails(), ReloadRequest(jail="a", if_exists=True), ReloadPlan()),
    ],
)
def test_a_plan_has_a_step_for_each_difference(running, wanted, request_, expected: ReloadPlan) -> None:
    """Jails that are the same are left alone; of a request for one jail no other hears."""
    assert expected == plan(running, config(wanted), request_)


def test_another_backend_restarts_the_jail() -> None:
    """A source cannot be exchanged under a running jail."""
    wanted = {"a": JailConfig("a", backend="polling")}
    assert ReloadPlan(restart=("a",)) == plan(jails(a=3), config(wanted), ReloadRequest())


def test_an_unknown_jail_is_refused() -> None:
    """A jail that is not configured cannot be reloaded."""
    with pytest.raises(ControlError, match="'x' does not exist"):
        plan(jails(a=1), config(jails(a=1)), ReloadRequest(jail="x"))


def test_one_error_keeps_everything_as_it_is() -> None:
    """A configuration with errors is refused, and the refusal lists them all."""
    first = Problem(Severity.ERROR, "bad regex", "a")
    second = Problem(Severity.ERROR, "no filter", "b")
    warning = Problem(Severity.WARNING, "odd", "c")
    with pytest.raises(ControlError) as caught:
        refuse_if_broken(config({}, first, second, warning), ReloadRequest())
    assert "bad regex" in str(caught.value)
    assert "no filter" in str(caught.value)
    assert "odd" not in str(caught.value)


def test_the_errors_of_other_jails_do_not_matter_to_the_reload_of_one() -> None:
    """`reload a` is carried out although jail b is broken; errors of no jail in particular matter to all."""
    other = Problem(Severity.ERROR, "no filter", "b")
    refuse_if_broken(config({}, other), ReloadRequest(jail="a"))
    with pytest.raises(ControlError, match="unreadable"):
        refuse_if_broken(config({}, Problem(Severity.ERROR, "unreadable")), ReloadRequest(jail="a"))
