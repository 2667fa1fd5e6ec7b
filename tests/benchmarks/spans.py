"""Calls as OpenTelemetry sends them: traces of eight spans, of which one states usage, over thirty days.

LoomQL converts the spans of the first traces. Later traces are copies of their documents, with ids, times, sessions,
users and customers of their own, so that a million calls take minutes. A test compares copies with converted spans.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import shake_128
from itertools import islice
from random import Random
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from stores.calls import CallsStore
from stores.database import Database, Document
from stores.migrations import calls_backfill
from stores.otel import OtelStore
from stores.otel.spans import Projects, time_text
from stores.times import SECOND
from tests.benchmarks.stock import BEGIN, sentence, text
from tests.stores.otel.messages import body, failed, pairs

PROJECT: Final = "acme/scale"
SPANS: Final = 8
"""Number of spans of a trace."""
TEMPLATES: Final = 1_000
"""Number of traces that LoomQL converts; the content of later traces repeats theirs."""
DAYS: Final = 30
COMMON_PLAN: Final = "free"
"""Plan in six of ten traces."""
PRICES: Final = {"gpt-4o": (2.5e-6, 10e-6), "gpt-4o-mini": (0.15e-6, 0.6e-6), "loom-large": (3e-6, 15e-6)}
"""Prices of a prompt and a completion token by model."""
COMMON_WORD: Final = "refund"
"""Word in the questions of a tenth of the traces."""

_MEAN_LOGARITHMS: Final = (9.0, 11.5, 9.5, 10.5, 13.8, 11.8, 8.5)
"""Means of the logarithms of the spans' durations in microseconds, without the root."""
_TRACES_OF_A_CUSTOMER: Final = 40
_TURNS: Final = 5
_CONCURRENT_SESSIONS: Final = 64
_SESSIONS_OF_A_USER: Final = 10
_BATCH: Final = 1_000
_UNACKNOWLEDGED_BY_DISK: Final = WriteConcern(w=1, j=False)
_SENTENCES: Final = [sentence(Random(number)) for number in range(2_000)]
_RESOURCE: Final = {
    "service.name": "support",
    "service.version": "2026.1.3",
    "deployment.environment.name": "production",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.version": "1.38.0",
    "host.name": "worker-7f9c",
}


