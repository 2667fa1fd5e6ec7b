"""Group keys of calls: the document paths that contain them, and time buckets.

A bucket is a calendar unit in a time zone, identified by its start in microseconds. Minutes and hours have a fixed
length. A day, a week (from Monday) and a month follow the zone's calendar, so a day on which clocks change has 23 or
25 hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from stores import times
from stores.errors import BadInputError
from stores.hours import HOUR, remainder
from stores.input_checks import check_length
from stores.query.fields import Field, Kind, camel
from stores.query.text_expressions import Expression
from stores.rollups.documents import DIMENSIONS, MODEL_COLUMN

UTC: Final = "UTC"

_DAY: Final = 86_400 * times.SECOND
_FIRST_MONDAY: Final = 4 * _DAY
"""Monday, 5 January 1970."""


class Bucket(StrEnum):
    """Length of a time bucket."""

    # The values are MongoDB's names of the units.

    MINUTE = "minute"
    """One minute."""
    HOUR = "hour"
    """One hour."""
    DAY = "day"
    """One calendar day of the time zone, 23 to 25 hours long."""
    WEEK = "week"
    """One calendar week of the time zone, from Monday."""
    MONTH = "month"
    """One calendar month of the time zone."""


_LENGTHS: Final = {
    Bucket.MINUTE: 60 * times.SECOND,
    Bucket.HOUR: 3600 * times.SECOND,
    Bucket.DAY: _DAY,
    Bucket.WEEK: 7 * _DAY,
}


def bucket_of(micros: Expression, bucket: Bucket, timezone: str = UTC) -> Expression:
    """Build the expression of the bucket that contains a time; `bounds` converts it to start and end."""
    length = _LENGTHS.get(bucket)
    if timezone != UTC or not length:
        return {"$dateTrunc": {"date": _date(micros), **_unit(bucket, timezone), "startOfWeek": "monday"}}
    # This takes a third of the time of `$dateTrunc`.
    since = {"$subtract": [micros, _FIRST_MONDAY if bucket is Bucket.WEEK else 0]}
    return {"$subtract": [micros, remainder(since, length)]}


def bounds(found: Expression, bucket: Bucket, timezone: str = UTC) -> tuple[Expression, Expression]:
    """Return expressions of a bucket's start and of the next bucket's start, clamped to the supported years."""
    length = _LENGTHS.get(bucket)
    if timezone != UTC or not length:
        following = {"$dateAdd": {"startDate": found, "amount": 1, **_unit(bucket, timezone)}}
        return _within(_micros(found)), _within(_micros(following))
    return _within(found), _within({"$add": [found, length]})


def _unit(bucket: Bucket, timezone: str) -> Expression:
    return {"unit": bucket.value, "timezone": {"$literal": timezone}}


def _date(micros: Expression) -> Expression:
    """Convert microseconds to a date. Whole milliseconds are exact as doubles; microseconds are not."""
    whole = {"$subtract": [micros, remainder(micros, 1000)]}
    return {"$toDate": {"$toLong": {"$round": {"$divide": [whole, 1000]}}}}


def _micros(date: Expression) -> Expression:
    return {"$multiply": [{"$toLong": date}, 1000]}


def _within(micros: Expression) -> Expression:
    return {"$max": [times.FIRST, {"$min": [times.LAST, micros]}]}


class GroupBy(StrEnum):
    """Key to group calls by; it is a field of the rows."""

    # The values are the names of these fields.

    OP_NAME = "op_name"
    """Op name, with all versions of the op in one group; opName of the rows."""
    OP_VERSION = "op_version"
    """Ref of the op's version, or the plain name, as in opName of a call; opVersion of the rows."""
    MODEL = "model"
    """Model name. A call with usage is in the row of each model that it used, with its usage of that model. Any other
    call is in the row of its model column, or in the row of null.
    """
    STATUS = "status"
    """Status of the calls."""
    THREAD = "thread_id"
    """Id of the thread; null for calls without a thread."""
    USER = "wb_user_id"
    """User who wrote the calls."""
    KIND = "kind"
    """Kind of the calls; null if unknown."""
    PROVIDER = "provider"
    """Provider of the model; null if unknown."""
    USER_ID = "user_id"
    """Id of the end user; null if unknown. USER is the user who wrote the calls."""
    TAG = "tag"
    """Tag. A call is in the row of each of its tags, and in the row of null if it has none."""
    ENVIRONMENT = "environment"
    """Deployment environment; null if unknown."""
    RELEASE = "release"
    """Release of the application; null if unknown."""
    ERROR_TYPE = "error_type"
    """Type of the error that ended the calls; null for none."""
    FINISH_REASON = "finish_reason"
    """Finish reason. A call is in the row of each of its reasons, and in the row of null if it has none."""
    TIME_TO_FIRST_TOKEN_MS = "time_to_first_token_ms"  # noqa: S105 -- no secret
    """Time to the first token in milliseconds, not rounded; null if unknown."""
    TIME_BUCKET = "bucket_start"
    """Time bucket of the start; bucketStart and bucketEnd of the rows."""


class Key(NamedTuple):
    """A group key: the document path that contains it.

    If `is_optional`, some calls lack it and are in the row of null. If `is_list`, a call is in the row of each member.
    """

    path: str
    is_optional: bool = False
    is_list: bool = False


