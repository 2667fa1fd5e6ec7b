"""Refs: the addresses by which values point to objects, ops, tables and calls, and what they lead to.

Their grammar is here, and that of the refs of all other entities; `stores.refs.store` resolves them.
"""

from stores.refs.entity_refs import (
    EntityKind,
    EntityRef,
    cost_ref,
    feedback_ref,
    file_ref,
    inner_entity,
    parse_entity,
    project_ref,
    table_ref,
    table_row_ref,
    thread_ref,
    trace_ref,
)
from stores.refs.grammar import (
    ARTIFACT_SCHEME,
    EDGES,
    INTERNAL_SCHEME,
    SCHEME,
    Kind,
    Ref,
    call_ref,
    check_external,
    collect,
    is_ref,
    kind_of,
    object_ref,
    parse,
    without_edges,
)

__all__ = [
    "ARTIFACT_SCHEME",
    "EDGES",
    "INTERNAL_SCHEME",
    "SCHEME",
    "EntityKind",
    "EntityRef",
    "Kind",
    "Ref",
    "call_ref",
    "check_external",
    "collect",
    "cost_ref",
    "feedback_ref",
    "file_ref",
    "inner_entity",
    "is_ref",
    "kind_of",
    "object_ref",
    "parse",
    "parse_entity",
    "project_ref",
    "table_ref",
    "table_row_ref",
    "thread_ref",
    "trace_ref",
    "without_edges",
]
