"""GraphQL types of the state of an evaluation run."""

from enum import Enum
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import plain_field
from graphql_schema.scalars import BigInt
from stores.evaluations import status as stored


@strawberry.enum(description="State of an evaluation run.")
class EvaluationStatusCode(Enum):
    """The four states; the values are those of the reference API."""

    NOT_FOUND = strawberry.enum_value("not_found", description="No run: its call is missing or deleted.")
    RUNNING = strawberry.enum_value("running", description="Running: started but not ended.")
    FAILED = strawberry.enum_value("failed", description="Failed: ended with an exception.")
    COMPLETE = strawberry.enum_value(
        "complete", description="Complete: ended without an exception, whatever its scores."
    )


@strawberry.type(description="State of a missing or deleted run.")
class EvaluationStatusNotFound:
    """State of a missing run."""

    code: EvaluationStatusCode = plain_field("Always NOT_FOUND.")


@strawberry.type(description="State of a running evaluation.")
class EvaluationStatusRunning:
    """Progress of a run."""

    code: EvaluationStatusCode = plain_field("Always RUNNING.")
    completed_rows: BigInt = plain_field("Number of completed rows; each trial of an example counts as a row.")
    total_rows: BigInt = plain_field(
        "Number of all rows: dataset rows times trials, but at least completedRows; equal to completedRows if the "
        "dataset is unknown."
    )


@strawberry.type(description="State of an evaluation that ended with an exception.")
class EvaluationStatusFailed:
    """Error of a failed run."""

    code: EvaluationStatusCode = plain_field("Always FAILED.")
    error: str | None = plain_field("Text of the exception that ended the run.")


@strawberry.type(description="State of an evaluation that ended without an exception.")
class EvaluationStatusComplete:
    """Summary of a complete run."""

    code: EvaluationStatusCode = plain_field("Always COMPLETE.")
    output: JSON = plain_field("Summary that the run computed, by scorer, as a JSON object.")


EvaluationStatus = Annotated[
    EvaluationStatusNotFound | EvaluationStatusRunning | EvaluationStatusFailed | EvaluationStatusComplete,
    strawberry.union("EvaluationStatus", description="State of an evaluation run; the four types differ in code."),
]


def status_of(
    status: stored.Status,
) -> EvaluationStatusNotFound | EvaluationStatusRunning | EvaluationStatusFailed | EvaluationStatusComplete:
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
