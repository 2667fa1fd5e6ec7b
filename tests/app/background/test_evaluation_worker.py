"""Tests that evaluation runs in a real service start, move to other servers and survive the end of a server."""

import asyncio
import json
import logging
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.background import JobStats, run_evaluations
from app.providers import EnvironmentProviders
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.errors import UnavailableError
from stores.evaluations.logged_runs import Complete
from stores.evaluations.running import CONCURRENT_RUNS
from tests.app.command import Server, serving
from tests.app.event_stream import all_of, results_of
from tests.docs.pages import page
from tests.live_server import live_server
from tests.stand_in_provider import KEY, Body, StandIn
from tests.stores.evaluations.running import orders
from tests.stores.evaluations.running.orders import PROJECT
from tests.waiting import TIMEOUT, until, until_found

GUIDE = page("how-to/evaluations")
ROWS = [{"question": f"Number {number}?", "expected": "A number."} for number in range(16)]
EVALUATE = f"""
mutation ($evaluation: String!, $model: String!) {{
  evaluateModel(projectId: "{PROJECT}", evaluationRef: $evaluation, modelRef: $model) {{ callId }}
}}
"""
PROGRESS = f"""
subscription ($callId: ID!) {{
  evaluationProgress(projectId: "{PROJECT}", callId: $callId) {{
    ... on EvaluationStatusRunning {{ completedRows totalRows }}
    ... on EvaluationStatusComplete {{ code }}
  }}
}}
"""


@pytest.fixture
async def stores(database: Database, providers: EnvironmentProviders) -> Stores:
    """Return the stores of this process, which executes no runs itself."""
    return Stores(database, providers)


@pytest.fixture
def environment(mongodb_uri: str, database_name: str, stand_in: StandIn) -> dict[str, str]:
    """Return the environment of servers that use the test's database and the stand-in in place of OpenAI."""
    return {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_EVALUATION_ROWS": "2",
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": stand_in.base_url,
    }


async def order(server: Server, stores: Stores, seconds: float = 0.15) -> str:
    """Start a run on a server, with a slow model and a slow judge; return the id of its call."""
    judge = await orders.judge(stores, f"slow-{seconds}")
    evaluation, model = await orders.evaluation(stores, [judge], ROWS), await orders.model(stores, f"slow-{seconds}")
    async with httpx.AsyncClient(timeout=TIMEOUT) as client:
        body = {"query": EVALUATE, "variables": {"evaluation": evaluation, "model": model}}
        answer = (await client.post(server.url, json=body)).json()
    call_id: str = answer["data"]["evaluateModel"]["callId"]
    return call_id


async def until_rows_are_done(database: Database, count: int) -> None:
    done = {"op_trace_name": "Evaluation.predict_and_score", "status": {"$ne": "running"}}

    async def are_done() -> bool:
        return await database.calls.count_documents(done) >= count

    await until_found(are_done)


async def until_over(database: Database) -> None:
    async def has_ended() -> bool:
        return await database.evaluation_runs.find_one() is None

    await until_found(has_ended)


async def check_whole(stores: Stores, call_id: str) -> None:
    """Check that a run has the same result as an undisturbed run."""
    tree = await orders.tree(stores, call_id)
    assert (tree.root["status"], len(tree.rows())) == ("success", len(ROWS))
    assert {call["status"] for call in tree.every()} == {"success"}
    assert tree.root["summary"]["status_counts"] == {"success": len(tree.every()), "error": 0}
    [usage] = tree.root["summary"]["usage"].values()
    assert usage["requests"] == 2 * len(ROWS)
    assert isinstance(await stores.evaluations.status(PROJECT, call_id), Complete)


async def test_server_runs_ordered_evaluations_and_reports_progress(
    stores: Stores, database: Database, environment: dict[str, str], tmp_path: Path, stand_in: StandIn
) -> None:
    with serving(tmp_path / "server", **environment) as server:
        call_id = await order(server, stores)
        async with httpx.AsyncClient(base_url=server.url.removesuffix("/graphql"), timeout=TIMEOUT) as client:
            results = results_of(await all_of(client, PROGRESS, variables={"callId": call_id}))
        await until_over(database)

    statuses: list[Any] = [result["data"]["evaluationProgress"] for result in results]
    assert statuses[-1] == {"code": "COMPLETE"}
    assert {status["totalRows"] for status in statuses[:-1]} == {len(ROWS)}
    completed = [status["completedRows"] for status in statuses[:-1]]
    assert completed == sorted(set(completed))
    assert len(stand_in.requests) == 2 * len(ROWS)
    await check_whole(stores, call_id)


