"""Tests of the demo's feedback, costs and slow threads, read from a real MongoDB."""

from collections import Counter
from typing import Any

import pytest

from app import demo
from app.demo.library import JUDGE
from graphql_schema.context import Stores
from stores import refs, times
from stores.costs import NewCost, bill
from stores.costs.project_prices import prices_of
from stores.feedback import NewFeedback
from stores.ids import LOCAL_USER
from stores.paging import PageRequest, Row
from stores.query.sort import SortBy
from tests.app.demo_data import NOW, PROJECT, Loaded, ignore, payload, rows_of

SAID = (
    *("id", "weave_ref", "feedback_type", "creator", "wb_user_id", "payload"),
    *("annotation_ref", "runnable_ref", "call_ref", "trigger_ref"),
)
PRICE = ("llm_id", "effective_date", "prompt_token_cost", "completion_token_cost", "created_by")


async def all_feedback(stores: Stores) -> list[Row]:
    return (await stores.feedback.page(PROJECT, PageRequest(size=10_000), SAID, sort_by=[SortBy("id")])).rows


async def all_prices(stores: Stores) -> list[Row]:
    return (await stores.costs.page(PROJECT, PageRequest(size=100), PRICE, sort_by=[SortBy("llm_id")])).rows


@pytest.fixture(scope="module")
async def feedback_rows(loaded: Loaded) -> list[Row]:
    return await all_feedback(loaded.stores)


def of_kind(feedback_rows: list[Row], kind: str) -> list[Row]:
    found = [row for row in feedback_rows if row["feedback_type"].startswith(kind)]
    assert found
    return found


def about(row: Row) -> str:
    return refs.parse(row["weave_ref"]).name


def test_all_feedback_is_on_calls_of_the_demo_that_have_ended(feedback_rows: list[Row], rows: dict[str, Row]) -> None:
    assert 400 < len(feedback_rows) < 900
    assert all(rows[about(row)]["status"] != "running" for row in feedback_rows)


def test_customers_react_to_turns_with_thumbs_of_all_skin_tones(feedback_rows: list[Row], rows: dict[str, Row]) -> None:
    reactions = of_kind(feedback_rows, "wandb.reaction.1")
    tones: dict[str, set[str]] = {}
    for row in reactions:
        turn, reaction = rows[about(row)], payload(row, "payload")
        assert turn["id"] == turn["turn_id"]
        assert row["creator"] == payload(turn, "attributes")["customer"]["name"]
        if reaction["detoned"] in {"👍", "👎"}:
            tones.setdefault(row["creator"], set()).add(reaction["emoji"].removeprefix(reaction["detoned"]))
    kinds = Counter(payload(row, "payload")["detoned"] for row in reactions)

    assert kinds["👍"] > 50
    assert kinds["👎"] > 25
    assert kinds["🎉"] > 5
    assert all(len(tone) == 1 for tone in tones.values())
    assert {tone for found in tones.values() for tone in found} == {"", "🏻", "🏼", "🏽", "🏾", "🏿"}


def test_failures_and_older_releases_get_more_thumbs_down(feedback_rows: list[Row], rows: dict[str, Row]) -> None:
    down: dict[tuple[str, bool], list[bool]] = {}
    for row in of_kind(feedback_rows, "wandb.reaction.1"):
        turn = rows[about(row)]
        key = payload(turn, "attributes")["release"], turn["status"] == "success" and turn["latency_ms"] < 25_000
        down.setdefault(key, []).append(payload(row, "payload")["detoned"] == "👎")
    reservation = {key: sum(found) / len(found) for key, found in down.items()}

    assert all(len(found) > 5 for found in down.values())
    assert reservation["2.3.1", False] > 2 * reservation["2.3.1", True]
    assert reservation["2.4.0", False] > 2 * reservation["2.4.0", True]
    assert reservation["2.3.1", True] > reservation["2.4.0", True] > 0


