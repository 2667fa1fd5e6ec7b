"""Tests of predictions: their output, and their scores with the calls that computed them, for every way to log."""

import time
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.errors import BadInputError
from stores.evaluations import EvaluationsStore, result_rows
from stores.evaluations.result_rows import PredictionSelection
from stores.paging import Row
from tests.commands import Commands
from tests.stores.calls.builders import NOON, PROJECT, SECOND, call_id, end, start
from tests.stores.evaluations.builders import (
    JUDGE,
    MODEL,
    Json,
    Parts,
    Prediction,
    below,
    digest_of,
    graded,
    of_prediction,
    op,
    prediction_id,
    row_ref,
    run_id,
    whole_run,
)

ALL = PredictionSelection(frozenset({"output", "scores", "model_call", "model_latency_ms", "latency_ms", "exception"}))
EXAMPLE = row_ref(digest_of(1))


async def found(evaluations: EvaluationsStore, number: int = 1, wanted: PredictionSelection = ALL) -> list[Row]:
    key = PROJECT, run_id(), digest_of(number)
    return (await evaluations.predictions([key], wanted))[key]


def scores_of(row: Row) -> dict[str, Any]:
    return {
        score["name"]: (score["json"].get("value"), score.get("call_id"), score.get("exception"))
        for score in row["scores"]
    }


async def test_prediction_has_all_its_fields(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, 4, passed=True)]))

    [row] = await found(evaluations)

    assert row["id"] == prediction_id(0)
    assert (row["trial"], row["status"], row["started_at"]) == (0, "success", NOON + 100_000 * SECOND)
    assert row["json"] == {"output": '"answer 1"'}
    assert (row["latency_ms"], row["model_latency_ms"]) == (500, 250.0)
    assert row["model_call_id"] == below(0, 1)
    assert row["scores"] == [
        {
            "project_id": PROJECT,
            "name": "helpfulness",
            "json": {"value": '{"grade":4,"reason":"so"}'},
            "call_id": below(0, 2),
            "scorer": {"project_id": PROJECT, "ref": JUDGE},
            "status": "success",
            "exception": None,
        },
        {
            "project_id": PROJECT,
            "name": "passed",
            "json": {"value": "true"},
            "call_id": below(0, 3),
            "scorer": {"project_id": PROJECT, "ref": op("passed")},
            "status": "success",
            "exception": None,
        },
    ]


async def test_trials_of_an_example_are_in_order_for_each_run(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write([*whole_run([graded(1, 4), graded(2, 1), graded(1, 5)]), *whole_run([graded(1, 3)], 2)])
    keys = [(PROJECT, run_id(run), digest_of(number)) for run in (1, 2) for number in (1, 2)]

    rows = await evaluations.predictions(keys, PredictionSelection(frozenset({"trial"})))

    assert [[(row["trial"], row["id"]) for row in rows[key]] for key in keys] == [
        [(0, prediction_id(0)), (1, prediction_id(2))],
        [(0, prediction_id(1))],
        [(0, prediction_id(0, 2))],
        [],
    ]


async def test_failed_model_has_a_reason(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, None, output=None, model_exception="out of tea")]))

    [row] = await found(evaluations)

    assert (row["status"], row["exception"], row["json"], row["scores"]) == ("success", "out of tea", {}, [])
    assert row["model_call_id"] == below(0, 1)


async def test_failed_scorer_is_a_score_without_a_value(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    # In Weave's client, a scorer that raises also ends the prediction's call, which then has no output.
    parts = of_prediction(0, graded(1, 4, passed=True, exception="judge is away", own_output="none"))
    parts.append(end(0, id=below(0, 2), output=None, exception="judge is away"))
    await calls.write([*whole_run([]), *parts])

    [row] = await found(evaluations)

    assert (row["status"], row["exception"], row["json"]) == ("error", "judge is away", {})
    assert scores_of(row) == {
        "helpfulness": (None, below(0, 2), "judge is away"),
        "passed": ("true", below(0, 3), None),
    }


async def test_null_score_has_the_exception_of_its_call(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    parts = of_prediction(0, Prediction(EXAMPLE, scores={"helpfulness": None, "passed": True}))
    await calls.write([*whole_run([]), *parts, end(0, id=below(0, 2), exception="no JSON")])

    [row] = await found(evaluations)

    assert scores_of(row) == {
        "helpfulness": (None, below(0, 2), "no JSON"),
        "passed": ("true", below(0, 3), None),
    }
    assert "exception" not in row


async def test_running_prediction_shows_its_existing_scores(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, 4, passed=False, is_running=True)], runs=True))

    [row] = await found(evaluations)

    assert (row["status"], row["json"], row["model_latency_ms"]) == ("running", {}, None)
    assert {name: value for name, (value, _, _) in scores_of(row).items()} == {
        "helpfulness": '{"grade":4,"reason":"so"}',
        "passed": "false",
    }


