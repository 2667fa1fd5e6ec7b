"""Tests of the action that looks for words in outputs: which words it finds and which results it stores."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from stores import actions as actions_module
from stores.actions import MAX_CALLS, MAX_WORDS, ActionsStore, WordSearch
from stores.calls import CallsStore
from stores.database import Database
from stores.database.project_registry import PURGING
from stores.errors import BadInputError, UnavailableError
from stores.feedback import FeedbackStore
from stores.json.paths import iter_strings
from stores.objects import ObjectsStore
from stores.objects.classes import ContainsWordsActionConfig
from tests.commands import Commands
from tests.stores.actions.specs import action, looking_for
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.builders import call_ref
from tests.stores.feedback.stored import everything


@pytest.mark.parametrize(
    ("output", "words", "found"),
    [
        ("the weft is a thread", ["warp", "weft"], True),
        ("the weft is a thread", ["warp"], False),
        ("the weft is a thread", ["Weft"], False),
        ("the weft is a thread", [], False),
        ("the weft is a thread", [""], True),
        ("restart", ["art"], True),
        ({"answers": [{"text": "deep"}]}, ["deep"], True),
        ({"answers": [{"text": "deep"}]}, ["answers"], True),
        ({"n": 312, "ok": True}, ["31", "no"], True),
        ({"n": 312, "ok": True}, ["true"], True),
        (None, ["null"], True),
        ([], ["a"], False),
        ("Größe: 5", ["Größe"], True),
        ("日本語", ["本"], True),
        ('she said "stop"', ['"stop"'], True),
        ("first\nsecond", ["first\nsecond"], True),
        ("first\nsecond", ["first second"], False),
        ({"C:\\temp": 1}, ["C:\\temp"], True),
        ('a "b" c', ["x"], False),
        ({"a": 1}, ['{"a":1}'], True),
    ],
)
async def test_word_is_found_anywhere_in_the_output(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, output: object, words: list[str], found: object
) -> None:
    await calls.write([start(), end(output=output)])

    done = await actions.execute(PROJECT, await action(objects, looking_for(*words)), [call_id(1)])

    [row] = done.results
    assert row["json"] == {"output": json.dumps(found)}


async def test_too_many_words_are_refused_before_any_output_is_read(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore
) -> None:
    await calls.write([start(), end(output="word-1000")])
    many = [f"word-{number}" for number in range(MAX_WORDS + 1)]

    with pytest.raises(BadInputError, match="has a spec with 1,001 target_words; the limit is 1,000") as refused:
        await actions.execute(PROJECT, await action(objects, looking_for(*many)), [call_id(1)])
    done = await actions.execute(PROJECT, await action(objects, looking_for(*many[1:])), [call_id(1)])

    assert refused.value.argument == "action_ref"
    assert [row["json"] for row in done.results] == [{"output": "true"}]
    assert len(await everything(feedback)) == 1


def test_words_found_in_raw_json_are_not_searched_per_string(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_into: list[object] = []

    def watched(value: object, *, with_keys: bool) -> Iterator[str]:
        looked_into.append(value)
        return iter_strings(value, with_keys=with_keys)

    monkeypatch.setattr(actions_module, "iter_strings", watched)
    row = {"json": {"output": r'["back\\slash"]'}}

    assert not WordSearch(ContainsWordsActionConfig(target_words=["weft", "Größe"])).matches(row)
    assert looked_into == []
    assert WordSearch(ContainsWordsActionConfig(target_words=["weft", r"k\s"])).matches(row)
    assert looked_into == [[r"back\slash"]]


async def test_matches_are_stored_as_feedback_of_the_action(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore
) -> None:
    await calls.write([start(1), end(1, output="weft"), start(2), end(2, output="warp"), start(3)])
    ref = await action(objects, looking_for("weft"))

    done = await actions.execute(PROJECT, ref, [call_id(3), call_id(1), call_id(2)], "ann")

    assert [row["call_id"] for row in done.results] == [call_id(3), call_id(1), call_id(2)]
    assert [row["json"]["output"] for row in done.results] == ["false", "true", "false"]
    assert done.num_failed == 0
    kept = {row["weave_ref"]: row for row in await everything(feedback)}
    assert {text: row["json"]["payload"] for text, row in kept.items()} == {
        call_ref(1): '{"output":true}',
        call_ref(2): '{"output":false}',
        call_ref(3): '{"output":false}',
    }
    row = done.results[1]["feedback"]
    assert (row["feedback_type"], row["runnable_ref"], row["wb_user_id"]) == ("wandb.runnable.checker", ref, "ann")
    assert (row["call_id"], row["id"]) == (call_id(1), kept[call_ref(1)]["id"])
    assert "call_ref" not in row


async def test_empty_call_list_does_nothing(
    actions: ActionsStore, objects: ObjectsStore, feedback: FeedbackStore
) -> None:
    done = await actions.execute(PROJECT, await action(objects, looking_for("weft")), [])

    assert (done.results, done.num_failed) == ([], 0)
    assert await everything(feedback) == []


async def test_missing_call_is_reported_and_the_others_are_checked(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore
) -> None:
    await calls.write([start(1), end(1, output="weft"), start(2), end(2, output="weft")])
    await calls.write([start(4, project_id="acme/other")])
    await calls.delete(PROJECT, [call_id(2)])

    named = [call_id(number) for number in (2, 1, 3, 4)]
    done = await actions.execute(PROJECT, await action(objects, looking_for("weft")), named)

    assert [row.get("error") and row["error"]["code"] for row in done.results] == [
        "NOT_FOUND",
        None,
        *["NOT_FOUND"] * 2,
    ]
    assert done.num_failed == 3
    assert done.results[0]["error"]["message"] == f"there is no call {call_id(2)!r} in acme/chat, or it is deleted"
    assert [row["weave_ref"] for row in await everything(feedback)] == [call_ref(1)]


async def test_call_named_twice_is_checked_once_and_returned_twice(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore
) -> None:
    await calls.write([start(1), end(1, output="weft")])

    named = [call_id(1), call_id(2), call_id(1), call_id(2)]
    done = await actions.execute(PROJECT, await action(objects, looking_for("weft")), named)

    [kept] = await everything(feedback)
    assert [row.get("feedback", {}).get("id") for row in done.results] == [kept["id"], None, kept["id"], None]
    assert done.num_failed == 2


async def test_thousand_calls_take_few_commands(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore, commands: Commands
) -> None:
    numbers = range(1, 1_001)
    await calls.write([part for number in numbers for part in (start(number), end(number, output=number))])
    ref = await action(objects, looking_for("99"))
    commands.sent.clear()

    done = await actions.execute(PROJECT, ref, [call_id(number) for number in numbers])

    found = [number for number, row in zip(numbers, done.results, strict=True) if row["json"]["output"] == "true"]
    assert found == [number for number in numbers if "99" in str(number)]
    assert len(commands.sent) < 30
    assert len(await everything(feedback)) == 1_000


async def test_large_outputs_are_read_in_batches(
    actions: ActionsStore,
    calls: CallsStore,
    objects: ObjectsStore,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actions_module, "_SEARCH_BATCH_BYTES", 250_000)
    for number in range(1, 6):
        await calls.write([start(number), end(number, output="x" * 100_000 + f"word{number}")])
    await calls.write([start(6), end(6, output="x" * 400_000 + "word6")])
    ref = await action(objects, looking_for("word2", "word6"))
    commands.sent.clear()

    done = await actions.execute(PROJECT, ref, [call_id(number) for number in range(1, 7)])

    assert [row["json"]["output"] for row in done.results] == ["false", "true", "false", "false", "false", "true"]
    assert len([body for name, body in commands.sent if name == "find" and body["find"] == "calls"]) == 1 + 4


async def test_concurrent_equal_actions_are_stored_twice(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore
) -> None:
    numbers = range(1, 301)
    await calls.write([part for number in numbers for part in (start(number), end(number, output="weft"))])
    ref = await action(objects, looking_for("weft"))
    named = [call_id(number) for number in numbers]

    both = await asyncio.gather(*(actions.execute(PROJECT, ref, named) for _ in range(2)))

    assert [done.num_failed for done in both] == [0, 0]
    ids = {row["feedback"]["id"] for done in both for row in done.results}
    assert {row["id"] for row in await everything(feedback)} == ids
    assert len(ids) == 600


@pytest.mark.parametrize(
    ("call_ids", "argument", "message"),
    [
        ([call_id(1), "ABC"], "call_ids.1", "is not a call id"),
        ([call_id(1)] * (MAX_CALLS + 1), "call_ids", "has 10,001 ids; the limit is 10,000"),
    ],
    ids=["no id", "too many"],
)
async def test_invalid_call_ids_are_refused_before_any_work(
    actions: ActionsStore,
    calls: CallsStore,
    objects: ObjectsStore,
    feedback: FeedbackStore,
    call_ids: list[str],
    argument: str,
    message: str,
) -> None:
    await calls.write([start(), end(output="weft")])
    ref = await action(objects, looking_for("weft"))

    with pytest.raises(BadInputError, match=message) as raised:
        await actions.execute(PROJECT, ref, call_ids)

    assert raised.value.argument == argument
    assert await everything(feedback) == []


async def test_invalid_project_or_user_is_refused(actions: ActionsStore, objects: ObjectsStore) -> None:
    ref = await action(objects, looking_for("weft"))

    with pytest.raises(BadInputError, match="is not a project id"):
        await actions.execute("acme", ref, [])
    with pytest.raises(BadInputError, match="has 1,025 characters") as raised:
        await actions.execute(PROJECT, ref, [], "x" * 1_025)
    assert raised.value.argument == "wb_user_id"


async def test_action_on_a_project_being_purged_is_refused(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, database: Database
) -> None:
    await calls.write([start(), end(output="weft")])
    ref = await action(objects, looking_for("weft"))
    await database.projects.update_one({"_id": PROJECT}, {"$set": {PURGING: 1}})

    with pytest.raises(UnavailableError, match="acme/chat is being purged"):
        await actions.execute(PROJECT, ref, [call_id(1)])
