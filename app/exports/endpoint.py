"""The endpoint of exports."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from importlib.util import find_spec
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.auth.callers import caller_of
from app.error_responses import refusing
from app.exports import ndjson
from app.exports.export import Export
from app.exports.stall_timeout import StallTimeoutResponse
from app.exports.worker import Format, Job
from app.exports.worker_processes import ExportProcessPool
from app.settings import Settings
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.exports import PROJECT_ID, concept_of, parse_arguments, unique_parameters
from stores.database import Database
from stores.errors import BadInputError

_FORMATS: Final = {"ndjson": ndjson.MEDIA_TYPE, "parquet": "application/vnd.apache.parquet"}
_OWN: Final = ("after", "cursors", "format")
_BOOLEANS: Final = {"false": False, "true": True}


_LITTLE_ROWS: Final = 500
_LITTLE_BYTES: Final = 500_000
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class ExportEndpoint:
    """`GET /export/{concept}`; an export of more than a little has a process of its own, which takes time to start."""

    def __init__(self, schema: LimitedSchema, settings: Settings, processes: ExportProcessPool) -> None:
        self._schema = schema
        self._settings = settings
        self._processes = processes

    def routes(self) -> list[Route]:
        """Where it is."""
        return [Route("/export/{concept}", self.get, methods=["GET"])]

    @refusing
    async def get(self, request: Request) -> Response:
        """The rows of a list and a last line that says how many; what is wrong with the question is told before."""
        concept = concept_of(request.path_params["concept"])
        given = unique_parameters(request.query_params.multi_items(), (PROJECT_ID, *concept.arguments, *_OWN))
        form = cast("Format", _one_of(given, "format", _FORMATS))
        _check_pyarrow(form)
        after = given.get("after")
        export = Export(
            concept.name, parse_arguments(self._schema, concept, given), after, is_resumed=after is not None
        )
        job = Job(
            export,
            form,
            _BOOLEANS[_one_of(given, "cursors", _BOOLEANS)],
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
        return await (self._parquet if form == "parquet" else self._ndjson)(job, database, caller_id)

    async def _ndjson(self, job: Job, database: Database, caller_id: str | None) -> Response:
        """What is little is read before the answer begins, and is all of it where there is no more."""
        beginning = b""
        async with aclosing(job.export.pages(database)) as pages:
            async for page in pages:
                beginning += ndjson.lines(job.export.columns, page, with_cursors=job.with_cursors)
                if page.has_next and (job.export.count >= _LITTLE_ROWS or len(beginning) >= _LITTLE_BYTES):
                    return self._streamed(job, caller_id, beginning)
        return Response(beginning + ndjson.trailer(job.export), headers=_HEADERS, media_type=_FORMATS[job.format])

    async def _parquet(self, job: Job, database: Database, caller_id: str | None) -> Response:
        """The first page is read for nothing but its errors."""
        async with aclosing(replace(job.export).pages(database)) as pages:
            await anext(pages)
        return self._streamed(job, caller_id)

    def _streamed(self, job: Job, caller_id: str | None, beginning: bytes = b"") -> Response:
        process = self._processes.start(caller_id)

        async def content() -> AsyncGenerator[bytes, None]:
            if beginning:
                yield beginning
            async with aclosing(process.output(job)) as written:
                async for part in written:
                    yield part

        return StallTimeoutResponse(content(), _HEADERS, _FORMATS[job.format], process.end)


def _check_pyarrow(form: Format) -> None:
    """See whether the server can write a format, without importing what is large.

    Raises:
        BadInputError: it cannot.
    """
    if form == "parquet" and find_spec("pyarrow") is None:
        raise BadInputError(
            "this server has no pyarrow, which writes Parquet: install loomql[parquet] there, or leave format out for "
            "NDJSON",
            "format",
        )


def _one_of(given: Mapping[str, str], name: str, allowed: Iterable[str]) -> str:
    """A parameter that is one of a few texts, by default the first.

    Raises:
        BadInputError: it is another.
    """
    known = list(allowed)
    text = given.get(name, known[0])
    if text not in known:
        raise BadInputError(f"{text[:64]!r} is not one of {', '.join(known)}", name)
    return text
