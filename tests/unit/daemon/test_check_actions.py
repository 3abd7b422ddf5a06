"""Actions whose program, kernel part or port is not there are told of, once, with what can be had instead."""

from __future__ import annotations

import pytest

from banguard.actions.base import NATIVE_ACTIONS
from banguard.config.schema import ActionConfig, ActionKind, Config, JailConfig
from banguard.daemon.check_actions import NEEDS, check_actions, programs_in, read_services, wrong_port
from banguard.message import code_of
from banguard.run import Finished

NFT = ActionConfig("nftables", "nftables", ActionKind.NATIVE, native="nftables")
SERVICES = frozenset(("http", "https", "ssh"))


def found(*actions, there=(), answer=Finished(0), jails=("sshd",)):
    config = Config("/etc/x", jails={name: JailConfig(name, actions=actions) for name in jails})
    problems = check_actions(
        config,
        which=lambda program: f"/bin/{program}" if program in there else None,
        run=lambda _: answer,
        services=lambda: SERVICES,
    )
    return [(code_of(each.message), each.message, each.jail, each.proposal) for each in problems]


def command(text, **properties):
    return ActionConfig("own", "own", commands={"actionban": text}, properties=properties)


def test_every_native_action_is_known():
    """Whoever adds one says what it needs."""
    assert set(NATIVE_ACTIONS) == set(NEEDS)


def test_what_is_there_is_right():
    """Nothing is said when program and kernel play along."""
    assert [] == found(NFT, there=("nft",))


def test_a_program_that_is_missing_is_told_once_for_all_jails():
    """With the package, and what works here instead."""
    ((code, message, jail, proposal),) = found(NFT, there=("iptables",), jails=("sshd", "nginx"))
    assert ("program-missing", "") == (code, jail)
    assert message == "action nftables: the program nft is not there; that concerns sshd, nginx"
    assert proposal == "install nftables, or say banaction = iptables-multiport"
    assert "sshd" == found(NFT)[0][2]


def test_a_kernel_that_refuses():
    """The program is there, but what it asks is refused: with its own words."""
    refused = Finished(1, stderr=b"Operation not permitted (you must be root)")
    ((code, message, _, _),) = found(NFT, there=("nft",), answer=refused)
    assert "kernel-refuses" == code
    assert "nft list tables" in message
    assert "Operation not permitted" in message


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("printf %%b 'x' | mail -s 'a; b' root", ["mail"]),
        ("/usr/local/bin/ban <ip> && logger -t x done", ["/usr/local/bin/ban", "logger"]),
        ("if ipset list x >/dev/null; then ipset add x <ip>; else curl http://x; fi", ["ipset", "ipset", "curl"]),
        ("A=1 env B=2 foo", ["env"]),
        ("echo a\nbgctl <ip> > /tmp/x 2>&1\n", ["bgctl"]),
        ("$PROGRAM x", []),
        ("<cmd> add <ip>", []),
        ("case x in a) foo;; esac", []),
        ("x=`foo`", []),
        ("unbalanced 'quote", []),
        ("! nft list x", ["nft"]),
    ],
)
def test_programs_of_shell_text(script, expected):
    """Only what is plain to see is named; keywords, variables and tags are not."""
    assert expected == list(programs_in(script))


def test_a_command_whose_program_is_missing():
    """The tags of the configuration are filled in first."""
    ((code, message, _, _),) = found(command("<tool> add <ip>", tool="/opt/ban"))
    assert ("program-missing", True) == (code, "/opt/ban" in message)
    assert [] == found(command("<tool> add <ip>", tool="/opt/ban"), there=("/opt/ban",))


@pytest.mark.parametrize(
    ("properties", "program"),
    [({}, "/usr/sbin/sendmail"), ({"mailcmd": "/opt/post -t"}, "/opt/post"), ({"transport": "smtp"}, None)],
)
def test_mail_needs_a_program_or_a_server(properties, program):
    """By sendmail a program is run, which must be there; by SMTP none is."""
    mail = ActionConfig("mail", "mail", ActionKind.NATIVE, native="mail", properties=properties)
    assert ([] if program is None else [f"action mail: the program {program} is not there"]) == [
        message for _, message, _, _ in found(mail)
    ]


@pytest.mark.parametrize(
    ("word", "right"),
    [("22", True), ("http", True), ("0:65535", True), ("1-5", True), ("ssh:http", True), ("<port>", True),
     ("htpp", False), ("70000", False), ("9:1", False)],
)  # fmt: skip
def test_ports(word, right):
    """Numbers, ranges and names of services are ports; others are told of."""
    assert right is (wrong_port(word, SERVICES) is None)


def test_a_misspelt_port_of_a_command():
    """The service that was probably meant is named."""
    ((code, message, _, _),) = found(command("true", port="ssh,htps"))
    assert "port-unknown" == code
    assert "did you mean 'https'?" in message


def test_the_file_of_services(tmp_path):
    """Names and aliases count, comments do not."""
    path = tmp_path / "services"
    path.write_text("# x\nhttp 80/tcp www # World Wide Web\n\n")
    assert {"http", "www"} == read_services(str(path))
    assert frozenset() == read_services(str(tmp_path / "none"))
