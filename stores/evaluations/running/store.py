"""Store of the server's runs: order, execute, watch and cancel them."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Final

from pymongo.errors import PyMongoError

from stores import ids, times
from stores.calls import CallEnd, CallsStore
from stores.calls.inputs import MAX_DISPLAY_NAME
from stores.completions import CompletionsStore
from stores.database import Collection, Database, database_query
from stores.database.leases import EXPIRED, LeaseLostError
from stores.errors import BadInputError, NotFoundError, StoreError, UnavailableError
from stores.evaluations.logged_runs import EVALUATE, Failed, NotFound, Running, Status
from stores.evaluations.running.definitions import Definition, Definitions, ensure_server_ops
from stores.evaluations.running.worker import CANCELED, RunLease, RunOrder, RunWorker, Sources, run_key
from stores.evaluations.store import EvaluationsStore
from stores.feedback import FeedbackStore
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length
from stores.providers import ProviderError
from stores.security import audit
from stores.tables import TablesStore

logger = logging.getLogger("loomql")

CONCURRENT_ROWS: Final = 8
CONCURRENT_RUNS: Final = 4
"""Runs of one process; they share its rows."""

_CANCEL_SECONDS: Final = 30.0
_CANCEL_POLL_SECONDS: Final = 0.1
_POLL_SECONDS: Final = 0.5
_PAUSE_FACTOR: Final = 4
"""Pause after a poll as a multiple of the poll's duration, because counting many calls is slow."""


