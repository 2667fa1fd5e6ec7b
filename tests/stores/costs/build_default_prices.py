"""Builds the file of default prices from three public files, and records their sources in it.

    pip download --no-deps litellm==1.110.2 weave==0.52.10   # two wheels, which are zip files
    pip download --no-deps litellm==1.77.7
    python -m tests.stores.costs.build_default_prices DATE PRICES CHECKPOINT OLDER > stores/costs/default_prices.json

PRICES is `litellm/model_prices_and_context_window_backup.json`: current prices, as of DATE. CHECKPOINT is
`weave/trace_server/costs/cost_checkpoint.json`: former prices, and prices of models no longer sold. OLDER is LiteLLM's
file of an older release; it adds rates to prices of CHECKPOINT that PRICES no longer has.

A model has the provider's name and LiteLLM's name, which is prefixed by the provider. Included are widely used
providers and models priced by token. Names with more than one slash (regions, resellers) are excluded.

The file has a line for each model: its name, its provider, and its prices by date. A price is a list:

    [DATE, INPUT, OUTPUT, {CLASS: RATE, ...}, [ABOVE, {CLASS: RATE, ...}], ...]

INPUT and OUTPUT are dollars per token. The object has the rates of further classes (`stores.usage.classes`). Each tier
after it has the rates above a number of prompt tokens; missing rates are those of the price. Rates equal to their
fallback (`Price.rates_for`) are omitted.

A tier without rates for reading or writing a cache raises them in proportion to their fallback, as providers do.

LiteLLM's figures for batches, the service tiers flex and priority, caches that live longer than an hour, and cached
images are ignored, because no stored count names them. A web search has the price of medium context size. A rate of 0
counts as missing. A further rate that is not a plausible multiple of its fallback is an error and is ignored.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from stores.costs.price_timeline import Rates, rate_among
from stores.usage.classes import BY_NAME, CLASSES, INPUT, OUTPUT

_SOURCES: Final = [
    {
        "figures": "what models cost on the date",
        "of": "litellm/model_prices_and_context_window_backup.json in litellm 1.110.2, https://pypi.org/project/litellm",
        "license": "MIT",
    },
    {
        "figures": "what they cost before",
        "of": "weave/trace_server/costs/cost_checkpoint.json in weave 0.52.10, https://pypi.org/project/weave",
        "license": "Apache-2.0",
    },
    {
        "figures": "further rates of what they cost before",
        "of": "litellm/model_prices_and_context_window_backup.json in litellm 1.77.7, https://pypi.org/project/litellm",
        "license": "MIT",
    },
]

_PROVIDERS: Final = {
    "ai21": "ai21",
    "anthropic": "anthropic",
    "azure": "azure",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "dashscope": "dashscope",
    "deepseek": "deepseek",
    "gemini": "gemini",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshot",
    "openai": "openai",
    "perplexity": "perplexity",
    "text-completion-openai": "openai",
    "vertex_ai-anthropic_models": "vertex_ai",
    "vertex_ai-language-models": "vertex_ai",
    "voyage": "voyage",
    "xai": "xai",
    "zai": "zai",
}
_UNPREFIXED: Final = {"cohere", "deepseek", "gemini", "mistral", "moonshot", "perplexity", "voyage", "xai", "zai"}
"""Providers whose models LiteLLM prefixes with the provider, but their own clients do not."""

_MODES: Final = {
    "audio_speech",
    "audio_transcription",
    "chat",
    "completion",
    "embedding",
    "image_edit",
    "image_generation",
    "realtime",
    "responses",
}
_MAX_PLAUSIBLE_RATE: Final = 0.001
"""A price per token in dollars above this is an error: some figures are per million tokens."""

_FIGURES: Final = {
    INPUT: ("input_cost_per_token",),
    "cache_read": ("cache_read_input_token_cost", "input_cost_per_token_cache_hit"),
    "cache_read_audio": ("cache_read_input_audio_token_cost",),
    "cache_write_5m": ("cache_creation_input_token_cost",),
    "cache_write_1h": ("cache_creation_input_token_cost_above_1hr",),
    "audio_input": ("input_cost_per_audio_token",),
    "image_input": ("input_cost_per_image_token",),
    OUTPUT: ("output_cost_per_token",),
    "reasoning": ("output_cost_per_reasoning_token",),
    "audio_output": ("output_cost_per_audio_token",),
    "image_output": ("output_cost_per_image_token",),
}
"""LiteLLM's keys for the rate of each class; the first one with a value applies."""

_MULTIPLES: Final = {"cache_read": (0, 1), "cache_write_5m": (1, 2), "cache_write_1h": (1, 2)}
"""Smallest and largest plausible multiple of a class's fallback."""

_MAX_TIER: Final = 10
"""Largest plausible multiple of the input rate in a tier."""

_ABOVE: Final = re.compile(r"(.+)_above_(\d+)k_tokens")

Figures = list[Any]
"""A price in the format of the file."""


