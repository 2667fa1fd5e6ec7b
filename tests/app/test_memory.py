"""What is given back to the system."""

import sys
from pathlib import Path

import pytest

from app.memory import give_back

BLOCK = 64 * 1024
MIB = 1024 * 1024


def held() -> int:
    """What this process holds of the machine's memory, in bytes."""
    [line] = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell it otherwise")
def test_what_is_free_goes_back_though_it_lies_below_what_is_not() -> None:
    blocks = [bytearray(BLOCK) for _ in range(2_000)]
    last = bytearray(BLOCK)
    full = held()
    blocks.clear()

    give_back()

    assert full - held() > 100 * MIB
    assert len(last) == BLOCK
