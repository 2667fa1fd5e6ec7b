"""Tests of `loomql import`: stored rows, rejected rows with reasons, and resumed imports."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import imports
from app.cli import main
from app.imports import Batches, Line, lines_of
from graphql_schema.context import Stores
from stores.calls import CallsStore
from stores.errors import BadInputError, ConflictError, UnavailableError
from stores.exports import CALL_COLUMNS
from stores.otel import OtelStore
from stores.paging import PageRequest
from tests.app.imports.conftest import Import
from tests.stores.calls.builders import PROJECT, call_id, trace_id
from tests.stores.feedback.builders import call_ref, feedback

SPANS = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": "0af7651916cd43dd8448eb211c80319c",
                            "spanId": "b7ad6b7169203331",
                            "name": "checkout",
                            "startTimeUnixNano": "1769860800000001000",
                            "endTimeUnixNano": "1769860801000000000",
                        }
                    ]
                }
            ],
        }
    ]
}


def call(number: int, **changes: object) -> dict[str, Any]:
    """Return a call in the format of Weave's own export."""
    return {
        "id": call_id(number),
        "project_id": PROJECT,
        "op_name": f"weave:///{PROJECT}/op/answer:abc",
        "display_name": None,
        "trace_id": trace_id(number),
        "parent_id": None,
        "thread_id": None,
        "turn_id": None,
        "started_at": "2026-01-31T12:00:00.000123Z",
        "attributes": {"weave": {"client_version": "0.52.10"}},
        "inputs": {"n": number},
        "ended_at": "2026-01-31T12:00:01Z",
        "exception": None,
        "output": "fine",
        "summary": {
            "usage": {"gpt-4o": {"requests": 1}},
            "status_counts": {"success": 1, "error": 0},
            "weave": {"status": "success", "trace_name": "answer", "latency_ms": 999, "costs": {"gpt-4o": {}}},
        },
        "wb_user_id": "ada",
        "wb_run_id": None,
        "wb_run_step": None,
        "wb_run_step_end": None,
        "deleted_at": None,
        "storage_size_bytes": 99,
        "total_storage_size_bytes": None,
    } | changes


COMPUTED = {
    "status": "success",
    "latency_ms": 999,
    "trace_name": "answer",
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "total_cost": 0.0,
    "kind": "llm",
    "model": "gpt-4o",
    **dict.fromkeys(("provider", "user_id", "tags", "environment", "release", "error_type")),
    "time_to_first_token_ms": None,
    "finish_reasons": None,
}
"""Columns of `call(1)` that LoomQL computes."""


def written(file: Path, *lines: object) -> Path:
    """Write a file of lines: strings unchanged, other values as JSON."""
    file.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return file


async def stored(stores: Stores, *wanted: str) -> list[dict[str, Any]]:
    page = await stores.calls.page(PROJECT, PageRequest(10_000), wanted or CALL_COLUMNS.names)
    return page.rows


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def rejects(folder: Path) -> list[dict[str, Any]]:
    [file] = folder.glob("*.rejects.ndjson")
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_weave_export_becomes_calls(fresh: Stores, import_file: Import, tmp_path: Path) -> None:
    running = call(2, ended_at=None, output=None, summary={"weave": {"status": "running"}}, otel_dump={"a": 1})

    outcome = await import_file(written(tmp_path / "weave.jsonl", call(1), running))

    done, runs = [json.loads(CALL_COLUMNS.line(row)) for row in await stored(fresh)]
    assert outcome.is_whole
    assert list(outcome.summary()) == [
        f"{tmp_path / 'weave.jsonl'}: 2 calls stored.",
        "  The unknown field otel_dump of 1 rows was ignored.",
    ]
    expected = {name: value for name, value in call(1).items() if name in CALL_COLUMNS.names}
    assert done == expected | {"ended_at": "2026-01-31T12:00:01.000000Z"} | COMPUTED
    assert (runs["ended_at"], runs["summary"]["weave"]["status"]) == (None, "running")
    assert files_in(tmp_path) == ["weave.jsonl"]


async def test_computed_columns_are_ignored_and_recomputed(fresh: Stores, import_file: Import, tmp_path: Path) -> None:
    wrong = {"status": "error", "latency_ms": 7, "trace_name": "x", "prompt_tokens": "y", "total_cost": -1.0}
    wrong |= {"kind": 7, "tags": "x", "model": {}, "user_id": [1], "time_to_first_token_ms": "soon"}

    outcome = await import_file(written(tmp_path / "calls.ndjson", call(1, **wrong)))

    [row] = await stored(fresh)
    assert list(outcome.summary()) == [f"{tmp_path / 'calls.ndjson'}: 1 call stored."]
    assert {name: value for name, value in CALL_COLUMNS.values(row).items() if name in COMPUTED} == COMPUTED


