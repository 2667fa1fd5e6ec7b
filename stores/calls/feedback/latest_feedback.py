"""Sorts by feedback: the fields of the newest feedback of a type on each call."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from stores.calls.feedback.feedback_sort import FeedbackSort
from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.feedback.lookups import Pipeline, joined
from stores.calls.feedback.prequeries import Answers, Calls, FeedbackPrequery
from stores.calls.ref_lookups import Collections, parts
from stores.paging import Order
from stores.query.fields import Access, FieldTable, Kind
from stores.query.sort import SortBy

_NEWEST_FIRST: Final[Pipeline] = [{"$sort": {"created_at": -1, "id": -1}}, {"$limit": 1}]


class NewestFeedback(FieldTable):
    """The fields of another table, those of feedback where the newest of each type is looked up to."""

    def __init__(self, others: FieldTable) -> None:
        super().__init__(())
        self._others = others
        self._wanted: dict[str | None, set[tuple[str, ...]]] = {}
        self._questions: dict[str | None, FeedbackPrequery] = {}

    def __getitem__(self, name: str) -> Access:
        """The field of that name; one of feedback is null on a call without any."""
        access = self._others[name]
        if not isinstance(access, FeedbackAccess):
            return access
        wanted = self._wanted.setdefault(access.feedback_type, set())
        self._questions.setdefault(access.feedback_type, FeedbackPrequery(access.feedback_type))
        wanted.add((access.field.path, *access.steps))
        path = f"{self._path(access.feedback_type)}.{access.field.path}"
        return Access(replace(access.field, path=path, optional=True, coarse=False), access.steps)

    @property
    def types(self) -> Sequence[str | None]:
        """The types that were asked for."""
        return list(self._wanted)

    @property
    def questions(self) -> list[FeedbackPrequery]:
        """On which calls there is any; the others need no lookup."""
        return list(self._questions.values())

    def stages(self, collections: Collections, project_id: str, match: dict[str, Any], answers: Answers) -> Pipeline:
        """The stages that read the calls of a match, each with the newest feedback; where there is none is nothing."""
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
        # A lookup of each of 200,000 calls takes twelve seconds.
        others: Pipeline = [{"$match": {"$and": [match, {"$nor": [found.by_id]}]}}]
        with_any = {"$match": {"$and": [match, found.by_key(project_id)]}}
        return [with_any, *lookups, {"$unionWith": {"coll": collections.calls, "pipeline": others}}]

    def leading(self, sort_by: Sequence[SortBy], order: Order) -> FeedbackSort | None:
        """The order of a sort as one that feedback leads, if its one field of feedback comes first, then the id."""
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
    """The calls of all answers, each once; None where one is missing."""
    found: dict[str, None] = {}
    feedback = 0
    for calls in answers:
        if calls is None:
            return None
        found |= dict.fromkeys(calls.ids)
        feedback += calls.feedback
    return Calls(list(found), feedback)
