"""The simulated two weeks before now: working hours, releases and environments."""

from dataclasses import dataclass
from random import Random
from typing import Final

from app.demo import vocabulary
from app.demo.library import Library
from app.demo.span import Json, Trace, new_id
from stores.times import SECOND

HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
DAYS: Final = 14

_RELEASES: Final = (("2.4.0", 6 * DAY), ("2.3.1", 15 * DAY))
"""Each release with its age."""

_BUSY: Final = (3, 2, 1, 1, 1, 2, 4, 8, 14, 19, 21, 20, 16, 18, 20, 19, 17, 14, 12, 12, 13, 11, 8, 5)
"""Weights of requests in each hour of the day, in UTC."""

_QUIET_END: Final = 2 * HOUR
"""Minimum age of traces placed by time of day, so that they have ended by now."""


@dataclass(frozen=True, slots=True)
class World:
    """Context of generation: a project's library, a random generator, and the present.

    `now` is in microseconds since the epoch. Random choices do not depend on it: generated at another time, the data
    has other times but the same ids.
    """

    library: Library
    rng: Random
    now: int

    def busy_moment(self) -> int:
        """Return a random time at which customers write, more likely by day than by night."""
        hour = self.rng.choices(range(24), _BUSY)[0]
        return self.timestamp(self.rng.randrange(DAYS), hour * HOUR + self.rng.randrange(HOUR))

    def timestamp(self, days_ago: int, time_of_day: int) -> int:
        """Return a time of day some days ago; a time too close to the present moves 14 days back."""
        midnight = self.now - self.now % DAY
        timestamp = midnight - days_ago * DAY + time_of_day
        return timestamp - DAYS * DAY if timestamp > self.now - _QUIET_END else timestamp

    def trace(
        self,
        started_at: int,
        environment: str,
        region: str,
        wb_user_id: str,
        *,
        thread_id: str | None = None,
        wb_run_id: str | None = None,
        more: Json | None = None,
    ) -> Trace:
        """Return a trace of a program in an environment and region, with the release of that day."""
        attributes = {
            "environment": environment,
            "region": region,
            "release": self._release(started_at),
            **(more or {}),
            "weave": vocabulary.CLIENT,
        }
        trace_id = new_id(self.rng)
        return Trace(self.library, self.rng, trace_id, wb_user_id, attributes, thread_id, wb_run_id)

    def _release(self, timestamp: int) -> str:
        return next((name for name, age in _RELEASES if self.now - timestamp < age), _RELEASES[-1][0])
