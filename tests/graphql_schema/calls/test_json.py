"""JSON in the API: all accepted JSON is readable, and the server parses each part once and yields to other work."""

from typing import Any

import pytest

from graphql_schema.fields import connections
from stores.calls import CallsStore
from stores.calls.fields import SUMMARY
from stores.concurrency import time_slices
from stores.json import codec
from stores.paging import JsonField
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.json.test_codec import nested
from tests.waiting import Turns, another_task

END = """
mutation ($project: ID!, $id: ID!, $deep: JSON) {
  callEnd(end: {projectId: $project, id: $id, endedAt: "2026-01-31T13:00:00Z",
                summary: {usage: {m: {requests: 1}}, deep: %s}}) { id }
}
"""
READ = """
query ($project: ID!, $path: String) {
  calls(projectId: $project) { nodes { usage { model requests } leaf: summary(path: $path) } }
}
"""


def in_literal(depth: int) -> str:
    """Return a document that ends a call, with a variable nested `depth` levels deep in the summary's `deep`."""
    return END % ("[" * depth + "$deep" + "]" * depth)


async def test_deep_literal_with_deep_variable_and_long_integer_is_read(run: Run, calls: CallsStore) -> None:
    # given
    await calls.write([start(1), start(2)])
    leaf = 10**300
    # when
    written = await run(in_literal(100), project=PROJECT, id=call_id(1), deep=nested(900, leaf))
    read = await run(READ, project=PROJECT, path="deep" + ".0" * 100 + ".k.0" * 450)
    # then
    assert written.errors == read.errors == []
    first, second = read.data["calls"]["nodes"]
    assert first["leaf"] == leaf
    assert first["usage"] == [{"model": "m", "requests": 1}]
    row = await calls.one(PROJECT, call_id(1), {"summary"})
    assert row is not None
    assert SUMMARY.text_at(row, "deep") == "[" * 100 + codec.encode(nested(900, leaf)) + "]" * 100
    assert (second["leaf"], second["usage"]) == (None, [])


@pytest.mark.parametrize(
    ("depth", "deep", "reason"),
    [
        (100, nested(1000), "nests deeper than 1,024 levels at deep.0.0.0"),
        (0, {"n": [10**308]}, "contains an integer of more than 308 digits at deep.n.0; send it as a string"),
    ],
    ids=["deep", "long"],
)
async def test_unreadable_json_is_refused_with_its_path(
    run: Run, calls: CallsStore, depth: int, deep: object, reason: str
) -> None:
    await calls.write([start(1)])

    refused = await run(in_literal(depth), project=PROJECT, id=call_id(1), deep=deep)

    assert refused.errors[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "end.summary"}
    assert refused.errors[0]["message"].startswith(f"end.summary: {reason}")
    [node] = (await run(READ, project=PROJECT, path="deep")).data["calls"]["nodes"]
    assert node == {"usage": [], "leaf": None}


PARTS = """
query ($project: ID!) {
  calls(projectId: $project) {
    nodes {
      a: inputs(path: "a") b: inputs(path: "b.0") usage { model } u: summary(path: "usage") s: summary(path: "s")
    }
    edges { node { a: inputs(path: "a") } }
  }
}
"""


async def write_two(calls: CallsStore) -> None:
    for number in (1, 2):
        await calls.write([start(number, inputs={"a": number, "b": [5]}), end(number, summary={"s": "x", "usage": {}})])


async def test_many_paths_into_one_json_field_take_one_parse(
    run: Run, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    await write_two(calls)
    parsed: list[bytes] = []
    loads = codec.loads

    def seen_loads(text: bytes) -> object:
        parsed.append(text)
        return loads(text)

    monkeypatch.setattr(codec, "loads", seen_loads)
    # when
    answer = await run(PARTS.replace("edges", "# edges"), project=PROJECT)
    # then
    assert answer.data["calls"]["nodes"] == [{"a": number, "b": 5, "usage": [], "u": {}, "s": "x"} for number in (1, 2)]
    summary = b'{"s":"x","usage":{}}'
    assert parsed == [b'{"a":1,"b":[5]}', summary, b'{"a":2,"b":[5]}', summary]


async def test_long_list_yields_to_other_requests(run: Run, calls: CallsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    await write_two(calls)
    monkeypatch.setattr(time_slices, "SLICE_SECONDS", 0)
    monkeypatch.setattr(connections, "FEW_CHARACTERS", 10)
    of_others = Turns()
    read_in: dict[str, set[int]] = {}
    at = JsonField.text_at

    def seen_at(field: JsonField, row: dict[str, Any], path: str | None) -> str | None:
        read_in.setdefault(str(row["json"]["inputs"]), set()).add(of_others.count)
        return at(field, row, path)

    monkeypatch.setattr(JsonField, "text_at", seen_at)
    # when
    async with another_task(of_others):
        answer = await run(PARTS, project=PROJECT)
    # then
    assert [edge["node"]["a"] for edge in answer.data["calls"]["edges"]] == [1, 2]
    first, second = read_in.values()
    assert max(first) < min(second)
