"""Position in a log: inode, offset, fingerprint of the first line."""

from __future__ import annotations

try:
    # hashlib would load OpenSSL, which is 3.5 MB of memory for nothing.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

HEAD = 1024
"""As many bytes of the first line tell a file from others."""

FileId = tuple[int, int]
"""Device and inode."""


def first_line(head: bytes, newline_end: int) -> bytes:
    """Return what *head* (the beginning of a file) holds of the first line; *newline_end* as of LineForm.first_end."""
    return head[: newline_end if newline_end >= 0 else HEAD]


def fingerprint(line: bytes, *, complete: bool) -> str:
    """
    Return the fingerprint of a file by its first line, with newline and at most HEAD bytes of it.

    It is empty while the line is not *complete* (it may still grow), or is nothing but the NUL bytes of a hole.
    """
    if not complete or not line.strip(b"\0"):
        return ""
    return blake2b(line, digest_size=16).hexdigest()
