"""What usage costs, by the prices of its project: in Python, and as expressions that pipelines compute alike.

The cost of an entry of usage (`stores.calls.usage`) is that of its prompt tokens and of its completion tokens together,
in US dollars, as a double. What is priced in another unit is left out: no sum mixes units. A call's cost is the sum
over its models; where nothing is priced in dollars it is null, which is not 0.
"""

import math
from collections.abc import Iterable, Sequence
from copy import copy
from functools import cached_property
from typing import Any, Final, Self

import bson
from bson.raw_bson import RawBSONDocument

from stores.calls.usage import Usage
from stores.costs.inputs import USD
from stores.costs.model_names import resolve
from stores.costs.prices import Price, Timeline, timelines
from stores.query.values import Expression, bound

_NOT_PRICED: Final[dict[str, list[Any]]] = {"from": [], "prompt": [None], "completion": [None]}


class Prices:
    """The prices of a project's models, its own and shipped ones."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._timelines = timelines(prices)
        self._aliases: dict[str, Timeline] = {}

    def resolve(self, model: str) -> str | None:
        """The name whose price is that of a model, by the rules of `stores.costs.model_names`; None without a price."""
        return resolve(model, self._timelines)

    def knowing(self, models: Iterable[str]) -> Self:
        """These prices, with the timelines of further models under their own names, for pipelines.

        A pipeline finds a price by the exact name of a model. `at` and `cost` resolve names; a pipeline cannot. So who
        prices calls in a pipeline first reads the distinct models of these calls, such as from the tokens that a first
        run reports as unpriced, and passes them here. The size grows by the models that resolve to another name alone.
        """
        known = copy(self)
        for encoded in ("_models", "_rows"):
            vars(known).pop(encoded, None)
        resolved = {model: self.resolve(model) for model in models if model not in self._timelines}
        more = {model: self._timelines[name] for model, name in resolved.items() if name}
        vars(known).update(_aliases=self._aliases | more)
        return known

    def at(self, model: str, started_at: int) -> Price | None:
        """The price of a model that holds for a call that starts then."""
        timeline = self._timelines.get(model)
        if timeline is None:
            name = self.resolve(model)
            if name is None:
                return None
            timeline = self._timelines[name]
        return timeline.at(started_at)

    def cost(self, entry: Usage, started_at: int) -> float | None:
        """What an entry of the usage of a call costs that starts then."""
        price = self.at(entry["model"], started_at)
        prompt, completion = _in_usd(price) if price else (None, None)
        if prompt is None or completion is None:
            return None
        return float(entry["prompt_tokens"] * prompt + entry["completion_tokens"] * completion)

    def total_cost(self, usage: Sequence[Usage], started_at: int) -> float | None:
        """What the usage of a call costs that starts then."""
        costs = [cost for entry in usage if (cost := self.cost(entry, started_at)) is not None]
        return math.fsum(costs) if costs else None

    @cached_property
    def _models(self) -> RawBSONDocument:
        """The names of the models, as a literal of pipelines that is encoded once for all of them."""
        return _encoded([*self._timelines, *self._aliases])

    @cached_property
    def _rows(self) -> RawBSONDocument:
        """The timelines of the models, as such a literal; what is not priced comes last."""
        return _encoded([*map(_row, self._timelines.values()), *map(_row, self._aliases.values()), _NOT_PRICED])

    @property
    def size(self) -> int:
        """The bytes that an expression takes by them."""
        return len(self._models.raw) + len(self._rows.raw)

    def cost_expression(self, entry: str = "$usage", started_at: str = "$started_at") -> Expression:
        """What an entry of usage at a path costs, for a call that starts at what is at another; null if not priced.

        Sum it with `$sum`, which leaves out nulls, and in which errors of rounding do not add up.
        """
        # No model is at -1, which leads to the last row.
        found = {"$indexOfArray": [self._models, f"{entry}.model"]}
        number = {"$size": {"$filter": {"input": "$$v.from", "cond": {"$lte": ["$$this", started_at]}}}}
        parts = [
            {"$multiply": [f"{entry}.{name}_tokens", {"$arrayElemAt": [f"$$row.{name}", "$$v"]}]}
            for name in ("prompt", "completion")
        ]
        priced = {"$let": {"vars": {"row": "$$v"}, "in": bound(number, {"$add": parts})}}
        return bound({"$arrayElemAt": [self._rows, found]}, priced)

    def total_cost_expression(self) -> Expression:
        """What the usage of a call costs, over its document."""
        each = {"$map": {"input": {"$ifNull": ["$usage", []]}, "as": "entry", "in": self.cost_expression("$$entry")}}
        priced = {"$filter": {"input": each, "cond": {"$ne": ["$$this", None]}}}
        return bound(priced, {"$cond": [{"$eq": ["$$v", []]}, None, {"$sum": "$$v"}]})


def _encoded(members: list[Any]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"$literal": members}))


def _row(timeline: Timeline) -> dict[str, list[Any]]:
    """A timeline as a document of a pipeline."""
    costs = [_in_usd(price) for price in timeline.prices]
    return {
        "from": timeline.dates,
        "prompt": [prompt for prompt, _ in costs],
        "completion": [completion for _, completion in costs],
    }


def _in_usd(price: Price) -> tuple[float | None, float | None]:
    """What a token of a prompt and of a completion costs in dollars: nothing in another unit; both None if both are."""
    prompt = price.prompt_token_cost if _is_usd(price.prompt_token_cost_unit) else None
    completion = price.completion_token_cost if _is_usd(price.completion_token_cost_unit) else None
    if prompt is None and completion is None:
        return None, None
    return prompt or 0.0, completion or 0.0


def _is_usd(unit: str) -> bool:
    return unit.upper() == USD
