"""GraphQL types of the rows of an evaluation run."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.types import CallSchema, TraceStatus
from graphql_schema.context import Info
from graphql_schema.fields import json_field, plain_field
from graphql_schema.fields.selection import selected_fields
from graphql_schema.refs import ResolvedRef
from graphql_schema.scalars import BigInt, DateTime
from stores.evaluations.predictions import PredictionSelection
from stores.row_fields import JsonField


@strawberry.type(description="Score of a prediction by one scorer.")
class EvaluationScore:
    """Score; the source is a row of `Predictions.of`."""

    name: str = plain_field("Name of the scorer, as in the prediction.")
    value: JSON | None = json_field(
        JsonField("value"), "Result of the scorer: any JSON value; null if the scorer failed or returned null."
    )
    scorer: ResolvedRef | None = plain_field(
        "Scorer, an object or an op; null if its call is missing or refers to neither."
    )
    call_id: strawberry.ID | None = plain_field("Id of the scorer's call; null if it is missing.")
    status: TraceStatus | None = plain_field("Status of the scorer's call; null if it is missing.")
    exception: str | None = plain_field("Text of the exception that ended the scorer's call; null for none.")

    call: CallSchema | None = plain_field(
        "Call of the scorer, with its latency, usage and costs; null if it is missing."
    )


@strawberry.type(description="Prediction of a model for an example in one trial, with its scores.")
class EvaluationPrediction:
    """Prediction; the source is a row of `Predictions.of`."""

    id: strawberry.ID = plain_field("Id of the prediction's call of Evaluation.predict_and_score.")
    trial: int = plain_field("Index of the trial of the example, from 0, by start time.")
    status: TraceStatus = plain_field("Status of the prediction's call.")
    exception: str | None = plain_field(
        "Text of the exception that ended the prediction's call or the model's call; null for none."
    )
    started_at: DateTime = plain_field("Start time of the prediction.")
    latency_ms: BigInt | None = plain_field(
        "Duration of the prediction including all scores, in whole milliseconds; null while it runs."
    )
    model_latency_ms: float | None = plain_field(
        "Duration of the model's call in milliseconds, as the evaluation measured it; null if it did not."
    )
    output: JSON | None = json_field(
        JsonField("output"),
        "Output of the model: any JSON value; null if the model failed, or while the prediction runs.",
    )
    scores: list[EvaluationScore] = plain_field(
        "Scores in the order of the prediction's output, followed by scores that only scorer calls have.",
        size=5,
    )

    call: CallSchema | None = plain_field("Call of the prediction, the parent of the model's and the scorers' calls.")
    model_call: CallSchema | None = plain_field(
        "Call of the model, with its latency, usage and costs; null if it is missing."
    )


def selected_below_nodes(info: Info, *path: str) -> frozenset[str]:
    """Return the fields selected at a path below a connection's nodes."""
    return frozenset(selected_fields(info, *(".".join((nodes, *path)) for nodes in ("nodes", "edges.node"))))


def wanted_of_predictions(info: Info, *path: str) -> PredictionSelection:
    """Return the fields selected of the predictions at a path below a connection's nodes, and of their calls."""
    return PredictionSelection(
        fields=selected_below_nodes(info, *path),
        of_call=selected_below_nodes(info, *path, "call"),
        of_model_call=selected_below_nodes(info, *path, "modelCall"),
        of_scorer_calls=selected_below_nodes(info, *path, "scores", "call"),
    )


@strawberry.type(description="Row of an evaluation run: an example with its predictions.")
class EvaluationResult:
    """Row of a run; the source is a row of `EvaluationsStore.rows`."""

    example_digest: str = plain_field("Digest of the example, equal in every run and dataset.")
    example_ref: ResolvedRef | None = plain_field(
        "Ref of the example, usually to a row of a dataset; null if the example was passed as a value."
    )
    example: JSON | None = json_field(
        JsonField("example"),
        "Example as a value; null if its ref cannot be resolved in this project. A row of a dataset is kept as long "
        "as the project, even if the dataset is deleted.",
    )

    predictions: list[EvaluationPrediction] = plain_field(
        "Predictions for the example, the earliest start first.", size=5
    )