def test_team_members_write_notes(feedback_rows: list[Row], rows: dict[str, Row]) -> None:
    notes = of_kind(feedback_rows, "wandb.note.1")
    texts = {payload(row, "payload")["note"] for row in notes}
    of_limits = [row for row in notes if "rate limit" in payload(row, "payload")["note"]]

    assert len(texts) > 8
    assert {row["creator"] for row in notes} == {"mara.lind", "tomasz.k", "yuki.sato"}
    assert of_limits
    for row in of_limits:
        below = [
            call["exception"] for call in rows.values() if call.get("turn_id") == about(row) if "exception" in call
        ]
        assert any("RateLimitError" in exception for exception in below)


async def test_reviews_are_objects_of_three_forms(loaded: Loaded, feedback_rows: list[Row]) -> None:
    values: dict[str, list[Any]] = {}
    for row in of_kind(feedback_rows, "wandb.annotation."):
        values.setdefault(row["feedback_type"], []).append(payload(row, "payload")["value"])
    forms = {
        name: payload(await loaded.stores.objects.one(PROJECT, name, "latest", ["val"]), "val")
        for name in ("answer-rating", "answer-problem", "needs-follow-up")
    }

    assert {len(found) for found in values.values()} == {len(values["wandb.annotation.answer-rating"])}
    assert set(values["wandb.annotation.answer-rating"]) == {1, 2, 3, 4, 5}
    assert set(values["wandb.annotation.needs-follow-up"]) == {True, False}
    problem = forms["answer-problem"]["field_schema"]["enum"]
    assert set(values["wandb.annotation.answer-problem"]) == set(problem)
    assert values["wandb.annotation.answer-problem"].count("none") == sum(
        rating >= 4 for rating in values["wandb.annotation.answer-rating"]
    )
    assert {(form["_type"], tuple(form["_bases"])) for form in forms.values()} == {
        ("AnnotationSpec", ("BaseObject", "BaseModel"))
    }


def test_scores_are_on_responses_and_match_the_scorers(feedback_rows: list[Row], rows: dict[str, Row]) -> None:
    scores = of_kind(feedback_rows, "wandb.runnable.")

    assert {row["feedback_type"] for row in scores} == {"wandb.runnable.answer_overlap", f"wandb.runnable.{JUDGE}"}
    assert len(scores) > 120
    for row in scores:
        answer, scorer = rows[about(row)], rows[refs.parse(row["call_ref"]).name]
        assert "SupportAssistant.predict:" in answer["op_name"]
        assert answer["parent_id"] == scorer["parent_id"]
        assert payload(row, "payload")["output"] == payload(scorer, "output")
        assert row["runnable_ref"] in {scorer["op_name"], payload(scorer, "inputs").get("self")}
        assert refs.parse(row["trigger_ref"]).name == rows[scorer["parent_id"]]["parent_id"]


