"""Reads of evaluation runs in the API: statuses, rows, comparisons, costs and errors."""

from typing import Any

import pytest

from stores.calls import CallsStore
from stores.objects import ObjectsStore, ObjectVersion
from stores.tables import TablesStore
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.evaluations.builders import (
    JUDGE,
    MODEL,
    Prediction,
    below,
    digest_of,
    graded,
    of_run,
    op,
    prediction_id,
    row_ref,
    run_id,
    whole_run,
)

STATUS = """
query ($project: ID!, $id: ID!) {
  evaluationStatus(projectId: $project, callId: $id) {
    __typename
    ... on EvaluationStatusNotFound { code }
    ... on EvaluationStatusRunning { code completedRows totalRows }
    ... on EvaluationStatusFailed { code error }
    ... on EvaluationStatusComplete { code output }
  }
}
"""

RESULTS = """
query ($project: ID!, $id: ID!, $sort: [SortBy!], $query: QueryInput, $first: Int, $after: String, $last: Int,
    $before: String, $offset: Int) {
  evaluationResults(projectId: $project, evaluationCallId: $id, sortBy: $sort, query: $query, first: $first,
      after: $after, last: $last, before: $before, offset: $offset) {
    totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    nodes { exampleDigest predictions { id trial } }
  }
}
"""

WHOLE = """
query ($project: ID!, $id: ID!) {
  evaluationResults(projectId: $project, evaluationCallId: $id) {
    nodes {
      exampleDigest example exampleRef { ref kind value(path: "question") }
      question: example(path: "question")
      predictions {
        id trial status exception startedAt latencyMs modelLatencyMs output
        call { id traceName }
        modelCall { id latencyMs usage { model totalTokens } totalCost }
        scores {
          name value grade: value(path: "grade") scorer { ref kind } callId status exception call { traceName output }
        }
      }
    }
  }
}
"""

COMPARE = """
query ($project: ID!, $ids: [ID!]!, $sort: [SortBy!], $common: Boolean, $first: Int, $after: String) {
  evaluationCompare(projectId: $project, callIds: $ids) {
    numInCommon
    runs { id status displayName model { ref } usage { totalTokens cost } }
    metrics { name runs { runId mean count difference meanChange numHigher numLower numEqual } }
    rows(first: $first, after: $after, sortBy: $sort, onlyInCommon: $common) {
      totalCount
      pageInfo { hasNextPage endCursor }
      nodes {
        exampleDigest
        runs { runId metrics { name mean difference } predictions { output scores { name value } } }
      }
    }
  }
}
"""

COST = 0.00045
"""Cost of USAGE at the prices that LoomQL ships."""
USAGE = {"gpt-4o": {"prompt_tokens": 100, "completion_tokens": 20, "requests": 1}}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, {"__typename": "EvaluationStatusComplete", "code": "COMPLETE", "output": {"ok": {"mean": 1.5}}}),
        (2, {"__typename": "EvaluationStatusFailed", "code": "FAILED", "error": "out of tea"}),
        (3, {"__typename": "EvaluationStatusRunning", "code": "RUNNING", "completedRows": 1, "totalRows": 3}),
        (4, {"__typename": "EvaluationStatusNotFound", "code": "NOT_FOUND"}),
    ],
)
async def test_each_status_has_its_own_type(run: Run, calls: CallsStore, number: int, expected: Any) -> None:
    inputs = {"self": {"dataset": {"rows": [1, 2, 3]}}}
    await calls.write(
        [
            *of_run(1, output={"ok": {"mean": 1.5}}),
            *of_run(2, exception="out of tea"),
            *whole_run([graded(1, 1), graded(2, 1, is_running=True)], 3, runs=True, inputs=inputs),
        ]
    )

    answer = await run(STATUS, project=PROJECT, id=run_id(number))

    assert (answer.data, answer.errors) == ({"evaluationStatus": expected}, [])


