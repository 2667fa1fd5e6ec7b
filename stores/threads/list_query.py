"""Searches: the stages that make threads of their turns, and of each only what is wanted."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from stores.paging import Order
from stores.threads import percentiles
from stores.threads.fields import COLLECTED, LAST_TURN, LAST_UPDATED
from stores.threads.filters import Match, ThreadsFilter
from stores.threads.percentiles import PERCENTILES

Stages = list[dict[str, Any]]

HAS_FINISHED_TURN: Final[Match] = {LAST_UPDATED: {"$ne": None}}
"""The condition on a thread to be one."""

_BY_THREAD: Final = {"turn_of": 1, "started_at": 1, "id": 1}
_BY_TIME: Final = {"started_at": 1, "turn_of": 1, "id": 1}
"""The orders of two indexes. In both the turns of a thread come the oldest first, as what collects them needs."""


@dataclass(frozen=True)
class ListQuery:
    """Threads of a project in an order, with the wanted fields; `calls` is the name of the collection of calls.

    Percentiles are computed of all threads where they are sorted by, or else of those on the page, as the last turns
    are. Where it only `gathers`, it is the quick way, which no thread of very many turns may be in.
    """

    calls: str
    project_id: str
    which: ThreadsFilter
    order: Order
    wanted: AbstractSet[str]
    gathers: bool = True

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
        """The stages that make a document of each thread; its id is its `id`."""
        collected = {name: COLLECTED[name] for name in COLLECTED if name in {*self._names, LAST_UPDATED}}
        if self._percentiles:
            collected |= percentiles.gathering() if self.gathers else percentiles.counting()
        by_time = bool(self.which.period.match()) and not self.which.thread_ids
        return [
            {"$match": self.which.turns(self.project_id)},
            {"$sort": _BY_TIME if by_time else _BY_THREAD},
            {"$group": {"_id": "$turn_of", "id": {"$first": "$turn_of"}, **collected}},
            {"$match": HAS_FINISHED_TURN},
            *(self._percentile_stages if self._sorts_by_percentiles else ()),
        ]

    @property
    def projection(self) -> list[str]:
        """What a page's rows keep, besides what they are sorted by."""
        return [*self.wanted, *percentiles.COLLECTED]

    @property
    def finishing(self) -> Stages:
        """The stages that add to the rows of a page what is looked up for them alone."""
        return [
            *(() if self._sorts_by_percentiles else self._percentile_stages),
            *(self._last_turn_stages if LAST_TURN in self.wanted else ()),
        ]

    @property
    def _percentile_stages(self) -> Stages:
        if not self._percentiles:
            return []
        if self.gathers:
            return percentiles.gathered(self._percentiles)
        return percentiles.walked(self._percentiles, self.calls, self._turns_of_one)

    @property
    def _last_turn_stages(self) -> Stages:
        """The turn that ended last; of those that ended at one time the one with the last id."""
        # Turns come by their starts, so that each is the last for a moment, which a sort with a limit takes long for.
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
        """The finished turns that count, where an index has led to those of one thread."""
        period = self.which.period.match()
        return {"project_id": self.project_id, "visible": True, **period, "ended_at": {"$ne": None}}