class EvaluationRunsStore:
    """Runs that the server executes, in any of its processes; `rows` bounds the concurrent rows of this one."""

    def __init__(
        self, database: Database, calls: CallsStore, models: CompletionsStore, rows: int = CONCURRENT_ROWS
    ) -> None:
        self.database = database
        self._runs = database.evaluation_runs
        self._evaluations = EvaluationsStore(database)
        self._sources = Sources(database, calls, models, FeedbackStore(database), TablesStore(database))
        self._rows = asyncio.Semaphore(rows)
        self._workers: dict[str, RunWorker] = {}
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()

    async def close(self) -> None:
        """End the progress streams. Workers are not stopped; the caller cancels their tasks."""
        self._closed.set()

    async def start(self, project_id: str, evaluation_ref: str, model_ref: str, wb_user_id: str | None = None) -> str:
        """Order a run of an evaluation over a model; return the id of its call, which is stored by then.

        Raises:
            StoreError: a ref does not lead to something that can be run; the error names the argument and the reason.
        """
        ids.check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        sources = self._sources
        definition = await Definitions(self.database, project_id).read(evaluation_ref, model_ref)
        await self._check_models(project_id, definition)
        await ensure_server_ops(self.database, project_id)
        call_id = ids.new_id()
        name = definition.name or f"eval-{datetime.now(UTC):%Y-%m-%d}-{call_id[-6:]}"
        order = RunOrder(
            project_id,
            call_id,
            trace_id=ids.new_id(),
            wb_user_id=wb_user_id or LOCAL_USER,
            evaluation_ref=definition.evaluation_ref,
            model_ref=definition.model.ref,
            display_name=name[:MAX_DISPLAY_NAME],
            created_at=times.now(),
            rows=definition.rows,
            ordered_by=audit.CALLER.get(),
        )
        await self.database.run(self.database.ensure_projects_listed([project_id]))
        lease = RunLease(self.database, project_id, call_id)
        await lease.add(order)
        inputs = {"self": order.evaluation_ref, "model": order.model_ref}
        await sources.calls.write([order.start(definition.ops[EVALUATE], inputs)])
        if not await lease.release():
            # Another worker dropped the run before its call was stored.
            failed = {"status_counts": {"success": 0, "error": 1}}
            end = CallEnd(project_id, call_id, times.now(), failed, "The run could not start")
            await sources.calls.write([end])
            raise UnavailableError("the database was too slow to start the run; retry")
        self._wake.set()
        return call_id

    async def _check_models(self, project_id: str, definition: Definition) -> None:
        """Check that each model is known and its API key is set, before ordering a run whose rows would all fail."""
        models = [("model_ref", definition.model), *(("evaluation_ref", judge.model) for judge in definition.judges)]
        for argument, model in models:
            try:
                await self._sources.models.endpoints.resolve(project_id, model.llm_model_id)
            except ProviderError as error:
                raise BadInputError(f"cannot use {model.ref}: {error.message}", argument) from None

    async def cancel(self, project_id: str, call_id: str, wb_user_id: str | None = None) -> bool:
        """Cancel a run and its running calls; False if it had already ended.

        Its worker ends it within about a second. If the worker is dead, this process ends it.

        Raises:
            NotFoundError: the call does not exist.
            BadInputError: the call is not an evaluation, or not one that the server runs.
        """
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        status = await self._evaluations.status(project_id, call_id)
        if isinstance(status, NotFound):
            raise NotFoundError(f"there is no call {call_id[:64]!r} in {project_id}", "call_id")
        if not isinstance(status, Running):
            return False
        change = {"$set": {"canceled_by": wb_user_id or LOCAL_USER}}
        requested = await self.database.run(partial(self._runs.update_one, run_key(project_id, call_id), change))
        is_queued = requested.matched_count == 1
        if is_queued:
            await self._wait_for_end(project_id, call_id)
        status = await self._evaluations.status(project_id, call_id)
        if isinstance(status, Running) and not is_queued:
            raise BadInputError("is not a run of the server; the program that logs it can end it", "call_id")
        return isinstance(status, Failed) and status.error.startswith(CANCELED)

    async def _wait_for_end(self, project_id: str, call_id: str) -> None:
        deadline = monotonic() + _CANCEL_SECONDS
        while monotonic() < deadline:
            if worker := self._workers.get(call_id):
                worker.check_now()
            else:
                await self.execute(project_id, call_id)
            if await self.database.run(self._progress(project_id, call_id)) is None:
                return
            await asyncio.sleep(_CANCEL_POLL_SECONDS)

    @database_query
    async def available_runs(self, limit: int) -> list[tuple[str, str]]:
        """Return project id and call id of runs without a worker, oldest order first."""
        cursor = self._runs.find(EXPIRED, {"project_id": 1, "call_id": 1}, sort=[("created_at", 1)], limit=limit)
        return [(run["project_id"], run["call_id"]) async for run in cursor]

    async def wait_for_order(self, seconds: float) -> None:
        """Wait until this process orders or ends a run, at most `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()

    async def execute(self, project_id: str, call_id: str) -> None:
        """Execute a run to its end; do nothing if another worker has it or it has ended.

        If the task is cancelled, the run is released for other workers.
        """
        lease = RunLease(self.database, project_id, call_id)
        if not await lease.take():
            return
        worker = self._workers[call_id] = RunWorker(self._sources, lease, self._rows)
        try:
            await worker.run_to_end()
        except LeaseLostError:
            logger.info("run %s in %s has ended or moved to another worker", call_id, project_id)
        except (StoreError, PyMongoError) as error:
            logger.warning("run %s in %s stopped, another worker resumes it: %s", call_id, project_id, error)
        finally:
            # A worker that lost the lease may end after the next one in this process started.
            if self._workers.get(call_id) is worker:
                del self._workers[call_id]
                self._wake.set()  # another run can start here

    async def progress(self, project_id: str, call_id: str) -> AsyncGenerator[Status, None]:
        """Yield the status of a run now and after each change until it has ended; close the generator to stop.

        Raises:
            BadInputError: the call is not an evaluation.
            UnavailableError: the server is stopping, or the database is unreachable.
        """
        last_status: Status | None = None
        while True:
            started_at = monotonic()
            status = await self._status(project_id, call_id)
            seconds = monotonic() - started_at
            if status != last_status:
                yield status
            if not isinstance(status, Running):
                return
            last_status = status
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), max(_POLL_SECONDS, seconds * _PAUSE_FACTOR))
                raise UnavailableError("the server is shutting down; subscribe again later")

    async def _status(self, project_id: str, call_id: str) -> Status:
        """Return a run's status; for a run in the queue, without counting its calls."""
        ids.check_project_id(project_id)
        progress = await self.database.query(self._progress(project_id, call_id))
        return progress or await self._evaluations.status(project_id, call_id)

    async def _progress(self, project_id: str, call_id: str) -> Running | None:
        """Return the progress of a run in the queue; None if it is not there."""
        run = await self._runs.find_one(run_key(project_id, call_id), {"completed": 1, "rows": 1})
        return Running(run["completed"], run["rows"]) if run else None


async def cancel_ordered_by(runs: Collection, caller: str, why: str) -> int:
    """Request the cancellation of all runs that `caller` ordered; return their number."""
    return (await runs.update_many({"ordered_by": caller}, {"$set": {"canceled_by": why}})).matched_count