async def test_row_has_all_its_fields(run: Run, calls: CallsStore, tables: TablesStore) -> None:
    _, [digest] = await tables.create(PROJECT, [{"question": "Why?"}])
    scores = {"helpfulness": {"grade": 4, "reason": "so"}, "passed": True}
    await calls.write(whole_run([Prediction(row_ref(digest), {"text": "Because."}, scores, usage=USAGE)]))

    answer = await run(WHOLE, project=PROJECT, id=run_id())

    assert answer.errors == []
    assert answer.data["evaluationResults"]["nodes"] == [
        {
            "exampleDigest": digest,
            "example": {"question": "Why?"},
            "exampleRef": {"ref": row_ref(digest), "kind": "object", "value": None},
            "question": "Why?",
            "predictions": [
                {
                    "id": prediction_id(0),
                    "trial": 0,
                    "status": "SUCCESS",
                    "exception": None,
                    "startedAt": "2026-02-01T15:46:40.000000Z",
                    "latencyMs": 500,
                    "modelLatencyMs": 250.0,
                    "output": {"text": "Because."},
                    "call": {"id": prediction_id(0), "traceName": "Evaluation.predict_and_score"},
                    "modelCall": {
                        "id": below(0, 1),
                        "latencyMs": 249,
                        "usage": [{"model": "gpt-4o", "totalTokens": None}],
                        "totalCost": pytest.approx(COST),
                    },
                    "scores": [
                        {
                            "name": "helpfulness",
                            "value": {"grade": 4, "reason": "so"},
                            "grade": 4,
                            "scorer": {"ref": JUDGE, "kind": "object"},
                            "callId": below(0, 2),
                            "status": "SUCCESS",
                            "exception": None,
                            "call": {"traceName": "HelpfulnessScorer.score", "output": scores["helpfulness"]},
                        },
                        {
                            "name": "passed",
                            "value": True,
                            "grade": None,
                            "scorer": {"ref": op("passed"), "kind": "op"},
                            "callId": below(0, 3),
                            "status": "SUCCESS",
                            "exception": None,
                            "call": {"traceName": "passed", "output": True},
                        },
                    ],
                }
            ],
        }
    ]


async def test_related_calls_are_returned_by_every_selection(run: Run, calls: CallsStore) -> None:
    await calls.write([*whole_run([graded(1, 4)]), *whole_run([graded(1, 5)], 2)])
    document = """
    query ($project: ID!, $id: ID!, $ids: [ID!]!, $no: Boolean = false) {
      evaluationResults(projectId: $project, evaluationCallId: $id) {
        edges { node { predictions { it: call { ...Its } modelCall @include(if: $no) { id } } } }
        nodes { predictions { scores { call { __typename } } ... on EvaluationPrediction { modelCall { ...Its } } } }
      }
      evaluationCompare(projectId: $project, callIds: $ids) {
        rows { nodes { runs { predictions { modelCall { id } scores { call { grade: output(path: "grade") } } } } } }
      }
    }
    fragment Its on CallSchema { traceName parentId }
    """

    answer = await run(document, project=PROJECT, id=run_id(), ids=[run_id(1), run_id(2)])

    assert answer.errors == []
    [edge], [node] = (answer.data["evaluationResults"][name] for name in ("edges", "nodes"))
    of_run = {"traceName": "Evaluation.predict_and_score", "parentId": run_id()}
    assert edge["node"]["predictions"] == [{"it": of_run}]
    of_prediction = {"traceName": "Assistant.predict", "parentId": prediction_id(0)}
    scores = [{"call": {"__typename": "CallSchema"}}]
    assert node["predictions"] == [{"scores": scores, "modelCall": of_prediction}]
    [row] = answer.data["evaluationCompare"]["rows"]["nodes"]
    assert [each["predictions"] for each in row["runs"]] == [
        [{"modelCall": {"id": below(0, 1, number)}, "scores": [{"call": {"grade": 3 + number}}]}] for number in (1, 2)
    ]


async def test_incomplete_rows_have_null_fields(run: Run, calls: CallsStore) -> None:
    bad = [Prediction({"question": "Why?"}, own_output="garbage"), Prediction("x", own_output={"scores": {"s": None}})]
    await calls.write(whole_run(bad))
    await calls.delete(PROJECT, [below(0, 1), below(1, 1)])

    answer = await run(WHOLE, project=PROJECT, id=run_id())

    assert answer.errors == []
    first, second = answer.data["evaluationResults"]["nodes"]
    assert (first["example"], first["exampleRef"], first["question"]) == ({"question": "Why?"}, None, "Why?")
    assert [each["modelCall"] for row in (first, second) for each in row["predictions"]] == [None, None]
    assert first["predictions"][0]["scores"] == []
    assert (second["example"], second["question"]) == ("x", None)
    [score] = second["predictions"][0]["scores"]
    assert score == {"name": "s"} | dict.fromkeys(("value", "grade", "scorer", "callId", "status", "exception", "call"))


