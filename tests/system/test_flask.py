"""A walk-through with a Flask application: a flood jail and a basic-auth jail, as an administrator would type it."""

from __future__ import annotations

import importlib.util
import sys
import time

import pytest

from support.machine import CLIENTS, Network, eventually

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("flask") is None or importlib.util.find_spec("flask_httpauth") is None,
    reason="needs flask and flask-httpauth",
)

HOST, VILLAIN = "10.2.1.10", "10.2.1.99"

PLAIN_APP = """\
from flask import Flask
app = Flask(__name__)
@app.route('/')
def hello():
    return 'Hello, Fail2ban.\\n'
app.run(host='10.2.1.10', port=8080)
"""

AUTH_APP = """\
from flask import Flask
from flask_httpauth import HTTPBasicAuth
from markupsafe import escape
auth = HTTPBasicAuth()
@auth.get_password
def member_auth(name):
    return {
        'user1':'password',
    }.get(name)
app = Flask(__name__)
@app.route('/restricted/')
@auth.login_required
def hello():
    name = auth.username()
    return f'Hello, {escape(name)}.\\n'
app.run(host='10.2.1.10', port=8080)
"""

DDOS_FILTER = r"""[Definition]
failregex = ^<HOST> - .+(GET|POST).*$
ignoreregex = \.(?i)(jpg|jpeg|gif|png|pdf|js|txt)
"""

AUTH_FILTER = r"""[Definition]
failregex = ^<HOST> - .+(GET|POST).+ 401 .*$
ignoreregex = \.(?i)(jpg|jpeg|gif|png|pdf|js|txt)
"""

DDOS_JAIL = """\
[flask-8080]
filter = flask-ddos
enabled = true
port = 8080
logpath = {log}
backend = polling
maxretry = 3
findtime = 1s
bantime = 1h
"""

AUTH_JAIL = """\
# ---
[flask-auth]
filter = flask-auth
enabled = true
port = 8080
logpath = {log}
backend = polling
maxretry = 2
findtime = 10s
bantime = 1h
"""

REQUESTS = """\
import base64, sys, urllib.error, urllib.request
url, count, login = sys.argv[1], int(sys.argv[2]), sys.argv[3]
headers = {'Authorization': 'Basic ' + base64.b64encode(login.encode()).decode()} if login else {}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(count):
    try:
        print(opener.open(urllib.request.Request(url, headers=headers), timeout=3).read().decode(), end='')
    except urllib.error.HTTPError as error:
        print(error.code)
    except OSError as error:
        print('no answer:', error)
        break
"""

STATUS = """\
Status for the jail: {jail}
|- Filter
|  |- Currently failed:\t0
|  |- Total failed:\t{failed}
|  `- File list:\t{log}
`- Actions
   |- Currently banned:\t{banned}
   |- Total banned:\t{total}
   `- Banned IP list:\t{hosts}"""


class Walk:
    """The two machines, the application and its log."""

    def __init__(self, network: Network, directory) -> None:
        self.network = network
        self.directory = directory
        self.log = str(directory / "access_log")
        open(self.log, "w").close()
        network.add(network.server, HOST)
        network.add(network.client, VILLAIN)

    def serve(self, app: str) -> None:
        self.network.server.start(sys.executable, "-c", app, output=self.log)
        eventually(lambda: self.connect() == "open", what="the application listens")

    def connect(self, source: str = VILLAIN) -> str:
        return self.network.connect(source, 8080, target=HOST)

    def request(self, path: str, count: int, login: str = "") -> str:
        url = f"http://{HOST}:8080{path}"
        return self.network.client.run(sys.executable, "-S", "-c", REQUESTS, url, str(count), login).stdout


@pytest.fixture
def walk(network, tmp_path):
    return Walk(network, tmp_path)


