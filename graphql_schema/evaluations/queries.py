"""Reading evaluations."""

from functools import partial
from typing import Annotated

import strawberry

from graphql_schema.context import Info
from graphql_schema.evaluations.comparison import EvaluationComparison
from graphql_schema.evaluations.results import EvaluationResult, wanted_of_predictions
from graphql_schema.evaluations.runs import EvaluationRun
from graphql_schema.evaluations.types import EvaluationStatus, status_of
from graphql_schema.fields import ProjectId, connections, found_or_null, resolved_field, to_store
from graphql_schema.fields.connections import Listing, connection_field
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.fields.selection import selected_fields
from graphql_schema.fields.sorting import SortBy, sort_keys
from stores.ids import check_call_id
from stores.paging import PageRequest, Row

RunId = Annotated[
    strawberry.ID, strawberry.argument(description="The id of the run: of its call, one of Evaluation.evaluate.")
]
RunIds = Annotated[
    list[strawberry.ID],
    strawberry.argument(description="The ids of 2 to 10 runs of any evaluations; the first is what others are beside."),
]
Where = Annotated[
    QueryInput | None,
    strawberry.argument(
        description="Rows that have a prediction for which a condition holds, on its scores, output, model_latency, "
        "status, exception, latency_ms, total_tokens, started_at, ended_at or, where it was not given by ref, example; "
        "and on paths such as scores.helpfulness.grade."
    ),
]
Sort = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="In which order: by a number in scores or output, such as scores.helpfulness.grade (true is 1), by "
        "model_latency, latency_ms or total_tokens, of which it is the mean over the predictions of a row; or by "
        "started_at, when the first of them was begun, as if left out or empty."
    ),
]


@strawberry.type
class EvaluationQueries:
    """The fields of Query that read evaluations."""

    @resolved_field(
        "State of an evaluation's run. The state of a missing run is EvaluationStatusNotFound, not null, because the "
        "reference API lists this state."
    )
    async def evaluation_status(self, info: Info, project_id: ProjectId, call_id: RunId) -> EvaluationStatus:
        """How a run stands."""
        check_call_id(call_id, "call_id")
        return status_of(await info.context.stores.evaluations.status(project_id, call_id))

    @resolved_field("A run of an evaluation; null if there is none, or it is deleted.", returns=EvaluationRun | None)
    async def evaluation_run(self, info: Info, project_id: ProjectId, call_id: RunId) -> Row | None:
        """A run."""
        check_call_id(call_id, "call_id")
        return await info.context.stores.evaluations.run(project_id, call_id, selected_fields(info))

    @connection_field(
        "A page of a run's rows, one for each example, with what was made of it in all trials; also of a run that is "
        "under way or failed. Runs of Weave's clients, of its EvaluationLogger and of this server are read alike. Null "
        "if there is no such run, or it is deleted.",
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
        """A page of rows."""
        check_call_id(evaluation_call_id, "evaluation_call_id")
        store, asked, where = info.context.stores.evaluations, (project_id, evaluation_call_id), to_store(query)
        wanted = connections.selected_of_nodes(info)
        of_predictions = wanted_of_predictions(info, "predictions")
        page = await found_or_null(store.rows(*asked, request, wanted, sort_keys(sort_by), where, of_predictions))
        return Listing(page, partial(store.count_rows, *asked, where)) if page else None

    @resolved_field(
        "Runs of evaluations side by side: what their scores come to, and their rows joined by example, whichever "
        "datasets these are in. Null if one of the runs is missing or deleted.",
        returns=EvaluationComparison | None,
    )
    async def evaluation_compare(self, info: Info, project_id: ProjectId, call_ids: RunIds) -> Row | None:
        """Runs side by side."""
        wanted = selected_fields(info, "runs")
        runs = await found_or_null(info.context.stores.evaluations.runs(project_id, call_ids, wanted))
        return {"project_id": project_id, "run_ids": tuple(call_ids), "runs": runs} if runs else None