async def test_every_feedback_ref_resolves(loaded: Loaded, feedback_rows: list[Row], rows: dict[str, Row]) -> None:
    names = ("weave_ref", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref")
    found = {row[name] for row in feedback_rows for name in names if name in row}
    calls = {ref for ref in found if refs.parse(ref).kind == "call"}

    objects = await loaded.stores.objects.by_refs([(PROJECT, ref) for ref in found - calls], frozenset())

    assert {refs.parse(ref).name for ref in calls} < rows.keys()
    assert len(objects) == len(found - calls) == 5
    assert None not in objects.values()


async def test_all_models_have_a_price_and_one_overrides_the_shipped_price(
    loaded: Loaded, rows: dict[str, Row]
) -> None:
    prices = await prices_of(loaded.stores.calls.database, PROJECT)
    levels: dict[str, set[tuple[str, float]]] = {}
    for row in rows.values():
        for model in payload(row, "summary").get("usage", {}) if "summary" in row["json"] else ():
            used = [{"model": model, "prompt_tokens": 1, "completion_tokens": 0, "requests": 1, "total_tokens": 1}]
            [cost] = bill(used, row["started_at"], prices)
            levels.setdefault(model, set()).add((cost["pricing_level"], cost["prompt_token_cost"]))

    assert levels == {
        "gpt-4o": {("default", 2.5e-06), ("project", 2e-06)},
        "gpt-4o-mini": {("default", 1.5e-07)},
        "lindqvist-planner-8b": {("project", 6e-08)},
        "mistral-small-2506": {("project", 1e-07)},
    }


def test_model_usage_per_day_makes_a_chart(rows: dict[str, Row]) -> None:
    by_day: dict[str, set[int]] = {}
    for row in rows.values():
        for model in payload(row, "summary").get("usage", {}) if "summary" in row["json"] else ():
            by_day.setdefault(model, set()).add(row["started_at"] // times.parse("1970-01-02T00:00:00Z"))

    assert {model: len(days) >= 14 for model, days in by_day.items()} == {
        "gpt-4o": True,
        "gpt-4o-mini": True,
        "lindqvist-planner-8b": False,
        "mistral-small-2506": True,
    }
    assert len(by_day["lindqvist-planner-8b"]) >= 6


async def test_worst_threads_have_one_slow_turn(loaded: Loaded) -> None:
    worst_first = [SortBy("p99_turn_duration_ms", descending=True)]
    wanted = ("thread_id", "turn_count", "start_time", "p50_turn_duration_ms", "p99_turn_duration_ms")
    page = await loaded.stores.threads.page(PROJECT, PageRequest(size=5), wanted, None, worst_first)

    assert all(row["turn_count"] >= 4 for row in page.rows)
    assert all(row["p99_turn_duration_ms"] > 8 * row["p50_turn_duration_ms"] for row in page.rows)
    assert len({row["start_time"] // times.parse("1970-01-02T00:00:00Z") for row in page.rows}) >= 3


async def test_reloading_duplicates_neither_feedback_nor_prices(fresh: Stores) -> None:
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    before = await all_feedback(fresh), await all_prices(fresh)

    await demo.load(fresh, PROJECT, ignore, now=NOW)

    assert (await all_feedback(fresh), await all_prices(fresh)) == before


async def test_reloading_keeps_feedback_and_prices_of_others(fresh: Stores) -> None:
    await fresh.costs.create(PROJECT, [NewCost("gpt-4o", 1e-06, 2e-06)])
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    stored = await all_feedback(fresh)
    mine = NewFeedback(
        PROJECT, stored[0]["weave_ref"], stored[0]["feedback_type"], payload(stored[0], "payload"), "mine"
    )
    mine.annotation_ref, mine.runnable_ref = stored[0].get("annotation_ref"), stored[0].get("runnable_ref")
    mine.call_ref, mine.trigger_ref = stored[0].get("call_ref"), stored[0].get("trigger_ref")
    await fresh.feedback.create_one(mine)

    await demo.load(fresh, PROJECT, ignore, now=NOW)

    found = await all_feedback(fresh)
    assert [row for row in found if row["id"] != "mine"] == stored
    assert [row["wb_user_id"] for row in found if row["id"] == "mine"] == [LOCAL_USER]
    prices = await all_prices(fresh)
    assert [(row["llm_id"], row["created_by"]) for row in prices] == [
        ("gpt-4o", LOCAL_USER),
        ("lindqvist-planner-8b", "tomasz.k"),
        ("mistral-small-2506", "tomasz.k"),
    ]


async def test_demo_without_feedback_and_prices_gets_both_and_keeps_calls(fresh: Stores) -> None:
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    stored, calls, paid = await all_feedback(fresh), await rows_of(fresh.calls), await all_prices(fresh)
    for collection in (fresh.calls.database.feedback, fresh.calls.database.costs):
        await collection.delete_many({})

    await demo.complete(fresh, PROJECT)

    assert (await all_feedback(fresh), await rows_of(fresh.calls)) == (stored, calls)
    assert [row | {"id": ""} for row in await all_prices(fresh)] == [row | {"id": ""} for row in paid]


async def test_reloading_keeps_a_users_deletions_of_feedback_and_prices(fresh: Stores) -> None:
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    database = fresh.calls.database
    await database.feedback.delete_many({"feedback_type": {"$ne": "wandb.note.1"}})
    await database.costs.delete_many({"llm_id": {"$ne": "gpt-4o"}})
    left = await all_feedback(fresh), await all_prices(fresh)

    await demo.complete(fresh, PROJECT)

    assert (await all_feedback(fresh), await all_prices(fresh)) == left


async def test_project_without_demo_calls_gets_neither_feedback_nor_prices(fresh: Stores) -> None:
    await demo.complete(fresh, PROJECT)

    assert (await all_feedback(fresh), await all_prices(fresh)) == ([], [])
