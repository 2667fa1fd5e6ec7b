"""Pages of calls sorted by a field of their newest feedback, read from the feedback.

Calls with a value come first, in either direction. Their feedback is sorted before any call is read, so only the calls
of the page are read. Calls without a value follow by id and are read only if the page reaches them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stores import paging
from stores.calls.feedback import conditions
from stores.calls.feedback.conditions import Condition, FeedbackAccess, FoundCalls, Pipeline, PrequeryResults
from stores.calls.fields import Match
from stores.calls.ref_expansion import paths_projection
from stores.database import Database
from stores.database.transactions import Session
from stores.paging import Order, Page, PageRequest, Row, SortKey, build_page
from stores.query.fields import Access, FieldTable, Kind
from stores.query.sort import SortBy

RowsAndCut = tuple[list[Row], bool]
"""Rows, and True if they were cut short by the character limit; then they include one row beyond the page."""


@dataclass(frozen=True, slots=True)
class CallsByFeedback:
    """The calls of a project sorted by a field of their newest feedback of a type, then by call id.

    Attributes:
        feedback_type: the type; None for any.
        path: the document field that receives the newest feedback.
        projection: the feedback fields that the sort needs.
        order: the compiled sort.
        rank_of_null: value of the first sort key for calls without a value.
        database: the database.
        project_id: the project.
        match: filters the calls.
        narrowing: stages that filter them further.
        session: the snapshot session.
    """

    feedback_type: str | None
    path: str
    projection: dict[str, Any]
    order: Order
    rank_of_null: int | None
    database: Database
    project_id: str
    match: Match
    narrowing: Pipeline
    session: Session

    async def page(self, request: PageRequest, projection: Sequence[str], scope: bytes) -> Page | None:
        """Read a page; None if it reaches calls without a value, and too many calls have one to exclude them by id.

        Raises:
            BadInputError: if the cursor belongs to another list.
        """
        order, offset = self.order, request.offset
        position = paging.decode_cursor(request, scope, len(order.keys))
        rows: list[Row] = []
        for has_value in self._groups(position, backward=request.backward):
            rest = paging.remaining_request(request, rows, offset)
            if has_value:
                stages = self.stages(rest, projection, position)
                part: RowsAndCut | None = await paging.read_rows(self.database.feedback, stages, rest, self.session)
            else:
                part = await self._rows_without_value(rest, projection, position)
            if part is None:
                return None
            group_rows, is_cut = part
            rows += group_rows
            if is_cut:
                request = replace(request, size=len(rows) - 1)
            if len(rows) > request.size:
                break
            if offset:
                offset = 0 if group_rows else offset - await self._count_with_value(position)
            position = None
        return build_page(rows, request, order, scope)

    def _groups(self, position: list[object] | None, *, backward: bool) -> list[bool]:
        """Return the groups at and after a position in reading order: True for calls with a value."""
        groups = [False, True] if backward else [True, False]
        if position is None:
            return groups
        return groups[groups.index(position[0] != self.rank_of_null) :]

    def stages(self, request: PageRequest, projection: Sequence[str], position: list[object] | None = None) -> Pipeline:
        """Build the stages of a page of calls with a value, from the feedback collection."""
        stages = paging.page_pipeline({}, self.order, request, projection, position, self._lookup_stages)
        return [*self._newest_stages, *stages]

    @property
    def _has_value(self) -> Match:
        """The match of documents with a value, once the sort keys are computed."""
        return {self.order.keys[0].path: {"$ne": self.rank_of_null}}

    @property
    def _newest_stages(self) -> Pipeline:
        """The stages that return the newest feedback on each call, with the call's `_id` and `id`."""
        any_feedback = Condition(self.feedback_type)
        call_key = {"$concat": [{"$literal": f"{self.project_id}:"}, "$_id"]}
        return [
            {"$match": any_feedback.match(self.project_id)},
            {"$sort": dict.fromkeys(any_feedback.order, -1)},
            {"$project": self.projection | {"call_id": 1}},
            {"$group": {"_id": "$call_id", "newest": {"$first": "$$ROOT"}}},
            {"$project": {"_id": call_key, "id": "$_id", self.path: "$newest"}},
        ]

    @property
    def _lookup_stages(self) -> Pipeline:
        """The stages from the newest feedback with a value to its calls."""
        calls = {
            "from": self.database.calls.name,
            "localField": "_id",
            "foreignField": "_id",
            "pipeline": [{"$match": self.match}],
            "as": "call",
        }
        return [
            {"$match": self._has_value},
            {"$lookup": calls},
            {"$unwind": "$call"},
            {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$call", "$$ROOT"]}}},
            {"$unset": "call"},
            *self.narrowing,
        ]

    async def _count_with_value(self, position: list[object] | None) -> int:
        """Count the calls with a value after a position."""
        sort = self.order.stages({}, position, backward=False)
        stages = [*self._newest_stages, *sort, *self._lookup_stages]
        return await paging.count(self.database.feedback, stages, session=self.session)

    async def _rows_without_value(
        self, request: PageRequest, projection: Sequence[str], position: list[object] | None
    ) -> RowsAndCut | None:
        order = self.order
        with_value_stages = [
            *self._newest_stages,
            {"$set": order.computed | {"call_id": "$id"}},
            {"$match": self._has_value},
        ]
        feedback, limit = self.database.feedback, conditions.MAX_FEEDBACK
        valued = await conditions.find_calls(feedback, with_value_stages, limit, self.session)
        if valued is None:
            return None
        in_project = {"_id": {"$gte": f"{self.project_id}:", "$lt": f"{self.project_id};"}}
        match = {"$and": [self.match, in_project, {"$nor": [valued.by_id]}]}
        by_key = Order({}, (SortKey("_id", order.keys[-1].descending),))
        position_by_key = position and [f"{self.project_id}:{position[-1]}"]
        stages = paging.page_pipeline(match, by_key, request, [*projection, "id"], position_by_key, self.narrowing)
        rows, is_cut = await paging.read_rows(self.database.calls, stages, request, self.session)
        return [row | {self.order.keys[0].path: self.rank_of_null} for row in rows], is_cut


FeedbackSort = Callable[[Database, str, Match, Pipeline, Session], CallsByFeedback]


class NewestFeedbackTable(FieldTable):
    """The fields of another table plus feedback fields, which lead to the looked-up newest feedback."""

    def __init__(self, table: FieldTable) -> None:
        super().__init__(())
        self._table = conditions.FeedbackFieldTable(table)
        self._requested: dict[str | None, set[tuple[str, ...]]] = {}
        self._prequeries: dict[str | None, Condition] = {}

    def __getitem__(self, name: str) -> Access:
        """Return the access of a field; feedback fields are null for calls without feedback."""
        access = self._table[name]
        if not isinstance(access, FeedbackAccess):
            return access
        wanted = self._requested.setdefault(access.feedback_type, set())
        self._prequeries.setdefault(access.feedback_type, Condition(access.feedback_type))
        wanted.add((access.field.path, *access.steps))
        path = f"{self._path(access.feedback_type)}.{access.field.path}"
        return Access(replace(access.field, path=path, optional=True, low_cardinality=False), access.steps)

    @property
    def types(self) -> Sequence[str | None]:
        """The requested feedback types."""
        return list(self._requested)

    @property
    def prequeries(self) -> list[Condition]:
        """The prequeries for the calls with any such feedback; others need no lookup."""
        return list(self._prequeries.values())

    def lookups(
        self, database: Database, project_id: str, found: Sequence[dict[str, Any]], results: PrequeryResults
    ) -> Pipeline:
        """Build the stages that add their newest feedback, absent if there is none, to the calls that `found` returns.

        The stages `found` become part of the result, in which they may occur twice.
        """
        lookups: Pipeline = []
        for feedback_type, wanted in self._requested.items():
            path = self._path(feedback_type)
            newest: Pipeline = [
                {"$sort": {"created_at": -1, "id": -1}},
                {"$limit": 1},
                {"$project": paths_projection(wanted)},
            ]
            feedback = database.feedback.name
            lookups.append(conditions.feedback_lookup(feedback, project_id, feedback_type, newest, path))
            lookups.append({"$set": {path: {"$first": f"${path}"}}})
        known = [results.get(prequery) for prequery in self.prequeries]
        if not lookups or None in known:
            return [*found, *lookups]
        # Looking up each of 200,000 calls takes twelve seconds.
        with_any = FoundCalls(list(dict.fromkeys(call_id for calls in known if calls for call_id in calls.ids)))
        others: Pipeline = [*found, {"$match": {"$nor": [with_any.by_id]}}]
        return [
            *found,
            {"$match": with_any.by_key(project_id)},
            *lookups,
            {"$unionWith": {"coll": database.calls.name, "pipeline": others}},
        ]

    def calls_by_feedback(self, sort_by: Sequence[SortBy], order: Order) -> FeedbackSort | None:
        """Return a function that makes the sorted calls if the keys are one feedback field, then the id; else None."""
        first, *later_fields = (self[key.field].field for key in sort_by)
        [(feedback_type, wanted), *others] = self._requested.items() or [(None, set())]
        path = self._path(feedback_type) if wanted else ""
        if (
            others
            or len(wanted) != 1
            or not first.path.startswith(f"{path}.")
            or any(f.path != "id" for f in later_fields)
        ):
            return None
        without_ranks = None if sort_by[0].descending else 1
        rank_of_null = 3 if first.kind is Kind.JSON else without_ranks
        return partial(CallsByFeedback, feedback_type, path, paths_projection(wanted), order, rank_of_null)

    def _path(self, feedback_type: str | None) -> str:
        return f"_newest_{list(self._requested).index(feedback_type)}"
