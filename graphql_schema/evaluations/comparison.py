"""What runs look like side by side."""

from functools import partial
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.evaluations.results import EvaluationPrediction, selected_below_nodes, wanted_of_predictions
from graphql_schema.evaluations.runs import EvaluationRun
from graphql_schema.fields import connections, json_field, plain_field, resolved_field
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.sorting import SortBy, sort_keys
from graphql_schema.refs import ResolvedRef
from graphql_schema.scalars import BigInt
from stores.paging import PageRequest, Row
from stores.row_fields import JsonField

Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="In which order: by numbers as evaluationResults takes them, of which it is how much higher their "
        "mean is in the last run than in the first, so that asc begins with what fell most; or by started_at, as if "
        "left out or empty."
    ),
]
InCommon = Annotated[
    bool | None,
    strawberry.argument(description="Only examples that all runs have; with false, those of any. True if left out."),
]


@strawberry.type(description="What one of several runs has of a number in their scores, beside the first of them.")
class ComparedRunMetric:
    """A metric of a run; its source is a row of `stores.evaluations.metrics.compare_metrics`."""

    run_id: strawberry.ID = plain_field("The id of the run.")
    mean: float | None = plain_field("The mean over its predictions, true as 1 and false as 0.")
    min: float | None = plain_field("The least.")
    max: float | None = plain_field("The greatest.")
    count: BigInt = plain_field("How many of its predictions have it.")
    true_count: BigInt | None = plain_field("How many of them have true; null unless all have true or false.")
    difference: float | None = plain_field(
        "How much higher the mean is than the first run's; null for that, and where it has no such number."
    )
    mean_change: float | None = plain_field(
        "The same over those examples alone of which both runs have the number, each counted once; null where there is "
        "none."
    )
    num_higher: BigInt | None = plain_field("Of how many of these examples it is higher than in the first run.")
    num_lower: BigInt | None = plain_field("Of how many it is lower.")
    num_equal: BigInt | None = plain_field("Of how many it is the same.")


@strawberry.type(description="A number in the scores of several runs.")
class ComparedMetric:
    """A metric; its source is a row of `stores.evaluations.metrics.compare_metrics`."""

    name: str = plain_field("Where it is in the scores, as EvaluationMetric.name.")
    runs: list[ComparedRunMetric] = plain_field("What each run that has it has, in the order of the runs.")


@strawberry.type(description="What a run has of a number in the scores of one example, beside the first run.")
class ComparedNumber:
    """A number; its source is a row of `stores.evaluations.metrics.find_changes`."""

    name: str = plain_field("Where it is in the scores, as EvaluationMetric.name.")
    mean: float | None = plain_field("The mean over the run's trials of the example, true as 1 and false as 0.")
    difference: float | None = plain_field(
        "How much higher that is than in the first run; null for that, and where it has no such number."
    )


@strawberry.type(description="What one of several runs made of an example.")
class ComparedResult:
    """A run's part of a row; its source is one of the `runs` of a row of `EvaluationsStore.joined_rows`."""

    run_id: strawberry.ID = plain_field("The id of the run.")
    predictions: list[EvaluationPrediction] = plain_field(
        "What it made of the example in each trial; empty where it does not have it.", size=5
    )
    metrics: list[ComparedNumber] = plain_field("The numbers in its scores of the example, by name.")


@strawberry.type(description="An example, and what each of several runs made of it.")
class ComparedExample:
    """A row; its source is a row of `EvaluationsStore.joined_rows`."""

    example_digest: str = plain_field("The example's digest, by which the runs are joined.")
    example_ref: ResolvedRef | None = plain_field(
        "The ref by which it was given first; null where it was given as it is."
    )
    example: JSON | None = json_field(JsonField("example"), "The example itself, as EvaluationResult.example.")
    runs: list[ComparedResult] = plain_field("What each run made of it, in the order of the runs.")


@strawberry.type(description="Several runs of evaluations side by side. Each is compared with the first.")
class EvaluationComparison:
    """A comparison; its source is a dict of `project_id`, `run_ids` and the headers of the `runs`."""

    runs: list[EvaluationRun] = plain_field("The runs, in the order in which they were asked for.")

    @resolved_field("The numbers in their scores, by name.", returns=list[ComparedMetric], size=10)
    async def metrics(self, info: Info, parent: strawberry.Parent[Row]) -> list[Row]:
        """The numbers in their scores."""
        return await info.context.stores.evaluations.compared_metrics(parent["project_id"], parent["run_ids"])

    @resolved_field("How many examples all of the runs have: those by which they can be compared.")
    async def num_in_common(self, info: Info, parent: strawberry.Parent[Row]) -> BigInt:
        """How many examples all runs have."""
        count = info.context.stores.evaluations.count_joined_rows
        return BigInt(await count(parent["project_id"], parent["run_ids"]))

    @connection_field("A page of their examples, those first that were begun first in any run.", of=ComparedExample)
    async def rows(
        self,
        info: Info,
        parent: strawberry.Parent[Row],
        sort_by: Sort = None,
        *,
        request: PageRequest,
        only_in_common: InCommon = True,
    ) -> Listing:
        """A page of their examples."""
        store, asked = info.context.stores.evaluations, (parent["project_id"], parent["run_ids"])
        only_common = only_in_common is not False
        page = await store.joined_rows(
            *asked,
            request,
            connections.selected_of_nodes(info),
            sort_keys(sort_by),
            wanted_of_predictions(info, "runs", "predictions"),
            only_common=only_common,
            with_metrics="metrics" in selected_below_nodes(info, "runs"),
        )
        return Listing(page, partial(store.count_joined_rows, *asked, only_common=only_common))
