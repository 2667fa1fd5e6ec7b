"""What runs of evaluations look like."""

from enum import Enum
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import plain_field
from graphql_schema.scalars import BigInt
from stores.evaluations import status as stored


@strawberry.enum(description="How a run of an evaluation stands.")
class EvaluationStatusCode(Enum):
    """The four states; the values are the reference's."""

    NOT_FOUND = strawberry.enum_value("not_found", description="There is no such call.")
    RUNNING = strawberry.enum_value("running", description="It has started and not ended.")
    FAILED = strawberry.enum_value("failed", description="It ended with an exception.")
    COMPLETE = strawberry.enum_value("complete", description="It ended well, whatever it found.")


@strawberry.type(description="There is no such call, or it is deleted.")
class EvaluationStatusNotFound:
    """No run."""

    code: EvaluationStatusCode = plain_field("NOT_FOUND.")


@strawberry.type(description="The evaluation is under way.")
class EvaluationStatusRunning:
    """How far a run is."""

    code: EvaluationStatusCode = plain_field("RUNNING.")
    completed_rows: BigInt = plain_field("How many of its rows are done, each trial of an example a row of its own.")
    total_rows: BigInt = plain_field(
        "How many rows it has in all: those of its dataset, as often as it tries each; completedRows where that is "
        "more, or where the dataset is not known."
    )


@strawberry.type(description="The evaluation ended with an exception.")
class EvaluationStatusFailed:
    """Why a run ended."""

    code: EvaluationStatusCode = plain_field("FAILED.")
    error: str | None = plain_field("The exception that ended it, as text.")


@strawberry.type(description="The evaluation has ended.")
class EvaluationStatusComplete:
    """What a run found."""

    code: EvaluationStatusCode = plain_field("COMPLETE.")
    output: JSON = plain_field("What it summed up, by scorer: a JSON object.")


EvaluationStatus = Annotated[
    EvaluationStatusNotFound | EvaluationStatusRunning | EvaluationStatusFailed | EvaluationStatusComplete,
    strawberry.union("EvaluationStatus", description="How a run of an evaluation stands: one of four, told by code."),
]


def status_of(
    status: stored.Status,
) -> EvaluationStatusNotFound | EvaluationStatusRunning | EvaluationStatusFailed | EvaluationStatusComplete:
    """How a run stands, as the API says it."""
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
