"""`python -m tests.faults.shifted_server SECONDS ...`: the command `loomql` with a wrong clock, and with hasty marks.

Hour marks expire after a second instead of two minutes, and the periodic jobs look for work all the time.
"""

import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, Self

from app.background import MaintenanceJobs
from app.cli import main
from stores import times
from stores.timings import DEFAULT_TIMINGS

MARK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.1


def _shift(seconds: int) -> None:
    """Make this process's clock show a time that many seconds from now."""
    right, right_ns = time.time, time.time_ns
    shift = timedelta(seconds=seconds)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + shift

    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + seconds * 1_000_000_000
    vars(times)["datetime"] = Shifted
    difference = times.now() - times.from_datetime(datetime.now(UTC))
    assert abs(difference - seconds * times.SECOND) < times.SECOND


if __name__ == "__main__":
    _shift(int(sys.argv[1]))
    object.__setattr__(DEFAULT_TIMINGS, "mark_seconds", MARK_SECONDS)
    initialize: Any = MaintenanceJobs.__init__
    initialize.__defaults__ = (_PAUSE_SECONDS, None)
    sys.exit(main(sys.argv[2:]))