async def test_pages_go_both_ways_with_the_worst_rows_first(run: Run, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(n, grade) for n, grade in enumerate([3, 1, 4, 5, 2])]))

    async def page(**options: Any) -> Any:
        answer = await run(RESULTS, project=PROJECT, id=run_id(), **options)
        assert answer.errors == []
        found = answer.data["evaluationResults"]
        return [int(node["exampleDigest"]) for node in found["nodes"]], found["pageInfo"], found["totalCount"]

    worst = [{"field": "scores.helpfulness.grade", "direction": "ASC"}]
    first, info, total = await page(sort=worst, first=2)
    assert (first, info["hasNextPage"], info["hasPreviousPage"], total) == ([1, 4], True, False, 5)
    second, info, _ = await page(sort=worst, first=2, after=info["endCursor"])
    assert (second, info["hasPreviousPage"]) == ([0, 2], True)
    assert (await page(sort=worst, last=2, before=info["startCursor"]))[0] == [1, 4]
    assert (await page(first=2, offset=3))[0] == [3, 4]
    low = {"json": {"$expr": {"$lte": [{"$getField": "scores.helpfulness.grade"}, {"$literal": 2}]}}}
    assert (await page(query=low))[::2] == ([1, 4], 2)
    typed = {"expr": {"gt": [{"getField": "scores.helpfulness.grade"}, {"literal": 4}]}}
    assert (await page(query=typed))[::2] == ([3], 1)


async def test_run_has_its_fields(run: Run, calls: CallsStore, objects: ObjectsStore) -> None:
    digest = await objects.create(ObjectVersion(PROJECT, "quality", {"scorers": [JUDGE], "trials": 2, "name": "q"}))
    inputs = {"self": f"weave:///{PROJECT}/object/quality:{digest}", "model": MODEL}
    predictions = [graded(n % 2, n, passed=n > 1, usage=USAGE) for n in range(4)]
    await calls.write(whole_run(predictions, inputs=inputs, display_name="nightly", output={"a": {"b": 1}}))

    answer = await run(
        """
        query ($project: ID!, $id: ID!) {
          evaluationRun(projectId: $project, callId: $id) {
            id projectId displayName status exception startedAt endedAt latencyMs output part: output(path: "a.b")
            evaluation { ref value(path: "name") } model { ref obj { val } } dataset { ref } scorers { ref } trials
            call { id status }
            metrics { name mean min max count trueCount }
            usage { totalTokens cost models { model requests } }
          }
        }
        """,
        project=PROJECT,
        id=run_id(),
    )

    assert answer.errors == []
    assert answer.data["evaluationRun"] == {
        "id": run_id(),
        "projectId": PROJECT,
        "displayName": "nightly",
        "status": "COMPLETE",
        "exception": None,
        "startedAt": "2026-02-01T15:46:40.000000Z",
        "endedAt": "2026-02-01T16:46:40.000000Z",
        "latencyMs": 3_600_000,
        "output": {"a": {"b": 1}},
        "part": 1,
        "evaluation": {"ref": inputs["self"], "value": "q"},
        "model": {"ref": MODEL, "obj": None},
        "dataset": None,
        "scorers": [{"ref": JUDGE}],
        "trials": 2,
        "call": {"id": run_id(), "status": "SUCCESS"},
        "metrics": [
            {"name": "helpfulness.grade", "mean": 1.5, "min": 0, "max": 3, "count": 4, "trueCount": None},
            {"name": "passed", "mean": 0.5, "min": 0, "max": 1, "count": 4, "trueCount": 2},
        ],
        "usage": {
            "totalTokens": 480,
            "cost": pytest.approx(4 * COST),
            "models": [{"model": "gpt-4o", "requests": 4}],
        },
    }


@pytest.mark.parametrize("trials", [True, 2**31, 2**70, 1.5, "2"])
async def test_invalid_number_of_trials_counts_as_one(run: Run, calls: CallsStore, trials: object) -> None:
    await calls.write(of_run(inputs={"self": {"trials": trials}}))
    document = "query ($project: ID!, $id: ID!) { evaluationRun(projectId: $project, callId: $id) { trials } }"

    assert (await run(document, project=PROJECT, id=run_id())).data == {"evaluationRun": {"trials": 1}}


