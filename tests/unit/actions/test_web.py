from __future__ import annotations

import http.server
import json
import threading
import urllib.parse

import pytest

from banguard.actions.base import Step
from banguard.actions.web import Reply, Service, WebAction, send
from banguard.config.schema import ActionConfig, ActionKind
from banguard.errors import ActionError
from banguard.model import Ban


class Wire:
    """Keeps the requests, and gives the replies that were put in."""

    def __init__(self):
        self.requests = []
        self.replies = []

    def __call__(self, request):
        self.requests.append(request)
        return self.replies.pop(0) if self.replies else Reply(200, "{}")


@pytest.fixture
def wire():
    return Wire()


BAN = Ban("sshd", "192.0.2.1", 1000.0, 1600.0, failures=5, matches=("one", "a&b=c\r\nX: y <ip>"), data={"user": "u"})


def make(clock, wire, **properties):
    words = {name.replace("__", ".").replace("_url", "-url"): value for name, value in properties.items()}
    config = ActionConfig(
        "web", "web", ActionKind.NATIVE, native="web", properties={"url": "https://x.example/r", **words}
    )
    return WebAction(config, "sshd", clock=clock, sender=wire)


def ban_with(action, ban=BAN):
    action.ban(Step("m", ban.host, None, ban))


def test_a_form(clock, wire):
    """Each field encoded, so that text of a log stays what it is; tags are replaced once."""
    action = make(
        clock,
        wire,
        field__ip="<ip>",
        field__comment="<matches>",
        field__all="<F-USER> <nosuch> <failures>",
        header__key="secret",
    )
    assert (False, False) == (action.keeps_state, action.has_start)
    ban_with(action)
    (request,) = wire.requests
    assert ("POST", "https://x.example/r") == (request.method, request.url)
    assert ("secret", "banguard", "application/x-www-form-urlencoded") == (
        request.headers["key"], request.headers["User-Agent"], request.headers["Content-Type"]
    )  # fmt: skip
    assert [
        ("ip", "192.0.2.1"), ("comment", "one\na&b=c\r\nX: y <ip>"), ("all", "u <nosuch> 5"),
    ] == urllib.parse.parse_qsl(request.data.decode("ascii"))  # fmt: skip


def test_json(clock, wire):
    """Dots in the name of a field are places inside others; the newest of too long a text is kept."""
    action = make(
        clock, wire, body="json", field__a__b="<ip>", field__a__c="<target>", field__d="<matches>", longest="6"
    )
    ban_with(action)
    assert {"a": {"b": ".0.2.1", "c": "ip"}, "d": "y <ip>"} == json.loads(wire.requests[0].data)
    assert "application/json" == wire.requests[0].headers["Content-Type"]
    with pytest.raises(ActionError, match="is a text already"):
        ban_with(make(clock, wire, body="json", field__a="x", field__a__b="y"))


@pytest.mark.parametrize(
    ("expected", "host"),
    [("ip", "192.0.2.1"), ("ip6", "2001:db8::1"), ("ip_range", "192.0.2.0/24"), ("ip_range", "2001:db8::/64")],
)
def test_an_end_is_told_by_the_id_of_the_service(clock, wire, expected, host):
    """It is asked for, and what stands in an address is quoted."""
    action = make(
        clock, wire, find_url="https://x.example/r?t=<target>&v=<ip>", **{"find-id": "result.0.id"}, unban_url="https://x.example/r/<id>",
    )  # fmt: skip
    assert action.keeps_state
    ban = Ban("sshd", host, 1000.0, None)
    wire.replies = [Reply(200, '{"result": [{"id": "4/2"}]}'), Reply(200, "")]
    action.unban(Step("m", host, ban, None))
    asked = urllib.parse.quote(host, safe="")
    assert [("GET", f"https://x.example/r?t={expected}&v={asked}"), ("DELETE", "https://x.example/r/4%2F2")] == [
        (request.method, request.url) for request in wire.requests
    ]
    for nothing in ('{"result": []}', "no JSON", '{"result": 7}', "[1]", '{"result": [{"id": null}]}'):
        wire.requests, wire.replies = [], [Reply(200, nothing)]
        action.unban(Step("m", host, ban, None))
        assert 1 == len(wire.requests)
    wire.replies = [Reply(200, '{"result": [{"id": 7}]}'), Reply(404, "gone")]
    action.unban(Step("m", host, ban, None))


def test_what_the_service_says(clock, wire):
    """A refusal is an error that an operator can read; one that says that it is there already is none."""
    action = make(clock, wire, already="duplicate")
    wire.replies = [Reply(401, "bad\n\x1b[2J key"), Reply(400, "a duplicate rule"), Reply(204, "")]
    with pytest.raises(ActionError, match=r"the service answered 401: bad \[2J key"):
        ban_with(action)
    ban_with(action)
    ban_with(action)
    action.ban(Step("m", BAN.host, BAN, Ban("sshd", BAN.host, BAN.since, None)))
    assert 3 == len(wire.requests)


@pytest.mark.parametrize(
    ("option", "properties"),
    [
        ("apikey", {"needs": "apikey"}),
        ("url", {"url": ""}),
        ("url", {"url": "file:///etc/passwd"}),
        ("url", {"url": "https://"}),
        ("url", {"url": "https://x.example/<matches>"}),
        ("url", {"url": "https://<ip>/"}),
        ("url", {"url": "https://x.example/a b"}),
        ("unban-url", {"unban-url": "ftp://x/"}),
        ("method", {"method": "STEAL"}),
        ("body", {"body": "xml"}),
        ("header.x", {"header.x": "<ip>"}),
        ("header.x", {"header.x": "a\nb: c"}),
        ("header.x y", {"header.x y": "a"}),
        ("timeout", {"timeout": "soon"}),
        ("longest", {"longest": "-1"}),
    ],
)
def test_bad_properties_are_named(option, properties):
    """At load, not at the first ban."""
    with pytest.raises(ActionError, match=option):
        WebAction.verify({"url": "https://x.example/", **properties})


def test_properties_at_run_time(clock, wire):
    """They can be looked at and set; secrets are not shown, and a notification stays one."""
    action = make(clock, wire, header__key="s", cftoken="s", field__ip="<ip>")
    assert {"url", "field.ip"} == set(action.properties())
    assert "GET" == action.set_property("method", "GET")
    ban_with(action)
    assert "GET" == wire.requests[0].method
    with pytest.raises(ActionError, match="unban-url"):
        action.set_property("unban-url", "https://x.example/")
    with pytest.raises(ActionError, match="method"):
        action.set_property("method", "x")
    assert () == action.methods()
    with pytest.raises(ActionError, match="no method"):
        action.call("x", {})
    assert not action.flush()
    for nothing in (action.start, action.stop, action.check, action.reload):
        nothing()


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path asks for."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(int(self.path[1:]))
        if self.path == "/302":
            self.send_header("Location", "/200")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def test_over_a_real_wire():
    """Replies of all kinds come back as they are; redirections are not followed; no server is an error."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    where = f"http://127.0.0.1:{server.server_address[1]}"

    def ask(path):
        return send(
            Service.of({"url": f"{where}/{path}", "field.a": "b"}).request("POST", f"{where}/{path}", {}, fields=True)
        )

    try:
        assert [Reply(200, "ok"), Reply(403, "ok"), Reply(302, "ok"), Reply(500, "ok")] == [
            ask(path) for path in ("200", "403", "302", "500")
        ]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with pytest.raises(ActionError, match=r"127\.0\.0\.1:\d+: .*refused"):
        ask("200")
