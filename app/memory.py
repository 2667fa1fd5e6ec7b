"""Memory that large requests took, given back: the allocator of Linux would keep it, and more with each of them."""

import ctypes
import sys
from typing import Final

LARGE: Final = 1024 * 1024
"""Bytes of a request that are worth it; it takes some milliseconds of a thread."""


def give_back() -> None:
    """Let the system have what nobody uses; nothing happens where the allocator knows no such thing."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
