"""Retention: what of a project's calls is kept, what that would remove, and its removal."""

from enum import Enum
from typing import Annotated, Final

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, found_or_null, plain_field, resolved_field
from graphql_schema.fields.selection import selected_fields
from graphql_schema.limits.cost_weights import SCAN
from graphql_schema.scalars import BigInt, DateTime
from stores.errors import StoreTimeoutError
from stores.paging import Row
from stores.retention import Counts, Report, Retention, Rule

KeepDays = Annotated[
    int | None,
    strawberry.argument(description="So many days are kept, from 1 to 36,500; without a limit if left out or null."),
]
KeepCalls = Annotated[
    int | None,
    strawberry.argument(
        description="So many of the newest calls are kept, at least 1; without a limit if left out or null."
    ),
]

WAIT_SECONDS: Final = 5
"""How long a mutation waits for a sweep; what is not done by then goes on without it."""

_COUNTS: Final = {
    "traces": "traces",
    "calls": "calls",
    "hidden_calls": "hidden_calls",
    "feedback": "feedback",
    "files": "files",
    "trace_storage_size_bytes": "trace_bytes",
    "files_storage_size_bytes": "file_bytes",
}
"""The fields that count, and the stores' names for them."""


@strawberry.enum(description="How far a sweep is.")
class SweepOutcome(Enum):
    """The four states of a sweep; the values are those of the stores."""

    RUNNING = strawberry.enum_value("running", description="It is under way, or is taken up again within a minute.")
    DONE = strawberry.enum_value("done", description="It removed all that it should.")
    STOPPED = strawberry.enum_value("stopped", description="The rule was changed or taken away meanwhile.")
    FAILED = strawberry.enum_value("failed", description="Something went wrong, as error says; it is tried again.")


@strawberry.type(description="A sweep of a project by its rule; the counts are of what is gone for good.")
class RetentionSweepRes:
    """A sweep; its source is a row of `_report_row`."""

    outcome: SweepOutcome = plain_field("How far it is.")
    started_at: DateTime = plain_field("When it began.")
    ended_at: DateTime | None = plain_field("When it ended; null while it is under way.")
    duration_ms: BigInt | None = plain_field("How long it took in whole milliseconds, pauses included.")
    traces: BigInt = plain_field("Traces, each with all its calls.")
    calls: BigInt = plain_field("The calls of those traces.")
    hidden_calls: BigInt = plain_field(
        "Calls that were deleted seven days before, and ends and names of calls that never started."
    )
    feedback: BigInt = plain_field("Feedback on those calls, and on calls that were not there for a day.")
    files: BigInt = plain_field("Files that nothing in the project spoke of any more.")
    trace_storage_size_bytes: BigInt = plain_field("What the JSON text of the calls of whole traces took.")
    files_storage_size_bytes: BigInt = plain_field("What the content of the files took.")
    error: str | None = plain_field("What went wrong, or why it stopped; null otherwise.")


@strawberry.type(description="What is kept of a project's calls, and the last sweep by that.")
class RetentionRes:
    """A project's retention; its source is a row of `_row`."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    keep_days: int | None = plain_field("So many days are kept; null without such a limit.")
    keep_calls: int | None = plain_field("So many of the newest calls are kept; null without such a limit.")
    set_at: DateTime | None = plain_field("When the rule was last set or taken away; null if it never was.")
    next_sweep_at: DateTime | None = plain_field("When the next sweep is due; null without a rule.")
    last_sweep: RetentionSweepRes | None = plain_field("The last sweep, under way or over; null if there was none.")


@strawberry.type(
    description="What a rule would remove now: a dry run. What is selected is counted, by looking at all calls of the "
    "project, some ten seconds for a million; for files, at all its JSON."
)
class RetentionPreviewRes:
    """Counts; the source is a row of `_count_row`."""

    traces: BigInt = plain_field("Traces, each with all its calls: those that are old as a whole.")
    calls: BigInt = plain_field("The calls of those traces.")
    hidden_calls: BigInt = plain_field("Calls that were deleted seven days ago.")
    feedback: BigInt = plain_field("Feedback on all those calls.")
    files: BigInt = plain_field("Files that nothing in the project would speak of any more.")
    trace_storage_size_bytes: BigInt = plain_field("What the JSON text of the calls of whole traces takes.")
    files_storage_size_bytes: BigInt = plain_field("What the content of the files takes.")


@strawberry.type
class RetentionQueries:
    """The fields of Query about retention."""

    @resolved_field(
        "What is kept of a project's calls, and the last sweep; null for a project that is not there.",
        returns=RetentionRes | None,
    )
    async def retention(self, info: Info, project_id: ProjectId) -> Row | None:
        """A project's retention."""
        found = await info.context.stores.retention.one(project_id)
        return _row(found) if found else None

    @resolved_field(
        "Counts of what a rule would remove now; nothing is removed. Without keepDays and keepCalls it is the "
        "project's own rule. Null for a project that is not there.",
        returns=RetentionPreviewRes | None,
        work=SCAN,
    )
    async def retention_preview(
        self, info: Info, project_id: ProjectId, keep_days: KeepDays = None, keep_calls: KeepCalls = None
    ) -> Row | None:
        """A dry run."""
        wanted = {_COUNTS[name] for name in selected_fields(info) if name in _COUNTS}
        retention = info.context.stores.retention
        try:
            counts = await found_or_null(retention.preview(project_id, Rule(keep_days, keep_calls), wanted))
        except StoreTimeoutError as error:
            raise StoreTimeoutError(
                "the database did not get through with it in time; select less of it, files and "
                "filesStorageSizeBytes first (the setting LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
            ) from error
        return _count_row(counts) if counts else None


@strawberry.type
class RetentionMutations:
    """The fields of Mutation about retention."""

    @resolved_field(
        "Say what is kept of a project's calls, from now on: what is beyond keepDays or keepCalls goes for good, whole "
        "traces at a time. The rule is replaced as a whole; without both it is taken away, and nothing goes any more. "
        "It takes the role admin.",
        returns=RetentionRes,
    )
    async def retention_set(
        self, info: Info, project_id: ProjectId, keep_days: KeepDays = None, keep_calls: KeepCalls = None
    ) -> Row:
        """Set a rule."""
        return _row(await info.context.stores.retention.set_rule(project_id, Rule(keep_days, keep_calls)))

    @resolved_field(
        "Sweep a project by its rule now, and not only within the hour. The answer comes after five seconds at most; "
        "what is not done by then goes on, and retention tells how far it is. It takes the role admin.",
        returns=RetentionSweepRes,
    )
    async def retention_sweep(self, info: Info, project_id: ProjectId) -> Row:
        """Sweep."""
        return _report_row(await info.context.stores.retention.sweep(project_id, WAIT_SECONDS))


def _row(retention: Retention) -> Row:
    return {
        "project_id": retention.project_id,
        "keep_days": retention.rule.keep_days,
        "keep_calls": retention.rule.keep_calls,
        "set_at": retention.set_at,
        "next_sweep_at": retention.due_at,
        "last_sweep": _report_row(retention.report) if retention.report else None,
    }


def _report_row(report: Report) -> Row:
    ended_at = report.ended_at
    return {
        "outcome": str(report.outcome),
        "started_at": report.started_at,
        "ended_at": ended_at,
        "duration_ms": None if ended_at is None else (ended_at - report.started_at) // 1000,
        "error": report.error,
        **_count_row(report.counts),
    }


def _count_row(counts: Counts) -> Row:
    return {field: getattr(counts, name) for field, name in _COUNTS.items()}
