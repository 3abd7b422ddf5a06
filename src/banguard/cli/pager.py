"""Show long output page by page."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping

_OTHERS = ("SUDO_UID", "DOAS_USER", "PKEXEC_UID")


def program(environment: Mapping[str, str]) -> list[str]:
    """
    Return the pager with its arguments: BANGUARD_PAGER, PAGER, else `less` where it is; none for `cat` or nothing.

    Whoever may only run this program as another user (sudo and the like) gets `less` alone, which is told to start
    nothing: a pager of theirs would have that user's rights.
    """
    text = next((environment[name] for name in ("BANGUARD_PAGER", "PAGER") if name in environment), "less")
    if any(name in environment for name in _OTHERS) and text.strip() not in ("", "cat"):
        text = "less"
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    return words if words and words[0] != "cat" and shutil.which(words[0]) else []


def show(text: str, argv: list[str], environment: Mapping[str, str]) -> bool:
    """Show *text* by the pager *argv*, coloured; return whether that could be done."""
    from banguard.run import attended  # noqa: PLC0415  only now

    # less(1): F no paging of what fits, R colours, X the text stays; LESSSECURE no programs, no files.
    own = {"LESSSECURE": "1", **({} if "LESS" in environment else {"LESS": "FRX"})}
    return attended(argv, text.encode("utf-8", "backslashreplace"), own)