def merged(
    date: str, prices: dict[str, Any], checkpoint: dict[str, Any], older: dict[str, Any]
) -> dict[str, list[Any]]:
    """Return the provider and the dated prices of each model, by name."""
    models: dict[str, tuple[str, list[Figures]]] = {}
    for name, rows in _included(checkpoint):
        provider = _PROVIDERS.get(rows[-1]["provider"])
        figures = [[row["created_at"][:10], row["input"], row["output"]] for row in rows]
        dated = [row for row in figures if _is_plausible(*row[1:])]
        if provider and dated:
            models[name] = provider, dated
    for name, entry in _included(prices):
        provider = _PROVIDERS.get(entry.get("litellm_provider"))
        prompt, completion, *_ = _figures(entry)
        if provider and entry.get("mode") in _MODES and _is_plausible(prompt, completion):
            _, dated = models.setdefault(name, (provider, []))
            if not dated or dated[-1][1:] != [prompt, completion]:
                dated.append([date, prompt, completion])
    for source in (prices, older):
        for name, (_, dated) in models.items():
            prompt, completion, *further = _figures(source.get(name) or source.get(name.partition("/")[2]) or {})
            for row in dated:
                if row[1:] == [prompt, completion]:
                    row.extend(further)
    bare = {
        name.partition("/")[2]: (provider, dated)
        for name, (provider, dated) in models.items()
        if provider in _UNPREFIXED and name.startswith(f"{provider}/")
    }
    return {name: [provider, *dated] for name, (provider, dated) in sorted((bare | models).items())}


def _figures(entry: dict[str, Any]) -> Figures:
    """Convert a price of LiteLLM to the format of the file, without the date."""
    ranges = {int(row["range"][0]): row for row in entry.get("tiered_pricing", ()) if "range" in row}
    tiers = {above: _stated(row) for above, row in ranges.items() if above}
    for key, figure in entry.items():
        if match := _ABOVE.fullmatch(key):
            tiers.setdefault(int(match[2]) * 1_000, {}).update(_stated({match[1]: figure}))
    base = _stated(entry | ranges.get(0, {}))
    prompt = base.get(INPUT, 0.0)
    completion = base.get(OUTPUT) or base.get("image_output") or base.get("audio_output") or 0.0
    rates = _differing_rates(base, ({INPUT: prompt, OUTPUT: completion},))
    search = (entry.get("search_context_cost_per_query") or {}).get("search_context_size_medium")
    if search:
        rates["web_searches"] = search
    scopes = rates, {INPUT: prompt, OUTPUT: completion}
    further = [
        [above, _differing_rates(_with_caches(tier, scopes), scopes)]
        for above, tier in sorted(tiers.items())
        if prompt < tier.get(INPUT, 0.0) <= _MAX_TIER * prompt
    ]
    return [prompt, completion, *([rates] if rates or further else []), *further]


def _with_caches(tier: Rates, scopes: Sequence[Rates]) -> dict[str, float]:
    """Raise the cache rates that a tier lacks in proportion to their fallbacks."""
    raised = dict(tier)
    for name in _MULTIPLES:
        like = BY_NAME[name].like
        if like and name not in raised and any(name in rates for rates in scopes):
            multiple = rate_among((raised, *scopes), like) / rate_among(scopes, like)
            raised[name] = float(f"{rate_among(scopes, name) * multiple:.12g}")
    return raised


def _stated(entry: dict[str, Any]) -> dict[str, float]:
    """Return the rates in an entry, by class."""
    rates = {name: next(filter(None, map(entry.get, keys)), None) for name, keys in _FIGURES.items()}
    return {name: rate for name, rate in rates.items() if rate}


def _differing_rates(stated: Rates, scopes: Sequence[Rates]) -> dict[str, float]:
    """Return the plausible rates that differ from their fallback and from the enclosing scopes."""
    needed: dict[str, float] = {}
    for each in CLASSES:
        rate = stated.get(each.name)
        around = (needed, *scopes)
        if rate and rate < _MAX_PLAUSIBLE_RATE and rate != rate_among(around, each.name):
            least, greatest = _MULTIPLES.get(each.name, (0, math.inf))
            like = rate_among(around, each.like) if each.like else 0.0
            if least * like <= rate <= greatest * like or not each.like:
                needed[each.name] = rate
    return needed


def _included(by_name: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, found) for name, found in by_name.items() if name.count("/") <= 1)


def _is_plausible(prompt: float, completion: float) -> bool:
    """Return True if a price is positive, not too high, and input costs at most as much as output."""
    return 0 < max(prompt, completion) < _MAX_PLAUSIBLE_RATE and (not completion or prompt <= completion)


def written(date: str, models: dict[str, list[Any]]) -> str:
    """Return the text of the file, one line per model."""
    head = json.dumps({"date": date, "currency": "USD", "sources": _SOURCES}, indent=1)
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}" for name, row in models.items())
    return f'{head.removesuffix("}").rstrip()},\n "models": {{\n{lines}\n}}}}\n'


if __name__ == "__main__":
    _date, *_paths = sys.argv[1:]
    sys.stdout.write(written(_date, merged(_date, *(json.loads(Path(path).read_text()) for path in _paths))))
