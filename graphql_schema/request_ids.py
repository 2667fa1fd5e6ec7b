"""Which request it is that something is done for, for whoever tells of that: logs, and errors that nobody expected."""

from contextvars import ContextVar
from typing import Final

CURRENT: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The id of the request; "" where something is done for none, or nobody gave it one."""
