"""What happens on ban and unban."""

from __future__ import annotations

from banguard.actions.base import ActionStats, History, JailNumbers, ReverseLookup
from banguard.actions.dispatch import Dispatcher, verify

__all__ = ["ActionStats", "Dispatcher", "History", "JailNumbers", "ReverseLookup", "verify"]
