"""Hints in the extensions of a result: likely reasons why root fields returned no rows."""

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

_MAX_PROJECTS: Final = 3
"""Maximum number of projects of one operation that get hints, one after the other."""

_AGGREGATE: Final = "callsAggregate"
_THREADS: Final = "threads"
_ON_CALLS: Final = frozenset({"calls", "callEvents", "callsStats", _AGGREGATE, "traces", _THREADS})
_CONDITIONS: Final = ("filter", "query")
_OTHER_PAGE: Final = ("after", "before", "offset")
_SIZES: Final = ("first", "last", "limit")


Hint = dict[str, Any]
"""A hint for clients, with the path of its field."""


class _Field(NamedTuple):
    """Root field by its response name, with its project, and its condition if it reads calls."""

    name: str
    project_id: str
    condition: CallsCondition | None


async def with_hints(result: ExecutionResult, executor: Executor[Any], empty: Mapping[str, object]) -> ExecutionResult:
    """Return the result of a query with hints on the root fields in `empty`, if there are any."""
    if hints := await _hints(executor, empty):
        result.extensions = {**(result.extensions or {}), "hints": hints}
    return result


class StreamHints(ExecutionResult):
    """Hints on a subscription that waits for its first event.

    It is not a result: transports send it in addition to results.
    """

    def __init__(self, hints: list[Hint]) -> None:
        super().__init__(None, None)
        self.hints = hints


def start_stream_hints(executor: Executor[Any]) -> "asyncio.Task[list[Hint]] | None":
    """Start a task that computes hints on a subscription; None if it has no condition on calls."""
    arguments = {
        argument.name.value
        for _, node, _ in _nodes(executor)
        if node.name.value in _ON_CALLS
        for argument in node.arguments or ()
    }
    return None if arguments.isdisjoint(_CONDITIONS) else asyncio.create_task(_hints(executor))


async def _hints(executor: Executor[Any], empty: Mapping[str, object] | None = None) -> list[Hint]:
    """Return hints on the root fields in `empty`, or on all root fields if it is None."""
    context = executor.context_value
    if not isinstance(context, Context):
        return []
    store = context.stores.hints
    by_project: dict[str, list[_Field]] = {}
    hints: list[Hint] = []
    try:
        for field in islice(_fields(executor, empty), MAX_HINTS):
            by_project.setdefault(field.project_id, []).append(field)
        async with asyncio.timeout(store.database.timings.hints_seconds):
            for project_id, fields in list(by_project.items())[:_MAX_PROJECTS]:
                conditions = [field.condition for field in fields]
                found = await store.hints_for(project_id, conditions, context.caller.projects)
                for field, of_field in zip(fields, found, strict=True):
                    hints += [{"path": [field.name], **asdict(hint)} for hint in of_field]
    except Exception:
        # The result is valid without hints, so an error here must not fail it.
        _logger.debug("no hints for an empty result, because of an error", exc_info=True)
    return hints[:MAX_HINTS]


def _nodes(executor: Executor[Any]) -> Iterator[tuple[str, FieldNode, GraphQLField]]:
    """Yield root fields with a project: response name, AST node, definition; fragments are included."""
    kind = executor.schema.get_root_type(executor.operation.operation)
    if kind is None:
        return
    collected = collect_fields(executor.schema, executor.fragments, executor.variable_values, kind, executor.operation)
    for name, [details, *_] in collected.grouped_field_set.items():
        definition = kind.fields.get(details.node.name.value)
        if definition is not None and "projectId" in definition.args:
            yield name, details.node, definition


def _fields(executor: Executor[Any], empty: Mapping[str, object] | None = None) -> Iterator[_Field]:
    """Yield the root fields without rows, except those that request no rows or a later page."""
    for name, node, definition in _nodes(executor):
        if empty is not None and (name not in empty or (node.name.value != _AGGREGATE and _has_row(empty[name]))):
            continue
        values = get_argument_values(definition, node, executor.variable_values)
        arguments: dict[str, Any] = {
            argument: values.get(each.out_name or argument) for argument, each in definition.args.items()
        }
        if any(arguments.get(each) for each in _OTHER_PAGE) or any(arguments.get(each) == 0 for each in _SIZES):
            continue
        is_on_calls = node.name.value in _ON_CALLS and not arguments.get("expandColumns")
        if not is_on_calls:
            yield _Field(name, arguments["projectId"], None)
            continue
        # The filter of threads is not one of calls.
        calls_filter = None if node.name.value == _THREADS else to_store(arguments["filter"])
        yield _Field(name, arguments["projectId"], CallsCondition(calls_filter, to_store(arguments["query"])))
        if any_call := to_store(arguments.get("anyCall")):
            yield _Field(name, arguments["projectId"], CallsCondition(any_call.calls_filter, any_call.query))


def _has_row(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(each, list) and each for each in value.values())
