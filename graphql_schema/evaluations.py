"""Evaluations: types, queries that read and compare runs, mutations that start and cancel them, and their progress."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import Enum
from functools import partial
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.aggregates import UsageTotals
from graphql_schema.calls.types import CallSchema, TraceStatus
from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import (
    ProjectId,
    User,
    argument,
    connections,
    found_or_null,
    json_field,
    plain_field,
    resolved_field,
    selected_fields,
    subscription_field,
    to_store,
)
from graphql_schema.fields.connections import (
    Listing,
    SortBy,
    connection_field,
    key_of,
    list_field,
    sort_keys,
    to_many,
    to_one,
)
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.refs import ResolvedRef
from stores.evaluations import RunsFilter
from stores.evaluations import logged_runs as stored
from stores.evaluations.result_rows import PredictionSelection
from stores.ids import check_call_id
from stores.paging import JsonField, PageRequest, Row

RunId = Annotated[strawberry.ID, argument("Id of the run: of its call of Evaluation.evaluate.")]


@strawberry.enum
class EvaluationStatusCode(Enum):
    """State of an evaluation run."""

    # The values are those of the reference API.

    NOT_FOUND = "not_found"
    """No run: its call is missing or deleted."""
    RUNNING = "running"
    """Running: started but not ended."""
    FAILED = "failed"
    """Failed: ended with an exception."""
    COMPLETE = "complete"
    """Complete: ended without an exception, whatever its scores."""


@strawberry.type
class EvaluationStatusNotFound:
    """State of a missing or deleted run."""

    code: EvaluationStatusCode
    """Always NOT_FOUND."""


@strawberry.type
class EvaluationStatusRunning:
    """State of a running evaluation."""

    code: EvaluationStatusCode
    """Always RUNNING."""
    completed_rows: BigInt
    """Number of completed rows; each trial of an example counts as a row."""
    total_rows: BigInt
    """Number of all rows: dataset rows times trials, but at least completedRows; equal to completedRows if the dataset
    is unknown.
    """


@strawberry.type
class EvaluationStatusFailed:
    """State of an evaluation that ended with an exception."""

    code: EvaluationStatusCode
    """Always FAILED."""
    error: str | None
    """Text of the exception that ended the run."""


@strawberry.type
class EvaluationStatusComplete:
    """State of an evaluation that ended without an exception."""

    code: EvaluationStatusCode
    """Always COMPLETE."""
    output: JSON
    """Summary that the run computed, by scorer, as a JSON object."""


EvaluationStatus = Annotated[
    EvaluationStatusNotFound | EvaluationStatusRunning | EvaluationStatusFailed | EvaluationStatusComplete,
    strawberry.union("EvaluationStatus", description="State of an evaluation run; the four types differ in code."),
]


def status_of(status: stored.Status) -> EvaluationStatus:
    """Convert a state of `stores.evaluations` to its GraphQL type."""
    match status:
        case stored.NotFound():
            return EvaluationStatusNotFound(code=EvaluationStatusCode.NOT_FOUND)
        case stored.Running(completed, total):
            return EvaluationStatusRunning(
                code=EvaluationStatusCode.RUNNING, completed_rows=BigInt(completed), total_rows=BigInt(total)
            )
        case stored.Failed(error):
            return EvaluationStatusFailed(code=EvaluationStatusCode.FAILED, error=error)
        case stored.Complete(output):
            return EvaluationStatusComplete(code=EvaluationStatusCode.COMPLETE, output=JSON(output))


@strawberry.type
class EvaluationScore:
    """Score of a prediction by one scorer."""

    # The source is a row of `Predictions.of`.

    name: str
    """Name of the scorer, as in the prediction."""
    value: JSON | None = json_field(JsonField("value"))
    """Result of the scorer: any JSON value; null if the scorer failed or returned null."""
    scorer: ResolvedRef | None
    """Scorer, an object or an op; null if its call is missing or refers to neither."""
    call_id: strawberry.ID | None
    """Id of the scorer's call; null if it is missing."""
    status: TraceStatus | None
    """Status of the scorer's call; null if it is missing."""
    exception: str | None
    """Text of the exception that ended the scorer's call; null for none."""

    call: CallSchema | None
    """Call of the scorer, with its latency, usage and costs; null if it is missing."""