KEYS: Final = {
    GroupBy.OP_NAME: Key("op_trace_name"),
    GroupBy.OP_VERSION: Key("op_name"),
    GroupBy.MODEL: Key("usage.model", is_optional=True),
    GroupBy.STATUS: Key("status"),
    GroupBy.THREAD: Key("thread_id", is_optional=True),
    GroupBy.USER: Key("wb_user_id"),
    **{
        key: Key(key.value, is_optional=True)
        for key in (
            *(GroupBy.KIND, GroupBy.PROVIDER, GroupBy.USER_ID, GroupBy.ENVIRONMENT, GroupBy.RELEASE),
            *(GroupBy.ERROR_TYPE, GroupBy.TIME_TO_FIRST_TOKEN_MS),
        )
    },
    GroupBy.TAG: Key("tags", is_optional=True, is_list=True),
    GroupBy.FINISH_REASON: Key("finish_reasons", is_optional=True, is_list=True),
    GroupBy.TIME_BUCKET: Key("started_at"),
}

VALUE: Final = "value_"
"""Prefix of the field with the group of a call's value at a path, followed by the position of the path."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The keys of rows, and the names of fields whose values are further keys.

    `bucket` is set only with TIME_BUCKET; `timezone` is an IANA name or an offset.
    """

    by: Sequence[GroupBy] = ()
    bucket: Bucket | None = None
    timezone: str | None = None
    paths: Sequence[str] = ()

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
        check_length(self.timezone, 100, "timezone")

    def check_sort(self, name: str, argument: str) -> None:
        """Check that rows have the field to sort by.

        Raises:
            BadInputError: it is a group key that is not in `by`.
        """
        key = next((key for key in GroupBy if name in (key.value, camel(key.value))), None)
        if key and key not in self.by:
            raise BadInputError(
                f"rows have {name} only with {key.name} in groupBy; add it or sort by another field", argument
            )

    @property
    def by_model(self) -> bool:
        """True if a call counts in one row per model."""
        return GroupBy.MODEL in self.by

    @property
    def can_be_rolled_up(self) -> bool:
        """True if roll-ups have all keys, apart from hours that belong to two time buckets."""
        paths = {KEYS[key].path for key in self.by} - {"started_at", KEYS[GroupBy.MODEL].path}
        return paths <= {*DIMENSIONS} and not self.paths and self.bucket is not Bucket.MINUTE

    @property
    def has_dimensions(self) -> bool:
        """True if calls are grouped by more than their start."""
        return bool({*self.by} - {GroupBy.TIME_BUCKET})

    @property
    def has_whole_days(self) -> bool:
        """True if each day in UTC belongs to one row."""
        return not self.bucket or (self._zone == UTC and self.bucket is not Bucket.HOUR)

    @property
    def has_short_buckets(self) -> bool:
        """True if the calls of a row started within a day of the time zone."""
        return self.bucket in (Bucket.HOUR, Bucket.DAY)

    @property
    def is_split(self) -> Expression | None:
        """Expression that tests whether the hour that starts at `_id` belongs to two time buckets; None if none does.

        An hour does if the zone is half an hour off, or in the years when zones had odd minutes.
        """
        if not self.bucket or self._zone == UTC:
            return None
        last = {"$add": ["$_id", HOUR - 1]}
        return {"$ne": [bucket_of(each, self.bucket, self._zone) for each in ("$_id", last)]}

    @property
    def reads(self) -> set[str]:
        """Top-level document fields that the keys read."""
        model = {MODEL_COLUMN} if self.by_model else set()
        return {KEYS[key].path.partition(".")[0] for key in self.by} | model | {*self._values}

    @property
    def lists(self) -> list[str]:
        """Document fields with a list, of which each member is a key."""
        return [KEYS[key].path for key in self.by if KEYS[key].is_list] + self._values

    @property
    def fields(self) -> list[Field]:
        """Key fields in the default sort order, time first."""
        ordered = sorted(self.by, key=lambda key: key is not GroupBy.TIME_BUCKET)
        return [
            *(Field(key.value, key.value, Kind.TIME if key is GroupBy.TIME_BUCKET else Kind.TEXT) for key in ordered),
            *(Field(path, value) for path, value in zip(self.paths, self._values, strict=True)),
        ]

    @property
    def keys(self) -> dict[str, Expression]:
        """Expressions of the keys over a call document; null if the call has no value."""
        return {key.value: self._key(key) for key in self.by} | {
            value: {"$ifNull": [f"${value}", None]} for value in self._values
        }

    def _key(self, key: GroupBy) -> Expression:
        if key is GroupBy.TIME_BUCKET and self.bucket:
            return bucket_of("$started_at", self.bucket, self._zone)
        path = f"${KEYS[key].path}"
        if key is GroupBy.MODEL:
            return {"$ifNull": [path, f"${MODEL_COLUMN}", None]}
        return {"$ifNull": [path, None]} if KEYS[key].is_optional else path

    @property
    def _values(self) -> list[str]:
        return [f"{VALUE}{position}" for position in range(len(self.paths))]

    @property
    def shown(self) -> dict[str, Any]:
        """Expressions of the key fields over the `_id` of a group."""
        fields: dict[str, Any] = {name: f"$_id.{name}" for name in self.keys}
        if self.bucket:
            first, following = bounds("$_id.bucket_start", self.bucket, self._zone)
            fields |= {"bucket_start": first, "bucket_end": following}
        return fields

    @property
    def _zone(self) -> str:
        return self.timezone or UTC
