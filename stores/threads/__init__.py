"""Threads: conversations, each what the calls that are its turns make together."""

from stores.threads.filters import ThreadsFilter
from stores.threads.store import ThreadsStore

__all__ = ["ThreadsFilter", "ThreadsStore"]
