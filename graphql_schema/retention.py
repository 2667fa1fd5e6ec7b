"""Retention of a project's calls: rule, preview and sweep."""

from dataclasses import fields
from operator import attrgetter
from typing import Annotated, Final

import strawberry

from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import ProjectId, argument, computed_field, found_or_null, resolved_field, selected_fields
from graphql_schema.limits.cost_weights import SCAN
from stores.errors import StoreTimeoutError
from stores.retention import Counts, Outcome, Report, Retention, Rule

KeepDays = Annotated[int | None, argument("Number of days to keep, from 1 to 36,500; no limit if null or omitted.")]
KeepCalls = Annotated[
    int | None, argument("Number of the newest calls to keep, at least 1; no limit if null or omitted.")
]

WAIT_SECONDS: Final = 5
"""Time in seconds that the mutation waits for a sweep; the sweep continues after that."""

_RENAMED: Final = {"trace_storage_size_bytes": "trace_bytes", "files_storage_size_bytes": "file_bytes"}
"""Counts whose fields have other names than in `stores.retention`."""

strawberry.enum(Outcome, name="SweepOutcome")


def _duration_ms(report: Report) -> int | None:
    return None if report.ended_at is None else (report.ended_at - report.started_at) // 1000


@strawberry.type
class RetentionSweepRes:
    """Sweep of a project by its retention rule.

    Its numbers count permanently removed data.
    """

    # The source is `stores.retention.Report`.

    outcome: Outcome
    """State of the sweep."""
    started_at: DateTime
    """Start time of the sweep."""
    ended_at: DateTime | None
    """End time of the sweep; null while it runs."""
    duration_ms: BigInt | None = computed_field(_duration_ms)
    """Duration in whole milliseconds, including pauses; null while the sweep runs."""
    traces: BigInt = computed_field(attrgetter("counts.traces"))
    """Number of removed traces, each with all its calls."""
    calls: BigInt = computed_field(attrgetter("counts.calls"))
    """Number of calls of the removed traces."""
    hidden_calls: BigInt = computed_field(attrgetter("counts.hidden_calls"))
    """Number of removed calls that were deleted seven days before, and of ends and names of calls that never started.
    """
    feedback: BigInt = computed_field(attrgetter("counts.feedback"))
    """Number of removed feedback entries on the removed calls, and on calls missing for a day."""
    files: BigInt = computed_field(attrgetter("counts.files"))
    """Number of removed files to which nothing in the project referred."""
    trace_storage_size_bytes: BigInt = computed_field(attrgetter("counts.trace_bytes"))
    """Size of the removed traces' calls as JSON text, in bytes."""
    files_storage_size_bytes: BigInt = computed_field(attrgetter("counts.file_bytes"))
    """Size of the removed files in bytes."""
    error: str | None
    """Error message, or reason why the sweep stopped; null otherwise."""


@strawberry.type
class RetentionRes:
    """Retention rule of a project, and its last sweep."""

    # The source is `stores.retention.Retention`.

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    keep_days: int | None = computed_field(attrgetter("rule.keep_days"))
    """Number of days to keep; null for no limit."""
    keep_calls: int | None = computed_field(attrgetter("rule.keep_calls"))
    """Number of the newest calls to keep; null for no limit."""
    set_at: DateTime | None
    """Time when the rule was last set or removed; null if it never was."""
    next_sweep_at: DateTime | None = computed_field(attrgetter("due_at"))
    """Time of the next sweep; null without a rule."""
    last_sweep: RetentionSweepRes | None = computed_field(attrgetter("report"))
    """Last sweep, running or ended; null if there was none."""


@strawberry.type
class RetentionPreviewRes:
    """Data that a rule would remove now; nothing is removed.

    Only selected numbers are computed. They need a scan of all calls of the project, about ten seconds per million.
    Numbers of files need a scan of all its JSON.
    """

    # The source is `stores.retention.Counts`.

    traces: BigInt
    """Number of traces to remove, each with all its calls: those of which all calls are beyond the rule."""
    calls: BigInt
    """Number of calls of these traces."""
    hidden_calls: BigInt
    """Number of calls that were deleted seven days ago."""
    feedback: BigInt
    """Number of feedback entries on all these calls."""
    files: BigInt
    """Number of files to which nothing in the project would refer."""
    trace_storage_size_bytes: BigInt = computed_field(attrgetter("trace_bytes"))
    """Size of the traces' calls as JSON text, in bytes."""
    files_storage_size_bytes: BigInt = computed_field(attrgetter("file_bytes"))
    """Size of the files in bytes."""


@strawberry.type
class RetentionQueries:
    """Query fields about retention."""

    @resolved_field(returns=RetentionRes | None)
    async def retention(self, info: Info, project_id: ProjectId) -> Retention | None:
        """Retention rule of a project, and its last sweep; null if the project is missing."""
        return await info.context.stores.retention.one(project_id)

    @resolved_field(returns=RetentionPreviewRes | None, work=SCAN)
    async def retention_preview(
        self, info: Info, project_id: ProjectId, keep_days: KeepDays = None, keep_calls: KeepCalls = None
    ) -> Counts | None:
        """Preview of a retention rule: numbers of what it would remove now.

        Nothing is removed. The project's own rule if keepDays and keepCalls are omitted. Null if the project is
        missing.
        """
        wanted = {_RENAMED.get(name, name) for name in selected_fields(info)} & {each.name for each in fields(Counts)}
        retention = info.context.stores.retention
        try:
            return await found_or_null(retention.preview(project_id, Rule(keep_days, keep_calls), wanted))
        except StoreTimeoutError as error:
            raise StoreTimeoutError(
                "the database did not compute the preview in time; select fewer numbers, first omit files and "
                "filesStorageSizeBytes (the setting LOOMQL_QUERY_TIMEOUT_SECONDS raises the limit)"
            ) from error


@strawberry.type
class RetentionMutations:
    """Mutation fields about retention."""

    @resolved_field(
        "Change of a project's retention rule: calls beyond keepDays or keepCalls are removed permanently from now "
        "on, whole traces at a time. The new rule replaces the old one; without both arguments the rule is removed, "
        "and nothing more is. It requires the role admin.",
        returns=RetentionRes,
    )
    async def retention_set(
        self, info: Info, project_id: ProjectId, keep_days: KeepDays = None, keep_calls: KeepCalls = None
    ) -> Retention:
        """Set or remove the rule; return the retention."""
        return await info.context.stores.retention.set_rule(project_id, Rule(keep_days, keep_calls))

    @resolved_field(returns=RetentionSweepRes)
    async def retention_sweep(self, info: Info, project_id: ProjectId) -> Report:
        """Sweep of a project by its rule now, instead of within the hour.

        The response waits at most five seconds; the sweep continues after that, and retention reports its progress. It
        requires the role admin.
        """
        return await info.context.stores.retention.sweep(project_id, WAIT_SECONDS)
