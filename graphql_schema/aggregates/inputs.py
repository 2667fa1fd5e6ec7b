"""How clients ask for roll-ups."""

from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import strawberry

from graphql_schema.fields.sorting import SortBy
from stores.aggregates import Bucket, GroupBy, Grouping, UsageOf


@strawberry.enum(description="What calls are grouped by; each is a key of the rows.")
class CallsGroupBy(Enum):
    """The keys; the names are those of the stores."""

    OP_NAME = strawberry.enum_value(
        "op_name", description="The op by its name alone, all of its versions together: opName of the rows."
    )
    OP_VERSION = strawberry.enum_value(
        "op_version", description="The op's version, by its ref, as calls have it in opName: opVersion of the rows."
    )
    MODEL = strawberry.enum_value(
        "model",
        description="The model, by its name. A call is in the row of each model that it used, with its usage of that "
        "one, and in the row of the model null if it used none.",
    )
    STATUS = strawberry.enum_value("status", description="How the calls went.")
    THREAD = strawberry.enum_value("thread_id", description="The thread; null for calls in none.")
    USER = strawberry.enum_value("wb_user_id", description="Who wrote them.")
    TIME_BUCKET = strawberry.enum_value(
        "bucket_start", description="When they started, in buckets of time: bucketStart and bucketEnd of the rows."
    )


@strawberry.enum(description="How long a bucket of time is.")
class TimeBucket(Enum):
    """The lengths; the names are those of the stores."""

    MINUTE = strawberry.enum_value("minute", description="A minute.")
    HOUR = strawberry.enum_value("hour", description="An hour.")
    DAY = strawberry.enum_value("day", description="A day of the zone's calendar, from 23 to 25 hours long.")
    WEEK = strawberry.enum_value("week", description="A week from Monday, of the zone's calendar.")
    MONTH = strawberry.enum_value("month", description="A month of the zone's calendar.")


@strawberry.enum(description="Whose usage of models a call counts with.")
class UsageCounting(Enum):
    """The ways; the names are those of the stores."""

    OWN = strawberry.enum_value(
        "own",
        description="Each call's own, so that what parents sum up counts once. What a call reports is its own if its "
        "summary.status_counts count one call, and nothing of it if they count more: then it sums up, as the parents "
        "that Weave's client writes. Without such counts its own is what it reports of a model beyond what its "
        "children do, and all of it if that is less than they do. usageTree also looks below children that report "
        "nothing.",
    )
    REPORTED = strawberry.enum_value(
        "reported",
        description="What each call reports. For calls of which none is below another, such as traceRootsOnly, where "
        "their writer sums up.",
    )


Keys = Annotated[
    list[CallsGroupBy] | None,
    strawberry.argument(description="The keys of rows; without any there is one row of all calls."),
]
BucketLength = Annotated[
    TimeBucket | None, strawberry.argument(description="How long a bucket is: with TIME_BUCKET, and only with it.")
]
Timezone = Annotated[
    str | None,
    strawberry.argument(
        description="The zone of the buckets' calendar, by its IANA name such as Europe/Berlin, or as an offset such "
        "as +05:30; UTC if left out."
    ),
]
Counting = Annotated[UsageCounting | None, strawberry.argument(description="Whose usage counts; OWN if left out.")]
RowOrder = Annotated[
    list[SortBy] | None,
    strawberry.argument(
        description="In which order, by keys that calls are grouped by and by numbers such as cost or p99_latency_ms; "
        "by time and then by the other keys if left out, which also settle ties."
    ),
]
RowLimit = Annotated[
    int | None,
    strawberry.argument(
        description="How many rows at most, from 1 to 10,000: with sortBy, the top ones. Without it there must not be "
        "more rows than 10,000; and never more than 100,000 groups."
    ),
]


def grouping(keys: Sequence[CallsGroupBy] | None, bucket: TimeBucket | None, timezone: str | None) -> Grouping:
    """The keys as the stores take them."""
    return Grouping([GroupBy[key.name] for key in keys or ()], Bucket[bucket.name] if bucket else None, timezone)


def usage_of(counting: UsageCounting | None) -> UsageOf:
    """Whose usage counts, as the stores take it."""
    return UsageOf[counting.name] if counting else UsageOf.OWN
