"""Relations to calls, by the value of a field, oldest first."""

from collections.abc import Callable
from typing import Any

from stores.calls.computed_fields import add_computed_fields
from stores.calls.fields import CALL_FIELDS, paths_of
from stores.calls.filters import calls_match
from stores.calls.list_query import OLDEST_FIRST
from stores.database import Database
from stores.query.sort import compile_sort
from stores.relations import OneToMany


def calls_by(database: Database, field: str, match: Callable[..., dict[str, Any]] = calls_match) -> OneToMany:
    """Build the relation to the visible calls that have a value in a field, or in a member of a list field."""
    return OneToMany(
        database,
        database.calls,
        field,
        compile_sort(OLDEST_FIRST, CALL_FIELDS),
        match,
        paths_of,
        finish=add_computed_fields,
    )