async def test_another_server_resumes_a_killed_servers_run_without_repaying(
    stores: Stores, database: Database, environment: dict[str, str], tmp_path: Path, stand_in: StandIn
) -> None:
    with serving(tmp_path / "doomed", **environment) as doomed:
        call_id = await order(doomed, stores)
        await until_rows_are_done(database, 4)
        doomed.stop(signal.SIGKILL)
    await database.evaluation_runs.update_one({}, {"$unset": {"held_until": ""}})  # the lease expires
    left = await orders.tree(stores, call_id)
    assert left.root["status"] == "running"
    done = {call["id"]: call for call in left.every() if "ended_at" in call}

    with serving(tmp_path / "other", **environment) as other:
        async with httpx.AsyncClient(base_url=other.url.removesuffix("/graphql"), timeout=TIMEOUT) as client:
            results = results_of(await all_of(client, PROGRESS, variables={"callId": call_id}))
        await until_over(database)

    assert results[-1]["data"]["evaluationProgress"] == {"code": "COMPLETE"}
    await check_whole(stores, call_id)
    assert len(done) > 4
    assert 2 * len(ROWS) <= len(stand_in.requests) <= 2 * len(ROWS) + 2
    tree = await orders.tree(stores, call_id)
    after = {call["id"]: call for call in tree.every()}
    assert all(after[one] == call for one, call in done.items())


async def test_stopping_server_releases_its_runs_at_once(
    stores: Stores, database: Database, environment: dict[str, str], tmp_path: Path, stand_in: StandIn
) -> None:
    with serving(tmp_path / "first", **environment) as first:
        call_id = await order(first, stores)
        await until_rows_are_done(database, 4)
        assert first.stop() == 0
    [left] = await database.evaluation_runs.find({}).to_list(None)
    assert (left["takes"], left["vain_takes"]) == (1, 0)
    assert await stores.evaluation_runs.available_runs(1) == [(PROJECT, call_id)]

    with serving(tmp_path / "second", **environment):
        await until_over(database)

    await check_whole(stores, call_id)
    assert 2 * len(ROWS) <= len(stand_in.requests) <= 2 * len(ROWS) + 2
    assert "ERROR" not in (tmp_path / "first").read_text()


@pytest.fixture
async def ordered(stores: Stores) -> list[str]:
    """Start more runs than one process executes at once; return their ids."""
    evaluation, model = await orders.evaluation(stores, [], ROWS[:2]), await orders.model(stores)
    return [await stores.evaluation_runs.start(PROJECT, evaluation, model) for _ in range(CONCURRENT_RUNS + 2)]


async def test_ordered_runs_have_bounded_concurrency(stores: Stores, database: Database, ordered: list[str]) -> None:
    working = asyncio.create_task(run_evaluations(stores.evaluation_runs, 8, JobStats(), pause_seconds=0.02))
    most = 0
    while await database.evaluation_runs.find_one():
        most = max(most, len(stores.evaluation_runs._workers))
        await asyncio.sleep(0.005)
    working.cancel()
    await asyncio.wait({working})

    assert 1 <= most <= CONCURRENT_RUNS
    for call_id in ordered:
        assert isinstance(await stores.evaluations.status(PROJECT, call_id), Complete)


async def test_job_succeeds_while_all_slots_are_busy_and_logs_a_lasting_failure_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queued, started, stats, may_fail = [(PROJECT, str(number)) for number in range(3)], [], JobStats(), asyncio.Event()

    async def available(limit: int) -> list[tuple[str, str]]:
        return queued[-limit:]

    async def succeed_often() -> None:
        before = stats.succeeded
        await until(lambda: stats.succeeded > before + 5)

    async def execute(_project_id: str, call_id: str) -> None:
        started.append(call_id)
        await may_fail.wait()
        raise UnavailableError("the database is away")

    monkeypatch.setattr(stores.evaluation_runs, "available_runs", available)
    monkeypatch.setattr(stores.evaluation_runs, "execute", execute)
    working = asyncio.create_task(run_evaluations(stores.evaluation_runs, 8, stats, pause_seconds=0.02))
    await succeed_often()
    first = started.copy()
    queued += [(PROJECT, "3"), (PROJECT, "4")]
    await succeed_often()
    second = started[len(first) :]
    with caplog.at_level(logging.WARNING, "loomql"):
        may_fail.set()
        await until(lambda: stats.failed > 20)
    working.cancel()
    await asyncio.wait({working})

    assert (first, second) == (["0", "1", "2"], ["3"])
    assert len(caplog.records) == len(set(started))


