"""GraphQL types that compare evaluation runs."""

from functools import partial
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.evaluations.results import EvaluationPrediction, selected_below_nodes, wanted_of_predictions
from graphql_schema.evaluations.runs import EvaluationRun
from graphql_schema.fields import connections, json_field, plain_field, resolved_field
from graphql_schema.fields.connections import Listing, SortBy, connection_field, sort_keys
from graphql_schema.refs import ResolvedRef
from graphql_schema.scalars import BigInt
from stores.paging import PageRequest, Row
from stores.row_fields import JsonField

Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="Sort order, by numbers of the scores named as in evaluationResults. The sort value is the "
        "mean in the last run minus the mean in the first run, so asc starts with the largest "
        "decrease. By started_at if omitted or empty."
    ),
]
InCommon = Annotated[
    bool | None,
    strawberry.argument(description="True if only examples of all runs are returned; false for those of any run."),
]


@strawberry.type(description="Metric of one of several runs, compared with the first run.")
class ComparedRunMetric:
    """Metric of a run; the source is a row of `stores.evaluations.metrics.compare_metrics`."""

    run_id: strawberry.ID = plain_field("Id of the run.")
    mean: float | None = plain_field(
        "Mean over the run's predictions, with true as 1 and false as 0; null beyond the range of doubles."
    )
    min: float | None = plain_field("Minimum over the run's predictions.")
    max: float | None = plain_field("Maximum over the run's predictions.")
    count: BigInt = plain_field("Number of predictions with a value.")
    true_count: BigInt | None = plain_field(
        "Number of predictions with the value true; null unless all values are booleans."
    )
    difference: float | None = plain_field(
        "Mean minus the mean of the first run; null for the first run, and if the first run has no value."
    )
    mean_change: float | None = plain_field(
        "Mean difference to the first run over the examples of which both runs have a value, each counted once; null "
        "if there are none."
    )
    num_higher: BigInt | None = plain_field(
        "Number of these examples with a higher value than in the first run; null if there are none."
    )
    num_lower: BigInt | None = plain_field(
        "Number of these examples with a lower value than in the first run; null if there are none."
    )
    num_equal: BigInt | None = plain_field("Number of these examples with an equal value; null if there are none.")


@strawberry.type(description="Metric of several runs.")
class ComparedMetric:
    """Metric; the source is a row of `stores.evaluations.metrics.compare_metrics`."""

    name: str = plain_field("Path in the scores, as in EvaluationMetric.name.")
    runs: list[ComparedRunMetric] = plain_field("Metrics of the runs that have a value, in the order of the runs.")


@strawberry.type(description="Metric of one example in one run, compared with the first run.")
class ComparedNumber:
    """Metric of an example; the source is a row of `stores.evaluations.metrics.find_changes`."""

    name: str = plain_field("Path in the scores, as in EvaluationMetric.name.")
    mean: float | None = plain_field("Mean over the run's trials of the example, with true as 1 and false as 0.")
    difference: float | None = plain_field(
        "Mean minus the mean of the first run; null for the first run, and if the first run has no value."
    )


@strawberry.type(description="Predictions of one run for an example.")
class ComparedResult:
    """Predictions of a run; the source is one of the `runs` of a row of `EvaluationsStore.joined_rows`."""

    run_id: strawberry.ID = plain_field("Id of the run.")
    predictions: list[EvaluationPrediction] = plain_field(
        "Predictions for the example, one for each trial; empty if the run does not have the example.", size=5
    )
    metrics: list[ComparedNumber] = plain_field("Metrics of the example, sorted by name.")


@strawberry.type(description="Example with the predictions of several runs.")
class ComparedExample:
    """Row of a comparison; the source is a row of `EvaluationsStore.joined_rows`."""

    example_digest: str = plain_field("Digest of the example, by which the runs are joined.")
    example_ref: ResolvedRef | None = plain_field(
        "Ref of the example in the first run that has one; null if the example was passed as a value."
    )
    example: JSON | None = json_field(JsonField("example"), "Example as in EvaluationResult.example.")
    runs: list[ComparedResult] = plain_field("Predictions of the runs, in the order of the runs.")


@strawberry.type(description="Comparison of several evaluation runs with the first of them.")
class EvaluationComparison:
    """Comparison; the source is a dict of `project_id`, `run_ids` and the headers of the `runs`."""

    runs: list[EvaluationRun] = plain_field("Runs in the order of the request.")

    @resolved_field("Metrics of the scores, sorted by name.", returns=list[ComparedMetric], size=10)
    async def metrics(self, info: Info, parent: strawberry.Parent[Row]) -> list[Row]:
        """Read the metrics of all runs."""
        return await info.context.stores.evaluations.compared_metrics(parent["project_id"], parent["run_ids"])

    @resolved_field("Number of examples that all runs have in common.")
    async def num_in_common(self, info: Info, parent: strawberry.Parent[Row]) -> BigInt:
        """Count the examples that all runs have."""
        count = info.context.stores.evaluations.count_joined_rows
        return BigInt(await count(parent["project_id"], parent["run_ids"]))

    @connection_field("Page of the examples, sorted by their earliest start in any run.", of=ComparedExample)
    async def rows(
        self,
        info: Info,
        parent: strawberry.Parent[Row],
        sort_by: Sort = None,
        *,
        request: PageRequest,
        only_in_common: InCommon = True,
    ) -> Listing:
        """Return a page of examples and a function that counts all of them."""
        store, key = info.context.stores.evaluations, (parent["project_id"], parent["run_ids"])
        only_common = only_in_common is not False
        page = await store.joined_rows(
            *key,
            request,
            connections.selected_node_fields(info),
            sort_keys(sort_by),
            wanted_of_predictions(info, "runs", "predictions"),
            only_common=only_common,
            with_metrics="metrics" in selected_below_nodes(info, "runs"),
        )
        return Listing(page, partial(store.count_joined_rows, *key, only_common=only_common))
