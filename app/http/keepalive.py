"""Keepalive intervals of connections that stay open for days."""

from typing import Final

BEAT_SECONDS: Final = 12
"""Interval in seconds between keepalive messages, short enough for proxies."""

TIMEOUT_SECONDS: Final = 60
"""Time in seconds after which a client that reads or answers nothing is disconnected."""
