"""Tests that the API accepts the conditions that the filter bar makes of chips."""

import json
from pathlib import Path
from typing import Final

import pytest

from stores.calls import CallsStore
from tests.explorer.generate import DOCUMENTS
from tests.graphql_schema.conftest import Run, run, schema
from tests.node import Node
from tests.stores.calls.builders import PROJECT, call_id, start

__all__ = ["run", "schema"]

CALLS: Final = """query ($filter: CallsFilter, $query: QueryInput) {
  calls(projectId: "acme/chat", filter: $filter, query: $query, sortBy: [{field: "started_at", direction: ASC}]) {
    nodes { id tags }
  }
}"""

PROGRAM: Final = Path(__file__).parent / "conditions.mjs"

TEXTS: Final = {
    "status": "error",
    "kind": "llm",
    "finish_reasons": "stop",
    "inputs.a": "x",
    "output.a\\.b": "4",
    "attributes.x[0]": "true",
    "summary.usage": '"4"',
} | dict.fromkeys(
    ("name", "model", "provider", "user_id", "tags", "environment", "release", "error_type", "thread_id", "exception"),
    "x",
)
NUMBERS: Final = dict.fromkeys(("latency_ms", "total_tokens", "total_cost", "time_to_first_token_ms"), "4")
TOTALS: Final = dict.fromkeys(("num_calls", "num_errors"), "4")

OF_ALL: Final = ("is", "is-not", "exists", "exists-not")
OF_NUMBERS: Final = (*OF_ALL, "gt", "gte", "lt", "lte")
OF_TEXTS: Final = (*OF_ALL, "contains", "contains-not", "starts")


@pytest.mark.parametrize(
    ("mode", "document"), [("traces", "TracesCount"), ("roots", "CallsCount"), ("calls", "CallsCount")]
)
async def test_conditions_are_accepted(node: Node, run: Run, mode: str, document: str) -> None:
    numbers = NUMBERS | (TOTALS if mode == "traces" else {})
    chips = [
        {"field": field, "operator": operator, "value": value}
        for fields, operators in ((TEXTS, OF_TEXTS), (numbers, OF_NUMBERS))
        for field, value in fields.items()
        for operator in operators
    ]
    text = (DOCUMENTS / "traces.graphql").read_text()
    query = next(part for part in text.split("\n\n") if part.startswith(f"query {document}("))

    conditions = json.loads(await node.run(str(PROGRAM), mode, json.dumps(chips)))

    refused = {}
    for chip, condition in zip(chips, conditions, strict=True):
        given = condition if mode == "traces" else {each: condition[each] for each in ("filter", "query")}
        if errors := (await run(query, projectId=PROJECT, **given)).errors:
            refused[" ".join(chip.values())] = errors[0]["message"]
    never_null = {f"{field} exists-not {TEXTS[field]}" for field in ("status", "name")}
    assert refused.keys() - never_null == {"tags starts x", "finish_reasons starts stop"}, json.dumps(refused, indent=1)


@pytest.mark.parametrize("tag", ["red", 'a"b\\c', "ü 👎"])
async def test_tag_is_excluded(node: Node, run: Run, calls: CallsStore, tag: str) -> None:
    tags = [[tag], ["other", tag], [f"{tag} and more"], []]
    await calls.write(
        [start(number, attributes={"tags": given} if given else {}) for number, given in enumerate(tags, 1)]
    )
    chips = [{"field": "tags", "operator": operator, "value": tag} for operator in ("is", "is-not")]

    found = []
    for condition in json.loads(await node.run(str(PROGRAM), "calls", json.dumps(chips))):
        answer = await run(CALLS, filter=condition["filter"], query=condition["query"])
        found.append([node["id"] for node in answer.data["calls"]["nodes"]])

    assert found == [[call_id(1), call_id(2)], [call_id(3), call_id(4)]]
