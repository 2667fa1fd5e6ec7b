"""The calls that completions are kept as: one that runs before the provider is asked, and its end when it answered.

So a server that is killed in between leaves a call that runs, and not nothing at all; another ends it then
(`stores.completions.in_flight`).
"""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.completions.in_flight import InFlightCalls
from stores.database.project_registry import RegisteredProjects
from stores.errors import BadInputError, PayloadTooLargeError, StoreError, UnavailableError
from stores.ids import new_id
from stores.providers import JsonObject
from stores.usage.entries import kept_entry, stated_entry

OP_NAME: Final = "weave.completions_create"
GIVEN_UP: Final = "The answer was given up before it was whole: whoever asked for it left, or the server stopped."

_TRIES: Final = 4
_PAUSE_SECONDS: Final = 0.5

_log = logging.getLogger("loomql")


class Writes:
    """Writes that are done whatever becomes of those who asked for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[None]] = set()

    def begin(self, work: Awaitable[None]) -> asyncio.Future[None]:
        """Begin one."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait for those that are under way, and those that they begin."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


class UntrackedCall:
    """No call: what is not to be kept."""

    id: Final = None

    async def start(self, inputs: JsonObject, wb_user_id: str | None) -> None:
        """Do nothing."""

    async def end(self, response: JsonObject) -> None:
        """Do nothing."""


class TrackedCall:
    """The call of one request to a provider, from its start to its end.

    Who waits for either may give up: both are written anyway, the end after the start.
    """

    def __init__(
        self, calls: CallsStore, writes: Writes, under_way: InFlightCalls, project_id: str, usage_name: str
    ) -> None:
        self.id = new_id()
        self._key = f"{project_id}:{self.id}"
        self._calls = calls
        self._writes = writes
        self._under_way = under_way
        self._project_id = project_id
        self._usage_name = usage_name
        self._start: asyncio.Future[None] | None = None
        self._listed: RegisteredProjects | None = None

    async def start(self, inputs: JsonObject, wb_user_id: str | None) -> None:
        """Write that it runs.

        Raises:
            PayloadTooLargeError: the inputs do not fit into a document.
            BadInputError: the inputs or the user's name break a rule; it names them.
            UnavailableError: the database is away.
        """
        started = CallStart(
            project_id=self._project_id,
            op_name=OP_NAME,
            started_at=times.now(),
            attributes={},
            inputs=inputs,
            id=self.id,
            wb_user_id=wb_user_id,
            is_large=True,
        )
        self._start = self._writes.begin(self._started(started))
        try:
            await asyncio.shield(self._start)
        except StoreError as error:
            raise error.relative_to("start") from None

    async def _started(self, started: CallStart) -> None:
        await self._under_way.add(self._key)
        await self._calls.write_one(started)
        with suppress(UnavailableError):  # the call is there; its end does without this
            self._listed = await self._admitted()

    async def end(self, response: JsonObject) -> None:
        """Write what came of it, if it was started; an answer that was had is not lost because this fails."""
        await asyncio.shield(self._writes.begin(self._ended(response)))

    async def _ended(self, response: JsonObject) -> None:
        is_settled = False
        try:
            if await self._is_there():
                await self._kept(response, _message(response))
            is_settled = True
        except StoreError:
            _log.exception("call %s of project %s has ended, but that could not be stored", self.id, self._project_id)
        finally:
            # What is not known to have ended is left to whoever ends the calls of servers that died.
            if is_settled:
                self._writes.begin(self._under_way.remove(self._key))
            else:
                self._under_way.leave(self._key)

    async def _is_there(self) -> bool:
        """Whether the start was stored.

        Raises:
            UnavailableError: that is not known.
        """
        try:
            if self._start:
                await self._start
        except (BadInputError, PayloadTooLargeError):
            return False
        return self._start is not None

    async def _kept(self, response: JsonObject, message: str | None) -> None:
        """Store the end; of an answer that no call can hold, why, and what it used."""
        try:
            await self._written(self._end(response, message))
        except (BadInputError, PayloadTooLargeError) as error:
            message = message or f"The answer cannot be kept as it is: {error.message}"
            await self._written(self._end({"error": message, "usage": _counts(response)}, message))

    def _end(self, response: JsonObject, exception: str | None) -> CallEnd:
        usage = response.get("usage")
        return CallEnd(
            project_id=self._project_id,
            id=self.id,
            ended_at=times.now(),
            summary={"usage": {self._usage_name: usage}} if isinstance(usage, dict) else {},
            exception=exception,
            output=response,
            is_large=True,
        )

    async def _written(self, ended: CallEnd) -> None:
        for number in range(1, _TRIES):
            try:
                return await self._written_once(ended)
            except UnavailableError:
                await asyncio.sleep(_PAUSE_SECONDS * number)
        return await self._written_once(ended)

    async def _written_once(self, ended: CallEnd) -> None:
        # What is purged while a provider answers has no call any more, and gets none by its end.
        if self._listed is None or await self._admitted() == self._listed:
            await self._calls.write_one(ended)

    async def _admitted(self) -> RegisteredProjects:
        database = self._calls.database
        return await database.query(database.ensure_not_purging(self._project_id))


def _message(response: JsonObject) -> str | None:
    error: Any = response.get("error")
    return error if isinstance(error, str) else None


def _counts(response: JsonObject) -> JsonObject | None:
    """The usage that an answer states, without anything that may break a rule of calls: counts and a cost alone."""
    usage: Any = response.get("usage")
    return stated_entry(kept_entry("", usage)) if isinstance(usage, dict) else None
