"""Tests of exports: valid spans are stored, invalid ones are reported, and the last version of a span counts."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from stores.aggregates import AggregatesStore, Grouping
from stores.calls import CallsStore
from stores.calls.documents import StoredPart
from stores.database import Database
from stores.errors import BadInputError
from stores.input_checks import MAX_NAME
from stores.otel import Exported, OtelStore, protobuf
from stores.otel import otlp_json as json_form
from stores.otel.mapping import MAX_VALUES
from stores.otel.spans import Projects, undecoded_records
from stores.paging import PageRequest
from stores.query import Query
from tests.stores.otel.conftest import PROJECT, Stored
from tests.stores.otel.messages import NOON, SECOND, TRACE, body, failed, otlp_json, pairs, request, span, span_id


async def test_valid_spans_of_a_request_are_stored(otel: OtelStore, stored: Stored) -> None:
    exported = await otel.export_protobuf(
        body(span(1), span(2, {"." * 64: 1}), span(3, span_id=b"\0" * 8), span(4, parent=2)), Projects(PROJECT)
    )

    assert exported.rejected == 2
    assert exported.error_message == (
        f"span 0000000000000002 (step 2): the key {'.' * 64!r}… has 64 dots; the limit is 63; "
        "a span: span_id is all zeros, which is not a valid id"
    )
    assert list(await stored()) == [span_id(1), span_id(4)]


async def test_query_finds_an_attribute_that_extends_another(
    otel: OtelStore, stored: Stored, calls: CallsStore
) -> None:
    await otel.export_protobuf(
        body(span(1, {"usage.tokens.cached": 60, "usage.tokens": 100}), span(2)), Projects(PROJECT)
    )

    [call, _] = (await stored()).values()
    assert call["attributes"]["otel_span"]["attributes"] == {"usage": {"tokens": 100, "tokens.cached": 60}}
    for path, value in ((r"usage.tokens\.cached", 60), ("usage.tokens", 100)):
        query = Query(
            {"$expr": {"$eq": [{"$getField": f"attributes.otel_span.attributes.{path}"}, {"$literal": value}]}}
        )
        page = await calls.page(PROJECT, PageRequest(), ["id"], query=query)
        assert [row["id"] for row in page.rows] == [span_id(1)]


async def test_first_20_reasons_are_reported(otel: OtelStore) -> None:
    exported = await otel.export_protobuf(
        body(*(span(number, trace_id=b"") for number in range(1, 23))), Projects(PROJECT)
    )

    reasons = exported.error_message.split("; ")
    assert (exported.rejected, len(reasons), reasons[-1]) == (22, 2 * 20 + 1, "...")


async def test_repeated_span_replaces_itself(otel: OtelStore, stored: Stored) -> None:
    running, ended = span(1, {"input.value": "a"}, end_time_unix_nano=0), span(1, {"input.value": "b"}, name="renamed")

    await otel.export_protobuf(body(running, span(2), span(2, name="twice", status=failed("late"))), Projects(PROJECT))
    first = await stored()
    await otel.export_protobuf(body(ended), Projects(PROJECT))
    second = await stored()
    await otel.export_protobuf(body(running), Projects(PROJECT))
    third = await stored()

    assert [first[span_id(1)][name] for name in ("status", "inputs")] == ["running", {"input.value": "a"}]
    assert [first[span_id(2)][name] for name in ("op_name", "exception")] == ["twice", "late"]
    assert [second[span_id(1)][name] for name in ("status", "inputs")] == ["success", {"input.value": "b"}]
    assert (second[span_id(1)]["op_name"], third[span_id(1)]["op_name"]) == ("renamed", "step 1")
    assert third[span_id(1)]["ended_at"] == (NOON + 2 * SECOND) // 1000


async def test_parents_may_be_late_missing_or_circular(
    otel: OtelStore, stored: Stored, calls: CallsStore, database: Database
) -> None:
    await otel.export_protobuf(
        body(
            span(1, {"gen_ai.usage.input_tokens": 1}, parent=2),
            span(2, {"gen_ai.usage.input_tokens": 2}, parent=1),
            span(3, {"gen_ai.usage.input_tokens": 4}, parent=3),
            span(4, parent=99),
            span(5, parent=6),
        ),
        Projects(PROJECT),
    )
    await otel.export_protobuf(body(span(6)), Projects(PROJECT))

    parents = {int(key, 16): call.get("parent_id") for key, call in (await stored()).items()}
    assert parents == {1: span_id(2), 2: span_id(1), 3: span_id(3), 4: span_id(99), 5: span_id(6), 6: None}
    page = await calls.page(PROJECT, PageRequest(), ["id", "total_storage_size_bytes"])
    assert len(page.rows) == 6
    tree = await AggregatesStore(database).usage_tree(PROJECT, TRACE, ["total_usage"])
    assert sorted(int(node["id"], 16) for node in tree) == [1, 2, 3, 4, 5, 6]
    assert await calls.delete(PROJECT, [span_id(1)]) == 2
    assert await calls.delete(PROJECT, [span_id(3)]) == 1


async def test_usage_summed_by_operations_counts_once(otel: OtelStore, database: Database) -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 9}
    outer = {"ai.operationId": "ai.generateText", "ai.model.id": "m", "ai.usage.inputTokens": 9}
    inner = {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.model.id": "m",
        "gen_ai.response.model": "m-2024",
        "ai.usage.inputTokens": 9,
    }
    await otel.export_protobuf(
        body(span(1, agent), span(2, outer, parent=1), span(3, inner, parent=2)), Projects(PROJECT)
    )

    store = AggregatesStore(database)
    [row] = (await store.calls(PROJECT, Grouping(), ["total_tokens"])).rows
    [root, *_] = await store.usage_tree(PROJECT, TRACE, ["total_usage"])

    assert row["total_tokens"] == 9
    assert root["total_usage"]["total_tokens"] == 9


async def test_spans_are_routed_to_the_projects_of_their_resources(otel: OtelStore, stored: Stored) -> None:
    both = request(span(1), resource={"service.name": "one"})
    both.MergeFrom(request(span(2), resource={"wandb.entity": "acme", "wandb.project": "two"}))
    both.MergeFrom(request(span(3), resource={"wandb.entity": "acme", "wandb.project": "a:b"}))

    exported = await otel.export_protobuf(both.SerializeToString(), Projects())

    assert exported.rejected == 1
    assert "wandb.entity and wandb.project: 'acme/a:b' is not a project id" in exported.error_message
    assert (list(await stored("otel/one")), list(await stored("acme/two"))) == ([span_id(1)], [span_id(2)])


async def test_json_uses_the_same_path(otel: OtelStore, stored: Stored) -> None:
    message = request(span(1, {"input.value": "hi"}), span(2, {"." * 64: 1}))

    exported = await otel.export_json(otlp_json(message), Projects(PROJECT), "ada")
    by_json = await stored()
    await otel.export_protobuf(message.SerializeToString(), Projects(PROJECT), "ada")

    assert exported.rejected == 1
    assert by_json == await stored()
    assert by_json[span_id(1)]["wb_user_id"] == "ada"


async def test_json_request_is_stored_whole_or_not_at_all(otel: OtelStore, stored: Stored) -> None:
    whole = otlp_json(request(*(span(number) for number in range(1, 602))))
    whole["resourceSpans"][0]["scopeSpans"].append({"spans": {}})

    with pytest.raises(BadInputError, match="spans of scopeSpans must be a list"):
        await otel.export_json(whole, Projects(PROJECT))

    assert await stored() == {}


async def test_images_become_files(otel: OtelStore, stored: Stored, database: Database) -> None:
    picture = f"data:image/png;base64,{'iVBORw0KGgo' * 200}AAA="

    await otel.export_protobuf(body(span(1, {"input": [{"url": picture}]})), Projects(PROJECT))

    [call] = (await stored()).values()
    [taken] = call["inputs"]["input"]
    assert taken["url"]["_type"] == "CustomWeaveType"
    assert call["attributes"]["otel_span"]["attributes"]["input"] == [taken]
    assert await database.files.count_documents({"project_id": PROJECT}) == 2


async def test_large_requests_are_stored_in_chunks(otel: OtelStore, stored: Stored, database: Database) -> None:
    large = "x" * 1_000_000
    spans = [span(number, {"input.value": large}) for number in range(1, 8)]

    exported = await otel.export_protobuf(
        body(*spans, span(8, {"input.value": large * 20}), span(9, {"input.value": large * 2})), Projects(PROJECT)
    )

    assert exported.rejected == 2
    too_large_to_decode, too_large_to_store = exported.error_message.split("; span")
    assert "a span: it has 20,000," in too_large_to_decode
    assert "; the limit is 8,388,608. Keep large" in too_large_to_decode
    assert "inputs take 8,0" in too_large_to_store
    assert "the limit is 7,700,000" in too_large_to_store
    assert len(await stored()) == 7
    assert await database.calls.count_documents({"inputs.input%2Evalue": large}) == 7


async def test_span_has_the_same_size_limit_in_json(otel: OtelStore, stored: Stored) -> None:
    spans = (span(1, {"input.value": "x" * 20_000_000}), span(2))

    exported = await otel.export_json(otlp_json(request(*spans)), Projects(PROJECT))

    assert exported.rejected == 1
    assert exported.error_message.startswith("a span: it has 20,000,")
    assert "; the limit is 8,388,608. Keep large" in exported.error_message
    assert list(await stored()) == [span_id(2)]


@pytest.mark.parametrize("what", ["resource", "scope"])
@pytest.mark.parametrize("form", ["protobuf", "json"])
async def test_data_repeated_in_every_span_is_small(what: str, form: str, otel: OtelStore, stored: Stored) -> None:
    whole = request(span(1), span(2))
    [of] = whole.resource_spans
    getattr(of if what == "resource" else of.scope_spans[0], what).attributes.extend(pairs({"a": "x" * 70_000}))
    whole.MergeFrom(request(span(3), resource={"service.name": "x" * 60_000}))

    if form == "json":
        exported = await otel.export_json(otlp_json(whole), Projects(PROJECT))
    else:
        exported = await otel.export_protobuf(whole.SerializeToString(), Projects(PROJECT))

    assert exported.rejected == 2
    assert exported.reasons[0].startswith(f"a span: its {what} has 70,0")
    assert "the limit is 65,536" in exported.reasons[0]
    assert list(await stored()) == [span_id(3)]


class CountingProjects(Projects):
    """Counts the resources that it reads."""

    read: ClassVar[list[object]] = []

    def of(self, resource: dict[str, object]) -> str:
        """Record the resource and return its project."""
        self.read.append(resource)
        return super().of(resource)


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_resource_is_decoded_once_for_all_its_scopes(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CountingProjects, "read", [])
    projects = CountingProjects(PROJECT)
    whole = request(span(1), resource={"service.name": "one"})
    for number in (2, 3):
        whole.resource_spans[0].scope_spans.add().spans.append(span(number))
    whole.MergeFrom(request(span(4), resource={"service.name": "two"}))
    sent = whole.SerializeToString()

    parts: list[Any] = json_form.parts_of(otlp_json(whole)) if form == "json" else protobuf.parts_of(sent)
    spans: list[Any] = list(undecoded_records(parts, projects))

    assert len(spans) == 4
    assert projects.read == [{"service.name": "one"}, {"service.name": "two"}]


class NotedCalls(CallsStore):
    """Records, before each write, how many requests still wait for an answer."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.requests: list[asyncio.Task[Exported]] = []
        self.waiting: list[int] = []

    async def write_parts(self, parts: Sequence[StoredPart]) -> set[str]:
        self.waiting.append(sum(not request.done() for request in self.requests))
        return await super().write_parts(parts)


