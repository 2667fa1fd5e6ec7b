"""What a run of an evaluation looks like: of what it is, how it went, and what its scores come to."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.aggregates.types import UsageTotals
from graphql_schema.calls.types import CallSchema
from graphql_schema.context import Info
from graphql_schema.evaluations.results import EvaluationResult, wanted_of_predictions
from graphql_schema.evaluations.types import EvaluationStatusCode
from graphql_schema.fields import described, json_field, resolved
from graphql_schema.fields.relations import by, edge, edges
from graphql_schema.refs import ResolvedRef
from graphql_schema.scalars import BigInt, DateTime
from stores.paging import Row
from stores.row_fields import JsonField


@strawberry.type(description="A number in the scores of a run: what it comes to over all predictions that have it.")
class EvaluationMetric:
    """A metric; its source is a row of `EvaluationsStore.metrics`."""

    name: str = described(
        r"Where it is in the scores, such as helpfulness.grade: the scorer's name, and a path into what that gave. "
        r"Written with \. for a dot in a key; of at most four keys. With scores. before it, it is a field of rows to "
        r"sortBy and query."
    )
    mean: float | None = described("The mean, true as 1 and false as 0; null beyond the range of doubles.")
    min: float | None = described("The least.")
    max: float | None = described("The greatest.")
    count: BigInt = described("How many predictions have it.")
    true_count: BigInt | None = described("How many of them have true; null unless all have true or false.")


@strawberry.type(description="A run of an evaluation: a call of Evaluation.evaluate, whoever made it.")
class EvaluationRun:
    """A run; its source is a row of `EvaluationsStore.run`."""

    id: strawberry.ID = described("The id of its call.")
    project_id: strawberry.ID = described("The project, as entity/project.")
    display_name: str | None = described("A name given to it; null if none was.")
    status: EvaluationStatusCode = described("How it stands; evaluationStatus tells how far one under way is.")
    exception: str | None = described("The exception that ended it, as text.")
    started_at: DateTime = described("When it started.")
    ended_at: DateTime | None = described("When it ended; null while it is under way.")
    latency_ms: BigInt | None = described("From start to end in whole milliseconds; null while it is under way.")
    output: JSON | None = json_field(
        JsonField("output"), "What it summed up itself, by scorer: a JSON object; null while it is under way."
    )
    evaluation: ResolvedRef | None = described("The evaluation that it is of; null where that is no object.")
    model: ResolvedRef | None = described("The model that it is of, an object or an op; null where that is neither.")
    dataset: ResolvedRef | None = described(
        "The dataset of the evaluation; null where the evaluation is deleted, missing or has none by ref."
    )
    scorers: list[ResolvedRef] = described("The scorers of the evaluation that it names by ref.")
    trials: int = described("How often the evaluation has each example tried.")

    call = edge("Its call.", CallSchema | None, lambda stores: stores.calls.by_keys, by("project_id", "id"))

    results = edges(
        "Its rows, one for each example, with what was made of it in all trials, those first that were begun first; "
        "evaluationResults sorts them, and asks for some.",
        EvaluationResult,
        lambda stores: stores.evaluations.results,
        by("project_id", "id"),
        deeper=lambda info: (wanted_of_predictions(info, "predictions"),),
    )

    @resolved(
        "The numbers in its scores, by name, computed from its predictions: those that are there of one under way.",
        returns=list[EvaluationMetric],
    )
    async def metrics(self, info: Info, parent: strawberry.Parent[Row]) -> list[Row]:
        """The numbers in its scores."""
        key = parent["project_id"], parent["id"]
        return await info.context.loaders.load(info.context.stores.evaluations.metrics, key)

    @resolved(
        "What it used of models with all calls below it, each call's own usage counted once. Where its call sums that "
        "up, as Weave's client does, it is that, and so it is for a run in the middle of a trace.",
        returns=UsageTotals,
    )
    async def usage(self, info: Info, parent: strawberry.Parent[Row]) -> Row:
        """What it used of models."""
        key = parent["project_id"], parent["id"]
        return await info.context.loaders.load(info.context.stores.evaluations.usage, key)
