"""Return of freed memory to the system: Linux's allocator keeps it, and more with each large request."""

import asyncio
import ctypes
import sys
from typing import Final

LARGE: Final = 1024 * 1024
"""Size in bytes of a request after which to trim the heap, which takes a thread some milliseconds."""

MMAP_THRESHOLD_BYTES: Final = 4 * 1024 * 1024
"""Size in bytes from which a block is mapped separately, and so returned to the system when freed.

Larger than a page of 1,000 calls: mapping its blocks anew each time took a fifth of the page's time.
"""

TRIM_THRESHOLD_BYTES: Final = 32 * 1024 * 1024
"""Free bytes at the heap's end that wait for the next trim; with the default of 128 KiB each page moves the end."""

PAUSE_SECONDS: Final = 5.0

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt, in the header malloc.h of glibc
_ARENAS: Final = 2


def trim_heap() -> None:
    """Return free memory to the system; do nothing without glibc."""
    if trim := _allocator_function("malloc_trim"):
        trim(0)


async def trim_periodically(pause: float = PAUSE_SECONDS) -> None:
    """Trim the heap periodically until cancelled: after a peak, any block at its end would keep it large."""
    while True:
        await asyncio.sleep(pause)
        await asyncio.to_thread(trim_heap)


def keep_little() -> None:
    """Map large blocks separately and limit the heaps of threads; do nothing without glibc.

    By default, the allocator raises the size of separately mapped blocks up to 32 MiB. Request bodies and responses
    then lie in the heap between long-lived blocks, and their gaps make it grow. With ten thousand requests of all sizes
    it took six times the memory in use.
    """
    if mallopt := _allocator_function("mallopt"):
        mallopt(_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        mallopt(_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)


def _allocator_function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
