"""Tests that the demo's calls, read from a real MongoDB, are complete, consistent and lifelike."""

import uuid
from collections import Counter
from itertools import pairwise
from statistics import fmean

import pytest

from app import demo
from app.demo.library import COMPANY, SAMPLE
from app.demo.simulation import DAY, HOUR
from graphql_schema.context import Stores
from stores import ids
from stores.calls import CallsFilter
from stores.paging import PageRequest, Row
from tests.app.demo_data import NOW, PROJECT, Loaded, ignore, payload, rows_of


def turns(rows: dict[str, Row]) -> list[Row]:
    return [row for row in rows.values() if "thread_id" in row and row["id"] == row["turn_id"]]


def parents(rows: dict[str, Row]) -> list[tuple[Row, Row]]:
    """Return each child with its parent."""
    return [(row, rows[row["parent_id"]]) for row in rows.values() if "parent_id" in row]


def depth(rows: dict[str, Row], row: Row) -> int:
    return 1 + depth(rows, rows[row["parent_id"]]) if "parent_id" in row else 1


async def test_load_returns_the_number_of_calls(loaded: Loaded) -> None:
    assert await loaded.stores.calls.count(PROJECT) == loaded.returned
    assert 3_000 <= loaded.returned <= 5_000


async def test_progress_rises_to_the_total(loaded: Loaded) -> None:
    done = [done for done, _ in loaded.progress]

    assert done == sorted(done)
    assert len(done) > 5
    assert done[-1] == loaded.returned
    assert {total for _, total in loaded.progress} == {loaded.returned}


async def test_loading_twice_changes_nothing(fresh: Stores) -> None:
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    before = await rows_of(fresh.calls)

    returned = await demo.load(fresh, PROJECT, ignore, now=NOW)

    assert returned == len(before)
    assert await rows_of(fresh.calls) == before


async def test_loading_later_moves_the_same_calls_to_the_present(fresh: Stores) -> None:
    later = NOW + 3 * DAY + 7 * HOUR
    await demo.load(fresh, PROJECT, ignore, now=NOW)
    rows = await rows_of(fresh.calls)

    await demo.load(fresh, PROJECT, ignore, now=later)

    moved = await rows_of(fresh.calls)
    assert moved.keys() == rows.keys()
    assert {key for key, row in moved.items() if row["status"] == "running"} == {
        key for key, row in rows.items() if row["status"] == "running"
    }
    assert max(row["started_at"] for row in moved.values()) - later == (
        max(row["started_at"] for row in rows.values()) - NOW
    )


async def test_demo_load_is_visible_only_when_complete(fresh: Stores) -> None:
    def stop_half_way(done: int, total: int) -> None:
        if done > total / 2:
            raise InterruptedError

    before = await demo.loaded_at(fresh.calls, PROJECT)
    with pytest.raises(InterruptedError):
        await demo.load(fresh, PROJECT, stop_half_way, now=NOW)
    half_way = await demo.loaded_at(fresh.calls, PROJECT)
    await demo.load(fresh, PROJECT, ignore, now=NOW)

    assert (before, half_way) == (None, None)
    assert await demo.loaded_at(fresh.calls, PROJECT) == NOW
    assert await demo.loaded_at(fresh.calls, "demo/another") is None


async def test_demo_ids_are_valid(rows: dict[str, Row]) -> None:
    for row in rows.values():
        ids.check_call_id(row["id"], "id")
        ids.check_trace_id(row["trace_id"], "trace_id")
        assert str(uuid.UUID(row["id"])) == row["id"]
        assert str(uuid.UUID(row["trace_id"])) == row["trace_id"]


async def test_child_lies_within_its_parents_time_trace_and_turn(rows: dict[str, Row]) -> None:
    for child, parent in parents(rows):
        assert child["trace_id"] == parent["trace_id"]
        assert child.get("turn_id") == parent.get("turn_id")
        assert child["started_at"] >= parent["started_at"]
        if "ended_at" in parent:
            assert child["started_at"] <= child["ended_at"] <= parent["ended_at"]


async def test_demo_covers_two_weeks_up_to_now(rows: dict[str, Row]) -> None:
    moments = [row[name] for row in rows.values() for name in ("started_at", "ended_at") if name in row]

    assert max(moments) <= NOW
    assert NOW - max(moments) < HOUR / 20
    assert 13 * DAY < NOW - min(moments) < 14 * DAY + 3 * HOUR


