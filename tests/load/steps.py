"""The steps of clients, each one request or a few that belong together. An incomplete or failed answer is an error."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, Final
from uuid import uuid4

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.fuzz.wire import Request, Wire

STOCK: Final = "load/stock"
"""Project that is filled before the load and never changes, so that each scan reads the same amount of data."""

LIVE: Final = "load/live"
"""Project that receives the writes; readers read its newest data."""

_JSON: Final = (("Content-Type", "application/json"),)
_TEXT: Final = "What is the capital of this country, and since when? " * 12
_FIELDS: Final = "id opName displayName traceId parentId startedAt endedAt status latencyMs inputs output summary"
_PAYLOAD: Final = bytes(range(256)) * 80


class StepError(Exception):
    """A request whose answer was an error or wrong."""


Step = Callable[["Client"], Awaitable[None]]


class Client:
    """One connection and the state of its user."""

    def __init__(self, url: str, seed: str) -> None:
        self.wire = Wire(url)
        self.random = Random(seed)
        self.newest: str | None = None

    async def send(
        self, method: str, target: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b""
    ) -> bytes:
        """Send a request and return the body of the answer.

        Raises:
            StepError: the answer is incomplete or no success.
        """
        answer = await self.wire.ask(Request("load", method, target, headers, body))
        if not answer.is_whole or answer.status not in {200, 201, 206}:
            raise StepError(f"{method} {target[:80]}: {answer.status} {answer.body[:300]!r}")
        return answer.body

    async def ask(self, document: str, **variables: object) -> Any:
        """Return the data of an operation.

        Raises:
            StepError: the answer has errors.
        """
        body = json.dumps({"query": document, "variables": variables}).encode()
        result = json.loads(await self.send("POST", "/graphql", _JSON, body))
        if "errors" in result:
            raise StepError(str(result["errors"])[:500])
        return result["data"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def call_parts(project: str, number: int, call_id: str, trace_id: str) -> list[dict[str, Any]]:
    """Return the start and the end of a call of about 2 kB."""
    start: dict[str, Any] = {
        "projectId": project,
        "id": call_id,
        "traceId": trace_id,
        "opName": f"step_{number % 7}",
        "startedAt": _now(),
    }
    start |= {"threadId": f"thread-{number % 50}", "turnId": call_id, "attributes": {"number": number}}
    usage = {"gpt-4o": {"prompt_tokens": number % 100, "completion_tokens": 7, "requests": 1}}
    end: dict[str, Any] = {
        "projectId": project,
        "id": call_id,
        "endedAt": _now(),
        "output": {"answer": _TEXT, "score": number % 10},
    }
    return [
        {"start": {**start, "inputs": {"question": _TEXT, "n": number}}},
        {"end": {**end, "summary": {"usage": usage}}},
    ]


CREATE: Final = """mutation ($batch: [CallBatchMode!]!) {
  callCreateBatch(batch: $batch) { res { ... on CallStartRes { id } ... on CallEndRes { id } } } }"""


async def batch(client: Client) -> None:
    """Create ten whole calls in one batch."""
    trace_id, first = str(uuid4()), client.random.randrange(10**6)
    names = [str(uuid4()) for _ in range(10)]
    parts = [part for n, name in enumerate(names) for part in call_parts(LIVE, first + n, name, trace_id)]
    made = (await client.ask(CREATE, batch=parts))["callCreateBatch"]["res"]
    if [one["id"] for one in made] != [name for name in names for _ in "12"]:
        raise StepError(f"the batch was answered {made}")


async def start_and_end(client: Client) -> None:
    """Start a call and end it in a second request, then read its status."""
    name = str(uuid4())
    start, end = call_parts(LIVE, client.random.randrange(10**6), name, str(uuid4()))
    await client.ask("mutation ($s: StartedCallSchemaForInsert!) { callStart(start: $s) { id } }", s=start["start"])
    await client.ask("mutation ($e: EndedCallSchemaForInsert!) { callEnd(end: $e) { id } }", e=end["end"])
    read = await client.ask("query ($p: ID!, $id: ID!) { call(projectId: $p, id: $id) { status } }", p=LIVE, id=name)
    if read["call"]["status"] != "SUCCESS":
        raise StepError(f"a call that was ended is {read}")
    client.newest = name


async def tables(client: Client) -> None:
    """Create a table, append a row, and read a page of it."""
    rows = [{"n": client.random.random(), "question": _TEXT[:100]} for _ in range(20)]
    made = await client.ask(
        "mutation ($t: TableSchemaForInsert!) { tableCreate(table: $t) { digest } }",
        t={"projectId": LIVE, "rows": rows},
    )
    updated = await client.ask(
        "mutation ($p: ID!, $d: String!, $u: [TableUpdateSpec!]!) { "
        "tableUpdate(projectId: $p, baseDigest: $d, updates: $u) { digest } }",
        p=LIVE,
        d=made["tableCreate"]["digest"],
        u=[{"append": {"row": {"n": client.random.random()}}}],
    )
    page = await client.ask(
        "query ($p: ID!, $d: String!) { tableRows(projectId: $p, digest: $d, first: 100) { nodes { val } } }",
        p=LIVE,
        d=updated["tableUpdate"]["digest"],
    )
    if len(page["tableRows"]["nodes"]) != 21:
        raise StepError("a table has not the rows that it was given")


async def feedback(client: Client) -> None:
    """Add a note and purge it, so that the amount of feedback stays the same."""
    note = {"projectId": LIVE, "weaveRef": f"weave:///{LIVE}/call/{uuid4()}", "feedbackType": "note"}
    made = await client.ask(
        "mutation ($b: [FeedbackCreateReq!]!) { feedbackCreateBatch(batch: $b) { res { id } } }",
        b=[{**note, "payload": {"note": _TEXT}}],
    )
    is_it = {"$eq": [{"$getField": "id"}, {"$literal": made["feedbackCreateBatch"]["res"][0]["id"]}]}
    purged = await client.ask(
        "mutation ($p: ID!, $q: QueryInput!) { feedbackPurge(projectId: $p, query: $q) { numPurged } }",
        p=LIVE,
        q={"json": {"$expr": is_it}},
    )
    if purged["feedbackPurge"]["numPurged"] != 1:
        raise StepError("feedback that was given is not there")


async def files(client: Client) -> None:
    """Upload a new file and read a part of it."""
    content = _PAYLOAD + client.random.randbytes(16)
    put = json.loads(await client.send("PUT", f"/files/{LIVE}?name=a.bin", (), content))
    got = await client.send("GET", f"/files/{LIVE}/{put['digest']}", (("Range", "bytes=-16"),))
    if got != content[-16:]:
        raise StepError("a file is not what it was")


async def spans(client: Client) -> None:
    """Export twenty spans of one trace, as OpenTelemetry does."""
    trace_id, now = client.random.randbytes(16), int(datetime.now(UTC).timestamp() * 1e9)
    text = KeyValue(key="gen_ai.prompt", value=AnyValue(string_value=_TEXT))
    made = [
        Span(
            trace_id=trace_id,
            span_id=client.random.randbytes(8),
            name=f"span {number}",
            start_time_unix_nano=now,
            end_time_unix_nano=now + 10**6 * number,
            attributes=[text],
        )
        for number in range(20)
    ]
    sent = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=made)])])
    headers = (("Content-Type", "application/x-protobuf"), ("project_id", "load/spans"))
    if await client.send("POST", "/v1/traces", headers, sent.SerializeToString()):
        raise StepError("spans were rejected")


async def newest(client: Client) -> None:
    """List the newest calls of the live project."""
    await client.ask(
        f"query ($p: ID!, $s: [SortBy!]) {{ calls(projectId: $p, sortBy: $s, first: 50) {{ nodes {{ {_FIELDS} }} }} }}",
        p=LIVE,
        s=[{"field": "started_at", "direction": "DESC"}],
    )


async def queried(client: Client) -> None:
    """Find calls by a value in their payload."""
    least = {"$gte": [{"$getField": "output.score"}, {"$literal": client.random.randrange(10)}]}
    data = await client.ask(
        "query ($p: ID!, $q: QueryInput) { "
        "calls(projectId: $p, query: $q, first: 20) { totalCount nodes { id inputs } } }",
        p=STOCK,
        q={"json": {"$expr": least}},
    )
    if not data["calls"]["totalCount"]:
        raise StepError("nothing was found")


async def aggregated(client: Client) -> None:
    """Aggregate calls by op and status, and count them."""
    await client.ask(
        "query ($p: ID!) { callsAggregate(projectId: $p, groupBy: [OP_NAME, STATUS]) { __typename } "
        "callsStats(projectId: $p) { count } }",
        p=STOCK,
    )


async def threads(client: Client) -> None:
    """List threads and their turns."""
    await client.ask(
        "query ($p: ID!) { "
        "threads(projectId: $p, first: 10) { nodes { threadId turnCount turns(first: 3) { nodes { id } } } } }",
        p=STOCK,
    )


async def graph(client: Client) -> None:
    """List calls with their linked data."""
    await client.ask(
        "query ($p: ID!) { calls(projectId: $p, first: 20) { nodes { id parent { id } "
        "children(first: 3) { nodes { id } } feedback(first: 3) { nodes { id } } trace { totals { numCalls } } } } }",
        p=STOCK,
    )


async def search(client: Client) -> None:
    """Search calls by a word."""
    await client.ask(
        'query ($p: ID!) { search(projectId: $p, text: "capital", first: 10) { nodes { call { id } } } }', p=STOCK
    )


async def exported(client: Client) -> None:
    """Export all calls of the stock and check the last line."""
    lines = (await client.send("GET", f"/export/calls?projectId={STOCK}")).splitlines()
    if json.loads(lines[-1])["loomql_export"].get("count") != len(lines) - 1:
        raise StepError(f"an export ends with {lines[-1][:300]!r}")
