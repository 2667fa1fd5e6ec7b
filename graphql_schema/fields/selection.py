"""Fields that a request selects: fragments, aliases, `@skip` and `@include` are evaluated."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.utils.str_converters import to_snake_case

from graphql_schema.context import Info
from graphql_schema.execution.plans import is_included

RawInfo = Any
"""Resolve info of graphql-core; Strawberry passes its variables as a plain dict."""


_NUMBER: Final = re.compile("(?<=[a-z]{2})(?=[0-9])")


@functools.lru_cache(2_000)  # bounded: fields outside the schema are rejected before
def _python_name(name: str) -> str:
    """Return the snake_case name of a field.

    A number after a word is a word of its own, as in cacheWrite5mTokens; p50 stays one word.
    """
    return to_snake_case(_NUMBER.sub("_", name))


def selected_fields(info: Info, *paths: str, types: Sequence[str] = ()) -> set[str]:
    """Return the snake_case names of the fields selected at dotted paths below the current field.

    `selected_fields(info, "nodes", "edges.node")` are the fields of a connection's nodes by both paths. Without a path,
    the selection of the current field itself is returned. With `types`, it is that for values of these object or
    interface types.
    """
    raw: RawInfo = info._raw_info  # noqa: SLF001 -- Strawberry has no public way to the nodes
    found: set[str] = set()
    for path in paths or ("",):
        nodes: Sequence[FieldNode] = raw.field_nodes
        for step in filter(None, path.split(".")):
            nodes = [node for node in _children(nodes, raw) if node.name.value == step]
        found |= {_python_name(node.name.value) for node in _children(nodes, raw, types)}
    return found


def _children(nodes: Sequence[FieldNode], raw: RawInfo, types: Sequence[str] = ()) -> list[FieldNode]:
    seen: set[str] = set()
    return [child for node in nodes if node.selection_set for child in _fields(node.selection_set, raw, seen, types)]


def _fields(
    selections: SelectionSetNode, raw: RawInfo, seen: set[str], types: Sequence[str] = ()
) -> Iterator[FieldNode]:
    for selection in selections.selections:
        if not is_included(selection, raw.variable_values):
            continue
        match selection:
            case FieldNode():
                yield selection
            case InlineFragmentNode() if _is_of(selection, types):
                yield from _fields(selection.selection_set, raw, seen, types)
            case FragmentSpreadNode() if selection.name.value not in seen:
                seen.add(selection.name.value)
                fragment = raw.fragments[selection.name.value]
                if _is_of(fragment, types):
                    yield from _fields(fragment.selection_set, raw, seen, types)


def _is_of(fragment: InlineFragmentNode | FragmentDefinitionNode, types: Sequence[str]) -> bool:
    """Return True if a fragment applies to a value of `types`; without `types` it applies to any value."""
    condition = fragment.type_condition
    return not types or condition is None or condition.name.value in types