@pytest.mark.parametrize(
    "output",
    [
        "a text",
        [1, 2],
        {"scores": "high"},
        {"scores": [1], "model_latency": "fast"},
        {"model_latency": True, "output": None},
        {"model_latency": 1.7e308},
        {"output": None, "scores": None, "model_latency": None},
    ],
)
async def test_malformed_output_is_null(evaluations: EvaluationsStore, calls: CallsStore, output: object) -> None:
    await calls.write(whole_run([Prediction(EXAMPLE, own_output=output)]))

    [row] = await found(evaluations)

    assert (row["json"], row["scores"], row["model_latency_ms"]) == ({}, [], None)
    assert row["model_call_id"] == below(0, 1)


async def test_output_may_have_its_older_name(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([Prediction(EXAMPLE, own_output={"model_output": {"n": 2**70}, "scores": {"ok": 1}})]))

    [row] = await found(evaluations)

    assert row["json"] == {"output": f'{{"n":{2**70}}}'}
    assert scores_of(row) == {"ok": ("1", None, None)}


async def test_scores_remain_after_their_calls_are_deleted(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, 4, passed=True)]))
    await calls.delete(PROJECT, [below(0, 1), below(0, 2)])

    [row] = await found(evaluations)

    assert row["model_call_id"] is None
    assert scores_of(row) == {
        "helpfulness": ('{"grade":4,"reason":"so"}', None, None),
        "passed": ("true", below(0, 3), None),
    }


def logged(*steps: tuple[str, Json], scores: Json, model: object = MODEL) -> Parts:
    """Return a prediction with these scores in its output, and with calls of some ops below it, in order."""
    own = prediction_id(0)
    parts: Parts = [
        start(
            0,
            id=own,
            parent_id=run_id(),
            op_name=op("Evaluation.predict_and_score"),
            inputs={"model": model, "example": EXAMPLE},
            started_at=NOON + 100_000 * SECOND,
        ),
        end(0, id=own, output={"scores": scores}, ended_at=NOON + 100_001 * SECOND),
    ]
    for place, (name, inputs) in enumerate(steps, 1):
        at = NOON + 100_000 * SECOND + place
        parts.append(start(0, id=below(0, place), parent_id=own, op_name=name, inputs=inputs, started_at=at))
    return parts


SELF = {"self": MODEL}


@pytest.mark.parametrize(
    ("steps", "scores", "model", "expected"),
    [
        pytest.param(
            [(op("prepare"), {}), (op("Assistant.invoke"), SELF), (op("ok"), {})], {"ok": 1}, MODEL,
            (2, {"ok": 3}), id="what comes before the model is no score",
        ),
        pytest.param(
            [(op("answer"), {}), (op("ok"), {})], {"ok": 1}, op("answer"), (1, {"ok": 2}), id="a model that is an op",
        ),
        pytest.param(
            [("ok", {}), ("answer", {})], {"ok": 1}, None, (2, {"ok": 1}), id="a model that nothing names",
        ),
        pytest.param(
            [(op("Model.predict"), SELF), (op("exact_match"), {"self": JUDGE})], {"exact_match": 1}, MODEL,
            (1, {"exact_match": 2}), id="as EvaluationLogger names a scorer's op",
        ),
        pytest.param(
            [(op("Assistant.predict"), SELF), (op("HelpfulnessScorer.score"), {"self": "?"})],
            {"Helpfulness-Scorer": 1}, MODEL, (1, {"Helpfulness-Scorer": 2}), id="a name with signs in it",
        ),
        pytest.param(
            [(op("Assistant.predict"), SELF), (op("ok"), {}), (op("ok"), {})], {"ok": 1}, MODEL,
            (1, {"ok": 2, "ok ": 3}), id="a scorer that came twice",
        ),
        pytest.param(
            [(op("LLMAsAJudgeScorer.score"), {}), (op("Assistant.predict"), {})], {}, None,
            (2, {}), id="a scorer's op is no model",
        ),
    ],
)  # fmt: skip
async def test_calls_are_distinguished_by_op_name(
    evaluations: EvaluationsStore,
    calls: CallsStore,
    steps: list[tuple[str, Json]],
    scores: Json,
    model: object,
    expected: tuple[int, dict[str, int]],
) -> None:
    await calls.write([*whole_run([]), *logged(*steps, scores=scores, model=model)])

    [row] = await found(evaluations)

    place, of_scores = expected
    assert row["model_call_id"] == below(0, place)
    assert [score["call_id"] for score in row["scores"]] == [below(0, each) for each in of_scores.values()]


