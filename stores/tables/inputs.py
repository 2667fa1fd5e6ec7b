"""Inputs of table operations: updates, and filters of rows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stores.errors import BadInputError
from stores.json import paths
from stores.query.sort import SortBy

MAX_MEMBERS: Final = 10_000
"""Limit on the digests of a filter, so that it fits into one command."""

_DIGEST: Final = re.compile("[A-Za-z0-9]{43}")


@dataclass(frozen=True, slots=True)
class Append:
    """Append a row."""

    row: object


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert a row before an index; an index equal to the length appends."""

    index: int
    row: object


@dataclass(frozen=True, slots=True)
class Pop:
    """Remove the row at an index."""

    index: int


TableUpdate = Append | Insert | Pop


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Filter of rows by digest; an empty list or None matches every row."""

    row_digests: list[str] | None = None

    def members(self) -> frozenset[str] | None:
        """Return the digests to match; None for all.

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
    """Check the format of a row digest. With another format two lists of rows could have the same table digest.

    Raises:
        BadInputError: the format is wrong.
    """
    if not _DIGEST.fullmatch(digest):
        raise BadInputError(
            f"{digest[:64]!r} is not the digest of a row, which has 43 letters and digits; tableCreate returns them",
            argument,
        )


def sort_within_rows(sort_by: Sequence[SortBy]) -> list[SortBy]:
    """Convert sort keys within rows to fields of `val`.

    Raises:
        BadInputError: a path is empty, or one of its steps is blank.
    """
    for position, key in enumerate(sort_by):
        try:
            steps = paths.split(key.field)
        except BadInputError:
            steps = []
        if not steps or not all(step.strip() for step in steps):
            raise BadInputError(
                f"{key.field[:100]!r} is not a path into rows; use one such as question or usage.total_tokens",
                f"sort_by.{position}.field",
            )
    return [SortBy(f"val.{key.field}", key.descending) for key in sort_by]
