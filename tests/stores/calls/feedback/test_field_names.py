"""Tests of the names of feedback fields: which exist, how unusual types are spelled, and which are refused."""

import re
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.feedback.conditions import FeedbackFieldTable
from stores.calls.fields import CALL_FIELDS
from stores.errors import BadInputError
from stores.feedback import FeedbackStore
from stores.paging import PageRequest
from stores.query import Query
from stores.query.sort import SortBy
from tests.stores.calls.builders import PROJECT, call_id, start
from tests.stores.feedback.builders import call_ref, reaction
from tests.stores.feedback.builders import feedback as said

Tree = Any

FORM = "write feedback.[type].payload.path or feedback.[type].column, with the type in brackets"
COLUMNS = "the fields are id, project_id, weave_ref, creator, created_at, feedback_type, payload"
REFUSED = [
    ("feedback.x", f"there is no field 'feedback.x'; {FORM}"),
    ("feedback.", f"there is no field 'feedback.'; {FORM}"),
    ("feedback.wandb.note.1.payload.note", FORM),
    ("feedback.[wandb.note.1", FORM),
    ("feedback.[wandb.note.1.payload.note", FORM),
    ("feedback.[note]payload.note", FORM),
    ("feedback.[note]]", FORM),
    ("feedback.[no]te].payload", FORM),
    (r"feedback.[note\]", FORM),
    ("feedback.[note].", "in feedback there is no field ''; the fields are id"),
    ("feedback.[note].creatr", "in feedback there is no field 'creatr'; did you mean creator"),
    ("feedback.[note].zzz", f"in feedback there is no field 'zzz'; {COLUMNS}"),
    ("feedback.[note].creator.name", "in feedback there is no field 'creator.name'"),
    ("feedback.[note].json.payload", "in feedback there is no field 'json.payload'"),
    ("feedback.[note].payload..a", "has an empty key"),
    ("feedback.[note].$where", "in feedback there is no field '$where'"),
    ("feedback.[note].payload." + "a" * 1_000, "the path has 1,008 characters; the limit is 1,000"),
    ("feedback.[note].payload" + ".a" * 51, "the path has 51 keys inside the field; the limit is 50"),
    ("feedback.[" + "x" * 4_000 + "]", "the field name has 4,011 characters; the limit is 3,048"),
    ("Feedback.[note].payload", "there is no field 'Feedback.[note].payload'"),
    ("feedback", "there is no field 'feedback'"),
]
HOSTILE = (
    *(
        "",
        "a.b.c",
        "$where",
        "$$ROOT",
        "$feedback_type",
        "[",
        "[]",
        "a]b",
        "a].payload",
        "\\",
        "\\]",
        "*",
        "a\0b",
        "\0",
    ),
    *("%2E", ".*", "^$", '"', "{}", "é🧵", " ", "x" * 1_024, "]" * 1_024),
)
KEYS = ("a.b", "$a", "$", "a\0b", "\\", "%24", "[0]", "feedback", "__proto__")


def spelled(feedback_type: str) -> str:
    return re.sub(r"([\]*\\])", r"\\\1", feedback_type)


def equal(name: str, value: object) -> Query:
    return Query({"$expr": {"$eq": [{"$getField": name}, {"$literal": value}]}})


@pytest.mark.parametrize(("name", "message"), REFUSED, ids=[name[:40] for name, _ in REFUSED])
async def test_unknown_feedback_field_is_refused_with_its_path(calls: CallsStore, name: str, message: str) -> None:
    typed = Query({"eq": [{"getField": name}, {"literal": 1}]}, typed=True)
    for query, at in ((equal(name, 1), "query.json.$expr.$eq.0.$getField"), (typed, "query.expr.eq.0.getField")):
        with pytest.raises(BadInputError, match=re.escape(message)) as raised:
            await calls.count(PROJECT, query=query)
        assert raised.value.argument == at
    with pytest.raises(BadInputError, match=re.escape(message)) as raised:
        await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=[SortBy("id"), SortBy(name)])
    assert raised.value.argument == "sort_by.1.field"
    assert len(raised.value.message) < 600


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {"$eq": [{"$getField": "feedback.[a].payload.x"}, {"$getField": "feedback.[b].creator"}]},
            "compares feedback.[a].payload.x with feedback.[b].creator; a comparison may use only one feedback type",
        ),
        (
            {"$in": [{"$getField": "feedback.[*].creator"}, [{"$getField": "feedback.[b].creator"}]]},
            "compares feedback.[*].creator with feedback.[b].creator; a comparison may use only one feedback type",
        ),
        (
            {"$or": [{"$lt": [{"$getField": f"feedback.[{n}].payload.x"}, {"$literal": n}]} for n in range(11)]},
            "has 11 conditions on feedback; the limit is 10",
        ),
    ],
)
async def test_feedback_query_over_its_limits_is_refused(calls: CallsStore, tree: Tree, message: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)) as raised:
        await calls.count(PROJECT, query=Query({"$expr": tree}))
    assert raised.value.argument == "query"


