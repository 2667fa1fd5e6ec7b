"""Arguments and enums of aggregates over calls."""

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import strawberry

from graphql_schema.fields.sorting import SortBy
from stores.aggregates import Bucket, GroupBy, Grouping, UsageOf


@strawberry.enum(description="Key to group calls by; it is a field of the rows.")
class CallsGroupBy(Enum):
    """Keys to group by; the names are those of `stores.aggregates`."""

    OP_NAME = strawberry.enum_value(
        "op_name", description="Op name, with all versions of the op in one group; opName of the rows."
    )
    OP_VERSION = strawberry.enum_value(
        "op_version",
        description="Ref of the op's version, or the plain name, as in opName of a call; opVersion of the rows.",
    )
    MODEL = strawberry.enum_value(
        "model",
        description="Model name. A call is in the row of each model that it used, with its usage of that model. The "
        "row of null has the calls without a model.",
    )
    STATUS = strawberry.enum_value("status", description="Status of the calls.")
    THREAD = strawberry.enum_value("thread_id", description="Id of the thread; null for calls without a thread.")
    USER = strawberry.enum_value("wb_user_id", description="User who wrote the calls.")
    TIME_BUCKET = strawberry.enum_value(
        "bucket_start", description="Time bucket of the start; bucketStart and bucketEnd of the rows."
    )


@strawberry.enum(description="Length of a time bucket.")
class TimeBucket(Enum):
    """Lengths of buckets; the names are those of `stores.aggregates`."""

    MINUTE = strawberry.enum_value("minute", description="One minute.")
    HOUR = strawberry.enum_value("hour", description="One hour.")
    DAY = strawberry.enum_value("day", description="One calendar day of the time zone, 23 to 25 hours long.")
    WEEK = strawberry.enum_value("week", description="One calendar week of the time zone, from Monday.")
    MONTH = strawberry.enum_value("month", description="One calendar month of the time zone.")


@strawberry.enum(description="Usage that an aggregate counts for each call.")
class UsageCounting(Enum):
    """Choices of the counted usage; the names are those of `stores.aggregates`."""

    OWN = strawberry.enum_value(
        "own",
        description="Own usage of each call, so that usage summed up by parents counts once. If "
        "summary.status_counts counts one call, all reported usage is the call's own. If it counts "
        "more, none is: the call reports a sum, as parents written by Weave's client do. Without "
        "status_counts, the own usage of a model is the reported usage minus that of the children, or "
        "all of it if the children report more. usageTree also looks below children that report "
        "nothing.",
    )
    REPORTED = strawberry.enum_value(
        "reported",
        description="Usage as each call reports it. Use it if no call is below another, such as with "
        "traceRootsOnly, and the client that wrote the calls reports sums.",
    )


Keys = Annotated[
    list[CallsGroupBy] | None,
    strawberry.argument(description="Keys of the rows; one row of all calls if empty or omitted."),
]
BucketLength = Annotated[
    TimeBucket | None,
    strawberry.argument(description="Length of the buckets; required with TIME_BUCKET and rejected without it."),
]
Timezone = Annotated[
    str | None,
    strawberry.argument(
        description="Time zone of the buckets: an IANA name such as Europe/Berlin, or an offset such as +05:30; "
        "UTC if omitted."
    ),
]
Counting = Annotated[UsageCounting | None, strawberry.argument(description="Usage to count; OWN if omitted.")]
RowOrder = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="Sort order, by keys of the groups and by numbers such as cost or p99_latency_ms. Ties, and "
        "all rows if omitted, are sorted by time and then by the other keys."
    ),
]
RowLimit = Annotated[
    int | None,
    strawberry.argument(
        description="Maximum number of rows, from 1 to 10,000; with sortBy, the first ones. If omitted, the "
        "request fails beyond 10,000 rows. It always fails beyond 100,000 groups."
    ),
]


def grouping(keys: Sequence[CallsGroupBy] | None, bucket: TimeBucket | None, timezone: str | None) -> Grouping:
    """Convert to the grouping of `stores.aggregates`."""
    return Grouping([GroupBy[key.name] for key in keys or ()], Bucket[bucket.name] if bucket else None, timezone)


def usage_of(counting: UsageCounting | None) -> UsageOf:
    """Convert to the choice of `stores.aggregates`; OWN if omitted."""
    return UsageOf[counting.name] if counting else UsageOf.OWN
