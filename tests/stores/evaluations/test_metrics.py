"""Tests that metrics and comparisons of runs equal plain Python's results for the same scores, valid or not."""

import random
from collections import defaultdict
from statistics import fmean
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.database import Database
from stores.errors import BadInputError
from stores.evaluations import EvaluationsStore, scores
from stores.evaluations.scores import find_changes
from stores.paging import Row
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT
from tests.stores.evaluations.builders import Json, Prediction, digest_of, graded, row_ref, run_id, whole_run


async def metrics_of(evaluations: EvaluationsStore, run: int = 1) -> dict[str, Row]:
    key = PROJECT, run_id(run)
    return {row["name"]: row for row in (await evaluations.metrics([key]))[key]}


async def test_each_metric_has_mean_bounds_and_count(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(whole_run([graded(1, 4, passed=True), graded(2, 1, passed=False), graded(2, 2), graded(3, None)]))

    found = await metrics_of(evaluations)

    assert list(found) == ["helpfulness.grade", "passed"]
    grade, passed = found.values()
    assert grade.items() >= {"mean": 7 / 3, "min": 1, "max": 4, "count": 3, "true_count": None}.items()
    assert passed.items() >= {"mean": 0.5, "min": 0, "max": 1, "count": 2, "true_count": 1}.items()


GARBAGE: list[Any] = [
    "high",
    [1, 2],
    {"a": "high", "b": None, "c": [1], "d": {}, "e": {"f": {"g": {"h": 1}}}},
    {"": 5},
    {"dotted.key": 3, "$sign": 4, "per%cent": 5, "back\\slash": 6},
    {"mixed": True},
    {"mixed": 3},
    {"huge": 1.7e308, "small": 1e-300},
    {"huge": 1.7e308},
    None,
]


async def test_non_numbers_are_ignored_and_special_keys_become_paths(
    evaluations: EvaluationsStore, calls: CallsStore
) -> None:
    predictions = [
        Prediction(row_ref(digest_of(n)), own_output={"scores": {"s": each}}) for n, each in enumerate(GARBAGE)
    ]
    odd = [
        Prediction(row_ref(digest_of(50 + n)), own_output=output)
        for n, output in enumerate(["text", [1], {"scores": 5}])
    ]
    await calls.write(whole_run([*predictions, *odd]))

    found = await metrics_of(evaluations)

    means = {name: row["mean"] for name, row in found.items()}
    assert means == {
        "s.": 5,
        "s.$sign": 4,
        r"s.back\\slash": 6,
        r"s.dotted\.key": 3,
        "s.huge": None,
        "s.mixed": 2,
        "s.per%cent": 5,
        "s.small": 1e-300,
    }
    assert found["s.mixed"]["true_count"] is None
    assert found["s.huge"]["max"] == 1.7e308


async def test_difference_beyond_a_double_is_null(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    for run, number in ((1, -1.7e308), (2, 1.7e308)):
        await calls.write(whole_run([Prediction(row_ref(digest_of(1)), scores={"n": number})], run))

    [found] = await evaluations.compared_metrics(PROJECT, [run_id(1), run_id(2)])

    assert [each["mean"] for each in found["runs"]] == [-1.7e308, 1.7e308]
    assert (found["runs"][1]["difference"], found["runs"][1]["mean_change"]) == (None, None)
    assert found["runs"][1]["num_higher"] == 1


async def test_values_are_found_to_the_name_depth_limit(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    await calls.write(
        whole_run(
            [Prediction(row_ref(digest_of(1)), own_output={"scores": {"a": {"b": {"c": {"d": 1, "e": {"f": 2}}}}}})]
        )
    )

    assert list(await metrics_of(evaluations)) == ["a.b.c.d"]


async def test_too_many_metric_names_are_refused(
    evaluations: EvaluationsStore, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await calls.write(whole_run([Prediction(row_ref(digest_of(1)), scores={f"s{n}": n for n in range(6)})]))
    monkeypatch.setattr(scores, "MAX_NAMES", 5)

    with pytest.raises(BadInputError, match="more than 5 different metric names, the limit") as refused:
        await metrics_of(evaluations)
    assert refused.value.argument == "call_id"


def random_runs(runs: int) -> dict[int, list[tuple[int, Json]]]:
    """Return, for each run, examples in order with random scores."""
    rng = random.Random(11)

    def value() -> Any:
        return rng.choice([rng.randrange(4), rng.random(), True, False, None, "x"])

    return {
        run: [
            (rng.randrange(25), {"a": value(), "b": {"c": value(), "d": {"e": value()}}, **rng.choice([{"f": 1}, {}])})
            for _ in range(40)
        ]
        for run in range(1, runs + 1)
    }  # fmt: skip


def numbers(stock: Json, path: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in stock.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{path}{key}.")
        elif isinstance(value, int | float):
            found[f"{path}{key}"] = float(value)
    return found


async def test_comparison_matches_the_model(evaluations: EvaluationsStore, calls: CallsStore) -> None:
    stock = random_runs(3)
    for run, rows in stock.items():
        await calls.write(whole_run([Prediction(row_ref(digest_of(n)), scores=each) for n, each in rows], run))
    by_name: dict[str, dict[int, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run, rows in stock.items():
        for example, each in rows:
            for name, number in numbers(each).items():
                by_name[name][run][example].append(number)

    found = await evaluations.compared_metrics(PROJECT, [run_id(run) for run in stock])

    assert [row["name"] for row in found] == sorted(by_name)
    for row in found:
        runs = by_name[row["name"]]
        means = {run: fmean(n for ns in examples.values() for n in ns) for run, examples in runs.items()}
        assert [each["run_id"] for each in row["runs"]] == [run_id(run) for run in stock]
        for run, each in zip(stock, row["runs"], strict=True):
            assert each["mean"] == pytest.approx(means[run])
            assert each["count"] == sum(map(len, runs[run].values()))
            if run == 1:
                assert "difference" not in each
                continue
            changes = [fmean(runs[run][n]) - fmean(runs[1][n]) for n in runs[run] if n in runs[1]]
            assert each["difference"] == pytest.approx(means[run] - means[1])
            assert each["mean_change"] == pytest.approx(fmean(changes))
            assert each["num_higher"] + each["num_lower"] + each["num_equal"] == len(changes)
            assert each["num_higher"] == pytest.approx(sum(change > 1e-12 for change in changes), abs=1)


async def test_metric_missing_in_one_run_has_no_difference(
    evaluations: EvaluationsStore, calls: CallsStore, commands: Commands
) -> None:
    await calls.write([*whole_run([graded(1, 4), graded(2, 2)]), *whole_run([graded(1, 5, passed=True)], 2)])
    commands.sent.clear()

    grade, passed = await evaluations.compared_metrics(PROJECT, [run_id(1), run_id(2)])

    assert commands.names == ["aggregate", "aggregate"]
    assert [each["mean"] for each in grade["runs"]] == [3, 5]
    assert grade["runs"][1].items() >= {"difference": 2, "mean_change": 1, "num_higher": 1, "num_lower": 0}.items()
    [only] = passed["runs"]
    assert (only["run_id"], only["mean"], only["difference"]) == (run_id(2), 1, None)
    assert "num_higher" not in only


async def test_too_many_example_metrics_are_refused(
    database: Database, calls: CallsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A dataset of thousands of rows, in ten runs with hundreds of numbers each, would have millions of metrics.
    await calls.write([*whole_run([graded(1, 4, passed=True), graded(2, 2)]), *whole_run([graded(1, 5)], 2)])
    arguments = database, PROJECT, [run_id(1), run_id(2)], [digest_of(1), digest_of(2)]

    monkeypatch.setattr(scores, "MAX_NUMBERS", 4)
    found = await find_changes(*arguments)
    monkeypatch.setattr(scores, "MAX_NUMBERS", 3)
    with pytest.raises(BadInputError, match="more than 3 metrics, the limit of one response") as refused:
        await find_changes(*arguments)

    assert [[len(numbers) for numbers in runs] for runs in found.values()] == [[2, 1], [1, 0]]
    assert refused.value.argument == "first"