async def test_ten_conditions_without_matches_are_within_the_limit(calls: CallsStore) -> None:
    await calls.write([start()])
    terms = [{"$eq": [{"$getField": f"feedback.[a].payload.{n}"}, {"$literal": None}]} for n in range(10)]

    assert await calls.count(PROJECT, query=Query({"$expr": {"$and": terms}})) == 1


async def test_time_of_feedback_is_compared_with_times(calls: CallsStore) -> None:
    with pytest.raises(BadInputError, match="createdAt is a time") as raised:
        await calls.count(PROJECT, query=equal("feedback.[note].createdAt", "yesterday"))
    assert raised.value.argument == "query.json.$expr.$eq.1"


async def test_field_is_sorted_by_once(calls: CallsStore) -> None:
    twice = [SortBy("feedback.[a].created_at"), SortBy("feedback.[a].createdAt")]
    with pytest.raises(BadInputError, match="is named twice"):
        await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=twice)
    others = [SortBy("feedback.[a].created_at"), SortBy("feedback.[*].created_at"), SortBy("feedback.[b].created_at")]
    assert (await calls.page(PROJECT, PageRequest(), {"id"}, sort_by=others)).rows == []


@pytest.mark.parametrize("bound", [50_000, 0], ids=["asked before", "looked up"])
async def test_special_types_and_keys_match_exactly(
    calls: CallsStore, feedback: FeedbackStore, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    monkeypatch.setattr("stores.calls.feedback.conditions.MAX_FEEDBACK", bound)
    await calls.write([start(number) for number in range(len(HOSTILE))])
    payload = {key: {"inner": 1} for key in KEYS}
    await feedback.create(
        [
            said(payload, feedback_type=feedback_type, weave_ref=call_ref(number))
            for number, feedback_type in enumerate(HOSTILE)
        ]
    )

    for number, feedback_type in enumerate(HOSTILE):
        prefix = f"feedback.[{spelled(feedback_type)}]"
        key = KEYS[number % len(KEYS)].replace("\\", "\\\\").replace(".", "\\.")
        query = equal(f"{prefix}.payload.{key}.inner", 1)
        of_type = equal(f"{prefix}.feedback_type", feedback_type)

        page = await calls.page(PROJECT, PageRequest(), {"id"}, query=query)
        first = await calls.page(PROJECT, PageRequest(1), {"id"}, sort_by=[SortBy(f"{prefix}.payload.{key}.inner")])

        assert [row["id"] for row in page.rows] == [row["id"] for row in first.rows] == [call_id(number)], feedback_type
        # The other calls have no feedback of the type, and a missing field equals an empty text.
        assert await calls.count(PROJECT, query=of_type) == (1 if feedback_type else len(HOSTILE))


async def test_only_calls_have_feedback_fields(calls: CallsStore, feedback: FeedbackStore) -> None:
    await calls.write([start()])
    await feedback.create([reaction()])

    assert FeedbackFieldTable(CALL_FIELDS)["inputs.a"] == CALL_FIELDS["inputs.a"]
    with pytest.raises(BadInputError, match="there is no field 'feedback"):
        CALL_FIELDS["feedback.[wandb.reaction.1].payload.emoji"]
    with pytest.raises(BadInputError, match="there is no field 'feedback"):
        await feedback.count(PROJECT, query=equal("feedback.[wandb.reaction.1].payload.emoji", "👍"))
