"""Where lines come from."""

from banguard.sources.base import (
    SOURCES,
    LogStats,
    Prefilter,
    PrefilterFor,
    Sink,
    Source,
    Subscription,
    check_source,
    open_source,
    resolve,
    source_name,
)

__all__ = [
    "SOURCES",
    "LogStats",
    "Prefilter",
    "PrefilterFor",
    "Sink",
    "Source",
    "Subscription",
    "check_source",
    "open_source",
    "resolve",
    "source_name",
]
