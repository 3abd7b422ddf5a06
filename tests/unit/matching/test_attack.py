"""Tests of banguard.matching.attack."""

from __future__ import annotations

import json

import pytest

from banguard.matching.attack import ESCAPES, PLANTED, attacks, attacks_on_object, fields, imitations


def kinds(line: str, **more) -> dict[str, str]:
    return {line[field.start : field.end]: field.kind for field in fields(line, **more)}


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        ({"alice": "name"}, "login of alice failed"),
        ({'a "b': "quoted"}, 'user "a "b" failed'.replace('a "b', "a 'b").replace("'", '"')),
        ({"a@example.net": "angle"}, "from=<a@example.net>, session=<3Sc84L5g>"),
        ({"": "angle"}, "from=<>"),
        ({"alice": "bracket"}, "[alice] failed [pid 8] [preauth]"),
        ({"POST": "value"}, "method=POST size=5"),
        ({"client.example.net": "dns"}, "from client.example.net port 22"),
        ({"/x": "name"}, "GET /x at tcp/accept"),
        ({}, 'no file "/etc/nginx/htpasswd"'),
        ({}, "Failed password from port 22 at 12:30:01"),
    ],
)
def test_fields_of_a_client(expected, line):
    """Quoted text, values, host names and what samples use as names, paths and agents; not the service's own words."""
    if '"a "b"' in line:
        expected = {"a ": "quoted"}
    assert expected == kinds(line)


def test_named_and_kept():
    """A named text has the name of its group as its kind; what is kept is left alone."""
    line = "login of some body from 192.0.2.1"
    assert {"some body": "user"} == kinds(line, named={"user": "some body"})
    assert {} == kinds(line, named={"user": "some body"}, kept=[(9, 11)])


def test_a_field_is_filled_in_every_way():
    """Alone, in front, behind, joined, and behind a sign that could end the field; escaped as the service does."""
    line = 'user "x" failed'
    (field,) = fields(line)
    found = list(attacks(line, field, ["T"]))
    assert {
        'user "T" failed',
        'user "x T" failed',
        'user "T x" failed',
        'user "xT" failed',
        'user "x" T" failed',
    } < set(found)
    assert 'user "x\\" T" failed' in list(attacks(line, field, ["T"], ESCAPES["quote"]))
    host = "from a.example.net"
    (field,) = fields(host)
    assert "from from-192.0.2.66" == next(attacks(host, field, ["from [192.0.2.66"]))


def test_imitations_come_from_the_samples_too():
    """The failures of a filter with the planted address in them, as a whole and from parts on."""
    texts = imitations([("Nov 20 sshd: Failed from 192.0.2.1 x", "192.0.2.1")])
    assert f"Failed from {PLANTED} x" in texts
    assert all(PLANTED in text for text in texts)
    assert 3 == len(imitations([], most=3))


def test_objects():
    """Each text of an object is filled but that of the host; JSON escapes it."""
    line = 'caddy[1]: {"ip":"192.0.2.1","n":1,"u":{"a":"x","b":["y"],"c":"k"}}'
    first, *found = attacks_on_object(line, "192.0.2.1", ['"T'], [("u", "c")])
    assert json.loads(line[10:]) == json.loads(first[10:])
    objects = [json.loads(each[10:]) for each in found]
    assert {"192.0.2.1"} == {each["ip"] for each in objects}
    assert {'"T', "x", 'x "T', '"T x', 'x",""T'} == {each["u"]["a"] for each in objects}
    assert {"k"} == {each["u"]["c"] for each in objects}
    assert 8 == len(objects)
    assert [] == list(attacks_on_object("no object", "", ["T"]))
