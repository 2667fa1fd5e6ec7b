"""Hints in the extensions of a result: likely causes of the root fields that found nothing."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any, Final, NamedTuple

from graphql import FieldNode, GraphQLField
from graphql.execution.collect_fields import collect_fields
from graphql.execution.executor import Executor
from graphql.execution.values import get_argument_values
from strawberry.types import ExecutionResult

from graphql_schema.context import Context
from graphql_schema.fields import to_store
from stores.hints import MAX_HINTS, CallsCondition

_logger: Final = logging.getLogger("loomql")

WAIT_SECONDS: Final = 1.0
"""Time for all hints of a result; those that are there by then are given."""

_MOST_PROJECTS: Final = 3
"""Projects of one operation that hints are made for, one after the other."""

_AGGREGATE: Final = "callsAggregate"
_ON_CALLS: Final = frozenset({"calls", "callEvents", "callsStats", _AGGREGATE})
_CONDITIONS: Final = ("filter", "query")
_OTHER_PAGE: Final = ("after", "before", "offset")
_SIZES: Final = ("first", "last", "limit")
_TYPE_NAME: Final = "__typename"


Hint = dict[str, Any]
"""A hint as clients get it, with the path of its field."""


class _Field(NamedTuple):
    """A root field by its name in the result, with its project, and its condition if it is on calls."""

    name: str
    project_id: str
    condition: CallsCondition | None


def found_nothing(result: ExecutionResult) -> bool:
    """Whether a root field of a result may have found nothing; one that found something is seen at its first member."""
    return result.data is not None and any(_is_nothing(value) for value in result.data.values())


async def hinted(result: ExecutionResult, executor: Executor[Any]) -> ExecutionResult:
    """Return a result of a query with the hints on its root fields that found nothing, if there are any."""
    failed = {error.path[0] for error in result.errors or () if error.path}
    empty = {name: value for name, value in (result.data or {}).items() if name not in failed and _is_nothing(value)}
    if hints := await _hints(executor, empty):
        result.extensions = {**(result.extensions or {}), "hints": hints}
    return result


class StreamHints(ExecutionResult):
    """The hints on a subscription that waits for its first event. It is no result: transports send it beside those."""

    def __init__(self, hints: list[Hint]) -> None:
        super().__init__(None, None)
        self.hints = hints


def begin_stream_hints(executor: Executor[Any]) -> "asyncio.Task[list[Hint]] | None":
    """Begin to make the hints on a subscription; None for one without a condition on calls."""
    given = {
        argument.name.value
        for _, node, _ in _nodes(executor)
        if node.name.value in _ON_CALLS
        for argument in node.arguments or ()
    }
    return None if given.isdisjoint(_CONDITIONS) else asyncio.create_task(_hints(executor))


async def _hints(executor: Executor[Any], empty: Mapping[str, object] | None = None) -> list[Hint]:
    """Make the hints on the root fields that found nothing, by default on all."""
    context = executor.context_value
    if not isinstance(context, Context):
        return []
    by_project: dict[str, list[_Field]] = {}
    hints: list[Hint] = []
    try:
        for field in islice(_fields(executor, empty), MAX_HINTS):
            by_project.setdefault(field.project_id, []).append(field)
        async with asyncio.timeout(WAIT_SECONDS):
            for project_id, fields in list(by_project.items())[:_MOST_PROJECTS]:
                conditions = [field.condition for field in fields]
                found = await context.stores.hints.hints_for(project_id, conditions, context.caller.projects)
                for field, of_field in zip(fields, found, strict=True):
                    hints += [{"path": [field.name], **asdict(hint)} for hint in of_field]
    except Exception:
        # The answer is right without a hint, whatever went wrong.
        _logger.debug("an empty answer got no hints", exc_info=True)
    return hints[:MAX_HINTS]


def _nodes(executor: Executor[Any]) -> Iterator[tuple[str, FieldNode, GraphQLField]]:
    """The root fields with a project by their names in the result, those of fragments, too."""
    kind = executor.schema.get_root_type(executor.operation.operation)
    if kind is None:
        return
    collected = collect_fields(executor.schema, executor.fragments, executor.variable_values, kind, executor.operation)
    for name, [details, *_] in collected.grouped_field_set.items():
        definition = kind.fields.get(details.node.name.value)
        if definition is not None and "projectId" in definition.args:
            yield name, details.node, definition


def _fields(executor: Executor[Any], empty: Mapping[str, object] | None = None) -> Iterator[_Field]:
    """The root fields that found nothing in a project, but for those that ask for no row or for a later page."""
    for name, node, definition in _nodes(executor):
        if empty is not None and (name not in empty or (node.name.value != _AGGREGATE and _has_row(empty[name]))):
            continue
        values = get_argument_values(definition, node, executor.variable_values)
        given: dict[str, Any] = {
            argument: values.get(each.out_name or argument) for argument, each in definition.args.items()
        }
        if any(given.get(each) for each in _OTHER_PAGE) or any(given.get(each) == 0 for each in _SIZES):
            continue
        is_on_calls = node.name.value in _ON_CALLS and not given.get("expandColumns")
        condition = CallsCondition(*(to_store(given[each]) for each in _CONDITIONS)) if is_on_calls else None
        yield _Field(name, given["projectId"], condition)


def _is_nothing(value: object) -> bool | None:
    """Whether what a root field gave may hold no row: an empty list, one row of zeros and nulls, 0 or null.

    None for what says nothing of rows: a boolean, such as `hasNextPage`, and the name of a type.
    """
    if isinstance(value, dict):
        is_nothing = None
        for name, each in value.items():
            found = None if name == _TYPE_NAME else _is_nothing(each)
            if found is False:
                return False
            is_nothing = found or is_nothing
        return is_nothing
    if isinstance(value, list):
        return not value or (len(value) == 1 and isinstance(value[0], dict) and bool(_is_nothing(value[0])))
    return None if isinstance(value, bool) else value is None or value == 0


def _has_row(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(each, list) and each for each in value.values())