async def test_nested_run_reports_the_usage_of_its_call(run: Run, calls: CallsStore) -> None:
    own = of_run(parent_id=call_id(7), summary={"usage": USAGE})
    await calls.write(
        [*own, start(8, trace_id="11111111-0000-7000-8000-000000000001"), end(8, summary={"usage": USAGE})]
    )

    answer = await run(
        "query ($project: ID!, $id: ID!) { evaluationRun(projectId: $project, callId: $id) {"
        " usage { totalTokens models { model } } } }",
        project=PROJECT,
        id=run_id(),
    )

    assert answer.data["evaluationRun"]["usage"] == {"totalTokens": 120, "models": [{"model": "gpt-4o"}]}


async def test_run_whose_call_sums_usage_is_not_summed_twice(run: Run, calls: CallsStore, commands: Commands) -> None:
    summary = {"usage": {"gpt-4o": {"prompt_tokens": 7}}, "status_counts": {"success": 9}}
    await calls.write(whole_run([graded(n, 1, usage=USAGE) for n in range(3)], summary=summary))
    commands.sent.clear()

    answer = await run(
        "query ($project: ID!, $id: ID!) { evaluationRun(projectId: $project, callId: $id) { usage { totalTokens } } }",
        project=PROJECT,
        id=run_id(),
    )

    assert answer.data["evaluationRun"]["usage"] == {"totalTokens": 7}
    assert "aggregate" not in commands.names


async def test_failed_or_running_run_shows_existing_rows(run: Run, calls: CallsStore) -> None:
    predictions = [graded(1, 4), graded(2, None, output=None, exception="cut off"), graded(3, 2, is_running=True)]
    await calls.write(whole_run(predictions, 1, output=None, exception="out of tea"))
    await calls.write(whole_run(predictions, 2, runs=True))

    for number in (1, 2):
        answer = await run(WHOLE, project=PROJECT, id=run_id(number))
        found = [row["predictions"][0] for row in answer.data["evaluationResults"]["nodes"]]
        assert [each["status"] for each in found] == ["SUCCESS", "ERROR", "RUNNING"]
        assert [each["exception"] for each in found] == [None, "cut off", None]
        assert [[score["grade"] for score in each["scores"]] for each in found] == [[4], [], [2]]


async def test_example_remains_after_its_dataset_is_deleted(
    run: Run, calls: CallsStore, tables: TablesStore, objects: ObjectsStore
) -> None:
    table, [row] = await tables.create(PROJECT, [{"question": "Why?"}])
    digest = await objects.create(ObjectVersion(PROJECT, "Questions", {"rows": f"weave:///{PROJECT}/table/{table}"}))
    dataset = f"weave:///{PROJECT}/object/Questions:{digest}"
    quality = await objects.create(ObjectVersion(PROJECT, "quality", {"dataset": dataset}))
    inputs = {"self": f"weave:///{PROJECT}/object/quality:{quality}", "model": MODEL}
    await calls.write(whole_run([Prediction(f"{dataset}/attr/rows/id/{row}")], inputs=inputs))
    document = (
        "query ($project: ID!, $id: ID!) {"
        " evaluationRun(projectId: $project, callId: $id) { dataset { ref obj { val } } }"
        " evaluationResults(projectId: $project, evaluationCallId: $id) { nodes { example exampleRef { value } } } }"
    )
    before = await run(document, project=PROJECT, id=run_id())

    await objects.delete(PROJECT, "Questions")
    after = await run(document, project=PROJECT, id=run_id())

    value = {"question": "Why?"}
    assert before.data["evaluationResults"]["nodes"] == [{"example": value, "exampleRef": {"value": value}}]
    assert before.data["evaluationRun"]["dataset"]["obj"]["val"] == {"rows": f"weave:///{PROJECT}/table/{table}"}
    assert after.data["evaluationResults"]["nodes"] == [{"example": value, "exampleRef": {"value": None}}]
    assert after.data["evaluationRun"]["dataset"] == {"ref": dataset, "obj": None}