async def test_more_calls_happen_by_day_than_by_night(rows: dict[str, Row]) -> None:
    hours = Counter(row["started_at"] % DAY // HOUR for row in turns(rows))

    assert sum(hours[hour] for hour in range(9, 17)) > 5 * sum(hours[hour] for hour in range(6))


async def test_threads_have_one_to_eight_consecutive_turns(rows: dict[str, Row]) -> None:
    threads: dict[str, list[Row]] = {}
    for turn in sorted(turns(rows), key=lambda turn: turn["started_at"]):
        threads.setdefault(turn["thread_id"], []).append(turn)

    assert len(threads) > 100
    assert {len(thread) for thread in threads.values()} == set(range(1, 9))
    for thread in threads.values():
        for turn, following in pairwise(thread):
            assert turn["ended_at"] < following["started_at"]


async def test_thread_is_found_with_all_calls_of_its_turns(loaded: Loaded, rows: dict[str, Row]) -> None:
    turn = turns(rows)[0]

    found = await loaded.stores.calls.count(PROJECT, CallsFilter(turn_ids=[turn["id"]]))

    assert found == sum(row["trace_id"] == turn["trace_id"] for row in rows.values())
    assert found >= 3


async def test_traces_nest_four_deep(rows: dict[str, Row]) -> None:
    depths = Counter(depth(rows, row) for row in rows.values())

    assert set(depths) == {1, 2, 3, 4}
    assert depths[4] > 100


async def test_calls_have_all_four_statuses(rows: dict[str, Row]) -> None:
    statuses = Counter(row["status"] for row in rows.values())

    assert set(statuses) == {"success", "error", "descendant_error", "running"}
    assert 5 <= statuses["running"] <= 12
    assert statuses["error"] > 40
    assert statuses["descendant_error"] > 20


async def test_parent_of_a_failure_never_succeeds(rows: dict[str, Row]) -> None:
    failed = {"error", "descendant_error"}
    above_failures = {parent["status"] for child, parent in parents(rows) if child["status"] in failed}

    assert above_failures - {"running"} == failed


async def test_failures_vary_and_look_like_tracebacks(rows: dict[str, Row]) -> None:
    exceptions = [row["exception"] for row in rows.values() if "exception" in row]
    errors = [exception.splitlines()[-1] for exception in exceptions]
    kinds = {error.partition(":")[0] for error in errors}

    assert kinds >= {"openai.RateLimitError", "openai.APITimeoutError", "TimeoutError", "ValueError"}
    assert all(exception.startswith("Traceback (most recent call last):\n  File ") for exception in exceptions)
    assert not any("{" in error for error in errors if error.startswith(("ValueError", "TimeoutError")))


async def test_parent_usage_is_the_sum_of_its_children(rows: dict[str, Row]) -> None:
    below: dict[str, Counter[str]] = {}
    for row in sorted(rows.values(), key=lambda row: -depth(rows, row)):
        if row["status"] == "running":
            continue
        mine = below.setdefault(row["id"], Counter())
        mine["error" if "exception" in row else "success"] += 1
        if "parent_id" in row:
            below.setdefault(row["parent_id"], Counter()).update(mine)

    for call_id, row in rows.items():
        if "ended_at" in row:
            counted = payload(row, "summary")["status_counts"]
            assert counted == {"success": below[call_id]["success"], "error": below[call_id]["error"]}


async def test_four_models_are_used_and_roots_sum_their_usage(rows: dict[str, Row]) -> None:
    spent: dict[str, Counter[str]] = {}
    leaves: dict[str, Counter[str]] = {}
    unfinished = {row["trace_id"] for row in rows.values() if row["status"] == "running"}
    for row in rows.values():
        if row["trace_id"] in unfinished:
            continue
        if "parent_id" not in row:
            for model, tokens in payload(row, "summary").get("usage", {}).items():
                spent.setdefault(model, Counter()).update(tokens)
        elif "messages" in payload(row, "inputs") and row["status"] == "success":
            used = payload(row, "output")["usage"]
            leaves.setdefault(payload(row, "inputs")["model"], Counter()).update({"requests": 1, **used})

    assert set(spent) == {"gpt-4o", "gpt-4o-mini", "lindqvist-planner-8b", "mistral-small-2506"}
    assert spent == leaves
    for tokens in spent.values():
        assert tokens["prompt_tokens"] + tokens["completion_tokens"] == tokens["total_tokens"]
        assert min(tokens.values()) > 100


async def test_chats_have_the_chat_completions_format(rows: dict[str, Row]) -> None:
    chats = [row for row in rows.values() if "openai.chat.completions.create:" in row["op_name"]]
    answered = [row for row in chats if row["status"] == "success"]

    assert len(answered) > 1_000
    for row in answered:
        messages, output = payload(row, "inputs")["messages"], payload(row, "output")
        assert messages[0]["role"] == "system"
        assert messages[-1]["role"] == "user"
        assert output["object"] == "chat.completion"
        assert output["choices"][0]["message"]["role"] == "assistant"
        assert output["choices"][0]["message"]["content"]
        assert output["created"] == row["started_at"] // 1_000_000


async def test_models_take_seconds_and_embeddings_milliseconds(rows: dict[str, Row]) -> None:
    def median(name: str) -> int:
        latencies = sorted(row["latency_ms"] for row in rows.values() if name in row["op_name"] and "ended_at" in row)
        return int(latencies[len(latencies) // 2])

    assert 500 < median("openai.chat.completions.create") < 4_000
    assert 10 < median("embed") < 100
    assert 1_500 < median("assistant.answer") < 10_000


async def test_versions_of_an_op_are_found_together(loaded: Loaded) -> None:
    versions = CallsFilter(op_names=[f"weave:///{PROJECT}/op/openai.chat.completions.create:*"])
    page = await loaded.stores.calls.page(PROJECT, PageRequest(size=10_000), ["op_name", "trace_name"], versions)

    assert len({row["op_name"] for row in page.rows}) == 2
    assert {row["trace_name"] for row in page.rows} == {"openai.chat.completions.create"}


async def test_users_locations_and_releases_vary(rows: dict[str, Row]) -> None:
    attributes = [payload(row, "attributes") for row in rows.values()]

    assert len({row["wb_user_id"] for row in rows.values()}) >= 5
    assert {each["environment"] for each in attributes} == {"production", "staging"}
    assert len({each["region"] for each in attributes}) == 3
    assert len({each["release"] for each in attributes}) == 2
    assert {each["weave"]["source"] for each in attributes} == {"python-sdk"}


async def test_conversations_have_end_users_and_tags(rows: dict[str, Row]) -> None:
    users = Counter(turn["user_id"] for turn in turns(rows))
    tags = Counter(tag for row in rows.values() if "parent_id" not in row for tag in row.get("tags", []))

    assert 12 <= len(users) <= 20
    assert set(tags) == {"chat", "premium", "multilingual", "escalated", "nightly"}
    assert all(child.get("user_id") == parent.get("user_id") for child, parent in parents(rows))


async def test_every_call_has_the_kind_of_its_op(rows: dict[str, Row]) -> None:
    kinds: dict[str, set[str]] = {}
    for row in rows.values():
        kinds.setdefault(row["kind"], set()).add(row["op_trace_name"])

    assert kinds == {
        "agent": {"assistant.answer", "SupportAssistant.predict"},
        "chain": {"plan", "tickets.summarise_night", "summarise_ticket"},
        "retriever": {"retrieve", "vector_search"},
        "embedding": {"embed"},
        "reranker": {"rerank"},
        "tool": {f"tools.{name}" for name in COMPANY["tools"]},
        "guardrail": {"check_policy"},
        "llm": {"openai.chat.completions.create", "mistralai.chat.complete"},
        "evaluator": {
            *("Evaluation.evaluate", "Evaluation.predict_and_score", "Evaluation.summarize"),
            *("HelpfulnessScorer.score", "answer_overlap"),
        },
    }


async def test_questions_are_varied_filled_in_and_multilingual(rows: dict[str, Row]) -> None:
    questions = [payload(turn, "inputs")["question"] for turn in turns(rows)]
    spoken = {payload(turn, "attributes")["customer"]["language"] for turn in turns(rows)}

    assert len(set(questions)) > len(questions) / 2
    assert spoken == {"en", "de", "fr", "es", "pl", "ja", "ar"}
    assert any("😊" in question or "🎉" in question for question in questions)
    assert not any("{" in question or "}" in question for question in questions)


async def test_every_night_a_batch_of_tickets_is_summarised(rows: dict[str, Row]) -> None:
    nights = [row for row in rows.values() if row["op_name"] == "tickets.summarise_night"]

    assert len({night["started_at"] // DAY for night in nights}) == 14
    for night in nights:
        children = [child for child, parent in parents(rows) if parent is night]
        output = payload(night, "output")
        assert len(children) == payload(night, "inputs")["tickets"]
        assert len(output["summaries"]) + output["failed"] == len(children)
        assert output["failed"] == sum(child["status"] == "error" for child in children)


async def test_two_evaluations_of_the_same_examples_have_consistent_means(rows: dict[str, Row]) -> None:
    runs = [row for row in rows.values() if "Evaluation.evaluate:" in row["op_name"]]
    examples, recalls = [], []
    for run in sorted(runs, key=lambda run: run["started_at"]):
        scored = [child for child, parent in parents(rows) if parent is run and "predict_and_score" in child["op_name"]]
        outputs = [payload(call, "output") for call in scored]
        overlaps = [overlap for output in outputs if (overlap := output["scores"]["answer_overlap"])]
        means = payload(run, "output")
        assert len(scored) == SAMPLE
        assert means["answer_overlap"]["recall"]["mean"] == pytest.approx(fmean(each["recall"] for each in overlaps))
        assert means["answer_overlap"]["passed"]["true_count"] == sum(each["passed"] for each in overlaps)
        assert means["model_latency"]["mean"] == pytest.approx(fmean(output["model_latency"] for output in outputs))
        examples.append({payload(call, "inputs")["example"] for call in scored})
        recalls.append(means["answer_overlap"]["recall"]["mean"])

    assert len({run["display_name"] for run in runs}) == len(runs) == 2
    assert examples[0] == examples[1]
    assert len(examples[0]) == SAMPLE
    assert recalls[1] - recalls[0] > 0.1