@dataclass(frozen=True, slots=True)
class Traces:
    """The identities of a number of traces, which start at equal intervals over thirty days."""

    count: int

    @property
    def templates(self) -> range:
        """The first traces, whose content the others repeat."""
        return range(min(TEMPLATES, self.count))

    @property
    def _interval(self) -> int:
        return DAYS * 24 * 3600 * SECOND // self.count

    def started_at(self, number: int) -> int:
        """Return the start of a trace in microseconds since the epoch."""
        return BEGIN + number * self._interval

    @staticmethod
    def ids(number: int) -> list[str]:
        """Return the id of a trace and those of its spans, as random as OpenTelemetry's."""
        digits = shake_128(number.to_bytes(8)).hexdigest(16 + 8 * SPANS)
        return [digits[:32], *(digits[at : at + 16] for at in range(32, len(digits), 16))]

    def session(self, number: int) -> str:
        """Return the session of a trace; each has five turns, beside other sessions."""
        group, rest = divmod(number, _TURNS * _CONCURRENT_SESSIONS)
        return f"session-{group * _CONCURRENT_SESSIONS + rest % _CONCURRENT_SESSIONS:08x}"

    def times(self, number: int) -> list[tuple[int, int]]:
        """Return the start and the end of each span of a trace in microseconds since the epoch."""
        rng = Random(number % TEMPLATES)
        at = first = self.started_at(number)
        spans = []
        for mean in _MEAN_LOGARITHMS:
            at += rng.randrange(1, 1_000)
            ended_at = at + int(rng.lognormvariate(mean, 0.6))
            spans.append((at, ended_at))
            at = ended_at
        return [(first, at + rng.randrange(1, 1_000)), *spans]

    def user(self, number: int) -> str:
        """Return the end user of a trace."""
        users = max(1, self.count // (_TURNS * _SESSIONS_OF_A_USER))
        return f"user-{int(self.session(number)[-8:], 16) % users:08x}"

    def customer(self, number: int) -> str:
        """Return the customer of a trace; each has about forty traces, spread over the whole time."""
        return f"customer-{number % max(1, self.count // _TRACES_OF_A_CUSTOMER):08x}"


@dataclass(frozen=True, slots=True)
class _Content:
    """A span without its identity; the span at `parent` is its parent, unless it is the root."""

    name: str
    attributes: dict[str, Any]
    parent: int = 0
    error: str = ""


def spans_of(traces: Traces, number: int) -> list[Span]:
    """Return the spans of a trace."""
    trace_id, *span_ids = map(bytes.fromhex, traces.ids(number))
    own = {"session.id": traces.session(number), "user.id": traces.user(number)}
    spans = []
    for at, content in enumerate(_contents(number % TEMPLATES, traces.customer(number))):
        started_at, ended_at = (1000 * time for time in traces.times(number)[at])
        span = Span(
            trace_id=trace_id,
            span_id=span_ids[at],
            parent_span_id=span_ids[content.parent] if at else b"",
            name=content.name,
            kind=Span.SPAN_KIND_INTERNAL if at else Span.SPAN_KIND_SERVER,
            start_time_unix_nano=started_at,
            end_time_unix_nano=ended_at,
            attributes=pairs(own | content.attributes),
        )
        if content.error:
            span.status.CopyFrom(failed(content.error))
            kind, _, message = content.error.partition(": ")
            noted = pairs({"exception.type": kind, "exception.message": message})
            span.events.add(name="exception", time_unix_nano=ended_at, attributes=noted)
        spans.append(span)
    return spans


def request_of(traces: Traces, numbers: Iterable[int]) -> bytes:
    """Return the OTLP request in protobuf for some traces."""
    return body(*(span for number in numbers for span in spans_of(traces, number)), resource=_RESOURCE)


def _contents(template: int, customer: str) -> list[_Content]:
    """Return the spans of a trace, the root first; the content names the customer."""
    rng = Random(template)
    about = "delivery" if template % 10 else COMMON_WORD
    question = f"{rng.choice(_SENTENCES)} The account is {customer}, about a {about}. {rng.choice(_SENTENCES)}?"
    answer = text(_SENTENCES, rng)
    documents = [{"id": f"doc-{rng.randrange(5_000)}", "score": round(rng.random(), 4)} for _ in range(4)]
    app = {
        "app.customer.id": customer,
        "app.customer.plan": rng.choices((COMMON_PLAN, "team", "enterprise"), (6, 3, 1))[0],
        "app.region": rng.choice(("eu", "us", "ap")),
    }
    messages = [_message("system", text(_SENTENCES, rng)), _message("user", question)]
    chat = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": rng.choice(list(PRICES)),
        "gen_ai.request.temperature": 0.2,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": rng.randrange(200, 6_000),
        "gen_ai.usage.output_tokens": rng.randrange(20, 900),
        "gen_ai.input.messages": json.dumps(messages),
        "gen_ai.output.messages": json.dumps([_message("assistant", answer) | {"finish_reason": "stop"}]),
    }
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up_order",
        "gen_ai.tool.call.arguments": json.dumps({"account": customer}),
        "order.amount": round(rng.uniform(1, 900), 2),
        **app,
    }
    root = {
        "openinference.span.kind": "AGENT",
        "http.request.method": "POST",
        "http.route": "/chat",
        "input.value": json.dumps({"question": question, "channel": rng.choice(("web", "mail"))}),
        "output.value": json.dumps({"answer": answer}),
        **app,
    }
    retrieve = {"openinference.span.kind": "RETRIEVER", "db.system.name": "postgresql", "input.value": question}
    embed = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "text-embedding-3-small"}
    rerank = {"openinference.span.kind": "RERANKER", "reranker.top_k": 2}
    failure = "RuntimeError: the answer was blocked" if rng.random() < 0.005 else ""
    timeout = "TimeoutError: no answer in time" if rng.random() < 0.03 else ""
    return [
        _Content("POST /chat", root, error=failure),
        _Content("check input", {"openinference.span.kind": "GUARDRAIL", "guardrail.score": rng.random()}),
        _Content("retrieve documents", {**retrieve, "output.value": json.dumps(documents)}),
        _Content("embed query", embed, parent=2),
        _Content("rerank documents", {**rerank, "output.value": json.dumps(documents[:2])}),
        _Content("chat", chat),
        _Content("execute_tool look_up_order", tool, error=timeout),
        _Content("format answer", {"code.function.name": "format_answer", "answer.length": len(answer)}),
    ]


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


