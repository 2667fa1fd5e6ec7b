"""Tests that event filters pass the same calls as MongoDB, and which filters are refused."""

import random
from typing import Any

import pytest

from stores.calls import CallsFilter, CallsStore
from stores.calls.events import EventFilter
from stores.calls.fields import CALL_FIELDS, FILTER_FIELDS, calls_match
from stores.calls.list_query import compile_calls_query
from stores.database import Database
from stores.errors import BadInputError
from stores.query import Query
from stores.query.evaluator import DocumentValues
from stores.query.match_compiler import compile_match
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start, trace_id
from tests.stores.calls.cases import FILTER_CASES
from tests.stores.query.generator import Generator

SEED = 7
ROUNDS = 150


def some(dice: random.Random, members: list[str]) -> list[str] | None:
    return dice.choice((None, None, None, [], dice.sample(members, dice.randint(1, len(members)))))


async def test_event_filter_passes_the_same_calls_as_mongodb(calls: CallsStore, database: Database) -> None:
    dice = random.Random(SEED)
    refs = [f"weave:///{PROJECT}/object/o{number}:{'v' * 43}" for number in range(3)]
    ops = [f"weave:///{PROJECT}/op/f:{version * 43}" for version in "ab"] + ["f", "g:x", "g;"]
    models = ["gpt-4o", "o3"]
    for number in range(40):
        given: dict[str, Any] = {
            "op_name": dice.choice(ops),
            "parent_id": dice.choice((None, call_id(1), call_id(2))),
            "thread_id": dice.choice((None, "t", "u")),
            "turn_id": dice.choice((None, call_id(3))),
            "wb_user_id": dice.choice((None, "ann")),
            "wb_run_id": dice.choice((None, f"{PROJECT}/r")),
            "trace_id": trace_id(dice.randint(1, 3)),
            "inputs": {"refs": dice.sample(refs, dice.randint(0, 3))},
        }
        ended: dict[str, Any] = {
            "output": dice.choice((None, *refs)),
            "exception": dice.choice((None, None, "broken")),
            "summary": {"usage": {model: {"total_tokens": 1} for model in dice.sample(models, dice.randint(0, 2))}},
        }
        await calls.write([start(number, **given), *([end(number, **ended)] if dice.random() < 0.8 else [])])
    documents = await database.calls.find({}).to_list(None)
    matched = 0

    for _ in range(ROUNDS):
        values: dict[str, Any] = {
            "op_names": some(dice, [*ops, f"weave:///{PROJECT}/op/f:*", "g:*"]),
            "input_refs": some(dice, refs),
            "output_refs": some(dice, refs),
            "parent_ids": some(dice, [call_id(1), call_id(9)]),
            "trace_ids": some(dice, [trace_id(1), trace_id(2)]),
            "call_ids": some(dice, [call_id(number) for number in range(50)]),
            "thread_ids": some(dice, ["t", "u", "v"]),
            "turn_ids": some(dice, [call_id(3)]),
            "trace_roots_only": dice.choice((None, None, False, True)),
            "wb_user_ids": some(dice, ["ann", "bob"]),
            "wb_run_ids": some(dice, [f"{PROJECT}/r"]),
            "statuses": some(dice, ["success", "error", "running"]),
            "models": some(dice, models),
            "started_after": dice.choice((None, None, NOON + 9 * SECOND)),
            "started_before": dice.choice((None, None, NOON + 30 * SECOND)),
            "errors_only": dice.choice((None, None, False, True)),
        }
        others = {
            name: dice.choice((*[None] * 50, FILTER_CASES[name][0])) for name in FILTER_FIELDS if name not in values
        }
        calls_filter = CallsFilter(**values, **others)
        question = EventFilter(PROJECT, calls_filter)
        found = {row["id"] async for row in database.calls.find(calls_match(PROJECT, calls_filter), {"id": 1})}

        assert {each["id"] for each in documents if question.matches(each, DocumentValues(each))} == found, calls_filter
        matched += len(found)

    assert matched > ROUNDS


