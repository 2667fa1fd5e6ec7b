"""Benchmarks of a page of linked calls, compared with a slim page of the same calls and with hand-written reads.

The hand-written reads rely on the knowledge that all usage is of one model with one price.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from itertools import repeat
from typing import Any, Final

import orjson

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.costs.store import CostsStore, NewCost
from stores.database import Collection, Database, Document
from stores.feedback import FeedbackStore, NewFeedback
from stores.objects import ObjectsStore, ObjectVersion
from tests.benchmarks.bench import Bench, row_of
from tests.benchmarks.reads import OLDEST, SLIM
from tests.benchmarks.report import Must, Section
from tests.benchmarks.sides import Connection, Floor, Server, Side, measure, request
from tests.benchmarks.stock import Parts, batches

PROJECT: Final = "acme/graph"
CALLS: Final = 2_000
NAME: Final = "page of 100 with parent, thread, feedback, costs and op"
MUST: Final = Must("ms / that of the slim page", 3)

_SIZE: Final = 100
_OPS: Final = 10
_MODEL: Final = "loom-large"
_PROMPT: Final = 1e-6
_COMPLETION: Final = 3e-6
_PAGE: Final = """query ($project: ID!, $after: String) {{ calls(projectId: $project, first: 100, after: $after) {{
  nodes {{ id opName startedAt endedAt status latencyMs {} }} pageInfo {{ hasNextPage endCursor }} }} }}"""
_LINKS: Final = """
  parent { id opName } thread { threadId turnCount } feedback { nodes { feedbackType payload } }
  costs { model promptTokensTotalCost completionTokensTotalCost } op { objectId digest versionIndex }"""


def slim_page() -> bytes:
    """Return the request for a page of calls without linked data."""
    return request(_PAGE.format(""), project=PROJECT)


def linked_page() -> bytes:
    """Return the request for a page of the same calls with linked data."""
    return request(_PAGE.format(_LINKS), project=PROJECT)


def load_graph(uri: str, name: str) -> None:
    """Load traces of ten calls; each root is a turn, every other call has feedback, every third has usage."""
    asyncio.run(_load(uri, name))


async def _load(uri: str, name: str) -> None:
    database = Database.open(uri, name)
    await database.ensure_indexes()
    ops = [
        f"weave:///{PROJECT}/op/step:{await ObjectsStore(database).create(ObjectVersion(PROJECT, 'step', _op(number)))}"
        for number in range(_OPS)
    ]
    await CostsStore(database).create(PROJECT, [NewCost(_MODEL, _PROMPT, _COMPLETION, effective_date=0)])
    for batch in batches(CALLS):
        await CallsStore(database).write(list(_linked(batch, ops)))
    notes = [
        NewFeedback(PROJECT, f"weave:///{PROJECT}/call/{part.id}", "wandb.note.1", {"note": "well done"})
        for batch in batches(CALLS)
        for part in batch[::4]
    ]
    await FeedbackStore(database).create(notes)
    database.close()


def _op(number: int) -> Document:
    return {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}, "number": number}


def _linked(batch: Parts, ops: list[str]) -> Iterator[CallStart | CallEnd]:
    for part in batch:
        number = int(str(part.id)[-12:], 16)
        if isinstance(part, CallStart):
            yield replace(part, project_id=PROJECT, op_name=ops[number % _OPS], turn_id=part.trace_id)
        else:
            yield replace(part, project_id=PROJECT, summary=part.summary if number % 3 == 0 else {})


def measure_graph(bench: Bench) -> Section:
    """Measure the linked page; it may take at most three times as long as the slim one in the same run."""
    if not bench.wants(NAME):
        return {}

    async def work(_: object) -> object:
        return await linked_by_hand(bench.nested)

    with ExitStack() as stack:
        sides: list[Side] = [Floor(bench.runner, work)]
        for loomql, body in (
            (bench.compiled, slim_page()),
            (bench.compiled, linked_page()),
            (bench.stock, linked_page()),
        ):
            connection = stack.enter_context(Connection(loomql.url))
            sides.append(Server([connection], repeat([body]), loomql.clock))
        check(bench, linked_page())
        floor, slim, linked, stock = measure(sides, bench.rounds)
    row = row_of(floor, linked, stock)
    return {NAME: row.held_to(MUST, linked.milliseconds / slim.milliseconds)}


def check(bench: Bench, body: bytes) -> None:
    """Assert that the server and the hand-written reads return equal values."""
    with Connection(bench.compiled.url) as connection:
        found = connection.ask(body)["calls"]["nodes"]

    async def find() -> bytes:
        return await linked_by_hand(bench.nested)

    if found != orjson.loads(bench.runner.run(find())) or len(found) != _SIZE:
        raise AssertionError(f"{NAME}: the server and the floor differ")


async def linked_by_hand(nested: Collection) -> bytes:
    """Read the linked page and return it as JSON in the API's form."""
    database, own = nested.database, {"project_id": PROJECT}
    shown = dict.fromkeys([*SLIM, "parent_id", "thread_id", "summary.usage"], 1) | {"_id": 0}
    visible = own | {"visible": True}
    calls = await nested.find(visible, shown, sort=OLDEST, batch_size=_SIZE + 1).to_list(_SIZE)
    parents = {"_id": {"$in": [f"{PROJECT}:{call['parent_id']}" for call in calls if "parent_id" in call]}}
    ops = {"_id": {"$in": [_op_id(call["op_name"]) for call in calls]}}
    turns: list[Document] = [
        {"$match": visible | {"turn_of": {"$in": list({call["thread_id"] for call in calls})}}},
        {"$group": {"_id": "$turn_of", "turnCount": {"$sum": 1}}},
    ]
    found = await asyncio.gather(
        nested.find(parents, {"_id": 0, "id": 1, "op_name": 1}).to_list(None),
        nested.aggregate(turns).to_list(None),
        database.feedback.find(own | {"call_id": {"$in": [call["id"] for call in calls]}}).to_list(None),
        database.costs.find(own | {"llm_id": _MODEL}).to_list(None),
        database.objects.find(ops, {"object_id": 1, "digest": 1, "version_index": 1}).to_list(None),
    )
    return orjson.dumps(_joined(calls, *found))


