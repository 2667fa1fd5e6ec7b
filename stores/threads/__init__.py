"""Threads: conversations, each derived from the calls that are its turns."""

from stores.threads.filters import Period, ThreadsFilter
from stores.threads.store import ThreadsStore

__all__ = ["Period", "ThreadsFilter", "ThreadsStore"]
