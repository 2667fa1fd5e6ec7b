"""Facets of calls: types and field."""

from collections.abc import Sequence

import strawberry
from strawberry.scalars import JSON

from graphql_schema.calls.queries import Condition, Filter
from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt
from graphql_schema.fields import ProjectId, plain_field, resolved_field, selected_fields, to_store
from graphql_schema.limits.cost_weights import COUNT, SCAN
from stores.aggregates import CallPaths, Facet, JsonType
from stores.aggregates.call_values import MAX_FIELDS
from stores.aggregates.facets import MAX_BINS


@strawberry.type
class CallsFacetValue:
    """Value of a field, and the number of calls with it."""

    # The source is `stores.aggregates.facets.FacetValue`.

    value: JSON
    """The value: a string, a number or a boolean. A time is the number of seconds since 1970. Kinds and statuses are in
    lower case, as in `query`; the enums of `filter` are in upper case.
    """
    is_start: bool
    """True if `value` is only the first 500 characters of longer texts, which count together."""
    count: BigInt
    """Number of calls with the value, or with a list that contains it."""


@strawberry.type
class CallsFacetBin:
    """Range of numbers, and the number of calls with a number in it."""

    # The source is `stores.aggregates.facets.Bin`.

    from_: float = strawberry.field(name="from")
    """Lower bound of the range, inclusive; for times in seconds since 1970."""
    to: float
    """Upper bound of the range, exclusive; for times in seconds since 1970."""
    count: BigInt
    """Number of calls with a number in the range."""


@strawberry.type
class CallsFacet:
    """Values of one field in the matching calls.

    A call with a list counts once for each distinct member of the list. Objects, and lists in lists, are no values:
    they count in numOther alone.
    """

    # The source is `stores.aggregates.Facet`.

    field: str
    """Name of the field, as in the argument."""
    values: list[CallsFacetValue] = plain_field(size=MAX_FIELDS)
    """Most frequent values, at most `limit`, sorted by their number of calls and then by value."""
    num_distinct: BigInt
    """Number of distinct values, including those beyond `limit`; texts with equal first 500 characters are one."""
    num_other: BigInt
    """Number of calls with other values. A call with a list counts once for each of its other members."""
    num_missing: BigInt
    """Number of calls without the value: it is absent, null or an empty list."""
    histogram: list[CallsFacetBin] | None = plain_field(size=MAX_BINS)
    """Numbers of calls by equal ranges of the field's numbers, at most 20, from the least number to the greatest; null
    if no call has a number. Ranges have round bounds. Those of times are full seconds, minutes, hours or days in UTC.
    """


strawberry.enum(JsonType)


@strawberry.type
class CallsPathShare:
    """Type of the values at a path."""

    # The source is `stores.aggregates.call_paths.TypeShare`.

    type: JsonType
    """Type of the values."""
    share: float
    """Share of the calls read that have a value of this type there, from 0 to 1."""


@strawberry.type
class CallsPath:
    """Path in the JSON of calls."""

    # The source is `stores.aggregates.call_paths.CallPath`.

    path: str
    """Path as `query`, `callsFacets` and `callsAggregate` accept it, such as inputs.messages.0.role. The index 0 stands
    for all members of a list here, and for the first one there.
    """
    share: float
    """Share of the calls read that have a value other than null there, from 0 to 1."""
    types: list[CallsPathShare] = plain_field(size=2)
    """Types of the values, the most frequent one first."""
    example: JSON | None
    """Newest value: a number, a boolean, or the first 200 characters of a string. Null if all values are lists or
    objects.
    """


@strawberry.type
class CallsPathsRes:
    """Paths in the JSON of the newest calls."""

    # The source is `stores.aggregates.CallPaths`.

    num_calls: int
    """Number of calls read: the newest 1,000 at most, and fewer if their JSON has more than 20 million characters."""
    paths: list[CallsPath] = plain_field(size=100)
    """At most 1,000 paths, those of most calls first, and then sorted by path."""
    is_truncated: bool
    """True if the calls have further paths, or if some of the newest 1,000 were not read or not as a whole. Of a call,
    10,000 values are read, and of a list, 20 members that are objects or lists.
    """


@strawberry.type
class FacetQueries:
    """Query fields for the values and paths of calls."""

    @resolved_field(returns=list[CallsFacet], size="limit", work=SCAN)
    async def calls_facets(
        self,
        info: Info,
        project_id: ProjectId,
        fields: list[str],
        filter: Filter = None,
        query: Condition = None,
        limit: int | None = None,
    ) -> Sequence[Facet]:
        """Most frequent values of some fields of calls, and histograms of their numbers, in the order of `fields`.

        All numbers are exact, and of the same moment.

        Args:
            fields: Names of 1 to 20 fields, as in `query`: columns such as status, paths into the JSON such as
                attributes.metadata.env, and fields of the newest feedback on the call such as
                feedback.[wandb.reaction.1].payload.emoji.
            limit: Maximum number of values of each field, from 1 to 1,000; 10 if omitted.
        """
        return await info.context.stores.facets.facets(
            project_id,
            fields,
            to_store(filter),
            to_store(query),
            limit,
            with_histograms="histogram" in selected_fields(info),
        )

    @resolved_field(returns=CallsPathsRes, work=COUNT)
    async def calls_paths(
        self, info: Info, project_id: ProjectId, under: str | None = None, filter: Filter = None
    ) -> CallPaths:
        """Paths in the JSON of the newest calls, with types and examples.

        Of each list, the first 20 members are read.

        Args:
            under: Path whose inner paths are returned, such as inputs or attributes.metadata; all paths below inputs,
                output, attributes and summary if omitted.
        """
        return await info.context.stores.call_paths.paths(project_id, under, to_store(filter))