@strawberry.type
class EvaluationPrediction:
    """Prediction of a model for an example in one trial, with its scores."""

    # The source is a row of `Predictions.of`.

    id: strawberry.ID
    """Id of the prediction's call of Evaluation.predict_and_score."""
    trial: int
    """Index of the trial of the example, from 0, by start time."""
    status: TraceStatus
    """Status of the prediction's call."""
    exception: str | None
    """Text of the exception that ended the prediction's call or the model's call; null for none."""
    started_at: DateTime
    """Start time of the prediction."""
    latency_ms: BigInt | None
    """Duration of the prediction including all scores, in whole milliseconds; null while it runs."""
    model_latency_ms: float | None
    """Duration of the model's call in milliseconds, as the evaluation measured it; null if it did not."""
    output: JSON | None = json_field(JsonField("output"))
    """Output of the model: any JSON value; null if the model failed, or while the prediction runs."""
    scores: list[EvaluationScore] = plain_field(size=5)
    """Scores in the order of the prediction's output, followed by scores that only scorer calls have."""

    call: CallSchema | None
    """Call of the prediction, the parent of the model's and the scorers' calls."""
    model_call: CallSchema | None
    """Call of the model, with its latency, usage and costs; null if it is missing."""


def wanted_of_predictions(info: Info, *path: str) -> PredictionSelection:
    """Return the fields selected of the predictions at a path below a connection's nodes, and of their calls."""

    def selected(*below: str) -> frozenset[str]:
        return frozenset(connections.selected_node_fields(info, *path, *below))

    return PredictionSelection(
        fields=selected(),
        of_call=selected("call"),
        of_model_call=selected("modelCall"),
        of_scorer_calls=selected("scores", "call"),
    )


@strawberry.type
class EvaluationResult:
    """Row of an evaluation run: an example with its predictions."""

    # The source is a row of `EvaluationsStore.rows`.

    example_digest: str
    """Digest of the example, equal in every run and dataset."""
    example_ref: ResolvedRef | None
    """Ref of the example, usually to a row of a dataset; null if the example was passed as a value."""
    example: JSON | None = json_field(JsonField("example"))
    """Example as a value; null if its ref cannot be resolved in this project. A row of a dataset is kept as long as the
    project, even if the dataset is deleted.
    """

    predictions: list[EvaluationPrediction] = plain_field(size=5)
    """Predictions for the example, the earliest start first."""


@strawberry.type
class EvaluationMetric:
    """Metric of a run: a number in its scores, aggregated over all predictions."""

    # The source is a row of `EvaluationsStore.metrics`.

    name: str
    """Path in the scores, such as helpfulness.grade: the scorer's name, and keys of its result, at most four keys in
    all. A dot in a key is written \\. Prefixed with scores. it is a field of rows, for sortBy and query.
    """
    mean: float | None
    """Mean, with true as 1 and false as 0; null beyond the range of doubles."""
    min: float | None
    """Minimum over the predictions."""
    max: float | None
    """Maximum over the predictions."""
    count: BigInt
    """Number of predictions with a value."""
    true_count: BigInt | None
    """Number of predictions with the value true; null unless all values are booleans."""


@strawberry.type
class EvaluationRun:
    """Evaluation run: a call of Evaluation.evaluate, by a client or by the server."""

    # The source is a row of `EvaluationsStore.run`.

    id: strawberry.ID
    """Id of the run's call."""
    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    display_name: str | None
    """Display name of the run; null if none was set."""
    status: EvaluationStatusCode
    """State of the run; evaluationStatus reports the progress of a running one."""
    exception: str | None
    """Text of the exception that ended the run; null for none."""
    started_at: DateTime
    """Start time of the run."""
    ended_at: DateTime | None
    """End time of the run; null while it runs."""
    latency_ms: BigInt | None
    """Duration of the run in whole milliseconds; null while it runs."""
    output: JSON | None = json_field(JsonField("output"))
    """Summary that the run computed itself, by scorer, as a JSON object; null while it runs."""
    evaluation: ResolvedRef | None
    """Evaluation of the run; null if it is no object."""
    model: ResolvedRef | None
    """Model of the run, an object or an op; null if it is neither."""
    dataset: ResolvedRef | None
    """Dataset of the evaluation; null if the evaluation is deleted, missing or has none by ref."""
    scorers: list[ResolvedRef]
    """Scorers that the evaluation refers to by ref."""
    trials: int
    """Number of trials of each example."""

    call = to_one(CallSchema | None, lambda stores: stores.calls.by_keys, key_of("project_id", "id"))
    """Call of the run."""

    results = to_many(
        EvaluationResult,
        lambda stores: stores.evaluations.rows_by_run,
        key_of("project_id", "id"),
        select_deeper=lambda info: (wanted_of_predictions(info, "predictions"),),
    )
    """Rows of the run, one for each example, with its predictions in all trials, the earliest start first.
    evaluationResults filters and sorts them.
    """

    metrics = to_one(
        list[EvaluationMetric],
        lambda stores: stores.evaluations.metrics,
        key_of("project_id", "id"),
        select=lambda _: (),
    )
    """Metrics of the scores, sorted by name, computed from the predictions stored so far."""
    usage = to_one(
        UsageTotals, lambda stores: stores.evaluations.usage, key_of("project_id", "id"), select=lambda _: ()
    )
    """Usage of models by the run's call and its descendants, with each call's own usage counted once. If the call
    reports the sum, as Weave's client does, or has a parent, it is the usage that the call reports.
    """


