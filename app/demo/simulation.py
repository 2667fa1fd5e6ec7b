"""A simulation of the two weeks before now: working hours, releases, and traces of calls with clocks of their own."""

import math
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from app.demo.company import COMPANY, Json
from app.demo.library import Library
from stores.calls import CallEnd, CallStart
from stores.refs import Ref
from stores.times import SECOND

HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
DAYS: Final = 14

_BUSY: Final = (3, 2, 1, 1, 1, 2, 4, 8, 14, 19, 21, 20, 16, 18, 20, 19, 17, 14, 12, 12, 13, 11, 8, 5)
"""Weights of requests in each hour of the day, in UTC."""

_QUIET_END: Final = 2 * HOUR
"""Minimum age of traces placed by time of day, so that they have ended by now."""

_MAX_MEDIANS: Final = 6
"""Upper limit of a step's duration as a multiple of its median, which bounds the duration of a trace."""


class StepError(Exception):
    """Failure of a simulated step; its text becomes the exception of each call that it passes through."""


class StillRunning(Exception):  # noqa: N818 -- not an error: generation stops here, and the calls stay open
    """A step has reached the present: it and its ancestors have no end yet."""


@dataclass(frozen=True, slots=True)
class World:
    """Context of generation: a project's library, a random generator, and the present.

    `now` is in microseconds since the epoch. Random choices do not depend on it: generated at another time, the data
    has other times but the same ids.
    """

    library: Library
    rng: Random
    now: int

    def new_id(self) -> str:
        """Return a random UUID, determined by the generator's seed."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def busy_moment(self) -> int:
        """Return a random time at which customers write, more likely by day than by night."""
        hour = self.rng.choices(range(24), _BUSY)[0]
        return self.timestamp(self.rng.randrange(DAYS), hour * HOUR + self.rng.randrange(HOUR))

    def timestamp(self, days_ago: int, time_of_day: int) -> int:
        """Return a time of day some days ago; a time too close to the present moves 14 days back."""
        midnight = self.now - self.now % DAY
        timestamp = midnight - days_ago * DAY + time_of_day
        return timestamp - DAYS * DAY if timestamp > self.now - _QUIET_END else timestamp


@dataclass(slots=True)
class Trace:
    """Attributes shared by all calls of a trace, with the release of the day on which it started."""

    world: World
    started_at: int
    wb_user_id: str
    environment: str = "production"
    region: str = "eu-central-1"
    details: Json = field(default_factory=dict)
    thread_id: str | None = None
    wb_run_id: str | None = None
    release: Json = field(init=False)
    attributes: Json = field(init=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        age, releases = self.world.now - self.started_at, COMPANY["releases"]
        self.release = next((each for each in releases if age < each["days"] * DAY), releases[-1])
        self.attributes = {
            "environment": self.environment,
            "region": self.region,
            "release": self.release["name"],
            **self.details,
            "weave": COMPANY["client"],
        }
        self.id = self.world.new_id()

    def ref(self, name: str) -> str:
        """Return the ref of the object or op version that the release uses."""
        return self.world.library.ref(name, self.release["name"])


@dataclass(eq=False)
class Span:
    """A generated call, used as a context manager around its steps.

    A failure of an optional span, as the root is, does not reach its parent. `clock` is the simulated time inside the
    call, in microseconds since the epoch.
    """

    trace: Trace
    op_name: str
    inputs: Json
    started_at: int
    parent: "Span | None" = None
    is_optional: bool = True
    display_name: str | None = None
    output: Any = None
    exception: str | None = None
    ended_at: int | None = None
    tokens: tuple[str, Json] | None = None
    children: list["Span"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = self.trace.world.rng
        self.clock = self.started_at
        self.id = self.trace.world.new_id()
        self.root: Span = self.parent.root if self.parent else self
        if self.op_name in self.trace.world.library:
            self.op_name = self.trace.ref(self.op_name)

    @property
    def ref(self) -> str:
        """Ref of the call, for feedback."""
        return str(Ref(self.trace.world.library.project_id, "call", self.id))

    def step(self, op_name: str, inputs: Json, at: int | None = None, *, optional: bool = False) -> "Span":
        """Return a child that starts now, or at the time `at`, in parallel to others."""
        started_at = (self.clock if at is None else at) + self.rng.randint(150, 2500)
        child = Span(self.trace, op_name, inputs, started_at, self, optional)
        self.children.append(child)
        return child

    def work(self, seconds: float, spread: float = 0.45) -> None:
        """Advance the clock by a log-normal latency with the given median in seconds."""
        took = min(self.rng.lognormvariate(math.log(seconds), spread), _MAX_MEDIANS * seconds)
        self.clock += int(took * SECOND)

    def failure(self, traceback: str, seconds: float) -> StepError:
        """Let the time pass until a failure, and return the exception to raise."""
        self.work(seconds, spread=0.02)
        return StepError(traceback)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if isinstance(error, StillRunning):
            return self.parent is None
        self.exception = str(error) if isinstance(error, StepError) else None
        self.clock += self.rng.randint(80, 900)
        self.ended_at = self.clock
        if self.parent:
            self.parent.clock = max(self.parent.clock, self.clock)
        return self.is_optional and isinstance(error, StepError)

    def walk(self) -> Iterator["Span"]:
        """Yield this call and its descendants."""
        yield self
        for child in self.children:
            yield from child.walk()

    def start(self) -> CallStart:
        """Return the start of the call."""
        trace = self.trace
        return CallStart(
            trace.world.library.project_id,
            self.op_name,
            self.started_at,
            trace.attributes,
            self.inputs,
            id=self.id,
            trace_id=trace.id,
            display_name=self.display_name,
            parent_id=self.parent.id if self.parent else None,
            thread_id=trace.thread_id,
            turn_id=self.root.id if trace.thread_id else None,
            wb_user_id=trace.wb_user_id,
            wb_run_id=trace.wb_run_id,
        )

    def end(self, ended_at: int) -> CallEnd:
        """Return the end of the call; its summary counts statuses and tokens of the call and its descendants."""
        statuses, usage = {"success": 0, "error": 0}, dict[str, Counter[str]]()
        for span in self.walk():
            statuses["error" if span.exception else "success"] += 1
            if span.tokens:
                model, tokens = span.tokens
                usage.setdefault(model, Counter()).update(requests=1, **tokens)
        summary: Json = {"status_counts": statuses}
        if usage:
            summary["usage"] = {model: dict(tokens) for model, tokens in usage.items()}
        project_id = self.trace.world.library.project_id
        return CallEnd(project_id, self.id, ended_at, summary, self.exception, self.output)
