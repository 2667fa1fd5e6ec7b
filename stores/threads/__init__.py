"""Threads: conversations, each what the calls that are its turns make together."""

from stores.threads.filters import Period, ThreadsFilter
from stores.threads.store import ThreadsStore

__all__ = ["Period", "ThreadsFilter", "ThreadsStore"]
