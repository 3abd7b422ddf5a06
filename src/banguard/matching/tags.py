"""
Expand <HOST>, <ADDR>, <F-USER> and friends into named groups.

What a tag stands for is only the shape of an address, as loose as filters expect it; whether the text is an address is
decided afterwards, by `netaddr`. A user's regex is otherwise left as it is: text in angle brackets that is no tag
stays literal.
"""

from __future__ import annotations

import re

# An IPv4 address, perhaps mapped into IPv6. The digits are not counted here: 999.1.1.1 is refused later, with a reason.
_IP4 = r"(?:::f{4,6}:)?(?P<ip4>\d{1,3}(?:\.\d{1,3}){3})"

# Up to seven pieces that end in one or two colons, then the last piece, or one more colon. Every piece ends in a colon,
# so nothing has to look back to see that the last colon is a second one.
_IP6 = r"(?P<ip6>(?:[0-9A-Fa-f]{1,4}:{1,2}|:{2}){1,7}(?:[0-9A-Fa-f]{1,4}|:))"

_DNS = r"(?P<dns>[\w.^-]*\w)"
_CIDR = r"(?P<cidr>\d+)"
_ADDR = rf"\[?(?:{_IP4}|{_IP6})\]?"
_SUBNET = rf"\[?(?:{_IP4}|{_IP6})(?:/{_CIDR})?\]?"

_SHAPES = {
    "IP4": _IP4,
    "IP6": _IP6,
    "ADDR": _ADDR,
    "DNS": _DNS,
    "CIDR": _CIDR,
    "SUBNET": _SUBNET,
    "ID": r"(?P<fid>\S+)",
    "PORT": r"(?P<fport>\w+)",
}

# Groups whose tags have another name than the group.
_GROUP_OF = {"id": "fid", "port": "fport"}

_TAG = re.compile(
    r"<(?:(?P<plain>HOST|ADDR|IP4|IP6|DNS|CIDR|SUBNET|SKIPLINES)"
    r"|F-(?P<whole>ADDR|IP4|IP6|DNS|CIDR|SUBNET|ID|PORT)/"
    r"|F-(?P<open>[A-Z0-9_-]+)"
    r"|/F-(?P<close>[A-Z0-9_-]+))>"
)


def group_name(name: str) -> str:
    """Return the group that the tag *name* (`USER`, `ID`) fills: lower case, or a name of its own."""
    name = name.lower()
    return _GROUP_OF.get(name, name)


def expand(regex: str, *, names: bool = True) -> str:
    """
    Return *regex* with its tags as named groups, ready for `re`.

    With *names* false <HOST> matches addresses only (`usedns=no`). A closing tag that nothing opened stays literal.
    """
    if "<" not in regex:
        return regex
    opened: set[str] = set()
    skipped = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal skipped
        plain, whole, opening, closing = found.groups()
        if plain == "HOST":
            return f"(?:{_ADDR}|{_DNS})" if names else f"(?:{_ADDR})"
        if plain == "SKIPLINES":
            skipped += 1
            return rf"\n(?P<skiplines{skipped - 1}>(?:.*\n)*?)"
        if plain or whole:
            return f"(?:{_SHAPES[plain or whole]})"
        if opening:
            opened.add(opening)
            return f"(?P<{group_name(opening)}>"
        return ")" if closing in opened else found[0]

    return _TAG.sub(replace, regex)
