"""Values of calls by name, as queries name them: columns, paths into JSON, and fields of the newest feedback."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any, Final, NamedTuple

from stores import times
from stores.calls import CallsFilter, Expansion
from stores.calls.feedback import conditions
from stores.calls.feedback.sort import NewestFeedbackTable
from stores.calls.fields import CALL_FIELDS, TOTAL_COST
from stores.calls.list_query import READ_BEHIND_REFS, READ_BY_QUERIES, CallsQuery, cost_stages
from stores.costs import Prices, pricing_of_found
from stores.database import Database
from stores.database.transactions import Session
from stores.errors import BadInputError
from stores.input_checks import check_count
from stores.query import Query
from stores.query.fields import Access, Kind
from stores.query.text_expressions import Expression, is_type, let_v, switch
from stores.query.value_expressions import path_expression

Pipeline = list[dict[str, Any]]

MAX_FIELDS: Final = 20
"""Maximum fields of one request."""

MAX_TEXT: Final = 500
"""Characters of a text that tell groups apart; longer texts with an equal start count together."""

_MAX_WHOLE: Final = 1 << 53
"""Doubles from here on are all whole; they keep their notation."""

_V: Final = "$$v"
_MAX_FEEDBACK_BYTES: Final = 2_000_000
"""Bytes of the found call ids, which a pipeline may contain four times; MongoDB accepts 16 MiB."""


class CallValues:
    """The values of named fields of calls.

    Args:
        names: distinct field names, as queries accept them, by the argument that contains them.

    Raises:
        BadInputError: a name is unknown, repeated, or that of a whole JSON object; or there are too many.
    """

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._feedback = NewestFeedbackTable(CALL_FIELDS)
        self.accesses = {argument: self._accesses(argument, each) for argument, each in names.items()}

    def _accesses(self, argument: str, names: Sequence[str]) -> list[Access]:
        check_count(len(names), MAX_FIELDS, "fields", argument)
        accesses: list[Access] = []
        for position, name in enumerate(names):
            at = f"{argument}.{position}"
            try:
                access = self._feedback[name]
            except BadInputError as error:
                raise error.prefixed(at) from None
            if any(access.stored_path == other.stored_path for other in accesses):
                raise BadInputError(f"{name[:100]} is named twice; name it once", at)
            if access.is_whole_json and access.field.is_object:
                raise BadInputError(f"{name} is always an object; name a value in it, such as {name}.name", at)
            accesses.append(access)
        return accesses

    @property
    def needs_cost(self) -> bool:
        """True if a field is the cost of a call, which depends on prices."""
        return any(access.field is TOTAL_COST for accesses in self.accesses.values() for access in accesses)

    async def stages(
        self,
        database: Database,
        project_id: str,
        found: Sequence[dict[str, Any]],
        prices: Prices | None,
        session: Session,
    ) -> Pipeline:
        """Build the stages that return the calls of `found` with the costs and feedback that the fields need."""
        prequeries = self._feedback.prequeries
        results = await conditions.run_prequeries(
            database.feedback, project_id, prequeries, _MAX_FEEDBACK_BYTES, session
        )
        return self._feedback.lookups(database, project_id, [*found, *cost_stages(prices)], results)


class MatchingCalls(NamedTuple):
    """The stages that return the matching calls, those that add what `CallValues` needs, and the snapshot session."""

    stages: Pipeline
    with_values: Pipeline
    session: Session


@asynccontextmanager
async def matching_calls(
    database: Database,
    project_id: str,
    values: CallValues,
    calls_filter: CallsFilter | None,
    query: Query | None,
    expansion: Expansion | None = None,
) -> AsyncIterator[MatchingCalls]:
    """Provide the calls that match, for a pipeline that the block runs.

    Raises:
        BadInputError: the filter, the query or the expansion is invalid.
    """
    collections = READ_BEHIND_REFS if expansion else READ_BY_QUERIES
    async with database.snapshot_session([project_id], collections) as session:
        calls_query = CallsQuery(database, project_id, calls_filter, query, expansion=expansion, session=session)
        async with calls_query.compiled() as compiled:
            found = (await calls_query.narrowed(compiled)).stages
            pricing = pricing_of_found(database, project_id, found, session, Prices.total_cost_expression)
            async with pricing if values.needs_cost else nullcontext() as prices:
                with_values = await values.stages(database, project_id, found, prices, session)
                yield MatchingCalls(found, with_values, session)


def value_of(access: Access) -> Expression:
    """Build the stored value of a field; missing or null if there is none."""
    field, steps = access.field, access.steps
    if steps and field.is_object and steps[0].isascii() and steps[0].isidentifier():
        # MongoDB then reads the member only, in half the time. A longer path would descend into lists.
        access = Access(replace(field, path=f"{field.path}.{steps[0]}"), steps[1:])
    return path_expression(access)


def may_be_list(access: Access) -> bool:
    """Return True if some calls may have a list in a field."""
    return access.field.kind is Kind.JSON


def group_keys(access: Access, start: str = "", nested: Expression = None) -> Expression:
    """Build the group of a call's value, or the list of groups of the members of a list; null without a value.

    Args:
        access: the field.
        start: key of an object in which to group the starts of long texts; if empty, the starts are groups themselves.
        nested: group of objects, and of lists in lists.
    """
    value = value_of(access)
    if not may_be_list(access):
        return _group_key(value, start, nested) if access.is_text else {"$ifNull": [value, None]}
    members = {"$setUnion": [{"$map": {"input": "$$list", "in": _group_key("$$this", start, nested)}}]}
    present = {"$filter": {"input": members, "cond": {"$ne": ["$$this", None]}}}
    one = {"$cond": [{"$isArray": "$$list"}, present, _group_key("$$list", start, nested)]}
    return {"$let": {"vars": {"list": value}, "in": one}}


def _group_key(value: Expression, start: str, nested: Expression) -> Expression:
    cut = {"$substrCP": [_V, 0, MAX_TEXT]}
    # The bytes of a text are stored; its characters are counted.
    is_long = {"$and": [{"$gt": [{"$strLenBytes": _V}, MAX_TEXT]}, {"$gt": [{"$strLenCP": _V}, MAX_TEXT]}]}
    text = {"$cond": [is_long, {start: cut} if start else cut, _V]}
    is_nested = {"$or": [is_type(_V, "object"), {"$isArray": [_V]}]}
    return let_v(value, switch((is_type(_V, "string"), text), (is_nested, nested), default={"$ifNull": [_V, None]}))


def number_of(access: Access) -> Expression:
    """Build the number in a field; missing if the value is no number."""
    return let_v(value_of(access), {"$cond": [{"$isNumber": _V}, _V, "$$REMOVE"]})


def shown(value: object, access: Access) -> object:
    """Return a scalar as queries compare it: times in unix seconds, and whole numbers without a decimal point."""
    return shown_number(value, access) if isinstance(value, int | float) and not isinstance(value, bool) else value


def shown_number(number: float, access: Access) -> float:
    """Return a number as queries compare it."""
    if access.field.kind is Kind.TIME:
        number /= times.SECOND
    return int(number) if abs(number) < _MAX_WHOLE and number == int(number) else number
