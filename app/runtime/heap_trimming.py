"""Memory that requests took, given back: the allocator of Linux would keep it, and more with each large one."""

import asyncio
import ctypes
import sys
from typing import Final

LARGE: Final = 1024 * 1024
"""Bytes of a request that are worth it; it takes some milliseconds of a thread."""

OF_ITS_OWN: Final = 4 * 1024 * 1024
"""Bytes of a block that is the system's again as soon as it is free.

More than a page of 1,000 calls is, whose blocks would be mapped anew for each: that took a fifth of its time.
"""

AT_THE_END: Final = 32 * 1024 * 1024
"""Free bytes at a heap's end that wait for the next pause; by itself 128 KiB, and a page would move the end twice."""

PAUSE_SECONDS: Final = 5.0

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt, in the header malloc.h of glibc
_ARENAS: Final = 2


def trim_heap() -> None:
    """Let the system have what nobody uses; nothing happens where the allocator knows no such thing."""
    if trim := _allocators("malloc_trim"):
        trim(0)


async def trim_periodically(pause: float = PAUSE_SECONDS) -> None:
    """Give back for good: once a heap was large, whatever stays at its end would keep it so."""
    while True:
        await asyncio.sleep(pause)
        await asyncio.to_thread(trim_heap)


def keep_little() -> None:
    """Have large blocks of the system's own, and few heaps for threads; nothing happens where it cannot be told.

    By itself, the allocator raises the size of what is large up to 32 MiB with what it sees freed. Bodies and answers
    then lie in the heap, between what stays, and it grows by their gaps: to six times of what is used, with ten
    thousand requests of all sizes.
    """
    if tell := _allocators("mallopt"):
        tell(_MMAP_THRESHOLD, OF_ITS_OWN)
        tell(_TRIM_THRESHOLD, AT_THE_END)
        tell(_ARENA_MAX, _ARENAS)


def _allocators(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
