"""Tests of the usage of runs and its cost under a price with tiers."""

import pytest

from stores.calls import CallsStore
from stores.costs import Prices
from stores.costs.defaults import of_model
from stores.evaluations import EvaluationsStore
from stores.evaluations.running.worker import Tally
from tests.stores.calls.builders import PROJECT
from tests.stores.evaluations.builders import Json, graded, run_id, whole_run

TIERED = "gemini-2.5-pro"
"""Model that costs $1.25 and $10 per million tokens, and $2.50 and $15 above 200,000 prompt tokens."""


def tokens(prompt: int, requests: int = 1) -> Json:
    return {TIERED: {"requests": requests, "prompt_tokens": prompt, "completion_tokens": 100 * requests}}


@pytest.mark.parametrize(
    ("prompts", "cost"),
    [
        pytest.param((5_000, 6_000), 0.01575, id="11,000 x 1.25e-6 + 200 x 1e-5, below the tier together"),
        pytest.param((150_000, 100_000), 0.3145, id="250,000 x 1.25e-6 + 200 x 1e-5, each below the tier"),
        pytest.param((5_000, 250_000), 0.63375, id="5,000 x 1.25e-6 + 100 x 1e-5 + 250,000 x 2.5e-6 + 100 x 1.5e-5"),
    ],
)
async def test_run_that_sums_usage_costs_as_much_as_its_requests(
    evaluations: EvaluationsStore, calls: CallsStore, prompts: tuple[int, ...], cost: float
) -> None:
    summary = {"usage": tokens(sum(prompts), len(prompts)), "status_counts": {"success": 4}}
    predictions = [graded(number, None, usage=tokens(prompt)) for number, prompt in enumerate(prompts)]
    await calls.write(whole_run(predictions, summary=summary))

    usage = (await evaluations.usage([(PROJECT, run_id())]))[PROJECT, run_id()]

    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["requests"]) == (sum(prompts), 200, 2)
    assert usage["cost"] == cost


def test_run_of_100_short_requests_costs_100_times_one() -> None:
    tally = Tally()
    for _ in range(100):
        tally.add(Tally({"usage": tokens(5_000)}))

    assert Prices(of_model(TIERED)).total_cost([tally.usage[TIERED]], 0) == 0.725
