"""Queries that read evaluations."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.evaluations.comparison import EvaluationComparison
from graphql_schema.evaluations.results import EvaluationResult, wanted_of_predictions
from graphql_schema.evaluations.runs import EvaluationRun
from graphql_schema.evaluations.types import EvaluationStatus, status_of
from graphql_schema.fields import ProjectId, connections, found_or_null, resolved_field, to_store
from graphql_schema.fields.connections import Listing, SortBy, connection_field, sort_keys
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.selection import selected_fields
from stores.ids import check_call_id
from stores.paging import PageRequest, Row

RunId = Annotated[strawberry.ID, strawberry.argument(description="Id of the run: of its call of Evaluation.evaluate.")]
RunIds = Annotated[
    list[strawberry.ID],
    strawberry.argument(description="Ids of 2 to 10 runs of any evaluations; the others are compared with the first."),
]
Where = Annotated[
    QueryInput | None,
    strawberry.argument(
        description="Condition that at least one prediction of a row must meet. Its fields are scores, output, "
        "model_latency, status, exception, latency_ms, total_tokens, started_at, ended_at and example "
        "(unless passed by ref), and paths such as scores.helpfulness.grade."
    ),
]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="Sort order. Keys are numbers in scores or output, such as scores.helpfulness.grade (true is "
        "1), and model_latency, latency_ms and total_tokens. Each is averaged over the predictions of a "
        "row. If omitted or empty, rows are sorted by started_at, the earliest start of their "
        "predictions."
    ),
]


@strawberry.type
class EvaluationQueries:
    """Query fields that read evaluations."""

    @resolved_field(
        "State of an evaluation run. The state of a missing run is EvaluationStatusNotFound, not null, because the "
        "reference API lists this state."
    )
    async def evaluation_status(self, info: Info, project_id: ProjectId, call_id: RunId) -> EvaluationStatus:
        """Return the state of a run."""
        check_call_id(call_id, "call_id")
        return status_of(await info.context.stores.evaluations.status(project_id, call_id))

    @resolved_field("Evaluation run; null if it is missing or deleted.", returns=EvaluationRun | None)
    async def evaluation_run(self, info: Info, project_id: ProjectId, call_id: RunId) -> Row | None:
        """Read the header of a run; None if it is missing."""
        check_call_id(call_id, "call_id")
        return await info.context.stores.evaluations.run(project_id, call_id, selected_fields(info))

    @connection_field(
        "Page of the rows of a run, one for each example, with its predictions in all trials. Running and failed runs "
        "have rows too, whether Weave's clients, its EvaluationLogger or this server ran them. Null if the run is "
        "missing or deleted.",
        of=EvaluationResult,
    )
    async def evaluation_results(
        self,
        info: Info,
        project_id: ProjectId,
        evaluation_call_id: RunId,
        query: Where = None,
        sort_by: Sort = None,
        *,
        request: PageRequest,
    ) -> Listing | None:
        """Return a page of rows and a function that counts all of them; None if the run is missing."""
        check_call_id(evaluation_call_id, "evaluation_call_id")
        store, key, where = info.context.stores.evaluations, (project_id, evaluation_call_id), to_store(query)
        wanted = connections.selected_node_fields(info)
        of_predictions = wanted_of_predictions(info, "predictions")
        page = await found_or_null(store.rows(*key, request, wanted, sort_keys(sort_by), where, of_predictions))
        return Listing(page, partial(store.count_rows, *key, where)) if page else None

    @resolved_field(
        "Comparison of evaluation runs: the metrics of their scores, and their rows joined by example, even across "
        "datasets. Null if one of the runs is missing or deleted.",
        returns=EvaluationComparison | None,
    )
    async def evaluation_compare(self, info: Info, project_id: ProjectId, call_ids: RunIds) -> Row | None:
        """Read the headers of the runs; None if one is missing."""
        wanted = selected_fields(info, "runs")
        runs = await found_or_null(info.context.stores.evaluations.runs(project_id, call_ids, wanted))
        return {"project_id": project_id, "run_ids": tuple(call_ids), "runs": runs} if runs else None
