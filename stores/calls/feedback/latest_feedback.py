"""Field table for sorts by feedback: the fields of each call's newest feedback of a type."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from stores.calls.feedback.feedback_sort import FeedbackSort
from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.feedback.lookups import Pipeline, joined
from stores.calls.feedback.prequeries import Answers, Calls, FeedbackPrequery
from stores.calls.ref_lookups import Collections, parts
from stores.query.fields import Access, FieldTable, Kind
from stores.query.sort import Order, SortBy

_NEWEST_FIRST: Final[Pipeline] = [{"$sort": {"created_at": -1, "id": -1}}, {"$limit": 1}]


class NewestFeedback(FieldTable):
    """The fields of another table, with feedback fields redirected to the looked-up newest feedback."""

    def __init__(self, others: FieldTable) -> None:
        super().__init__(())
        self._others = others
        self._wanted: dict[str | None, set[tuple[str, ...]]] = {}
        self._questions: dict[str | None, FeedbackPrequery] = {}

    def __getitem__(self, name: str) -> Access:
        """Return the access of a field; feedback fields are null for calls without feedback."""
        access = self._others[name]
        if not isinstance(access, FeedbackAccess):
            return access
        wanted = self._wanted.setdefault(access.feedback_type, set())
        self._questions.setdefault(access.feedback_type, FeedbackPrequery(access.feedback_type))
        wanted.add((access.field.path, *access.steps))
        path = f"{self._path(access.feedback_type)}.{access.field.path}"
        return Access(replace(access.field, path=path, optional=True, low_cardinality=False), access.steps)

    @property
    def types(self) -> Sequence[str | None]:
        """The requested feedback types."""
        return list(self._wanted)

    @property
    def questions(self) -> list[FeedbackPrequery]:
        """The prequeries for the calls with any such feedback; others need no lookup."""
        return list(self._questions.values())

    def stages(self, collections: Collections, project_id: str, match: dict[str, Any], answers: Answers) -> Pipeline:
        """Build the stages that read matching calls with their newest feedback; absent if a call has none."""
        lookups: Pipeline = []
        for feedback_type, wanted in self._wanted.items():
            path = self._path(feedback_type)
            newest: Pipeline = [*_NEWEST_FIRST, {"$project": parts(wanted)}]
            lookups.append(joined(collections.feedback, project_id, feedback_type, newest, path))
            lookups.append({"$set": {path: {"$first": f"${path}"}}})
        if not lookups:
            return [{"$match": match}]
        found = _all_of([answers.get(question) for question in self.questions])
        if found is None:
            return [{"$match": match}, *lookups]
        # Looking up each of 200,000 calls takes twelve seconds.
        others: Pipeline = [{"$match": {"$and": [match, {"$nor": [found.by_id]}]}}]
        with_any = {"$match": {"$and": [match, found.by_key(project_id)]}}
        return [with_any, *lookups, {"$unionWith": {"coll": collections.calls, "pipeline": others}}]

    def leading(self, sort_by: Sequence[SortBy], order: Order) -> FeedbackSort | None:
        """Return the sort as a `FeedbackSort` if its keys are one feedback field, then the id; else None."""
        first, *then = (self[key.field].field for key in sort_by)
        [(feedback_type, wanted), *others] = self._wanted.items() or [(None, set())]
        path = self._path(feedback_type) if wanted else ""
        if others or len(wanted) != 1 or not first.path.startswith(f"{path}.") or any(f.path != "id" for f in then):
            return None
        without_ranks = None if sort_by[0].descending else 1
        nothing = 3 if first.kind is Kind.JSON else without_ranks
        return FeedbackSort(feedback_type, path, parts(wanted), order, nothing)

    def _path(self, feedback_type: str | None) -> str:
        return f"_newest_{list(self._wanted).index(feedback_type)}"


def _all_of(answers: Iterable[Calls | None]) -> Calls | None:
    """Merge the results without duplicates; None if one is missing."""
    found: dict[str, None] = {}
    feedback = 0
    for calls in answers:
        if calls is None:
            return None
        found |= dict.fromkeys(calls.ids)
        feedback += calls.feedback
    return Calls(list(found), feedback)
