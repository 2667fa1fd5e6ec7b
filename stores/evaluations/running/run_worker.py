"""Worker for one run: executes its rows, a few at a time, until the summary is stored or the run fails.

One process works on a run and keeps its lease; another resumes it if that process stops or dies.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any, Final

from pymongo.errors import PyMongoError

from stores import ids, times
from stores.calls import CallEnd
from stores.database import Document
from stores.database.leases import LeaseLostError
from stores.errors import ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.evaluations.running import ops
from stores.evaluations.running.definitions import Dataset, Definition, Definitions
from stores.evaluations.running.row_worker import (
    CallResult,
    Example,
    RowWorker,
    RunContext,
    Sources,
    billed_as,
    task_group,
)
from stores.evaluations.running.run_queue import MAX_TAKES_WITHOUT_PROGRESS, RunLease
from stores.evaluations.running.summaries import RunSummary
from stores.json import codec
from stores.paging import PageRequest, Row

logger = logging.getLogger("loomql")

CANCELED: Final = "The run was canceled by"
"""Prefix of the exception of a cancelled run."""

_PAUSE_SECONDS: Final = 5.0
"""Pause before a run is resumed that stopped because of the database or a purge."""
_RENEW_SECONDS: Final = 1.0
_PAGE_BYTES: Final = 4 * 1024 * 1024
_PAGE_ROWS: Final = 100
_CALL_BATCH: Final = 1_000
_TRANSIENT_ERRORS: Final = (UnavailableError, StoreTimeoutError, ConflictError, PyMongoError)


class _FailedError(Exception):
    """The run failed or was cancelled; the message is for the user who ordered it."""


class _DeletedError(Exception):
    """The run's call was deleted."""


