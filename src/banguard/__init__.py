"""Watch logs, count failures, ban hosts."""

__version__ = "0.1.0"
