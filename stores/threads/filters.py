"""The filter of threads: which of them, and which of their turns count."""

from dataclasses import dataclass
from typing import Any

from stores.errors import BadInputError
from stores.input_checks import MAX_MEMBERS

Match = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Period:
    """What started after one time and before another, in microseconds since the epoch; None is no bound."""

    after: int | None = None
    before: int | None = None

    def match(self) -> Match:
        """The condition on a turn; empty if there is none."""
        bounds = {"$gt": self.after, "$lt": self.before}
        given = {operator: bound for operator, bound in bounds.items() if bound is not None}
        return {"started_at": given} if given else {}


@dataclass(frozen=True, slots=True)
class ThreadsFilter:
    """Which threads, as made of the turns of a period; a list that is null or empty asks nothing."""

    after_datetime: int | None = None
    before_datetime: int | None = None
    thread_ids: list[str] | None = None

    @property
    def period(self) -> Period:
        """The period whose turns count."""
        return Period(self.after_datetime, self.before_datetime)

    def turns(self, project_id: str) -> Match:
        """The match of the project's turns that count: of visible calls that begin a turn of a thread with an id."""
        thread = {"$in": self.thread_ids} if self.thread_ids else {"$gt": ""}
        return {"project_id": project_id, "visible": True, "turn_of": thread, **self.period.match()}

    def check(self) -> None:
        """Hold it to what one request may ask.

        Raises:
            BadInputError: a list has more than `MAX_MEMBERS` members.
        """
        count = len(self.thread_ids or ())
        if count > MAX_MEMBERS:
            raise BadInputError(f"has {count:,} members; the limit is {MAX_MEMBERS:,}", "filter.thread_ids")