class RunWorker:
    """Works on one run whose lease this process has.

    `rows` bounds the rows that all runs of the process execute concurrently.
    """

    def __init__(self, sources: Sources, lease: RunLease, rows: asyncio.Semaphore) -> None:
        self._sources = sources
        self._lease = lease
        self._rows = rows
        self._order = order = lease.order
        self._root = order.root(ops.EVALUATE, {}, order.created_at, order.display_name)
        self._summary = RunSummary([])
        self._succeeded = 0
        self._failure: str | None = None
        self._wake = asyncio.Event()

    def check_now(self) -> None:
        """Check immediately for a cancellation of the run."""
        self._wake.set()

    async def run_to_end(self) -> None:
        """Execute the run to its end, or release it if the database fails.

        If the task is cancelled, the run is released for other workers.

        Raises:
            LeaseLostError: another worker has the run.
            StoreError: the end could not be stored; another worker resumes the run later.
        """
        try:
            await self._run_and_end()
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_over())
            raise

    async def _run_and_end(self) -> None:
        lease, order = self._lease, self._order
        end: Coroutine[Any, Any, object]
        try:
            await lease.run(self._work(), self._check_run, _RENEW_SECONDS, self._wake)
        except LeaseLostError:
            raise
        except _DeletedError:
            end = self._close()
        except _FailedError as error:
            end = self._end_all(str(error))
        except _TRANSIENT_ERRORS as error:
            logger.warning(
                "run %s in %s paused, it resumes in a few seconds: %s", order.call_id, order.project_id, error
            )
            end = lease.release(pause_seconds=_PAUSE_SECONDS)
        except StoreError as error:
            end = self._end_all(error.message)
        except Exception:
            error_id = ids.new_id()
            logger.exception("unexpected error %s in run %s in %s", error_id, order.call_id, order.project_id)
            end = self._end_all(f"Internal error; the server log has the details under {error_id}.")
        else:
            end = self._close()
        # The lease is still renewed while the end is written.
        await lease.run(end, pause_seconds=_RENEW_SECONDS)

    async def _hand_over(self) -> None:
        with suppress(StoreError, PyMongoError):
            await self._lease.hand_over()

    async def _check_run(self) -> None:
        """Renew the lease.

        Raises:
            LeaseLostError: another worker has the run.
            _FailedError: a user cancelled the run.
            _DeletedError: the run's call was deleted.
        """
        database = self._sources.database
        await self._lease.store_progress(self._summary.rows)
        self._check_not_canceled()
        # A purge waits for listed projects, so that nothing is written after it.
        await database.run(database.ensure_projects_listed([self._order.project_id]))
        if await self._root_call() is None:
            raise _DeletedError

    def _check_not_canceled(self) -> None:
        if canceled_by := self._lease.state.get("canceled_by"):
            raise _FailedError(f"{CANCELED} {canceled_by}")

    async def _work(self) -> None:
        """Execute the run from start to end.

        Raises:
            _FailedError, StoreError: the run cannot be completed.
        """
        sources, order, state = self._sources, self._order, self._lease.state
        self._check_not_canceled()
        root = await self._root_call()
        if root is None or "ended_at" in root:  # another worker died before it deleted the document
            return
        if state["vain_takes"] > MAX_TAKES_WITHOUT_PROGRESS:
            raise _FailedError("The run was interrupted repeatedly without completing another row")
        definitions = Definitions(sources.objects, sources.tables, order.project_id)
        definition = await definitions.read(order.evaluation_ref, order.model_ref)
        names = {model.llm_model_id for model in (definition.model, *(judge.model for judge in definition.judges))}
        context = RunContext(
            sources,
            order,
            ops.RunOps.choose(order.project_id, definition),
            definition,
            is_resumed=state["takes"] > 1,
            billed_as={name: await billed_as(sources.models, order.project_id, name) for name in names},
        )
        self._summary = RunSummary([judge.name for judge in definition.judges])
        await self._run_rows(context)
        await self._store_summary(context)

    async def _run_rows(self, context: RunContext) -> None:
        """Execute every row that is not done, as many concurrently as `_rows` allows."""
        async with task_group() as group:
            async for examples in self._pages(context.definition):
                done = await context.stored_results(example.name for example in examples)
                for example in examples:
                    if example.name in done:
                        self._count(done[example.name])
                        continue
                    await self._rows.acquire()
                    row = group.create_task(self._run_row(context, example))
                    row.add_done_callback(lambda _: self._rows.release())

    async def _run_row(self, context: RunContext, example: Example) -> None:
        self._count(await RowWorker(context, self._root, example).run())

    def _count(self, row: CallResult) -> None:
        output: dict[str, Any] = row.output if isinstance(row.output, dict) else {}
        self._summary.add(output)
        self._root.tally.add(row.tally)
        if row.exception is None and output.get("output") is not None:
            self._succeeded += 1
        else:
            self._failure = self._failure or row.exception

    async def _pages(self, definition: Definition) -> AsyncIterator[list[Example]]:
        """Yield pages of the dataset, trial by trial; a page of long rows has fewer rows."""
        dataset, project_id, tables = definition.dataset, self._order.project_id, self._sources.tables
        for trial in range(definition.trials):
            cursor, has_next = None, True
            while has_next:
                sizes = await tables.page(project_id, dataset.table, PageRequest(_PAGE_ROWS, cursor), ["size_bytes"])
                request = PageRequest(_count_fitting(row["size_bytes"] for row in sizes.rows), cursor)
                page = await tables.page(project_id, dataset.table, request, ["digest", "val"])
                yield await asyncio.to_thread(_examples, dataset, trial, page.rows)
                has_next = page.has_next
                cursor = page.cursor(page.rows[-1]) if has_next else None

    async def _store_summary(self, context: RunContext) -> None:
        """Store the summary, and the end of the run."""
        summary = self._summary
        if not summary.rows:
            raise _FailedError("The dataset has no rows left")
        output, left_out = summary.summary(), summary.key_budget.left_out
        inputs = {"self": context.definition.evaluation_ref, "rows": summary.rows}
        step = self._root.step(
            "summarize", context.ops.summarize, inputs | ({"left_out": left_out} if left_out else {})
        )
        failure = None
        if not self._succeeded:
            reason = f"; the first: {self._failure}" if self._failure else ""
            failure = f"All rows failed, {summary.rows:,} of them{reason}"
        await context.write(step.start(), step.end(output, above=self._root.tally), self._root.end(output, failure))

    async def _end_all(self, exception: str) -> None:
        """End the run, and all its running calls, with an exception."""
        order, calls = self._order, self._sources.calls
        await self._lease.store_progress(self._summary.rows)
        summary = {"status_counts": {"success": 0, "error": 1}}
        while call_ids := await self._find_call_ids({"status": "running", "id": {"$ne": order.call_id}}):
            now = times.now()
            await calls.write([CallEnd(order.project_id, one, now, summary, exception) for one in call_ids])
        await calls.write([CallEnd(order.project_id, order.call_id, times.now(), summary, exception)])
        await self._close()

    async def _close(self) -> None:
        """Remove the run from the queue; if its call was deleted, delete the calls written below it since."""
        order, calls = self._order, self._sources.calls
        if await self._root_call() is None:
            while call_ids := await self._find_call_ids({}):
                await calls.delete(order.project_id, call_ids, order.wb_user_id)
        await self._lease.remove()

    async def _root_call(self) -> Row | None:
        """Return the run's call; None if it was deleted."""
        return await self._sources.calls.one(self._order.project_id, self._order.call_id, ["ended_at"])

    async def _find_call_ids(self, match: Document) -> list[str]:
        order, database = self._order, self._sources.database
        criteria = {"project_id": order.project_id, "visible": True, "trace_id": order.trace_id, **match}
        cursor = database.calls.find(criteria, {"id": 1, "_id": 0}, limit=_CALL_BATCH)
        return [call["id"] for call in await database.query(_read_all(cursor))]


async def _read_all(cursor: AsyncIterable[Document]) -> list[Document]:
    return [one async for one in cursor]


def _count_fitting(sizes: Iterable[int]) -> int:
    """Return the number of leading rows that fit into a page; at least 1."""
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
