"""A tree of calls in the making: every span has a clock of its own and tells its parent what became of it."""

import math
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from stores.calls import CallEnd, CallStart
from stores.refs import Ref
from stores.times import SECOND

if TYPE_CHECKING:
    from app.demo.library import Library

Json = dict[str, Any]
TimedPart = tuple[int, CallStart | CallEnd]
"""A start or an end with its time, in microseconds since the epoch."""

_SLOWEST: Final = 6
"""No work takes more than this many times its median, so that a scene's length has a bound."""


class StepError(Exception):
    """The failure of a step in the story; its text is the exception of each call that it passes through."""


class StillRunning(Exception):  # noqa: N818 -- not an error: the story stops here, the calls stay open
    """The present has caught up with a step: it and the calls around it have no end yet."""


def new_id(rng: Random) -> str:
    """A random UUID that comes back with the generator's seed."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


@dataclass(frozen=True, slots=True)
class Trace:
    """What all calls of a trace share. The release is the version of the program that made it."""

    library: "Library"
    rng: Random
    id: str
    wb_user_id: str
    attributes: Json
    thread_id: str | None = None
    wb_run_id: str | None = None

    @property
    def project_id(self) -> str:
        """The project that it lies in."""
        return self.library.project_id

    @property
    def release(self) -> str:
        """The version of the program that made it."""
        return str(self.attributes["release"])

    def ref(self, name: str) -> str:
        """The ref of an op or object, in the version that the release works with."""
        return self.library.ref(name, self.release)

    def root(self, op_name: str, inputs: Json, started_at: int, display_name: str | None = None) -> "Span":
        """The call that the trace begins with; in a thread it is a turn."""
        return Span(self, op_name, inputs, started_at, display_name=display_name)


class Span:
    """A call whose block in a `with` is what it does; a `StepError` or `StillRunning` ends at the root.

    `clock` is the time in microseconds since the epoch that the story has reached inside of it.
    """

    def __init__(
        self,
        trace: Trace,
        op_name: str,
        inputs: Json,
        started_at: int,
        parent: "Span | None" = None,
        display_name: str | None = None,
    ) -> None:
        self.trace = trace
        self.op_name = op_name
        self.inputs = inputs
        self.started_at = self.clock = started_at
        self.parent = parent
        self.display_name = display_name
        self.id = new_id(trace.rng)
        self.children: list[Span] = []
        self.output: object = None
        self.exception: str | None = None
        self.ended_at: int | None = None
        self.usage: dict[str, Counter[str]] = {}
        self.statuses = Counter(success=0, error=0)

    @property
    def ref(self) -> str:
        """Its ref, by which feedback points to it."""
        return str(Ref(self.trace.project_id, "call", self.id))

    def step(self, op_name: str, inputs: Json, at: int | None = None) -> "Span":
        """A child that starts now, or at a given time, beside others."""
        started_at = (self.clock if at is None else at) + self.trace.rng.randint(150, 2500)
        child = Span(self.trace, op_name, inputs, started_at, self)
        self.children.append(child)
        return child

    def work(self, seconds: float, spread: float = 0.45) -> None:
        """Let time pass: log-normal around a median, as latencies are."""
        took = min(self.trace.rng.lognormvariate(math.log(seconds), spread), _SLOWEST * seconds)
        self.clock += int(took * SECOND)

    def spend(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one request to a model, here and in all calls around."""
        tokens = Counter(requests=1, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        tokens["total_tokens"] = prompt_tokens + completion_tokens
        self.usage.setdefault(model, Counter()).update(tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if not isinstance(error, StillRunning):
            self._finish(str(error) if isinstance(error, StepError) else None)
        return self.parent is None and isinstance(error, StepError | StillRunning)

    def _finish(self, exception: str | None) -> None:
        self.exception = exception
        self.clock += self.trace.rng.randint(80, 900)
        self.ended_at = self.clock
        self.statuses["error" if exception else "success"] += 1
        if self.parent:
            self.parent.hear(self)

    def hear(self, child: "Span") -> None:
        """Take over what a finished child has used, how its calls ended, and its time if it is the latest."""
        self.clock = max(self.clock, child.clock)
        self.statuses.update(child.statuses)
        for model, tokens in child.usage.items():
            self.usage.setdefault(model, Counter()).update(tokens)

    def parts(self) -> Iterator[TimedPart]:
        """The start and, once it is over, the end of this call, with those of all below it in between."""
        yield self.started_at, self._start()
        for child in self.children:
            yield from child.parts()
        if self.ended_at is not None:
            yield self.ended_at, self._end(self.ended_at)

    def _start(self) -> CallStart:
        trace = self.trace
        return CallStart(
            trace.project_id,
            self.op_name,
            self.started_at,
            trace.attributes,
            self.inputs,
            id=self.id,
            trace_id=trace.id,
            display_name=self.display_name,
            parent_id=self.parent.id if self.parent else None,
            thread_id=trace.thread_id,
            turn_id=self._root().id if trace.thread_id else None,
            wb_user_id=trace.wb_user_id,
            wb_run_id=trace.wb_run_id,
        )

    def _end(self, ended_at: int) -> CallEnd:
        summary: Json = {"status_counts": dict(self.statuses)}
        if self.usage:
            summary["usage"] = {model: dict(tokens) for model, tokens in self.usage.items()}
        return CallEnd(self.trace.project_id, self.id, ended_at, summary, self.exception, self.output)

    def _root(self) -> "Span":
        span = self
        while span.parent:
            span = span.parent
        return span
