"""Explain lines: of a jail that runs, with what it remembers, or of a configuration alone."""

from __future__ import annotations

from dataclasses import replace

from banguard.bans.bantime import BanTimes
from banguard.bans.store import Offences
from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.daemon.parts import ignore_rules, make_rules, run_check
from banguard.jails.explain import Explanation, Sequel, Surroundings, explain
from banguard.jails.jail import Foreseen, Jail
from banguard.jails.resolver import Resolver


def sequel(config: JailConfig, past: Offences | None, at: float) -> Sequel:
    """Return what a ban at time *at* (epoch seconds) would be for a host with this *past*."""
    count = 0 if past is None else config.increment.decayed(past.count, at - past.last)
    # The random part is left out: nobody knows it before.
    length = BanTimes(config.bantime, config.increment, jail=config.name, random=lambda: 0.0).length(count)
    return Sequel(length, count + 1, tuple(action.name for action in config.actions), config.observe)


def explain_configured(config: JailConfig, line: str, clock: Clock, *, resolver: Resolver | None = None) -> Explanation:
    """Return how a jail of *config*, just started, would treat *line*; ConfigError when it cannot work."""
    resolver = resolver or Resolver(clock)
    journal = config.backend.lower() in {"systemd", "journald"}
    ignore = ignore_rules(config, clock=clock, resolver=resolver, run_check=run_check)
    jail = Jail(
        config,
        make_rules(config, journal=journal),
        clock=clock,
        ignore=ignore,
        resolver=resolver,
        publish=lambda _: None,
    )

    def foresee(host: str, at: float) -> Foreseen:
        return jail.foresee(host, at)

    around = Surroundings(foresee=foresee, sequel=lambda _, at: sequel(config, None, at))
    rules = make_rules(replace(config, success_forgets=True), journal=journal)
    return explain(line, config, rules, clock=clock, ignore=ignore, resolver=resolver, around=around, running=False)
