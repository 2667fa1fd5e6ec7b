"""Tests that free memory is returned to the system."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from app.runtime import MMAP_THRESHOLD_BYTES, trim_periodically
from tests.waiting import until

BLOCK = 64 * 1024
COUNT = 25
MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def held() -> int:
    """Return the resident memory of this process in bytes."""
    [line] = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


async def test_free_memory_below_used_memory_is_returned() -> None:
    blocks = [bytearray(BLOCK) for _ in range(2_000)]
    last = bytearray(BLOCK)
    full = held()
    blocks.clear()

    giving = asyncio.create_task(trim_periodically(0.01))
    await until(lambda: full - held() > 100 * MIB)

    giving.cancel()
    assert len(last) == BLOCK


_DAY: Final = f"""
import sys
from app.runtime import limit_heap_growth
from tests.app.runtime.test_heap_trimming import held

if sys.argv[1] == "told":
    limit_heap_growth()
largest = bytearray(30 * {MIB})  # after which the allocator takes nothing smaller for large
del largest
blocks = []
for _ in range({COUNT}):
    blocks.append(bytearray({2 * MMAP_THRESHOLD_BYTES}))
    blocks.append(bytearray({BLOCK}))
full = held()
del blocks[::2]
print(full - held())
"""


def freed(how: str) -> int:
    """Run a process that frees every other block, and return how many bytes it returns to the system."""
    command = [sys.executable, "-c", _DAY, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_large_freed_block_is_returned_at_once() -> None:
    assert freed("told") >= COUNT * 2 * MMAP_THRESHOLD_BYTES * 0.9
    # If this fails, the allocator now returns such blocks by default, and `limit_heap_growth` is not needed.
    assert freed("untold") < COUNT * 2 * MMAP_THRESHOLD_BYTES * 0.1
