"""A tree of generated calls: each span has its own clock and reports its result to its parent."""

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

_MAX_MEDIANS: Final = 6
"""Upper limit of a step's duration as a multiple of its median, which bounds the duration of a trace."""


class StepError(Exception):
    """Failure of a simulated step; its text becomes the exception of each call that it passes through."""


class StillRunning(Exception):  # noqa: N818 -- not an error: generation stops here, and the calls stay open
    """A step has reached the present: it and its ancestors have no end yet."""


def new_id(rng: Random) -> str:
    """Return a random UUID, determined by the generator's seed."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


@dataclass(frozen=True, slots=True)
class Trace:
    """Attributes shared by all calls of a trace."""

    library: "Library"
    rng: Random
    id: str
    wb_user_id: str
    attributes: Json
    thread_id: str | None = None
    wb_run_id: str | None = None

    @property
    def project_id(self) -> str:
        """The project of the trace."""
        return self.library.project_id

    @property
    def release(self) -> str:
        """Version of the program that recorded the trace."""
        return str(self.attributes["release"])

    def ref(self, name: str) -> str:
        """Return the ref of the object or op version that the release uses."""
        return self.library.ref(name, self.release)

    def root(self, op_name: str, inputs: Json, started_at: int, display_name: str | None = None) -> "Span":
        """Return the root call of the trace; in a thread it is a turn."""
        return Span(self, op_name, inputs, started_at, display_name=display_name)


class Span:
    """A generated call, used as a context manager around its steps.

    The root span suppresses `StepError` and `StillRunning`. `clock` is the simulated time inside the call, in
    microseconds since the epoch.
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
        """Ref of the call, for feedback."""
        return str(Ref(self.trace.project_id, "call", self.id))

    def step(self, op_name: str, inputs: Json, at: int | None = None) -> "Span":
        """Return a child that starts now, or at the time `at`, in parallel to others."""
        started_at = (self.clock if at is None else at) + self.trace.rng.randint(150, 2500)
        child = Span(self.trace, op_name, inputs, started_at, self)
        self.children.append(child)
        return child

    def work(self, seconds: float, spread: float = 0.45) -> None:
        """Advance the clock by a log-normal latency with the given median in seconds."""
        took = min(self.trace.rng.lognormvariate(math.log(seconds), spread), _MAX_MEDIANS * seconds)
        self.clock += int(took * SECOND)

    def spend(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Add one model request to the usage of this call; ancestors add it when the call ends."""
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
        """Add the usage and statuses of a finished child, and advance the clock to its end."""
        self.clock = max(self.clock, child.clock)
        self.statuses.update(child.statuses)
        for model, tokens in child.usage.items():
            self.usage.setdefault(model, Counter()).update(tokens)

    def parts(self) -> Iterator[TimedPart]:
        """Yield the start of this call, the parts of its descendants, and the end if it has ended."""
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
