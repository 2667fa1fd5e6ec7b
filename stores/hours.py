"""Hours and days of a project (UTC), and the documents of their marks.

A mark says that what is stored about the calls of an hour or a day may be wrong. It has one of these fields:

    hour     the start of an hour whose roll-ups, terms and totals of traces may be wrong; with `own_only`, only the
             roll-ups of own usage
    day      the start of a day whose roll-ups may be wrong, although those of its hours are right
    ready    on the one state document of a project: True if each hour with calls has a mark, or roll-ups, terms and
             totals of the `version` there

`live_until` is the time by MongoDB's clock from which the mark may be worked on. A mark without it waits: that of a day
for the marks of its hours, that of an hour with too many roll-ups for the next write.
"""

from typing import Final

from stores import times
from stores.database import Document
from stores.database.paced_steps import key_range

HOUR: Final = 3600 * times.SECOND
DAY: Final = 24 * HOUR
"""Durations in microseconds."""

HOURS: Final = "hour"
DAYS: Final = "day"
"""Names of the mark's field and of the roll-ups' unit."""

OWN_ONLY: Final = "own_only"
"""Field of a mark: True if only the roll-ups of own usage may be wrong."""

VERSION: Final = 8
"""Version of roll-ups, terms and totals; those of another version are built again."""


def hour_of(micros: int) -> int:
    """Return the start of the hour that contains a time."""
    return micros - micros % HOUR


def hour_expression(micros: str) -> Document:
    """Build the expression of `hour_of`."""
    return {"$subtract": [micros, remainder(micros, HOUR)]}


def remainder(number: object, divisor: int) -> Document:
    """Build the remainder from 0 to the divisor; that of MongoDB's `$mod` is negative for negative numbers."""
    return {"$mod": [{"$add": [{"$mod": [number, divisor]}, divisor]}, divisor]}


def day_of(micros: int) -> int:
    """Return the start of the day that contains a time."""
    return micros - micros % DAY


def state_key(project_id: str) -> Document:
    """Return the key of a project's state, which sorts before its marks: a purge must delete it first."""
    return {"_id": f"{project_id}:#state", "project_id": project_id}


def mark_key(project_id: str, unit: str, start: int) -> Document:
    """Return the key of the mark of an hour or a day."""
    return {"_id": f"{project_id}:{unit}:{start}", "project_id": project_id}


def marks_of(project_id: str) -> Document:
    """Return the match for the state and all marks of a project."""
    return {"_id": key_range(project_id), "project_id": project_id}
