"""A simulation of the two weeks before now: working hours, releases, traces of calls with clocks, and models."""

import math
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, Final, Self

from app.demo.library import CHANCES, COMPANY, Json, Library
from stores.calls import CallEnd, CallStart
from stores.refs import Ref
from stores.times import SECOND

HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
DAYS: Final = 14

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
        hour = self.rng.choices(range(24), COMPANY["hours"])[0]
        return self.timestamp(self.rng.randrange(DAYS), hour * HOUR + self.rng.randrange(HOUR))

    def timestamp(self, days_ago: int, time_of_day: int) -> int:
        """Return a time of day some days ago; a time too close to the present moves 14 days back."""
        midnight = self.now - self.now % DAY
        timestamp = midnight - days_ago * DAY + time_of_day
        return timestamp - DAYS * DAY if timestamp > self.now - _QUIET_END else timestamp


class Trace:
    """Attributes and ids shared by all calls of a trace, with the release of the day on which it started."""

    def __init__(
        self, world: World, started_at: int, environment: str, region: str, ids: Json, **details: object
    ) -> None:
        self.world = world
        self.ids = {"trace_id": world.new_id(), **ids}
        age, releases = world.now - started_at, COMPANY["releases"]
        self.release: Json = next((each for each in releases if age < each["days"] * DAY), releases[-1])
        named = {"environment": environment, "region": region, "release": self.release["name"]}
        self.attributes: Json = {**named, **details}

    def ref(self, name: str) -> str:
        """Return the ref of the object or op version that the release uses."""
        return self.world.library.ref(name, self.release["name"])

    def prompt(self, name: str) -> str:
        """Return the text of the prompt version that the release uses."""
        value: Any = self.world.library.versions[self.ref(name)].val
        return str(value["content"])


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
    usage: dict[str, Json] = field(default_factory=dict)
    children: list["Span"] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.trace.world
        self.rng = world.rng
        self.clock = self.started_at
        self.id = world.new_id()
        self.root: Span = self.parent.root if self.parent else self
        self.kind: str | None = COMPANY["kinds"].get(self.op_name.partition(".")[0])
        if self.op_name in world.library:
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

    def parts(self) -> Iterator[tuple[int, CallStart | CallEnd]]:
        """Yield the start of the call, and the end if it has ended, each with its time."""
        trace, project_id = self.trace, self.trace.world.library.project_id
        ids = {"id": self.id, "parent_id": self.parent.id if self.parent else None, **trace.ids}
        client = COMPANY["client"] | ({"kind": self.kind} if self.kind else {})
        attributes = {**trace.attributes, "weave": client}
        start = CallStart(project_id, self.op_name, self.started_at, attributes, self.inputs, **ids)
        start.display_name = self.display_name
        start.turn_id = self.root.id if start.thread_id else None
        yield self.started_at, start
        if self.ended_at is not None:
            end = CallEnd(project_id, self.id, self.ended_at, self._summary(), self.exception, self.output)
            yield self.ended_at, end

    def _summary(self) -> Json:
        """Count the statuses and the tokens of the call and its descendants."""
        statuses, usage = {"success": 0, "error": 0}, dict[str, Counter[str]]()
        for span in self.walk():
            statuses["error" if span.exception else "success"] += 1
            for model, tokens in span.usage.items():
                usage.setdefault(model, Counter()).update(tokens)
        totals = {"usage": {model: dict(tokens) for model, tokens in usage.items()}} if usage else {}
        return {"status_counts": statuses, **totals}


def message(role: str, content: str) -> Json:
    """Return one message of a chat."""
    return {"role": role, "content": content}


def chat(
    parent: Span, role: str, system: str, prompt: str, reply: str, *, history: Sequence[Json] = (), hangs: bool = False
) -> str:
    """Record a request to the model of a role, like OpenAI's chat completions, and return its reply; some fail.

    Raises:
        StepError: the provider failed.
        StillRunning: the call hangs and has no response yet.
    """
    model = COMPANY["models"][role]
    messages = [message("system", system), *history, message("user", prompt)]
    request = {"model": model["name"], "messages": messages, "temperature": 0.2, "max_tokens": 800}
    with parent.step(model["op"], request) as call:
        if hangs:
            raise StillRunning
        if call.rng.random() < CHANCES["model_fails"]:
            failures = COMPANY["model_failures"]
            [failure] = call.rng.choices(failures, [each["weight"] for each in failures])
            raise call.failure(failure["traceback"], failure["seconds"])
        taken, given = sum(_tokens(each["content"]) + 4 for each in messages) + 3, _tokens(reply)
        usage = {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}
        call.work(model["first_token"] + given * model["token"])
        call.usage[model["name"]] = {"requests": 1, **usage}
        choice = {"index": 0, "message": message("assistant", reply), "finish_reason": "stop", "logprobs": None}
        call.output = {
            "id": f"chatcmpl-{call.rng.getrandbits(116):029x}",
            "object": "chat.completion",
            "created": call.started_at // SECOND,
            "model": model["version"],
            "choices": [choice],
            "usage": usage,
        }
    return reply


def _tokens(text: str) -> int:
    """Estimate the number of tokens, with 4.5 bytes of UTF-8 in each."""
    return 1 + len(text.encode()) * 2 // 9
