"""Id of the current request, for log records and masked errors."""

from contextvars import ContextVar
from typing import Final

CURRENT: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Id of the current request; "" outside of requests, and for requests without an id."""
