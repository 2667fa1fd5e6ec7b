"""Refs: the addresses by which values point to objects, ops, tables and calls, and what they lead to.

Their grammar is here; `stores.refs.store` resolves them.
"""

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
    "Kind",
    "Ref",
    "call_ref",
    "check_external",
    "collect",
    "is_ref",
    "kind_of",
    "object_ref",
    "parse",
    "without_edges",
]
