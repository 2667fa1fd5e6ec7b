"""Event filters: which of a project's events a subscriber receives."""

from typing import TYPE_CHECKING, Final

from stores.calls.feedback import Conditions, FeedbackFieldTable
from stores.calls.feedback.field_names import FeedbackAccess
from stores.calls.fields import CALL_FIELDS
from stores.calls.filters import CallsFilter
from stores.calls.list_query import conjuncts, uses_cost
from stores.calls.op_names import compile_calls_query
from stores.ids import check_project_id
from stores.paging import Row, scope_of
from stores.query import Query
from stores.query.evaluator import DocumentValues, Test, compile_test
from stores.query.syntax_tree import Operand, Operation, Operator, iter_gets

if TYPE_CHECKING:
    from collections.abc import Callable

_FIELDS: Final = FeedbackFieldTable(CALL_FIELDS)


class EventFilter:
    """Selects the events of a project's calls by a filter and a query.

    Subscribers with equal `key`s share one evaluation. The event alone decides most conditions; `needs_lookup` holds
    those on feedback or costs, which calls do not store.
    """

    def __init__(self, project_id: str, calls_filter: CallsFilter | None = None, query: Query | None = None) -> None:
        """Compile the filter.

        Raises:
            BadInputError: if the project id, the filter or the query is invalid; the error names the field.
        """
        check_project_id(project_id)
        operation = compile_calls_query(query, _FIELDS, project_id) if query else None
        self.project_id = project_id
        self.key = scope_of(calls_filter, operation)
        self._filter_test: Callable[[Row], bool] | None = calls_filter.test(project_id) if calls_filter else None
        conditions = conjuncts(operation) if operation else ()
        stored = tuple(condition for condition in conditions if not needs_lookup(condition))
        self._query_test: Test | None = compile_test(Operation(Operator.AND, stored)) if stored else None
        self.needs_lookup = tuple(condition for condition in conditions if needs_lookup(condition))
        """The conditions that need a lookup, all of which must be true."""
        if self.needs_lookup:
            Conditions(Operation(Operator.AND, self.needs_lookup))  # validates their number

    def matches(self, call: Row, values: DocumentValues) -> bool:
        """Return True if an event passes, apart from the conditions that need a lookup.

        Use a thread for a large event.
        """
        if self._filter_test and not self._filter_test(call):
            return False
        return self._query_test is None or self._query_test(values)


def needs_lookup(operation: Operand) -> bool:
    """Return True if an operation uses feedback or a cost, which the event alone cannot decide."""
    return uses_cost(operation) or any(isinstance(get.access, FeedbackAccess) for get in iter_gets(operation))
