"""Compiled list queries of threads: the stages that derive threads from turns and compute the selected fields."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from stores.paging import Order
from stores.threads import percentiles
from stores.threads.filters import ACCUMULATORS, LAST_TURN, LAST_UPDATED, Match, ThreadsFilter
from stores.threads.percentiles import PERCENTILES

Stages = list[dict[str, Any]]

HAS_FINISHED_TURN: Final[Match] = {LAST_UPDATED: {"$ne": None}}
"""Matches derived threads with a finished turn; others are not listed."""

_BY_THREAD: Final = {"turn_of": 1, "started_at": 1, "id": 1}
_BY_TIME: Final = {"started_at": 1, "turn_of": 1, "id": 1}
"""Key orders of two indexes. Both return each thread's turns by start, as the accumulators require."""


@dataclass(frozen=True)
class ListQuery:
    """Threads of a project in an order, with the selected fields.

    Percentiles are computed for all threads if the order uses them, otherwise for the page only, like the last turns.

    Args:
        calls: name of the collection of calls.
        project_id: the project.
        threads_filter: selects threads and turns.
        order: the compiled sort.
        wanted: the selected fields.
        collects_durations: use the fast percentiles, which fail if a thread has more than `MAX_COLLECTED` turns.
    """

    calls: str
    project_id: str
    threads_filter: ThreadsFilter
    order: Order
    wanted: AbstractSet[str]
    collects_durations: bool = True

    @cached_property
    def _names(self) -> set[str]:
        return {*self.wanted, *(key.path for key in self.order.keys)}

    @cached_property
    def _percentiles(self) -> list[str]:
        return [name for name in PERCENTILES if name in self._names]

    @cached_property
    def _sorts_by_percentiles(self) -> bool:
        return any(key.path in PERCENTILES for key in self.order.keys)

    @property
    def source(self) -> Stages:
        """The stages that derive one document per thread; its `id` is the thread's id."""
        collected = {name: ACCUMULATORS[name] for name in ACCUMULATORS if name in {*self._names, LAST_UPDATED}}
        if self._percentiles:
            collected |= (
                percentiles.duration_accumulators() if self.collects_durations else percentiles.finished_accumulators()
            )
        by_time = bool(self.threads_filter.period.match()) and not self.threads_filter.thread_ids
        return [
            {"$match": self.threads_filter.turns(self.project_id)},
            {"$sort": _BY_TIME if by_time else _BY_THREAD},
            {"$group": {"_id": "$turn_of", "id": {"$first": "$turn_of"}, **collected}},
            {"$match": HAS_FINISHED_TURN},
            *(self._percentile_stages if self._sorts_by_percentiles else ()),
        ]

    @property
    def projection(self) -> list[str]:
        """The paths to keep in a page's rows, besides the sort keys."""
        return [*self.wanted, *percentiles.COLLECTED_FIELDS]

    @property
    def finishing(self) -> Stages:
        """The stages that compute fields for the rows of one page only."""
        return [
            *(() if self._sorts_by_percentiles else self._percentile_stages),
            *(self._last_turn_stages if LAST_TURN in self.wanted else ()),
        ]

    @property
    def _percentile_stages(self) -> Stages:
        if not self._percentiles:
            return []
        if self.collects_durations:
            return percentiles.from_collected(self._percentiles)
        return percentiles.from_sorted_turns(self._percentiles, self.calls, self._turns_of_one)

    @property
    def _last_turn_stages(self) -> Stages:
        """Look up the turn that ended last; ties go to the highest id."""
        # Turns arrive by start, so each is briefly the last one, which makes a sort with a limit slow.
        pipeline: Stages = [
            {"$match": self._turns_of_one},
            {"$group": {"_id": None, "last": {"$max": {"ended_at": "$ended_at", "id": "$id"}}}},
        ]
        by_thread = {"from": self.calls, "localField": "id", "foreignField": "turn_of"}
        return [
            {"$lookup": {**by_thread, "pipeline": pipeline, "as": LAST_TURN}},
            {"$set": {LAST_TURN: {"$first": f"${LAST_TURN}.last.id"}}},
        ]

    @property
    def _turns_of_one(self) -> Match:
        """The match of the finished turns that count, for lookups by thread."""
        period = self.threads_filter.period.match()
        return {"project_id": self.project_id, "visible": True, **period, "ended_at": {"$ne": None}}
