"""What clients say of tables: changes to one, and which rows they want."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stores.errors import BadInputError
from stores.json import paths
from stores.query.sort import SortBy

MAX_MEMBERS: Final = 10_000
"""Digests of a filter; more would not fit into one command beside all else."""

_DIGEST: Final = re.compile("[A-Za-z0-9]{43}")


@dataclass(frozen=True, slots=True)
class Append:
    """A row for the end."""

    row: object


@dataclass(frozen=True, slots=True)
class Insert:
    """A row for before the one at an index; at the length it goes to the end."""

    index: int
    row: object


@dataclass(frozen=True, slots=True)
class Pop:
    """The row at an index goes."""

    index: int


TableUpdate = Append | Insert | Pop


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows: those of some digests; a list that is null or empty asks nothing."""

    row_digests: list[str] | None = None

    def members(self) -> frozenset[str] | None:
        """The digests that a row may have; None for any.

        Raises:
            BadInputError: there are more than `MAX_MEMBERS`.
        """
        if not self.row_digests:
            return None
        if len(self.row_digests) > MAX_MEMBERS:
            raise BadInputError(
                f"has {len(self.row_digests):,} members; the limit is {MAX_MEMBERS:,}", "filter.row_digests"
            )
        return frozenset(self.row_digests)


def check_row_digest(digest: str, argument: str) -> None:
    """Hold a text to the shape of a row's digest; of another shape, two lists of rows could make one table's digest.

    Raises:
        BadInputError: it has another.
    """
    if not _DIGEST.fullmatch(digest):
        raise BadInputError(
            f"{digest[:64]!r} is not the digest of a row, which has 43 letters and digits; tableCreate gives them",
            argument,
        )


def sort_within_rows(sort_by: Sequence[SortBy]) -> list[SortBy]:
    """The sort by fields of `val`, of keys that clients name from within it.

    Raises:
        BadInputError: a key's path is empty, or one of the names in it is blank.
    """
    for position, key in enumerate(sort_by):
        if not _leads_into_rows(key.field):
            raise BadInputError(
                f"{key.field[:100]!r} is not a path into rows; write one such as question or usage.total_tokens",
                f"sort_by.{position}.field",
            )
    return [SortBy(f"val.{key.field}", key.descending) for key in sort_by]


def _leads_into_rows(path: str) -> bool:
    try:
        steps = paths.split(path)
    except BadInputError:
        return False
    return bool(steps) and all(step.strip() for step in steps)