async def test_spans_are_read_from_lines_and_from_one_document(
    fresh: Stores, import_file: Import, tmp_path: Path
) -> None:
    lines = written(tmp_path / "lines.jsonl", SPANS, SPANS)
    document = tmp_path / "document.json"
    document.write_text(json.dumps(SPANS, indent=2))

    by_lines = await import_file(lines, PROJECT)
    by_document = await import_file(document, PROJECT)

    [row] = await stored(fresh, "id", "op_name", "started_at")
    assert (by_lines.progress.stored["requests of spans"], by_document.progress.stored["requests of spans"]) == (2, 1)
    assert (row["id"], row["op_name"]) == ("b7ad6b7169203331", "checkout")
    assert row["started_at"] % 1_000_000 == 1


async def test_byte_order_mark_is_ignored(fresh: Stores, import_file: Import, tmp_path: Path) -> None:
    mark = "\ufeff"
    lines = written(tmp_path / "lines.jsonl", mark, call(1), call(2))
    document = written(tmp_path / "document.json", mark, json.dumps(SPANS, indent=2))

    by_lines = await import_file(lines)
    by_document = await import_file(document, PROJECT)

    assert {row["id"] for row in await stored(fresh, "id")} == {call_id(1), call_id(2), "b7ad6b7169203331"}
    assert by_lines.is_whole
    assert by_document.is_whole


