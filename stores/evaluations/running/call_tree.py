"""The calls of one run in the making: their ids, their starts and ends, and what parents tell of those below them.

Ids follow from the run's own, so that whoever goes on with a run that was cut off writes the same calls again.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from stores import times
from stores.calls import CallEnd, CallStart
from stores.costs.decimals import exact, plus
from stores.providers import JsonObject
from stores.usage.counts import added
from stores.usage.entries import TOTAL_IS_SUM, Usage, by_model, kept_entry, stated_entry
from stores.usage.rules import MOST, STATED_COST

ATTRIBUTES: Final[JsonObject] = {"_weave_eval_meta": {"evaluate_model_worker": True}}
"""What tells calls of the server's own runs from others, as in the reference."""

_COUNTS: Final = ("requests", "prompt_tokens", "completion_tokens", "total_tokens")
_LARGEST: Final = 2**53
"""Of counts of calls; nothing that was counted is larger."""
_REFS: Final = ("self", "model", "example")
"""The inputs that are refs, and so always small."""


@dataclass(slots=True)
class Tally:
    """How many calls of a subtree ended well and how many did not, and what they used of models.

    `usage` has an entry of usage for each model: the sums of the counts, classes and stated costs of the calls.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    usage: dict[str, Usage] = field(default_factory=dict)

    @classmethod
    def of(cls, summary: object) -> "Tally":
        """What the summary of a call that is stored tells; of what others may have written there only what is sound."""
        tally = cls()
        for name in ("success", "error"):
            tally.statuses[name] = _count(_members(_members(summary).get("status_counts")).get(name))
        for model, counts in by_model(summary).items():
            tally.use(model, counts)
        return tally

    def use(self, model: str, counts: JsonObject) -> None:
        """Count the usage of a model, as its provider or a summary states it."""
        self._count(kept_entry(model, counts))

    def add(self, other: "Tally") -> None:
        """Count in what another subtree tells."""
        self.statuses.update(other.statuses)
        for entry in other.usage.values():
            self._count(entry)

    def _count(self, entry: Usage) -> None:
        known = self.usage.get(entry["model"])
        self.usage[entry["model"]] = _sum(known, entry) if known else entry

    def summary(self) -> JsonObject:
        """The summary of the call above them."""
        found: JsonObject = {"status_counts": {"success": self.statuses["success"], "error": self.statuses["error"]}}
        if self.usage:
            found["usage"] = {model: stated_entry(entry) for model, entry in self.usage.items()}
        return found


@dataclass(slots=True)
class Step:
    """One call, and what is known of those below it."""

    run: "RunCalls"
    id: str
    op_name: str
    inputs: JsonObject
    parent_id: str | None
    started_at: int
    display_name: str | None = None
    tally: Tally = field(default_factory=Tally)

    def step(self, name: str, op_name: str, inputs: JsonObject) -> "Step":
        """A call below it, whose name tells it from all others of the run."""
        return Step(self.run, self.run.id_of(name), op_name, inputs, self.id, times.now())

    def start(self) -> CallStart:
        """Its start."""
        run = self.run
        return CallStart(
            run.project_id,
            self.op_name,
            self.started_at,
            ATTRIBUTES,
            self.inputs,
            id=self.id,
            trace_id=run.trace_id,
            display_name=self.display_name,
            parent_id=self.parent_id,
            wb_user_id=run.wb_user_id,
            is_large=True,
        )

    def end(self, output: object = None, exception: str | None = None, above: Tally | None = None) -> CallEnd:
        """Its end, now, which is counted in what is known `above` it, too."""
        self.tally.statuses["error" if exception else "success"] += 1
        if above:
            above.add(self.tally)
        return CallEnd(
            self.run.project_id, self.id, times.now(), self.tally.summary(), exception, output, is_large=True
        )


@dataclass(frozen=True, slots=True)
class RunCalls:
    """What all calls of a run share; the call of the run itself has `call_id`."""

    project_id: str
    call_id: str
    trace_id: str
    wb_user_id: str | None

    def id_of(self, name: str) -> str:
        """The id of the call of a name."""
        return str(uuid.uuid5(uuid.UUID(self.call_id), name))

    def root(self, op_name: str, inputs: JsonObject, started_at: int, display_name: str) -> Step:
        """The call of the run itself."""
        return Step(self, self.call_id, op_name, inputs, None, started_at, display_name)


def small(part: CallStart | CallEnd, problem: str) -> CallStart | CallEnd:
    """A start or end without what made it impossible to store; an end tells the problem as its exception.

    The summary of an end keeps the counts alone, since what was used must be paid for.
    """
    if isinstance(part, CallStart):
        given: JsonObject = part.inputs if isinstance(part.inputs, dict) else {}
        part.inputs = {name: given[name] for name in _REFS if name in given}
    else:
        tally = Tally.of(part.summary)
        if part.exception is None:
            tally.statuses.update(success=-1, error=1)
        part.output, part.exception, part.summary = None, problem, tally.summary()
    return part


def _sum(some: Usage, more: Usage) -> Usage:
    """The sum of two entries of the usage of a model."""
    entry: Usage = {"model": some["model"]} | {name: min(some[name] + more[name], MOST) for name in _COUNTS}
    if some.get(TOTAL_IS_SUM) and more.get(TOTAL_IS_SUM):
        entry[TOTAL_IS_SUM] = True
    if classes := added(some.get("classes") or {}, more.get("classes") or {}):
        entry["classes"] = dict(classes)
    costs = [exact(each[STATED_COST]) for each in (some, more) if STATED_COST in each]
    if costs:
        entry[STATED_COST] = float(reduce(plus, costs))
    return entry


def _members(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= _LARGEST else 0
