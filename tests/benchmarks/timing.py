"""How long a database works for one thing and for another, taken in turns so that both see the same machine."""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SHORTEST: Final = 0.05
"""Seconds that a sample takes at least; what is quicker is done several times over."""

Clock = Callable[[], float]


def clock_of(process_id: int, threads: str = "") -> Clock:
    """A clock of a process's CPU time, or that of its threads whose names begin so; without /proc, the wall's."""
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
    """The medians, in seconds, of what each takes by the clock, in turns; a first run of each does not count."""
    times = max(1, min(200, round(_SHORTEST / max(_once(first, clock, 1), 1e-4))))
    _once(second, clock, 1)
    samples = [(_once(first, clock, times), _once(second, clock, times)) for _ in range(rounds)]
    return statistics.median(sample[0] for sample in samples), statistics.median(sample[1] for sample in samples)


def _once(work: Callable[[], object], clock: Clock, times: int) -> float:
    began = clock()
    for _ in range(times):
        work()
    return (clock() - began) / times