async def test_runs_are_compared(run: Run, calls: CallsStore) -> None:
    await calls.write(
        [
            *whole_run([graded(1, 5, usage=USAGE), graded(2, 2), graded(3, 3)], display_name="old"),
            *whole_run([graded(1, 4), graded(2, 4), graded(9, 1)], 2, runs=True),
        ]
    )

    answer = await run(COMPARE, project=PROJECT, ids=[run_id(1), run_id(2)], first=1)

    assert answer.errors == []
    found = answer.data["evaluationCompare"]
    assert found["numInCommon"] == 2
    assert [(each["id"], each["status"], each["displayName"]) for each in found["runs"]] == [
        (run_id(1), "COMPLETE", "old"),
        (run_id(2), "RUNNING", None),
    ]
    assert [each["usage"]["totalTokens"] for each in found["runs"]] == [120, 0]
    [metric] = found["metrics"]
    assert metric["name"] == "helpfulness.grade"
    nothing = dict.fromkeys(("difference", "meanChange", "numHigher", "numLower", "numEqual"))
    first, second = metric["runs"]
    assert first == {"runId": run_id(1), "mean": pytest.approx(10 / 3), "count": 3} | nothing
    assert second == {
        "runId": run_id(2),
        "mean": 3.0,
        "count": 3,
        "difference": pytest.approx(-1 / 3),
        "meanChange": 0.5,
        "numHigher": 1,
        "numLower": 1,
        "numEqual": 0,
    }
    assert (found["rows"]["totalCount"], found["rows"]["pageInfo"]["hasNextPage"]) == (2, True)
    [row] = found["rows"]["nodes"]
    assert row["exampleDigest"] == digest_of(1)
    assert row["runs"] == [
        {
            "runId": run_id(place + 1),
            "metrics": [{"name": "helpfulness.grade", "mean": mean, "difference": difference}],
            "predictions": [
                {"output": "answer 1", "scores": [{"name": "helpfulness", "value": {"grade": mean, "reason": "so"}}]}
            ],
        }
        for place, (mean, difference) in enumerate([(5, None), (4, -1)])
    ]


async def test_largest_regression_is_sorted_first(run: Run, calls: CallsStore) -> None:
    await calls.write([*whole_run([graded(n, 3) for n in range(4)]), *whole_run([graded(n, n) for n in range(3)], 2)])
    variables = {"project": PROJECT, "ids": [run_id(1), run_id(2)]}
    fell = [{"field": "scores.helpfulness.grade", "direction": "ASC"}]

    found = (await run(COMPARE, **variables, sort=fell, common=False, first=2)).data["evaluationCompare"]["rows"]
    more = (
        await run(COMPARE, **variables, sort=fell, common=False, first=9, after=found["pageInfo"]["endCursor"])
    ).data

    assert [int(row["exampleDigest"]) for row in found["nodes"]] == [0, 1]
    assert [int(row["exampleDigest"]) for row in more["evaluationCompare"]["rows"]["nodes"]] == [2, 3]
    assert more["evaluationCompare"]["rows"]["totalCount"] == 4


async def test_command_count_does_not_depend_on_page_content(run: Run, calls: CallsStore, commands: Commands) -> None:
    for number, size in ((1, 2), (2, 150), (3, 2), (4, 150)):
        scores = [graded(n, n % 5, passed=True, usage=USAGE) for n in range(size)]
        await calls.write(whole_run(scores, number))
    # This first query caches the prices and the names of models in the process.
    assert (await run(COMPARE, project=PROJECT, ids=[run_id(1), run_id(3)])).errors == []
    names = []
    for document in (WHOLE, COMPARE):
        for number in (1, 2):
            commands.sent.clear()
            ids = [run_id(number), run_id(number + 2)]
            answer = await run(document, project=PROJECT, **({"id": ids[0]} if document == WHOLE else {"ids": ids}))
            assert answer.errors == []
            names.append(sorted(commands.names))

    assert names[0] == names[1]
    assert names[2] == names[3]
    assert (len(names[0]), len(names[2])) == (11, 19)


RESULTS_OF = 'evaluationResults(projectId: "acme/chat", evaluationCallId:'
COMPARE_OF = 'evaluationCompare(projectId: "acme/chat", callIds:'


