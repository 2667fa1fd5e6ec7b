"""A run of the fuzzer, which sends several requests at once to a server and records the results."""

import asyncio
import heapq
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from graphql import GraphQLSchema

from tests.fuzz import access, afterwards, callers, oracle, reading
from tests.fuzz.callers import Caller, Keys
from tests.fuzz.documents import Documents
from tests.fuzz.endpoints import exports, files, graphql, otlp, weave, websocket
from tests.fuzz.pool import Pool
from tests.fuzz.second_caller import READ, Sample, SecondCaller, second_caller, small_query
from tests.fuzz.seeding import seed
from tests.fuzz.serving import Quiet
from tests.fuzz.shapes import shaped
from tests.fuzz.watching import Seen, Watch
from tests.fuzz.wire import Request, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE: Final = 6
_SLOWEST: Final = 10
_SOON: Final = 0.3
_FUZZ_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 3.0
_WEIGHTS: Final = {
    graphql.NAME: 62,
    weave.NAME: 14,
    otlp.NAME: 10,
    files.NAME: 7,
    exports.NAME: 4,
    websocket.NAME: 1,
}


@dataclass(frozen=True)
class Finding:
    """A problem and the request that showed it."""

    number: int
    endpoint: str
    problem: str
    sent: str


@dataclass
class Outcome:
    """The results of a run."""

    requests: int = 0
    by_endpoint: Counter[str] = field(default_factory=Counter)
    by_status: Counter[tuple[str, int]] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    by_caller: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Number of answers by the caller's name and the status."""
    slowest: list[tuple[float, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    seconds: float = 0.0
    stalls: list[tuple[float, list[str]]] = field(default_factory=list)
    """Seconds of each time without an answer to a ping, and the requests in progress at that time."""

    fuzzed: list[Sample] = field(default_factory=list)
    """Answers of the fuzzed server to the second caller while the fuzzer sent requests."""
    floor: list[Sample] = field(default_factory=list)
    """Answers of the quiet server in the same seconds; the two servers share nothing but the machine."""
    idle: list[Sample] = field(default_factory=list)
    """Answers of the fuzzed server to the second caller while the fuzzer paused."""

    def took(self, seconds: float, what: str) -> None:
        """Record a request if it is one of the slowest."""
        keep = heapq.heappush if len(self.slowest) < _SLOWEST else heapq.heappushpop
        keep(self.slowest, (seconds, what))


@dataclass
class Fuzzer:
    """Sends requests until it has sent `requests` of them or the time is up."""

    url: str
    process_id: int
    quiet: Quiet
    """Server without fuzz, whose answers to the second caller are the floor."""
    schema: GraphQLSchema
    seed: int
    requests: int
    seconds: float = float("inf")
    keys: Keys = field(default_factory=dict)
    """Keys that the server knows; if there are none, it accepts every caller."""
    rate: float = float("inf")
    """Maximum number of requests per second."""
    pool: Pool = field(default_factory=Pool)
    outcome: Outcome = field(default_factory=Outcome)
    _number: int = 0
    _due: float = 0.0
    _lately: deque[tuple[float, float, str]] = field(default_factory=lambda: deque(maxlen=100))

    def __post_init__(self) -> None:
        otlp.bombs()
        self.documents = Documents(self.schema, self.pool)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._gaps = Random(self.seed)
        self._makers: dict[str, Callable[[Random], Request]] = {
            graphql.NAME: lambda random: graphql.request(random, self.documents),
            weave.NAME: lambda random: weave.request(random, self.pool),
            otlp.NAME: otlp.request,
            files.NAME: lambda random: files.request(random, self.pool),
            exports.NAME: lambda random: exports.request(random, self.pool),
        }

    async def run(self) -> Outcome:
        """Seed the server, send all requests, and return the results."""
        wire = Wire(self.url)
        operator = callers.operator(self.keys)
        await seed(wire, self.pool, operator)
        before = await afterwards.places_of(wire, operator)
        await wire.close()
        watch = Watch(self.url, self.process_id, self._stalled)
        watching = asyncio.create_task(watch.go_on())
        plan = [small_query(callers.second(self.keys).headers)]
        quiet_plan = [small_query(callers.second(self.quiet.keys).headers)]
        with (
            TemporaryDirectory() as folder,
            second_caller(self.url, plan, Path(folder) / "samples") as second,
            second_caller(self.quiet.url, quiet_plan, Path(folder) / "quiet") as quiet,
        ):
            await self._send_all(second, quiet)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        for problem in await afterwards.problems(self.url, operator, before):
            self._find(self._number, "server", problem, b"")
        watch.look()
        self.outcome.pings, self.outcome.seen = watch.pings, watch.seen
        return self.outcome

    async def _send_all(self, second: SecondCaller, quiet: SecondCaller) -> None:
        """Send all requests with pauses, in which only the second caller sends.

        Samples with and without fuzz so come from the same minutes, in which the machine has the same other load.
        """
        await second.is_ready()
        await quiet.is_ready()
        fuzzed: list[tuple[float, float]] = []
        idle: list[tuple[float, float]] = []
        began = time.monotonic()
        self._ends = began + self.seconds
        working = asyncio.gather(*(self._work() for _ in range(AT_ONCE)))
        while not working.done():
            since = time.monotonic()
            await asyncio.wait([working], timeout=_FUZZ_SECONDS)
            fuzzed.append((since, time.monotonic()))
            for _ in range(AT_ONCE):
                await self._slots.acquire()
            since = time.monotonic()
            await asyncio.sleep(_PAUSE_SECONDS)
            idle.append((since, time.monotonic()))
            for _ in range(AT_ONCE):
                self._slots.release()
        await working
        self.outcome.seconds = sum(until - since for since, until in fuzzed)
        self.outcome.fuzzed = await _samples(second, fuzzed)
        self.outcome.floor = await _samples(quiet, fuzzed)
        self.outcome.idle = await _samples(second, idle)

    async def _work(self) -> None:
        wire = Wire(self.url)
        while self._number < self.requests and time.monotonic() < self._ends:
            now = time.monotonic()
            # The gaps are random: with even gaps, every request of the second caller would coincide with
            # a fuzz request.
            self._due = max(now, self._due + (self._gaps.expovariate(self.rate) if self.rate < float("inf") else 0))
            await asyncio.sleep(self._due - now)
            async with self._slots:
                wire = await self._send_next(wire)
        await wire.close()

    async def _send_next(self, wire: Wire) -> Wire:
        self._number += 1
        number = self._number
        random = Random(f"{self.seed}:{number}")
        endpoint = random.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0]
        caller = callers.pick(random, self.keys)
        if endpoint == websocket.NAME:
            await self._hold(number, random, caller)
            return wire
        return await self._ask(number, self._made(random, endpoint, caller), wire, caller)

    def _made(self, random: Random, endpoint: str, caller: Caller) -> Request:
        request = self._makers[endpoint](random)
        return shaped(random, replace(request, headers=(*request.headers, *caller.headers)))

    async def _ask(self, number: int, request: Request, wire: Wire, caller: Caller) -> Wire:
        """Send one request, judge its answer, and return the connection to use next."""
        outcome = self.outcome
        self._count(request.endpoint)
        try:
            answer = await wire.ask(request)
        except (TimeoutError, OSError) as error:
            self._find(number, request.endpoint, f"no answer: {error!r}", request.encoded)
            return Wire(self.url)
        now = time.monotonic()
        self._lately.append((now - answer.seconds, now, f"#{number} {request.encoded[:3000].decode(errors='replace')}"))
        outcome.by_status[request.endpoint, answer.status] += 1
        outcome.by_caller[caller.name, answer.status] += 1
        outcome.took(
            answer.seconds, f"#{number} {request.method} {request.target[:60]} {answer.status} {request.body[:160]!r}"
        )
        for problem in oracle.problems(request, answer) + access.problems(caller, request, answer):
            self._find(number, request.endpoint, problem, request.encoded)
        if len(answer.body) < 200_000:
            for value in reading.values(answer)[0]:
                outcome.by_code.update(oracle.codes(value))
                self.pool.learn(value.get("data", value) if isinstance(value, dict) else value)
        return wire

    async def _hold(self, number: int, random: Random, caller: Caller) -> None:
        held = websocket.session(random, self.documents, caller)
        began = time.monotonic()
        for _ in held.sent:
            self._count(websocket.NAME)
        self._number += len(held.sent) - 1
        try:
            await websocket.hold(self.url, held, random)
        except (TimeoutError, OSError) as error:
            held.problems.append(f"no answer: {error!r}")
        self.outcome.by_status[websocket.NAME, held.closed_with or 0] += len(held.sent)
        self.outcome.by_code.update(held.codes)
        self.outcome.took(time.monotonic() - began, f"#{number} websocket {held.sent!r}"[:200])
        for problem in held.problems:
            self._find(number, websocket.NAME, problem, repr([held.headers, *held.sent]).encode(errors="replace"))

    def _stalled(self, began: float, ended: float) -> None:
        """Record the requests that were in progress during a slow ping."""
        at_once = [
            description for start, stop, description in self._lately if start < began + _SOON and stop > ended - _SOON
        ]
        self.outcome.stalls.append((ended - began, at_once))

    def _count(self, endpoint: str) -> None:
        self.outcome.requests += 1
        self.outcome.by_endpoint[endpoint] += 1

    def _find(self, number: int, endpoint: str, problem: str, sent: bytes) -> None:
        self.outcome.findings.append(Finding(number, endpoint, problem, sent[:20_000].decode(errors="replace")))


async def _samples(second: SecondCaller, spans: list[tuple[float, float]]) -> list[Sample]:
    return [sample for since, until in spans for sample in await second.samples(READ, since, until)]
