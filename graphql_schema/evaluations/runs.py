"""GraphQL types of an evaluation run and of the metrics of its scores."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.aggregates import UsageTotals
from graphql_schema.calls.types import CallSchema
from graphql_schema.evaluations.results import EvaluationResult, wanted_of_predictions
from graphql_schema.evaluations.types import EvaluationStatusCode
from graphql_schema.fields import json_field, plain_field
from graphql_schema.fields.connections import key_of, to_many, to_one
from graphql_schema.refs import ResolvedRef
from graphql_schema.scalars import BigInt, DateTime
from stores.row_fields import JsonField


@strawberry.type(description="Metric of a run: a number in its scores, aggregated over all predictions.")
class EvaluationMetric:
    """Metric; the source is a row of `EvaluationsStore.metrics`."""

    name: str = plain_field(
        "Path in the scores, such as helpfulness.grade: the scorer's name, and keys of its result, at most four keys "
        "in all. A dot in a key is written \\. Prefixed with scores. it is a field of rows, for sortBy and query."
    )
    mean: float | None = plain_field("Mean, with true as 1 and false as 0; null beyond the range of doubles.")
    min: float | None = plain_field("Minimum over the predictions.")
    max: float | None = plain_field("Maximum over the predictions.")
    count: BigInt = plain_field("Number of predictions with a value.")
    true_count: BigInt | None = plain_field(
        "Number of predictions with the value true; null unless all values are booleans."
    )


@strawberry.type(description="Evaluation run: a call of Evaluation.evaluate, by a client or by the server.")
class EvaluationRun:
    """Run; the source is a row of `EvaluationsStore.run`."""

    id: strawberry.ID = plain_field("Id of the run's call.")
    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    display_name: str | None = plain_field("Display name of the run; null if none was set.")
    status: EvaluationStatusCode = plain_field(
        "State of the run; evaluationStatus reports the progress of a running one."
    )
    exception: str | None = plain_field("Text of the exception that ended the run; null for none.")
    started_at: DateTime = plain_field("Start time of the run.")
    ended_at: DateTime | None = plain_field("End time of the run; null while it runs.")
    latency_ms: BigInt | None = plain_field("Duration of the run in whole milliseconds; null while it runs.")
    output: JSON | None = json_field(
        JsonField("output"), "Summary that the run computed itself, by scorer, as a JSON object; null while it runs."
    )
    evaluation: ResolvedRef | None = plain_field("Evaluation of the run; null if it is no object.")
    model: ResolvedRef | None = plain_field("Model of the run, an object or an op; null if it is neither.")
    dataset: ResolvedRef | None = plain_field(
        "Dataset of the evaluation; null if the evaluation is deleted, missing or has none by ref."
    )
    scorers: list[ResolvedRef] = plain_field("Scorers that the evaluation refers to by ref.")
    trials: int = plain_field("Number of trials of each example.")

    call = to_one(
        "Call of the run.", CallSchema | None, lambda stores: stores.calls.by_keys, key_of("project_id", "id")
    )

    results = to_many(
        "Rows of the run, one for each example, with its predictions in all trials, the earliest start first. "
        "evaluationResults filters and sorts them.",
        EvaluationResult,
        lambda stores: stores.evaluations.rows_by_run,
        key_of("project_id", "id"),
        select_deeper=lambda info: (wanted_of_predictions(info, "predictions"),),
    )

    metrics = to_one(
        "Metrics of the scores, sorted by name, computed from the predictions stored so far.",
        list[EvaluationMetric],
        lambda stores: stores.evaluations.metrics,
        key_of("project_id", "id"),
        select=lambda _: (),
    )
    usage = to_one(
        "Usage of models by the run's call and its descendants, with each call's own usage counted once. If the call "
        "reports the sum, as Weave's client does, or has a parent, it is the usage that the call reports.",
        UsageTotals,
        lambda stores: stores.evaluations.usage,
        key_of("project_id", "id"),
        select=lambda _: (),
    )