def test_flood(walk, banguard):
    """Quick requests ban the client for the port; log, status and unbanip read as an administrator knows them."""
    server = banguard(walk.network.server)
    server.write("filter.d/flask-ddos.conf", DDOS_FILTER)
    server.write("jail.d/flask-8080.conf", DDOS_JAIL.format(log=walk.log))
    walk.serve(PLAIN_APP)
    server.start(jails=["flask-8080"])
    assert "Status\n|- Number of jail:\t1\n`- Jail list:\tflask-8080" == server.ask("status").rstrip("\n")
    expected = STATUS.format(jail="flask-8080", failed=0, log=walk.log, banned=0, total=0, hosts="")
    assert expected == server.ask("status", "flask-8080").rstrip("\n")

    assert "open" == walk.connect()
    assert "Hello, Fail2ban.\n" * 4 == walk.request("/", 4)
    server.await_ban("flask-8080", VILLAIN)
    assert "refused" == walk.connect()
    found = [line for line in server.read_log().splitlines() if f"[flask-8080] Found {VILLAIN} - 20" in line]
    assert 4 == len(found)
    assert all(" banguard.filter " in line and "]: INFO " in line for line in found)
    ban = server.await_log(f"[flask-8080] Ban {VILLAIN}")
    assert " banguard.actions " in ban
    assert "]: NOTICE  [flask-8080]" in ban

    def settled() -> bool:
        text = server.ask("status", "flask-8080").rstrip("\n")
        return text == STATUS.format(jail="flask-8080", failed=4, log=walk.log, banned=1, total=1, hosts=VILLAIN)

    eventually(settled, what=server.ask("status", "flask-8080"))

    assert "1" == server.ask("set", "flask-8080", "unbanip", VILLAIN).strip()
    expected = STATUS.format(jail="flask-8080", failed=4, log=walk.log, banned=0, total=1, hosts="")
    assert expected == server.ask("status", "flask-8080").rstrip("\n")
    eventually(lambda: walk.connect() == "open", what="the client is let in again")
    server.stop()


def test_basic_auth(walk, banguard):
    """Wrong passwords ban; good ones do not; the other jail on the same log has its own count."""
    server = banguard(walk.network.server)
    server.write("filter.d/flask-ddos.conf", DDOS_FILTER)
    server.write("filter.d/flask-auth.conf", AUTH_FILTER)
    server.write("jail.d/flask-8080.conf", DDOS_JAIL.format(log=walk.log) + AUTH_JAIL.format(log=walk.log))
    walk.serve(AUTH_APP)
    server.start(jails=["flask-8080", "flask-auth"])
    assert "Status\n|- Number of jail:\t2\n`- Jail list:\tflask-8080, flask-auth" == server.ask("status").rstrip("\n")

    assert "Hello, user1.\n" * 2 == walk.request("/restricted/", 2, "user1:password")
    eventually(lambda: "Total failed:\t2" in server.ask("status", "flask-8080"), what="both requests were read")
    assert "Total failed:\t0" in server.ask("status", "flask-auth")
    eventually(lambda: "Currently failed:\t0" in server.ask("status", "flask-8080"), what="findtime is over")
    over = time.time() + 1  # the log has whole seconds: failures of two seconds can be one second apart
    eventually(lambda: time.time() > over, what="a second that cannot count with the first")

    assert "401\n" * 2 == walk.request("/restricted/", 2, "user1:12345678")
    server.await_ban("flask-auth", VILLAIN)
    assert [] == server.banned("flask-8080")
    assert "refused" == walk.connect()
    assert "Total failed:\t2" in server.ask("status", "flask-auth")
    eventually(lambda: "Total failed:\t4" in server.ask("status", "flask-8080"), what="the other jail read them, too")
    assert [] == server.banned("flask-8080")
    assert f"[{{'flask-8080': []}}, {{'flask-auth': ['{VILLAIN}']}}]" == server.ask("banned").strip()
    server.stop()


def test_shipped_filters_read_the_same_log(walk, banguard):
    """The shipped flask-auth and flask-ddos jails work on what the application writes, colours included."""
    server = banguard(walk.network.server)
    jail = "[{name}]\nenabled = true\nport = 8080\nlogpath = {log}\nmaxretry = 3\n"
    server.write("jail.local", "".join(jail.format(name=name, log=walk.log) for name in ("flask-auth", "flask-ddos")))
    walk.serve(AUTH_APP)
    server.start(jails=["flask-auth", "flask-ddos"])
    assert "401\n" * 3 == walk.request("/restricted/", 3, "user1:12345678")
    server.await_ban("flask-auth", VILLAIN)
    server.await_ban("flask-ddos", VILLAIN)
    assert "open" == walk.network.connect(CLIENTS[0], 8080, target=HOST)
    server.stop()
