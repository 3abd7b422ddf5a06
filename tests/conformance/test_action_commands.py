"""Actions of the installed fail2ban, carried out by it and by us, start the same programs in the same order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance import actions_stand_ins as stand_ins
from support.machine import dying, why_not

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIGURATION = "/etc/fail2ban"
SYSTEM_PYTHON = "/usr/bin/python3"
AT_ONCE = 8
Recording = dict[str, dict[str, list[tuple[tuple[str, ...], str]]]]
"""Jail → step → calls, each with its words and its input."""

SHORT = [
    "iptables",
    "iptables-multiport",
    "iptables-allports",
    "iptables-ipset",
    "nftables",
    "nftables-allports",
    "firewallcmd-rich-rules",
    "firewallcmd-ipset",
    "hostsdeny",
    "pf",
    "ufw",
    "route",
    "sendmail-whois-lines",
    "mail",
    "abuseipdb",
    "cloudflare-token",
]
"""Families, on-demand starts, flushing, files, quoting, mail on stdin: one or two of each kind. All: BANGUARD_ALL_ACTIONS=1."""

OPTIONS = {
    "hostsdeny": 'file="{work}/hosts.deny"',
    "nginx-block-map": 'srv_cfg_path="{work}/", srv_pid="{work}/nginx.pid", srv_cmd="nginx"',
    "apprise": 'config="{work}/apprise.conf"',
    "abuseipdb": 'abuseipdb_apikey="KEY", abuseipdb_category="18,22"',
    "blocklist_de": 'email="a@example.com", apikey="KEY", service="ssh"',
    "ipthreat": 'ipthreat_apikey="KEY", ipthreat_flags="8", ipthreat_system="SSH"',
    "cloudflare": 'cfuser="u@example.com", cftoken="T"',
    "cloudflare-token": 'cfzone="Z", cftoken="T"',
    "netscaler": 'ns_host="192.0.2.99", ns_auth="AUTH", ns_dataset="fail2ban"',
    "nsupdate": 'domain="example.com", keyfile="/k", ttl="60"',
    "dummy": 'target="{work}/dummy"',
    "mynetwatchman": 'mnwlogin="l", mnwpass="p", srcport="1", tmpfile="{work}/mnw"',
    "dshield": 'tmpfile="{work}/dshield", userid="1"',
    "complain": 'logpath="{work}/none.log"',
    "xarf-login-attack": 'logpath="{work}/none.log"',
}
"""What an action needs to run at all, and what keeps it out of the machine's own files."""

NO_ACTIONS = {"helpers-common", "mail-whois-common", "sendmail-common", "firewallcmd-common"}
"""Files that other actions include."""

MOVED = ("/proc/net/xt_recent", "/etc/symbiosis/firewall/blacklist.d", "/etc/shorewall")
"""Where actions read and write the machine's own files: such places are looked for below the test's directory."""

DIFFERENCES: dict[tuple[str, str], str] = {}
"""(action, step) → why our programs differ from fail2ban's there."""


def _all_actions() -> list[str]:
    folder = os.path.join(CONFIGURATION, "action.d")
    if not os.path.isdir(folder):
        return []
    names = {name.removesuffix(".conf") for name in os.listdir(folder) if name.endswith(".conf")}
    return sorted(names - NO_ACTIONS)


ACTIONS = _all_actions() if os.environ.get("BANGUARD_ALL_ACTIONS") else [a for a in SHORT if a in _all_actions()]


def _why_not() -> str | None:
    if shutil.which("fail2ban-server") is None or not ACTIONS:
        return "fail2ban is not installed"
    return why_not()


def _jail(action: str) -> str:
    return "j-" + action


PROBE = """[Definition]
actionstart = probe <name> start <fs> <family6>
actionstop = probe <name> stop <ft> <family6>
actioncheck = <do_check>
actionrepair = <do_repair>
actionflush = <do_flush>
actionreload = <do_reload>
actionban = probe <name> ban <fb> <ip> <fid> <ip-rev> <failures> <bantime> <bancount> <restored> "<F-USER>"
actionunban = probe <name> unban <fu> <ip> <kind>
actionrepair_on_unban = <onunban>
[Init]
fs = 0
ft = 0
fb = 0
fu = 0
fc = 0
kind = four
family6 = {more}
do_check =
do_repair =
do_flush =
do_reload =
onunban = false
{init}
"""
"""An action that says what it runs; `probe` fails at the calls numbered in `fs`, `fb`, …."""

