"""Threads: conversations, each derived from the calls that are its turns."""

from stores.threads.store import Period, ThreadsFilter, ThreadsStore

__all__ = ["Period", "ThreadsFilter", "ThreadsStore"]
