"""Questions: which of a project's events somebody wants to hear, decided by the event alone."""

from typing import TYPE_CHECKING, Final

from stores.calls.feedback.names import PREFIX as FEEDBACK
from stores.calls.fields import CALL_FIELDS, TOTAL_COST
from stores.calls.filters import CallsFilter
from stores.errors import BadInputError
from stores.ids import check_project_id
from stores.paging import Row, scope_of
from stores.query import Query
from stores.query.evaluator import Test, Values, compile_test
from stores.query.fields import Access, FieldTable

if TYPE_CHECKING:
    from collections.abc import Callable

_COSTS: Final = ("summary", "weave", "costs")


class _FieldsOfEvents(FieldTable):
    """The fields of calls that are stored with them: others change without an event."""

    def __init__(self) -> None:
        super().__init__(())

    def __getitem__(self, name: str) -> Access:
        """The field of that name.

        Raises:
            BadInputError: there is none, or its value lies elsewhere than in the call.
        """
        if name.startswith(FEEDBACK):
            raise BadInputError(
                f"{name[:100]!r} cannot be asked of events: feedback is given later, and is no event of its call; "
                "ask calls for it"
            )
        access = CALL_FIELDS[name]
        if access.field is TOTAL_COST or access.spelling[: len(_COSTS)] == _COSTS:
            raise BadInputError(
                f"{name[:100]!r} cannot be asked of events: costs are told by the prices of now, which no call stores; "
                "ask for total_tokens, or ask calls for it"
            )
        return access


_FIELDS: Final = _FieldsOfEvents()


class Question:
    """The events of a project's calls that pass a filter and a query.

    It is asked once for all who ask the same: two are the same if their keys are.
    """

    def __init__(self, project_id: str, calls_filter: CallsFilter | None = None, query: Query | None = None) -> None:
        """Make the question.

        Raises:
            BadInputError: the project's id, the filter or the query breaks a rule, or the query names what calls do
                not store; the error names the field.
        """
        check_project_id(project_id)
        operation = query.operation(_FIELDS) if query else None
        self.project_id = project_id
        self.key = scope_of(calls_filter, operation)
        self._passes: Callable[[Row], bool] | None = calls_filter.test() if calls_filter else None
        self._holds: Test | None = compile_test(operation) if operation else None

    def holds(self, call: Row, values: Values) -> bool:
        """Whether an event of a call, whose values are given, is among those that are asked for."""
        if self._passes and not self._passes(call):
            return False
        return self._holds is None or self._holds(values)