async def test_failure_of_a_run_is_logged_again_after_two_successes(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fails = [True, True, False, True, False, False, True]

    async def available(_limit: int) -> list[tuple[str, str]]:
        return [(PROJECT, "1")] if fails else []

    async def execute(_project_id: str, _call_id: str) -> None:
        if fails.pop(0):
            raise UnavailableError("the database is away")

    monkeypatch.setattr(stores.evaluation_runs, "available_runs", available)
    monkeypatch.setattr(stores.evaluation_runs, "execute", execute)
    stats = JobStats()
    with caplog.at_level(logging.WARNING, "loomql"):
        working = asyncio.create_task(run_evaluations(stores.evaluation_runs, 8, stats, pause_seconds=0.005))
        await until(lambda: not fails)
        working.cancel()
        await asyncio.wait({working})

    assert stats.failed == 4
    assert len(caplog.records) == 2


async def test_process_with_zero_rows_leaves_runs_to_others(stores: Stores, ordered: list[str]) -> None:
    await asyncio.wait_for(run_evaluations(stores.evaluation_runs, 0, JobStats()), 1)

    assert len(await stores.evaluation_runs.available_runs(10)) == len(ordered)


@pytest.mark.usefixtures("ordered")
async def test_evaluation_worker_retries_while_the_database_is_away(
    stores: Stores, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    due, failures = stores.evaluation_runs.available_runs, [UnavailableError("the database is away")] * 3

    async def failing(limit: int) -> list[tuple[str, str]]:
        if failures:
            raise failures.pop()
        return await due(limit)

    monkeypatch.setattr(stores.evaluation_runs, "available_runs", failing)
    working = asyncio.create_task(run_evaluations(stores.evaluation_runs, 8, JobStats(), pause_seconds=0.02))
    await until_over(database)
    working.cancel()
    await asyncio.wait({working})

    assert failures == []


def answer_as_in_the_guide(body: Body) -> str:
    if body["model"] == "gpt-4o":
        return json.dumps({"correct": "weft" in body["messages"][0]["content"], "grade": 4})
    return f"As for {body['messages'][1]['content']}"


async def test_evaluations_guide_matches_the_worker(
    mongodb_uri: str, database_name: str, stores: Stores, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, ordering, watching = (
        GUIDE.containing(part) for part in ('_type: "LLMAsAJudgeScorer"', "evaluateModel(", "evaluationProgress(")
    )
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    stand_in.reply = answer_as_in_the_guide
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)

    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            made = (await client.post("/graphql", json={"query": objects})).json()
            ordered = (await client.post("/graphql", json={"query": ordering})).json()
            call_id = ordered["data"]["evaluateModel"]["callId"]
            results = results_of(await all_of(client, watching, variables={"callId": call_id}))

    assert "errors" not in made
    output = results[-1]["data"]["evaluationProgress"]["output"]
    assert output["correctness"] == {"correct": {"true_count": 1, "true_fraction": 1 / 3}, "grade": {"mean": 4.0}}
    row = await stores.calls.one("you/evaluations", call_id, ["status", "costs"])
    assert row
    assert row["status"] == "success"
    assert {entry["model"] for entry in row["usage"]} == {"gpt-4o-mini", "gpt-4o"}
    prompts = [body["messages"][0]["content"] for body in stand_in.bodies if body["model"] == "gpt-4o"]
    assert any(
        text.startswith("Is As for What is a weft? right as an answer to What is a weft?? It should say: The thread ")
        and text.endswith('Reply in JSON, as in {"correct": true, "grade": 4}, with a grade from 1 to 5.')
        for text in prompts
    )
