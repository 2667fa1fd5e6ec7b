"""What an event does not tell by itself: looked up as it is by then, once for all who want the same of the event."""

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
from stores.query.evaluator import Values, compile_test
from stores.query.match_compiler import compile_match
from stores.query.syntax_tree import And, Literal, Not, Operand, Or, with_operands

MAX_AT_ONCE: Final = 8
"""Events of which one process looks something up at once; who waits for too long lags, and is told."""


class Lookups:
    """What is looked up of the events of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def found(
        self, event: CallEvent, question: EventFilter, wanted: frozenset[str], after: str | None
    ) -> CallEvent | None:
        """An event with the wanted fields of its call; None if it is not what a question asks for.

        Raises:
            EndedError: the database cannot tell; it says to go on after the cursor, which is before the event.
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
    """Whether what there is of feedback and prices by now lets an event pass, deleted or not."""
    project_id = question.project_id
    asked = await asyncio.to_thread(_decided, And(question.looked_up), Values(event.call))
    conditions = Conditions(asked)
    found: list[dict[str, Any]] = [{"$match": documents.key(project_id, event.call["id"])}]
    prices = await prices_of_found(database, project_id, found) if is_on_cost(asked) else None
    stages = [*found, *pricing(prices)]
    for condition in conditions.looked_up({}):
        stages += lookup(Collections.of(database).feedback, project_id, condition)
    stages += [{"$match": compile_match(conditions.operation(project_id, {}))}, {"$project": {"_id": 1}}]
    return bool(await database.calls.aggregate(stages).to_list(1))


def _decided(node: Operand, values: Values) -> Operand:
    """An operation of which the values of an event decide all that they can, as they do where nothing is looked up.

    MongoDB might find the call's payload too complex, or changed since.
    """
    if not is_looked_up(node):
        return Literal(compile_test(node)(values))
    return with_operands(node, lambda term: _decided(term, values)) if isinstance(node, And | Or | Not) else node
