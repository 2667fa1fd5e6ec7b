"""A run on its way: row by row through its dataset, a few at a time, until it is summed up or has to end.

One process works on a run, and holds it; another goes on with it where that was left or died.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from time import monotonic
from typing import Any, Final

from pymongo.errors import PyMongoError

from stores import ids, times
from stores.calls import CallEnd, CallsStore
from stores.completions import CompletionsStore
from stores.database import Database, Document
from stores.database.leases import LEASE_SECONDS
from stores.errors import ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.evaluations.running import ops
from stores.evaluations.running.call_tree import RunCalls
from stores.evaluations.running.definitions import Dataset, Definition, Definitions
from stores.evaluations.running.model_requests import billed_as
from stores.evaluations.running.row_worker import Ended, Example, RowWork, RunContext
from stores.evaluations.running.run_queue import LeaseLostError, RunLease
from stores.evaluations.running.summaries import RunSummary
from stores.feedback import FeedbackStore
from stores.files import FilesStore
from stores.json import codec
from stores.objects import ObjectsStore
from stores.paging import PageRequest, Row
from stores.tables import TablesStore

logger = logging.getLogger("loomql")

CANCELED: Final = "The run was canceled by"
"""How the exception of a run begins that somebody ended."""

_PAUSE_SECONDS: Final = 5.0
"""Before a run is gone on with that the database, or a purge of its project, stood in the way of."""
_KEEP_SECONDS: Final = 1.0
_PAGE_BYTES: Final = 4 * 1024 * 1024
_PAGE_ROWS: Final = 100
_ENDED_AT_ONCE: Final = 1_000
_PASSING: Final = (UnavailableError, StoreTimeoutError, ConflictError, PyMongoError)


class _Stop(Enum):
    """Why work on a run ends before the run does."""

    CANCELED = "somebody ended it"
    DELETED = "its call is gone"
    LOST = "another goes on with it"


@dataclass(frozen=True, slots=True)
class Sources:
    """The stores that a run reads from and writes to, and what answers its requests."""

    database: Database
    calls: CallsStore
    feedback: FeedbackStore
    objects: ObjectsStore
    files: FilesStore
    tables: TablesStore
    models: CompletionsStore


class FailedError(Exception):
    """The run cannot come to a good end; the message is for whoever ordered it."""


class RunWorker:
    """The work of one process on one run that it holds; `rows` bounds how many rows all its runs work on at once."""

    def __init__(self, sources: Sources, held: RunLease, rows: asyncio.Semaphore) -> None:
        self._sources = sources
        self._held = held
        self._rows = rows
        order = held.order
        self._run = RunCalls(order.project_id, order.call_id, order.trace_id, order.wb_user_id)
        self._root = self._run.root(ops.EVALUATE, {}, order.created_at, order.display_name)
        self._summary = RunSummary([])
        self._good = 0
        self._failure: str | None = None
        self._news = asyncio.Event()

    def hear(self) -> None:
        """See at once whether the run is to end."""
        self._news.set()

    async def run_to_end(self) -> None:
        """See the run through to its end, or leave it to others where it has to be.

        Whoever is cancelled meanwhile gives the run back.

        Raises:
            LostError: another has it.
            StoreError: its end could not be written; another goes on with it in a little while.
        """
        working = asyncio.create_task(self._work())
        keeping = asyncio.create_task(self._keep())
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            stop = keeping.result() if keeping.done() and not working.done() else None
            await _ended(working)
            # It is still kept while its end is written.
            await (self._stopped(stop) if stop else self._finish(working))
        except asyncio.CancelledError:
            await asyncio.shield(self._left(working))
            raise
        finally:
            await _ended(keeping, working)

    async def _left(self, working: "asyncio.Task[None]") -> None:
        await _ended(working)
        with suppress(StoreError, PyMongoError):
            await self._sources.database.run(self._held.release(is_vain=False))

    async def _keep(self) -> _Stop:
        """Hold the run until it is to stop, or is no longer held."""
        kept = monotonic()
        while monotonic() - kept < LEASE_SECONDS:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _KEEP_SECONDS)
            self._news.clear()
            try:
                if stop := await self._kept():
                    return stop
                kept = monotonic()
            except LeaseLostError:
                return _Stop.LOST
            except _PASSING as error:
                logger.debug("the run %s is not kept just now: %s", self._held.order.call_id, error)
        return _Stop.LOST

    async def _kept(self) -> _Stop | None:
        database, order = self._sources.database, self._held.order
        await database.run(self._held.renew(self._summary.rows))
        if self._held.canceled_by:
            return _Stop.CANCELED
        # A purge waits for projects in which something goes on: so nothing is written after it.
        await database.run(database.ensure_projects_listed([order.project_id]))
        return None if await self._is_there() else _Stop.DELETED

    async def _stopped(self, stop: _Stop) -> None:
        match stop:
            case _Stop.CANCELED:
                await self._end_all(f"{CANCELED} {self._held.canceled_by}")
            case _Stop.DELETED:
                await self._close()
            case _Stop.LOST:
                pass

    async def _finish(self, working: "asyncio.Task[None]") -> None:
        """Take what became of the work."""
        order = self._held.order
        try:
            working.result()
        except FailedError as error:
            await self._end_all(str(error))
        except _PASSING as error:
            logger.warning("the run %s in %s is gone on with later: %s", order.call_id, order.project_id, error)
            await self._sources.database.run(self._held.release(_PAUSE_SECONDS))
        except StoreError as error:
            await self._end_all(error.message)
        except Exception:
            error_id = ids.new_id()
            logger.exception("unexpected error %s in the run %s in %s", error_id, order.call_id, order.project_id)
            await self._end_all(f"Something went wrong on the server; its log has the details under {error_id}.")
        else:
            await self._close()

    async def _work(self) -> None:
        """Everything from the run's start to its end.

        Raises:
            FailedError, StoreError: it cannot be done.
        """
        held, sources = self._held, self._sources
        if held.canceled_by:
            raise FailedError(f"{CANCELED} {held.canceled_by}")
        if await self._is_over():
            return
        if held.is_hopeless:
            raise FailedError("The run was cut off again and again before another of its rows was done")
        order = held.order
        definitions = Definitions(sources.objects, sources.tables, order.project_id)
        definition = await definitions.read(order.evaluation_ref, order.model_ref)
        run_ops = ops.RunOps.of(order.project_id, definition)
        names = {model.llm_model_id for model in (definition.model, *(judge.model for judge in definition.judges))}
        billed = {name: await billed_as(sources.models, order.project_id, name) for name in names}
        shop = RunContext(
            sources.calls, sources.feedback, sources.models, self._run, run_ops, definition, held.is_resumed, billed
        )
        self._summary = RunSummary([judge.name for judge in definition.judges])
        await self._through(shop)
        await self._sum_up(shop)

    async def _is_over(self) -> bool:
        """Whether the call of the run has ended, or is gone; who worked on it may have died just before saying so."""
        order = self._held.order
        root = await self._sources.calls.one(order.project_id, order.call_id, ["ended_at"])
        return root is None or "ended_at" in root

    async def _through(self, shop: RunContext) -> None:
        """Every row that is not done, as many at once as there may be."""
        try:
            async with asyncio.TaskGroup() as group:
                async for examples in self._pages(shop.definition):
                    done = await shop.known(example.name for example in examples)
                    for example in examples:
                        if example.name in done:
                            self._count(done[example.name])
                            continue
                        await self._rows.acquire()
                        row = group.create_task(self._row(shop, example))
                        row.add_done_callback(lambda _: self._rows.release())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _row(self, shop: RunContext, example: Example) -> None:
        self._count(await RowWork(shop, self._root, example).do())

    def _count(self, row: Ended) -> None:
        output: dict[str, Any] = row.output if isinstance(row.output, dict) else {}
        self._summary.add(output)
        self._root.tally.add(row.tally)
        if row.exception is None and output.get("output") is not None:
            self._good += 1
        else:
            self._failure = self._failure or row.exception

    async def _pages(self, definition: Definition) -> AsyncIterator[list[Example]]:
        """The rows of the dataset, trial by trial, page by page; a page of long rows has few of them."""
        dataset, project_id, tables = definition.dataset, self._run.project_id, self._sources.tables
        for trial in range(definition.trials):
            cursor, has_next = None, True
            while has_next:
                ahead = await tables.rows(project_id, dataset.table, PageRequest(_PAGE_ROWS, cursor), ["size_bytes"])
                request = PageRequest(_fitting(row["size_bytes"] for row in ahead.rows), cursor)
                page = await tables.rows(project_id, dataset.table, request, ["digest", "val"])
                yield await asyncio.to_thread(_examples, dataset, trial, page.rows)
                has_next = page.has_next
                cursor = page.cursor(page.rows[-1]) if has_next else None

    async def _sum_up(self, shop: RunContext) -> None:
        """Write what came of all rows, and the run's end."""
        summary = self._summary
        if not summary.rows:
            raise FailedError("None of the rows of the dataset is there")
        found, left_out = summary.summary(), summary.room.left_out
        inputs = {"self": shop.definition.evaluation_ref, "rows": summary.rows}
        step = self._root.step("summarize", shop.ops.summarize, inputs | ({"left_out": left_out} if left_out else {}))
        failure = None
        if not self._good:
            because = f"; the first: {self._failure}" if self._failure else ""
            failure = f"All rows failed, {summary.rows:,} of them{because}"
        await shop.write(step.start(), step.end(found, above=self._root.tally), self._root.end(found, failure))

    async def _end_all(self, exception: str) -> None:
        """End the run with an exception, and all calls of it that have not ended."""
        order, calls = self._held.order, self._sources.calls
        await self._sources.database.run(self._held.renew(self._summary.rows))
        summary = {"status_counts": {"success": 0, "error": 1}}
        while under_way := await self._found({"status": "running", "id": {"$ne": order.call_id}}):
            now = times.now()
            await calls.write([CallEnd(order.project_id, one, now, summary, exception) for one in under_way])
        await calls.write([CallEnd(order.project_id, order.call_id, times.now(), summary, exception)])
        await self._close()

    async def _close(self) -> None:
        """Say that the run is over; where its call is deleted, so is what was written below it since."""
        order, calls = self._held.order, self._sources.calls
        if not await self._is_there():
            while found := await self._found({}):
                await calls.delete(order.project_id, found, order.wb_user_id)
        await self._sources.database.run(self._held.remove())

    async def _is_there(self) -> bool:
        order = self._held.order
        return await self._sources.calls.one(order.project_id, order.call_id, ["id"]) is not None

    async def _found(self, match: Document) -> list[str]:
        order, database = self._held.order, self._sources.database
        among = {"project_id": order.project_id, "visible": True, "trace_id": order.trace_id, **match}
        found = database.calls.find(among, {"id": 1, "_id": 0}, limit=_ENDED_AT_ONCE)
        return [call["id"] for call in await database.query(_all(found))]


async def _all(found: AsyncIterable[Document]) -> list[Document]:
    return [one async for one in found]


def _fitting(sizes: Iterable[int]) -> int:
    """How many of some rows, from the first one on, are no more than is read at once; the first always is."""
    return max(1, sum(total <= _PAGE_BYTES for total in accumulate(sizes)))


def _examples(dataset: Dataset, trial: int, rows: Sequence[Row]) -> list[Example]:
    return [
        Example(
            f"{trial}/{row['original_index']}",
            dataset.row_ref(row["digest"]),
            codec.loads(row["json"]["val"].encode()),  # type: ignore[arg-type] # rows are objects
        )
        for row in rows
    ]


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks that are under way, and wait until they are over, whatever becomes of them."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