CHECK = "do_check='probe <name> check <fc>'"
PROBES = {
    "plain": "probe",
    "ban-fails-once": 'probe[fb="1"]',
    "ban-fails-check-ok": f'probe[fb="1", {CHECK}]',
    "restart": f'probe[fb="1", fc="1", {CHECK}]',
    "restart-later": f'probe[fb="2", fc="1", {CHECK}]',
    "repair": f"""probe[fb="1", fc="1", {CHECK}, do_repair='probe <name> repair 0']""",
    "unban-gives-up": f'probe[fu="1", fc="1", {CHECK}]',
    "unban-repairs": f'probe[fu="1", fc="1", onunban=true, {CHECK}]',
    "stop-fails": f'probe[ft="1", {CHECK}]',
    "flush": """probe[do_flush='probe <name> flush 0']""",
    "families": "probe6",
    "families-check": f'probe6[fb="1", fc="1", {CHECK}]',
    "families-flush": """probe6[do_flush='probe <name> flush 0']""",
    "families-at-once": "probe6[actionstart_on_demand=false]",
    "reload": """probe[do_reload='probe <name> reload 0']""",
    "reload-families": """probe6[do_reload='probe <name> reload 0 <family>']""",
    "on-demand": "probe[actionstart_on_demand=true]",
}
"""Scenario → action."""

NO_RESTART = "fail2ban 1.0.2 checks again without having stopped and started an action that has no families"
AGAIN = "what the repair threw away is banned again at once, not when it shows up again"
PROBE_DIFFERENCES = {
    (
        "stop-fails",
        "first stop",
    ): "fail2ban 1.0.2 tries a stop that failed once more for each family, of an action without any",
    ("restart", "first ban"): NO_RESTART,
    ("restart-later", "ban4"): NO_RESTART,
    ("unban-repairs", "flush"): NO_RESTART,
}
"""(scenario, step) → why our programs differ from fail2ban's there."""


def _configure_probes(directory: str, work: str) -> None:
    os.makedirs(os.path.join(directory, "action.d"))
    os.makedirs(os.path.join(directory, "filter.d"))
    with open(os.path.join(directory, "fail2ban.conf"), "w", encoding="ascii") as file:
        file.write("[Definition]\n")
    for name, init in (("probe", ""), ("probe6", "[Init?family=inet6]\nkind = six")):
        with open(os.path.join(directory, "action.d", f"{name}.conf"), "w", encoding="ascii") as file:
            file.write(PROBE.format(more="<family>" if init else "-", init=init))
    log = os.path.join(work, "probe.log")
    with open(log, "w", encoding="ascii"):
        pass
    lines = ["[DEFAULT]", "backend = polling", "bantime = 600"]
    for scenario, action in PROBES.items():
        lines += [f"[{_jail(scenario)}]", "enabled = true", "filter =", f"logpath = {log}", "failregex = ^none <HOST>$"]
        lines.append(f"action = {action}")
    with open(os.path.join(directory, "jail.conf"), "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")