async def test_rejected_request_does_not_block_others(database: Database, stored: Stored) -> None:
    calls = NotedCalls(database)
    otel = OtelStore(calls)
    calls.requests.append(asyncio.create_task(otel.export_protobuf(body(*[Span()] * 8_000), Projects(PROJECT))))
    await asyncio.sleep(0)  # the export starts

    await otel.export_protobuf(body(span(1)), Projects(PROJECT))

    assert calls.waiting == [1]
    assert list(await stored()) == [span_id(1)]
    assert (await calls.requests[0]).rejected == 8_000


async def test_values_in_json_strings_are_limited(otel: OtelStore, stored: Stored) -> None:
    half = "[" + "{}," * (MAX_VALUES // 4) + "{}]"
    attributes = {"a": half, "b": half, "input.value": half, "output.value": '{"still": "read"}'}
    events = [Span.Event(name="gen_ai.choice", attributes=pairs({"message": half}))]

    exported = await otel.export_protobuf(
        body(span(1, attributes), span(2, {"output.value": "[1]"})), Projects(PROJECT)
    )
    await otel.export_protobuf(body(span(3, {"a": half, "b": half}, events=events)), Projects(PROJECT))

    assert exported.rejected == 0
    first, second, third = (await stored()).values()
    nested = first["attributes"]["otel_span"]["attributes"]
    assert (len(nested["a"]), nested["b"], first["inputs"]) == (MAX_VALUES // 4 + 1, half, {"input.value": half})
    assert first["output"] == {"output.value": {"still": "read"}}
    assert second["output"] == {"output.value": [1]}
    assert third["output"] == {"gen_ai.output.messages": [{"role": "assistant", "message": half}]}


@pytest.mark.parametrize("damaged", [body(span(1))[:-5], b"\xff" * 9, b"not protobuf at all"])
async def test_malformed_request_is_refused(damaged: bytes, otel: OtelStore, stored: Stored) -> None:
    with pytest.raises(BadInputError, match="not an ExportTraceServiceRequest in protobuf, or is truncated"):
        await otel.export_protobuf(damaged, Projects(PROJECT))

    assert await stored() == {}


async def test_malformed_span_alone_is_rejected(otel: OtelStore, stored: Stored) -> None:
    whole = body(span(1), span(2, name="?!"))

    exported = await otel.export_protobuf(whole.replace(b"?!", b"\xff\xfe"), Projects(PROJECT))

    assert exported.rejected == 1
    assert exported.error_message.startswith("a span: it cannot be decoded")
    assert list(await stored()) == [span_id(1)]


async def test_project_and_user_names_are_validated(otel: OtelStore) -> None:
    with pytest.raises(BadInputError, match="is not a project id"):
        await otel.export_protobuf(body(span(1)), Projects("nonsense"))
    with pytest.raises(BadInputError, match="1,025 characters"):
        await otel.export_json({}, Projects(PROJECT), "u" * (MAX_NAME + 1))


async def test_empty_request_stores_nothing(otel: OtelStore, database: Database) -> None:
    assert (await otel.export_protobuf(b"", Projects())).rejected == 0
    assert await database.projects.count_documents({}) == 0
