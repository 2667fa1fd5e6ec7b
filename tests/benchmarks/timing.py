"""The time of a database for two kinds of work, measured in turns so that both run under the same conditions."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SHORTEST: Final = 0.05
"""Minimum seconds of a sample; faster work is repeated within one sample."""

Clock = Callable[[], float]


def clock_of(process_id: int, threads: str = "") -> Clock:
    """Return a clock of the CPU time of a process's threads with a name prefix; without /proc, the wall clock."""
    tasks = Path(f"/proc/{process_id}/task")
    if sys.platform != "linux" or not tasks.exists():
        return time.perf_counter
    return lambda: sum(_nanoseconds(task, threads) for task in tasks.iterdir()) / 1e9


def _nanoseconds(task: Path, name: str) -> int:
    try:
        is_counted = (task / "comm").read_text().startswith(name)
        return int((task / "schedstat").read_text().split()[0]) if is_counted else 0
    except OSError:  # the thread has ended since it was listed
        return 0


def compare(
    first: Callable[[], object], second: Callable[[], object], clock: Clock, rounds: int
) -> tuple[float, float]:
    """Return the median seconds of each function by the clock, in turns; a first run of each does not count."""
    times = max(1, min(200, round(_SHORTEST / max(_once(first, clock, 1), 1e-4))))
    _once(second, clock, 1)
    samples = [(_once(first, clock, times), _once(second, clock, times)) for _ in range(rounds)]
    return statistics.median(sample[0] for sample in samples), statistics.median(sample[1] for sample in samples)


def _once(work: Callable[[], object], clock: Clock, times: int) -> float:
    began = clock()
    for _ in range(times):
        work()
    return (clock() - began) / times
