"""Who may come in: what a connection says of its caller, and what the caller may do."""

from app.access.callers import caller_of

__all__ = ["caller_of"]
