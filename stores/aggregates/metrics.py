"""The numbers of a group: each made of parts that add up, so that groups of groups have them, too."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from bson import Int64

from stores.aggregates.percentiles import PERCENTILES
from stores.query.value_expressions import Expression
from stores.usage.classes import INPUT, Side
from stores.usage.counts import FIELDS, PARTS, STORED

COUNT: Final = "count"
COSTS: Final = "costs"
"""The cost of a call's usage, once that is computed: a Decimal128; null where nothing has a price."""
UNPRICED: Final = "unpriced"
"""The tokens of its usage that have no price."""

_MOST: Final = Int64((1 << 63) - 1)


@dataclass(frozen=True, slots=True)
class Part:
    """A number that documents add to: how they do, and what of them it reads."""

    accumulator: str
    value: Expression
    reads: tuple[str, ...] = ()


def _total(count: str) -> Part:
    # The inner sum is over the entries of a call, the outer one over calls.
    return Part("$sum", {"$sum": f"$usage.{count}"}, ("usage",))


_PARTS: Final = {
    "count": Part("$sum", 1),
    "errors": Part("$sum", {"$cond": [{"$eq": ["$status", "error"]}, 1, 0]}, ("status",)),
    "ended": Part("$sum", {"$cond": [{"$isNumber": "$latency_ms"}, 1, 0]}, ("latency_ms",)),
    "latency": Part("$sum", "$latency_ms", ("latency_ms",)),
    "least": Part("$min", "$latency_ms", ("latency_ms",)),
    "most": Part("$max", "$latency_ms", ("latency_ms",)),
    "prompt": _total("prompt_tokens"),
    "completion": _total("completion_tokens"),
    "tokens": _total("total_tokens"),
    "requests": _total("requests"),
    **{name: _total(f"classes.{name}") for name in STORED},
    "cost": Part("$sum", f"${COSTS}", (COSTS,)),
    "dearest": Part("$max", f"${COSTS}", (COSTS,)),
    "unpriced": Part("$sum", f"${UNPRICED}", (UNPRICED,)),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of rows, over the parts that it is made of."""

    parts: tuple[str, ...]
    value: Expression


def _whole(part: str) -> Metric:
    """A sum of counts; what is beyond 64 bits is the most that they hold, as in a call's own sum."""
    return Metric((part,), _bounded(f"${part}"))


def _bounded(number: Expression) -> Expression:
    return {"$toLong": {"$min": [number, _MOST]}}


def _rest(total: str, parts: tuple[str, ...]) -> Metric:
    """A sum less those of its parts."""
    beyond = {"$subtract": [f"${total}", {"$add": [f"${part}" for part in parts]}]}
    return Metric((total, *parts), _bounded({"$max": [0, beyond]}))


METRICS: Final = {
    COUNT: _whole("count"),
    "error_count": _whole("errors"),
    "error_rate": Metric(("errors", "count"), {"$cond": ["$count", {"$divide": ["$errors", "$count"]}, None]}),
    "mean_latency_ms": Metric(("latency", "ended"), {"$cond": ["$ended", {"$divide": ["$latency", "$ended"]}, None]}),
    "min_latency_ms": Metric(("least",), "$least"),
    "max_latency_ms": Metric(("most",), "$most"),
    "prompt_tokens": _whole("prompt"),
    "completion_tokens": _whole("completion"),
    "total_tokens": _whole("tokens"),
    "requests": _whole("requests"),
    FIELDS[INPUT]: _rest("prompt", PARTS[Side.INPUT]),
    **{FIELDS[name]: _whole(name) for name in STORED},
    # The greatest is null where nothing has a price.
    "cost": Metric(("cost", "dearest"), {"$cond": [{"$eq": ["$dearest", None]}, None, {"$toDouble": "$cost"}]}),
    "unpriced_tokens": _whole("unpriced"),
}

NAMES: Final = frozenset({*METRICS, *PERCENTILES})
"""All that can be asked of a group beside its keys."""

_OF_NOTHING: Final = {
    *("count", "error_count", "prompt_tokens", "completion_tokens", "total_tokens", "requests", "unpriced_tokens"),
    *FIELDS.values(),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The numbers that are asked for."""

    metrics: frozenset[str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Wanted":
        """Those among some names that are numbers of a group."""
        return cls(NAMES.intersection(names))

    @property
    def percentiles(self) -> dict[str, int]:
        """Those that are percentiles of the latency, in percent."""
        return {name: percent for name, percent in PERCENTILES.items() if name in self.metrics}

    @property
    def parts(self) -> dict[str, Part]:
        """What they are made of."""
        names = {part for name in self.metrics if name in METRICS for part in METRICS[name].parts}
        return {name: part for name, part in _PARTS.items() if name in names}

    @property
    def reads(self) -> set[str]:
        """What they read of documents, or of what is computed over these."""
        latency = {"latency_ms"} if self.percentiles else set()
        return latency.union(*(part.reads for part in self.parts.values()))

    @property
    def reads_classes(self) -> bool:
        """Whether they are made of classes of tokens."""
        return not self.parts.keys().isdisjoint(STORED)

    @property
    def summed(self) -> dict[str, Any]:
        """The accumulators that make the parts of a group of calls."""
        return {name: {part.accumulator: part.value} for name, part in self.parts.items()}

    @property
    def resummed(self) -> dict[str, Any]:
        """Those that make the parts of a group of groups."""
        return {name: {part.accumulator: f"${name}"} for name, part in self.parts.items()}

    @property
    def shown(self) -> dict[str, Any]:
        """The numbers as rows have them, but for percentiles."""
        return {name: METRICS[name].value for name in METRICS if name in self.metrics}

    @property
    def of_nothing(self) -> dict[str, Any]:
        """The row of a group of no calls."""
        return {name: 0 if name in _OF_NOTHING else None for name in self.metrics}
