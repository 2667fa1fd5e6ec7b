"""What a run of an evaluation looks like: of what it is, how it went, and what its scores come to."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.aggregates.types import UsageTotals
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.evaluations.results import EvaluationResult, wanted_of_predictions
from graphql_schema.evaluations.types import EvaluationStatusCode
from graphql_schema.fields import json_field, plain_field, resolved_field
from graphql_schema.fields.relations import key_of, to_many, to_one
from graphql_schema.refs import ResolvedRef
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import Row
from stores.row_fields import JsonField


@strawberry.type(description="A number in the scores of a run: what it comes to over all predictions that have it.")
class EvaluationMetric:
    """A metric; its source is a row of `EvaluationsStore.metrics`."""

    name: str = plain_field(
        r"Where it is in the scores, such as helpfulness.grade: the scorer's name, and a path into what that gave. "
        r"Written with \. for a dot in a key; of at most four keys. With scores. before it, it is a field of rows to "
        r"sortBy and query."
    )
    mean: float | None = plain_field("The mean, true as 1 and false as 0; null beyond the range of doubles.")
    min: float | None = plain_field("The least.")
    max: float | None = plain_field("The greatest.")
    count: BigInt = plain_field("How many predictions have it.")
    true_count: BigInt | None = plain_field("How many of them have true; null unless all have true or false.")


@strawberry.type(description="A run of an evaluation: a call of Evaluation.evaluate, whoever made it.")
class EvaluationRun:
    """A run; its source is a row of `EvaluationsStore.run`."""

    id: strawberry.ID = plain_field("The id of its call.")
    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    display_name: str | None = plain_field("A name given to it; null if none was.")
    status: EvaluationStatusCode = plain_field("How it stands; evaluationStatus tells how far one under way is.")
    exception: str | None = plain_field("The exception that ended it, as text.")
    started_at: DateTime = plain_field("When it started.")
    ended_at: DateTime | None = plain_field("When it ended; null while it is under way.")
    latency_ms: BigInt | None = plain_field("From start to end in whole milliseconds; null while it is under way.")
    output: JSON | None = json_field(
        JsonField("output"), "What it summed up itself, by scorer: a JSON object; null while it is under way."
    )
    evaluation: ResolvedRef | None = plain_field("The evaluation that it is of; null where that is no object.")
    model: ResolvedRef | None = plain_field("The model that it is of, an object or an op; null where that is neither.")
    dataset: ResolvedRef | None = plain_field(
        "The dataset of the evaluation; null where the evaluation is deleted, missing or has none by ref."
    )
    scorers: list[ResolvedRef] = plain_field("The scorers of the evaluation that it names by ref.")
    trials: int = plain_field("How often the evaluation has each example tried.")

    call = to_one("Its call.", CallSchema | None, lambda stores: stores.calls.by_keys, key_of("project_id", "id"))

    results = to_many(
        "Its rows, one for each example, with what was made of it in all trials, those first that were begun first; "
        "evaluationResults sorts them, and asks for some.",
        EvaluationResult,
        lambda stores: stores.evaluations.rows_by_run,
        key_of("project_id", "id"),
        deeper=lambda info: (wanted_of_predictions(info, "predictions"),),
    )

    @resolved_field(
        "The numbers in its scores, by name, computed from its predictions: those that are there of one under way.",
        returns=list[EvaluationMetric],
    )
    async def metrics(self, info: Info, parent: strawberry.Parent[Row]) -> list[Row]:
        """The numbers in its scores."""
        key = parent["project_id"], parent["id"]
        return await info.context.loaders.load(info.context.stores.evaluations.metrics, key)

    @resolved_field(
        "What it used of models with all calls below it, each call's own usage counted once. Where its call sums that "
        "up, as Weave's client does, it is that, and so it is for a run in the middle of a trace.",
        returns=UsageTotals,
    )
    async def usage(self, info: Info, parent: strawberry.Parent[Row]) -> Row:
        """What it used of models."""
        key = parent["project_id"], parent["id"]
        return await info.context.loaders.load(info.context.stores.evaluations.usage, key)