async def test_spans_go_where_the_server_would_store_them(
    fresh: Stores, import_file: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOMQL_OTLP_ENTITY", "acme")

    await import_file(written(tmp_path / "spans.jsonl", SPANS))

    page = await fresh.calls.page("acme/shop", PageRequest(), ["op_name"])
    assert [row["op_name"] for row in page.rows] == ["checkout"]


async def test_invalid_rows_are_listed_and_the_rest_is_stored(
    fresh: Stores, import_file: Import, tmp_path: Path
) -> None:
    source = written(
        tmp_path / "calls.jsonl",
        call(1),
        "{nonsense\n",
        "\n",
        call(2, id="NO"),
        call(3, started_at=5),
        call(4, ended_at=None),
        call(5, deleted_at="2026-01-31T12:00:01Z"),
        [1],
        {"a": 1},
        call(6),
    )

    outcome = await import_file(source)

    assert {row["id"] for row in await stored(fresh, "id")} == {call_id(1), call_id(6)}
    found = [(reject["line"], reject["argument"]) for reject in rejects(tmp_path)]
    assert found == [
        (2, None),
        (5, "started_at"),
        (6, "output"),
        (7, "deleted_at"),
        (8, None),
        (9, None),
        (4, "id"),
    ]
    assert rejects(tmp_path)[0]["content"] == "{nonsense"
    assert json.loads(rejects(tmp_path)[-1]["content"]) == call(2, id="NO")
    assert (outcome.progress.rejected, outcome.is_whole) == (7, False)
    assert "7 lines are rejected" in "\n".join(outcome.summary())


async def test_file_truncated_within_a_line_is_reported(fresh: Stores, import_file: Import, tmp_path: Path) -> None:
    line = json.dumps(call(2))
    source = written(tmp_path / "calls.jsonl", call(1), line[: len(line) // 2])

    outcome = await import_file(source)

    [reject] = rejects(tmp_path)
    assert [row["id"] for row in await stored(fresh, "id")] == [call_id(1)]
    assert (reject["line"], reject["content"]) == (2, line[: len(line) // 2])
    assert "it is truncated" in reject["error"]
    assert outcome.progress.complaints == ["it is truncated in the middle of its last line"]


@pytest.mark.parametrize(
    ("end", "complaint"),
    [
        ([], "it has no trailer"),
        ([{"loomql_export": {"count": 2, "complete": True}}], "its trailer counts 2 rows, but the file has 1"),
        (
            [{"loomql_export": {"count": 1, "complete": False, "error": {"message": "no more"}}}],
            "its export failed: no more",
        ),
    ],
)
async def test_incomplete_export_is_reported(
    import_file: Import, tmp_path: Path, end: list[object], complaint: str
) -> None:
    ours = {"project_id": PROJECT} | call(1)
    text = json.dumps(ours, separators=(",", ":")) + "\n"

    outcome = await import_file(written(tmp_path / "calls.ndjson", text, *end))

    [found] = outcome.progress.complaints
    assert found.startswith(complaint)
    assert outcome.progress.stored["calls"] == 1


async def test_concatenated_export_parts_are_complete(import_file: Import, tmp_path: Path) -> None:
    ours = [json.dumps({"project_id": PROJECT} | call(number), separators=(",", ":")) + "\n" for number in range(3)]
    end = {"loomql_export": {"count": 1, "complete": True, "resumed": True}}

    outcome = await import_file(written(tmp_path / "calls.ndjson", *ours, end))

    assert outcome.is_whole


async def test_interrupted_import_resumes(
    fresh: Stores, import_file: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = call(0, started_at="never")
    source = written(tmp_path / "calls.jsonl", bad, *(call(number) for number in range(1, 1200)), bad)
    store, times = Batches.store, 0

    async def store_twice(batches: Batches) -> dict[str, int]:
        nonlocal times
        times += 1
        if times > 2:
            raise UnavailableError("away")
        return await store(batches)

    monkeypatch.setattr(Batches, "store", store_twice)
    with pytest.raises(UnavailableError):
        await import_file(source)
    there = len(await stored(fresh, "id"))
    kept = json.loads((tmp_path / "calls.jsonl.loomql-import").read_text())
    monkeypatch.undo()
    read: list[int] = []

    def noted(*given: Any) -> Iterator[Line]:
        for line in lines_of(*given):
            read.append(line.number)
            yield line

    monkeypatch.setattr(imports, "lines_of", noted)

    outcome = await import_file(source)

    assert there == 1000
    assert read[0] == kept["line"] + 1 == 1002
    assert len(await stored(fresh, "id")) == outcome.progress.stored["calls"] == 1199
    assert [reject["line"] for reject in rejects(tmp_path)] == [1, 1201]


@pytest.mark.parametrize(("store", "line"), [(CallsStore, call(1)), (OtelStore, SPANS)])
async def test_write_conflict_is_not_a_rejected_row(
    store: type, line: object, import_file: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "lines.jsonl", line)

    async def outrun(*_given: object, **_named: object) -> None:
        raise ConflictError("too many writers")

    monkeypatch.setattr(store, "restore" if store is CallsStore else "export_json", outrun)
    with pytest.raises(ConflictError):
        await import_file(source)
    monkeypatch.undo()

    assert files_in(tmp_path) == ["lines.jsonl"]
    assert (await import_file(source)).is_whole


async def test_id_of_other_feedback_is_a_rejected_row(fresh: Stores, import_file: Import, tmp_path: Path) -> None:
    await fresh.feedback.create([feedback(id="taken", wb_user_id="bob")])
    row = {"id": "taken", "project_id": PROJECT, "weave_ref": call_ref(), "feedback_type": "custom", "payload": {}}
    times = {"created_at": "2026-01-31T12:00:00Z"}

    await import_file(written(tmp_path / "feedback.jsonl", row | times | {"wb_user_id": "ada"}))

    [reject] = rejects(tmp_path)
    assert (reject["line"], reject["code"], reject["argument"]) == (1, "CONFLICT", "id")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"PAR1....", "Parquet"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b'[{"id": 1}]', "jq -c"),
    ],
)
async def test_unsupported_file_types_are_refused(
    import_file: Import, tmp_path: Path, content: bytes, part: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)

    with pytest.raises(BadInputError, match=part):
        await import_file(file)


def test_exit_code_is_zero_only_if_everything_is_stored(
    mongodb_uri: str,
    database_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", database_name)
    good, bad = written(tmp_path / "good.jsonl", call(1)), written(tmp_path / "bad.jsonl", call(1, id="NO"))

    whole = main(["import", str(good), "--project", "acme/other"]), capsys.readouterr().out
    some = main(["import", str(good), str(bad)]), capsys.readouterr().out
    nothing = main(["import", str(tmp_path / "nothing")]), capsys.readouterr().err

    assert whole == (0, f"{good}: 1 call stored.\n")
    assert some[0] == 3
    assert some[1].splitlines() == [
        f"{good}: 1 call stored.",
        f"{bad}: nothing stored.",
        f"  1 line is rejected: {bad}.rejects.ndjson lists them with reasons.",
    ]
    assert nothing[0] == 1
    assert str(tmp_path / "nothing") in nothing[1]
