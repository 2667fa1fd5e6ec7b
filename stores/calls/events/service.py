"""Subscriptions to events: catch up from the oplog if the client asks for it, then read live events.

Feedback, costs and computed fields are looked up at delivery time, once for all subscribers.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from stores.calls import documents
from stores.calls.computed_fields import add_computed_fields
from stores.calls.events.change_stream import current_token, read_changes_after, to_event
from stores.calls.events.event import CallEvent, Cursors, EventFilter, uses_lookup
from stores.calls.events.fan_out import FanOut, SubscriptionEndedError
from stores.calls.feedback.conditions import Conditions
from stores.calls.fields import COMPUTED_FIELDS, CallsFilter
from stores.calls.list_query import cost_stages, uses_cost
from stores.costs.project_prices import prices_of_found
from stores.database import Database
from stores.errors import StoreTimeoutError, UnavailableError
from stores.query import Query
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.match_compiler import compile_match
from stores.query.parser import JUNCTIONS, Literal, Operand, Operation, Operator, map_operands

MAX_CATCH_UP_READS: Final = 4
"""Batches of past changes that one process reads concurrently."""

MAX_LOOKUPS: Final = 8
"""Events looked up concurrently per process; subscribers that wait too long lag."""


class CallEvents:
    """Event subscriptions of one process."""

    def __init__(
        self, database: Database, max_subscribers: int, max_bytes: int, max_subscribers_per_caller: int | None
    ) -> None:
        self._database = database
        self._cursors = Cursors(database)
        self.fan_out = FanOut(
            database, self._cursors, max_subscribers, max_bytes, max_per_caller=max_subscribers_per_caller
        )
        """The shared change stream, also for metrics."""
        self._lookup_slots = asyncio.Semaphore(MAX_LOOKUPS)
        self._catch_up_slots = asyncio.Semaphore(MAX_CATCH_UP_READS)

    async def cursor(self, project_id: str) -> str:
        """Return the cursor after everything that happened in a project so far."""
        await self._cursors.open()
        return self._cursors.encode(project_id, await self._database.query(current_token(self._database.calls)))

    async def events(
        self,
        project_id: str,
        wanted: frozenset[str],
        calls_filter: CallsFilter | None,
        query: Query | None,
        after: str | None,
        quota_key: str,
    ) -> AsyncGenerator[CallEvent, None]:
        """Yield the events that pass a filter and a query, as `CallsStore.events`."""
        event_filter = EventFilter(project_id, calls_filter, query)
        needs_lookup = event_filter.needs_lookup or not COMPUTED_FIELDS.isdisjoint(wanted)
        async with aclosing(self._stored_events(event_filter, after, quota_key)) as events:
            async for event in events:
                if not needs_lookup:
                    yield event
                    continue
                completed = await self._complete(event, event_filter, wanted, after)
                if completed:
                    yield completed
                after = event.cursor

    async def _stored_events(
        self, event_filter: EventFilter, after: str | None, quota_key: str
    ) -> AsyncGenerator[CallEvent, None]:
        """Yield the events that pass the conditions that need no lookup."""
        project_id = event_filter.project_id
        await self._cursors.open()
        token = None if after is None else self._cursors.decode(project_id, after)
        async with self.fan_out.watch_project(project_id, quota_key):
            while True:
                await self._database.run(self.fan_out.wait_until_covered(project_id))
                async with self.fan_out.subscribe(event_filter, token) as subscriber:
                    while subscriber:
                        yield await subscriber.next()
                if token is None:
                    raise AssertionError("a subscription without a token is always accepted")
                # Nothing stays open between two batches, however slowly the client reads the first.
                async with self._catch_up_slots:
                    read = read_changes_after(self._database.calls, project_id, token)
                    changes, read_until = await self._database.query(read)
                for change in changes:
                    await self.fan_out.time_slices.acquire()
                    event = to_event(change, self._cursors)
                    if event and await _matches(event_filter, event):
                        self.fan_out.check_open(self._cursors.encode(project_id, token))
                        yield event
                        token = event.token
                token = read_until

    async def _complete(
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
                if not await event.cached(key, lambda: self._passes_lookups(event, event_filter)):
                    return None
            if COMPUTED_FIELDS.isdisjoint(wanted):
                return event
            return await event.cached(wanted, lambda: self._with_fields(event, wanted))
        except (UnavailableError, StoreTimeoutError) as error:
            raise SubscriptionEndedError(error.message, after or event.cursor_before) from error

    async def _passes_lookups(self, event: CallEvent, event_filter: EventFilter) -> bool:
        async with self._lookup_slots:
            return await self._database.query(_holds(self._database, event, event_filter))

    async def _with_fields(self, event: CallEvent, wanted: frozenset[str]) -> CallEvent:
        row = dict(event.call)
        async with self._lookup_slots:
            await self._database.query(add_computed_fields(self._database, row["project_id"], [row], wanted))
        # Its cached values count towards the event for all subscribers.
        return CallEvent(event.type, row, event.token, event.cursors, on_grow=event.grow)


async def _matches(event_filter: EventFilter, event: CallEvent) -> bool:
    values = DocumentValues(event.call)
    if event.is_large:
        return await asyncio.to_thread(event_filter.matches, event.call, values)
    return event_filter.matches(event.call, values)


async def _holds(database: Database, event: CallEvent, event_filter: EventFilter) -> bool:
    """Return True if an event passes by current feedback and prices, even if its call was deleted."""
    project_id = event_filter.project_id
    undecided = Operation(Operator.AND, event_filter.needs_lookup)
    remaining = await asyncio.to_thread(_with_event_results, undecided, DocumentValues(event.call))
    conditions = Conditions(remaining)
    found: list[dict[str, Any]] = [{"$match": documents.key_fields(project_id, event.call["id"])}]
    prices = await prices_of_found(database, project_id, found) if uses_cost(remaining) else None
    stages = [*found, *cost_stages(prices)]
    stages += conditions.lookups(database.feedback.name, project_id, {})
    stages += [{"$match": compile_match(conditions.operation(project_id, {}))}, {"$project": {"_id": 1}}]
    return bool(await database.calls.aggregate(stages).to_list(1))


def _with_event_results(node: Operand, values: DocumentValues) -> Operand:
    """Evaluate every condition that needs no lookup with the event's values, and keep the others.

    MongoDB might find the call's payload too complex, or changed since the event.
    """
    if not uses_lookup(node):
        return Literal(compile_test(node)(values))
    is_junction = node.operator in JUNCTIONS
    return map_operands(node, lambda term: _with_event_results(term, values)) if is_junction else node