def _configure(directory: str, work: str) -> None:
    """Copy the configuration, without absolute paths of programs, and write a jail for each action."""
    shutil.copytree(CONFIGURATION, directory)
    shutil.rmtree(os.path.join(directory, "jail.d"), ignore_errors=True)
    for folder, _, names in os.walk(os.path.join(directory, "action.d")):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            with open(path, "w", encoding="utf-8") as file:
                text = re.sub(r"/(?:usr/)?(?:local/)?(?:s?bin|libexec)/(?!sh\b)(?=[a-z])", "", text)
                for place in MOVED:
                    text = text.replace(place, work + place)
                file.write(text)
    for place in MOVED:
        os.makedirs(work + place)
    log = os.path.join(work, "empty.log")
    with open(log, "w", encoding="ascii"):
        pass
    lines = ["[DEFAULT]", "backend = polling", "dest = d@example.com", "bantime = 600"]
    for action in ACTIONS:
        options = OPTIONS.get(action, "").format(work=work)
        bracket = ", ".join(part for part in ('port="ssh,http"', "protocol=tcp", options) if part)
        lines += [
            f"[{_jail(action)}]",
            "enabled = true",
            "filter =",
            f"logpath = {log}",
            "failregex = ^no line has this <HOST>$",
            f"action = {action}[name={_jail(action)}, {bracket}]",
        ]
    with open(os.path.join(directory, "jail.local"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _record(who: str, python: str, work: str, actions: list[str]) -> Recording:
    """Carry *actions* out in namespaces where neither the network nor the state of the machine can be touched."""
    directory = os.path.join(work, "etc")
    own = os.path.join(work, f"{who}-{actions[0]}")
    os.makedirs(own)
    record = os.path.join(own, "record")
    with open(record, "w", encoding="ascii"):
        pass
    private = 'for d in /run /var/lib/fail2ban; do mount -t tmpfs tmpfs $d; done; mkdir -p /run/fail2ban; exec "$@"'
    argv = ["unshare", "-n", "-m", "--propagation", "private", "sh", "-c", private, "sh"]
    argv += [python, os.path.join(HERE, f"actions_{who}.py"), directory, record, *map(_jail, actions)]
    environment = {**os.environ, "PATH": os.path.join(work, "bin") + ":" + os.environ["PATH"], "RECORD": record}
    done = subprocess.run(dying(*argv), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return stand_ins.read(record)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    work = str(tmp_path_factory.mktemp("actions"))
    _configure(os.path.join(work, "etc"), work)
    return _record_both(work, ACTIONS)


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    reason = _why_not()
    if reason is not None:
        pytest.skip(reason)
    work = str(tmp_path_factory.mktemp("probes"))
    _configure_probes(os.path.join(work, "etc"), work)
    return _record_both(work, list(PROBES))


def _record_both(work: str, actions: list[str]) -> tuple[Recording, Recording]:
    stand_ins.make(os.path.join(work, "bin"))
    # A server waits more than it works: several at once.
    groups = [group for group in (actions[first::AT_ONCE] for first in range(AT_ONCE)) if group]

    def record(who: str, python: str) -> Recording:
        parts = pool.map(lambda group: _record(who, python, work, group), groups)
        return {jail: steps for part in parts for jail, steps in part.items()}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return record("oracle", SYSTEM_PYTHON), record("ours", sys.executable)


def _plain(text: str) -> str:
    """Leave out what differs from one moment to the next: times, process ids."""
    text = re.sub(r"(?<!\d)1[5-9]\d{8}(?:\.\d+)?(?!\d)", "TIME", text)
    return re.sub(r"\d\d:\d\d:\d\d", "CLOCK", text)


@pytest.mark.parametrize("action", ACTIONS or ["none"])
def test_the_same_programs_are_started(recordings, action):
    """Start, bans of both families, unban, reload, flush and stop call the same programs with the same words and input."""
    theirs, ours = (recording[_jail(action)] for recording in recordings)
    assert list(theirs) == list(ours)
    for step, calls in theirs.items():
        expected = [(tuple(map(_plain, argv)), _plain(stdin)) for argv, stdin in calls]
        found = [(tuple(map(_plain, argv)), _plain(stdin)) for argv, stdin in ours[step]]
        if (action, step) in DIFFERENCES:
            assert expected != found, f"no difference any more: {DIFFERENCES[action, step]}"
        else:
            assert expected == found, step


@pytest.mark.parametrize("scenario", PROBES)
def test_checks_and_repairs(probes, scenario):
    """Failing commands, checks, repairs, flushes and families lead to the same commands in the same order."""
    theirs, ours = (recording[_jail(scenario)] for recording in probes)
    for step, calls in theirs.items():
        if (scenario, step) in PROBE_DIFFERENCES:
            assert calls != ours[step], f"no difference any more: {PROBE_DIFFERENCES[scenario, step]}"
        else:
            assert calls == ours[step], step


def test_something_was_recorded(recordings):
    """The comparison is about real calls."""
    theirs, _ = recordings
    assert 50 < sum(len(calls) for steps in theirs.values() for calls in steps.values())
