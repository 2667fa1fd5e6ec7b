"""Tests of the replacement of feedback: it is atomic, and an id stays with its owner."""

import asyncio
from typing import Any

import pytest

from stores.errors import BadInputError, ConflictError, NotFoundError, StoreError
from stores.feedback import FeedbackStore, NewFeedback
from tests.stores.feedback.builders import call_ref, note, reaction
from tests.stores.feedback.stored import everything, notes


async def test_replacement_deletes_the_old_feedback(store: FeedbackStore) -> None:
    await store.create([note("old", id="f"), note("other", id="g")])

    made = await store.replace("f", note("new", weave_ref=call_ref(2), wb_user_id="bob"))
    named = await store.replace(made["id"], note("newer", id="h"))
    same = await store.replace("h", note("newest", id="h"))

    assert (named["id"], same["id"]) == ("h", "h")
    assert await notes(store) == {"g": '{"note":"other"}', "h": '{"note":"newest"}'}


@pytest.mark.parametrize("new", [note("new"), note("new", id="g"), note("new", id="nothing")])
async def test_missing_feedback_is_not_replaced(store: FeedbackStore, new: NewFeedback) -> None:
    await store.create([note("old", id="f")])

    with pytest.raises(NotFoundError, match="there is no feedback 'nothing' in acme/chat") as caught:
        await store.replace("nothing", new)

    assert caught.value.argument == "feedback_id"
    assert await notes(store) == {"f": '{"note":"old"}'}


@pytest.mark.parametrize("ids", [[None] * 10, [f"g{number}" for number in range(10)]], ids=["made", "given"])
async def test_one_of_ten_concurrent_replacements_succeeds(store: FeedbackStore, ids: list[str | None]) -> None:
    await store.create([note("old", id="f")])

    found = await asyncio.gather(
        *(store.replace("f", note(f"new {number}", id=new)) for number, new in enumerate(ids)), return_exceptions=True
    )

    [row] = [each for each in found if not isinstance(each, BaseException)]
    assert [type(each) for each in found if isinstance(each, BaseException)] == [NotFoundError] * 9
    assert await notes(store) == {row["id"]: f'{{"note":"new {found.index(row)}"}}'}


async def test_replacement_with_an_id_is_idempotent(store: FeedbackStore) -> None:
    await store.create([note("old", id="f")])
    new = note("new", id="g")

    rows = await asyncio.gather(*(store.replace("f", new) for _ in range(10)))

    assert {row["id"] for row in rows} == {"g"}
    assert (await store.replace("f", new))["id"] == "g"
    assert await notes(store) == {"g": '{"note":"new"}'}


async def test_replacement_with_its_own_id_overwrites(store: FeedbackStore) -> None:
    await store.create([note("old", id="f")])

    rows = await asyncio.gather(*(store.replace("f", note(f"new {number}", id="f")) for number in range(10)))
    await store.replace("f", note("last", id="f"))

    assert {row["id"] for row in rows} == {"f"}
    assert await notes(store) == {"f": '{"note":"last"}'}
    await store.replace("f", note("elsewhere", id="g"))
    with pytest.raises(NotFoundError, match="there is no feedback 'f'"):
        await store.replace("f", note("late", id="f"))
    assert await notes(store) == {"g": '{"note":"elsewhere"}'}


async def test_failed_replacement_keeps_feedback_with_the_new_id(store: FeedbackStore) -> None:
    await store.create([note("old", id="e"), note("other", id="g")])
    await store.replace("e", note("next", id="h"))

    for taken in "g", "h":
        with pytest.raises(NotFoundError, match="there is no feedback 'f'"):
            await store.replace("f", note("new", id=taken))

    assert await notes(store) == {"g": '{"note":"other"}', "h": '{"note":"next"}'}


@pytest.mark.parametrize(
    ("new", "kind", "argument"),
    [
        (note("x" * 1025), BadInputError, "payload.$.note"),
        (reaction("👍👍"), BadInputError, "payload.$.emoji"),
        (note(id="taken", weave_ref="elsewhere"), ConflictError, "id"),
    ],
)
async def test_refused_replacement_changes_nothing(
    store: FeedbackStore, new: NewFeedback, kind: type[StoreError], argument: str
) -> None:
    await store.create([note("old", id="f"), note("other", id="taken")])

    with pytest.raises(kind) as caught:
        await store.replace("f", new)

    assert caught.value.argument == argument
    assert await notes(store) == {"f": '{"note":"old"}', "taken": '{"note":"other"}'}


@pytest.mark.not_on("cluster", reason="old and new are on different shards, which a list reads one after the other")
async def test_reader_sees_exactly_one_of_old_and_new(store: FeedbackStore) -> None:
    await store.create_one(note("0", id="f0"))
    seen: list[int] = []

    async def read() -> None:
        while not done:
            seen.append(len(await everything(store)))

    done = False
    reader = asyncio.create_task(read())
    for number in range(1, 30):
        await store.replace(f"f{number - 1}", note(str(number), id=f"f{number}"))
    done = True
    await reader

    assert set(seen) == {1}
    assert await notes(store) == {"f29": '{"note":"29"}'}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wb_user_id": "eve"}, "'theirs' is the id of feedback of another user; use another id or none"),
        ({"weave_ref": call_ref(2)}, "'theirs' is the id of feedback about another weaveRef; use another id"),
    ],
)
async def test_id_of_replaced_feedback_stays_with_its_user_and_ref(
    store: FeedbackStore, changes: dict[str, Any], says: str
) -> None:
    await store.create_one(note("old", id="theirs"))

    with pytest.raises(ConflictError) as caught:
        await store.replace("theirs", note("new", id="theirs", **changes))
    kept = await notes(store)
    other = await store.replace("theirs", note("new", id="mine", **changes))

    assert (caught.value.argument, kept) == ("id", {"theirs": '{"note":"old"}'})
    assert says in caught.value.message
    assert (other["id"], await notes(store)) == ("mine", {"mine": '{"note":"new"}'})


@pytest.mark.parametrize(
    ("feedback_id", "says"),
    [
        ("", "is empty; set the id of the feedback to replace"),
        ("x" * 129, "has 129 characters; the limit is 128"),
        ("x" * 17_000_000, "has 17,000,000 characters; the limit is 128"),
    ],
    ids=["empty", "long", "huge"],
)
async def test_invalid_id_replaces_nothing(store: FeedbackStore, feedback_id: str, says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        await store.replace(feedback_id, note())

    assert caught.value.argument == "feedback_id"
    assert says in caught.value.message
    assert await everything(store) == []