async def test_unselected_fields_are_not_read(
    evaluations: EvaluationsStore, calls: CallsStore, commands: Commands
) -> None:
    await calls.write(whole_run([graded(1, 4)]))
    commands.sent.clear()

    [row] = await found(evaluations, wanted=PredictionSelection(frozenset({"trial", "status"})))

    assert commands.names == ["aggregate"]
    assert "json" not in str(commands.last("aggregate")["pipeline"])
    assert set(row) == {"id", "project_id", "parent_id", "example_digest", "started_at", "status", "trial"}


async def test_too_many_predictions_are_refused(
    evaluations: EvaluationsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write(whole_run([graded(1, n) for n in range(6)]))
    key = PROJECT, run_id(), digest_of(1)

    monkeypatch.setattr(result_rows, "MAX_PREDICTIONS", 6)
    assert len((await evaluations.predictions([key], ALL))[key]) == 6
    monkeypatch.setattr(result_rows, "MAX_PREDICTIONS", 5)
    with pytest.raises(BadInputError, match="more than 5 predictions, the limit of one response; request fewer rows"):
        await evaluations.predictions([key], ALL)


async def test_too_long_outputs_are_refused(
    evaluations: EvaluationsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write(whole_run([graded(1, n, output="x" * 1000) for n in range(3)]))
    key = PROJECT, run_id(), digest_of(1)

    monkeypatch.setattr(result_rows, "MAX_CHARACTERS", 4_000)
    assert len((await evaluations.predictions([key], ALL))[key]) == 3
    monkeypatch.setattr(result_rows, "MAX_CHARACTERS", 2_000)
    with pytest.raises(BadInputError, match="outputs of more than 2,000 characters of JSON") as refused:
        await evaluations.predictions([key], ALL)
    assert refused.value.argument == "first"
    assert len((await evaluations.predictions([key], PredictionSelection(frozenset({"trial"}))))[key]) == 3


async def test_too_many_calls_below_predictions_are_refused(
    evaluations: EvaluationsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, Json]] = [(op(f"step_{n}"), {}) for n in range(8)]
    await calls.write([*whole_run([]), *logged(*steps, scores={})])
    key = PROJECT, run_id(), digest_of(1)

    monkeypatch.setattr(result_rows, "MAX_PREDICTIONS", 2)
    assert len((await evaluations.predictions([key], ALL))[key]) == 1
    monkeypatch.setattr(result_rows, "MAX_PREDICTIONS", 1)
    with pytest.raises(BadInputError, match="more than 5 calls below them, the limit of one response") as refused:
        await evaluations.predictions([key], ALL)
    assert refused.value.argument == "first"


async def test_too_many_scores_are_refused(
    evaluations: EvaluationsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write(whole_run([Prediction(EXAMPLE, own_output={"scores": {f"s{n}": n for n in range(8)}})]))
    key = PROJECT, run_id(), digest_of(1)

    monkeypatch.setattr(result_rows, "MAX_PREDICTIONS", 2)
    assert len((await evaluations.predictions([key], ALL))[key][0]["scores"]) == 8
    monkeypatch.setattr(result_rows, "MAX_PREDICTIONS", 1)
    with pytest.raises(BadInputError, match="more than 5 scores, the limit of one response"):
        await evaluations.predictions([key], ALL)


async def test_thousands_of_scores_do_not_block_other_requests(
    evaluations: EvaluationsStore, calls: CallsStore
) -> None:
    steps = [(op("Assistant.predict"), SELF), *((op(f"score_{n}"), {}) for n in range(3_000))]
    await calls.write([*whole_run([]), *logged(*steps, scores={f"Score {n}": n for n in reversed(range(3_000))})])
    busy = time.process_time()

    [row] = await found(evaluations)

    # The comparison of all pairs took seconds, ten times as long as the database's driver takes today.
    assert time.process_time() - busy < 1
    assert [score["name"] for score in row["scores"]] == [f"Score {n}" for n in reversed(range(3_000))]


async def test_several_projects_are_read_concurrently(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, 4)]))
    keys = [(project, run_id(), digest_of(1)) for project in (PROJECT, "acme/other")]

    rows = await evaluations.predictions(keys, ALL)

    assert [len(rows[key]) for key in keys] == [1, 0]
    assert call_id(1) not in {row["id"] for row in rows[keys[0]]}
