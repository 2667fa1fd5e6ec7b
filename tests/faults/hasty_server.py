"""The command `loomql` with hasty marks, and with a wrong clock if asked for: the module of `serving` in tests.

Hour marks expire after MARKS seconds instead of two minutes, and the periodic jobs look for work all the time. CLOCK is
the number of seconds by which the clock is fast. Both are environment variables.
"""

import os
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, Self

from app.background import MaintenanceJobs
from app.cli import main
from stores import times
from stores.timings import DEFAULT_TIMINGS

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
    if clock := os.environ.get("CLOCK"):
        _shift(int(clock))
    object.__setattr__(DEFAULT_TIMINGS, "mark_seconds", float(os.environ["MARKS"]))
    initialize: Any = MaintenanceJobs.__init__
    initialize.__defaults__ = (_PAUSE_SECONDS, None)
    sys.exit(main())
