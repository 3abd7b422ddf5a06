"""Text of a log through every tag of every shipped action: it makes no file, no header, no command, no argument."""

from __future__ import annotations

import contextlib
import email
import email.policy
import http.server
import os
import shutil
import threading

import pytest

from banguard.actions.base import NATIVE_NOTIFICATIONS, Step, native_action, native_notification
from banguard.actions.command import CommandAction
from banguard.clock import SystemClock
from banguard.config import load
from banguard.config.schema import ActionKind
from banguard.errors import ActionError
from banguard.model import Ban
from support import samples

ACTIONS = sorted(
    name.removesuffix(".conf")
    for name in os.listdir(os.path.join(samples.CONFIG, "action.d"))
    if name.endswith(".conf") and not name.endswith("common.conf")
)

# Each begins in another way, and goes on with all that may work in there. PROOF is a path.
ORDERS = "touch PROOF\n~!touch PROOF\n.\n`touch PROOF`$(touch PROOF)\nBcc: victim@example.net\nX-Evil: 1\n\n%s%n<ip><matches>"
HOSTILE = [
    f"'; touch PROOF; #\n{ORDERS}",
    f'"; touch PROOF; "\n{ORDERS}',
    f"x\r\n{ORDERS}",
    "$(touch PROOF)`touch PROOF` \0; touch PROOF & touch PROOF | touch PROOF\\",
    f"-x --y=z -K PROOF | tee PROOF > PROOF {ORDERS}",
]

TOOLS = "sh cat tr sed grep tail head date od hostname touch rm mktemp sleep tee"
STAND_INS = (
    "nft iptables ip6tables iptables-restore ip6tables-restore ipset firewall-cmd ufw ip ipfw pfctl npfctl ipf apf csf"
    " shorewall shorewall6 nsupdate ssh apprise dig whois sendmail mail nginx curl conntrack ss"
)
STAND_IN = """\
#!{sh}
record="$(mktemp {records}/XXXXXXXX)"
for word in "${{0##*/}}" "$@"; do printf '%s\\0' "$word"; done > "$record.argv"
cat > "$record.stdin"
case "${{0##*/}}" in
    dig) printf '"abuse@example.net;touch {proof}\\n"' ;;
    iptables|ip6tables) echo "iptables v1.8.9 (legacy)" ;;
esac
"""


class Web(http.server.BaseHTTPRequestHandler):
    """A service that says yes to everything, and remembers what it was asked."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        reply = b'{"result": [{"id": "42"}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  the names that http.server calls

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = False
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory to work in, where only stand-ins and harmless programs can be found."""
    found = {name: shutil.which(name) for name in TOOLS.split()}
    programs, records, work = (tmp_path / name for name in ("bin", "records", "work"))
    for directory in (programs, records, work):
        directory.mkdir()
    for name, path in found.items():
        assert path is not None, name
        (programs / name).symlink_to(path)
    text = STAND_IN.format(sh=found["sh"], records=records, proof=tmp_path / "proof")
    for name in STAND_INS.split():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.chdir(work)
    return tmp_path


def configured(place, name, port):
    """Return the action as a jail has it, with all that it needs; it writes nowhere but in here."""
    shutil.copytree(samples.CONFIG, place / "config")
    (place / "log").touch()
    here = {
        "file": place / "hosts.deny", "directory": place / "blacklist", "target": place / "told",
        "blck_lst_file": place / "map", "mailcmd": f"{place}/bin/sendmail -i -t", "whois-program": f"{place}/bin/whois",
        "logpath": place / "log", "rules": f"http://127.0.0.1:{port}/rules", "ns_host": f"http://127.0.0.1:{port}",
        "ns_auth": "x", "ns_dataset": "d", "cfuser": "u", "cftoken": "t", "cfzone": "z", "abuseipdb_apikey": "k",
        "ipthreat_apikey": "k", "email": "me@example.org", "apikey": "k", "domain": "example.org", "server": "router",
        "whois": "yes", "table": "t1", "transport": "sendmail",
    }  # fmt: skip
    if name in ("abuseipdb", "blocklist_de", "ipthreat"):
        here["url"] = f"http://127.0.0.1:{port}/report"
    if name in ("route", "nftables", "nftables-allports", "nftables-multiport"):
        del here["table"]
    (place / "blacklist").mkdir()
    brackets = ", ".join(f'{option}="{value}"' for option, value in here.items())
    (place / "config" / "jail.local").write_text(
        f"[web]\nenabled = true\nfilter = sshd\nport = 80\nlogpath = {place}/log\naction = {name}[{brackets}]\n"
    )
    config = load(str(place / "config"))
    assert [] == [str(problem) for problem in config.problems]
    (action,) = config.jails["web"].actions
    return action


