"""Lookups for events: feedback, costs and computed fields at delivery time, shared by subscribers."""

import asyncio
from typing import Any, Final

from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields, needs_computed_fields
from stores.calls.events.event import CallEvent
from stores.calls.events.event_filter import EventFilter, needs_lookup
from stores.calls.events.subscriber import SubscriptionEndedError
from stores.calls.feedback import Conditions, condition_lookup
from stores.calls.list_query import cost_stages, uses_cost
from stores.calls.ref_lookups import Collections
from stores.costs.project_prices import prices_of_found
from stores.database import Database
from stores.errors import StoreTimeoutError, UnavailableError
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.match_compiler import compile_match
from stores.query.syntax_tree import And, Literal, Not, Operand, Or, map_operands

MAX_CONCURRENT: Final = 8
"""Events looked up concurrently per process; subscribers that wait too long lag."""


class EventLookups:
    """The lookups of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def complete(
        self, event: CallEvent, event_filter: EventFilter, wanted: frozenset[str], after: str | None
    ) -> CallEvent | None:
        """Return an event with the selected fields of its call; None if it does not pass the filter.

        Raises:
            SubscriptionEndedError: if the database fails; its cursor, `after` or one just before the event, resumes
                with the event.
        """
        try:
            if event_filter.needs_lookup:
                key = "holds", event_filter.key
                if not await event.cached(key, lambda: self._holds(event, event_filter)):
                    return None
            return (
                await event.cached(wanted, lambda: self._with_fields(event, wanted))
                if needs_computed_fields(wanted)
                else event
            )
        except (UnavailableError, StoreTimeoutError) as error:
            raise SubscriptionEndedError(error.message, after or event.cursor_before) from error

    async def _holds(self, event: CallEvent, event_filter: EventFilter) -> bool:
        async with self._slots:
            return await self._database.query(_holds(self._database, event, event_filter))

    async def _with_fields(self, event: CallEvent, wanted: frozenset[str]) -> CallEvent:
        row = dict(event.call)
        async with self._slots:
            await self._database.query(add_computed_fields(self._database, row["project_id"], [row], wanted))
        return event.with_call(row)


async def _holds(database: Database, event: CallEvent, event_filter: EventFilter) -> bool:
    """Return True if an event passes by current feedback and prices, even if its call was deleted."""
    project_id = event_filter.project_id
    remaining = await asyncio.to_thread(_with_event_results, And(event_filter.needs_lookup), DocumentValues(event.call))
    conditions = Conditions(remaining)
    found: list[dict[str, Any]] = [{"$match": documents.key_fields(project_id, event.call["id"])}]
    prices = await prices_of_found(database, project_id, found) if uses_cost(remaining) else None
    stages = [*found, *cost_stages(prices)]
    for condition in conditions.without_result({}):
        stages += condition_lookup(Collections.from_database(database).feedback, project_id, condition)
    stages += [{"$match": compile_match(conditions.operation(project_id, {}))}, {"$project": {"_id": 1}}]
    return bool(await database.calls.aggregate(stages).to_list(1))


def _with_event_results(node: Operand, values: DocumentValues) -> Operand:
    """Evaluate every condition that needs no lookup with the event's values, and keep the others.

    MongoDB might find the call's payload too complex, or changed since the event.
    """
    if not needs_lookup(node):
        return Literal(compile_test(node)(values))
    return (
        map_operands(node, lambda term: _with_event_results(term, values)) if isinstance(node, And | Or | Not) else node
    )