@strawberry.type
class ComparedRunMetric:
    """Metric of one of several runs, compared with the first run."""

    # The source is a row of `stores.evaluations.scores.compare_metrics`.

    run_id: strawberry.ID
    """Id of the run."""
    mean: float | None
    """Mean over the run's predictions, with true as 1 and false as 0; null beyond the range of doubles."""
    min: float | None
    """Minimum over the run's predictions."""
    max: float | None
    """Maximum over the run's predictions."""
    count: BigInt
    """Number of predictions with a value."""
    true_count: BigInt | None
    """Number of predictions with the value true; null unless all values are booleans."""
    difference: float | None
    """Mean minus the mean of the first run; null for the first run, and if the first run has no value."""
    mean_change: float | None
    """Mean difference to the first run over the examples of which both runs have a value, each counted once; null if
    there are none.
    """
    num_higher: BigInt | None
    """Number of these examples with a higher value than in the first run; null if there are none."""
    num_lower: BigInt | None
    """Number of these examples with a lower value than in the first run; null if there are none."""
    num_equal: BigInt | None
    """Number of these examples with an equal value; null if there are none."""


@strawberry.type
class ComparedMetric:
    """Metric of several runs."""

    # The source is a row of `stores.evaluations.scores.compare_metrics`.

    name: str
    """Path in the scores, as in EvaluationMetric.name."""
    runs: list[ComparedRunMetric]
    """Metrics of the runs that have a value, in the order of the runs."""


@strawberry.type
class ComparedNumber:
    """Metric of one example in one run, compared with the first run."""

    # The source is a row of `stores.evaluations.scores.find_changes`.

    name: str
    """Path in the scores, as in EvaluationMetric.name."""
    mean: float | None
    """Mean over the run's trials of the example, with true as 1 and false as 0."""
    difference: float | None
    """Mean minus the mean of the first run; null for the first run, and if the first run has no value."""


@strawberry.type
class ComparedResult:
    """Predictions of one run for an example."""

    # The source is one of the `runs` of a row of `EvaluationsStore.joined_rows`.

    run_id: strawberry.ID
    """Id of the run."""
    predictions: list[EvaluationPrediction] = plain_field(size=5)
    """Predictions for the example, one for each trial; empty if the run does not have the example."""
    metrics: list[ComparedNumber]
    """Metrics of the example, sorted by name."""


@strawberry.type
class ComparedExample:
    """Example with the predictions of several runs."""

    # The source is a row of `EvaluationsStore.joined_rows`.

    example_digest: str
    """Digest of the example, by which the runs are joined."""
    example_ref: ResolvedRef | None
    """Ref of the example in the first run that has one; null if the example was passed as a value."""
    example: JSON | None = json_field(JsonField("example"))
    """Example as in EvaluationResult.example."""
    runs: list[ComparedResult]
    """Predictions of the runs, in the order of the runs."""


