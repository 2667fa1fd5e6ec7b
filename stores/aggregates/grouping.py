"""Group keys of calls, and the document paths that contain them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from stores.aggregates import buckets
from stores.aggregates.buckets import Bucket
from stores.errors import BadInputError
from stores.query.fields import Field, Kind
from stores.query.value_expressions import Expression

MAX_TIMEZONE: Final = 100
_CAPITAL: Final = re.compile("[A-Z]")


class GroupBy(StrEnum):
    """A group key; its value is the name of the field in result rows."""

    OP_NAME = "op_name"
    """Name of the op: the name in its ref, or the plain name."""
    OP_VERSION = "op_version"
    """Ref of the op's version, or the plain name."""
    MODEL = "model"
    """Model that a call used. A call with several models is in several rows."""
    STATUS = "status"
    THREAD = "thread_id"
    USER = "wb_user_id"
    TIME_BUCKET = "bucket_start"


_PATHS: Final = {
    GroupBy.OP_NAME: "op_trace_name",
    GroupBy.OP_VERSION: "op_name",
    GroupBy.MODEL: "usage.model",
    GroupBy.STATUS: "status",
    GroupBy.THREAD: "thread_id",
    GroupBy.USER: "wb_user_id",
    GroupBy.TIME_BUCKET: "started_at",
}

_OPTIONAL: Final = (GroupBy.MODEL, GroupBy.THREAD)
"""Keys that are null for some calls."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The keys of rows. `bucket` is set only with TIME_BUCKET; `timezone` is an IANA name or an offset."""

    by: Sequence[GroupBy] = ()
    bucket: Bucket | None = None
    timezone: str | None = None

    def check(self) -> None:
        """Check that the keys and bucket fit together.

        Raises:
            BadInputError: a key is repeated, or `bucket`, `timezone` and TIME_BUCKET do not match.
        """
        for position, key in enumerate(self.by):
            if key in self.by[:position]:
                raise BadInputError(f"{key.name} is repeated; list it once", f"group_by.{position}")
        if self.bucket and GroupBy.TIME_BUCKET not in self.by:
            raise BadInputError("is only for rows by time; add TIME_BUCKET to groupBy or leave it out", "bucket")
        if not self.bucket and GroupBy.TIME_BUCKET in self.by:
            raise BadInputError("is required with TIME_BUCKET; set a length such as DAY", "bucket")
        if self.timezone is not None and not self.bucket:
            raise BadInputError("is only for rows by time; add TIME_BUCKET to groupBy or leave it out", "timezone")
        if self.timezone is not None and len(self.timezone) > MAX_TIMEZONE:
            raise BadInputError(f"has {len(self.timezone):,} characters; the limit is {MAX_TIMEZONE}", "timezone")

    def check_sort(self, name: str, argument: str) -> None:
        """Check that rows have the field to sort by.

        Raises:
            BadInputError: it is a group key that is not in `by`.
        """
        key = next((key for key in GroupBy if key.value in (name, _snake(name))), None)
        if key and key not in self.by:
            raise BadInputError(
                f"rows have {name} only with {key.name} in groupBy; add it or sort by another field", argument
            )

    @property
    def by_model(self) -> bool:
        """True if a call counts in one row per model."""
        return GroupBy.MODEL in self.by

    @property
    def paths(self) -> set[str]:
        """Top-level document fields that the keys read."""
        return {_PATHS[key].partition(".")[0] for key in self.by}

    @property
    def fields(self) -> list[Field]:
        """Key fields in the default sort order, time first."""
        ordered = sorted(self.by, key=lambda key: key is not GroupBy.TIME_BUCKET)
        return [Field(key.value, key.value, Kind.TIME if key is GroupBy.TIME_BUCKET else Kind.TEXT) for key in ordered]

    @property
    def keys(self) -> dict[str, Expression]:
        """Expressions of the keys over a call document; null if the call has no value."""
        return {key.value: self._key(key) for key in self.by}

    def _key(self, key: GroupBy) -> Expression:
        if key is GroupBy.TIME_BUCKET and self.bucket:
            return buckets.bucket_of("$started_at", self.bucket, self._zone)
        path = f"${_PATHS[key]}"
        return {"$ifNull": [path, None]} if key in _OPTIONAL else path

    @property
    def shown(self) -> dict[str, Any]:
        """Expressions of the key fields over the `_id` of a group."""
        fields: dict[str, Any] = {key.value: f"$_id.{key.value}" for key in self.by}
        if self.bucket:
            first, following = buckets.bounds("$_id.bucket_start", self.bucket, self._zone)
            fields |= {"bucket_start": first, "bucket_end": following}
        return fields

    @property
    def _zone(self) -> str:
        return self.timezone or buckets.UTC


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: "_" + str(found[0]).lower(), name[:100])
