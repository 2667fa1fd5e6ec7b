"""The store of the runs that the server does by itself: ordered, worked on, watched and ended."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from pymongo.errors import PyMongoError

from stores import ids, times
from stores.calls import CallEnd, CallsStore
from stores.calls.inputs import MAX_DISPLAY_NAME
from stores.completions import CompletionsStore
from stores.database import Database
from stores.errors import BadInputError, NotFoundError, StoreError, UnavailableError
from stores.evaluations.running import ops, run_queue
from stores.evaluations.running.call_tree import RunCalls
from stores.evaluations.running.definitions import Definition, Definitions
from stores.evaluations.running.run_queue import LeaseLostError, RunLease, RunOrder
from stores.evaluations.running.run_worker import CANCELED, RunWorker, Sources
from stores.evaluations.status import Failed, NotFound, Status
from stores.evaluations.status import Running as StillRunning
from stores.evaluations.store import EvaluationsStore
from stores.feedback import FeedbackStore
from stores.files import FilesStore
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length
from stores.objects import ObjectsStore
from stores.providers import ProviderError
from stores.security import audit
from stores.tables import TablesStore

logger = logging.getLogger("loomql")

ROWS_AT_ONCE: Final = 8
RUNS_AT_ONCE: Final = 4
"""Of one process; they share its rows."""

_CANCEL_SECONDS: Final = 30.0
_CANCEL_POLL_SECONDS: Final = 0.1
_POLL_SECONDS: Final = 0.5
_PAUSES: Final = 4
"""The pause between two looks at a run is so many times as long as a look: one at many calls takes a while."""
_STOPPED: Final = "the server stops; subscribe again when it is back"


class EvaluationRunsStore:
    """Runs that the server does by itself, whichever of its processes; `rows` of them at once in this one."""

    def __init__(
        self, database: Database, calls: CallsStore, models: CompletionsStore, rows: int = ROWS_AT_ONCE
    ) -> None:
        self.database = database
        self._runs = database.evaluation_runs
        self._read = EvaluationsStore(database)
        self._sources = Sources(
            database,
            calls,
            FeedbackStore(database),
            ObjectsStore(database),
            FilesStore(database),
            TablesStore(database),
            models,
        )
        self._rows = asyncio.Semaphore(rows)
        self._under_way: dict[str, RunWorker] = {}
        self._ordered = asyncio.Event()
        self._closed = asyncio.Event()

    async def close(self) -> None:
        """End what is told of runs; whoever works on them is to be cancelled."""
        self._closed.set()

    async def start(self, project_id: str, evaluation_ref: str, model_ref: str, wb_user_id: str | None = None) -> str:
        """Order a run of an evaluation over a model; the id of its call, which is there by then.

        Raises:
            StoreError: one of both refs does not lead to what can be run; the error names it, and says why.
        """
        ids.check_project_id(project_id)
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        sources = self._sources
        definition = await Definitions(sources.objects, sources.tables, project_id).read(evaluation_ref, model_ref)
        await self._check_reached(project_id, definition)
        await ops.see_that_they_are_there(sources.objects, sources.files, project_id)
        order = _order(project_id, definition, wb_user_id or LOCAL_USER)
        await self.database.run(self.database.ensure_projects_listed([project_id]))
        held = await self.database.run(RunLease.add(self._runs, order))
        run = RunCalls(project_id, order.call_id, order.trace_id, order.wb_user_id)
        op_name = ops.RunOps.of(project_id, definition).evaluate
        inputs = {"self": order.evaluation_ref, "model": order.model_ref}
        await sources.calls.write([run.root(op_name, inputs, order.created_at, order.display_name).start()])
        if not await self.database.run(held.release()):
            await self._end_unkept(order)
            raise UnavailableError("the database was too slow to begin the run; send it again")
        self._ordered.set()
        return order.call_id

    async def _check_reached(self, project_id: str, definition: Definition) -> None:
        """See that each model is known, and its key there, before a run is ordered of which every row would fail."""
        asked = [("model_ref", definition.model), *(("evaluation_ref", judge.model) for judge in definition.judges)]
        for argument, model in asked:
            try:
                await self._sources.models.endpoints.reach(project_id, model.llm_model_id)
            except ProviderError as error:
                raise BadInputError(f"{model.ref} cannot be asked: {error.message}", argument) from None

    async def _end_unkept(self, order: RunOrder) -> None:
        """End the call of a run that others gave up before it was there."""
        failed = {"status_counts": {"success": 0, "error": 1}}
        why = "The run could not begin"
        await self._sources.calls.write([CallEnd(order.project_id, order.call_id, times.now(), failed, why)])

    async def cancel(self, project_id: str, call_id: str, wb_user_id: str | None = None) -> bool:
        """End a run and what is under way of it; False where it is over already.

        Whoever works on it ends it within a second or so, or else, where that one is dead, we do.

        Raises:
            NotFoundError: there is no such call.
            BadInputError: it is no evaluation, or one that the server does not run.
        """
        check_length(wb_user_id, MAX_NAME, "wb_user_id")
        status = await self._read.status(project_id, call_id)
        if isinstance(status, NotFound):
            raise NotFoundError(f"there is no call {call_id[:64]!r} in {project_id}", "call_id")
        if not isinstance(status, StillRunning):
            return False
        if not await self.database.run(run_queue.cancel(self._runs, project_id, call_id, wb_user_id or LOCAL_USER)):
            after = await self._read.status(project_id, call_id)
            if isinstance(after, StillRunning):
                raise BadInputError("is not one of the server's runs; the program that logs it can end it", "call_id")
            return _is_canceled(after)
        await self._see_to_its_end(project_id, call_id)
        return _is_canceled(await self._read.status(project_id, call_id))

    async def _see_to_its_end(self, project_id: str, call_id: str) -> None:
        until = monotonic() + _CANCEL_SECONDS
        while monotonic() < until:
            if running := self._under_way.get(call_id):
                running.hear()
            else:
                await self.work_on(project_id, call_id)
            if await self.database.run(run_queue.progress(self._runs, project_id, call_id)) is None:
                return
            await asyncio.sleep(_CANCEL_POLL_SECONDS)

    async def due(self, limit: int) -> list[tuple[str, str]]:
        """Runs that nobody works on, by project and id, those first that were ordered first."""
        return await self.database.query(run_queue.free(self._runs, limit))

    async def ordered(self, seconds: float) -> None:
        """Wait until a run is ordered from this process, for so many seconds at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ordered.wait(), seconds)
        self._ordered.clear()

    async def work_on(self, project_id: str, call_id: str) -> None:
        """See a run through to its end; nothing happens where another does, or it is not under way.

        Whoever is cancelled meanwhile gives the run back for others to go on with.
        """
        held = await self.database.run(RunLease.acquire(self._runs, project_id, call_id))
        if held is None:
            return
        running = self._under_way[call_id] = RunWorker(self._sources, held, self._rows)
        try:
            await running.run_to_end()
        except LeaseLostError:
            logger.info("the run %s in %s is gone on with elsewhere, or over", call_id, project_id)
        except (StoreError, PyMongoError) as error:
            logger.warning("the run %s in %s is gone on with in a little while: %s", call_id, project_id, error)
        finally:
            if self._under_way.get(call_id) is running:  # who lost it may end after the next one here has begun
                del self._under_way[call_id]

    async def progress(self, project_id: str, call_id: str) -> AsyncGenerator[Status, None]:
        """How a run stands, whoever runs it: now, and whenever that changes, until it is over; close it to end it.

        Raises:
            BadInputError: the call is no evaluation.
            UnavailableError: the server stops, or the database is away.
        """
        last: Status | None = None
        while True:
            began = monotonic()
            status = await self._status(project_id, call_id)
            seconds = monotonic() - began
            if status != last:
                yield status
            if not isinstance(status, StillRunning):
                return
            last = status
            await self._pause(max(_POLL_SECONDS, seconds * _PAUSES))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return
        raise UnavailableError(_STOPPED)

    async def _status(self, project_id: str, call_id: str) -> Status:
        """How a run stands; of one of the server's own without counting its calls."""
        ids.check_project_id(project_id)
        found = await self.database.query(run_queue.progress(self._runs, project_id, call_id))
        return StillRunning(found.completed, found.rows) if found else await self._read.status(project_id, call_id)


def _order(project_id: str, definition: Definition, wb_user_id: str) -> RunOrder:
    call_id = ids.new_id()
    name = definition.name or f"eval-{datetime.now(UTC):%Y-%m-%d}-{call_id[-6:]}"
    return RunOrder(
        project_id,
        call_id,
        ids.new_id(),
        definition.evaluation_ref,
        definition.model.ref,
        name[:MAX_DISPLAY_NAME],
        wb_user_id,
        times.now(),
        definition.rows,
        audit.CALLER.get(),
    )


def _is_canceled(status: Status) -> bool:
    return isinstance(status, Failed) and status.error.startswith(CANCELED)
