"""Tests of Parquet exports: typed columns, and JSON of any type as text."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.exports import endpoint
from tests.app.exported_project import COUNT, EMPTY
from tests.stores.calls.builders import PROJECT, call_id


async def parquet(client: httpx.AsyncClient, concept: str, **parameters: str) -> Any:
    answer = await client.get(f"/export/{concept}", params={"projectId": PROJECT, "format": "parquet"} | parameters)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.apache.parquet")
    return pq.ParquetFile(io.BytesIO(answer.content))


def trailer(file: Any) -> Any:
    return json.loads(file.metadata.metadata[b"loomql_export"])


async def test_calls_of_mixed_types_are_one_table(client: httpx.AsyncClient) -> None:
    file = await parquet(client, "calls")

    rows = file.read().to_pylist()
    assert [row["id"] for row in rows] == [call_id(number) for number in range(COUNT + 1)]
    assert rows[0]["started_at"] == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert (rows[0]["wb_run_step"], rows[1]["wb_run_step"]) == (7, None)
    assert [json.loads(row["output"]) for row in rows[:3]] == [[1, "1", None, 1.5], None, None]
    assert json.loads(rows[0]["inputs"])["big"] == 10**30
    assert rows[COUNT]["output"] is None
    assert file.schema_arrow.field("ended_at").type == pa.timestamp("us", tz="UTC")
    assert (trailer(file)["count"], trailer(file)["complete"]) == (COUNT + 1, True)


COMPUTED = ("status", "latency_ms", "trace_name", "prompt_tokens", "completion_tokens", "total_tokens", "total_cost")


async def test_calls_have_their_status_latency_tokens_and_cost_in_columns(client: httpx.AsyncClient) -> None:
    file = await parquet(client, "calls")
    ask = {"query": f'{{ call(projectId: "{PROJECT}", id: "{call_id(2)}") {{ totalCost }} }}'}
    cost = (await client.post("/graphql", json=ask)).json()["data"]["call"]["totalCost"]

    rows = [tuple(row[name] for name in COMPUTED) for row in file.read().to_pylist()]
    assert rows[:4] == [
        ("success", 500, "first", 0, 0, 0, None),
        ("error", 2000, "answer", None, None, None, None),
        ("success", 500, "answer", 907, 80, 987, cost),
        ("success", 500, "answer", None, None, None, None),
    ]
    assert rows[COUNT] == ("running", None, "answer", None, None, None, None)
    assert cost > 0
    types = [str(file.schema_arrow.field(name).type) for name in COMPUTED]
    assert types == ["string", "int64", "string", "int64", "int64", "int64", "double"]


async def test_normalised_columns_have_types_of_their_own(client: httpx.AsyncClient) -> None:
    file = await parquet(client, "calls")

    names = ("kind", "model", "tags", "release", "error_type", "time_to_first_token_ms", "finish_reasons")
    rows = [tuple(row[name] for name in names) for row in file.read().to_pylist()]
    assert rows[0] == ("llm", "m", ["a", "b"], "1.2", None, 120.5, ["stop"])
    assert rows[3] == ("llm", "m", ["c"], "7", "ReadTimeout", 250.0, ["length"])
    assert rows[COUNT] == (None,) * len(names)
    types = {str(file.schema_arrow.field(name).type) for name in ("tags", "finish_reasons")}
    assert len(types) == 1
    assert types.pop().startswith("list<")
    assert file.schema_arrow.field("time_to_first_token_ms").type == pa.float64()


async def test_object_values_are_text(client: httpx.AsyncClient) -> None:
    file = await parquet(client, "objects", cursors="true")

    rows = file.read().to_pylist()
    assert [json.loads(row["val"]) for row in rows] == ["one", "three", {"_type": "Op"}]
    assert rows[-1]["_cursor"] == trailer(file)["cursor"]


async def test_empty_list_is_a_table_without_rows(client: httpx.AsyncClient) -> None:
    file = await parquet(client, "threads", projectId=EMPTY)

    assert (file.metadata.num_rows, trailer(file)["count"]) == (0, 0)
    assert file.schema_arrow.field("p99_turn_duration_ms").type == pa.float64()


async def test_server_without_pyarrow_says_what_to_install(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "find_spec", lambda _name: None)

    answer = await client.get("/export/calls", params={"projectId": PROJECT, "format": "parquet"})

    [error] = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["argument"]) == (400, "format")
    assert "install loomql[parquet]" in error["message"]