async def test_filter_and_query_are_combined_with_and(calls: CallsStore, database: Database) -> None:
    generator = Generator(SEED)
    await calls.write(generator.calls(30))
    rows = await database.calls.find({}).to_list(None)
    some_ids = CallsFilter(call_ids=[row["id"] for row in rows[::2]])
    query = Query({"$expr": {"$not": [{"$eq": [{"$getField": "exception"}, {"$literal": None}]}]}})
    question = EventFilter(PROJECT, some_ids, query)
    match = calls_match(PROJECT, some_ids, [compile_match(compile_calls_query(query, CALL_FIELDS, PROJECT))])

    found = {row["id"] async for row in database.calls.find(match, {"id": 1})}

    assert {row["id"] for row in rows if question.matches(row, DocumentValues(row))} == found
    assert 0 < len(found) < 15


async def test_op_names_and_statuses_mean_the_same_in_events_and_lists(calls: CallsStore, database: Database) -> None:
    ops = ["f", f"weave:///{PROJECT}/op/f:v1", f"weave:///{PROJECT}/op/f:v2", f"weave:///{PROJECT}/op/g:v1", "f:x"]
    ops += ["weave", f"weave:///{PROJECT}/op/weave:v1"]
    await calls.write([start(number, op_name=op) for number, op in enumerate(ops)])
    await calls.write([end(1, exception="broken")])
    rows = await database.calls.find({}).to_list(None)
    op_name: dict[str, Any] = {"$getField": "op_name"}

    def matching(tree: dict[str, Any]) -> list[int]:
        question = EventFilter(PROJECT, None, Query({"$expr": tree}))
        return sorted(int(row["id"][-12:], 16) for row in rows if question.matches(row, DocumentValues(row)))

    assert matching({"$eq": [op_name, {"$literal": "f"}]}) == [0, 1, 2]
    assert matching({"$in": [op_name, [{"$literal": "f:*"}]]}) == [0, 1, 2, 4]
    assert matching({"$ne": [{"$literal": "f"}, op_name]}) == [3, 4, 5, 6]
    assert matching({"$eq": [op_name, {"$literal": "weave:*"}]}) == [5, 6]
    assert matching({"$eq": [op_name, {"$literal": ops[2]}]}) == [2]
    assert matching({"$eq": [{"$getField": "status"}, {"$literal": "ERROR"}]}) == [1]
    with pytest.raises(BadInputError, match="it is one of success, error, running, descendant_error"):
        matching({"$eq": [{"$getField": "status"}, {"$literal": "failed"}]})


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("feedback.x.payload", r"write feedback\.\[type\]"),
        ("feedback.[x].creater", "did you mean creator"),
        ("summary.weave.costs", "filter and sort by total_cost"),
        ("opname", "did you mean op_name"),
    ],
)
def test_unknown_field_is_refused_with_its_name_and_path(field: str, reason: str) -> None:
    tree = {"$expr": {"$and": [{"$eq": [{"$literal": 1}, {"$getField": field}]}]}}

    with pytest.raises(BadInputError, match=reason) as refused:
        EventFilter(PROJECT, None, Query(tree))

    assert refused.value.argument == "query.json.$expr.$and.0.$eq.1.$getField"


def test_too_many_feedback_conditions_are_refused_before_any_event() -> None:
    one = {"$eq": [{"$getField": "feedback.[x].payload.y"}, {"$literal": 1}]}

    with pytest.raises(BadInputError, match="11 conditions on feedback; the limit is 10") as refused:
        EventFilter(PROJECT, None, Query({"$expr": {"$or": [one] * 11}}))

    assert refused.value.argument == "query"


def test_event_filters_are_equal_only_if_their_conditions_are() -> None:
    def key(literal: object, **filters: Any) -> bytes:
        tree = {"$expr": {"$eq": [{"$getField": "inputs.x"}, {"$literal": literal}]}}
        return EventFilter(PROJECT, CallsFilter(**filters), Query(tree)).key

    assert key(1) == key(1)
    assert len({key(1), key(literal=True), key("1"), key(None), key(1, op_names=["f"]), key(1, call_ids=["f"])}) == 6
