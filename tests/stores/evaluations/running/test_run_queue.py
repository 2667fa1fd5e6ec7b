"""Tests of runs that the server executes: the requests to models and the stored calls."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from starlette.responses import JSONResponse

from app.providers import EnvironmentProviders
from graphql_schema.context import Stores
from stores import refs
from stores.database import Database
from stores.evaluations.logged_runs import Complete, Failed
from stores.evaluations.running import worker as run_module
from stores.tables import TablesStore
from tests.stand_in_provider import USAGE, Body, StandIn
from tests.stores.evaluations.running import orders
from tests.stores.evaluations.running.orders import PROJECT, PROMPT, ROWS, Grader


@pytest.fixture
def stores(database: Database, providers: EnvironmentProviders) -> Stores:
    """Return all stores, with a stand-in instead of OpenAI."""
    return Stores(database, providers)


async def test_run_has_the_call_tree_of_weave(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader([{"grade": 1, "passed": False}, {"grade": 4, "passed": True}, {"grade": 5, "passed": True}])
    judge, model = await orders.judge(stores), await orders.model(stores, temperature=0.5)
    evaluation = await orders.evaluation(stores, [judge])

    call_id = await orders.run(stores, evaluation, model, wb_user_id="ada")

    tree = await orders.tree(stores, call_id)
    root = tree.root
    assert refs.parse(root["op_name"]).name == "Evaluation.evaluate"
    assert root["display_name"].startswith("eval-20")
    assert root["inputs"] == {"self": evaluation, "model": model}
    assert root["attributes"] == {"_weave_eval_meta": {"evaluate_model_worker": True}}
    assert (root["status"], root["wb_user_id"], root.get("exception")) == ("success", "ada", None)
    latency = root["output"].pop("model_latency")
    assert 0 < latency["mean"] < 5
    assert root["output"] == {
        "helpfulness": {
            "grade": {"mean": pytest.approx(10 / 3)},
            "passed": {"true_count": 2, "true_fraction": pytest.approx(2 / 3)},
        }
    }
    assert [call["trace_name"] for call in tree.below(root)].count("Evaluation.summarize") == 1
    assert len(tree.below(root)) == 4
    assert Counter(call["trace_name"] for call in tree.every() if call is not root) == {
        "Evaluation.predict_and_score": 3,
        "LLMStructuredCompletionModel.predict": 3,
        "LLMAsAJudgeScorer.score": 3,
        "weave.completions_create": 6,
        "Evaluation.summarize": 1,
    }
    assert {call["status"] for call in tree.every()} == {"success"}


async def test_row_has_its_request_and_response(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader([{"grade": 3}])
    judge, model = await orders.judge(stores), await orders.model(stores, temperature=0.5, stop=["!"], max_tokens=9)
    evaluation = await orders.evaluation(stores, [judge], ROWS[:1])

    tree = await orders.tree(stores, await orders.run(stores, evaluation, model))

    [row] = tree.rows()
    example = row["inputs"].pop("example")
    assert json.loads(str((await stores.refs.values([example]))[0])) == ROWS[0]
    assert row["inputs"] == {"self": evaluation, "model": model}
    [predict] = tree.below(row, "LLMStructuredCompletionModel.predict")
    [score] = tree.below(row, "LLMAsAJudgeScorer.score")
    answer = "Of What is a weft?"
    assert predict["inputs"] == {**ROWS[0], "self": model}
    assert (predict["output"], score["output"]) == (answer, {"grade": 3})
    assert score["inputs"] == {**ROWS[0], "self": judge, "output": answer}
    assert row["output"]["output"] == answer
    assert row["output"]["scores"] == {"helpfulness": {"grade": 3}}
    took = (predict["ended_at"] - predict["started_at"]) / 1e6
    assert row["output"]["model_latency"] == pytest.approx(took, abs=0.2)
    assert stand_in.bodies == [
        {
            "model": "small",
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "What is a weft?"},
            ],
            "temperature": 0.5,
            "stop": ["!"],
            "max_tokens": 9,
        },
        {
            "model": "judge",
            "messages": [{"role": "user", "content": PROMPT.format(output=answer, **ROWS[0])}],
            "temperature": 0.0,
            "response_format": {"type": "json_object"},
        },
    ]
    [completion] = tree.below(predict)
    assert completion["inputs"] == stand_in.bodies[0]
    assert completion["output"]["choices"][0]["message"]["content"] == answer


async def test_scores_are_also_feedback_on_predictions(stores: Stores, stand_in: StandIn) -> None:
    grades = [{"grade": 1}, {"grade": 2}, "x" * 1_100_000]
    stand_in.reply = Grader(grades, {"answer to What is a loom?": "no JSON"})
    judge = await orders.judge(stores)
    evaluation = await orders.evaluation(stores, [judge], [*ROWS, {"question": "Too long?", "expected": "Yes."}])

    tree = await orders.tree(stores, await orders.run(stores, evaluation, await orders.model(stores), "ada"))

    stored = await stores.calls.database.feedback.find({}).to_list(None)
    assert len(stored) == 2
    for feedback in stored:
        [predict] = [call for call in tree.every() if feedback["weave_ref"].endswith(call["id"])]
        [score] = [call for call in tree.every() if feedback["call_ref"].endswith(call["id"])]
        assert predict["trace_name"] == "LLMStructuredCompletionModel.predict"
        assert predict["parent_id"] == score["parent_id"]
        assert json.loads(feedback["json"]["payload"]) == {"output": score["output"]}
        assert (feedback["feedback_type"], feedback["runnable_ref"]) == ("wandb.runnable.helpfulness", judge)
        assert feedback["wb_user_id"] == "ada"


async def test_usage_is_recorded_once_and_summed_in_parents(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    evaluation = await orders.evaluation(stores, [await orders.judge(stores)], ROWS[:2])

    tree = await orders.tree(stores, await orders.run(stores, evaluation, await orders.model(stores)))

    each = {"requests": 1, **USAGE}
    twice = {name: 2 * count for name, count in each.items()}
    assert tree.root["summary"]["usage"] == {"small": twice, "judge": twice}
    assert tree.root["summary"]["status_counts"] == {"success": len(tree.every()), "error": 0}
    for row in tree.rows():
        assert row["summary"]["usage"] == {"small": each, "judge": each}
        assert row["summary"]["status_counts"] == {"success": 5, "error": 0}
        [predict] = tree.below(row, "LLMStructuredCompletionModel.predict")
        [completion] = tree.below(predict)
        assert predict["summary"]["usage"] == completion["summary"]["usage"] == {"small": each}
    own = await stores.calls.database.calls.count_documents({"usage_scope": "own", "usage": {"$exists": True}})
    assert own == 4


CACHED: Body = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920},
    "completion_tokens_details": {"reasoning_tokens": 100},
    "server_tool_use": {"web_search_requests": 1},
    "cost": 0.1,
}
"""Usage that a router reports for a call; as doubles, three such costs add up to 0.30000000000000004."""


def answered(content: str) -> JSONResponse:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return JSONResponse({"choices": [choice], "usage": CACHED})


async def test_parents_sum_token_classes_requests_and_reported_costs_once(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: answered("A thread.")
    evaluation = await orders.evaluation(stores, [])

    call_id = await orders.run(stores, evaluation, await orders.model(stores))

    tree = await orders.tree(stores, call_id)
    kept = {call["id"]: call async for call in stores.calls.database.calls.find({"usage": {"$exists": True}})}
    each = {"cache_read": 1920, "reasoning": 100, "web_searches": 1}
    [root] = kept[call_id]["usage"]
    assert root == {
        "model": "small",
        "requests": 3,
        "prompt_tokens": 6018,
        "completion_tokens": 900,
        "total_tokens": 6918,
        "classes": {name: 3 * count for name, count in each.items()},
        "stated_cost": 0.3,
    }
    for row in tree.rows():
        [predict] = tree.below(row)
        [completion] = tree.below(predict)
        for call in (row, predict, completion):
            [entry] = kept[call["id"]]["usage"]
            assert (entry["classes"], entry["stated_cost"], entry["requests"]) == (each, 0.1, 1)
    usage = (await stores.evaluations.usage([(PROJECT, call_id)]))[PROJECT, call_id]
    assert (usage["cache_read_tokens"], usage["reasoning_tokens"], usage["web_searches"]) == (5760, 300, 3)
    assert (usage["prompt_tokens"], usage["total_tokens"], usage["requests"]) == (6018, 6918, 3)
    [top, *_] = await stores.aggregates.usage_tree(PROJECT, kept[call_id]["trace_id"], ["own_usage", "total_usage"])
    assert (top["own_usage"]["total_tokens"], top["total_usage"]["total_tokens"]) == (0, 6918)
    assert (top["total_usage"]["cache_read_tokens"], top["total_usage"]["web_searches"]) == (5760, 3)


async def test_unstorable_response_is_counted_once(stores: Stores, stand_in: StandIn) -> None:
    evil = "weave-trace-internal:///x/object/y:z"
    stand_in.reply = lambda body: answered(evil if "warp" in body["messages"][-1]["content"] else "A thread.")
    evaluation = await orders.evaluation(stores, [])

    call_id = await orders.run(stores, evaluation, await orders.model(stores))

    tree = await orders.tree(stores, call_id)
    [bad] = [call for call in tree.every() if call["trace_name"] == "weave.completions_create" and "exception" in call]
    assert bad["summary"]["status_counts"] == {"success": 0, "error": 1}
    kept = await stores.calls.database.calls.find_one({"id": bad["id"]})
    assert kept
    assert kept["usage_scope"] == "own"
    assert kept["usage"][0]["classes"] == {"cache_read": 1920, "reasoning": 100, "web_searches": 1}
    usage = (await stores.evaluations.usage([(PROJECT, call_id)]))[PROJECT, call_id]
    assert (usage["cache_read_tokens"], usage["total_tokens"], usage["requests"]) == (5760, 6918, 3)


async def test_model_is_billed_under_a_priced_name(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    evaluation = await orders.evaluation(stores, [], ROWS[:1])

    call_id = await orders.run(stores, evaluation, await orders.model(stores, "openai/gpt-4o-mini"))

    tree = await orders.tree(stores, call_id)
    assert tree.root["summary"]["usage"].keys() == {"gpt-4o-mini"}
    assert stand_in.bodies[0]["model"] == "gpt-4o-mini"
    row = await stores.calls.one(PROJECT, call_id, ["costs"])
    assert row
    assert row["prices"]


async def test_each_trial_is_a_row_with_its_own_id(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    evaluation = await orders.evaluation(stores, [], ROWS, trials=3, evaluation_name="thrice")

    call_id = await orders.run(stores, evaluation, await orders.model(stores))

    tree = await orders.tree(stores, call_id)
    examples = Counter(row["inputs"]["example"] for row in tree.rows())
    assert list(examples.values()) == [3, 3, 3]
    assert tree.root["display_name"] == "thrice"
    assert len(stand_in.requests) == 9
    assert tree.root["output"].keys() == {"model_latency"}


async def test_names_are_used_literally(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    evaluation = await orders.evaluation(stores, [], ROWS[:1], evaluation_name="$project_id")
    program = await orders.evaluation(stores, [], ROWS[:1], evaluation_name=f"weave:///{PROJECT}/op/name:{'a' * 43}")
    model = await orders.model(stores)

    named = await orders.tree(stores, await orders.run(stores, evaluation, model, "$$NOW"))
    unnamed = await orders.tree(stores, await orders.run(stores, program, model))

    assert {call["wb_user_id"] for call in named.every()} == {"$$NOW"}
    assert named.root["display_name"] == "$project_id"
    assert unnamed.root["display_name"].startswith("eval-")


async def test_concurrent_rows_are_limited(database: Database, providers: EnvironmentProviders) -> None:
    stores = Stores(database, providers, evaluation_rows=3)
    rows = [{"question": f"Number {number}?"} for number in range(20)]
    evaluation = await orders.evaluation(stores, [], rows)

    call_id = await orders.run(stores, evaluation, await orders.model(stores, "slow-0.05"))

    tree = await orders.tree(stores, call_id)
    moments = sorted(moment for row in tree.rows() for moment in ((row["started_at"], 1), (row["ended_at"], -1)))
    at_once = [sum(change for _, change in moments[: at + 1]) for at in range(len(moments))]
    assert max(at_once) == 3
    assert len(tree.rows()) == 20


async def test_concurrent_scorers_per_row_are_limited(stores: Stores) -> None:
    scorers = [await orders.judge(stores, "slow-0.1", f"judge-{number}") for number in range(10)]
    evaluation = await orders.evaluation(stores, scorers, ROWS[:1])

    call_id = await orders.run(stores, evaluation, await orders.model(stores))

    tree = await orders.tree(stores, call_id)
    scored = [call for call in tree.every() if call["trace_name"] == "LLMAsAJudgeScorer.score"]
    moments = sorted(moment for call in scored for moment in ((call["started_at"], 1), (call["ended_at"], -1)))
    at_once = [sum(change for _, change in moments[: at + 1]) for at in range(len(moments))]
    assert max(at_once) == 4
    [row] = tree.rows()
    assert set(row["output"]["scores"]) == {f"judge-{number}" for number in range(10)}


async def test_long_table_is_read_in_pages_with_few_large_rows_in_memory(
    stores: Stores, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.reply = Grader()
    characters: list[int] = []
    rows_of = TablesStore.page

    async def rows(self: TablesStore, project_id: str, digest: str, *request: Any) -> Any:
        page = await rows_of(self, project_id, digest, *request)
        characters.append(sum(len(row.get("json", {"val": ""})["val"]) for row in page.rows))
        return page

    monkeypatch.setattr(TablesStore, "page", rows)
    monkeypatch.setattr(run_module, "_PAGE_BYTES", 30_000)
    table = [{"question": f"{number}"} for number in range(90)]
    table += [{"question": f"{number}: {'long ' * 1000}"} for number in range(25)]
    table += [{"question": "Too long for any page? " * 2_000}, {"question": "Why?"}]

    call_id = await orders.run(stores, await orders.evaluation(stores, [], table), await orders.model(stores))

    assert sorted(characters)[-2] <= 30_000 < max(characters) < 60_000
    assert len((await orders.tree(stores, call_id)).rows()) == 117


async def test_scorer_failure_on_one_row_does_not_stop_the_run(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader([{"grade": 2}, {"grade": 4}], {"answer to What is a warp?": "I would say a four."})
    evaluation = await orders.evaluation(stores, [await orders.judge(stores)])

    call_id = await orders.run(stores, evaluation, await orders.model(stores))

    tree = await orders.tree(stores, call_id)
    [bad] = [row for row in tree.rows() if row["output"]["scores"] == {"helpfulness": None}]
    [score] = tree.below(bad, "LLMAsAJudgeScorer.score")
    assert score["exception"] == "The model was to return JSON but returned 'I would say a four.'"
    assert bad["output"]["output"] == "Of What is a warp?"
    assert (bad["status"], tree.root["status"]) == ("descendant_error", "descendant_error")
    assert tree.root["output"]["helpfulness"] == {"grade": {"mean": 3.0}}
    assert tree.root["summary"]["status_counts"]["error"] == 1
    assert isinstance(await stores.evaluations.status(PROJECT, call_id), Complete)


async def test_model_failure_on_one_row_leaves_it_without_scores(stores: Stores, stand_in: StandIn) -> None:
    broken = JSONResponse({"error": {"message": "It fell over."}}, 500)
    stand_in.reply = Grader([{"grade": 2}, {"grade": 4}], {"What is a warp?": broken})
    evaluation = await orders.evaluation(stores, [await orders.judge(stores)])

    tree = await orders.tree(stores, await orders.run(stores, evaluation, await orders.model(stores)))

    [bad] = [row for row in tree.rows() if row["output"]["output"] is None]
    [predict] = tree.below(bad)
    [completion] = tree.below(predict)
    assert bad["output"]["scores"] == {}
    assert predict["exception"] == completion["exception"] == completion["output"]["error"]
    assert "answered 500" in predict["exception"]
    assert "It fell over." in predict["exception"]
    assert tree.root["output"]["helpfulness"] == {"grade": {"mean": 3.0}}
    assert tree.root["summary"]["status_counts"]["error"] == 2


async def test_run_reports_that_all_rows_failed(stores: Stores, stand_in: StandIn) -> None:
    evaluation = await orders.evaluation(stores, [await orders.judge(stores)])

    call_id = await orders.run(stores, evaluation, await orders.model(stores, "status-401"))

    status = await stores.evaluations.status(PROJECT, call_id)
    assert isinstance(status, Failed)
    assert status.error.startswith("All rows failed, 3 of them; the first: openai (model status-401) answered 401")
    tree = await orders.tree(stores, call_id)
    assert tree.root["output"]["helpfulness"] is None
    assert len(stand_in.requests) == 3


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"other": "Hm?"}, "There is no value for the placeholder {question}; the row has other"),
        ({"question": "Hm?", "config": {"temperature": "hot"}}, "The row's column config has invalid model parameters"),
        ({"question": "Hm?", "user_input": 5}, "The row's column user_input must be a string, a message"),
    ],
)
async def test_row_that_cannot_be_sent_has_a_reason(
    stores: Stores, stand_in: StandIn, row: Body, expected: str
) -> None:
    stand_in.reply = Grader()
    evaluation = await orders.evaluation(stores, [], [*ROWS[:1], row])

    tree = await orders.tree(stores, await orders.run(stores, evaluation, await orders.model(stores)))

    [bad] = [row for row in tree.rows() if row["output"]["output"] is None]
    [predict] = tree.below(bad)
    assert predict["exception"].startswith(expected)
    assert tree.below(predict) == []
    assert len(stand_in.requests) == 1


async def test_rows_may_have_their_own_messages_and_parameters(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    earlier = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    rows = [{"user_input": [*earlier, "And now?"], "config": {"temperature": 1, "n_times": 2}}]
    answerer = await orders.model(stores, messages_template=[{"role": "system", "content": "Be {{kind}}."}])

    await orders.run(stores, await orders.evaluation(stores, [], rows), answerer)

    [body] = stand_in.bodies
    assert body["messages"] == [
        {"role": "system", "content": "Be {kind}."},
        *earlier,
        {"role": "user", "content": "And now?"},
    ]
    assert (body["temperature"], body["n"]) == (1, 2)


async def test_rate_limited_provider_is_retried(stores: Stores, stand_in: StandIn) -> None:
    evaluation = await orders.evaluation(stores, [], ROWS[:1])

    call_id = await orders.run(stores, evaluation, await orders.model(stores, "limited-5"))

    tree = await orders.tree(stores, call_id)
    assert tree.root["status"] == "success"
    assert len(stand_in.requests) == 6
    assert tree.root["summary"]["usage"]["limited-5"]["requests"] == 1


async def test_provider_retries_are_limited(stores: Stores, stand_in: StandIn) -> None:
    evaluation = await orders.evaluation(stores, [], ROWS[:1])

    call_id = await orders.run(stores, evaluation, await orders.model(stores, "limited-1000"))

    tree = await orders.tree(stores, call_id)
    assert "answered 429" in tree.root["exception"]
    assert 4 <= len(stand_in.requests) <= 12


async def test_unstorable_response_fails_its_row(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader(fails={"What is a warp?": "weave-trace-internal:///x/object/y:z"})
    evaluation = await orders.evaluation(stores, [await orders.judge(stores)])

    tree = await orders.tree(stores, await orders.run(stores, evaluation, await orders.model(stores)))

    [bad] = [row for row in tree.rows() if row["output"]["output"] is None]
    [predict] = tree.below(bad)
    assert predict["exception"].startswith(
        "The value cannot be stored: weave-trace-internal:/// is reserved for internal refs"
    )
    assert {call["status"] for call in tree.every()} == {"success", "error", "descendant_error"}
    assert all("ended_at" in call for call in tree.every())
    assert tree.root["status"] == "descendant_error"


async def test_concurrent_equal_evaluations_are_two_runs(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    evaluation, model = await orders.evaluation(stores, [await orders.judge(stores)]), await orders.model(stores)

    [one, other] = await running_both(stores, evaluation, model)

    assert one.root["id"] != other.root["id"]
    for tree in (one, other):
        assert len(tree.rows()) == 3
        assert tree.root["status"] == "success"
        assert tree.root["summary"]["status_counts"] == {"success": len(tree.every()), "error": 0}
    assert len(stand_in.requests) == 12
    assert await stores.calls.database.evaluation_runs.count_documents({}) == 0


async def running_both(stores: Stores, evaluation: str, model: str) -> list[orders.Tree]:
    ids = await asyncio.gather(*(orders.run(stores, evaluation, model) for _ in range(2)))
    return [await orders.tree(stores, call_id) for call_id in ids]


async def test_ops_named_by_objects_are_used_for_the_calls(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader()
    given = f"weave:///{PROJECT}/op/Evaluation.evaluate:{'a' * 43}"
    foreign = f"weave:///acme/other/op/Evaluation.summarize:{'a' * 43}"
    evaluation = await orders.evaluation(stores, [], evaluate=given, summarize=foreign, predict_and_score="no ref")

    tree = await orders.tree(stores, await orders.run(stores, evaluation, await orders.model(stores)))

    assert tree.root["op_name"] == given
    for call in tree.below(tree.root):
        version = await stores.objects.by_refs([(PROJECT, call["op_name"])], frozenset(["digest"]))
        assert version[PROJECT, call["op_name"]], call["op_name"]


async def test_inline_scorers_and_datasets_are_accepted(stores: Stores, stand_in: StandIn) -> None:
    stand_in.reply = Grader([{"grade": 5}])
    table, _ = await stores.tables.create(PROJECT, ROWS[:1])
    rows = f"weave:///{PROJECT}/table/{table}"
    inner = {"_class_name": "LLMStructuredCompletionModel", "llm_model_id": "judge"}
    inner["default_params"] = {"response_format": "json_schema", "_type": "Params"}  # type: ignore[assignment]
    scorer = {"_type": "LLMAsAJudgeScorer", "name": "in here!", "model": inner, "scoring_prompt": "{text}: {inputs}"}
    scorer["column_map"] = {"text": "expected"}
    evaluation = await orders.evaluation(stores, [scorer], dataset={"_type": "Dataset", "rows": rows})

    tree = await orders.tree(stores, await orders.run(stores, evaluation, await orders.model(stores)))

    [row] = tree.rows()
    [score] = tree.below(row, "LLMAsAJudgeScorer.score")
    assert tree.root["output"]["in-here"] == {"grade": {"mean": 5.0}}
    assert score["inputs"]["self"] == f"{evaluation}/attr/scorers/index/0"
    assert row["inputs"]["example"].startswith(f"{evaluation}/attr/dataset/attr/rows/id/")
    assert json.loads(str((await stores.refs.values([row["inputs"]["example"]]))[0])) == ROWS[0]
    prompt = stand_in.bodies[1]["messages"][0]["content"]
    assert prompt == f"A thread.: {json.dumps(ROWS[0], separators=(',', ':'))}"