@pytest.mark.parametrize(
    ("field", "code", "argument"),
    [
        ('evaluationStatus(projectId: "acme/chat", callId: "{no}") { __typename }', "BAD_USER_INPUT", "callId"),
        ('evaluationRun(projectId: "acme/chat", callId: "{no}") { id }', "BAD_USER_INPUT", "callId"),
        ('evaluationRun(projectId: "acme", callId: "{run}") { id }', "BAD_USER_INPUT", "projectId"),
        (RESULTS_OF + '"{no}") { totalCount nodes { exampleDigest } }', "BAD_USER_INPUT", "evaluationCallId"),
        (RESULTS_OF + '"{run}", first: 1, last: 1) { totalCount }', "BAD_USER_INPUT", "first"),
        (RESULTS_OF + '"{run}", after: "x") { nodes { exampleDigest } }', "BAD_USER_INPUT", "after"),
        (
            RESULTS_OF + '"{run}", sortBy: [{field: "grade", direction: ASC}]) { nodes { exampleDigest } }',
            "BAD_USER_INPUT",
            "sortBy.0.field",
        ),
        (COMPARE_OF + '["{run}"]) { numInCommon }', "BAD_USER_INPUT", "callIds"),
        (COMPARE_OF + '["{run}", "{run}"]) { numInCommon }', "BAD_USER_INPUT", "callIds.1"),
        (COMPARE_OF + '["{no}", "{run}"]) { numInCommon }', "BAD_USER_INPUT", "callIds.0"),
    ],
)
async def test_invalid_arguments_are_named(run: Run, calls: CallsStore, field: str, code: str, argument: str) -> None:
    await calls.write([*of_run(), start(1), end(1)])
    for name, value in (("no", call_id(1)), ("run", run_id())):
        field = field.replace(f"{{{name}}}", value)

    answer = await run(f"{{ {field} }}")

    [error] = answer.errors
    assert (error["extensions"]["code"], error["extensions"].get("argument")) == (code, argument)


async def test_missing_run_is_null(run: Run, calls: CallsStore) -> None:
    await calls.write(of_run())
    document = (
        "query ($project: ID!, $id: ID!) { evaluationRun(projectId: $project, callId: $id) { id metrics { name } } }"
    )

    assert (await run(document, project=PROJECT, id=run_id(2))).data == {"evaluationRun": None}
    assert (await run(document, project="acme/other", id=run_id(1))).data == {"evaluationRun": None}
    results = f'{{ {RESULTS_OF}"{run_id(9)}") {{ nodes {{ exampleDigest }} }} }}'
    assert await run(results) == ({"evaluationResults": None}, [])
    compared = f'{{ {COMPARE_OF}["{run_id(1)}", "{run_id(9)}"]) {{ numInCommon }} }}'
    assert await run(compared) == ({"evaluationCompare": None}, [])
    assert (await run(document, project=PROJECT, id=run_id(1))).data == {
        "evaluationRun": {"id": run_id(1), "metrics": []}
    }


OF_RUNS = """
query ($project: ID!, $ids: [ID!]!, $first: Int) {
  evaluationCompare(projectId: $project, callIds: $ids) {
    runs {
      id
      results(first: $first) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          exampleDigest example exampleRef { ref }
          predictions { id output call { id } modelCall { id } scores { name value call { id } } }
        }
      }
    }
  }
}
"""


async def test_rows_in_a_list_of_runs_equal_those_of_single_runs(run: Run, calls: CallsStore) -> None:
    await calls.write(
        [
            *whole_run([graded(0, 5), graded(1, 4), Prediction({"question": "inline"}, "said")]),
            *whole_run([graded(1, 1), graded(0, 2), graded(0, 3)], 2),
            *whole_run([], 3),
        ]
    )
    ids = [run_id(1), run_id(2), run_id(3)]

    answer = await run(OF_RUNS, project=PROJECT, ids=ids, first=10)

    assert answer.errors == []
    runs = answer.data["evaluationCompare"]["runs"]
    assert [(each["id"], each["results"]["totalCount"]) for each in runs] == [(ids[0], 3), (ids[1], 2), (ids[2], 0)]
    first, second, third = (each["results"]["nodes"] for each in runs)
    assert third == []
    assert [row["exampleDigest"] for row in second] == [digest_of(1), digest_of(0)]
    assert [[each["output"] for each in row["predictions"]] for row in second] == [["answer 1"], ["answer 0"] * 2]
    assert first[2]["example"] == {"question": "inline"}
    assert first[2]["exampleRef"] is None
    assert first[0]["exampleRef"] == {"ref": row_ref(digest_of(0))}
    [score] = first[0]["predictions"][0]["scores"]
    assert score == {
        "name": "helpfulness",
        "value": {"grade": 5, "reason": "so"},
        "call": {"id": below(0, 2)},
    }
    assert first[0]["predictions"][0]["modelCall"] == {"id": below(0, 1)}
    for run_of, rows in zip(ids, (first, second, third), strict=True):
        alone = await run(
            "query ($project: ID!, $id: ID!) { evaluationResults(projectId: $project, evaluationCallId: $id) { nodes {"
            " exampleDigest example exampleRef { ref } predictions { id output call { id } modelCall { id }"
            " scores { name value call { id } } } } } }",
            project=PROJECT,
            id=run_of,
        )
        assert alone.data["evaluationResults"]["nodes"] == rows


