"""What calls are grouped by: the keys of a row, and where the documents have them."""

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
    """A key of rows, by the name that it has in them."""

    OP_NAME = "op_name"
    """The op, whichever version: the name in the ref, or the plain name."""
    OP_VERSION = "op_version"
    """The ref of the op's version, or the plain name."""
    MODEL = "model"
    """Each model that a call used, so that a call is in as many rows."""
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
"""What a call may have none of."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The keys of rows. A bucket is given with `TIME_BUCKET`, and only with it; its zone is an IANA name or offset."""

    by: Sequence[GroupBy] = ()
    bucket: Bucket | None = None
    timezone: str | None = None

    def check(self) -> None:
        """Hold it to its rules.

        Raises:
            BadInputError: a key is named twice, or bucket, zone and `TIME_BUCKET` are not given together.
        """
        for position, key in enumerate(self.by):
            if key in self.by[:position]:
                raise BadInputError(f"{key.name} is named twice; name it once", f"group_by.{position}")
        if self.bucket and GroupBy.TIME_BUCKET not in self.by:
            raise BadInputError("is for rows by time; add TIME_BUCKET to groupBy, or leave it out", "bucket")
        if not self.bucket and GroupBy.TIME_BUCKET in self.by:
            raise BadInputError("is required with TIME_BUCKET; say how long each is, such as DAY", "bucket")
        if self.timezone is not None and not self.bucket:
            raise BadInputError("is for rows by time; add TIME_BUCKET to groupBy, or leave it out", "timezone")
        if self.timezone is not None and len(self.timezone) > MAX_TIMEZONE:
            raise BadInputError(f"has {len(self.timezone):,} characters; the limit is {MAX_TIMEZONE}", "timezone")

    def check_sort(self, name: str, argument: str) -> None:
        """Hold what rows are sorted by to what they have.

        Raises:
            BadInputError: it is a key by which they are not grouped.
        """
        key = next((key for key in GroupBy if key.value in (name, _snake(name))), None)
        if key and key not in self.by:
            raise BadInputError(
                f"rows have {name} only with {key.name} in groupBy; add it, or sort by another", argument
            )

    @property
    def by_model(self) -> bool:
        """Whether a call is in a row for each of its models."""
        return GroupBy.MODEL in self.by

    @property
    def paths(self) -> set[str]:
        """What it reads of documents."""
        return {_PATHS[key].partition(".")[0] for key in self.by}

    @property
    def fields(self) -> list[Field]:
        """The keys as rows are sorted by them when nothing else is asked: time first."""
        ordered = sorted(self.by, key=lambda key: key is not GroupBy.TIME_BUCKET)
        return [Field(key.value, key.value, Kind.TIME if key is GroupBy.TIME_BUCKET else Kind.TEXT) for key in ordered]

    @property
    def keys(self) -> dict[str, Expression]:
        """The keys over a document of calls; null where it has none."""
        return {key.value: self._key(key) for key in self.by}

    def _key(self, key: GroupBy) -> Expression:
        if key is GroupBy.TIME_BUCKET and self.bucket:
            return buckets.bucket_of("$started_at", self.bucket, self._zone)
        path = f"${_PATHS[key]}"
        return {"$ifNull": [path, None]} if key in _OPTIONAL else path

    @property
    def shown(self) -> dict[str, Any]:
        """The keys as rows have them, over what they were grouped by."""
        found: dict[str, Any] = {key.value: f"$_id.{key.value}" for key in self.by}
        if self.bucket:
            first, following = buckets.bounds("$_id.bucket_start", self.bucket, self._zone)
            found |= {"bucket_start": first, "bucket_end": following}
        return found

    @property
    def _zone(self) -> str:
        return self.timezone or buckets.UTC


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: "_" + str(found[0]).lower(), name[:100])
