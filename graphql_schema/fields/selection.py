"""What a request selects, so that nothing else is read: fragments, aliases, `@skip` and `@include` evaluated."""

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.utils.str_converters import to_snake_case

from graphql_schema.context import Info
from graphql_schema.directives import is_included
from graphql_schema.execution import plans

RawInfo = Any
"""graphql-core's resolve info, as Strawberry gives it: its variables are a plain dict."""


_NUMBER: Final = re.compile("(?<=[a-z]{2})(?=[0-9])")


@functools.lru_cache(2_000)  # what is selected by now are names of the schema
def _python_name(name: str) -> str:
    """The snake_case name of a field. A number after a word is a word itself: cacheWrite5mTokens, but not p50."""
    return to_snake_case(_NUMBER.sub("_", name))


def selected_fields(info: Info, *paths: str) -> set[str]:
    """The snake_case names of the fields selected at dotted paths below the field being resolved.

    `selected_fields(info, "nodes", "edges.node")` is what is asked of a connection's nodes, by either way;
    without a path it is what is asked of the field itself.
    """
    raw: RawInfo = info._raw_info  # noqa: SLF001 -- Strawberry has no public way to the nodes
    kept = plans.KEPT.of(raw.operation, raw.fragments.values())
    return set(kept.selected(paths, raw.field_nodes, raw.variable_values, lambda: _selected(raw, paths or ("",))))


def _selected(raw: RawInfo, paths: Sequence[str]) -> frozenset[str]:
    found: set[str] = set()
    for path in paths:
        nodes: Sequence[FieldNode] = raw.field_nodes
        for step in filter(None, path.split(".")):
            nodes = [node for node in _children(nodes, raw) if node.name.value == step]
        found |= {_python_name(node.name.value) for node in _children(nodes, raw)}
    return frozenset(found)


def selected_of(info: Info, *types: str) -> set[str]:
    """The same names of what is selected, without a path, of a value that is of some types, an object's and others."""
    raw = info._raw_info  # noqa: SLF001 -- as above
    return {_python_name(node.name.value) for node in _children(raw.field_nodes, raw, types)}


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
    """Whether a fragment is for a value that is of some types; for any value where none are given."""
    condition = fragment.type_condition
    return not types or condition is None or condition.name.value in types