def bans(texts):
    """Bans of addresses and of ids, with hostile text in every place that a log can reach."""
    data = dict(zip(("user", "host", "any", "error", "id"), texts, strict=True))
    yield Ban("web", "192.0.2.1", 1000.0, None, failures=5, matches=tuple(texts), data=data)
    yield Ban("web", "2001:db8::/64", 1000.0, 4e9, failures=5, matches=tuple(texts), data=data)
    for number, text in enumerate(texts, 2):
        yield Ban("web", text, 1000.0, 4e9, matches=(text,), data={"user": text, "ip": f"192.0.2.{number}"})
        yield Ban("web", text, 1000.0, 4e9, matches=(text,), data={"user": text})


def carry_out(action, texts):
    """Start, ban, prolong, unban and stop, whatever fails."""
    more = {
        "clock": SystemClock(),
        "history": lambda *_: (texts, 7),
        "reverse_lookup": lambda _: texts[0],
        "jail_numbers": lambda _: {},
    }
    refused = contextlib.suppress(ActionError)
    if action.kind is ActionKind.NATIVE and action.native not in NATIVE_NOTIFICATIONS:
        firewall = native_action(action.native)(action.properties)
        with refused:
            firewall.join("web/x/1", action.properties, [], 2000.0)
        for ban in bans(texts):
            for old, new in ((None, ban), (ban, None)):
                with refused:
                    firewall.apply([Step("web/x/1", ban.address, old, new)], 2000.0)
        with refused:
            firewall.leave("web/x/1")
        return
    if action.kind is ActionKind.NATIVE:
        made = native_notification(action.native)(action, "web", **more)
    else:
        made = CommandAction(action, "web", **more)
        made.verify()
        assert () == made.remarks()
    with refused:
        made.start()
    for ban in bans(texts):
        longer = Ban("web", ban.host, 1000.0, 5e9, matches=ban.matches, data=ban.data)
        with refused:
            made.ban(Step("m", ban.host, None, ban))
        with refused:
            made.ban(Step("m", ban.host, ban, longer))
        with refused:
            made.unban(Step("m", ban.host, longer, None))
    for method in (made.check, made.flush, made.stop):
        with refused:
            method()


KNOWN_HEADERS = {
    "from", "to", "subject", "date", "message-id", "mime-version", "content-type", "content-transfer-encoding",
    "auto-submitted", "x-xarf", "precedence", "x-auto-response-suppress",
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIONS)
def test_text_of_a_log_stays_text(place, web, name):
    """Through all tags of the action, as user, id, line, history and name of the host."""
    proof = place / "proof"
    texts = [text.replace("PROOF", str(proof)) for text in HOSTILE]
    action = configured(place, name, web.server_address[1])
    before = set(os.listdir(place))
    carry_out(action, texts)

    assert not proof.exists()
    assert [] == os.listdir(place / "work")
    assert set(os.listdir(place)) - before <= {"told", "map", "map.new", "hosts.deny", "smtp"}
    told = 0
    for record in (place / "records").glob("*.argv"):
        argv = record.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        told += 1
        for word in argv:
            assert str(proof) not in word, argv
            assert "--y=z" not in word, argv
            assert "victim" not in word, argv
            assert "\n" not in word, argv
        if argv[0] == "sendmail":
            mail = email.message_from_bytes(record.with_suffix(".stdin").read_bytes(), policy=email.policy.default)
            assert KNOWN_HEADERS >= {header.lower() for header in mail}, mail.keys()
            assert not any("victim" in str(value) for value in mail.values())
            assert " " not in str(mail["To"])
        elif argv[0] in {"nft", "iptables-restore", "ip6tables-restore", "ipset", "nsupdate", "ipf", "pfctl", "ip"}:
            said = record.with_suffix(".stdin").read_bytes()
            assert str(proof).encode() not in said
            assert b"victim" not in said
    for _, path, headers, _ in web.requests:
        assert {"x-evil", "bcc"}.isdisjoint(header.lower() for header in headers)
        assert path.isprintable()
        assert " " not in path
    written = [place / each for each in ("told", "map", "hosts.deny") if (place / each).exists()]
    expected = 0 if name in ("mynetwatchman", "osx-afctl", "iptables-xt_recent-echo") else 1
    assert told + len(web.requests) + len(written) >= expected, "nothing was done at all"
    if (place / "hosts.deny").exists():
        assert str(proof) not in (place / "hosts.deny").read_text()
    if name == "nginx-block-map":
        assert all(line.endswith('" 1;') for line in (place / "map").read_text().splitlines())
