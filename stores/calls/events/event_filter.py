"""Questions: which of a project's events somebody wants to hear."""

from typing import TYPE_CHECKING, Final

from stores.calls.feedback import Conditions, FeedbackNames
from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.fields import CALL_FIELDS
from stores.calls.filters import CallsFilter
from stores.calls.list_query import is_on_cost, terms
from stores.calls.op_names import calls_operation
from stores.ids import check_project_id
from stores.paging import Row, scope_of
from stores.query import Query
from stores.query.evaluator import Test, Values, compile_test
from stores.query.syntax_tree import And, Operand, gets

if TYPE_CHECKING:
    from collections.abc import Callable

_FIELDS: Final = FeedbackNames(CALL_FIELDS)


class EventFilter:
    """The events of a project's calls that pass a filter and a query.

    It is asked once for all who ask the same: two are the same if their keys are. Most is decided by the event alone;
    what is on feedback or costs, which no call stores, is `looked_up` (`lookups`) of the events that pass the rest.
    """

    def __init__(self, project_id: str, calls_filter: CallsFilter | None = None, query: Query | None = None) -> None:
        """Make the question.

        Raises:
            BadInputError: the project's id, the filter or the query breaks a rule; the error names the field.
        """
        check_project_id(project_id)
        operation = calls_operation(query, _FIELDS, project_id) if query else None
        self.project_id = project_id
        self.key = scope_of(calls_filter, operation)
        self._passes: Callable[[Row], bool] | None = calls_filter.test(project_id) if calls_filter else None
        parts = terms(operation) if operation else ()
        stored = tuple(part for part in parts if not is_looked_up(part))
        self._holds: Test | None = compile_test(And(stored)) if stored else None
        self.looked_up = tuple(part for part in parts if is_looked_up(part))
        """The operations that are left to be held to, all of them."""
        if self.looked_up:
            Conditions(And(self.looked_up))  # refuses what is too much

    def matches(self, call: Row, values: Values) -> bool:
        """Whether an event of a call, whose values are given, is among those that are asked for, or may be.

        Of a large event it is to be asked in a thread.
        """
        if self._passes and not self._passes(call):
            return False
        return self._holds is None or self._holds(values)


def is_looked_up(operation: Operand) -> bool:
    """Whether an operation names feedback or a cost, so that the event alone cannot decide it."""
    return is_on_cost(operation) or any(isinstance(get.access, FeedbackAccess) for get in gets(operation))
