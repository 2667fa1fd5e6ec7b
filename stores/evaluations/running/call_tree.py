"""Call tree of one run: ids, starts, ends, and summaries of the subtrees.

Ids derive from the run's id, so a worker that resumes an interrupted run writes the same calls again.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from stores import times
from stores.calls import CallEnd, CallStart
from stores.costs.pricing import exact, plus
from stores.providers import JsonObject
from stores.usage.counts import added
from stores.usage.entries import TOTAL_IS_SUM, Usage, by_model, kept_entry, stated_entry
from stores.usage.rules import MOST, STATED_COST

ATTRIBUTES: Final[JsonObject] = {"_weave_eval_meta": {"evaluate_model_worker": True}}
"""Attributes that mark calls of server-side runs, as Weave's server does."""

_COUNTS: Final = ("requests", "prompt_tokens", "completion_tokens", "total_tokens")
_LARGEST: Final = 2**53
"""Largest accepted count of calls; larger stored values are invalid."""
_REFS: Final = ("self", "model", "example")
"""Inputs that are refs, so always short."""


@dataclass(slots=True)
class Tally:
    """Status counts and model usage of a subtree of calls.

    `usage` has one entry per model: the sums of counts, classes and stated costs.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    usage: dict[str, Usage] = field(default_factory=dict)

    @classmethod
    def from_summary(cls, summary: object) -> "Tally":
        """Read the tally from a stored call's summary; invalid values count as zero."""
        tally = cls()
        counts = summary.get("status_counts") if isinstance(summary, dict) else None
        for name in ("success", "error"):
            tally.statuses[name] = _count(counts.get(name)) if isinstance(counts, dict) else 0
        for model, counts in by_model(summary).items():
            tally.add_usage(model, counts)
        return tally

    def add_usage(self, model: str, counts: JsonObject) -> None:
        """Add the usage of a model as reported by its provider or a summary."""
        self._count(kept_entry(model, counts))

    def add(self, other: "Tally") -> None:
        """Add the tally of another subtree."""
        self.statuses.update(other.statuses)
        for entry in other.usage.values():
            self._count(entry)

    def _count(self, entry: Usage) -> None:
        known = self.usage.get(entry["model"])
        self.usage[entry["model"]] = _sum(known, entry) if known else entry

    def summary(self) -> JsonObject:
        """Return the summary to store in the call at the root of the subtree."""
        summary: JsonObject = {"status_counts": {"success": self.statuses["success"], "error": self.statuses["error"]}}
        if self.usage:
            summary["usage"] = {model: stated_entry(entry) for model, entry in self.usage.items()}
        return summary


@dataclass(slots=True)
class Step:
    """One call of the run, and the tally of its subtree."""

    run: "RunCalls"
    id: str
    op_name: str
    inputs: JsonObject
    parent_id: str | None
    started_at: int
    display_name: str | None = None
    tally: Tally = field(default_factory=Tally)

    def step(self, name: str, op_name: str, inputs: JsonObject) -> "Step":
        """Create a child call; `name` must be unique in the run, because the id derives from it."""
        return Step(self.run, self.run.id_of(name), op_name, inputs, self.id, times.now())

    def start(self) -> CallStart:
        """Build the start of the call."""
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
        """Build the end of the call with the current time; add its tally to `above`."""
        self.tally.statuses["error" if exception else "success"] += 1
        if above:
            above.add(self.tally)
        return CallEnd(
            self.run.project_id, self.id, times.now(), self.tally.summary(), exception, output, is_large=True
        )


@dataclass(frozen=True, slots=True)
class RunCalls:
    """Fields that all calls of a run share; `call_id` is the run's own call."""

    project_id: str
    call_id: str
    trace_id: str
    wb_user_id: str | None

    def id_of(self, name: str) -> str:
        """Derive the id of the call named `name`."""
        return str(uuid.uuid5(uuid.UUID(self.call_id), name))

    def root(self, op_name: str, inputs: JsonObject, started_at: int, display_name: str) -> Step:
        """Create the run's own call."""
        return Step(self, self.call_id, op_name, inputs, None, started_at, display_name)


def without_content(part: CallStart | CallEnd, problem: str) -> CallStart | CallEnd:
    """Strip the content that made a start or end impossible to store; an end gets `problem` as its exception.

    The summary of an end keeps only usage counts, which costs depend on.
    """
    if isinstance(part, CallStart):
        inputs: JsonObject = part.inputs if isinstance(part.inputs, dict) else {}
        part.inputs = {name: inputs[name] for name in _REFS if name in inputs}
    else:
        tally = Tally.from_summary(part.summary)
        if part.exception is None:
            tally.statuses.update(success=-1, error=1)
        part.output, part.exception, part.summary = None, problem, tally.summary()
    return part


def _sum(some: Usage, more: Usage) -> Usage:
    """Add two usage entries of one model."""
    entry: Usage = {"model": some["model"]} | {name: min(some[name] + more[name], MOST) for name in _COUNTS}
    if some.get(TOTAL_IS_SUM) and more.get(TOTAL_IS_SUM):
        entry[TOTAL_IS_SUM] = True
    if classes := added(some.get("classes") or {}, more.get("classes") or {}):
        entry["classes"] = dict(classes)
    costs = [exact(each[STATED_COST]) for each in (some, more) if STATED_COST in each]
    if costs:
        entry[STATED_COST] = float(reduce(plus, costs))
    return entry


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= _LARGEST else 0
