"""Percentiles of the latencies of groups of calls, from the sketches of settled hours and the calls of live ones.

The groups are of any size: those of short time ranges are read with their other values.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from stores.concurrency.time_slices import cooperative
from stores.database import Database, Document
from stores.database.transactions import Session
from stores.hours import DAY
from stores.rollups.documents import LATENCIES, VALUES, merged_value, with_buckets
from stores.rollups.reads import Coverage, Pipeline, read_rows
from stores.rollups.sketches import Sketch

_NAMES: Final = ("least", "most")
_MERGED: Final = {name: merged_value(name) for name in _NAMES}


class Latencies:
    """The latencies of groups, which have keys with some names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._sketches: dict[tuple[Any, ...], Sketch] = {}

    def add(self, row: Document) -> None:
        """Add parts of the sketch of a group."""
        self._sketches.setdefault(self._group(row), Sketch()).add(row[LATENCIES], row["least"], row["most"])

    def sketch(self, row: Document) -> Sketch:
        """Return the sketch of the group whose keys are in a row."""
        return self._sketches[self._group(row)]

    def _group(self, row: Document) -> tuple[Any, ...]:
        return tuple([row[name] for name in self._names])


async def read_latencies(
    database: Database,
    coverage: Coverage,
    family: str,
    keys: Document,
    shown: Document,
    facts: Callable[[Pipeline], Pipeline],
    session: Session,
) -> Latencies:
    """Read the latencies of groups, in the snapshot of a coverage.

    Args:
        database: the database.
        coverage: the coverage.
        family: the family of roll-ups to read.
        keys: the keys of the groups by name, as expressions over roll-ups.
        shown: the keys as rows show them, as expressions over these.
        facts: returns the stages that unwind calls as the family does, given those that find them.
        session: the snapshot session.
    """
    # A row of one day for each group, so that no document of MongoDB becomes too large.
    day = {"$subtract": ["$started_at", {"$mod": ["$started_at", DAY]}]}
    of_rollups = {"$group": {"_id": {**keys, "_day": day}, **_MERGED, LATENCIES: {"$push": f"${LATENCIES}"}}}
    buckets = with_buckets(keys, {name: VALUES[name] for name in _NAMES})
    values = {"$project": {**shown, **dict.fromkeys((*_NAMES, LATENCIES), 1)}}

    def of_calls(found: Pipeline) -> Pipeline:
        return [*facts(found), *buckets]

    rows = await read_rows(database, [coverage], [family], [of_rollups], of_calls, session, [values])
    latencies = Latencies([name for name in shown if name in keys])
    async for row in cooperative(rows):
        latencies.add(row)
    return latencies