@strawberry.type
class EvaluationComparison:
    """Comparison of several evaluation runs with the first of them."""

    # The source is a dict of `project_id`, `run_ids` and the headers of the `runs`.

    runs: list[EvaluationRun]
    """Runs in the order of the request."""

    @resolved_field(returns=list[ComparedMetric], size=10)
    async def metrics(self, info: Info, parent: strawberry.Parent[Row]) -> list[Row]:
        """Metrics of the scores, sorted by name."""
        return await info.context.stores.evaluations.compared_metrics(parent["project_id"], parent["run_ids"])

    @resolved_field()
    async def num_in_common(self, info: Info, parent: strawberry.Parent[Row]) -> BigInt:
        """Number of examples that all runs have in common."""
        count = info.context.stores.evaluations.count_joined_rows
        return BigInt(await count(parent["project_id"], parent["run_ids"]))

    @connection_field(of=ComparedExample)
    async def rows(
        self,
        info: Info,
        parent: strawberry.Parent[Row],
        sort_by: list[SortBy] | None = None,
        *,
        request: PageRequest,
        only_in_common: bool | None = True,
    ) -> Listing:
        """Page of the examples, sorted by their earliest start in any run.

        Args:
            sort_by: Sort order, by numbers of the scores named as in evaluationResults. The sort value is the mean in
                the last run minus the mean in the first run, so asc starts with the largest decrease. By started_at if
                omitted or empty.
            only_in_common: True if only examples of all runs are returned; false for those of any run.
        """
        store, key = info.context.stores.evaluations, (parent["project_id"], parent["run_ids"])
        only_common = only_in_common is not False
        page = await store.joined_rows(
            *key,
            request,
            connections.selected_node_fields(info),
            sort_keys(sort_by),
            wanted_of_predictions(info, "runs", "predictions"),
            only_common=only_common,
            with_metrics="metrics" in connections.selected_node_fields(info, "runs"),
        )
        return Listing(page, partial(store.count_joined_rows, *key, only_common=only_common))


@strawberry.input
class EvaluationRunsFilter:
    """Filter of evaluation runs; all conditions must hold.

    An empty or omitted list sets no condition. Each list has at most 1,000 entries.
    """

    evaluation_refs: list[str] | None = None
    """Refs of the evaluations of runs, each compared as a whole; one that ends in :* stands for every version."""
    model_refs: list[str] | None = None
    """Refs of the models of runs, each compared as a whole; one that ends in :* stands for every version."""
    statuses: list[EvaluationStatusCode] | None = None
    """States of runs: RUNNING, FAILED or COMPLETE."""
    started_after: DateTime | None = None
    """Exclusive lower bound of startedAt."""
    started_before: DateTime | None = None
    """Exclusive upper bound of startedAt."""

    def to_store(self) -> RunsFilter:
        """Convert to the filter of `stores.evaluations`."""
        statuses = [status.value for status in self.statuses or ()]
        return RunsFilter(**vars(self) | {"statuses": statuses})


@strawberry.type
class EvaluationQueries:
    """Query fields that read evaluations."""

    evaluation_runs = list_field(
        EvaluationRun, lambda stores: stores.evaluations, filter=EvaluationRunsFilter, work=COUNT
    )
    """Page of the project's evaluation runs, whichever client logged them.

    Args:
        filter: Filter of the runs; all if omitted.
        sort_by: Sort order: by started_at, ended_at, latency_ms or display_name; the newest first if omitted or empty.
    """

    @resolved_field()
    async def evaluation_status(self, info: Info, project_id: ProjectId, call_id: RunId) -> EvaluationStatus:
        """State of an evaluation run.

        The state of a missing run is EvaluationStatusNotFound, not null, because the reference API lists this state.
        """
        check_call_id(call_id, "call_id")
        return status_of(await info.context.stores.evaluations.status(project_id, call_id))

    @resolved_field(returns=EvaluationRun | None)
    async def evaluation_run(self, info: Info, project_id: ProjectId, call_id: RunId) -> Row | None:
        """Evaluation run; null if it is missing or deleted."""
        check_call_id(call_id, "call_id")
        return await info.context.stores.evaluations.run(project_id, call_id, selected_fields(info))

    @connection_field(of=EvaluationResult)
    async def evaluation_results(
        self,
        info: Info,
        project_id: ProjectId,
        evaluation_call_id: RunId,
        query: QueryInput | None = None,
        sort_by: list[SortBy] | None = None,
        *,
        request: PageRequest,
    ) -> Listing | None:
        """Page of the rows of a run, one for each example, with its predictions in all trials.

        Running and failed runs have rows too, whether Weave's clients, its EvaluationLogger or this server ran them.
        Null if the run is missing or deleted.

        Args:
            query: Condition that at least one prediction of a row must meet. Its fields are scores, output,
                model_latency, status, exception, latency_ms, total_tokens, started_at, ended_at and example (unless
                passed by ref), and paths such as scores.helpfulness.grade.
            sort_by: Sort order. Keys are numbers in scores or output, such as scores.helpfulness.grade (true is 1), and
                model_latency, latency_ms and total_tokens. Each is averaged over the predictions of a row. If omitted
                or empty, rows are sorted by started_at, the earliest start of their predictions.
        """
        check_call_id(evaluation_call_id, "evaluation_call_id")
        store, key, condition = info.context.stores.evaluations, (project_id, evaluation_call_id), to_store(query)
        wanted = connections.selected_node_fields(info)
        of_predictions = wanted_of_predictions(info, "predictions")
        page = await found_or_null(store.rows(*key, request, wanted, sort_keys(sort_by), condition, of_predictions))
        return Listing(page, partial(store.count_rows, *key, condition)) if page else None

    @resolved_field(returns=EvaluationComparison | None)
    async def evaluation_compare(self, info: Info, project_id: ProjectId, call_ids: list[strawberry.ID]) -> Row | None:
        """Comparison of evaluation runs: the metrics of their scores, and their rows joined by example.

        The runs may be of different datasets. Null if one of the runs is missing or deleted.

        Args:
            call_ids: Ids of 2 to 10 runs of any evaluations; the others are compared with the first.
        """
        wanted = selected_fields(info, "runs")
        runs = await found_or_null(info.context.stores.evaluations.runs(project_id, call_ids, wanted))
        return {"project_id": project_id, "run_ids": tuple(call_ids), "runs": runs} if runs else None