class Template:
    """A text in which the tokens of one call are replaced by those of other calls, which have the same lengths."""

    def __init__(self, whole: bytes, tokens: Sequence[bytes]) -> None:
        pieces: list[bytes | int] = [whole]
        for slot, token in enumerate(tokens):
            pieces = [piece for old in pieces for piece in _split(old, token, slot)]
        self._pieces = [b"" if isinstance(piece, int) else piece for piece in pieces]
        self._slots = [(at, piece) for at, piece in enumerate(pieces) if isinstance(piece, int)]

    def filled(self, tokens: Sequence[bytes]) -> bytes:
        """Return the text with other tokens."""
        pieces = self._pieces.copy()
        for at, slot in self._slots:
            pieces[at] = tokens[slot]
        return b"".join(pieces)


def _split(piece: bytes | int, token: bytes, slot: int) -> Iterator[bytes | int]:
    """Yield a text in pieces, with the slot's number in place of its token; a number stays."""
    if isinstance(piece, int):
        yield piece
        return
    first, *others = piece.split(token)
    yield first
    for other in others:
        yield slot
        yield other


class Copies:
    """The documents of calls, and texts that follow from each document, for any trace of a number of traces.

    Args:
        documents: the calls of the templates, as LoomQL stores them.
        row_of: returns a text of a document, in which times are numbers of microseconds or ISO texts.
    """

    def __init__(self, traces: Traces, documents: Iterable[Document], row_of: Callable[[Document], bytes]) -> None:
        self._traces = traces
        by_id = {document["id"]: document for document in documents}
        self._templates: list[list[tuple[Template, Template]]] = []
        for number in traces.templates:
            tokens = zip(traces.ids(number)[1:], self._tokens(number), strict=True)
            calls = [(by_id[span_id], own) for span_id, own in tokens]
            self._templates.append(
                [(Template(bson.encode(call), own), Template(row_of(call), own)) for call, own in calls]
            )

    def of(self, number: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the BSON document and the text of each call of a trace."""
        for (document, row), tokens in zip(self._templates[number % TEMPLATES], self._tokens(number), strict=True):
            yield document.filled(tokens), row.filled(tokens)

    def _tokens(self, number: int) -> Iterator[list[bytes]]:
        """Yield, for each call of a trace, all by which it differs from the same call of another trace."""
        traces = self._traces
        texts = [*traces.ids(number), traces.session(number), traces.user(number), traces.customer(number)]
        shared = [each.encode() for each in texts]
        for start_and_end in traces.times(number):
            own = []
            for name, time in zip((b"started_at", b"ended_at"), start_and_end, strict=True):
                in_bson = b"\x12" + name + b"\x00" + time.to_bytes(8, "little")
                own += [in_bson, str(time).encode(), time_text(1000 * time).encode()]
            yield shared + own


async def converted(uri: str, name: str, traces: Traces, numbers: Iterable[int]) -> list[Document]:
    """Return the documents that LoomQL makes of the spans of some traces, by way of a database that is then dropped."""
    database = Database.open(uri, name)
    store, rest = OtelStore(CallsStore(database)), iter(numbers)
    while batch := [*islice(rest, _BATCH // SPANS)]:
        exported = await store.export_protobuf(request_of(traces, batch), Projects(PROJECT))
        if exported.rejected:
            raise AssertionError(exported.reasons)
    documents = [document async for document in database.calls.find({"project_id": PROJECT})]
    await database.calls.database.client.drop_database(name)
    database.close()
    return documents


async def load(uri: str, name: str, traces: Traces, copies: Copies, write_row: Callable[[bytes], object]) -> None:
    """Load the calls of all traces, in the order of time, into an empty database with LoomQL's indexes.

    A server finds it as the database of an earlier version whose calls are complete: it has to prepare all else.

    Args:
        write_row: takes the text of each call.
    """
    database = Database.open(uri, name)
    await database.ensure_indexes()
    database.close()
    with MongoClient[Document](uri) as client:
        client[name]["upgrades"].insert_one({"_id": calls_backfill._ID, "is_done": True})
        calls = client[name].get_collection("calls", write_concern=_UNACKNOWLEDGED_BY_DISK)
        calls_of_all = (call for number in range(traces.count) for call in copies.of(number))
        while batch := [*islice(calls_of_all, _BATCH)]:
            calls.insert_many([RawBSONDocument(document) for document, _ in batch], ordered=False)
            for _, row in batch:
                write_row(row)