async def test_each_run_has_the_ref_that_was_requested(run: Run, calls: CallsStore) -> None:
    elsewhere = row_ref(digest_of(0)).replace("Questions", "Others")
    await calls.write([*whole_run([graded(0, 5)]), *whole_run([Prediction(elsewhere, "said")], 2)])

    answer = await run(OF_RUNS, project=PROJECT, ids=[run_id(2), run_id(1)], first=10)

    given = [each["results"]["nodes"][0]["exampleRef"]["ref"] for each in answer.data["evaluationCompare"]["runs"]]
    assert given == [elsewhere, row_ref(digest_of(0))]


async def test_rows_of_a_run_continue_by_cursor(run: Run, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(number, 1) for number in range(5)]))
    document = """
    query ($project: ID!, $id: ID!, $after: String) {
      evaluationRun(projectId: $project, callId: $id) {
        results(first: 2, after: $after) { pageInfo { hasNextPage endCursor } nodes { exampleDigest } }
      }
    }
    """
    found, after = [], None
    for has_next in (True, True, False):
        answer = await run(document, project=PROJECT, id=run_id(), after=after)
        page = answer.data["evaluationRun"]["results"]
        assert page["pageInfo"]["hasNextPage"] is has_next
        found += [row["exampleDigest"] for row in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert found == [digest_of(number) for number in range(5)]

    answer = await run(document, project=PROJECT, id=run_id(), after="nonsense")
    assert (answer.code, answer.errors[0]["extensions"]["argument"]) == ("BAD_USER_INPUT", "after")


async def test_command_count_does_not_depend_on_the_number_of_runs(
    run: Run, calls: CallsStore, commands: Commands
) -> None:
    for number in range(1, 9):
        await calls.write(whole_run([graded(n, n % 5, passed=True) for n in range(3)], number))
    names = []
    for count in (2, 8):
        commands.sent.clear()
        answer = await run(OF_RUNS, project=PROJECT, ids=[run_id(number) for number in range(1, count + 1)], first=2)
        runs = answer.data["evaluationCompare"]["runs"]
        assert [len(each["results"]["nodes"]) for each in runs] == [2] * count
        names.append(sorted(commands.names))

    assert names[0] == names[1]
    # The commands read the headers, the rows of all runs, their counts, the refs of examples, and the examples. They
    # also read predictions, the calls below them, and three kinds of related calls.
    assert len(names[0]) == 10


async def test_all_runs_of_a_project_are_listed(run: Run, calls: CallsStore) -> None:
    await calls.write([*whole_run([graded(1, 1)]), start(900, op_name="Evaluation.evaluate")])
    oldest_first = [{"field": "started_at", "direction": "ASC"}]
    document = """query ($p: ID!, $filter: EvaluationRunsFilter, $sort: [SortBy!]) {
      evaluationRuns(projectId: $p, filter: $filter, sortBy: $sort, first: 1) {
        totalCount nodes { id status model { ref } metrics { name } call { id } } pageInfo { hasNextPage }
      }
    }"""

    oldest = await run(document, p=PROJECT, sort=oldest_first)
    complete = await run(document, p=PROJECT, filter={"statuses": ["COMPLETE"]})
    missing = await run(document, p=PROJECT, filter={"statuses": ["NOT_FOUND"]})

    assert oldest.errors == complete.errors == []
    assert oldest.data["evaluationRuns"]["totalCount"] == 2
    assert oldest.data["evaluationRuns"]["pageInfo"]["hasNextPage"] is True
    [node] = oldest.data["evaluationRuns"]["nodes"]
    assert (node["id"], node["status"], node["call"]["id"]) == (call_id(900), "RUNNING", call_id(900))
    [node] = complete.data["evaluationRuns"]["nodes"]
    assert node["status"] == "COMPLETE"
    assert node["metrics"]
    assert missing.errors[0]["extensions"]["argument"] == "filter.statuses.0"
