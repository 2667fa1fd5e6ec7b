"""The endpoint `GET /export/{concept}`, and streamed responses that end if the client stops reading."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from app.auth.permissions import caller_of
from app.exports.worker import NDJSON, Export, ExportProcessPool, Job, lines, trailer
from app.http.errors import error_boundary, plain_error
from app.settings import Settings
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.exports import PROJECT_ID, concept_of, parse_arguments, unique_parameters
from stores.database import Database
from stores.errors import BadInputError

logger = logging.getLogger("loomql")
_FORMATS: Final = {"ndjson": NDJSON, "parquet": "application/vnd.apache.parquet"}
_BOOLEANS: Final = {"false": False, "true": True}
_SMALL_ROWS: Final = 500
_SMALL_BYTES: Final = 500_000
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class StallTimeoutResponse(StreamingResponse):
    """A streamed response that produces each chunk after the previous one was sent.

    It ends if the client disconnects or reads nothing for `stalled_seconds`; `on_end` is called in every case.
    """

    stalled_seconds = 120.0

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        media_type: str,
        on_end: Callable[[], object],
    ) -> None:
        super().__init__(content, headers=_HEADERS, media_type=media_type)
        self._content = content
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""

        async def send_with_timeout(message: Message) -> None:
            async with asyncio.timeout(self.stalled_seconds):
                await send(message)

        try:
            async with aclosing(self._content):
                await super().__call__(scope, receive, send_with_timeout)
        except TimeoutError:
            logger.warning("export cancelled: the client read nothing for %g seconds", self.stalled_seconds)
        finally:
            self._on_end()


@dataclass(frozen=True, slots=True)
class ExportEndpoint:
    """The export endpoint; a longer export runs in a separate process, which takes time to start."""

    _schema: LimitedSchema
    _settings: Settings
    _processes: ExportProcessPool

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/export/{concept}", error_boundary(self.get, plain_error), methods=["GET"])]

    async def get(self, request: Request) -> Response:
        """Return the rows of a list and a trailer with their number; errors of the request come before any row."""
        concept = concept_of(request.path_params["concept"])
        parameters = unique_parameters(
            request.query_params.multi_items(), (PROJECT_ID, *concept.arguments, "after", "cursors", "format")
        )
        form = _one_of(parameters, "format", _FORMATS)
        if form == "parquet" and find_spec("pyarrow") is None:  # without importing it, because it is large
            raise BadInputError(
                "this server cannot write Parquet because pyarrow is missing: install loomql[parquet] on it, or omit "
                "format for NDJSON",
                "format",
            )
        after = parameters.get("after")
        export = Export(
            concept.name, parse_arguments(self._schema, concept, parameters), after, is_resumed=after is not None
        )
        job = Job(
            export,
            form,
            _BOOLEANS[_one_of(parameters, "cursors", _BOOLEANS)],
            str(self._settings.mongodb_uri),
            self._settings.mongodb_database,
            self._settings.database_timeout_seconds,
            self._settings.query_timeout_seconds,
        )
        if request.method == "HEAD":
            return Response(headers=_HEADERS, media_type=_FORMATS[form])
        database: Database = request.state["stores"].calls.database
        caller = caller_of(request)
        caller_id = None if caller.is_anonymous else caller.id
        if form == "ndjson":
            return await self._ndjson(job, database, caller_id)
        # Read the first page for its errors only; a separate process writes the file.
        async with aclosing(replace(export).pages(database)) as pages:
            await anext(pages)
        return self._streamed(job, caller_id)

    async def _ndjson(self, job: Job, database: Database, caller_id: str | None) -> Response:
        """Read the first rows here, and the rest in a separate process if there are many."""
        first_rows = b""
        async with aclosing(job.export.pages(database)) as pages:
            async for page in pages:
                first_rows += lines(job.export.columns, page, with_cursors=job.with_cursors)
                if page.has_next and (job.export.count >= _SMALL_ROWS or len(first_rows) >= _SMALL_BYTES):
                    return self._streamed(job, caller_id, first_rows)
        return Response(first_rows + trailer(job.export), headers=_HEADERS, media_type=_FORMATS[job.format])

    def _streamed(self, job: Job, caller_id: str | None, first_rows: bytes = b"") -> Response:
        process = self._processes.start(job, caller_id)

        async def content() -> AsyncGenerator[bytes, None]:
            if first_rows:
                yield first_rows
            async with aclosing(process.output()) as output:
                async for chunk in output:
                    yield chunk

        return StallTimeoutResponse(content(), _FORMATS[job.format], process.end)


def _one_of(parameters: Mapping[str, str], name: str, allowed: Iterable[str]) -> str:
    """Return a parameter that must be one of a few texts; the first is the default.

    Raises:
        BadInputError: it is another text.
    """
    known = list(allowed)
    text = parameters.get(name, known[0])
    if text not in known:
        raise BadInputError(f"{text[:64]!r} is not one of {', '.join(known)}", name)
    return text
