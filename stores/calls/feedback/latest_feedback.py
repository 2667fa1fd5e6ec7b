"""Field table for sorts by feedback: the fields of each call's newest feedback of a type."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from stores.calls.feedback.feedback_sort import FeedbackSort
from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.feedback.lookups import Pipeline, feedback_lookup
from stores.calls.feedback.prequeries import FeedbackPrequery, FoundCalls, PrequeryResults
from stores.calls.ref_lookups import Collections, paths_projection
from stores.paging import Order
from stores.query.fields import Access, FieldTable, Kind
from stores.query.sort import SortBy

_NEWEST_FIRST: Final[Pipeline] = [{"$sort": {"created_at": -1, "id": -1}}, {"$limit": 1}]


class NewestFeedbackTable(FieldTable):
    """The fields of another table, with feedback fields redirected to the looked-up newest feedback."""

    def __init__(self, table: FieldTable) -> None:
        super().__init__(())
        self._table = table
        self._requested: dict[str | None, set[tuple[str, ...]]] = {}
        self._prequeries: dict[str | None, FeedbackPrequery] = {}

    def __getitem__(self, name: str) -> Access:
        """Return the access of a field; feedback fields are null for calls without feedback."""
        access = self._table[name]
        if not isinstance(access, FeedbackAccess):
            return access
        wanted = self._requested.setdefault(access.feedback_type, set())
        self._prequeries.setdefault(access.feedback_type, FeedbackPrequery(access.feedback_type))
        wanted.add((access.field.path, *access.steps))
        path = f"{self._path(access.feedback_type)}.{access.field.path}"
        return Access(replace(access.field, path=path, optional=True, low_cardinality=False), access.steps)

    @property
    def types(self) -> Sequence[str | None]:
        """The requested feedback types."""
        return list(self._requested)

    @property
    def prequeries(self) -> list[FeedbackPrequery]:
        """The prequeries for the calls with any such feedback; others need no lookup."""
        return list(self._prequeries.values())

    def stages(
        self, collections: Collections, project_id: str, match: dict[str, Any], results: PrequeryResults
    ) -> Pipeline:
        """Build the stages that read matching calls with their newest feedback; absent if a call has none."""
        lookups: Pipeline = []
        for feedback_type, wanted in self._requested.items():
            path = self._path(feedback_type)
            newest: Pipeline = [*_NEWEST_FIRST, {"$project": paths_projection(wanted)}]
            lookups.append(feedback_lookup(collections.feedback, project_id, feedback_type, newest, path))
            lookups.append({"$set": {path: {"$first": f"${path}"}}})
        if not lookups:
            return [{"$match": match}]
        found_calls = _merged([results.get(prequery) for prequery in self.prequeries])
        if found_calls is None:
            return [{"$match": match}, *lookups]
        # Looking up each of 200,000 calls takes twelve seconds.
        others: Pipeline = [{"$match": {"$and": [match, {"$nor": [found_calls.by_id]}]}}]
        with_any = {"$match": {"$and": [match, found_calls.by_key(project_id)]}}
        return [with_any, *lookups, {"$unionWith": {"coll": collections.calls, "pipeline": others}}]

    def feedback_sort(self, sort_by: Sequence[SortBy], order: Order) -> FeedbackSort | None:
        """Return the sort as a `FeedbackSort` if its keys are one feedback field, then the id; else None."""
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
        return FeedbackSort(feedback_type, path, paths_projection(wanted), order, rank_of_null)

    def _path(self, feedback_type: str | None) -> str:
        return f"_newest_{list(self._requested).index(feedback_type)}"


def _merged(results: Iterable[FoundCalls | None]) -> FoundCalls | None:
    """Merge the results without duplicates; None if one is missing."""
    ids: dict[str, None] = {}
    num_feedback = 0
    for calls in results:
        if calls is None:
            return None
        ids |= dict.fromkeys(calls.ids)
        num_feedback += calls.num_feedback
    return FoundCalls(list(ids), num_feedback)
