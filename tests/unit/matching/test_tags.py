"""Tags of a regex become named groups."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from banguard.matching.tags import expand, group_name

HEX = set("0123456789abcdefABCDEF")


def groups(regex: str, text: str, **options) -> dict[str, str] | None:
    found = re.search(expand(regex, **options), text)
    return None if found is None else {name: value for name, value in found.groupdict().items() if value is not None}


@pytest.mark.parametrize(
    ("regex", "text", "expected"),
    [
        ("^<HOST>$", "192.0.2.1", {"ip4": "192.0.2.1"}),
        ("^<HOST>$", "[192.0.2.1]", {"ip4": "192.0.2.1"}),
        ("^<HOST>$", "[192.0.2.1", {"ip4": "192.0.2.1"}),
        ("^<HOST>$", "::ffff:192.0.2.1", {"ip4": "192.0.2.1"}),
        ("^<HOST>$", "::ffffff:192.0.2.1", {"ip4": "192.0.2.1"}),
        ("^<HOST>$", "::fff:192.0.2.1", None),
        ("^<HOST>$", "::FFFF:192.0.2.1", None),
        ("^<HOST>$", "2001:DB8::1", {"ip6": "2001:DB8::1"}),
        ("^<HOST>$", "[::1]", {"ip6": "::1"}),
        ("^<HOST>$", "11:59:50", {"ip6": "11:59:50"}),
        ("^<HOST>$", "fe80::1%eth0", None),
        ("^<HOST>$", "mail.example.com", {"dns": "mail.example.com"}),
        ("^<HOST>$", "mail.example.com.", None),
        ("^<HOST>$", "^host_name", {"dns": "^host_name"}),
        ("^<HOST>$", "[mail.example.com]", None),
        ("^<HOST>$", "999.1.1.1", {"ip4": "999.1.1.1"}),
        ("^<HOST>$", "192.0.2.1.example", {"dns": "192.0.2.1.example"}),
        ("^<ADDR>$", "mail", None),
        ("^<ADDR>$", "[2001:db8::1]", {"ip6": "2001:db8::1"}),
        ("^<F-ADDR/>$", "192.0.2.1", {"ip4": "192.0.2.1"}),
        ("^(?:<IP4>|<IP6>)$", "::1", {"ip6": "::1"}),
        ("^<F-IP4/>-<F-IP6/>$", "192.0.2.1-::1", {"ip4": "192.0.2.1", "ip6": "::1"}),
        ("^<DNS>$", "192.0.2.1", {"dns": "192.0.2.1"}),
        ("^<SUBNET>$", "192.0.2.0/24", {"ip4": "192.0.2.0", "cidr": "24"}),
        ("^<SUBNET>$", "[2001:db8::/32]", {"ip6": "2001:db8::", "cidr": "32"}),
        ("^<SUBNET>$", "192.0.2.1", {"ip4": "192.0.2.1"}),
        ("^<IP4>/<CIDR>$", "192.0.2.0/24", {"ip4": "192.0.2.0", "cidr": "24"}),
        ("^<F-ID/> <F-PORT/>$", "x/y 22", {"fid": "x/y", "fport": "22"}),
        (r"^<F-ID>a\d</F-ID> <F-PORT>\d</F-PORT>$", "a1 2", {"fid": "a1", "fport": "2"}),
        (r"^<F-USER>\S+|.*?</F-USER> end$", "two words end", {"user": "two words"}),
        (r"^<F-USER>\S+</F-USER> again (?P=user)$", "joe again joe", {"user": "joe"}),
        (r"^<F-ALT_ID_2>x</F-ALT_ID_2>$", "x", {"alt_id_2": "x"}),
        ("^<F-HOST/>$", "<F-HOST/>", {}),
        ("^x</F-USER>$", "x</F-USER>", {}),
        ("^<f-user>x</f-user>$", "<f-user>x</f-user>", {}),
        ("^</F-USER> <F-USER>x</F-USER>$", "</F-USER> x", {"user": "x"}),
        ('^"<HOST>" <br> %%$', '"192.0.2.1" <br> %%', {"ip4": "192.0.2.1"}),
        ("^a<SKIPLINES>^b<SKIPLINES>^c", "a\nx\nb\nc", None),
    ],
)
def test_tag_catches_what_it_stands_for(regex, text, expected):
    """Each tag has the shape the documentation gives it; what is no tag stays literal."""
    assert expected == groups(regex, text)


def test_usedns_no_leaves_names_out_of_host():
    """With names off <HOST> is an address; the other tags do not change."""
    assert groups("^<HOST>$", "mail", names=False) is None
    assert {"ip4": "192.0.2.1"} == groups("^<HOST>$", "192.0.2.1", names=False)
    assert {"dns": "mail"} == groups("^<DNS>$", "mail", names=False)


def test_skiplines_passes_over_whole_lines():
    """<SKIPLINES> takes as few lines as possible, each use into a group of its own."""
    found = re.search(expand("^a$<SKIPLINES>^b<SKIPLINES>^c"), "a\nx\ny\nb\nc\n", re.MULTILINE)
    assert {"skiplines0": "x\ny\n", "skiplines1": ""} == found.groupdict()


@pytest.mark.parametrize("regex", ["<HOST> <HOST>", "<F-USER>x", "<F-A-B>x</F-A-B>", "<F-1>x</F-1>"])
def test_misused_tag_does_not_compile(regex):
    """The same group twice, a tag left open and an impossible group name are errors, not silence."""
    with pytest.raises(re.error):
        re.compile(expand(regex))


@pytest.mark.parametrize(
    ("tag", "expected"), [("USER", "user"), ("ID", "fid"), ("PORT", "fport"), ("ALT_ID", "alt_id")]
)
def test_group_of_a_tag(tag, expected):
    """A tag fills the group of its name in lower case; ID and PORT have older names."""
    assert expected == group_name(tag)


def looks_like_ip6(text: str) -> bool:
    """Tell by hand whether *text* has the shape of <IP6>: pieces of hex digits and colons, see the module."""

    def pieces(rest: str, left: int) -> bool:
        if left < 7 and (rest == ":" or (0 < len(rest) <= 4 and set(rest) <= HEX)):
            return True
        if left == 0:
            return False
        digits = [rest[:n] for n in range(1, 5) if set(rest[:n]) <= HEX]
        for head in ("::", *(some + colons for some in digits for colons in (":", "::"))):
            if rest.startswith(head) and pieces(rest[len(head) :], left - 1):
                return True
        return False

    return pieces(text, 7)


@settings(max_examples=300, deadline=None)
@example(":" * 12 + "1::::")
@given(
    st.text(alphabet=":1aF.g", max_size=12) | st.lists(st.sampled_from([":", "::", "1", "beef", "12345"])).map("".join)
)
def test_ip6_has_exactly_its_shape(text):
    """The address atom takes the same texts as a slow check written from its description."""
    assert looks_like_ip6(text) == (re.fullmatch(expand("<IP6>"), text) is not None)
