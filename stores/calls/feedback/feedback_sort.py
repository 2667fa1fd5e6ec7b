"""Sorts that feedback leads: pages of calls by a field of the newest feedback of a type, found from the feedback.

Calls that have a value there come first, in either direction. They are put in order before any call is looked up, and
then only those of the page are. The others, in the order of their ids, are looked for where the page reaches them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stores import paging
from stores.calls.feedback import prequeries
from stores.calls.feedback.prequeries import FeedbackPrequery, Pipeline, gathered
from stores.calls.filters import Match
from stores.database import Collection, Database
from stores.database.bounded_reads import json_characters, read_rows_up_to
from stores.database.transactions import Session
from stores.paging import Key, Order, Page, PageRequest, Row, build_page

Found = tuple[list[Row], bool]
"""Rows, and whether they end early, with one row more than their page has."""


@dataclass(frozen=True, slots=True)
class FeedbackSort:
    """A sort by a field of the newest feedback of a type, then by the call's id.

    The fields project what it needs of feedback, which goes to the path. Nothing is what the first of its keys has
    where there is no value.
    """

    feedback_type: str | None
    path: str
    fields: dict[str, Any]
    order: Order
    nothing: int | None

    @property
    def first(self) -> str:
        """The path of the first key."""
        return self.order.keys[0].path

    @property
    def has_value(self) -> Match:
        """The match of what has a value, once the order's keys are computed."""
        return {self.first: {"$ne": self.nothing}}

    def newest(self, project_id: str) -> Pipeline:
        """The stages that read, as a document of the call's key and id, the newest feedback on each call."""
        question = FeedbackPrequery(self.feedback_type)
        key = {"$concat": [{"$literal": f"{project_id}:"}, "$_id"]}
        return [
            {"$match": question.match(project_id)},
            {"$sort": dict.fromkeys(question.order, -1)},
            {"$project": self.fields | {"call_id": 1}},
            {"$group": {"_id": "$call_id", "newest": {"$first": "$$ROOT"}}},
            {"$project": {"_id": key, "id": "$_id", self.path: "$newest"}},
        ]


@dataclass(frozen=True, slots=True)
class CallsByFeedback:
    """The calls of a project that pass a match and then some stages, in the order of a sort that feedback leads."""

    database: Database
    project_id: str
    leading: FeedbackSort
    match: Match
    narrowing: Pipeline
    session: Session

    async def page(self, request: PageRequest, projection: Sequence[str], scope: bytes) -> Page | None:
        """A page; None where it reaches calls without a value, and too many have one to tell them from those by id.

        Raises:
            BadInputError: the cursor is none of this scope's.
        """
        order, offset = self.leading.order, request.offset
        position = paging.decode_cursor(request, scope, len(order.keys))
        rows: list[Row] = []
        for is_valued in self._parts(position, backward=request.backward):
            part = await (self._valued if is_valued else self._others)(
                _rest_of(request, rows, offset), projection, position
            )
            if part is None:
                return None
            found, is_cut = part
            rows += found
            if is_cut:
                request = replace(request, size=len(rows) - 1)
            if len(rows) > request.size:
                break
            if offset:
                offset = 0 if found else offset - await self._count_valued(position)
            position = None
        return build_page(rows, request, order, scope)

    def _parts(self, position: list[object] | None, *, backward: bool) -> list[bool]:
        """Which calls come after a position in this direction: those with a value (true), and those without."""
        parts = [False, True] if backward else [True, False]
        if position is None:
            return parts
        return parts[parts.index(position[0] != self.leading.nothing) :]

    async def _valued(self, request: PageRequest, projection: Sequence[str], position: list[object] | None) -> Found:
        return await self._rows(self.database.feedback, self.stages(request, projection, position), request)

    def stages(self, request: PageRequest, projection: Sequence[str], position: list[object] | None = None) -> Pipeline:
        """The stages that make a page of those with a value, out of feedback."""
        stages = paging.page_pipeline({}, self.leading.order, request, projection, position, self._looked_up)
        return [*self.leading.newest(self.project_id), *stages]

    @property
    def _looked_up(self) -> Pipeline:
        """The stages from the newest feedback with a value to the calls that it is on."""
        calls = {
            "from": self.database.calls.name,
            "localField": "_id",
            "foreignField": "_id",
            "pipeline": [{"$match": self.match}],
            "as": "call",
        }
        return [
            {"$match": self.leading.has_value},
            {"$lookup": calls},
            {"$unwind": "$call"},
            {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$call", "$$ROOT"]}}},
            {"$unset": "call"},
            *self.narrowing,
        ]

    async def _count_valued(self, position: list[object] | None) -> int:
        """How many calls with a value there are after a position."""
        sort = self.leading.order.stages({}, position, backward=False)
        stages = [*self.leading.newest(self.project_id), *sort, *self._looked_up]
        return await paging.count(self.database.feedback, stages, session=self.session)

    async def _others(
        self, request: PageRequest, projection: Sequence[str], position: list[object] | None
    ) -> Found | None:
        order = self.leading.order
        with_value = [
            *self.leading.newest(self.project_id),
            {"$set": order.computed | {"call_id": "$id"}},
            {"$match": self.leading.has_value},
        ]
        valued = await gathered(self.database.feedback, with_value, prequeries.MAX_FOUND, self.session)
        if valued is None:
            return None
        of_project = {"_id": {"$gte": f"{self.project_id}:", "$lt": f"{self.project_id};"}}
        match = {"$and": [self.match, of_project, {"$nor": [valued.by_id]}]}
        by_key = Order({}, (Key("_id", order.keys[-1].descending),))
        place = position and [f"{self.project_id}:{position[-1]}"]
        stages = paging.page_pipeline(match, by_key, request, [*projection, "id"], place, self.narrowing)
        found, is_cut = await self._rows(self.database.calls, stages, request)
        return [row | {self.leading.first: self.leading.nothing} for row in found], is_cut

    async def _rows(self, collection: Collection, stages: Pipeline, request: PageRequest) -> Found:
        if request.max_characters is not None:
            return await read_rows_up_to(collection, stages, request.size + 2, request.max_characters, self.session)
        found = collection.aggregate(stages, session=self.session, allowDiskUse=True, batchSize=request.size + 2)
        return await found.to_list(None), False


def _rest_of(request: PageRequest, rows: Sequence[Row], offset: int) -> PageRequest:
    """What a page still asks for where it has some rows, and the rows to be left out come off."""
    most = request.max_characters
    left = None if most is None else most - sum(map(json_characters, rows))
    return replace(request, size=request.size - len(rows), cursor=None, offset=offset, max_characters=left)
