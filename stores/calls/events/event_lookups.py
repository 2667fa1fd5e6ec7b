"""Lookups for events: feedback, costs and computed fields at delivery time, shared by subscribers."""

import asyncio
from typing import Any, Final

from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields, needs_computed_fields
from stores.calls.events.event import CallEvent
from stores.calls.events.event_filter import EventFilter, is_looked_up
from stores.calls.events.subscriber import SubscriptionEndedError
from stores.calls.feedback import Conditions, lookup
from stores.calls.list_query import is_on_cost, pricing
from stores.calls.ref_lookups import Collections
from stores.costs.project_prices import prices_of_found
from stores.database import Database
from stores.errors import StoreTimeoutError, UnavailableError
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.match_compiler import compile_match
from stores.query.syntax_tree import And, Literal, Not, Operand, Or, map_operands

MAX_AT_ONCE: Final = 8
"""Events looked up concurrently per process; subscribers that wait too long lag."""


class Lookups:
    """The lookups of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def found(
        self, event: CallEvent, question: EventFilter, wanted: frozenset[str], after: str | None
    ) -> CallEvent | None:
        """Return an event with the selected fields of its call; None if it does not pass the filter.

        Raises:
            SubscriptionEndedError: if the database fails; its cursor, `after` or one just before the event, resumes
                with the event.
        """
        try:
            if question.looked_up:
                key = "holds", question.key
                if not await event.once(key, lambda: self._holds(event, question)):
                    return None
            return (
                await event.once(wanted, lambda: self._filled(event, wanted))
                if needs_computed_fields(wanted)
                else event
            )
        except (UnavailableError, StoreTimeoutError) as error:
            raise SubscriptionEndedError(error.message, after or event.cursor_before) from error

    async def _holds(self, event: CallEvent, question: EventFilter) -> bool:
        async with self._turns:
            return await self._database.query(_holds(self._database, event, question))

    async def _filled(self, event: CallEvent, wanted: frozenset[str]) -> CallEvent:
        row = dict(event.call)
        async with self._turns:
            await self._database.query(add_computed_fields(self._database, row["project_id"], [row], wanted))
        return event.with_call(row)


async def _holds(database: Database, event: CallEvent, question: EventFilter) -> bool:
    """Return True if an event passes by current feedback and prices, even if its call was deleted."""
    project_id = question.project_id
    asked = await asyncio.to_thread(_decided, And(question.looked_up), DocumentValues(event.call))
    conditions = Conditions(asked)
    found: list[dict[str, Any]] = [{"$match": documents.key(project_id, event.call["id"])}]
    prices = await prices_of_found(database, project_id, found) if is_on_cost(asked) else None
    stages = [*found, *pricing(prices)]
    for condition in conditions.looked_up({}):
        stages += lookup(Collections.of(database).feedback, project_id, condition)
    stages += [{"$match": compile_match(conditions.operation(project_id, {}))}, {"$project": {"_id": 1}}]
    return bool(await database.calls.aggregate(stages).to_list(1))


def _decided(node: Operand, values: DocumentValues) -> Operand:
    """Evaluate every condition that needs no lookup with the event's values, and keep the others.

    MongoDB might find the call's payload too complex, or changed since the event.
    """
    if not is_looked_up(node):
        return Literal(compile_test(node)(values))
    return map_operands(node, lambda term: _decided(term, values)) if isinstance(node, And | Or | Not) else node