@strawberry.type
class EvaluationSubscriptions:
    """Subscription fields about evaluations."""

    @subscription_field(of=EvaluationStatus)
    async def evaluation_progress(
        self, info: Info, project_id: ProjectId, call_id: RunId
    ) -> AsyncGenerator[object, None]:
        """State of an evaluation run, by a client or by the server.

        The subscription sends it at once and after each change, at most twice a second, and ends with the run.
        """
        async with aclosing(info.context.stores.evaluation_runs.progress(project_id, call_id)) as statuses:
            async for status in statuses:
                yield status_of(status)


@strawberry.type
class EvaluateModelRes:
    """Result of `evaluateModel`."""

    call_id: strawberry.ID
    """Id of the run: of its call of Evaluation.evaluate, which is stored and running. evaluationProgress reports its
    progress.
    """


@strawberry.type
class EvaluationCancelRes:
    """Result of `evaluationCancel`."""

    call_id: strawberry.ID
    """Id of the run."""
    is_canceled: bool
    """True if this request cancelled the run; false if it had already ended."""


@strawberry.type
class EvaluationMutations:
    """Mutation fields that run evaluations."""

    @resolved_field()
    async def evaluate_model(
        self, info: Info, project_id: ProjectId, evaluation_ref: str, model_ref: str, wb_user_id: User = None
    ) -> EvaluateModelRes:
        """Start of an evaluation run on the server; the response does not wait for its end.

        Errors known before the first row fail the request: a ref to something else, an empty or deleted dataset, an
        unknown model or one without an API key. An error of one row becomes the exception of that row's calls, and the
        run continues. If a server stops, another server continues its runs, or it does itself after a restart.

        Args:
            evaluation_ref: Ref of a version of an Evaluation in the project, by digest, index such as v3, or latest.
                Its dataset must be a table, and its scorers of the class LLMAsAJudgeScorer.
            model_ref: Ref of a version of an LLMStructuredCompletionModel.
        """
        call_id = await info.context.stores.evaluation_runs.start(project_id, evaluation_ref, model_ref, wb_user_id)
        return EvaluateModelRes(call_id=strawberry.ID(call_id))

    @resolved_field()
    async def evaluation_cancel(
        self, info: Info, project_id: ProjectId, call_id: RunId, wb_user_id: User = None
    ) -> EvaluationCancelRes:
        """Cancellation of a run on the server.

        Its call and the running calls below it end with an exception that states the cancellation. The response waits
        for the end of the run, at most 30 seconds; the cancellation continues after that.
        """
        is_canceled = await info.context.stores.evaluation_runs.cancel(project_id, call_id, wb_user_id)
        return EvaluationCancelRes(call_id=call_id, is_canceled=is_canceled)
