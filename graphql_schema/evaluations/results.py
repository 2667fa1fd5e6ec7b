"""What the rows of a run look like."""

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


@strawberry.type(description="What one scorer made of a prediction.")
class EvaluationScore:
    """A score; its source is a row of `Predictions.of`."""

    name: str = plain_field("The scorer's name, as the prediction has it.")
    value: JSON | None = json_field(
        JsonField("value"), "What the scorer gave: any JSON value; null where it failed, or gave null."
    )
    scorer: ResolvedRef | None = plain_field(
        "The scorer, an object or an op; null where its call is not there, or names neither."
    )
    call_id: strawberry.ID | None = plain_field("The id of the scorer's call; null where none is found.")
    status: TraceStatus | None = plain_field("How the scorer's call went; null where none is found.")
    exception: str | None = plain_field("The exception that ended the scorer's call, as text.")

    call: CallSchema | None = plain_field(
        "The scorer's call, with its latency, usage and costs; null where none is found."
    )


@strawberry.type(description="What a model made of an example in one trial, and what the scorers made of that.")
class EvaluationPrediction:
    """A prediction; its source is a row of `Predictions.of`."""

    id: strawberry.ID = plain_field("The id of its call, one of Evaluation.predict_and_score.")
    trial: int = plain_field("Which of the example's trials it is, from 0, by when they were begun.")
    status: TraceStatus = plain_field("How its call went.")
    exception: str | None = plain_field("What ended its call, or the model's, as text.")
    started_at: DateTime = plain_field("When it started.")
    latency_ms: BigInt | None = plain_field("What it took with all scores, in whole milliseconds; null while it runs.")
    model_latency_ms: float | None = plain_field(
        "What the model took, in milliseconds, as the evaluation measured it; null where it did not."
    )
    output: JSON | None = json_field(
        JsonField("output"), "What the model gave: any JSON value; null where it failed, or while the prediction runs."
    )
    scores: list[EvaluationScore] = plain_field(
        "Its scores in the order in which it has them, and then those of scorers whose calls are there alone.",
        size=5,
    )

    call: CallSchema | None = plain_field("Its own call, of which the others are children.")
    model_call: CallSchema | None = plain_field(
        "The model's call, with its latency, usage and costs; null where it is not there."
    )


def selected_below_nodes(info: Info, *path: str) -> frozenset[str]:
    """The fields selected at a path below a connection's nodes, so that all rows get them at once."""
    return frozenset(selected_fields(info, *(".".join((nodes, *path)) for nodes in ("nodes", "edges.node"))))


def wanted_of_predictions(info: Info, *path: str) -> PredictionSelection:
    """What is selected of the predictions at a path below a connection's nodes, and of the calls at their edges."""
    return PredictionSelection(
        fields=selected_below_nodes(info, *path),
        of_call=selected_below_nodes(info, *path, "call"),
        of_model_call=selected_below_nodes(info, *path, "modelCall"),
        of_scorer_calls=selected_below_nodes(info, *path, "scores", "call"),
    )


@strawberry.type(description="A row of a run: an example, and what was made of it in each trial.")
class EvaluationResult:
    """A row; its source is a row of `EvaluationsStore.rows`."""

    example_digest: str = plain_field("The example's digest, the same in every run over whichever dataset.")
    example_ref: ResolvedRef | None = plain_field(
        "The ref by which the example was given, mostly that of a row of a dataset; null where it was given as it is."
    )
    example: JSON | None = json_field(
        JsonField("example"),
        "The example itself; null where its ref leads to nothing in this project. A row is there for as long as its "
        "project, also when its dataset was deleted.",
    )

    predictions: list[EvaluationPrediction] = plain_field("What was made of it, the first begun first.", size=5)