def _op_id(op_name: str) -> str:
    return op_name.removeprefix("weave:///").replace(f"{PROJECT}/op/step:", f"{PROJECT}:op:step:")


def _joined(
    calls: list[Document],
    parents: list[Document],
    threads: list[Document],
    feedback: list[Document],
    costs: list[Document],
    ops: list[Document],
) -> list[Document]:
    by_id = {parent["id"]: {"id": parent["id"], "opName": parent["op_name"]} for parent in parents}
    by_thread = {each["_id"]: {"threadId": each["_id"], "turnCount": each["turnCount"]} for each in threads}
    by_op = {each.pop("_id"): _in_camel_case(each) for each in ops}
    notes: dict[str, list[Document]] = {}
    for note in feedback:
        shown = {"feedbackType": note["feedback_type"], "payload": note["payload"]}
        notes.setdefault(note["call_id"], []).append(shown)
    return [
        {
            "id": call["id"],
            "opName": call["op_name"],
            "startedAt": times.to_text(call["started_at"]),
            "endedAt": times.to_text(call["ended_at"]),
            "status": call["status"].upper(),
            "latencyMs": call["latency_ms"],
            "parent": by_id.get(call.get("parent_id", "")),
            "thread": by_thread[call["thread_id"]],
            "feedback": {"nodes": notes.get(call["id"], [])},
            "costs": [_cost(model, used, costs[0]) for model, used in call["summary"].get("usage", {}).items()],
            "op": by_op[_op_id(call["op_name"])],
        }
        for call in calls
    ]


def _in_camel_case(version: Document) -> Document:
    return {"objectId": version["object_id"], "digest": version["digest"], "versionIndex": version["version_index"]}


def _cost(model: str, used: dict[str, Any], price: Document) -> Document:
    return {
        "model": model,
        "promptTokensTotalCost": float(used["prompt_tokens"] * Decimal(repr(price["prompt_token_cost"]))),
        "completionTokensTotalCost": float(used["completion_tokens"] * Decimal(repr(price["completion_token_cost"]))),
    }
