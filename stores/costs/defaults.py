"""Default prices of popular models, shipped with LoomQL; the file names its sources and date.

They are in US dollars, and a project's own prices override them. `tests.stores.costs.build_default_prices` builds
the file.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any, Final

import orjson

from stores import times
from stores.costs.price_timeline import DEFAULT, USD, Price

FILE: Final = "default_prices.json"
SYSTEM: Final = "system"
"""Creator of these prices; Weave's name for it."""


def _content() -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((files("stores.costs") / FILE).read_bytes())
    return content


def sources() -> list[str]:
    """Return the sources of the figures, one sentence each."""
    return [f"{each['figures']}: {each['of']}" for each in _content()["sources"]]


@cache
def shipped() -> dict[str, list[Price]]:
    """Return the shipped prices of each model, by name."""
    content = _content()
    date_taken = times.parse(content["date"])
    return {
        model: [_price(model, provider, date_taken, *figures) for figures in dated]
        for model, (provider, *dated) in content["models"].items()
    }


def of_model(model: str) -> Sequence[Price]:
    """Return the shipped prices of a model; empty if there are none."""
    return shipped().get(model, ())


def priced_name(requested: str, model: str) -> str:
    """Return the name under which usage is counted: as requested, or the provider's name if only that has a price."""
    return model if not of_model(requested) and of_model(model) else requested


def all_models() -> Iterator[Price]:
    """Return the shipped prices of all models."""
    return chain.from_iterable(shipped().values())


def _price(model: str, provider: str, taken: int, date: str, *figures: Any) -> Price:
    prompt, completion, *more = figures
    rates, *tiers = more or [{}]
    own = (model, provider, prompt, completion, USD, USD, times.parse(date), taken, SYSTEM, DEFAULT, DEFAULT)
    return Price(*own, rates=rates or {}, tiers=tuple(tiers))
