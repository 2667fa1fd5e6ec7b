"""The prices that LoomQL ships, for models that many use: figures of others, whose sources and date are in the file.

They are in US dollars. A project's own prices win over them. The file is made by `build_default_prices`.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson

from stores import times
from stores.costs.inputs import USD
from stores.costs.price_timeline import DEFAULT, Price, Rates

FILE: Final = "default_prices.json"
SYSTEM: Final = "system"
"""The creator of these prices, as Weave names it."""


def _content() -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((files("stores.costs") / FILE).read_bytes())
    return content


def sources() -> list[str]:
    """The sources of the figures, each as a sentence."""
    return [f"{each['figures']}: {each['of']}" for each in _content()["sources"]]


@cache
def shipped() -> dict[str, list[Price]]:
    """The prices of each model, by its name."""
    content = _content()
    taken = times.parse(content["date"])
    return {
        model: [_price(model, provider, taken, *figures) for figures in dated]
        for model, (provider, *dated) in content["models"].items()
    }


def of_model(model: str) -> Sequence[Price]:
    """The prices of a model; none if it is not among them."""
    return shipped().get(model, ())


def priced_name(asked: str, model: str) -> str:
    """The name under which usage is counted: as it was asked for, or the provider's own where only that has a price."""
    return model if not of_model(asked) and of_model(model) else asked


def all_models() -> Iterator[Price]:
    """The prices of all models."""
    for prices in shipped().values():
        yield from prices


def _price(
    model: str,
    provider: str,
    taken: int,
    date: str,
    prompt: float,
    completion: float,
    rates: Rates | None = None,
    *tiers: tuple[int, Rates],
) -> Price:
    return Price(
        llm_id=model,
        provider_id=provider,
        prompt_token_cost=prompt,
        completion_token_cost=completion,
        prompt_token_cost_unit=USD,
        completion_token_cost_unit=USD,
        effective_date=times.parse(date),
        created_at=taken,
        created_by=SYSTEM,
        level=DEFAULT,
        level_id=DEFAULT,
        rates=rates or {},
        tiers=tiers,
    )
