"""Makes the file of default prices out of two files of others, and says in it where its figures are from.

    pip download --no-deps litellm==1.110.2 weave==0.52.10   # two wheels, which are zip files
    python -m stores.costs.sources DATE PRICES CHECKPOINT > stores/costs/default_prices.json

PRICES is `litellm/model_prices_and_context_window_backup.json`, with what models cost at present, on the DATE on which
it was taken. CHECKPOINT is `weave/trace_server/costs/cost_checkpoint.json`, with what they cost before, and what those
cost that are not sold any more. A model is called as its provider calls it, and as LiteLLM does, with the provider
before it. Providers that many use directly are taken, and models that are paid by the token; names with more than one
slash, of regions and of resellers, are not.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

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
_CALLED_BARE: Final = {"cohere", "deepseek", "gemini", "mistral", "moonshot", "perplexity", "voyage", "xai", "zai"}
"""Providers whose models LiteLLM calls by the provider and a slash, which their own clients do not."""

_MODES: Final = {"chat", "completion", "embedding", "responses"}
_SLIP: Final = 0.001
"""Dollars for a token above which the figure is a slip: some are of a million tokens."""

Figures = list[Any]
"""A date, and what one token of a prompt and of a completion costs from then on."""


def merged(date: str, prices: dict[str, Any], checkpoint: dict[str, Any]) -> dict[str, list[Any]]:
    """The provider and the dated figures of each model, by its name."""
    models: dict[str, tuple[str, list[Figures]]] = {}
    for name, rows in _plain(checkpoint):
        provider = _PROVIDERS.get(rows[-1]["provider"])
        figures = [[row["created_at"][:10], row["input"], row["output"]] for row in rows]
        dated = [row for row in figures if _is_plausible(*row[1:])]
        if provider and dated:
            models[name] = provider, dated
    for name, entry in _plain(prices):
        provider = _PROVIDERS.get(entry.get("litellm_provider"))
        prompt, completion = (entry.get(f"{side}_cost_per_token") or 0.0 for side in ("input", "output"))
        if provider and entry.get("mode") in _MODES and _is_plausible(prompt, completion):
            _, dated = models.setdefault(name, (provider, []))
            if not dated or dated[-1][1:] != [prompt, completion]:
                dated.append([date, prompt, completion])
    bare = {
        name.partition("/")[2]: (provider, dated)
        for name, (provider, dated) in models.items()
        if provider in _CALLED_BARE and name.startswith(f"{provider}/")
    }
    return {name: [provider, *dated] for name, (provider, dated) in sorted((bare | models).items())}


def _plain(by_name: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, found) for name, found in by_name.items() if name.count("/") <= 1)


def _is_plausible(prompt: float, completion: float) -> bool:
    """Whether a token costs something, not too much, and one that is read no more than one that is written."""
    return 0 < max(prompt, completion) < _SLIP and (not completion or prompt <= completion)


def written(date: str, models: dict[str, list[Any]]) -> str:
    """The text of the file, a line for each model."""
    head = json.dumps({"date": date, "currency": "USD", "sources": _SOURCES}, indent=1)
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}" for name, row in models.items())
    return f'{head.removesuffix("}").rstrip()},\n "models": {{\n{lines}\n}}}}\n'


if __name__ == "__main__":
    _date, *_paths = sys.argv[1:]
    sys.stdout.write(written(_date, merged(_date, *(json.loads(Path(path).read_text()) for path in _paths))))
